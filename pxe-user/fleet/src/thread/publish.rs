//! [`Publisher`]: decides what is shown, and when.
//!
//! The publisher gives the store one batch of changes at a time, and shows them when they are on disk. If the
//! store does not answer within [`PATIENCE`], or if the database fails, it shows the changes without waiting,
//! keeps them in memory for a later batch, and sets [`Board::lost`].

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{broadcast, oneshot};

use super::ledger::SharedLedgerLost;
use super::recent::Recent;
use super::rows::Rows;
use crate::board::{Board, Lost, Responder, Step, Story, UnixMs, Update};
use crate::changes::Changes;
use crate::registry::Registry;
use crate::store::{Answer, Batch, Opened, StoreHandle, StoreRequest};
use pxe_proto::mac::Mac;
use pxe_proto::time::Timestamp;

/// Shortest time between two boards.
const SHOW_EVERY: Duration = Duration::from_millis(200);
/// Shortest time between two boards while a caller waits for an answer. It is not zero, because a client that
/// asks again and again must not keep the thread busy.
const ANSWER_EVERY: Duration = Duration::from_millis(20);
/// Longest wait for the store before changes are shown without being stored.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a failed database is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(5);

/// A board and its updates, to be shown when their batch is on disk.
struct Shown {
    board: Arc<Board>,
    updates: Vec<Arc<Update>>,
}

/// A batch that the store has not answered yet.
struct InFlight {
    since: Timestamp,
    changes: Changes,
    /// The batch holds all machines, not only changed ones.
    everything: bool,
    /// `None` after it was shown.
    shown: Option<Shown>,
}

/// Present while the database fails.
struct Failing {
    lost: Lost,
    retry: Timestamp,
}

/// Stores and shows the fleet's changes.
pub(super) struct Publisher {
    board: Arc<ArcSwap<Board>>,
    updates: broadcast::Sender<Arc<Update>>,
    store: Option<StoreHandle>,
    revision: u64,
    shown_at: Option<Timestamp>,
    in_flight: Option<InFlight>,
    failing: Option<Failing>,
    /// Changes that were shown, or are about to be shown, and are not stored.
    unwritten: Changes,
    /// The next batch must write all machines, not only changed ones, because the database is new or was
    /// opened again.
    rewrite: bool,
    /// This process has opened a database before, so memory has all that the database has, and more.
    resumed: bool,
    /// The shared ledger: since when it is away, and what it lacks.
    ledger: SharedLedgerLost,
    /// The responders of the shared ledger, and whether the board has them.
    responders: Vec<Responder>,
    responders_shown: bool,
    /// Entries of [`Board::lost`]: a damaged database was replaced, steps were dropped, the file of events
    /// cannot be written.
    damaged: Option<Lost>,
    dropped: Option<Lost>,
    events: Option<Lost>,
    stale: bool,
    rows: Rows,
    recent: Recent,
}

impl Publisher {
    pub(super) fn new(
        now: UnixMs,
        board: Arc<ArcSwap<Board>>,
        updates: broadcast::Sender<Arc<Update>>,
        store: Option<StoreHandle>,
    ) -> Self {
        // Opening the database counts as the first batch in flight, so that its answer is not taken for the
        // answer to a batch.
        let opening = InFlight {
            since: Timestamp::default(),
            changes: Changes::default(),
            everything: false,
            shown: None,
        };
        let in_flight = store.is_some().then_some(opening);
        Self {
            board,
            updates,
            store,
            // Greater than all revisions of earlier runs.
            revision: now.0,
            shown_at: None,
            in_flight,
            failing: None,
            unwritten: Changes::default(),
            rewrite: false,
            resumed: false,
            ledger: SharedLedgerLost::default(),
            responders: Vec::new(),
            responders_shown: true,
            damaged: None,
            dropped: None,
            events: None,
            stale: false,
            rows: Rows::default(),
            recent: Recent::default(),
        }
    }

    /// Returns the number of the first step. It comes from the wall clock, so it is greater than all numbers
    /// of earlier runs, even if the database cannot be read.
    pub(super) fn first_step(&self, now: UnixMs) -> u64 {
        now.0 << 10
    }

    pub(super) fn store(&mut self) -> Option<&mut StoreHandle> {
        self.store.as_mut()
    }

    /// Returns how long [`Self::flush`] has nothing to do. `asked` is true while a caller waits for an
    /// answer.
    pub(super) fn pause(&self, now: Timestamp, registry: &mut Registry, asked: bool) -> Duration {
        let shown_for = self.shown_at.map_or(Duration::MAX, |at| now.since(at));
        let pause = every(asked).saturating_sub(shown_for);
        // A batch that is not written in time is shown all the same.
        let in_flight = self.in_flight.as_ref().filter(|batch| batch.shown.is_some());
        let patience = in_flight.map(|batch| PATIENCE.saturating_sub(now.since(batch.since)));
        let failing = self.failing.as_ref().filter(|_| self.in_flight.is_none());
        let retry = failing.map(|failing| failing.retry.since(now).max(pause));
        let has_changes = !registry.changes().is_empty() || self.stale || self.rewrite;
        let waits = self.in_flight.is_some() && self.failing.is_none();
        let show = (has_changes && !waits).then_some(pause);
        [patience, retry, show].into_iter().flatten().min().unwrap_or(Duration::MAX)
    }

    /// Makes the next flush show the board, even if no machine has changed.
    pub(super) fn refresh(&mut self) {
        self.stale = true;
    }

    /// Makes the next flush ignore the time since the last board.
    pub(super) fn skip_pause(&mut self) {
        self.shown_at = None;
    }

    /// The database did not open in time.
    pub(super) fn is_slow(&mut self, wall: UnixMs) {
        self.fail(Timestamp::default(), wall, "the database does not answer: check its disk".into());
    }

    /// The responders of the shared ledger have changed.
    pub(super) fn set_responders(&mut self, responders: Vec<Responder>) {
        self.stale |= self.responders != responders;
        self.responders_shown &= self.responders == responders;
        self.responders = responders;
    }

    /// Whether a machine has changes that were taken from the registry and are not stored yet, so that they have no version.
    pub(super) fn is_pending(&self, mac: Mac) -> bool {
        let in_flight = |batch: &InFlight| batch.everything || batch.changes.machines.contains(&mac);
        self.rewrite
            || self.unwritten.machines.contains(&mac)
            || self.in_flight.as_ref().is_some_and(in_flight)
    }

    /// Whether all changes so far have been shown.
    pub(super) fn is_current(&self, registry: &mut Registry) -> bool {
        registry.changes().is_empty() && self.in_flight.as_ref().is_none_or(|batch| batch.shown.is_none())
    }

    /// Whether all changes have been shown, and stored unless the database fails.
    pub(super) fn is_idle(&self, registry: &mut Registry) -> bool {
        let written = self.in_flight.is_none() && (self.failing.is_some() || self.unwritten.is_empty());
        registry.changes().is_empty() && written && !self.rewrite
    }

    /// Shows what has changed, or gives it to the store, which must write it first.
    pub(super) fn flush(&mut self, now: Timestamp, wall: UnixMs, registry: &mut Registry, asked: bool) {
        self.check_write_timeout(now, wall);
        let early = self.shown_at.is_some_and(|at| now.since(at) < every(asked));
        if early {
            return;
        }
        if self.store.is_none() || self.failing.is_some() {
            self.show_unwritten(now, wall, registry);
            if self.failing.as_ref().is_some_and(|failing| now >= failing.retry) && self.in_flight.is_none() {
                self.hand_over(now, wall, registry, None);
            }
        } else if self.in_flight.is_none() {
            if registry.changes().is_empty() && !self.stale && !self.rewrite && self.unwritten.is_empty() {
                return;
            }
            let changes = registry.take_changes();
            let shown = self.compose(wall, &changes, registry);
            self.unwritten_after(changes);
            self.hand_over(now, wall, registry, Some(shown));
        }
    }

    fn unwritten_after(&mut self, mut changes: Changes) {
        changes.put_before(std::mem::take(&mut self.unwritten));
        self.unwritten = changes;
    }

    /// Shows changes without storing them, while the database fails or if there is none.
    fn show_unwritten(&mut self, now: Timestamp, wall: UnixMs, registry: &mut Registry) {
        if registry.changes().is_empty() && !self.stale {
            return;
        }
        let changes = registry.take_changes();
        let shown = self.compose(wall, &changes, registry);
        self.shown_at = Some(now);
        self.publish(shown);
        if self.store.is_some() {
            self.unwritten_after(changes);
            self.rewrite |= self.unwritten.shrink();
        }
    }

    /// Gives the store all changes that are not stored. `shown` is shown when the store has written them.
    fn hand_over(&mut self, now: Timestamp, wall: UnixMs, registry: &Registry, shown: Option<Shown>) {
        let Some(store) = &self.store else { return };
        let changes = std::mem::take(&mut self.unwritten);
        let everything = std::mem::take(&mut self.rewrite);
        let batch = Batch::new((wall, now), registry, &changes, everything);
        self.shown_at = Some(now);
        if store.send(StoreRequest::Write(Box::new(batch))) {
            self.in_flight = Some(InFlight { since: now, changes, everything, shown });
            return;
        }
        self.rewrite = everything;
        self.unwritten = changes;
        self.fail(now, wall, "the database is too slow".into());
        if let Some(shown) = shown {
            self.publish(shown);
        }
    }

    fn check_write_timeout(&mut self, now: Timestamp, wall: UnixMs) {
        let Some(batch) = self.in_flight.as_mut().filter(|batch| now.since(batch.since) >= PATIENCE) else {
            return;
        };
        if let Some(shown) = batch.shown.take() {
            self.fail(now, wall, "the database does not answer: check its disk".into());
            self.publish(shown);
        }
    }

    /// Handles the store's answer.
    pub(super) fn stored(&mut self, now: Timestamp, wall: UnixMs, answer: Answer, registry: &mut Registry) {
        if let Answer::Ledger(state) = answer {
            self.rewrite |= self.ledger.changed(wall, &state);
            self.stale = true;
            return;
        }
        let batch = self.in_flight.take();
        match answer {
            // Handled above, and by the fleet's thread.
            Answer::Ledger(_) | Answer::News(_) => {}
            Answer::Written { events, version } => {
                self.events_fail(wall, events);
                self.mend();
                let Some(InFlight { changes, everything, shown, .. }) = batch else { return };
                registry.stored((!everything).then_some(&changes.machines), version);
                if let Some(shown) = shown {
                    self.publish(shown);
                }
            }
            Answer::Opened(opened) => {
                match batch {
                    // These changes are not shown yet. They go back to the registry's changes, so that the
                    // next board has them together with the machines from the database.
                    Some(InFlight { changes, everything, shown: Some(_), .. }) => {
                        registry.changes().put_before(changes);
                        self.rewrite |= everything;
                    }
                    shown => drop(self.put_back(shown)),
                }
                self.opened(wall, *opened, registry);
            }
            Answer::Failed { why, events } => {
                self.events_fail(wall, events);
                let shown = self.put_back(batch);
                self.fail(now, wall, why);
                if let Some(shown) = shown {
                    self.publish(shown);
                }
            }
        }
    }

    /// Takes back the changes of a batch that was not written. Returns what was to be shown with it.
    fn put_back(&mut self, batch: Option<InFlight>) -> Option<Shown> {
        let batch = batch?;
        self.unwritten.put_before(batch.changes);
        self.rewrite |= batch.everything;
        batch.shown
    }

    fn opened(&mut self, wall: UnixMs, opened: Opened, registry: &mut Registry) {
        self.mend();
        if let Some(what) = opened.set_aside {
            tracing::error!(event = "database_damaged", "{what}");
            self.damaged = Some(Lost { what, since: wall });
            self.rewrite = true;
        }
        registry.continue_after(opened.last_step);
        if std::mem::replace(&mut self.resumed, true) {
            self.rewrite = true;
        } else {
            registry.resume(wall, opened.machines, opened.absence);
            opened.others.into_iter().for_each(|machine| registry.learn(wall, machine, false));
            for step in opened.steps {
                self.recent.push(step);
            }
        }
        self.stale = true;
        self.shown_at = None;
    }

    fn fail(&mut self, now: Timestamp, wall: UnixMs, why: String) {
        let retry = now + RETRY_EVERY;
        let what = format!("boot history is not stored: {why}");
        match &mut self.failing {
            Some(failing) => {
                self.stale |= failing.lost.what != what;
                failing.lost.what = what;
                failing.retry = retry;
            }
            None => {
                tracing::error!(event = "database_fails", "{what}; pxed keeps serving");
                self.failing = Some(Failing { lost: Lost { what, since: wall }, retry });
                self.stale = true;
            }
        }
    }

    fn mend(&mut self) {
        if self.failing.take().is_some() {
            tracing::info!(event = "database_works", "boot history is stored again");
            self.stale = true;
            self.shown_at = None;
        }
    }

    fn events_fail(&mut self, wall: UnixMs, why: Option<String>) {
        let before = self.events.as_ref().map(|lost| lost.what.clone());
        if before != why {
            if let Some(why) = &why {
                tracing::error!(event = "events_fail", "{why}");
            }
            let since = self.events.as_ref().map_or(wall, |lost| lost.since);
            self.events = why.map(|what| Lost { what, since });
            self.stale = true;
        }
    }

    /// Makes the board and the updates for a set of changes.
    fn compose(&mut self, wall: UnixMs, changes: &Changes, registry: &Registry) -> Shown {
        self.stale = false;
        if changes.steps_lost > 0 {
            let what = format!(
                "{} steps are lost: too many happened while the database could not be written",
                changes.steps_lost
            );
            let since = self.dropped.as_ref().map_or(wall, |lost| lost.since);
            self.dropped = Some(Lost { what, since });
        }
        let mut updates = Vec::with_capacity(changes.machines.len() + changes.steps.len());
        for mac in changes.forgotten.union(&changes.dropped) {
            self.rows.remove(*mac);
            self.revision += 1;
            updates.push(Arc::new(Update::Forgotten { revision: self.revision, mac: mac.to_string() }));
        }
        let machines = changes.machines.union(&changes.resumed);
        for machine in machines.filter_map(|mac| registry.machine(*mac)) {
            self.revision += 1;
            let machine = self.rows.put(machine.mac, &machine.shown);
            updates.push(Arc::new(Update::Machine { revision: self.revision, machine }));
        }
        if !std::mem::replace(&mut self.responders_shown, true) {
            self.revision += 1;
            let (revision, responders) = (self.revision, self.responders.clone());
            updates.push(Arc::new(Update::Responders { revision, responders }));
        }
        updates.extend(changes.steps.iter().map(|step| Arc::new(Update::Step { step: step.clone() })));
        let board = Board {
            at: wall,
            revision: self.revision,
            machines: self.rows.all(),
            lost: Vec::new(),
            responders: self.responders.clone(),
        };
        Shown { board: Arc::new(board), updates }
    }

    fn publish(&mut self, shown: Shown) {
        let Shown { mut board, updates } = shown;
        let lost: Vec<_> = [self.failing.as_ref().map(|failing| &failing.lost)]
            .into_iter()
            .chain(self.ledger.entries())
            .chain([self.damaged.as_ref(), self.dropped.as_ref(), self.events.as_ref()])
            .flatten()
            .cloned()
            .collect();
        let news = self.board.load().lost != lost;
        Arc::make_mut(&mut board).lost.clone_from(&lost);
        self.board.store(board);
        for update in updates {
            if let Update::Step { step } = &*update {
                self.recent.push(step.clone());
            }
            // Sending fails only if there is no viewer.
            let _ = self.updates.send(update);
        }
        if news {
            let _ = self.updates.send(Arc::new(Update::Lost { lost }));
        }
    }

    /// Returns the latest steps of a machine that are in memory, newest first.
    pub(super) fn steps_of(&self, mac: &str, most: usize) -> Vec<Step> {
        self.recent.of(mac, most)
    }

    /// Answers with a machine's history. The store replaces boots and steps with the longer lists from the
    /// database. While the database fails, the caller gets `story` as it is.
    pub(super) fn tell(&self, mac: Mac, story: Story, answer: oneshot::Sender<Option<Story>>) {
        match self.store.as_ref().filter(|_| self.failing.is_none()) {
            Some(store) => store.tell(mac, story, answer),
            None => drop(answer.send(Some(story))),
        }
    }

    /// Answers with the steps after `after`. They come from memory if it reaches back so far, otherwise from
    /// the database.
    pub(super) fn list(&self, after: u64, most: usize, answer: oneshot::Sender<Vec<Step>>) {
        let reaches = self.recent.reach_back_to(after);
        match self.store.as_ref().filter(|_| self.failing.is_none() && !reaches) {
            Some(store) => store.list(after, most, answer),
            None => drop(answer.send(self.recent.after(after, most))),
        }
    }

    /// Ends the store's thread. Waits for it if `wait` is set, which is right only if the store has answered
    /// in time.
    pub(super) fn close(self, wait: bool) {
        if let Some(store) = self.store {
            store.close(wait);
        }
    }
}

/// Shortest time between two boards.
fn every(asked: bool) -> Duration {
    if asked { ANSWER_EVERY } else { SHOW_EVERY }
}

#[cfg(test)]
mod tests;
