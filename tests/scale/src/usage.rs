//! What this process and PostgreSQL use of processors and memory, from /proc.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Linux shows processor times in units of 1/100 s on all architectures.
const TICKS: f64 = 100.0;
/// Bytes in a page of memory, on all processors that pxed is built for.
const PAGE: u64 = 4096;

/// Processor time since the start of the processes, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Processors {
    /// Of this process, which has all responders.
    pub(crate) responders: f64,
    /// Of PostgreSQL.
    pub(crate) database: f64,
}

impl Processors {
    /// Reads it. `postmaster` is the number of PostgreSQL's first process.
    pub(crate) fn now(postmaster: u32) -> Result<Self> {
        let responders = seconds_of("self")?;
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"))?;
        // A child that has ended meanwhile is in its parent's time.
        let of_children = children.split_whitespace().filter_map(|child| seconds_of(child).ok()).sum::<f64>();
        let database = seconds_of(&postmaster.to_string())? + of_children;
        Ok(Self { responders, database })
    }

    /// The difference to an earlier time.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { responders: self.responders - earlier.responders, database: self.database - earlier.database }
    }
}

/// Processor time of a process, and of its children that have ended: fields 14 to 17 of its stat file (proc_pid_stat(5)).
fn seconds_of(process: &str) -> Result<f64> {
    let stat = fs::read_to_string(Path::new("/proc").join(process).join("stat"))?;
    // The name, in brackets, may contain spaces and brackets. Field 3 comes behind it.
    let (_, fields) = stat.rsplit_once(") ").context("stat without a name")?;
    let ticks = fields.split(' ').skip(11).take(4).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(ticks as f64 / TICKS)
}

/// This process' memory in bytes.
pub(crate) fn resident() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text.split(' ').nth(1).context("statm has no second number")?.parse()?;
    Ok(pages * PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_this_process_uses_is_counted() {
        let parent = std::os::unix::process::parent_id();
        let before = Processors::now(parent).unwrap();
        assert!(before.database >= before.responders, "the parent's children include this process");
        while Processors::now(parent).unwrap().since(before).responders < 0.05 {}
        assert!(resident().unwrap() > 0);
    }
}
