//! How many packets the kernel has dropped at a socket before pxed could read them.
#![expect(unsafe_code, reason = "a socket option that has no safe wrapper")]

use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Number of values that `SO_MEMINFO` returns, and the index of the drop counter (linux/sock_diag.h).
const MEMINFO_VARS: usize = 9;
const MEMINFO_DROPS: usize = 8;

/// Returns the number of datagrams or frames dropped at a socket since it was opened, nearly always because
/// its buffer was full. Returns 0 if the kernel does not count them (before Linux 4.12). The number wraps at
/// 32 bits.
pub fn drops(socket: BorrowedFd<'_>) -> u64 {
    let mut info = [0u32; MEMINFO_VARS];
    let mut len = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the pointer and the length describe `info`. The kernel writes at most that many bytes, and any
    // bytes are valid.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result < 0 { 0 } else { u64::from(info[MEMINFO_DROPS]) }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn what_finds_no_room_is_counted() {
        let ours = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert_eq!(drops(ours.as_fd()), 0);
        let theirs = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = ours.local_addr().unwrap();
        // This is more than the default buffer of any socket holds.
        for _ in 0..20_000 {
            theirs.send_to(&[0; 1000], to).unwrap();
        }
        assert!(drops(ours.as_fd()) > 0);
    }
}
