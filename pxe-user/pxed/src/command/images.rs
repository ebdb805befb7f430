//! `pxed images`: lists the files that would be served.

use std::io::Write as _;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::options::Files;
use pxe_content::boot::Entry;

/// Which files are listed, and how.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Exit status: 0 if there is something to serve, 1 if not, 2 for a wrong command line."
)]
pub(crate) struct Images {
    #[command(flatten)]
    files: Files,
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listed {
    files: Vec<Row>,
    /// Sentences: what cannot be booted, with the remedy.
    missing: Vec<String>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    origin: String,
    bytes: Option<u64>,
    sha256: Option<String>,
    /// Why the file is not served, with the remedy; `None` if it is.
    refusal: Option<String>,
}

impl Row {
    fn of(Entry { name, origin, content }: &Entry) -> Self {
        let (bytes, sha256) = content.as_ref().map(|(size, digest)| (*size, digest.to_string())).ok().unzip();
        let refusal = content.as_ref().err().map(|refusal| refusal.remedy().to_owned());
        Self { name: name.to_string(), origin: origin.to_string(), bytes, sha256, refusal }
    }
}

impl Images {
    pub(super) fn run(&self) -> Result<()> {
        let catalogue = self.files.open()?;
        let files = catalogue.entries().iter().map(Row::of).collect();
        let listed = Listed { files, missing: catalogue.missing() };
        let mut out = std::io::stdout().lock();
        if self.json {
            return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&listed)?)?);
        }
        for Row { name, origin, bytes, sha256, refusal } in &listed.files {
            match (bytes, sha256, refusal) {
                (Some(bytes), Some(sha256), _) => {
                    writeln!(out, "{name:<28} {bytes:>11}  {sha256}  {origin}")?
                }
                (_, _, refusal) => {
                    writeln!(
                        out,
                        "{name:<28} not served: {}  {origin}",
                        refusal.as_deref().unwrap_or_default()
                    )?;
                }
            }
        }
        for missing in &listed.missing {
            writeln!(out, "missing: {missing}")?;
        }
        Ok(())
    }
}
