//! Attaches a program to an interface by a BPF link (linux/bpf.h). The kernel detaches the program when the
//! last descriptor of the link is closed. Another program can replace it without a packet between them. aya
//! can also attach programs, but does not give access to the links' descriptors.
#![expect(unsafe_code, reason = "bpf(2), whose commands for links aya does not offer with descriptors")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use super::Mode;

const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;
/// The attach type of XDP programs.
const BPF_XDP: u32 = 37;
const XDP_FLAGS_SKB_MODE: u32 = 2;
const XDP_FLAGS_DRV_MODE: u32 = 4;

/// The used part of `bpf_attr.link_create`. The kernel assumes 0 for the fields that are not given.
#[repr(C)]
struct Create {
    program: RawFd,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

/// The layout of `bpf_attr.link_update`.
#[repr(C)]
struct Update {
    link: RawFd,
    new_program: RawFd,
    flags: u32,
    old_program: RawFd,
}

/// Attaches `program` to the interface with this index, and returns the link.
pub(super) fn create(program: BorrowedFd<'_>, interface: u32, mode: Mode) -> io::Result<OwnedFd> {
    let flags = match mode {
        Mode::Native => XDP_FLAGS_DRV_MODE,
        Mode::Generic => XDP_FLAGS_SKB_MODE,
    };
    let attributes = Create { program: program.as_raw_fd(), interface, attach_type: BPF_XDP, flags };
    let fd = bpf(BPF_LINK_CREATE, &attributes)?;
    // SAFETY: the kernel has just created this descriptor for this process, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Replaces the program that `link` holds, whichever it is, by `program`.
pub(super) fn update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let (link, new_program) = (link.as_raw_fd(), program.as_raw_fd());
    bpf(BPF_LINK_UPDATE, &Update { link, new_program, flags: 0, old_program: 0 }).map(drop)
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<RawFd> {
    let (pointer, len) = (std::ptr::from_ref(attributes), size_of::<T>());
    // SAFETY: the pointer and the length describe `attributes`, which consists of integers without pointers;
    // the kernel only reads it.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as RawFd) }
}
