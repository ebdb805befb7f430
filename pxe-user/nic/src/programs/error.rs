//! Errors of the kernel programs.

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;

use super::Mode;

/// Why the kernel programs or their maps cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProgramsError {
    /// The object could not be loaded: it is invalid, or the kernel rejected one of its maps.
    #[error(
        "the kernel refused the XDP program (it needs Linux 5.10 and CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or root): {0}"
    )]
    Load(#[source] Box<EbpfError>),
    /// The verifier rejected a program, or a right is missing.
    #[error(
        "the kernel refused the XDP program (it needs Linux 5.10 and CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or root): {reason}{}",
        said(.verifier)
    )]
    Refused {
        /// The system's error. It is not a `source`, because the message contains it already.
        reason: std::io::Error,
        /// The last lines of the verifier's log. The whole log may have megabytes.
        verifier: String,
    },
    /// Another operation on a program failed.
    #[error("the XDP program: {0}")]
    Program(#[from] ProgramError),
    /// A map has the wrong type, or rejected an operation.
    #[error("map {name}: {source}")]
    Map {
        /// Name of the map.
        name: &'static str,
        /// aya's error.
        source: MapError,
    },
    /// The object has no map or program with this name, or the map was taken before.
    #[error("the object has no `{0}`: pxed and its kernel program were built from different sources")]
    Absent(&'static str),
    /// Another XDP program is attached to the interface.
    #[error(
        "another XDP program is attached to this interface (see `ip link show`): detach it, or use --datapath socket"
    )]
    Busy,
    /// The driver has no native XDP, or not at this MTU.
    #[error("{0} XDP does not work on this interface: {1}", .mode.as_str(), .source)]
    Attach {
        /// The mode that was tried.
        mode: Mode,
        /// The system's error.
        source: std::io::Error,
    },
    /// The tcx program could not be attached by a link.
    #[error("this kernel cannot attach tcx by link")]
    NoLink,
    /// A map cannot be mapped into this process.
    #[error("a map of the kernel programs cannot be mapped: {0}")]
    Mapping(#[source] std::io::Error),
    /// The log of the kernel programs cannot be opened.
    #[error("the kernel program's log cannot be read: {0}")]
    Logger(#[from] aya_log::Error),
}

pub(super) fn map_error(name: &'static str) -> impl Fn(MapError) -> ProgramsError {
    move |source| ProgramsError::Map { name, source }
}

/// Keeps the end of the verifier's log for the error, and writes the whole log at level `trace`.
pub(super) fn load_error(error: ProgramError) -> ProgramsError {
    let ProgramError::LoadError { io_error, verifier_log } = error else { return error.into() };
    let log = verifier_log.to_string();
    tracing::trace!("the verifier's log:\n{log}");
    ProgramsError::Refused { reason: io_error, verifier: last_words(&log) }
}

/// Joins the last lines of the verifier's log: they say what was wrong, and how much the verifier had
/// checked.
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
        // EEXIST: a program in the other mode is attached. EBUSY: a program in the same mode is attached.
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
