//! Sends datagrams in batches.
#![expect(unsafe_code, reason = "message headers of sendmmsg, which point into buffers")]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd as _;

use arrayvec::ArrayVec;

use super::{Ancillary, BATCH, UdpSocket, to_raw};

/// Largest datagram that is copied into a buffer, in bytes: a DHCP reply.
const SMALL_MAX: usize = 1536;
/// Largest number of segments that the kernel cuts out of one message (`UDP_MAX_SEGMENTS` in Linux before
/// 6.9).
const SEGMENTS_MAX: usize = 64;
/// Largest UDP payload in bytes (RFC 768: 16 bits, less the headers of IPv4 and UDP).
const PAYLOAD_MAX: usize = 65507;

/// One message of a [`Sender`]'s batch: a small datagram, or blocks from an owner's memory with a header in
/// front of each.
struct Slot<O> {
    socket: usize,
    to: SocketAddrV4,
    small: [u8; SMALL_MAX],
    small_len: usize,
    heads: [[u8; 4]; SEGMENTS_MAX],
    /// Offset and length of each block in the owner's bytes.
    blocks: [(usize, usize); SEGMENTS_MAX],
    block_count: usize,
    owner: Option<O>,
}

/// A batch of datagrams to be sent.
pub struct Sender<O> {
    slots: Vec<Slot<O>>,
    used: usize,
    lost: u64,
}

impl<O: AsRef<[u8]>> Default for Sender<O> {
    fn default() -> Self {
        let slot = || Slot {
            socket: 0,
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
    /// Queues one datagram for the socket with this index. A datagram that is too long for the buffer is not
    /// sent, and counts as lost.
    pub fn push(&mut self, sockets: &mut [UdpSocket], socket: usize, to: SocketAddrV4, bytes: &[u8]) {
        if bytes.len() > SMALL_MAX {
            self.lost += 1;
            return;
        }
        let slot = self.slot(sockets, socket, to);
        slot.small[..bytes.len()].copy_from_slice(bytes);
        slot.small_len = bytes.len();
    }

    /// Queues `count` datagrams: the header and the range of `owner`'s bytes that `block(i)` returns, for
    /// each i below `count`. All blocks but the last have the same length.
    pub fn push_blocks(
        &mut self,
        sockets: &mut [UdpSocket],
        socket: usize,
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
            let slot = self.slot(sockets, socket, to);
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

    fn slot(&mut self, sockets: &mut [UdpSocket], socket: usize, to: SocketAddrV4) -> &mut Slot<O> {
        if self.used == self.slots.len() {
            self.flush(sockets);
        }
        let slot = &mut self.slots[self.used];
        self.used += 1;
        (slot.socket, slot.to) = (socket, to);
        (slot.small_len, slot.block_count) = (0, 0);
        slot
    }

    /// Sends the queued datagrams without waiting, because otherwise packets to unused addresses would delay
    /// all others. A datagram that the kernel does not take is lost, as on a wire; the transfers' timers
    /// retransmit it.
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

    /// Number of messages that were too long, or that the kernel did not take. A message with several blocks
    /// counts as one.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

/// Sends the slots in order. Returns how many messages were lost.
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

/// Whether Linux returns this error because it cannot cut segments: the option does not exist, there is no
/// checksum offload, or the path MTU is too small.
fn cannot_segment(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP))
}

/// Sends each block of a slot as its own message. Returns how many messages were lost.
fn send_singly<O: AsRef<[u8]>>(socket: &UdpSocket, slot: &Slot<O>) -> u64 {
    let blocks = slot.heads.iter().zip(&slot.blocks).take(slot.block_count);
    let bytes = slot.owner.as_ref().map_or(&[][..], AsRef::as_ref);
    let to = to_raw(slot.to);
    let mut lost = 0;
    for (head, &(start, len)) in blocks {
        let block = bytes.get(start..start + len).unwrap_or_default();
        let mut vectors = [vector(head), vector(block)];
        let mut ancillary = Ancillary([0; 24]);
        let header = header(&to, &mut vectors, &mut ancillary, None);
        // SAFETY: the header points to local variables, and to bytes of the slot and its owner. All of them
        // live until the call returns.
        let sent = unsafe { libc::sendmsg(socket.fd.as_raw_fd(), &header, libc::MSG_DONTWAIT) };
        lost += u64::from(sent < 0);
    }
    lost
}

/// Calls `sendmmsg` once. Returns how many messages the kernel has taken, at least one.
fn send_some<O: AsRef<[u8]>>(socket: &UdpSocket, slots: &[Slot<O>]) -> io::Result<usize> {
    let slots = &slots[..slots.len().min(BATCH)];
    let addresses: ArrayVec<libc::sockaddr_in, BATCH> = slots.iter().map(|slot| to_raw(slot.to)).collect();
    let mut ancillary: ArrayVec<Ancillary, BATCH> = slots.iter().map(|_| Ancillary([0; 24])).collect();
    // These are 128 KiB, of which most batches use little. They are in one list, because a list for each slot would be
    // cleared by the compiler at each call: that took a fifth of the worker's time with few clients.
    let mut vectors = Vectors::new();
    let gathered: ArrayVec<(usize, Option<u16>), BATCH> = slots
        .iter()
        .map(|slot| {
            let before = vectors.len();
            let segment = gather(slot, &mut vectors);
            (vectors.len() - before, segment)
        })
        .collect();
    let mut rest = &mut vectors[..];
    let parts = gathered.into_iter().zip(&addresses).zip(&mut ancillary);
    let mut messages: ArrayVec<libc::mmsghdr, BATCH> = parts
        .map(|(((count, segment), address), ancillary)| {
            let (own, others) = std::mem::take(&mut rest).split_at_mut(count);
            rest = others;
            libc::mmsghdr { msg_hdr: header(address, own, ancillary, segment), msg_len: 0 }
        })
        .collect();
    // SAFETY: the headers point to local variables, and to bytes of the slots and their owners. All of them
    // live until the call returns.
    let sent = unsafe {
        libc::sendmmsg(
            socket.fd.as_raw_fd(),
            messages.as_mut_ptr(),
            messages.len() as u32,
            libc::MSG_DONTWAIT,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// The vectors for the header and the data of each segment, of all slots.
type Vectors = ArrayVec<libc::iovec, { 2 * SEGMENTS_MAX * BATCH }>;

/// Adds vectors that point at a slot's bytes. Returns the length of a segment if there are several.
fn gather<O: AsRef<[u8]>>(slot: &Slot<O>, vectors: &mut Vectors) -> Option<u16> {
    let mut push = |bytes: &[u8]| vectors.push(vector(bytes));
    if slot.block_count == 0 {
        push(&slot.small[..slot.small_len]);
    }
    let bytes = slot.owner.as_ref().map_or(&[][..], AsRef::as_ref);
    for index in 0..slot.block_count {
        let (start, len) = slot.blocks[index];
        push(&slot.heads[index]);
        push(bytes.get(start..start + len).unwrap_or_default());
    }
    let segment = slot.heads[0].len() + slot.blocks[0].1;
    (slot.block_count > 1).then(|| u16::try_from(segment).unwrap_or(u16::MAX))
}

fn vector(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// Returns a header for `sendmsg`. It is valid only while all that it points to lives.
fn header(
    to: &libc::sockaddr_in,
    vectors: &mut [libc::iovec],
    ancillary: &mut Ancillary,
    segment: Option<u16>,
) -> libc::msghdr {
    // SAFETY: all zeros is a valid value of a structure of integers and pointers.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = std::ptr::from_ref(to).cast_mut().cast();
    header.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
    header.msg_iov = vectors.as_mut_ptr();
    header.msg_iovlen = vectors.len();
    let Some(segment) = segment else { return header };
    header.msg_control = ancillary.0.as_mut_ptr().cast();
    header.msg_controllen = size_of::<Ancillary>();
    // SAFETY: `ancillary` is aligned, and holds the message (CMSG_SPACE of 2 bytes: 24).
    unsafe {
        fill(libc::CMSG_FIRSTHDR(&header), libc::SOL_UDP, libc::UDP_SEGMENT, &segment);
        header.msg_controllen = libc::CMSG_SPACE(size_of::<u16>() as u32) as usize;
    }
    header
}

/// Writes a control message.
///
/// # Safety
/// `at` points to aligned memory with room for `CMSG_SPACE(size_of::<T>())` bytes.
unsafe fn fill<T: Copy>(at: *mut libc::cmsghdr, level: libc::c_int, kind: libc::c_int, value: &T) {
    // SAFETY: the caller guarantees this.
    unsafe {
        (*at).cmsg_level = level;
        (*at).cmsg_type = kind;
        (*at).cmsg_len = libc::CMSG_LEN(size_of::<T>() as u32) as usize;
        libc::CMSG_DATA(at).cast::<T>().write_unaligned(*value);
    }
}
