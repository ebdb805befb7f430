//! `cargo xtask vm`: every case on every kernel, for a person.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use anyhow::{Result, ensure};
use pxe_kit::{clock, command};

use super::{Guest, KERNELS, Kernel, Programs, fetch, forget};

/// The kernels with these names, or all of them.
///
/// # Errors
/// When there is none with a name.
pub fn chosen(names: &[String]) -> Result<Vec<Kernel>> {
    if names.is_empty() {
        return Ok(KERNELS.to_vec());
    }
    names.iter().map(|name| Kernel::named(name).copied()).collect()
}

/// Boots kernels, and says how each case went. With `anew` they are fetched again before.
///
/// # Errors
/// When a kernel cannot be had or booted, or a case fails; but every kernel is tried before that is told.
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
    ensure!(failed.is_empty(), "not well on: {}", failed.join(", "));
    Ok(())
}

/// Boots one kernel, and says how each case went; false if one did not go well.
fn boot(kernel: &Kernel, programs: &Programs) -> Result<bool> {
    let start = clock::now();
    let fetched = fetch(kernel)?;
    println!("vm: {}: Linux {} (had after {:.1?})", kernel.name, fetched.version, start.elapsed());
    let folder = command::workspace().join("out/vm").join(kernel.name);
    let start = clock::now();
    let report = Guest { kernel: &fetched, programs, folder: &folder }.run()?;
    for (case, said) in &report.cases {
        println!("vm: {}: {case}: {said}", kernel.name);
    }
    println!("vm: {}: took {:.1?}; its console: {}", kernel.name, start.elapsed(), folder.display());
    Ok(report.done && report.cases.iter().all(|(case, _)| report.is_ok(case)))
}
