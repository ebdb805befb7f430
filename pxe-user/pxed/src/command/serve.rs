//! `pxed serve`: the command line, the configuration file, and which of both wins.

use std::sync::Arc;

use anyhow::Result;
use clap::Args;

use super::daemon::{self, Daemon};
use super::offer::Offer;
use crate::offering::Offering;
use crate::server::{self, ConfigReader, Inheritance, StoredHandover, preconditions};

/// Where and how to serve.
#[derive(Clone, Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    offer: Offer,
    #[command(flatten)]
    daemon: Daemon,
    /// Take over from the pxed that serves these interfaces now, and resume its transfers; the old process ends.
    /// Without one this is an ordinary start
    #[arg(long)]
    take_over: bool,
}

impl Serve {
    pub(super) fn run(&self) -> Result<()> {
        // First of all: if a later step fails, the process ends, drops it, and the interfaces are free.
        let stored = StoredHandover::take();
        let offering = self.read()?;
        let settings = offering.settings();
        // Before the files: a wrong name on the command line should be reported first.
        server::plans(settings)?;
        let inheritance = Inheritance { stored, take_over: self.take_over };
        preconditions::require(settings, inheritance.is_expected())?;
        let again = self.clone();
        let reader = ConfigReader::new(self.offer.config.clone(), move || again.read());
        server::serve(offering, reader, inheritance)
    }

    /// Reads the file, and puts the command line over it.
    fn read(&self) -> Result<Offering> {
        let file = self.offer.read()?;
        let mut settings = self.daemon.settings(&self.offer, &file);
        daemon::validate(&settings)?;
        self.offer.add_linux(&mut settings)?;
        Offering::new(Arc::new(settings))
    }
}
