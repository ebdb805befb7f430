//! Flips bits in the memory of a machine while the memory test runs.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use pxe_kit::{Lab, clock};

use crate::{MachineSpec, SharedMemory, boot};

/// The maximum of flipped bits. More than one is needed, because stressapptest overwrites two fifths of the pages without
/// comparing them.
const FLIPS_MAX: usize = 40;
/// The time until the next bit is flipped, if the test does not find the last one.
const PATIENCE: Duration = Duration::from_secs(20);

/// A bit that was flipped.
#[derive(Clone, Copy, Debug)]
pub struct Flip {
    /// The physical address of the byte.
    pub address: u64,
    /// The number of the bit, from 0.
    pub bit: u8,
}

/// Boots a machine whose memory is a file, and flips one bit after the other in pages under test until `is_reported`.
///
/// # Errors
/// If the machine does not show what its `MachineSpec` expects.
pub(super) fn boot_and_spoil(
    lab: &Lab,
    spec: &MachineSpec,
    is_reported: impl Fn() -> bool,
) -> Result<Vec<Flip>> {
    let file = spec.memory_file.as_deref().context("the machine's memory is no file")?;
    let (outcome, flips) = thread::scope(|scope| {
        let booted = scope.spawn(|| boot(lab, spec, |_| {}));
        let flips = flip(file, || booted.is_finished(), is_reported);
        let outcome = booted.join().unwrap_or_else(|_| bail!("the machine's thread failed"));
        (outcome, flips)
    });
    let (outcome, flips) = (outcome?, flips?);
    ensure!(outcome.booted, "{}: {}\nflipped: {flips:#x?}\n{}", spec.name, outcome.reason, outcome.serial);
    Ok(flips)
}

fn flip(file: &Path, has_ended: impl Fn() -> bool, is_reported: impl Fn() -> bool) -> Result<Vec<Flip>> {
    let mut flips: Vec<Flip> = Vec::new();
    while !has_ended() && flips.len() < FLIPS_MAX && !is_reported() {
        thread::sleep(Duration::from_millis(500));
        // QEMU makes the file. Before the test runs, no page contains its patterns.
        let Ok(memory) = SharedMemory::open(file) else { continue };
        let pages = memory.pages_under_test()?;
        let Some(page) = pages.get(pages.len() / 2) else { continue };
        let flip = Flip { address: page + 0x5a3, bit: (flips.len() % 8) as u8 };
        let bad = memory.flip(flip.address, flip.bit)?;
        flips.push(flip);
        // The byte changes when the test has found and corrected it, or has overwritten it.
        let flipped = clock::now();
        while !has_ended() && flipped.elapsed() < PATIENCE && memory.byte(flip.address)? == bad {
            thread::sleep(Duration::from_millis(200));
        }
        // Give a report time to arrive, before the next bit is flipped.
        thread::sleep(Duration::from_secs(2));
    }
    Ok(flips)
}
