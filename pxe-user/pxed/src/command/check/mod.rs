//! `pxed check` reports what is wrong with the configuration, its files and this host, and what pxed would serve where, and why.
//! It starts nothing: it loads the kernel program and unloads it again. An error does not end the check: the other checks still
//! run.
//!
//! | file | contents |
//! |---|---|
//! | `report` | all results, as data |
//! | `files` | images and boot programs |
//! | `ledger`, `sources` | the shared ledger, and the sources of images from elsewhere |
//! | `host` | interfaces, ports, users, directories |
//! | `show` | the report as text |

mod files;
mod host;
mod ledger;
mod report;
mod show;
mod sources;

use std::io::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Args;

use super::daemon::{self, Daemon};
use super::offer::Offer;
use crate::config::{Config, Problem};
use crate::offering::Offering;
use report::Report;

/// What is checked, and how the result looks.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Exit status: 0 if `pxed serve` with the same options would start and serve all that is named, 1 if not, 2 for a wrong command line."
)]
pub(crate) struct Check {
    #[command(flatten)]
    offer: Offer,
    #[command(flatten)]
    daemon: Daemon,
    /// Look at the configuration and its files only, for a host other than this one
    #[arg(long)]
    no_host: bool,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// The check found errors. Holds their number.
#[derive(Debug, thiserror::Error)]
#[error("errors: {0}. pxed would not start, or not serve all that the configuration names")]
pub(crate) struct ErrorsFound(usize);

impl Check {
    pub(super) fn run(&self) -> Result<()> {
        let (file, problems) = self.read()?;
        let mut report = Report::new(self.offer.config.clone());
        for problem in problems {
            report.problem(problem);
        }
        if let Some(file) = &file {
            self.examine(&mut report, file);
        }
        report.sort();
        let errors = report.errors();
        // Text: results go to standard output and problems to standard error, so that a program can read one without the other.
        // JSON: everything goes to standard output.
        if self.json {
            let text = serde_json::to_string_pretty(&report)?;
            writeln!(std::io::stdout(), "{text}")?;
        } else {
            std::io::stderr().lock().write_all(report.findings_text().as_bytes())?;
            show::write(&mut std::io::stdout().lock(), &report)?;
        }
        if errors == 0 { Ok(()) } else { Err(ErrorsFound(errors).into()) }
    }

    /// Reads the configuration, as far as pxed can parse it.
    fn read(&self) -> Result<(Option<Config>, Vec<Problem>)> {
        let Some(path) = &self.offer.config else { return Ok((Some(Config::default()), Vec::new())) };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        if text.trim().is_empty() {
            return Ok((None, vec![Problem::empty_file()]));
        }
        Ok(Config::parse(&text))
    }

    fn examine(&self, report: &mut Report, file: &Config) {
        let mut settings = self.daemon.settings(&self.offer, file);
        if let Err(error) = self.offer.add_linux(&mut settings) {
            return report.error(None, format!("{:#}", anyhow::Error::from(error)));
        }
        let settings = Arc::new(settings);
        if let Err(error) = Offering::new(Arc::clone(&settings)) {
            return report.error(None, format!("{error:#}"));
        }
        files::examine(report, file, &settings);
        match daemon::validate(&settings) {
            Ok(()) => {}
            Err(_) if self.no_host => return,
            Err(error) => return report.error(None, error.to_string()),
        }
        report.settings(&settings);
        if !self.no_host {
            host::examine(report, file, &settings);
            ledger::examine(report, file, &settings);
            sources::examine(report, file, &settings);
        }
    }
}
