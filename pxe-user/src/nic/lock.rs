//! Never more than one responder per interface.
//!
//! An abstract Unix socket is the lock: its name lives in the network namespace, as the interface does, and the kernel
//! frees it with the process, however that ends.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Held for as long as an interface is served.
#[derive(Debug)]
pub struct InterfaceLock {
    _socket: UnixDatagram,
}

/// Why an interface cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another responder has it.
    #[error("another pxed already serves {0}: one responder per interface; end that one first")]
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
        let address = SocketAddr::from_abstract_name(format!("pxed/{interface}")).map_err(io)?;
        match UnixDatagram::bind_addr(&address) {
            Ok(socket) => Ok(Self { _socket: socket }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(LockError::Taken(interface.into())),
            Err(error) => Err(io(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_taken_once_and_free_again_when_its_holder_goes() {
        let name = format!("test-{}", std::process::id());
        let held = InterfaceLock::take(&name).unwrap();
        assert!(matches!(InterfaceLock::take(&name), Err(LockError::Taken(_))));
        drop(held);
        InterfaceLock::take(&name).unwrap();
    }
}
