//! Receives datagrams in batches.
#![expect(unsafe_code, reason = "message headers of recvmmsg, which point into buffers")]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd as _;

use arrayvec::ArrayVec;

use super::{BATCH, UdpSocket, from_raw};

/// Largest datagram that is received, in bytes. Requests are small and fit into an Ethernet frame.
const RECEIVED_MAX: usize = 2048;
/// Least number of datagrams for which one call has room.
const ROOM_MIN: usize = 8;

/// The buffers for one batch of received datagrams.
pub struct Receiver {
    buffers: Box<[[u8; RECEIVED_MAX]; BATCH]>,
    addresses: Box<[libc::sockaddr_in; BATCH]>,
    /// The number of datagrams for which the next call has room. The headers are made for each call, and take
    /// longer than the call if most of them are not used.
    room: usize,
    /// The last call filled its room.
    was_full: bool,
}

impl Default for Receiver {
    fn default() -> Self {
        // SAFETY: all zeros is a valid value of a structure of integers.
        let address: libc::sockaddr_in = unsafe { zeroed() };
        Self {
            buffers: Box::new([[0; RECEIVED_MAX]; BATCH]),
            addresses: Box::new([address; BATCH]),
            room: ROOM_MIN,
            was_full: false,
        }
    }
}

impl Receiver {
    /// Whether the last call filled its room, so that more datagrams may wait at its socket.
    #[must_use]
    pub fn was_full(&self) -> bool {
        self.was_full
    }

    /// Receives the datagrams that wait at `socket`, at most one batch. Returns for each datagram its sender and
    /// the payload.
    ///
    /// # Errors
    /// The system's error. It is not an error if no datagram waits.
    pub fn receive<'a>(
        &'a mut self,
        socket: &UdpSocket,
    ) -> io::Result<impl Iterator<Item = (SocketAddrV4, &'a [u8])> + use<'a>> {
        let Self { buffers, addresses, room, was_full } = self;
        let buffers = buffers.iter_mut().take(*room);
        let mut vectors: ArrayVec<libc::iovec, BATCH> = buffers
            .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: RECEIVED_MAX })
            .collect();
        let parts = vectors.iter_mut().zip(addresses.iter_mut());
        let mut messages: ArrayVec<libc::mmsghdr, BATCH> = parts
            .map(|(vector, address)| {
                // SAFETY: all zeros is a valid value of this structure of integers and pointers.
                let mut message: libc::mmsghdr = unsafe { zeroed() };
                let header = &mut message.msg_hdr;
                header.msg_name = std::ptr::from_mut(address).cast();
                header.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
                header.msg_iov = vector;
                header.msg_iovlen = 1;
                message
            })
            .collect();
        // SAFETY: each header points to buffers of this function or of `self`, with their true lengths. They
        // live until the call returns.
        let count = unsafe {
            libc::recvmmsg(
                socket.fd.as_raw_fd(),
                messages.as_mut_ptr(),
                messages.len() as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let count = if count < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::WouldBlock {
                // If datagrams wait behind it, they are received with the next one. To try again at once could last for
                // ever.
                *was_full = false;
                return Err(error);
            }
            0
        } else {
            count as usize
        };
        *was_full = count == *room;
        *room = if *was_full { (2 * count).min(BATCH) } else { count.next_power_of_two().max(ROOM_MIN) };
        // The headers are read now, because they point to variables of this function.
        let found = messages.iter().take(count).map(|message| (message.msg_len as usize).min(RECEIVED_MAX));
        let found: ArrayVec<usize, BATCH> = found.collect();
        let this = &*self;
        Ok(found
            .into_iter()
            .enumerate()
            .map(move |(index, len)| (from_raw(&this.addresses[index]), &this.buffers[index][..len])))
    }
}
