//! Gives up the privileges that only the start needs, because the daemon faces a hostile network.
//!
//! One thread first opens everything that needs privileges: ports, BPF programs, AF_XDP sockets, directories. Then
//! `pxed/src/server/confined.rs` calls [`enter`], once. It cannot be undone, and all threads that start afterwards
//! inherit the result. Each step leaves only what the table names:
//!
//! | step | what is left | kernel |
//! |---|---|---|
//! | [`rights`] | another user, if root started pxed; only the capabilities of [`RetainedCapability`]; none can be gained | any |
//! | [`paths`] | the directories that the daemon serves from and writes to (Landlock); no new TCP port, and connections to the ports of [`Outbound`] (since 6.7) | 5.13 |
//! | [`calls`] | the system calls that the daemon makes; no program can be started (seccomp) | any |
//!
//! What a kernel cannot restrict is reported in one line. With [`Confinement::Require`] it is an error.

mod calls;
mod paths;
mod rights;

use std::path::PathBuf;

pub use paths::Paths;
pub use rights::{Account, RetainedCapability};

/// Whether the daemon gives up its privileges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Confinement {
    /// All steps, as far as the kernel supports them.
    #[default]
    Auto,
    /// All steps, with everything that Landlock restricts for files (Linux 6.2). If a part is missing, the daemon does
    /// not start.
    Require,
    /// No step: for a debugger, or for a kernel on which a step fails.
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

/// Why privileges could not be given up. The text names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The named user does not exist; without `--user`, no default user exists.
    #[error(
        "there is no user `{0}` on this host: name another one with --user, or make it (`useradd --system {0}`)"
    )]
    NoUser(String),
    /// The look-up of a user failed, for example because a directory service does not answer yet.
    #[error("cannot look up the user `{name}`: {error}. Try again, or check nsswitch.conf(5)")]
    Users {
        /// The user's name.
        name: String,
        /// The system's error.
        error: std::io::Error,
    },
    /// A user was named, and a process that is not root cannot change its user.
    #[error("only root can become the user `{0}`: leave --user out, or start pxed as root")]
    NotRoot(String),
    /// More than one thread exists. The others would keep their privileges.
    #[error("{0} threads run already, which is a bug in pxed: please report it. --confinement off avoids it")]
    Threads(usize),
    /// The system refused a step.
    #[error("cannot drop {what}: {reason}. Start with --confinement off to serve without")]
    Refused {
        /// The privileges that the step drops.
        what: &'static str,
        /// The system's error.
        reason: String,
    },
    /// [`Confinement::Require`], and what this kernel cannot restrict.
    #[error("--confinement require: {0}")]
    Missing(String),
    /// The daemon's user cannot become the owner of a file or directory.
    #[error("cannot change the owner of {} to {user}: {error}", path.display())]
    HandOver {
        /// The file or directory.
        path: PathBuf,
        /// The user that the daemon becomes.
        user: String,
        /// The system's error.
        error: std::io::Error,
    },
}

impl ConfineError {
    fn refused(what: &'static str) -> impl Fn(&dyn std::fmt::Display) -> Self {
        move |reason| Self::Refused { what, reason: reason.to_string() }
    }
}

/// What [`enter`] leaves to the process.
#[derive(Clone, Debug)]
pub struct ConfineRequest {
    /// Whether an incomplete confinement is an error.
    pub confinement: Confinement,
    /// The user that the daemon becomes. `None` keeps the present user.
    pub account: Option<Account>,
    /// The capabilities that the process keeps.
    pub kept: Vec<RetainedCapability>,
    /// The paths that stay reachable.
    pub paths: Paths,
    /// The connections that stay possible.
    pub outbound: Outbound,
}

/// The connections that the running daemon makes. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outbound {
    /// TCP ports of other hosts. Before Linux 6.7 a process that may connect to one may connect to all.
    pub ports: Vec<u16>,
    /// Whether it connects to Unix stream sockets. Their permissions say to which.
    pub is_unix: bool,
}

/// What [`enter`] left, for a log line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The name of the new user; without one, the number of the present user.
    pub user: String,
    /// The capabilities that the process still has: those that were requested and that it had.
    pub capabilities: Vec<&'static str>,
    /// What the kernel could not restrict, each with the version or setting that it needs.
    pub missing: Vec<String>,
}

/// Gives up everything that `request` does not name, for this thread and all threads that it starts later. The caller must
/// be the only thread.
///
/// # Errors
/// [`ConfineError`]. Some privileges may be gone then, so the caller should end the process.
pub fn enter(request: &ConfineRequest) -> Result<Report, ConfineError> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        return Err(ConfineError::Threads(threads));
    }
    // The order matters. The kernel's Landlock version is read first, because afterwards the call that reads it is
    // forbidden. Then the paths are opened, because the daemon's user may not be able to reach what root named.
    // Landlock and seccomp come last: they need no privilege once no_new_privs is set.
    let incomplete = paths::incomplete();
    let paths = paths::Allowed::open(&request.paths, &request.outbound.ports)?;
    let (user, kept) = rights::give_up(request.account.as_ref(), &request.kept)?;
    let mut missing = Vec::new();
    missing.extend(paths.restrict()?);
    missing.extend(calls::restrict(&request.outbound)?);
    if request.confinement == Confinement::Require {
        missing.extend(incomplete);
        if !missing.is_empty() {
            return Err(ConfineError::Missing(missing.join("; ")));
        }
    }
    Ok(Report { user, capabilities: kept.into_iter().map(RetainedCapability::as_str).collect(), missing })
}
