//! Plain UDP sockets, in batches: `recvmmsg` in, `sendmmsg` out, whole windows by `UDP_SEGMENT`.
//!
//! A block goes out straight from where it lies: the batch holds on to its owner until the kernel has taken it.
#![expect(unsafe_code, reason = "message headers of recvmmsg and sendmmsg, which point into buffers")]

use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// Datagrams per system call.
const BATCH: usize = 64;
/// The largest datagram that is received: requests are small, and fit an Ethernet frame.
const RECEIVED_MAX: usize = 2048;
/// The largest datagram that is sent from a buffer: a DHCP reply.
const SMALL_MAX: usize = 1536;
/// Segments that the kernel cuts out of one message (`UDP_MAX_SEGMENTS` in Linux before 6.9).
const SEGMENTS_MAX: usize = 64;
/// The largest UDP payload (RFC 768: 16 bits, less the headers of IPv4 and UDP).
const PAYLOAD_MAX: usize = 65507;
/// Receive buffer: the requests of a thousand machines that are switched on together.
const RECEIVE_BUFFER: libc::c_int = 8 << 20;
/// Send buffer.
const SEND_BUFFER: libc::c_int = 4 << 20;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum UdpError {
    /// Another process has the port.
    #[error(
        "UDP port {port} on {address} is in use: see `ss -lunp 'sport = :{port}'`, and stop that server or give pxed another interface"
    )]
    InUse {
        /// The port.
        port: u16,
        /// The address.
        address: Ipv4Addr,
    },
    /// No right to use the port or the interface.
    #[error("no right to use UDP port {0} (run as root, or with CAP_NET_BIND_SERVICE and CAP_NET_RAW)")]
    Denied(u16),
    /// Something else.
    #[error("cannot open UDP port {port} on {address}: {source}")]
    Io {
        /// The port.
        port: u16,
        /// The address.
        address: Ipv4Addr,
        /// The system's reason.
        source: io::Error,
    },
}

/// A socket of one interface and one port.
#[derive(Debug)]
pub struct UdpSocket {
    fd: OwnedFd,
    port: u16,
    /// Whether the kernel cuts messages into segments for it; given up at the first refusal.
    segments: bool,
}

impl UdpSocket {
    /// A socket on `interface` for datagrams to `address` (0.0.0.0: also broadcasts) and `port`.
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

    fn try_open(interface: &str, address: Ipv4Addr, port: u16) -> io::Result<Self> {
        // SAFETY: no pointers; the descriptor is checked and owned by nobody else.
        let fd = unsafe {
            let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let on: libc::c_int = 1;
        set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_BROADCAST, &on)?;
        set_option(fd.as_fd(), libc::SOL_IP, libc::IP_PKTINFO, &on)?;
        // Never a fragment, whatever the path's MTU turns out to be: see `tftp::terms::Limits`.
        set_option(fd.as_fd(), libc::SOL_IP, libc::IP_MTU_DISCOVER, &libc::IP_PMTUDISC_PROBE)?;
        // Beyond the system's limit if we may, else up to it.
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
        Ok(Self { fd, port, segments: true })
    }

    /// Our port.
    pub fn port(&self) -> u16 {
        self.port
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
    // SAFETY: the pointer and the length describe `name`; the option takes a name of any length below IFNAMSIZ.
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

/// Room for control messages, aligned as their headers want it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Ancillary([u8; 64]);

/// Buffers for one batch of received datagrams.
pub struct Receiver {
    buffers: Box<[[u8; RECEIVED_MAX]; BATCH]>,
    ancillary: Box<[Ancillary; BATCH]>,
    addresses: Box<[libc::sockaddr_in; BATCH]>,
}

impl Default for Receiver {
    fn default() -> Self {
        // SAFETY: all-zero is a valid value of a struct of integers.
        let address: libc::sockaddr_in = unsafe { zeroed() };
        Self {
            buffers: Box::new([[0; RECEIVED_MAX]; BATCH]),
            ancillary: Box::new([Ancillary([0; 64]); BATCH]),
            addresses: Box::new([address; BATCH]),
        }
    }
}

impl Receiver {
    /// Takes what waits at `socket`, at most one batch: the sender, the address that it used, and the payload.
    ///
    /// # Errors
    /// The system's; an empty socket is no error.
    pub fn receive<'a>(
        &'a mut self,
        socket: &UdpSocket,
    ) -> io::Result<impl Iterator<Item = (SocketAddrV4, Ipv4Addr, &'a [u8])> + use<'a>> {
        // SAFETY: all-zero is a valid value of these structs of integers and pointers.
        let mut vectors: [libc::iovec; BATCH] = unsafe { zeroed() };
        // SAFETY: as above.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        for index in 0..BATCH {
            vectors[index] =
                libc::iovec { iov_base: self.buffers[index].as_mut_ptr().cast(), iov_len: RECEIVED_MAX };
            let header = &mut messages[index].msg_hdr;
            header.msg_name = std::ptr::from_mut(&mut self.addresses[index]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
            header.msg_iov = &raw mut vectors[index];
            header.msg_iovlen = 1;
            header.msg_control = self.ancillary[index].0.as_mut_ptr().cast();
            header.msg_controllen = size_of::<Ancillary>();
        }
        // SAFETY: every header points to buffers of ours that live through the call, with their true lengths.
        let count = unsafe {
            libc::recvmmsg(
                socket.fd.as_raw_fd(),
                messages.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let count = if count < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(error);
            }
            0
        } else {
            count as usize
        };
        let this = &*self;
        // Read out now: the headers point to locals of this function.
        let found: [(usize, Ipv4Addr); BATCH] = std::array::from_fn(|index| {
            let len = (messages[index].msg_len as usize).min(RECEIVED_MAX);
            let to = if index < count { destination(&messages[index].msg_hdr) } else { None };
            (len, to.unwrap_or(Ipv4Addr::UNSPECIFIED))
        });
        Ok(found.into_iter().take(count).enumerate().map(move |(index, (len, to))| {
            (from_raw(&this.addresses[index]), to, &this.buffers[index][..len])
        }))
    }
}

/// The address that a datagram was sent to, from `IP_PKTINFO`.
fn destination(header: &libc::msghdr) -> Option<Ipv4Addr> {
    // SAFETY: the kernel has filled the control buffer and its length; the macros walk within it, and the payload of
    // an IP_PKTINFO message is an `in_pktinfo`, which is read without asking for alignment.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            if (*message).cmsg_level == libc::SOL_IP && (*message).cmsg_type == libc::IP_PKTINFO {
                let info: libc::in_pktinfo = std::ptr::read_unaligned(libc::CMSG_DATA(message).cast());
                return Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()));
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    None
}

/// One message of a [`Sender`]'s batch: a small datagram, or blocks of an owner with a header in front of each.
struct Slot<O> {
    socket: usize,
    from: Ipv4Addr,
    to: SocketAddrV4,
    small: [u8; SMALL_MAX],
    small_len: usize,
    heads: [[u8; 4]; SEGMENTS_MAX],
    /// Offset and length in the owner's bytes of each block.
    blocks: [(usize, usize); SEGMENTS_MAX],
    block_count: usize,
    owner: Option<O>,
}

/// A batch of datagrams on their way out.
pub struct Sender<O> {
    slots: Vec<Slot<O>>,
    used: usize,
    lost: u64,
}

impl<O: AsRef<[u8]>> Default for Sender<O> {
    fn default() -> Self {
        let slot = || Slot {
            socket: 0,
            from: Ipv4Addr::UNSPECIFIED,
            to: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
            small: [0; SMALL_MAX],
            small_len: 0,
            heads: [[0; 4]; SEGMENTS_MAX],
            blocks: [(0, 0); SEGMENTS_MAX],
            block_count: 0,
            owner: None,
        };
        Self { slots: (0..BATCH).map(|_| slot()).collect(), used: 0, lost: 0 }
    }
}

impl<O: AsRef<[u8]>> Sender<O> {
    /// Queues one datagram to go out of the socket with this index. What is too long for the buffer is not sent.
    pub fn push(
        &mut self,
        sockets: &mut [UdpSocket],
        socket: usize,
        from: Ipv4Addr,
        to: SocketAddrV4,
        bytes: &[u8],
    ) {
        if bytes.len() > SMALL_MAX {
            self.lost += 1;
            return;
        }
        let slot = self.slot(sockets, socket, from, to);
        slot.small[..bytes.len()].copy_from_slice(bytes);
        slot.small_len = bytes.len();
    }

    /// Queues datagrams of `head(i)` and the bytes `block(i)` of `owner`, for i below `count`. All blocks but the last
    /// have the same length.
    #[expect(clippy::too_many_arguments, reason = "one call a window; a struct would only name them twice")]
    pub fn push_blocks(
        &mut self,
        sockets: &mut [UdpSocket],
        socket: usize,
        from: Ipv4Addr,
        to: SocketAddrV4,
        owner: &O,
        count: u64,
        mut block: impl FnMut(u64) -> ([u8; 4], std::ops::Range<usize>),
    ) where
        O: Clone,
    {
        let mut index = 0;
        while index < count {
            let segments = sockets.get(socket).is_some_and(|socket| socket.segments);
            let slot = self.slot(sockets, socket, from, to);
            let mut bytes = 0;
            while index < count && slot.block_count < if segments { SEGMENTS_MAX } else { 1 } {
                let (head, range) = block(index);
                if bytes + head.len() + range.len() > PAYLOAD_MAX {
                    break;
                }
                bytes += head.len() + range.len();
                slot.heads[slot.block_count] = head;
                slot.blocks[slot.block_count] = (range.start, range.len());
                slot.block_count += 1;
                index += 1;
            }
            slot.owner = Some(owner.clone());
        }
    }

    fn slot(
        &mut self,
        sockets: &mut [UdpSocket],
        socket: usize,
        from: Ipv4Addr,
        to: SocketAddrV4,
    ) -> &mut Slot<O> {
        if self.used == self.slots.len() {
            self.flush(sockets);
        }
        let slot = &mut self.slots[self.used];
        self.used += 1;
        (slot.socket, slot.from, slot.to) = (socket, from, to);
        (slot.small_len, slot.block_count) = (0, 0);
        slot
    }

    /// Sends what is queued. What the kernel does not take is lost, as on a wire; the peers' timers see to that.
    pub fn flush(&mut self, sockets: &mut [UdpSocket]) {
        let mut start = 0;
        while start < self.used {
            let socket = self.slots[start].socket;
            let len = self.slots[start..self.used].iter().take_while(|slot| slot.socket == socket).count();
            if let Some(socket) = sockets.get_mut(socket) {
                self.lost += send_all(socket, &self.slots[start..start + len]);
            }
            start += len;
        }
        for slot in &mut self.slots[..self.used] {
            slot.owner = None;
        }
        self.used = 0;
    }

    /// Datagrams that the kernel did not take.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

/// Sends the slots in order; returns how many were lost.
fn send_all<O: AsRef<[u8]>>(socket: &mut UdpSocket, slots: &[Slot<O>]) -> u64 {
    let (mut done, mut lost) = (0, 0);
    while done < slots.len() {
        match send_some(socket, &slots[done..]) {
            Ok(sent) => done += sent,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let slot = &slots[done];
                if slot.block_count > 1 && cannot_segment(&error) {
                    socket.segments = false;
                    lost += send_singly(socket, slot);
                } else {
                    lost += 1;
                }
                done += 1;
            }
        }
    }
    lost
}

/// What Linux says where it cannot cut segments: no such option, no checksum offload, or a path MTU that is too small.
fn cannot_segment(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP))
}

/// Sends each block of a slot as a message of its own; returns how many were lost.
fn send_singly<O: AsRef<[u8]>>(socket: &UdpSocket, slot: &Slot<O>) -> u64 {
    let blocks = slot.heads.iter().zip(&slot.blocks).take(slot.block_count);
    let bytes = slot.owner.as_ref().map_or(&[][..], AsRef::as_ref);
    let to = to_raw(slot.to);
    let mut lost = 0;
    for (head, &(start, len)) in blocks {
        let block = bytes.get(start..start + len).unwrap_or_default();
        let mut vectors = [vector(head), vector(block)];
        let mut ancillary = Ancillary([0; 64]);
        let header = header(&to, &mut vectors, &mut ancillary, slot.from, None);
        // SAFETY: the header points to locals that live through the call.
        let sent = unsafe { libc::sendmsg(socket.fd.as_raw_fd(), &header, 0) };
        lost += u64::from(sent < 0);
    }
    lost
}

/// One `sendmmsg`; returns how many messages the kernel has taken, at least one.
fn send_some<O: AsRef<[u8]>>(socket: &UdpSocket, slots: &[Slot<O>]) -> io::Result<usize> {
    let count = slots.len().min(BATCH);
    // SAFETY: all-zero is a valid value of these structs of integers and pointers.
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
    // SAFETY: as above.
    let mut addresses: [libc::sockaddr_in; BATCH] = unsafe { zeroed() };
    let mut ancillary = [Ancillary([0; 64]); BATCH];
    // 128 KiB, of which a batch mostly uses little: not worth clearing.
    let mut vectors = [const { [const { MaybeUninit::uninit() }; 2 * SEGMENTS_MAX] }; BATCH];
    for (index, slot) in slots[..count].iter().enumerate() {
        addresses[index] = to_raw(slot.to);
        let (used, segment) = gather(slot, &mut vectors[index]);
        messages[index].msg_hdr = header(&addresses[index], used, &mut ancillary[index], slot.from, segment);
    }
    // SAFETY: the headers point to locals, and to bytes of the slots and their owners; all live through the call.
    let sent = unsafe { libc::sendmmsg(socket.fd.as_raw_fd(), messages.as_mut_ptr(), count as u32, 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// Points the vectors at a slot's bytes; returns those that are used, and the segments' length if there are several.
fn gather<'a, O: AsRef<[u8]>>(
    slot: &Slot<O>,
    vectors: &'a mut [MaybeUninit<libc::iovec>],
) -> (&'a mut [libc::iovec], Option<u16>) {
    let mut used = 0;
    let mut push = |bytes: &[u8]| {
        vectors[used].write(vector(bytes));
        used += 1;
    };
    if slot.block_count == 0 {
        push(&slot.small[..slot.small_len]);
    }
    let bytes = slot.owner.as_ref().map_or(&[][..], AsRef::as_ref);
    for index in 0..slot.block_count {
        let (start, len) = slot.blocks[index];
        push(&slot.heads[index]);
        push(bytes.get(start..start + len).unwrap_or_default());
    }
    // SAFETY: the first `used` elements were written above.
    let vectors = unsafe { vectors[..used].assume_init_mut() };
    let segment = slot.heads[0].len() + slot.blocks[0].1;
    (vectors, (slot.block_count > 1).then(|| u16::try_from(segment).unwrap_or(u16::MAX)))
}

fn vector(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// A header for `sendmsg`, valid for as long as what it points to.
fn header(
    to: &libc::sockaddr_in,
    vectors: &mut [libc::iovec],
    ancillary: &mut Ancillary,
    from: Ipv4Addr,
    segment: Option<u16>,
) -> libc::msghdr {
    // SAFETY: all-zero is a valid value of a struct of integers and pointers.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = std::ptr::from_ref(to).cast_mut().cast();
    header.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
    header.msg_iov = vectors.as_mut_ptr();
    header.msg_iovlen = vectors.len();
    header.msg_control = ancillary.0.as_mut_ptr().cast();
    header.msg_controllen = size_of::<Ancillary>();
    let info = libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    // SAFETY: `ancillary` is aligned, and its 64 bytes hold both messages (CMSG_SPACE of 12 and of 2 bytes: 32 + 24).
    unsafe {
        let first = libc::CMSG_FIRSTHDR(&header);
        fill(first, libc::SOL_IP, libc::IP_PKTINFO, &info);
        header.msg_controllen = libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as u32) as usize;
        if let Some(segment) = segment {
            let second = first.cast::<u8>().add(header.msg_controllen).cast();
            fill(second, libc::SOL_UDP, libc::UDP_SEGMENT, &segment);
            header.msg_controllen += libc::CMSG_SPACE(size_of::<u16>() as u32) as usize;
        }
    }
    header
}

/// Writes a control message.
///
/// # Safety
/// `at` points to aligned memory with room for `CMSG_SPACE(size_of::<T>())` bytes.
unsafe fn fill<T: Copy>(at: *mut libc::cmsghdr, level: libc::c_int, kind: libc::c_int, value: &T) {
    // SAFETY: promised by the caller.
    unsafe {
        (*at).cmsg_level = level;
        (*at).cmsg_type = kind;
        (*at).cmsg_len = libc::CMSG_LEN(size_of::<T>() as u32) as usize;
        libc::CMSG_DATA(at).cast::<T>().write_unaligned(*value);
    }
}

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
        sender.push_blocks(&mut sockets, 0, Ipv4Addr::LOCALHOST, to, &bytes, 71, |index| {
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
        sender.push(&mut sockets, 0, Ipv4Addr::LOCALHOST, to, b"port?");
        sender.flush(&mut sockets);
        let mut buffer = [0; 16];
        let (len, ours) = theirs.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"port?");
        theirs.send_to(b"one", ours).unwrap();
        theirs.send_to(b"two", ours).unwrap();
        let mut seen = Vec::new();
        let mut receiver = Receiver::default();
        seen.extend(
            receiver.receive(&sockets[0]).unwrap().map(|(from, at, bytes)| (from, at, bytes.to_vec())),
        );
        let expected = |bytes: &[u8]| (to, Ipv4Addr::LOCALHOST, bytes.to_vec());
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
