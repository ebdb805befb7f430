//! Never more than one responder per interface.
//!
//! An abstract Unix socket is the lock: its name lives in the network namespace, as the interface does, and the kernel
//! frees it with the process, however that ends. Who wants the interface next can ask through it.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

/// Held for as long as an interface is served.
#[derive(Debug)]
pub struct InterfaceLock {
    listener: UnixListener,
}

/// Why an interface cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another responder has it.
    #[error(
        "another pxed already serves {0}: one responder per interface; end that one first, or go on with its work by --take-over"
    )]
    Taken(String),
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
    /// Takes the interface.
    ///
    /// # Errors
    /// [`LockError::Taken`] when another process of this network namespace holds it.
    pub fn take(interface: &str) -> Result<Self, LockError> {
        let io = |source| LockError::Io { interface: interface.into(), source };
        match UnixListener::bind_addr(&address(interface).map_err(io)?) {
            Ok(listener) => Ok(Self { listener }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(LockError::Taken(interface.into())),
            Err(error) => Err(io(error)),
        }
    }

    /// Where others ask its holder.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// A way to who holds an interface; `None` if nobody does.
    ///
    /// # Errors
    /// [`LockError::Io`].
    pub fn holder(interface: &str) -> Result<Option<UnixStream>, LockError> {
        let io = |source| LockError::Io { interface: interface.into(), source };
        match UnixStream::connect_addr(&address(interface).map_err(io)?) {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(None),
            Err(error) => Err(io(error)),
        }
    }
}

fn address(interface: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("pxed/{interface}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_taken_once_and_free_again_when_its_holder_goes() {
        let name = format!("test-{}", std::process::id());
        assert!(InterfaceLock::holder(&name).unwrap().is_none());
        let held = InterfaceLock::take(&name).unwrap();
        assert!(matches!(InterfaceLock::take(&name), Err(LockError::Taken(_))));
        assert!(InterfaceLock::holder(&name).unwrap().is_some());
        drop(held);
        InterfaceLock::take(&name).unwrap();
    }
}
