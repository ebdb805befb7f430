//! Giving up what is needed at the start only: who faces a hostile network has the least rights.
//!
//! Everything that needs rights (ports, programs, AF_XDP sockets, directories) is opened first, by one thread. Then this,
//! once and for good, and all threads that are started afterwards have nothing more than what is left:
//!
//! | step | what is left | kernel |
//! |---|---|---|
//! | [`rights`] | another user, if root has started it; no capability but those of [`RetainedCapability`]; none to be gained | any |
//! | [`paths`] | the directories that it serves from and writes to (Landlock); no TCP port either (6.7) | 5.13 |
//! | [`calls`] | the system calls that it makes; no program can be started (seccomp) | any |
//!
//! What a kernel lacks is said in one line, or is an error with [`Confinement::Require`].

mod calls;
mod paths;
mod rights;

use std::path::PathBuf;

pub use paths::Paths;
pub use rights::{Account, RetainedCapability};

/// Whether the daemon gives its rights up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Confinement {
    /// As far as the kernel can.
    #[default]
    Auto,
    /// All steps, with all of what Landlock restricts in files (Linux 6.2), or it does not start.
    Require,
    /// Not at all: for a debugger, or a kernel that is at odds with it.
    Off,
}

impl std::fmt::Display for Confinement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Require => "require",
            Self::Off => "off",
        })
    }
}

/// Why rights could not be given up. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The user that was named is not there.
    #[error(
        "there is no user `{0}` on this host: name another one with --user, or make it (`useradd --system {0}`)"
    )]
    NoUser(String),
    /// Nobody can say who there is: a directory service that does not answer yet, for example.
    #[error("cannot look up the user `{name}`: {error}. Try again, or check nsswitch.conf(5)")]
    Users {
        /// Who was looked for.
        name: String,
        /// Why not.
        error: std::io::Error,
    },
    /// Only root can become somebody else.
    #[error("only root can become the user `{0}`: leave --user out, or start pxed as root")]
    NotRoot(String),
    /// More than one thread would keep what this one gives up.
    #[error("{0} threads run already, which is a bug in pxed: please report it. --confinement off avoids it")]
    Threads(usize),
    /// The system refused a step.
    #[error("cannot drop {what}: {reason}. Start with --confinement off to serve without")]
    Refused {
        /// Which rights.
        what: &'static str,
        /// The system's reason.
        reason: String,
    },
    /// A step that was required, and that this kernel cannot do.
    #[error("--confinement require: {0}")]
    Missing(String),
    /// A file or directory cannot be given to the user that the daemon becomes.
    #[error("cannot change the owner of {} to {user}: {error}", path.display())]
    HandOver {
        /// The path.
        path: PathBuf,
        /// Who should get it.
        user: String,
        /// The system's reason.
        error: std::io::Error,
    },
}

impl ConfineError {
    fn refused(what: &'static str) -> impl Fn(&dyn std::fmt::Display) -> Self {
        move |reason| Self::Refused { what, reason: reason.to_string() }
    }
}

/// What shall be left.
#[derive(Clone, Debug)]
pub struct ConfineRequest {
    /// How hard to try.
    pub confinement: Confinement,
    /// Who the daemon becomes; nobody else if it was not started by root.
    pub account: Option<Account>,
    /// The capabilities that stay.
    pub kept: Vec<RetainedCapability>,
    /// The paths that stay.
    pub paths: Paths,
}

/// What was left, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The user's name, or the number of who started it.
    pub user: String,
    /// The capabilities.
    pub capabilities: Vec<&'static str>,
    /// What the kernel could not do, each with what it needs.
    pub missing: Vec<String>,
}

/// Gives up everything else, for this thread and all that it will start.
///
/// # Errors
/// [`ConfineError`]; some of the rights are gone then, so the caller should end.
pub fn enter(wish: &ConfineRequest) -> Result<Report, ConfineError> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        return Err(ConfineError::Threads(threads));
    }
    // The paths are opened first: the user that we become may not get to what root named. Landlock and seccomp need no right
    // once no_new_privs is set.
    // Afterwards nobody can ask the kernel what it knows.
    let incomplete = paths::incomplete();
    let paths = paths::Allowed::open(&wish.paths)?;
    let user = rights::give_up(wish.account.as_ref(), &wish.kept)?;
    let mut missing = Vec::new();
    missing.extend(paths.restrict()?);
    missing.extend(calls::restrict()?);
    if wish.confinement == Confinement::Require {
        missing.extend(incomplete);
        if !missing.is_empty() {
            return Err(ConfineError::Missing(missing.join("; ")));
        }
    }
    Ok(Report { user, capabilities: wish.kept.iter().map(|kept| kept.as_str()).collect(), missing })
}
