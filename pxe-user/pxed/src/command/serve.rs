//! `pxed serve`: the command line, the configuration file, and which of both wins.

use anyhow::Result;
use clap::Args;

use super::daemon::Daemon;
use super::offer::Offer;
use crate::server::{ConfigReader, Options, Server, Setup, StoredHandover, preconditions};

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
        // Before anything that may fail: with the process it goes then, and the interfaces are free.
        let kept = StoredHandover::take();
        let (options, setup) = self.read()?;
        // Before the files: a wrong name on the command line should be the first thing that is said.
        options.plans()?;
        let predecessor = options.take_over || kept.is_some();
        preconditions::require(&options, &setup, predecessor)?;
        let again = self.clone();
        let reread = ConfigReader { file: self.offer.config.clone(), read: Box::new(move || again.read()) };
        Server::start(&options, setup, reread, kept)?.run()
    }

    fn read(&self) -> Result<(Options, Setup)> {
        let file = self.offer.read()?;
        let options = Options { take_over: self.take_over, ..self.daemon.options(&self.offer, &file)? };
        Ok((options, self.daemon.setup(&self.offer, &file)?))
    }
}
