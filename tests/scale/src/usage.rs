//! What this process and PostgreSQL use of processors and memory, from /proc.

use std::fs;

use anyhow::{Context as _, Result};
use pxe_kit::figures::{Time, time_of};

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
        let responders = seconds_of(std::process::id());
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"))?;
        // A child that has ended meanwhile is in its parent's time.
        let children = children.split_whitespace().filter_map(|child| child.parse().ok());
        let database = children.chain([postmaster]).map(seconds_of).sum();
        Ok(Self { responders, database })
    }

    /// The difference to an earlier time.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { responders: self.responders - earlier.responders, database: self.database - earlier.database }
    }
}

fn seconds_of(pid: u32) -> f64 {
    let Time { user, system } = time_of(pid);
    user + system
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
    fn the_time_of_children_counts_for_their_parent() {
        let now = Processors::now(std::os::unix::process::parent_id()).unwrap();
        assert!(now.database >= now.responders, "this process is a child of its parent");
        assert!(resident().unwrap() > 0);
    }
}
