//! `pxed images`.

use std::io::Write as _;

use anyhow::Result;

use super::options::Files;

pub(super) fn run(files: &Files) -> Result<()> {
    let catalogue = files.open()?;
    let mut out = std::io::stdout().lock();
    for entry in catalogue.entries() {
        match entry.content {
            Ok((size, digest)) => {
                writeln!(out, "{:<28} {size:>11}  {digest}  {}", entry.name.to_string(), entry.origin)?
            }
            Err(refusal) => writeln!(
                out,
                "{:<28} not served: {}  {}",
                entry.name.to_string(),
                refusal.remedy(),
                entry.origin
            )?,
        }
    }
    for missing in catalogue.missing() {
        writeln!(out, "missing: {missing}")?;
    }
    Ok(())
}
