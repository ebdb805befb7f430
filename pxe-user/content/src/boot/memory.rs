//! The count of the memory that all images take.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The count of the memory that all images take, and its limit. An image has a [`Share`], which it gives back
/// when the last user of the image drops it. Only `Store::make_room` compares the count with the limit, so
/// generated and adopted images may exceed it.
#[derive(Debug)]
pub(super) struct Memory {
    limit: u64,
    used: AtomicU64,
}

impl Memory {
    pub(super) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicU64::new(0) })
    }

    /// The default limit in bytes: half of the memory that the system has available now, or half of the
    /// control group's limit if that is less. 256 MiB if neither is known.
    pub(super) fn default_limit() -> u64 {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        // Read once at the first call, which is at the start: after the start the daemon has no right to read
        // it.
        static GROUP: OnceLock<Option<u64>> = OnceLock::new();
        let group = *GROUP.get_or_init(|| group_limit(Path::new("/sys/fs/cgroup")));
        let limits = [available(&text), group];
        limits.into_iter().flatten().min().map_or(256 << 20, |bytes| bytes / 2)
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    pub(super) fn take(memory: &Arc<Self>, bytes: u64) -> Share {
        memory.used.fetch_add(bytes, Ordering::AcqRel);
        Share { memory: Arc::clone(memory), bytes }
    }
}

/// `MemAvailable` of /proc/meminfo, in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The memory limit in bytes of the control group and those above it, for a service with `MemoryMax=` or a
/// container. The kernel kills a process that takes more. The current use of the group does not matter here:
/// most of it is file cache, which the kernel frees when necessary. `root` is the directory where control
/// groups are mounted.
fn group_limit(root: &Path) -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let limits = groups.lines().filter_map(|line| {
        let (folder, file) = match line.split(':').collect::<Vec<_>>()[..] {
            // Version 2 (cgroups(7)) has the line `0::/path`, alone or beside lines of version 1.
            [_, "", path] => (root.join(path.get(1..)?), "memory.max"),
            [_, "memory", path] => (root.join("memory").join(path.get(1..)?), "memory.limit_in_bytes"),
            _ => return None,
        };
        let groups = folder.ancestors().take_while(|folder| folder.starts_with(root));
        groups.filter_map(|folder| limit(&folder.join(file))).min()
    });
    limits.min()
}

/// The limit of a control group in bytes. `None` if the group has no limit ("max"), or the file does not
/// exist.
fn limit(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[derive(Debug)]
pub(super) struct Share {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_in_bytes() {
        assert_eq!(available("MemTotal:  9 kB\nMemAvailable:    2048 kB\n"), Some(2048 * 1024));
        assert_eq!(available("MemTotal: 9 kB\n"), None);
        assert_eq!(available("MemAvailable: many kB\n"), None);
    }

    #[test]
    fn a_control_groups_limit_is_a_number_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("memory.max");
        assert_eq!(limit(&file), None);
        for (text, bytes) in [("max\n", None), ("67108864\n", Some(67_108_864))] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(limit(&file), bytes);
        }
    }
}
