//! [`Reading`]: the ledger's thread reads what other responders wrote, and passes it on as [`News`].
//!
//! The way is that of the reports, so the store's thread sees news before the fleet's thread does: it raises its versions above
//! those of the others before anything changes here again. A few parts are on their way at most; the next look goes on behind
//! them.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::batch;
use crate::machine::Machine;
use pxe_ledger::postgres::{Marks, Postgres, PostgresError};
use pxe_ledger::rows::{OtherRow, ResponderRow, TotalsRow};
use pxe_proto::mac::Mac;

/// Parts of news that may be on their way.
const ON_THEIR_WAY: usize = 4;
/// Parts that are read before the thread looks for batches to write.
const AT_ONCE: usize = 4;
/// All machines are listed at every so manieth renewal of the lease: about every ten minutes.
const LIST_EVERY: u32 = 200;
/// Addresses that are listed at once, and at most in all. A ledger with more is not listed: its surplus is not shown anyway.
const LISTED_AT_ONCE: usize = 10_000;
const LISTED_MAX: usize = 1_000_000;

/// A part of what is new.
#[derive(Default)]
pub(crate) struct News {
    /// Machines of other responders, as rows for this host's disk. The store's thread takes them out.
    pub(super) rows: Vec<OtherRow>,
    /// The same machines.
    pub(crate) machines: Vec<Machine>,
    /// What counts for machines, over all responders.
    pub(crate) totals: Vec<TotalsRow>,
    /// All responders. `None` if they are as before.
    pub(crate) responders: Option<Vec<ResponderRow>>,
    /// All machines that the shared ledger has. `None` if they were not listed.
    pub(crate) listed: Option<HashSet<String>>,
    /// Everything was read.
    pub(crate) is_last: bool,
    /// Its place among the parts on their way.
    _place: Option<OwnedSemaphorePermit>,
}

impl News {
    /// The addresses of [`Self::listed`].
    pub(crate) fn listed_macs(&self) -> Option<HashSet<Mac>> {
        let listed = self.listed.as_ref()?;
        Some(listed.iter().filter_map(|mac| mac.parse().ok()).collect())
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.totals.is_empty() && self.responders.is_none() && self.listed.is_none()
    }
}

/// How far the thread has read.
pub(super) struct Reading {
    marks: Marks,
    places: Arc<Semaphore>,
    responders: Vec<ResponderRow>,
    /// Renewals of the lease until all machines are listed.
    list_in: u32,
    /// The fleet's thread knows that everything was read once.
    is_current: bool,
}

impl Reading {
    pub(super) fn new() -> Self {
        Self {
            marks: Marks::default(),
            places: Arc::new(Semaphore::new(ON_THEIR_WAY)),
            responders: Vec::new(),
            list_in: 0,
            is_current: false,
        }
    }

    /// The lease was renewed, which happens at a steady rate.
    pub(super) fn tick(&mut self) {
        self.list_in = self.list_in.saturating_sub(1);
    }

    /// Reads what is new, and gives it to `report`.
    pub(super) fn look(&mut self, ledger: &mut Postgres, report: impl Fn(News)) -> Result<(), PostgresError> {
        for _ in 0..AT_ONCE {
            // Without a place, the fleet's thread is behind.
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { break };
            let page = ledger.news(&mut self.marks)?;
            let is_last = page.is_last;
            let mut news = News {
                machines: page.machines.iter().filter_map(batch::other).collect(),
                rows: page.machines,
                totals: page.totals,
                responders: self.changed(page.responders),
                listed: None,
                is_last,
                _place: Some(place),
            };
            if is_last && self.list_in == 0 {
                self.list_in = LIST_EVERY;
                news.listed = list(ledger)?;
            }
            let is_first_time = is_last && !self.is_current;
            self.is_current |= is_last;
            if !news.is_empty() || is_first_time {
                report(news);
            }
            if is_last {
                return Ok(());
            }
        }
        ledger.look_again();
        Ok(())
    }

    /// The responders, if any differs from before in what is shown of it.
    fn changed(&mut self, responders: Vec<ResponderRow>) -> Option<Vec<ResponderRow>> {
        // How long ago a living responder renewed its lease is not shown.
        let shown = |row: &ResponderRow| ResponderRow { renewed_ago: None, ..row.clone() };
        let is_same = responders.iter().map(shown).eq(self.responders.iter().map(shown));
        if is_same {
            return None;
        }
        self.responders.clone_from(&responders);
        Some(responders)
    }
}

/// All machines that the ledger has.
fn list(ledger: &mut Postgres) -> Result<Option<HashSet<String>>, PostgresError> {
    let mut listed = HashSet::new();
    let mut last = String::new();
    while listed.len() < LISTED_MAX {
        let macs = ledger.machines_after(&last, LISTED_AT_ONCE)?;
        let is_end = macs.len() < LISTED_AT_ONCE;
        last = macs.last().cloned().unwrap_or_default();
        listed.extend(macs);
        if is_end {
            return Ok(Some(listed));
        }
    }
    Ok(None)
}
