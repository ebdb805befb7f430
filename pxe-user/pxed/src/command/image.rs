//! `pxed image build`: builds the memory test that reports, from this host's packages.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use pxe_memtest::KernelTree;

/// Commands for images.
#[derive(Clone, Debug, Args)]
pub(crate) struct Image {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Build the memory test that reports to pxed: a Linux kernel and an initramfs, from packages on this host
    #[command(after_help = "Exit status: 0 if the image is built, 1 if not, 2 for a wrong command line.")]
    Build(Build),
}

/// The image's source and destination.
#[derive(Clone, Debug, Args)]
struct Build {
    /// Directory for the two files; it is created if it does not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Root directory of the system with the kernel; the newest kernel that you can read is used
    #[arg(long, value_name = "DIR", default_value = "/")]
    system: PathBuf,
}

impl Image {
    pub(crate) fn run(&self) -> Result<()> {
        let Action::Build(build) = &self.action;
        build.run()
    }
}

impl Build {
    fn run(&self) -> Result<()> {
        let image = pxe_memtest::build(KernelTree::newest(&self.system)?, &self.out)?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "# Linux {}, {} drivers", image.version, image.drivers)?;
        for file in [&image.kernel, &image.initrd] {
            let size = size(file)?;
            writeln!(out, "# {}, {:.1} MB", file.display(), size as f64 / 1e6)?;
        }
        writeln!(
            out,
            "# Add this to pxed.toml. Name the image in a rule, and set port in [http]: reports arrive there."
        )?;
        let folder =
            self.out.canonicalize().with_context(|| format!("cannot find {}", self.out.display()))?;
        write!(out, "{}", snippet(&folder))?;
        Ok(())
    }
}

fn snippet(folder: &Path) -> String {
    let root = toml::Value::from(folder.to_string_lossy().into_owned());
    pxe_memtest::snippet(&root.to_string())
}

fn size(file: &Path) -> Result<u64> {
    Ok(fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_snippet_names_any_folder_as_it_is() {
        for folder in
            ["/srv/memory-test", "/srv/a \"quoted\" folder", "/srv/back\\slash", "/srv/it's", "/srv/ä"]
        {
            let table: toml::Table = snippet(Path::new(folder)).parse().unwrap();
            assert_eq!(table["images"]["memory-test"]["root"].as_str(), Some(folder));
        }
    }
}
