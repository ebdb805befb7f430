//! [`SharedLedgerLost`]: what the board says of the shared ledger.

use crate::board::{Lost, UnixMs};
use crate::store::LedgerState;

/// Entries of [`Board::lost`](crate::board::Board::lost).
#[derive(Debug, Default)]
pub(super) struct SharedLedgerLost {
    away: Option<Lost>,
    /// Present after batches were dropped, until the daemon ends.
    dropped: Option<Lost>,
    /// How many batches were dropped when all machines were last written again.
    rewritten: u64,
    /// The database was away since then. A spool that is too small for what is written again would else cause that for
    /// ever.
    was_away: bool,
}

impl SharedLedgerLost {
    /// Notes a change. Returns true if all machines must be written again: the database is back, and lacks batches.
    pub(super) fn changed(&mut self, wall: UnixMs, state: &LedgerState) -> bool {
        let waiting = state.waiting;
        let what = match &state.away {
            Some(why) => Some(format!(
                "the shared ledger is away: {why}. {} in the spool of this host, and pxed keeps serving",
                amount(waiting.batches, waiting.bytes)
            )),
            None if state.is_behind && waiting.batches > 0 => Some(format!(
                "the shared ledger is back: {} in the spool",
                amount(waiting.batches, waiting.bytes)
            )),
            None => None,
        };
        match (&self.away, &what) {
            (None, Some(what)) => tracing::error!(event = "ledger_away", "{what}"),
            (Some(_), None) => tracing::info!(event = "ledger_back", "the shared ledger has all that waited"),
            _ => {}
        }
        let since = self.away.as_ref().map_or(wall, |away| away.since);
        self.away = what.map(|what| Lost { what, since });
        self.was_away |= state.away.is_some();
        if waiting.dropped + waiting.refused > 0 {
            let what = format!(
                "{} batches of history are missing in the shared ledger, because the spool was full or the database rejected \
                 them: this host still shows them. A larger `spool_mib` bridges a longer time",
                waiting.dropped + waiting.refused
            );
            let since = self.dropped.as_ref().map_or(wall, |dropped| dropped.since);
            self.dropped = Some(Lost { what, since });
        }
        let is_due = self.was_away && self.away.is_none() && waiting.dropped > self.rewritten;
        if is_due {
            (self.rewritten, self.was_away) = (waiting.dropped, false);
        }
        is_due
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Option<&Lost>> {
        [self.away.as_ref(), self.dropped.as_ref()].into_iter()
    }
}

fn amount(batches: u64, bytes: u64) -> String {
    let size = if bytes < 1 << 20 {
        format!("{} KiB", bytes.div_ceil(1024))
    } else {
        format!("{} MiB", bytes >> 20)
    };
    let verb = if batches == 1 { "batch waits" } else { "batches wait" };
    format!("{batches} {verb} ({size})")
}
