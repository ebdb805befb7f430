//! The sockets of the API. The daemon opens them when it starts, so that errors show early.

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use super::access::{ListenerAccess, Token};

/// The default path of the Unix socket.
pub const SOCKET: &str = "/run/pxed/pxed.sock";

/// Why a socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another daemon holds the lock beside this path.
    #[error("another pxed answers on {0}: stop it, or give this one another socket")]
    InUse(PathBuf),
    /// The path exists and is not a socket.
    #[error("{0} exists and is no socket: remove it, or give another path")]
    NotASocket(PathBuf),
    /// The system refuses the Unix socket, its lock or its directory.
    #[error("cannot listen on {path}: {error}")]
    Unix {
        /// The socket's path.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The system refuses the TCP socket.
    #[error("cannot listen on {address}: {error}")]
    Tcp {
        /// The configured address.
        address: SocketAddr,
        /// The system's error.
        error: io::Error,
    },
    /// Other hosts can reach this address, and no token is configured.
    #[error("{0} can be reached from other hosts, so the board there needs a token file")]
    TokenNeeded(SocketAddr),
}

/// The open sockets. Dropping them removes the Unix socket's file.
#[derive(Debug)]
pub struct Listeners {
    pub(super) unix: UnixListener,
    pub(super) tcp: Option<(TcpListener, ListenerAccess)>,
    path: PathBuf,
    _lock: File,
}

impl Listeners {
    /// Opens the Unix socket at `path` and, if `tcp` is given, a TCP socket for the board. An address beyond loopback
    /// needs a token.
    ///
    /// # Errors
    /// The first socket that cannot be opened, with the remedy. No socket stays open then.
    pub fn bind(
        path: &Path,
        tcp: Option<SocketAddr>,
        token: Option<Arc<Token>>,
    ) -> Result<Self, ListenError> {
        let tcp = match tcp {
            Some(address) => Some(bind_tcp(address, token)?),
            None => None,
        };
        let (unix, lock) = bind_unix(path)?;
        Ok(Self { unix, tcp, path: path.to_owned(), _lock: lock })
    }

    /// The address of the board's TCP socket, with the port that the kernel chose if 0 was configured. `None` without
    /// TCP.
    #[must_use]
    pub fn board(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        // The file is still this daemon's: the fields are dropped after this function, and the lock with them.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn bind_tcp(
    address: SocketAddr,
    token: Option<Arc<Token>>,
) -> Result<(TcpListener, ListenerAccess), ListenError> {
    let loopback = address.ip().is_loopback();
    let door = match token {
        Some(token) => ListenerAccess::Token { token, loopback },
        None if loopback => ListenerAccess::Loopback,
        None => return Err(ListenError::TokenNeeded(address)),
    };
    let failed = |error| ListenError::Tcp { address, error };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok((listener, door))
}

/// Checks whether a Unix socket could be bound at `path`, without changing anything. An error that shows only when the
/// socket or its lock is created is not found.
///
/// # Errors
/// [`ListenError::NotASocket`] or [`ListenError::InUse`].
pub fn can_bind(path: &Path) -> Result<(), ListenError> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ListenError::NotASocket(path.to_owned()));
        }
        _ => {}
    }
    // A running daemon holds the lock. If there is no lock file, this check does not create one.
    let Ok(lock) = File::options().append(true).open(lock_of(path)) else { return Ok(()) };
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ListenError::InUse(path.to_owned())),
        _ => Ok(()),
    }
}

fn lock_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Binds the Unix socket. A lock file beside it distinguishes a running daemon's socket from the file of a dead one,
/// without a race between two daemons that start at the same time.
fn bind_unix(path: &Path) -> Result<(UnixListener, File), ListenError> {
    let failed = |error| ListenError::Unix { path: path.to_owned(), error };
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(failed)?;
    }
    let lock = File::options().create(true).append(true).open(lock_of(path)).map_err(failed)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(ListenError::InUse(path.to_owned())),
        Err(error) => return Err(failed(error.into())),
    }
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => std::fs::remove_file(path).map_err(failed)?,
        Ok(_) => return Err(ListenError::NotASocket(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok((listener, lock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_daemons_socket_is_replaced_and_a_living_ones_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/pxed.sock");
        std::fs::create_dir(directory.path().join("run")).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a dead daemon leaves its file");
        let first = Listeners::bind(&path, None, None).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = Listeners::bind(&path, None, None).unwrap_err();
        assert!(matches!(error, ListenError::InUse(_)), "{error}");
        assert!(path.exists(), "the living one keeps its socket");
        drop(first);
        assert!(!path.exists());
        std::fs::write(&path, "a file").unwrap();
        assert!(matches!(Listeners::bind(&path, None, None), Err(ListenError::NotASocket(_))));
    }

    #[test]
    fn beyond_loopback_there_must_be_a_token() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pxed.sock");
        let everywhere = Some("0.0.0.0:0".parse().unwrap());
        assert!(matches!(Listeners::bind(&path, everywhere, None), Err(ListenError::TokenNeeded(_))));
        assert!(!path.exists(), "nothing stays");
        let token = Arc::new(Token::new("0123456789abcdef").unwrap());
        let loopback = Some("127.0.0.1:0".parse().unwrap());
        let listeners = Listeners::bind(&path, loopback, Some(token)).unwrap();
        let taken = listeners.board();
        let other = directory.path().join("other.sock");
        assert!(matches!(Listeners::bind(&other, taken, None), Err(ListenError::Tcp { .. })));
    }
}
