//! The rights that a responder has kept while it serves.

use std::fs;

/// The most that a thread of it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rights {
    /// Runs as root.
    root: bool,
    /// Capabilities, by bit: effective ones, and those that it may take (capabilities(7)).
    capabilities: u64,
    /// Makes system calls without a filter (seccomp(2)).
    unfiltered: bool,
}

impl Rights {
    /// Of all threads of all these processes, the most of each.
    pub(super) fn of(pids: &[u32]) -> Self {
        let tasks = pids.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
        let statuses =
            tasks.flatten().filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok());
        // Of nobody nothing is told.
        statuses.map(|status| Self::parse(&status)).reduce(Self::or).unwrap_or(Self::parse(""))
    }

    /// Of a thread's `status` (proc_pid_status(5)). What is not there counts as a right: an older kernel has no filters.
    fn parse(status: &str) -> Self {
        let words = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_default().split_whitespace()
        };
        let mask =
            |key| words(key).next().and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(u64::MAX);
        Self {
            root: words("Uid:").any(|uid| uid == "0"),
            capabilities: mask("CapEff:") | mask("CapPrm:"),
            unfiltered: words("Seccomp:").next() != Some("2"),
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            root: self.root | other.root,
            capabilities: self.capabilities | other.capabilities,
            unfiltered: self.unfiltered | other.unfiltered,
        }
    }

    /// For a report.
    pub(super) fn facts(self) -> [(&'static str, u32); 3] {
        [
            ("server_root", self.root.into()),
            ("server_capabilities", self.capabilities.count_ones()),
            ("server_unfiltered", self.unfiltered.into()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: &str = "Uid:\t65534\t65534\t65534\t65534\nCapPrm:\t0000008000000000\nCapEff:\t0000008000000000\nSeccomp:\t2\n";
    const ROOT: &str =
        "Uid:\t0\t0\t0\t0\nCapPrm:\t000001ffffffffff\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n";

    #[test]
    fn the_most_of_all_threads_counts() {
        let facts = |status| Rights::parse(status).facts().map(|(_, value)| value);
        assert_eq!(facts(BOUND), [0, 1, 0]);
        assert_eq!(facts(ROOT), [1, 41, 1]);
        assert_eq!(facts(""), [0, 64, 1], "what is not told may be a right");
        assert_eq!(Rights::parse(BOUND).or(Rights::parse(ROOT)), Rights::parse(ROOT));
    }

    #[test]
    fn our_own_are_found() {
        let own = fs::read_to_string("/proc/self/status").unwrap();
        assert_eq!(Rights::of(&[std::process::id()]), Rights::parse(&own));
        assert_eq!(Rights::of(&[]), Rights::parse(""));
    }
}
