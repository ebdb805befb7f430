//! Writes the seeds of all properties as files, for libFuzzer: `FOLDER/PROPERTY/seed-NAME`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use pxe_properties::ALL;

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).context("usage: seeds FOLDER")?;
    for property in &ALL {
        let folder = PathBuf::from(&folder).join(property.name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for (name, input) in (property.seeds)() {
            let path = folder.join(format!("seed-{name}"));
            fs::write(&path, input).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}
