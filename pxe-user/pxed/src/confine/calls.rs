//! seccomp: the system calls that a running daemon makes. Every other call fails with EPERM, and `clone3` with ENOSYS.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::{ConfineError, Outbound};

/// Calls that are allowed with any arguments.
mod free {
    use libc::*;

    /// On every architecture. The groups are: memory and threads; clocks and waiting; files; sockets; the process
    /// itself.
    #[rustfmt::skip]
    pub(super) const EVERYWHERE: &[i64] = &[
        SYS_brk, SYS_futex, SYS_madvise, SYS_membarrier, SYS_mremap, SYS_munmap, SYS_rseq, SYS_sched_getaffinity,
        SYS_sched_yield, SYS_set_robust_list, SYS_sigaltstack,

        SYS_clock_gettime, SYS_clock_nanosleep, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_eventfd2,
        SYS_nanosleep, SYS_ppoll, SYS_restart_syscall, SYS_timerfd_create, SYS_timerfd_settime,

        SYS_close, SYS_copy_file_range, SYS_dup, SYS_faccessat, SYS_faccessat2, SYS_fallocate, SYS_fchmod,
        SYS_fchown, SYS_fcntl, SYS_fdatasync, SYS_flock, SYS_fstat, SYS_fstatfs, SYS_fsync, SYS_ftruncate,
        SYS_getcwd, SYS_getdents64, SYS_inotify_add_watch, SYS_inotify_init1, SYS_inotify_rm_watch,
        SYS_lseek, SYS_memfd_create, SYS_mkdirat, SYS_newfstatat, SYS_openat, SYS_pipe2, SYS_pread64,
        SYS_pwrite64, SYS_read, SYS_readlinkat, SYS_readv, SYS_renameat, SYS_renameat2, SYS_sendfile, SYS_splice,
        SYS_statx, SYS_umask, SYS_unlinkat, SYS_utimensat, SYS_write, SYS_writev,

        SYS_accept4, SYS_bind, SYS_connect, SYS_getpeername, SYS_getsockname, SYS_getsockopt, SYS_recvfrom,
        SYS_recvmmsg, SYS_recvmsg, SYS_setsockopt, SYS_shutdown,
        SYS_socketpair,

        SYS_exit, SYS_exit_group, SYS_getegid, SYS_geteuid, SYS_getgid, SYS_getpid, SYS_getrandom, SYS_gettid,
        SYS_getuid, SYS_prctl, SYS_prlimit64, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn,
        SYS_sysinfo, SYS_uname,
    ];

    /// Older names of such calls, which only x86-64 has; its C library uses some of them.
    #[cfg(target_arch = "x86_64")]
    #[rustfmt::skip]
    pub(super) const HERE: &[i64] = &[
        SYS_access, SYS_arch_prctl, SYS_dup2, SYS_epoll_wait, SYS_lstat, SYS_mkdir, SYS_open, SYS_poll,
        SYS_readlink, SYS_rename, SYS_rmdir, SYS_stat, SYS_unlink,
    ];
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) const HERE: &[i64] = &[];
}

/// The commands of bpf(2) that create, read and change maps (linux/bpf.h). None of them loads or attaches a program.
const BPF_COMMANDS: [u64; 6] = [
    0,  // BPF_MAP_CREATE
    1,  // BPF_MAP_LOOKUP_ELEM
    2,  // BPF_MAP_UPDATE_ELEM
    3,  // BPF_MAP_DELETE_ELEM
    4,  // BPF_MAP_GET_NEXT_KEY
    15, // BPF_OBJ_GET_INFO_BY_FD
];

/// Forbids all other calls. Returns a sentence if this processor's architecture has no filter.
pub(super) fn restrict(outbound: &Outbound) -> Result<Option<String>, ConfineError> {
    let refused = ConfineError::refused("system calls (seccomp)");
    let Ok(arch) = std::env::consts::ARCH.try_into() else {
        return Ok(Some("system calls are not restricted: not on this processor".into()));
    };
    // The C library starts threads by clone3, whose flags a filter cannot read. If clone3 fails with ENOSYS, the C
    // library uses clone.
    let no_clone3 = filter(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), errno(libc::ENOSYS), true, arch);
    let allowed = rules(outbound).and_then(|rules| filter(rules, errno(libc::EPERM), false, arch));
    for program in [no_clone3, allowed] {
        let program = program.map_err(|error| refused(&error))?;
        seccompiler::apply_filter(&program).map_err(|error| refused(&error))?;
    }
    Ok(None)
}

fn errno(number: i32) -> SeccompAction {
    SeccompAction::Errno(number.unsigned_abs())
}

/// A filter that applies `action` to the calls of `rules` if `for_those` is set, or else to all other calls, and allows
/// the rest.
fn filter(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    action: SeccompAction,
    for_those: bool,
    arch: seccompiler::TargetArch,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let (matched, others) =
        if for_those { (action, SeccompAction::Allow) } else { (SeccompAction::Allow, action) };
    SeccompFilter::new(rules, others, matched, arch)?.try_into()
}

fn rules(outbound: &Outbound) -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let free = free::EVERYWHERE.iter().chain(free::HERE).chain([&libc::SYS_clone3]);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = free.map(|call| (*call, Vec::new())).collect();
    let equal =
        |argument, value| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
    let one_of = |argument, values: &[u64]| {
        values.iter().map(|value| SeccompRule::new(vec![equal(argument, *value)?])).collect::<Result<_, _>>()
    };
    let number = |value: i32| u64::from(value.unsigned_abs());
    rules.insert(libc::SYS_bpf, one_of(0, &BPF_COMMANDS)?);
    // Netlink is for the list of addresses, and Unix datagrams are for messages to the service manager. Stream sockets are
    // for the shared ledger and for images from elsewhere. Without them, no stream socket can be created, so pxed cannot connect to another program's.
    let socket = |family, kind| {
        let is_kind =
            SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(0xf), number(kind))?;
        SeccompRule::new(vec![equal(0, number(family))?, is_kind])
    };
    let mut sockets = vec![
        SeccompRule::new(vec![equal(0, number(libc::AF_NETLINK))?])?,
        socket(libc::AF_UNIX, libc::SOCK_DGRAM)?,
    ];
    if !outbound.ports.is_empty() {
        // TCP only, by its number or by default: Landlock limits the ports of no other protocol, such as MPTCP.
        for family in [libc::AF_INET, libc::AF_INET6] {
            for protocol in [0, number(libc::IPPROTO_TCP)] {
                let kind = SeccompCmpOp::MaskedEq(0xf);
                let is_stream =
                    SeccompCondition::new(1, SeccompCmpArgLen::Dword, kind, number(libc::SOCK_STREAM))?;
                let conditions = vec![equal(0, number(family))?, is_stream, equal(2, protocol)?];
                sockets.push(SeccompRule::new(conditions)?);
            }
        }
    }
    if outbound.is_unix {
        sockets.push(socket(libc::AF_UNIX, libc::SOCK_STREAM)?);
    }
    rules.insert(libc::SYS_socket, sockets);
    // With such connections no send may connect (MSG_FASTOPEN): Landlock looks at connect(2) only. Without them the calls are
    // allowed whatever their arguments are, which the kernel decides without the filter: they are on the datapath.
    let fast_open = number(libc::MSG_FASTOPEN);
    for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
        let sends =
            SeccompCondition::new(flags, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(fast_open), 0)?;
        let conditions =
            if outbound.ports.is_empty() { vec![] } else { vec![SeccompRule::new(vec![sends])?] };
        rules.insert(call, conditions);
    }
    // All ioctl requests are allowed, except those that insert input into a terminal: its next reader would take the
    // input for typed.
    let not = |request| SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, request);
    let types = [not(libc::TIOCSTI)?, not(libc::TIOCLINUX)?];
    rules.insert(libc::SYS_ioctl, vec![SeccompRule::new(types.to_vec())?]);
    // Threads are allowed, but no processes and no namespaces.
    let thread = number(libc::CLONE_THREAD);
    let is_thread =
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(thread), thread)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![is_thread])?]);
    // Signals to this process only, for abort(3).
    rules.insert(libc::SYS_tgkill, one_of(0, &[u64::from(std::process::id())])?);
    // No memory becomes executable after the start.
    let executable = number(libc::PROT_EXEC);
    let is_data = SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(executable), 0)?;
    rules.insert(libc::SYS_mprotect, vec![SeccompRule::new(vec![is_data.clone()])?]);
    rules.insert(libc::SYS_mmap, vec![SeccompRule::new(vec![is_data])?]);
    Ok(rules)
}
