//! The system calls that set up an AF_XDP socket.
#![expect(unsafe_code, reason = "socket options of AF_XDP, for which no safe wrapper exists")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use super::Copying;
use crate::Queue;
use crate::umem::Umem;

pub(super) fn socket() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers. The descriptor is checked, and nothing else owns it.
    unsafe {
        let fd = libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

pub(super) fn register(fd: BorrowedFd<'_>, umem: &Umem) -> io::Result<()> {
    // SAFETY: all zeros is a valid value of this structure of integers. Newer kernels have more fields, which
    // stay 0.
    let mut registration: libc::xdp_umem_reg = unsafe { std::mem::zeroed() };
    registration.addr = umem.address();
    registration.len = umem.size();
    registration.chunk_size = umem.chunk_len();
    set_option(fd, libc::XDP_UMEM_REG, &registration)
}

pub(super) fn set_option<T>(fd: BorrowedFd<'_>, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_XDP,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

pub(super) fn get_option<T>(fd: BorrowedFd<'_>, option: libc::c_int, value: &mut T) -> io::Result<()> {
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `value`. The kernel writes at most that many bytes. Callers
    // pass structures of integers only, for which any bytes are valid.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, std::ptr::from_mut(value).cast(), &mut len)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

pub(super) fn offsets(fd: BorrowedFd<'_>) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: all zeros is a valid value of this structure of integers.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    get_option(fd, libc::XDP_MMAP_OFFSETS, &mut offsets)?;
    Ok(offsets)
}

pub(super) fn bind(fd: BorrowedFd<'_>, interface: u32, queue: Queue, copying: Copying) -> io::Result<()> {
    let copying = match copying {
        Copying::ZeroCopy => libc::XDP_ZEROCOPY,
        Copying::Copy => libc::XDP_COPY,
    };
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: copying | libc::XDP_USE_NEED_WAKEUP,
        sxdp_ifindex: interface,
        sxdp_queue_id: queue.0,
        sxdp_shared_umem_fd: 0,
    };
    // SAFETY: the pointer and the length describe `address`.
    let result = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            std::ptr::from_ref(&address).cast(),
            size_of::<libc::sockaddr_xdp>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
