//! `pxed init`: a commented `pxed.toml` for this host.
//!
//! ```text
//! sysfs, /proc, the boot catalogue --> facts --> text --> pxed.toml
//! ```
//! `text` depends on the facts alone, so the same host always gets the same file.

mod facts;
mod holders;
mod text;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use super::import::create;
use facts::Facts;

/// Where the file goes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Init {
    /// Write to this file, which must not exist yet; - is standard output
    #[arg(long, value_name = "FILE", default_value = "pxed.toml")]
    out: PathBuf,
}

impl Init {
    pub(super) fn run(&self) -> Result<()> {
        let to_file = self.out != Path::new("-");
        let facts = Facts::gather();
        let text = text::text(&facts);
        if to_file {
            create(&self.out, &text)?;
        } else {
            std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")?;
        }
        let config = if to_file { self.out.display().to_string() } else { "pxed.toml".to_owned() };
        let mut err = std::io::stderr().lock();
        for line in text::next(&facts, &config, to_file) {
            writeln!(err, "{line}")?;
        }
        Ok(())
    }
}
