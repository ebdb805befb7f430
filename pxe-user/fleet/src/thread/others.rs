//! What other responders wrote to the shared ledger, for registry and board.

use std::time::Duration;

use super::Fleet;
use crate::board::{Responder, UnixMs};
use crate::store::{Answer, News};
use pxe_ledger::rows::ResponderRow;
use pxe_proto::time::Timestamp;

/// How long the timers wait at the start for what other responders wrote.
const TIMERS_WAIT: Duration = Duration::from_secs(10);

impl Fleet {
    /// Takes over what other responders wrote.
    pub(super) fn learn(&mut self, wall: UnixMs, news: News) {
        let listed = news.listed_macs();
        for machine in news.machines {
            let is_pending = self.publisher.is_pending(machine.mac);
            self.registry.learn(wall, machine, is_pending);
        }
        for totals in news.totals {
            let Ok(mac) = totals.mac.parse() else { continue };
            let count =
                |(rule, boots): (String, u64)| (rule.into(), u32::try_from(boots).unwrap_or(u32::MAX));
            self.registry.count(mac, totals.epoch, totals.counts.into_iter().map(count).collect());
        }
        if let Some(listed) = listed {
            self.registry.keep(&listed);
        }
        if let Some(rows) = news.responders {
            let shown = rows.into_iter().map(|row| responder(wall, &self.responder, row));
            self.publisher.set_responders(shown.collect());
        }
        if news.is_last {
            self.timers_wait = None;
        }
    }

    /// Whether no timer may run yet. A machine that this host saw last before its restart may have booted by way of another
    /// responder since: its timers would say that it stopped.
    pub(super) fn do_timers_wait(&mut self, now: Timestamp) -> bool {
        self.timers_wait = self.timers_wait.filter(|since| now.since(*since) < TIMERS_WAIT);
        self.timers_wait.is_some()
    }

    /// Without the shared ledger, this host decides by what it knows.
    pub(super) fn look_at_ledger(&mut self, answer: &Answer) {
        if let Answer::Ledger(state) = answer
            && state.away.is_some()
        {
            self.timers_wait = None;
        }
    }
}

fn responder(wall: UnixMs, own: &str, row: ResponderRow) -> Responder {
    let ResponderRow { name, host, is_alive, renewed_ago, status } = row;
    let own = name == own;
    let seen = renewed_ago.filter(|_| !is_alive).map(|ago| UnixMs(wall.0.saturating_sub(ago)));
    Responder {
        own,
        name,
        host,
        alive: is_alive,
        seen,
        segment: status.segment,
        version: Some(status.pxed).filter(|version| !version.is_empty()),
        waiting: status.waiting,
        rules: status.rules,
    }
}
