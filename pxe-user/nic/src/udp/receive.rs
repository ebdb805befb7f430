//! Receives datagrams in batches.
#![expect(unsafe_code, reason = "message headers of recvmmsg, which point into buffers")]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd as _;

use super::{Ancillary, BATCH, UdpSocket, from_raw};

/// Largest datagram that is received, in bytes. Requests are small and fit into an Ethernet frame.
const RECEIVED_MAX: usize = 2048;

/// The buffers for one batch of received datagrams.
pub struct Receiver {
    buffers: Box<[[u8; RECEIVED_MAX]; BATCH]>,
    ancillary: Box<[Ancillary; BATCH]>,
    addresses: Box<[libc::sockaddr_in; BATCH]>,
}

impl Default for Receiver {
    fn default() -> Self {
        // SAFETY: all zeros is a valid value of a structure of integers.
        let address: libc::sockaddr_in = unsafe { zeroed() };
        Self {
            buffers: Box::new([[0; RECEIVED_MAX]; BATCH]),
            ancillary: Box::new([Ancillary([0; 64]); BATCH]),
            addresses: Box::new([address; BATCH]),
        }
    }
}

impl Receiver {
    /// Receives the datagrams that wait at `socket`, at most one batch. Returns for each datagram its sender,
    /// the address that the sender used, and the payload.
    ///
    /// # Errors
    /// The system's error. It is not an error if no datagram waits.
    pub fn receive<'a>(
        &'a mut self,
        socket: &UdpSocket,
    ) -> io::Result<impl Iterator<Item = (SocketAddrV4, Ipv4Addr, &'a [u8])> + use<'a>> {
        // SAFETY: all zeros is a valid value of these structures of integers and pointers.
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
        // SAFETY: each header points to buffers of this function or of `self`, with their true lengths. They
        // live until the call returns.
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
        // The function reads the headers now, because they point to its local variables.
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

/// Returns the address to which a datagram was sent, from `IP_PKTINFO`.
fn destination(header: &libc::msghdr) -> Option<Ipv4Addr> {
    // SAFETY: the kernel has filled the control buffer and set its length. The macros stay within that
    // length. The payload of an IP_PKTINFO message is an `in_pktinfo`, which is read unaligned.
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
