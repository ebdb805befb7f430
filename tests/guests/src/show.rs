//! `cargo xtask vm`: runs every case on every kernel, and prints the results.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use anyhow::{Result, ensure};
use pxe_kit::{clock, command};

use super::{Guest, KERNELS, Kernel, Programs, fetch, forget};

/// The kernels with these names, or all kernels if there are no names.
///
/// # Errors
/// For an unknown name.
pub fn chosen(names: &[String]) -> Result<Vec<Kernel>> {
    if names.is_empty() {
        return Ok(KERNELS.to_vec());
    }
    names.iter().map(|name| Kernel::named(name).copied()).collect()
}

/// Boots kernels, and prints the result of each case. With `anew`, kernels are downloaded again first.
///
/// # Errors
/// If a kernel cannot be downloaded or booted, or a case fails. All kernels are tried before.
pub fn run(kernels: &[Kernel], anew: bool) -> Result<()> {
    let mut built = BTreeMap::new();
    let mut failed = Vec::new();
    for kernel in kernels {
        if anew {
            forget(kernel)?;
        }
        let programs = match built.entry(kernel.arch) {
            Entry::Occupied(programs) => programs.into_mut(),
            Entry::Vacant(place) => place.insert(Programs::build(kernel.arch)?),
        };
        match boot(kernel, programs) {
            Ok(true) => {}
            Ok(false) => failed.push(kernel.name.to_owned()),
            Err(error) => failed.push(format!("{} ({error:#})", kernel.name)),
        }
    }
    ensure!(failed.is_empty(), "failed on: {}", failed.join(", "));
    Ok(())
}

/// Boots one kernel, and prints the result of each case. Returns false if one failed.
fn boot(kernel: &Kernel, programs: &Programs) -> Result<bool> {
    let start = clock::now();
    let fetched = fetch(kernel)?;
    println!("vm: {}: Linux {} (available after {:.1?})", kernel.name, fetched.version, start.elapsed());
    let folder = command::workspace().join("out/vm").join(kernel.name);
    let start = clock::now();
    let report = Guest { kernel: &fetched, programs, folder: &folder }.run()?;
    for (case, said) in &report.cases {
        println!("vm: {}: {case}: {said}", kernel.name);
    }
    println!("vm: {}: took {:.1?}; console: {}", kernel.name, start.elapsed(), folder.display());
    Ok(report.done && report.cases.iter().all(|(case, _)| report.is_ok(case)))
}
