//! How large the daemon is, and whether it grows.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use aya::maps::{ArrayOfMaps, HashMap, Map, MapData, MapInfo};
use aya::programs::loaded_programs;
use pxe_common::abi::{FILES_MAX, MAP_FILES, MAP_TRANSFERS, TransferKey};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Resident memory of its own (`RssAnon`), in KiB.
    Own,
    /// Resident memory that is shared (`RssShmem`), in KiB: boot files.
    Files,
    /// Open descriptors.
    Descriptors,
    /// Threads.
    Threads,
    /// Programs in the kernel.
    Programs,
    /// Maps in the kernel, those of files within another map included.
    Maps,
    /// Transfers in the kernel's list.
    Transfers,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Own,
        Self::Files,
        Self::Descriptors,
        Self::Threads,
        Self::Programs,
        Self::Maps,
        Self::Transfers,
    ];

    /// Its title in a table, with its unit.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Own => "own KiB",
            Self::Files => "file KiB",
            Self::Descriptors => "fds",
            Self::Threads => "threads",
            Self::Programs => "programs",
            Self::Maps => "maps",
            Self::Transfers => "transfers",
        }
    }

    /// What it may grow by all the same, in its unit. Memory: the steps that the daemon remembers are as many, but of another
    /// mixture than after the warm-up (some MiB), SQLite fills its cache of 2 MiB, and an allocator returns pages late. Boot
    /// files have another size in each cycle. A connection of the API may still be open; files that were replaced have four
    /// maps each until the last of their transfers is forgotten.
    #[must_use]
    pub fn slack(self) -> u64 {
        match self {
            Self::Own => 3072,
            Self::Files => 256,
            Self::Descriptors => 1,
            Self::Maps => 8,
            Self::Threads | Self::Programs | Self::Transfers => 0,
        }
    }
}

/// How large the daemon is: each of [`Measure::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size([u64; Measure::ALL.len()]);

impl Size {
    /// One measure.
    #[must_use]
    pub fn get(&self, measure: Measure) -> u64 {
        self.0[measure as usize]
    }

    /// Looks at a process and what it has in the kernel.
    ///
    /// # Errors
    /// When it is gone, or the kernel does not say.
    pub fn of(pid: u32) -> Result<Self> {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let status = fs::read_to_string(proc.join("status"))?;
        let kernel = Kernel::of(pid)?;
        let mut size = Self::default();
        for measure in Measure::ALL {
            size.0[measure as usize] = match measure {
                Measure::Own => kibibytes(&status, "RssAnon:")?,
                Measure::Files => kibibytes(&status, "RssShmem:")?,
                Measure::Descriptors => fs::read_dir(proc.join("fd"))?.count() as u64,
                Measure::Threads => fs::read_dir(proc.join("task"))?.count() as u64,
                Measure::Programs => kernel.programs.len() as u64,
                Measure::Maps => kernel.maps.len() as u64,
                Measure::Transfers => kernel.transfers,
            };
        }
        Ok(size)
    }

    /// The titles of what [`Display`](fmt::Display) shows.
    #[must_use]
    pub fn titles() -> String {
        Measure::ALL.map(|measure| format!("{:>9}", measure.title())).join(" ")
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.map(|value| format!("{value:>9}")).join(" "))
    }
}

/// What has grown, in words. The first third of the samples is warm-up. A measure has grown if the median of the last third is
/// more than that of the second, give or take its slack: so much in a third of the time.
#[must_use]
pub fn growth(samples: &[Size]) -> Vec<String> {
    let third = samples.len() / 3;
    let (second, last) = (&samples[third..samples.len() - third], &samples[samples.len() - third..]);
    let grown = |measure: Measure| {
        let (before, after) = (median(second, measure)?, median(last, measure)?);
        let grown = after > before + measure.slack();
        grown.then(|| format!("{}: {before}, then {after}", measure.title()))
    };
    Measure::ALL.into_iter().filter_map(grown).collect()
}

fn median(samples: &[Size], measure: Measure) -> Option<u64> {
    let mut values: Vec<u64> = samples.iter().map(|size| size.get(measure)).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

fn kibibytes(status: &str, name: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number =
        line.and_then(|line| line.split_whitespace().next()).with_context(|| format!("no {name}"))?;
    Ok(number.parse()?)
}

/// What a process has in the kernel, by the kernel's numbers for it.
#[derive(Debug, Default)]
pub struct Kernel {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
    transfers: u64,
}

impl Kernel {
    /// Of the process with this id.
    ///
    /// # Errors
    /// When it is gone, or the kernel does not say.
    pub fn of(pid: u32) -> Result<Self> {
        let mut kernel = Self::default();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
            kernel.add_descriptor(&entry?.path());
        }
        for id in kernel.maps.clone() {
            kernel.add_map(id)?;
        }
        Ok(kernel)
    }

    /// What a descriptor is of. Descriptors come and go: one that has gone is none.
    fn add_descriptor(&mut self, info: &Path) {
        let text = fs::read_to_string(info).unwrap_or_default();
        let id = |name| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u32>().ok());
        self.maps.extend(id("map_id:"));
        self.programs.extend(id("prog_id:"));
    }

    /// What a map holds: maps of files, which have no descriptor any more, or transfers.
    fn add_map(&mut self, id: u32) -> Result<()> {
        let name = MapInfo::from_id(id)?.name_as_str().map(str::to_owned);
        let is_list_of_files = |map: &MapData| map.info().is_ok_and(|info| info.max_entries() == FILES_MAX);
        match name.as_deref() {
            Some(MAP_TRANSFERS) => {
                let map = Map::HashMap(MapData::from_id(id)?);
                let map = HashMap::<_, TransferKey, u32>::try_from(map)?;
                self.transfers += map.keys().count() as u64;
            }
            // The one without a file has the same name.
            Some(MAP_FILES) if is_list_of_files(&MapData::from_id(id)?) => {
                let map = Map::ArrayOfMaps(MapData::from_id(id)?);
                let map = ArrayOfMaps::<_, MapData>::try_from(map)?;
                for place in 0..map.len() {
                    let inner = map.get(&place, 0).ok().and_then(|map| map.info().ok());
                    self.maps.extend(inner.map(|info| info.id()));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the daemon had programs and maps.
    #[must_use]
    pub fn is_any(&self) -> bool {
        !self.programs.is_empty() && !self.maps.is_empty()
    }

    /// Whether nothing of it is in the kernel any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        let programs: BTreeSet<u32> = loaded_programs().flatten().map(|program| program.id()).collect();
        self.maps.iter().all(|id| MapInfo::from_id(*id).is_err()) && self.programs.is_disjoint(&programs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(measure: Measure, values: &[u64]) -> Vec<Size> {
        let size = |value: &u64| {
            let mut size = Size::default();
            size.0[measure as usize] = *value;
            size
        };
        values.iter().map(size).collect()
    }

    #[test]
    fn a_leak_of_one_descriptor_a_sample_is_growth() {
        let leak = samples(Measure::Descriptors, &[20, 21, 22, 23, 24, 25, 26, 27, 28]);
        assert_eq!(growth(&leak), ["fds: 24, then 27"]);
        let slow = samples(Measure::Threads, &[20, 20, 20, 21, 21, 21, 22, 22, 22]);
        assert_eq!(growth(&slow).len(), 1);
    }

    #[test]
    fn what_comes_and_goes_or_warms_up_is_none() {
        let flat = samples(Measure::Maps, &[10, 15, 19, 23, 27, 23, 27, 31, 27]);
        assert_eq!(growth(&flat), [""; 0]);
        assert_eq!(growth(&[]), [""; 0]);
    }

    #[test]
    fn memory_may_grow_by_its_slack_and_no_more() {
        let slack = Measure::Own.slack();
        assert_eq!(growth(&samples(Measure::Own, &[0, 5000, 5000 + slack])), [""; 0]);
        assert_eq!(growth(&samples(Measure::Own, &[0, 5000, 5001 + slack])).len(), 1);
        // In a long run: less for each sample than it may grow by in all.
        let steady: Vec<u64> = (0..36).map(|at| at * 1024).collect();
        assert_eq!(growth(&samples(Measure::Own, &steady)).len(), 1);
    }
}
