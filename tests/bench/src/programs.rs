//! What the kernel programs of a responder cost for each packet, as the kernel itself counts it.
//!
//! With `kernel.bpf_stats_enabled` the kernel adds up the run time of each program, and shows it in the `fdinfo` of
//! whoever has the program open. Reading the clock twice is a part of it, about 20 ns. The setting is the whole machine's:
//! it is on for as long as one sample takes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const SETTING: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// The kernel counts as long as this lives.
#[derive(Debug)]
pub(super) struct Counting {
    before: String,
}

impl Counting {
    /// From now on.
    ///
    /// # Errors
    /// When the kernel has no such setting (before Linux 5.1).
    pub(super) fn start() -> Result<Self> {
        let before = fs::read_to_string(SETTING).with_context(|| format!("cannot read {SETTING}"))?;
        fs::write(SETTING, "1").with_context(|| format!("cannot write {SETTING}"))?;
        Ok(Self { before })
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        // Nothing can be done about it here; the setting costs some nanoseconds for each run of a program.
        drop(fs::write(SETTING, self.before.trim()));
    }
}

/// What the programs of a process have run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Runs {
    /// Nanoseconds of all programs.
    nanoseconds: f64,
    /// Runs of the program that ran most often: each packet comes by there.
    packets: f64,
}

impl Runs {
    /// Of a process, up to now.
    pub(super) fn of(pid: u32) -> Self {
        let folder = format!("/proc/{pid}/fdinfo");
        let files = fs::read_dir(Path::new(&folder)).into_iter().flatten().flatten();
        Self::sum(files.filter_map(|file| fs::read_to_string(file.path()).ok()))
    }

    fn sum(files: impl Iterator<Item = String>) -> Self {
        let mut seen = Vec::new();
        let mut sum = Self::default();
        for text in files {
            let field =
                |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            let (Some(id), Some(time), Some(count)) =
                (field("prog_id:"), field("run_time_ns:"), field("run_cnt:"))
            else {
                continue;
            };
            // A link names its program, too.
            if seen.contains(&id) {
                continue;
            }
            seen.push(id);
            sum.nanoseconds += time;
            sum.packets = sum.packets.max(count);
        }
        sum
    }

    /// Nanoseconds a packet since `before`.
    pub(super) fn since(self, before: Self) -> Option<f64> {
        let packets = self.packets - before.packets;
        (packets > 0.0).then(|| (self.nanoseconds - before.nanoseconds) / packets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_costs_what_all_programs_do_for_it() {
        let program = |id: u32, time: u32, count: u32| {
            format!("prog_type:\t6\nprog_id:\t{id}\nrun_time_ns:\t{time}\nrun_cnt:\t{count}\n")
        };
        let files = [program(1, 1000, 10), "pos:\t0\n".into(), program(2, 500, 9), program(1, 1000, 10)];
        let runs = Runs::sum(files.into_iter());
        assert_eq!(runs, Runs { nanoseconds: 1500.0, packets: 10.0 });
        assert_eq!(runs.since(Runs::default()), Some(150.0));
        assert_eq!(runs.since(runs), None);
    }
}
