//! Memory that goes bad while it is tested.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use pxe_kit::{Lab, clock};

use crate::{MachineSpec, SharedMemory, boot};

/// Bits that are flipped at most. stressapptest overwrites two pages in five without having looked at them again.
const FLIPS_MAX: usize = 40;
/// How long a flipped bit may stay unseen until the next one is flipped.
const PATIENCE: Duration = Duration::from_secs(20);

/// A bit that was flipped.
#[derive(Clone, Copy, Debug)]
pub struct Flip {
    /// Its byte's physical address.
    pub address: u64,
    /// The bit, from 0.
    pub bit: u8,
}

/// Boots a machine whose memory is a file, and flips one bit after the other in pages under test until `is_reported`.
///
/// # Errors
/// When the machine does not show what is expected of it.
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
        // QEMU makes the file; until the test runs no page looks like its patterns.
        let Ok(memory) = SharedMemory::open(file) else { continue };
        let pages = memory.pages_under_test()?;
        let Some(page) = pages.get(pages.len() / 2) else { continue };
        let flip = Flip { address: page + 0x5a3, bit: (flips.len() % 8) as u8 };
        let bad = memory.flip(flip.address, flip.bit)?;
        flips.push(flip);
        // The byte changes when the test has seen it and put it right, or has overwritten it.
        let flipped = clock::now();
        while !has_ended() && flipped.elapsed() < PATIENCE && memory.byte(flip.address)? == bad {
            thread::sleep(Duration::from_millis(200));
        }
        // The report of it is on its way, if there is one.
        thread::sleep(Duration::from_secs(2));
    }
    Ok(flips)
}
