//! Never more than one responder per interface.
//!
//! Two locks, each for what the other cannot do; the kernel frees both with the process, however that ends:
//!
//! - A range of the file [`FILE`], in a directory where only root and the daemon's user can write. It is what counts.
//! - A name: an abstract Unix socket, which lives in the network namespace, as the interface does. It is seen from
//!   containers with a file system of their own, and who wants the interface next asks through it. But any user of this
//!   host can bind it first, so its holder is believed only if it is root, the daemon's user, or who we are.

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

/// The file with a range for each interface of each network namespace.
pub const FILE: &str = "/run/pxed/pxed-interfaces.lock";
/// `nobody` is too many to be believed.
const NOBODY: u32 = 65534;

/// Held for as long as an interface is served.
#[derive(Debug)]
pub struct InterfaceLock {
    /// `None` if a stranger has the name.
    listener: Option<UnixListener>,
    stranger: Option<Stranger>,
    _file: Option<File>,
}

/// Who has the name of an interface's lock without a right to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// The user; `None` if it listens to nobody, so that nobody can see whose it is.
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

/// Why an interface cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another responder has it.
    #[error(
        "another pxed already serves {0}: stop it first, or start with --take-over to resume its transfers"
    )]
    Taken(String),
    /// A stranger has the name, and there is no other way to know whether a responder has the interface.
    #[error(
        "a process of {stranger} holds the abstract socket @pxed/{interface}, and {FILE} cannot be locked either ({reason}): \
         end that process (`ss -lxp` shows it), or let pxed write there"
    )]
    Stranger {
        /// The interface.
        interface: String,
        /// Whose process has its name.
        stranger: Stranger,
        /// Why the file is of no use.
        reason: String,
    },
    /// Something else went wrong.
    #[error("cannot lock interface {interface}: {source}")]
    Io {
        /// The interface.
        interface: String,
        /// The system's reason.
        source: io::Error,
    },
}

impl InterfaceLock {
    /// Takes the interface with this name and index. A holder of the name is believed if it is one of the users `ours`, by
    /// number: see [`is_ours`].
    ///
    /// # Errors
    /// [`LockError::Taken`] when another pxed of this network namespace holds it.
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

    /// Where others ask its holder; `None` if they cannot, since a stranger has the name.
    pub fn listener(&self) -> Option<&UnixListener> {
        self.listener.as_ref()
    }

    /// Who has the name in our place.
    pub fn stranger(&self) -> Option<Stranger> {
        self.stranger
    }

    /// Whether a pxed serves an interface, as far as the name of its lock tells: a holder is believed if it is one of the users
    /// `ours`.
    #[must_use]
    pub fn is_served(interface: &str, ours: impl Fn(u32) -> bool) -> bool {
        holder_of(interface).is_ok_and(|uid| uid.is_some_and(ours))
    }

    /// A way to who holds an interface; `None` if nobody does.
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

/// Whether a process of this user is believed to be a pxed: one of root, of who we are, or of the daemon's user, if that is
/// not `nobody`.
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

/// The user of the process that listens on an interface's name; `None` if none listens, or has time for us.
fn holder_of(interface: &str) -> io::Result<Option<u32>> {
    match connect(interface) {
        Ok(Some(stream)) => Ok(Some(sockopt::socket_peercred(&stream)?.uid.as_raw())),
        Ok(None) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Connects without waiting: a stranger who accepts nobody must not keep us. `None` if nobody listens.
fn connect(interface: &str) -> io::Result<Option<OwnedFd>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new_abstract_name(name(interface).as_bytes())?) {
        Ok(()) => Ok(Some(socket)),
        Err(rustix::io::Errno::CONNREFUSED) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Locks an interface's byte of the file, which lies as far into it as this network namespace and the interface have numbers.
/// `WouldBlock` if another process has it.
fn lock_range(path: &Path, index: u32) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    }
    let mut options = File::options();
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file =
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(nofollow).open(path)?;
    // Numbers of namespaces have 32 bits (nsfs); an index of more than 31 is none.
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
        // With both locks, and by a process that cannot see the other's file.
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

    /// Somebody else has bound the name, whether it listens or not, and accepts nobody: pxed serves all the same, once.
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
