//! Plain UDP sockets, in batches: `recvmmsg` to receive, `sendmmsg` to send, and `UDP_SEGMENT` for whole
//! windows.
//!
//! Blocks are sent without a copy from the memory in which they lie. The batch keeps the owner of that memory
//! alive until the kernel has taken the block.
#![expect(unsafe_code, reason = "socket options that have no safe wrapper")]

mod receive;
mod send;

pub use receive::Receiver;
pub use send::Sender;

use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// Number of messages per system call.
const BATCH: usize = 64;
/// Size of the receive buffer in bytes: room for the requests of a thousand machines that are switched on
/// together.
const RECEIVE_BUFFER: libc::c_int = 8 << 20;
/// Size of the send buffer in bytes.
const SEND_BUFFER: libc::c_int = 4 << 20;

/// Why a UDP socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum UdpError {
    /// Another process has the port.
    #[error(
        "UDP port {port} on {address} is in use: see `ss -lunp 'sport = :{port}'`, and stop that server or give pxed another interface"
    )]
    InUse {
        /// The UDP port.
        port: u16,
        /// The address that the socket should have.
        address: Ipv4Addr,
    },
    /// The process has no right to use this port or the interface.
    #[error("no right to use UDP port {0} (run as root, or with CAP_NET_BIND_SERVICE and CAP_NET_RAW)")]
    Denied(u16),
    /// Another system call failed.
    #[error("cannot open UDP port {port} on {address}: {source}")]
    Io {
        /// The UDP port.
        port: u16,
        /// The address that the socket should have.
        address: Ipv4Addr,
        /// The system's error.
        source: io::Error,
    },
}

/// A UDP socket of one interface, one address and one port. The address is that of all its datagrams, in both
/// directions, so none of them carries it beside its content (`IP_PKTINFO`).
#[derive(Debug)]
pub struct UdpSocket {
    fd: OwnedFd,
    address: Ipv4Addr,
    port: u16,
    /// Whether the kernel cuts messages into segments for this socket. It becomes false when the kernel
    /// refuses this for the first time.
    segments: bool,
}

impl UdpSocket {
    /// Opens a socket on `interface` for datagrams to `address` and `port`. It receives no broadcasts.
    ///
    /// # Errors
    /// [`UdpError`].
    pub fn open(interface: &str, address: Ipv4Addr, port: u16) -> Result<Self, UdpError> {
        Self::try_open(interface, address, port).map_err(|source| match source.raw_os_error() {
            Some(libc::EADDRINUSE) => UdpError::InUse { port, address },
            Some(libc::EACCES | libc::EPERM) => UdpError::Denied(port),
            _ => UdpError::Io { port, address, source },
        })
    }

    /// Adopts a socket that [`Self::open`] has opened in another pxed process.
    ///
    /// # Errors
    /// When the socket is bound to another address than `address`.
    pub fn adopt(fd: OwnedFd, address: Ipv4Addr) -> io::Result<Self> {
        match rustix::net::getsockname(&fd)?.try_into() {
            Ok(std::net::SocketAddr::V4(bound)) if *bound.ip() == address => {
                Ok(Self { fd, address, port: bound.port(), segments: true })
            }
            _ => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    }

    fn try_open(interface: &str, address: Ipv4Addr, port: u16) -> io::Result<Self> {
        // SAFETY: the call takes no pointers. The descriptor is checked, and nothing else owns it.
        let fd = unsafe {
            let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let on: libc::c_int = 1;
        set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_BROADCAST, &on)?;
        // This host never fragments (`pxe_proto::tftp::negotiation::OptionLimits`), and ignores messages that
        // claim a smaller path MTU. Routers may fragment (`pxe_proto::datagram::write_frame` says why).
        set_option(fd.as_fd(), libc::SOL_IP, libc::IP_MTU_DISCOVER, &libc::IP_PMTUDISC_INTERFACE)?;
        // The buffer may exceed the system's limit if this process has the right; otherwise it gets at most
        // the limit.
        for (forced, plain, size) in [
            (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, RECEIVE_BUFFER),
            (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, SEND_BUFFER),
        ] {
            if set_option(fd.as_fd(), libc::SOL_SOCKET, forced, &size).is_err() {
                set_option(fd.as_fd(), libc::SOL_SOCKET, plain, &size)?;
            }
        }
        bind_to_device(fd.as_fd(), interface)?;
        bind(fd.as_fd(), address, port)?;
        Ok(Self { fd, address, port, segments: true })
    }

    /// The socket's local address and port: the port that was given to [`Self::open`], or that an adopted socket is bound
    /// to.
    pub fn local(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address, self.port)
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn set_option<T>(fd: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as u32,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn bind_to_device(fd: BorrowedFd<'_>, interface: &str) -> io::Result<()> {
    let name = interface.as_bytes();
    // SAFETY: the pointer and the length describe `name`. The option takes a name of any length below
    // IFNAMSIZ.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_ptr().cast(),
            name.len() as u32,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn bind(fd: BorrowedFd<'_>, address: Ipv4Addr, port: u16) -> io::Result<()> {
    let raw = to_raw(SocketAddrV4::new(address, port));
    // SAFETY: the pointer and the length describe `raw`.
    let result = unsafe {
        libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&raw).cast(), size_of::<libc::sockaddr_in>() as u32)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn to_raw(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    }
}

fn from_raw(raw: &libc::sockaddr_in) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes()), u16::from_be(raw.sin_port))
}

/// Buffer for control messages, aligned as their headers require.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Ancillary([u8; 24]);

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    fn pair() -> (Vec<UdpSocket>, std::net::UdpSocket, SocketAddrV4) {
        let ours = UdpSocket::open("lo", Ipv4Addr::LOCALHOST, 0).unwrap();
        let theirs = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        theirs.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let std::net::SocketAddr::V4(address) = theirs.local_addr().unwrap() else {
            panic!("an IPv4 socket")
        };
        (vec![ours], theirs, address)
    }

    #[test]
    fn a_window_arrives_as_its_blocks() {
        let (mut sockets, theirs, to) = pair();
        let bytes: Arc<[u8]> = (0..=255).cycle().take(1468 * 70 + 77).collect();
        let mut sender = Sender::default();
        let blksize = 1468;
        sender.push_blocks(&mut sockets, 0, to, &bytes, 71, |index| {
            let start = index as usize * blksize;
            ([0, 3, 0, index as u8], start..(start + blksize).min(bytes.len()))
        });
        sender.flush(&mut sockets);
        assert_eq!(sender.lost(), 0);
        let mut buffer = [0; 2048];
        for index in 0..71 {
            let len = theirs.recv(&mut buffer).unwrap();
            assert_eq!(buffer[..4], [0, 3, 0, index as u8]);
            let start = index * blksize;
            assert_eq!(buffer[4..len], bytes[start..(start + blksize).min(bytes.len())], "block {index}");
        }
    }

    #[test]
    fn a_batch_is_received_with_its_addresses() {
        let (mut sockets, theirs, to) = pair();
        let mut sender: Sender<Vec<u8>> = Sender::default();
        sender.push(&mut sockets, 0, to, b"port?");
        sender.flush(&mut sockets);
        let mut buffer = [0; 16];
        let (len, ours) = theirs.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"port?");
        theirs.send_to(b"one", ours).unwrap();
        theirs.send_to(b"two", ours).unwrap();
        let mut seen = Vec::new();
        let mut receiver = Receiver::default();
        seen.extend(receiver.receive(&sockets[0]).unwrap().map(|(from, bytes)| (from, bytes.to_vec())));
        let expected = |bytes: &[u8]| (to, bytes.to_vec());
        assert_eq!(seen, [expected(b"one"), expected(b"two")]);
    }

    #[test]
    fn a_port_in_use_is_said() {
        let taken = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = UdpSocket::open("lo", Ipv4Addr::LOCALHOST, port).unwrap_err();
        assert!(matches!(error, UdpError::InUse { .. }), "{error}");
    }
}
