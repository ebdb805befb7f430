//! The memory that all images share.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The memory that all images share. An image's share comes back when its last user lets go of it.
#[derive(Debug)]
pub(super) struct Memory {
    limit: u64,
    used: AtomicU64,
}

impl Memory {
    pub(super) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicU64::new(0) })
    }

    /// Half of what the system could give now, or of what our control group may have at all; 256 MiB where neither says.
    pub(super) fn default_limit() -> u64 {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        // Looked for at the start: the daemon gives up the right to read it.
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

/// The most that our control group and those above it may have: a service with `MemoryMax=`, a container. Whoever takes more
/// is killed. What they have already is not looked at: most of it is file cache, which gives way. `root` is where control
/// groups are mounted.
fn group_limit(root: &Path) -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let limits = groups.lines().filter_map(|line| {
        let (folder, file) = match line.split(':').collect::<Vec<_>>()[..] {
            // Version 2 (cgroups(7)): 0::/path, alone or beside version 1.
            [_, "", path] => (root.join(path.get(1..)?), "memory.max"),
            [_, "memory", path] => (root.join("memory").join(path.get(1..)?), "memory.limit_in_bytes"),
            _ => return None,
        };
        let groups = folder.ancestors().take_while(|folder| folder.starts_with(root));
        groups.filter_map(|folder| limit(&folder.join(file))).min()
    });
    limits.min()
}

/// A control group's limit; none if it has none ("max", or no such file).
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
