//! A packet socket for one UDP port. It receives copies of the frames to that port, and takes them from no
//! other process.
//!
//! A DHCP server on the same host may bind port 67 for itself at any time. Without XDP, a packet socket is
//! the only way to serve beside it. It is also the only way to send to a machine that has no address yet
//! without ARP or broadcast.
#![expect(unsafe_code, reason = "packet sockets, for which no safe wrapper exists")]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use pxe_common::wire;

/// Largest frame that is received, in bytes. DHCP requests are not fragmented.
const FRAME_MAX: usize = 2048;
/// Size of the receive buffer in bytes: room for the requests of a thousand machines that are switched on
/// together.
const RECEIVE_BUFFER: libc::c_int = 4 << 20;

/// A packet socket on one interface, with its receive buffer.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    buffer: Box<[u8; FRAME_MAX]>,
}

impl PacketSocket {
    /// Opens a socket that receives unfragmented IPv4 UDP datagrams to `port`, on the interface with this
    /// index.
    ///
    /// # Errors
    /// The system's error; most often the right is missing (CAP_NET_RAW).
    pub fn open(interface: u32, port: u16) -> io::Result<Self> {
        // With protocol 0, the socket receives nothing before the filter is attached.
        // SAFETY: the call takes no pointers. The descriptor is checked, and nothing else owns it.
        let fd = unsafe {
            let fd =
                libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let socket = Self { fd, buffer: Box::new([0; FRAME_MAX]) };
        if socket.set_option(libc::SO_RCVBUFFORCE, &RECEIVE_BUFFER).is_err() {
            socket.set_option(libc::SO_RCVBUF, &RECEIVE_BUFFER)?;
        }
        let mut filter = filter(port);
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        socket.set_option(libc::SO_ATTACH_FILTER, &program)?;
        socket.bind(interface)?;
        Ok(socket)
    }

    /// Adopts a socket that [`Self::open`] has opened in another pxed process.
    pub fn adopt(fd: OwnedFd) -> Self {
        Self { fd, buffer: Box::new([0; FRAME_MAX]) }
    }

    fn set_option<T>(&self, option: libc::c_int, value: &T) -> io::Result<()> {
        // SAFETY: the pointer and the length describe `value`, which the kernel only reads. A filter program
        // in `value` points to instructions that live until the call returns.
        let result = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                std::ptr::from_ref(value).cast(),
                size_of::<T>() as u32,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn bind(&self, interface: u32) -> io::Result<()> {
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: (libc::ETH_P_IP as u16).to_be(),
            sll_ifindex: interface as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        // SAFETY: the pointer and the length describe `address`.
        let result = unsafe {
            libc::bind(
                self.fd.as_raw_fd(),
                std::ptr::from_ref(&address).cast(),
                size_of::<libc::sockaddr_ll>() as u32,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Returns the next received frame; `None` if there is none.
    pub fn receive(&mut self) -> Option<&[u8]> {
        // SAFETY: the pointer and the length describe the buffer.
        let len = unsafe {
            libc::recv(self.fd.as_raw_fd(), self.buffer.as_mut_ptr().cast(), FRAME_MAX, libc::MSG_DONTWAIT)
        };
        self.buffer.get(..usize::try_from(len).ok()?)
    }

    /// Sends a frame. Returns false if the kernel did not accept it.
    pub fn send(&self, frame: &[u8]) -> bool {
        // SAFETY: the pointer and the length describe `frame`.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        usize::try_from(sent) == Ok(frame.len())
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A filter (classic BPF) that accepts UDP datagrams to this port, in IPv4 packets without options that are
/// not fragments.
fn filter(port: u16) -> [libc::sock_filter; 12] {
    const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
    const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const IF_ANY: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k: u32| libc::sock_filter { code, jt, jf, k };
    let ip = wire::ETH_LEN as u32;
    let udp = ip + wire::IPV4_LEN as u32;
    [
        step(LOAD_HALF, 0, 0, wire::ETH_TYPE as u32),
        step(IF_EQUAL, 0, 9, u32::from(wire::ETHERTYPE_IPV4)),
        step(LOAD_BYTE, 0, 0, ip),
        step(IF_EQUAL, 0, 7, u32::from(wire::IPV4_VERSION_IHL)),
        step(LOAD_BYTE, 0, 0, ip + wire::IPV4_PROTOCOL as u32),
        step(IF_EQUAL, 0, 5, u32::from(wire::PROTOCOL_UDP)),
        step(LOAD_HALF, 0, 0, ip + wire::IPV4_FRAGMENT as u32),
        step(IF_ANY, 3, 0, u32::from(wire::IPV4_FRAGMENT_MASK)),
        step(LOAD_HALF, 0, 0, udp + 2),
        step(IF_EQUAL, 0, 1, u32::from(port)),
        step(RETURN, 0, 0, u32::MAX),
        step(RETURN, 0, 0, 0),
    ]
}
