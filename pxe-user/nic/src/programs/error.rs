//! Why the kernel side is not there.

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;

use super::Mode;

/// Why the kernel side is not there.
#[derive(Debug, thiserror::Error)]
pub enum ProgramsError {
    /// The kernel would not take the object.
    #[error(
        "the kernel refused the XDP program (it needs Linux 5.10 and CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or root): {0}"
    )]
    Load(#[source] Box<EbpfError>),
    /// The verifier said no, or the rights are missing.
    #[error(
        "the kernel refused the XDP program (it needs Linux 5.10 and CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or root): {reason}{}",
        said(.verifier)
    )]
    Refused {
        /// The system's reason. Not a `source`: the sentence has it already.
        reason: std::io::Error,
        /// The verifier's last words; the log before them may have megabytes.
        verifier: String,
    },
    /// Something else went wrong with the program.
    #[error("the XDP program: {0}")]
    Program(#[from] ProgramError),
    /// The object lacks a map or program, or a map would not take a value.
    #[error("map {name}: {source}")]
    Map {
        /// The map's name.
        name: &'static str,
        /// aya's reason.
        source: MapError,
    },
    /// The object does not have what the ABI names.
    #[error("the object has no `{0}`: pxed and its kernel program were built from different sources")]
    Absent(&'static str),
    /// Something else is attached already.
    #[error(
        "another XDP program is attached to this interface (see `ip link show`): detach it, or use --datapath socket"
    )]
    Busy,
    /// The driver has no native XDP, or not at this MTU.
    #[error("{0} XDP does not work on this interface: {1}", .mode.as_str(), .source)]
    Attach {
        /// What was tried.
        mode: Mode,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The tcx program was not attached by a link.
    #[error("this kernel cannot attach tcx by link")]
    NoLink,
    /// A map cannot be mapped.
    #[error("a map of the kernel programs cannot be mapped: {0}")]
    Mapping(#[source] std::io::Error),
    /// The kernel's log channel could not be opened.
    #[error("the kernel program's log cannot be read: {0}")]
    Logger(#[from] aya_log::Error),
}

pub(super) fn map_error(name: &'static str) -> impl Fn(MapError) -> ProgramsError {
    move |source| ProgramsError::Map { name, source }
}

/// Keeps the end of the verifier's log, and gives all of it to whoever listens to `trace`.
pub(super) fn load_error(error: ProgramError) -> ProgramsError {
    let ProgramError::LoadError { io_error, verifier_log } = error else { return error.into() };
    let log = verifier_log.to_string();
    tracing::trace!("the verifier's log:\n{log}");
    ProgramsError::Refused { reason: io_error, verifier: last_words(&log) }
}

/// The last lines of the verifier's log in one: what was wrong, then how much it had looked at.
fn last_words(log: &str) -> String {
    const LINES: usize = 4;
    let lines: Vec<_> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join("; ")
}

fn said(verifier: &str) -> String {
    if verifier.is_empty() { String::new() } else { format!("; the verifier: {verifier}") }
}

pub(super) fn attach_error(mode: Mode, source: std::io::Error) -> ProgramsError {
    match source.raw_os_error() {
        // EEXIST: a program of the other mode; EBUSY: one of the same mode.
        Some(libc::EBUSY | libc::EEXIST) => ProgramsError::Busy,
        _ => ProgramsError::Attach { mode, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_the_verifiers_log_is_told() {
        let log = "0: (b7) r0 = 0\n".repeat(9999) + "\ninvalid read from stack\nprocessed 3159 insns\n\n";
        let error = ProgramsError::Refused {
            reason: std::io::Error::from_raw_os_error(libc::EACCES),
            verifier: last_words(&log),
        };
        let told = error.to_string();
        assert!(told.contains("invalid read from stack; processed 3159 insns"), "{told}");
        assert!(told.len() < 400, "{told}");
    }

    #[test]
    fn without_a_log_nothing_is_said_of_it() {
        let reason = std::io::Error::from_raw_os_error(libc::EPERM);
        let told = ProgramsError::Refused { reason, verifier: last_words("") }.to_string();
        assert!(told.ends_with("(os error 1)"), "{told}");
    }
}
