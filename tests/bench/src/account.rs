//! What a responder costs: processor time of all its processes, and memory.
//!
//! A control group holds the responder with every process that it starts: `in.tftpd` makes one per transfer, ignores
//! how they end, and so their time is in no parent's account. Any cgroup2 counts time, no controller is needed. Where
//! none can be made, `/proc/PID/stat` is read, which misses such children.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use pxe_kit::figures::{Time, time_of};
use rustix::process::{Pid, Signal, kill_process};

use super::programs::Runs;
use super::rights::Rights;

const PREFIX: &str = "pxed-bench-";

/// Memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Memory {
    /// The most that was resident at a time, mapped files included.
    pub peak: f64,
    /// What is resident now and is no shared mapping: boot files lie in shared memory and are not in it.
    pub own: f64,
}

/// A responder's processes.
#[derive(Debug)]
pub(super) struct Account {
    pid: u32,
    group: Option<PathBuf>,
}

impl Account {
    /// Moves a process and its children into a group of their own.
    pub(super) fn open(pid: u32) -> Self {
        let enter =
            |group: &PathBuf, pid: u32| fs::write(group.join("cgroup.procs"), pid.to_string()).is_ok();
        let group = make_group().filter(|group| enter(group, pid));
        if let Some(group) = &group {
            // Those that it has started already; one that has just ended enters nothing.
            for child in children(pid) {
                enter(group, child);
            }
        }
        Self { pid, group }
    }

    /// Whether processes that it starts are counted.
    pub(super) fn is_complete(&self) -> bool {
        self.group.is_some()
    }

    /// What the kernel programs of the first one have run so far.
    pub(super) fn programs(&self) -> Runs {
        Runs::of(self.pid)
    }

    /// How often threads of the first one have slept, and so were woken up.
    pub(super) fn wakes(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten().flatten();
        let sleeps = |text: &str| field(text, "voluntary_ctxt_switches:").unwrap_or(0.0);
        tasks.map(|task| sleeps(&read(&task.path().join("status")))).sum()
    }

    /// What all of them used so far.
    pub(super) fn time(&self) -> Time {
        let Some(group) = &self.group else { return time_of(self.pid) };
        let text = read(&group.join("cpu.stat"));
        let seconds = |key: &str| field(&text, key).unwrap_or(0.0) / 1e6;
        Time { user: seconds("user_usec"), system: seconds("system_usec") }
    }

    /// All of them.
    fn pids(&self) -> Vec<u32> {
        let Some(group) = &self.group else { return vec![self.pid] };
        read(&group.join("cgroup.procs")).lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// The most that a thread of it may do.
    pub(super) fn rights(&self) -> Rights {
        Rights::of(&self.pids())
    }

    /// Sends a signal to all of them; who has just ended gets none.
    pub(super) fn signal(&self, signal: Signal) {
        for pid in self.pids().into_iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Its memory. Of `children` processes beside the first, each is taken to be as large as the one that was seen.
    pub(super) fn memory(&self, children: &Children) -> Memory {
        let status = read(&PathBuf::from(format!("/proc/{}/status", self.pid)));
        let bytes = |key: &str| field(&status, key).unwrap_or(0.0) * 1024.0;
        let of_children = f64::from(children.count.load(Ordering::Relaxed))
            * f64::from(children.kilobytes.load(Ordering::Relaxed))
            * 1024.0;
        Memory {
            peak: bytes("VmHWM:") + of_children,
            own: bytes("RssAnon:") + bytes("RssFile:") + bytes("HugetlbPages:") + of_children,
        }
    }

    /// Does `work` and looks meanwhile how many processes there are. Ten times a second: reading the list of a thousand
    /// takes less than a millisecond.
    pub(super) fn watch<T>(&self, children: &Children, work: impl FnOnce() -> T) -> T {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    children.look(&self.pids(), self.pid);
                    thread::sleep(Duration::from_millis(100));
                }
            });
            let done = work();
            over.store(true, Ordering::Relaxed);
            done
        })
    }
}

impl Drop for Account {
    /// Ends what the responder left behind.
    fn drop(&mut self) {
        let Some(group) = self.group.take() else { return };
        for _ in 0..100 {
            let pids = read(&group.join("cgroup.procs"));
            for pid in pids.lines().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
                let _ = kill_process(pid, Signal::KILL);
            }
            if fs::remove_dir(&group).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The processes that a responder had at a time beside its first.
#[derive(Debug, Default)]
pub(super) struct Children {
    count: AtomicU32,
    kilobytes: AtomicU32,
    /// With threads: of the first process and its children.
    tasks: AtomicU32,
}

impl Children {
    /// The most tasks (threads, and processes with one) that the responder had at a time.
    pub(super) fn tasks(&self) -> u32 {
        self.tasks.load(Ordering::Relaxed)
    }

    fn look(&self, pids: &[u32], first: u32) {
        let others = u32::try_from(pids.len().saturating_sub(1)).unwrap_or(u32::MAX);
        self.count.fetch_max(others, Ordering::Relaxed);
        let threads = field(&read(&PathBuf::from(format!("/proc/{first}/status"))), "Threads:");
        self.tasks.fetch_max(others + threads.unwrap_or(0.0) as u32, Ordering::Relaxed);
        if let Some(child) = pids.iter().find(|pid| **pid != first) {
            let status = read(&PathBuf::from(format!("/proc/{child}/status")));
            let own = field(&status, "RssAnon:").unwrap_or(0.0);
            self.kilobytes.fetch_max(own as u32, Ordering::Relaxed);
        }
    }
}

/// The processes that the first thread of a process has started.
fn children(pid: u32) -> Vec<u32> {
    let listed = read(&PathBuf::from(format!("/proc/{pid}/task/{pid}/children")));
    listed.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// The number behind a word at a line's beginning.
fn field(text: &str, key: &str) -> Option<f64> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| (words.next()? == key).then(|| words.next()?.parse().ok())?)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// A new group, where there is a cgroup2. Groups of runs that were killed go.
fn make_group() -> Option<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mounts = read(Path::new("/proc/self/mounts"));
    let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let root = mounts.find_map(|mount| (*mount.get(2)? == "cgroup2").then(|| PathBuf::from(mount[1])))?;
    for old in fs::read_dir(&root).ok()?.flatten() {
        if old.file_name().to_string_lossy().starts_with(PREFIX) {
            // Succeeds only where no process is left in it.
            let _ = fs::remove_dir(old.path());
        }
    }
    let group = root.join(format!("{PREFIX}{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    fs::create_dir(&group).ok()?;
    Some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "user_usec_old 1\nuser_usec 25\nVmHWM:\t  1234 kB\nbroken\n";
        assert_eq!(field(text, "user_usec"), Some(25.0));
        assert_eq!(field(text, "VmHWM:"), Some(1234.0));
        assert_eq!(field(text, "broken"), None);
        assert_eq!(field(text, "user"), None);
    }

    #[test]
    fn our_own_memory_is_found() {
        let account = Account { pid: process::id(), group: None };
        let memory = account.memory(&Children::default());
        assert!(memory.peak >= memory.own && memory.own > 0.0, "{memory:?}");
    }
}
