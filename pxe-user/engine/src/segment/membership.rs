//! [`Membership`]: which responders of a segment are there, from what the shared ledger says of them. Pure: the caller
//! reads the ledger, and gives the time.
//!
//! Each responder renews a lease in the ledger. A read shows all of them as [`Sighting`]s. The rules, from which all
//! responders get the same table:
//!
//! - A responder whose lease has ended, or that has left in order, is not there. It stays in the list, so that only its
//!   buckets move.
//! - A responder that comes, or comes back, owns nothing for [`SETTLE`]. So one whose connection comes and goes does not
//!   move machines each time. Those that began about when the eldest did ([`TOGETHER`]) share at once, because
//!   otherwise nobody would answer after a power cut.
//! - The newcomer itself begins [`LAG`] before the others stop answering for it. For that time machines may get two
//!   offers. The other order would leave them without one.
//! - After an outage of the ledger, those that were there before count as there for [`GRACE`], unless they have left:
//!   the responders find the ledger again one after another.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pxe_proto::time::Timestamp;

use super::{Member, RESPONDERS_MAX, Segment, SegmentError, Table};

/// How long a responder that comes to a segment, or comes back, must be alive before it owns machines.
pub const SETTLE: Duration = Duration::from_secs(6);
/// Responders whose leases began within this time after the eldest one's began together.
pub const TOGETHER: Duration = Duration::from_secs(15);
/// By how much the others count a newcomer later than it counts itself. Longer than a read of the ledger takes.
pub const LAG: Duration = Duration::from_secs(1);
/// How long those that were there before an outage of the ledger count as there after it. Not longer than the others wait
/// until they count this responder again: they may give it buckets of one that is gone.
pub const GRACE: Duration = SETTLE;

/// What the ledger says of a responder at the time of a read. All durations are by the ledger's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The responder.
    pub member: Member,
    /// For how long the ledger has known it.
    pub known: Duration,
    /// For how long its lease has been renewed without a gap.
    pub alive: Duration,
    /// The rest of its lease. Zero if it has ended.
    pub lease: Duration,
    /// It has left in order.
    pub has_left: bool,
}

impl Sighting {
    fn is_alive(&self) -> bool {
        !self.has_left && !self.lease.is_zero()
    }
}

/// The responders of a segment, and which of them are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// All responders that count for the table.
    pub segment: Segment,
    present: BTreeSet<Arc<str>>,
}

impl Presence {
    /// Whether a responder is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.present.contains(name)
    }

    /// Which responder owns which machines.
    #[must_use]
    pub fn table(&self) -> Table {
        self.segment.table(|name| self.has(name))
    }
}

/// One responder's view of a segment whose responders are in the ledger.
#[derive(Clone, Debug)]
pub struct Membership {
    own: Arc<str>,
    presence: Option<Presence>,
    /// Who was there before an outage, and when the ledger was back.
    before: Option<(BTreeSet<Arc<str>>, Timestamp)>,
    is_away: bool,
}

impl Membership {
    /// The view of a responder that has not read the ledger yet.
    #[must_use]
    pub fn new(own: Arc<str>) -> Self {
        Self { own, presence: None, before: None, is_away: false }
    }

    /// Who is there, by the last read that could be used. `None` before the first one: this responder knows of no other,
    /// and answers every machine.
    #[must_use]
    pub fn presence(&self) -> Option<&Presence> {
        self.presence.as_ref()
    }

    /// The ledger cannot be read. What is known stays.
    pub fn away(&mut self) {
        self.is_away = true;
    }

    /// Takes a read. Returns when the next one is due at the latest, because something changes by itself.
    ///
    /// # Errors
    /// Why the responders in the ledger make no segment. What was known before stays.
    pub fn read(&mut self, now: Timestamp, sightings: &[Sighting]) -> Result<Duration, SegmentError> {
        if std::mem::take(&mut self.is_away) {
            // A second outage soon after the first one: those that are not back yet still count.
            self.before = self.presence.as_ref().map(|presence| (presence.present.clone(), now));
        }
        let mut next = Duration::MAX;
        if let Some((_, since)) = &self.before {
            match GRACE.saturating_sub(now.since(*since)) {
                Duration::ZERO => self.before = None,
                rest => next = rest,
            }
        }
        let alive = || sightings.iter().filter(|sighting| sighting.is_alive());
        let eldest = alive().map(|sighting| sighting.alive).max().unwrap_or_default();
        let mut present = BTreeSet::new();
        for sighting in alive() {
            let due = self.due(sighting, eldest).saturating_sub(sighting.alive);
            if due.is_zero() || self.was_there(&sighting.member.name) {
                present.insert(Arc::clone(&sighting.member.name));
            } else {
                next = next.min(due);
            }
            next = next.min(sighting.lease);
        }
        let gone = sightings.iter().filter(|sighting| !sighting.is_alive() && !sighting.has_left);
        let waited = gone.map(|sighting| &sighting.member.name).filter(|name| self.was_there(name));
        present.extend(waited.cloned());
        let segment = Segment::new(listed(sightings, &present))?;
        self.presence = Some(Presence { segment, present });
        Ok(next)
    }

    /// For how long a responder must have been alive to own machines.
    fn due(&self, sighting: &Sighting, eldest: Duration) -> Duration {
        let is_newcomer = eldest.saturating_sub(sighting.alive) > TOGETHER;
        let settle = if is_newcomer { SETTLE } else { Duration::ZERO };
        if sighting.member.name == self.own { settle } else { settle + LAG }
    }

    /// Whether a responder was there before an outage that has just ended.
    fn was_there(&self, name: &Arc<str>) -> bool {
        self.before.as_ref().is_some_and(|(before, _)| before.contains(name))
    }
}

/// The responders that count for the table: those that are there, and those that have been. A newcomer joins the list when
/// it gets its buckets, because a longer list also moves a few others.
fn listed(sightings: &[Sighting], present: &BTreeSet<Arc<str>>) -> Vec<Member> {
    let is_listed =
        |sighting: &&Sighting| present.contains(&sighting.member.name) || sighting.known >= SETTLE + LAG;
    let mut listed: Vec<&Sighting> = sightings.iter().filter(is_listed).collect();
    if listed.len() > RESPONDERS_MAX {
        listed.retain(|sighting| present.contains(&sighting.member.name));
    }
    if listed.is_empty() {
        listed = sightings.iter().collect();
    }
    listed.into_iter().map(|sighting| sighting.member.clone()).collect()
}

/// Whether all other responders that are alive have read the ledger since this one has left it, `left` ago. `lease` is the
/// length of a whole lease: each responder renews its own before it reads.
#[must_use]
pub fn have_all_read(own: &str, sightings: &[Sighting], left: Duration, lease: Duration) -> bool {
    let mut others = sightings.iter().filter(|sighting| sighting.is_alive() && &*sighting.member.name != own);
    others.all(|sighting| lease.saturating_sub(sighting.lease) < left)
}

#[cfg(test)]
mod tests;
