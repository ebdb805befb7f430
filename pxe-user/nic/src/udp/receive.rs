//! Batches of received datagrams.
#![expect(unsafe_code, reason = "message headers of recvmmsg, which point into buffers")]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd as _;

use super::{Ancillary, BATCH, UdpSocket, from_raw};

/// The largest datagram that is received: requests are small, and fit an Ethernet frame.
const RECEIVED_MAX: usize = 2048;

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
