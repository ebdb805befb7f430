//! The lock of an interface: at most one responder serves it.
//!
//! There are two locks, because each of them does what the other cannot. The kernel releases both when the
//! process ends for any reason.
//!
//! - A byte range of the file [`FILE`], in a directory that only root and the daemon's user can write. This
//!   lock is authoritative.
//! - A name: an abstract Unix socket. It belongs to the network namespace, as the interface does, so
//!   containers with their own file system also see it. A process that wants to take over the interface
//!   connects to it. However, any user of the host can bind the name first. Therefore pxed trusts the holder
//!   only if it runs as root, as the daemon's user, or as the user of this process.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::{Uid, User};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with, sockopt};

/// The lock file, with one byte range for each interface of each network namespace.
pub const FILE: &str = "/run/pxed/pxed-interfaces.lock";
/// The user `nobody`. Unrelated processes share it, so pxed never trusts it.
const NOBODY: u32 = 65534;

/// The locks of an interface. Their owner keeps this value for as long as it serves the interface.
#[derive(Debug)]
pub struct InterfaceLock {
    /// `None` if a stranger holds the name.
    listener: Option<UnixListener>,
    stranger: Option<Stranger>,
    _file: Option<File>,
}

/// A process that holds the name of an interface's lock without a right to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// The process's user ID. `None` if its socket does not listen, because then the kernel does not show the
    /// user.
    pub uid: Option<u32>,
}

impl std::fmt::Display for Stranger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(uid) = self.uid else { return f.write_str("an unknown user") };
        match User::from_uid(Uid::from_raw(uid)) {
            Ok(Some(user)) => write!(f, "the user {} ({uid})", user.name),
            _ => write!(f, "the user {uid}"),
        }
    }
}

/// Why the lock of an interface cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another responder holds the lock of this interface.
    #[error(
        "another pxed already serves {0}: stop it first, or start with --take-over to resume its transfers"
    )]
    Taken(String),
    /// A stranger holds the name, and the file cannot be locked either, so pxed cannot know whether another
    /// responder serves the interface.
    #[error(
        "a process of {stranger} holds the abstract socket @pxed/{interface}, and {FILE} cannot be locked either ({reason}): \
         end that process (`ss -lxp` shows it), or let pxed write there"
    )]
    Stranger {
        /// Name of the interface.
        interface: String,
        /// The process that holds the name.
        stranger: Stranger,
        /// Why the file cannot be locked.
        reason: String,
    },
    /// A system call failed.
    #[error("cannot lock interface {interface}: {source}")]
    Io {
        /// Name of the interface.
        interface: String,
        /// The system's error.
        source: io::Error,
    },
}

impl InterfaceLock {
    /// Takes the lock of the interface with this name and index. `ours` returns whether pxed trusts a holder
    /// of the name with this user ID: see [`is_ours`].
    ///
    /// # Errors
    /// [`LockError::Taken`] when another pxed of this network namespace holds the lock;
    /// [`LockError::Stranger`] when a stranger holds the name and the file cannot be locked;
    /// [`LockError::Io`] when a system call fails.
    pub fn take(interface: &str, index: u32, ours: impl Fn(u32) -> bool) -> Result<Self, LockError> {
        Self::take_with(Path::new(FILE), interface, index, ours)
    }

    fn take_with(
        path: &Path,
        interface: &str,
        index: u32,
        ours: impl Fn(u32) -> bool,
    ) -> Result<Self, LockError> {
        let io = |source| LockError::Io { interface: interface.into(), source };
        let file = lock_range(path, index);
        if file.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            return Err(LockError::Taken(interface.into()));
        }
        match UnixListener::bind_addr(&address(interface).map_err(io)?) {
            Ok(listener) => Ok(Self { listener: Some(listener), stranger: None, _file: file.ok() }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let uid = holder_of(interface).map_err(io)?;
                if uid.is_some_and(ours) {
                    return Err(LockError::Taken(interface.into()));
                }
                let stranger = Stranger { uid };
                match file {
                    Ok(file) => Ok(Self { listener: None, stranger: Some(stranger), _file: Some(file) }),
                    Err(error) => Err(LockError::Stranger {
                        interface: interface.into(),
                        stranger,
                        reason: error.to_string(),
                    }),
                }
            }
            Err(error) => Err(io(error)),
        }
    }

    /// The socket through which other processes ask this one for a hand-over. `None` if a stranger holds the
    /// name, so that they cannot.
    pub fn listener(&self) -> Option<&UnixListener> {
        self.listener.as_ref()
    }

    /// The process that holds the name instead of this one, if any.
    pub fn stranger(&self) -> Option<Stranger> {
        self.stranger
    }

    /// Whether a pxed serves an interface, as far as the name of its lock shows. `ours` returns whether a
    /// holder with this user ID is trusted.
    #[must_use]
    pub fn is_served(interface: &str, ours: impl Fn(u32) -> bool) -> bool {
        holder_of(interface).is_ok_and(|uid| uid.is_some_and(ours))
    }

    /// Connects to the process that holds the name of an interface. `None` if no process does.
    ///
    /// # Errors
    /// [`LockError::Io`].
    pub fn holder(interface: &str) -> Result<Option<UnixStream>, LockError> {
        let io = |source| LockError::Io { interface: interface.into(), source };
        let Some(stream) = connect(interface).map_err(io)? else { return Ok(None) };
        let stream = UnixStream::from(stream);
        stream.set_nonblocking(false).map_err(io)?;
        Ok(Some(stream))
    }
}

/// Whether pxed trusts a process of this user to be a pxed: the user is root, the user of this process, or
/// the daemon's user `account`, but never `nobody`.
#[must_use]
pub fn is_ours(uid: u32, account: Option<u32>) -> bool {
    let us = rustix::process::geteuid().as_raw();
    uid == 0 || uid != NOBODY && (uid == us || Some(uid) == account)
}

fn address(interface: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(name(interface))
}

fn name(interface: &str) -> String {
    format!("pxed/{interface}")
}

/// Returns the user of the process that listens on an interface's name. `None` if no process listens, or if
/// its queue of connections is full.
fn holder_of(interface: &str) -> io::Result<Option<u32>> {
    match connect(interface) {
        Ok(Some(stream)) => Ok(Some(sockopt::socket_peercred(&stream)?.uid.as_raw())),
        Ok(None) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Connects without waiting, because a stranger that accepts no connections must not block pxed. `None` if no
/// process listens.
fn connect(interface: &str) -> io::Result<Option<OwnedFd>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new_abstract_name(name(interface).as_bytes())?) {
        Ok(()) => Ok(Some(socket)),
        Err(rustix::io::Errno::CONNREFUSED) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Locks the byte of the file that belongs to an interface. Its offset consists of the numbers of the network
/// namespace and of the interface. Returns `WouldBlock` if another process has locked it.
fn lock_range(path: &Path, index: u32) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    }
    let mut options = File::options();
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file =
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(nofollow).open(path)?;
    // The number of a namespace has 32 bits (nsfs), and the index of an interface has at most 31.
    let namespace = std::fs::metadata("/proc/thread-self/ns/net")?.ino() & 0xffff_ffff;
    let place = (namespace << 31 | u64::from(index) & 0x7fff_ffff).cast_signed();
    let range = libc::flock {
        l_type: libc::F_WRLCK as _,
        l_whence: libc::SEEK_SET as _,
        l_start: place,
        l_len: 1,
        l_pid: 0,
    };
    match fcntl(&file, FcntlArg::F_OFD_SETLK(&range)) {
        Ok(_) => Ok(file),
        Err(nix::errno::Errno::EACCES) => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_self(uid: u32) -> bool {
        uid == rustix::process::geteuid().as_raw()
    }

    #[test]
    fn an_interface_is_taken_once_and_free_again_when_its_holder_goes() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("lock");
        let name = format!("test-{}", std::process::id());
        // The second process can see both locks, or cannot see the first one's file.
        for other in [file.as_path(), Path::new("/proc/no/lock")] {
            assert!(InterfaceLock::holder(&name).unwrap().is_none());
            let held = InterfaceLock::take_with(&file, &name, 7, is_self).unwrap();
            let second = InterfaceLock::take_with(other, &name, 7, is_self);
            assert!(matches!(second, Err(LockError::Taken(_))));
            assert!(InterfaceLock::holder(&name).unwrap().is_some());
            drop(held);
        }
        InterfaceLock::take_with(&file, &name, 7, is_self).unwrap();
    }

    /// Another user has bound the name, with or without listening, and accepts no connections. pxed serves
    /// the interface anyway, but only once.
    #[test]
    fn a_stranger_with_the_name_is_named_and_in_nobodys_way() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("lock");
        let name = format!("strange-{}", std::process::id());
        let stranger = |_| false;
        for listens in [true, false] {
            let socket =
                socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
            let address = SocketAddrUnix::new_abstract_name(super::name(&name).as_bytes()).unwrap();
            rustix::net::bind(&socket, &address).unwrap();
            if listens {
                rustix::net::listen(&socket, 8).unwrap();
            }
            let held = InterfaceLock::take_with(&file, &name, 7, stranger).unwrap();
            let uid = rustix::process::geteuid().as_raw();
            assert_eq!(held.stranger(), Some(Stranger { uid: listens.then_some(uid) }));
            assert!(held.listener().is_none());
            let second = InterfaceLock::take_with(&file, &name, 7, stranger);
            assert!(matches!(second, Err(LockError::Taken(_))), "the file counts");
            InterfaceLock::take_with(&file, &name, 8, stranger).unwrap();
            let nowhere = InterfaceLock::take_with(Path::new("/proc/no/lock"), &name, 7, stranger);
            let said = nowhere.unwrap_err().to_string();
            assert!(
                said.contains("end that process") && (!listens || said.contains(&uid.to_string())),
                "{said}"
            );
        }
    }

    #[test]
    fn root_the_daemons_user_and_we_are_believed_and_nobody_is_not() {
        let us = rustix::process::geteuid().as_raw();
        for (uid, account, believed) in [
            (0, None, true),
            (us, None, true),
            (4711, None, false),
            (4711, Some(4711), true),
            (NOBODY, Some(NOBODY), false),
        ] {
            assert_eq!(is_ours(uid, account), believed, "{uid}");
        }
    }
}
