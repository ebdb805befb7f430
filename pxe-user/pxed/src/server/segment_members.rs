//! [`SegmentMembers`]: the thread that finds the responders of the segment in the shared ledger, and shows them this one.
//!
//! ```text
//! settings --Join--> thread: renew the lease, read the others --> Membership (pure) --> LiveConfig::found --> supervisor:
//! SIGTERM  --Leave-> thread: leave, wait until the others have read it                    kernel maps, log, board
//! ```
//! It has a connection of its own, and only it waits for that. While the database is away, what is known stays in force. A
//! hand-over to another process on this host leaves nothing: the successor renews the same lease. A responder without a link
//! leaves, and comes back with the link.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::Duration;

use anyhow::Result;
use tokio::sync::Notify;

use super::confined::ThreadPermit;
use super::reload::LiveConfig;
use super::segment_view::{Enrolment, Found};
use pxe_engine::clock::Clock;
use pxe_engine::segment::Member;
use pxe_engine::segment::membership::{Membership, Sighting, have_all_read};
use pxe_fleet::thread::SharedLedger;
use pxe_ledger::postgres::{LEASE, LEASE_EVERY, MemberLease, MemberRow, Members, PostgresError};
use pxe_nic::interface::has_link;

/// Pause between two attempts to connect.
const RETRY_EVERY: Duration = Duration::from_secs(2);
/// Shortest pause between two reads, so that a clock that runs a little slower than the server's does not read again and
/// again.
const READ_EVERY: Duration = Duration::from_millis(50);
/// Between two looks for a link that is gone.
const LINK_EVERY: Duration = Duration::from_secs(1);
/// The most time that leaving takes, with everything.
const LEAVING_MAX: Duration = Duration::from_secs(2);
/// How long a responder that leaves waits for the others to read that.
const READING_MAX: Duration = Duration::from_millis(1500);
/// How long the others may take to apply what they have read: their supervisor writes it into the kernel's maps.
const APPLYING: Duration = Duration::from_millis(200);

/// The handle of the thread. Dropping it ends the thread, and leaves nothing.
pub(super) struct SegmentMembers {
    commands: Sender<Command>,
    wake: Arc<Notify>,
    is_connected: Arc<AtomicBool>,
}

enum Command {
    /// Take part in this segment, or in none.
    Join(Option<Enrolment>),
    /// Leave, and answer when the others have read it.
    Leave(Sender<()>),
}

impl SegmentMembers {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(super) fn start(
        permit: ThreadPermit,
        ledger: SharedLedger,
        live: Arc<LiveConfig>,
        clock: Clock,
    ) -> Result<Self> {
        let (commands, received) = channel();
        let wake = Arc::new(Notify::new());
        let is_connected = Arc::new(AtomicBool::new(false));
        let follower = Follower {
            ledger,
            live,
            clock,
            commands: received,
            wake: Arc::clone(&wake),
            is_connected: Arc::clone(&is_connected),
            joined: None,
        };
        permit.spawn("pxed-segment", move || follower.run())?;
        Ok(Self { commands, wake, is_connected })
    }

    /// Takes part in this segment from now on, or in none.
    pub(super) fn join(&self, enrolment: Option<Enrolment>) {
        self.send(Command::Join(enrolment));
    }

    /// Leaves the segment, and waits until the others have taken over the machines, [`LEAVING_MAX`] at most. Without a
    /// connection nobody could read it, so it does not wait.
    pub(super) fn leave(&self) {
        if !self.is_connected.load(Ordering::Relaxed) {
            return;
        }
        let (done, left) = channel();
        self.send(Command::Leave(done));
        // After the time-out the lease ends by itself.
        let _ = left.recv_timeout(LEAVING_MAX);
    }

    fn send(&self, command: Command) {
        // Sending fails only if the thread has ended, which no error makes it do.
        let _ = self.commands.send(command);
        self.wake.notify_one();
    }
}

impl Drop for SegmentMembers {
    fn drop(&mut self) {
        let (nobody, _) = channel();
        self.commands = nobody;
        self.wake.notify_one();
    }
}

/// What the thread takes part in.
struct Joined {
    enrolment: Enrolment,
    membership: Membership,
    /// The others have not been notified of it yet.
    is_news: bool,
    /// It has left, because it has no link.
    is_unplugged: bool,
}

/// Why the thread stops using a connection.
enum End {
    /// The daemon ends.
    Closed,
    /// This responder takes part in no segment any more.
    Left,
}

/// The thread.
struct Follower {
    ledger: SharedLedger,
    live: Arc<LiveConfig>,
    clock: Clock,
    commands: Receiver<Command>,
    wake: Arc<Notify>,
    is_connected: Arc<AtomicBool>,
    joined: Option<Joined>,
}

impl Follower {
    fn run(mut self) {
        loop {
            let pause = if self.joined.is_none() { Duration::MAX } else { Duration::ZERO };
            if self.is_closed_after(pause) {
                return;
            }
            if self.joined.is_none() {
                continue;
            }
            let end = self.follow();
            self.is_connected.store(false, Ordering::Relaxed);
            match end {
                Ok(End::Closed) => return,
                Ok(End::Left) => self.live.segment_problem(None),
                Err(why) => {
                    self.away(&why);
                    if self.is_closed_after(RETRY_EVERY) {
                        return;
                    }
                }
            }
        }
    }

    /// Waits for a command without a connection. Returns true if the daemon ends.
    fn is_closed_after(&mut self, pause: Duration) -> bool {
        // A year at most, because the system's limit is lower than that of a duration.
        match self.commands.recv_timeout(pause.min(Duration::from_secs(365 * 86400))) {
            Ok(Command::Join(enrolment)) => {
                self.join(enrolment);
                false
            }
            // Nobody can read that this responder leaves.
            Ok(Command::Leave(done)) => {
                self.joined = None;
                drop(done);
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        }
    }

    fn join(&mut self, enrolment: Option<Enrolment>) {
        let is_same = |joined: &Joined, enrolment: &Enrolment| {
            joined.enrolment.segment == enrolment.segment && joined.enrolment.responder == enrolment.responder
        };
        let before = self.joined.take();
        self.joined = enrolment.map(|enrolment| {
            // Another weight is no reason to forget who is there.
            let known = before.filter(|joined| is_same(joined, &enrolment)).map(|joined| joined.membership);
            let membership = known.unwrap_or_else(|| Membership::new(Arc::clone(&enrolment.responder)));
            Joined { enrolment, membership, is_news: true, is_unplugged: false }
        });
    }

    /// Connects, and follows the segment until the connection fails.
    fn follow(&mut self) -> Result<End, String> {
        let target = self.ledger.target.as_ref().map_err(ToString::to_string)?;
        let mut members = Members::connect(target).map_err(|error| error.to_string())?;
        self.follow_by(&mut members).map_err(|error| error.to_string())
    }

    fn follow_by(&mut self, members: &mut Members) -> Result<End, PostgresError> {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Join(enrolment)) => {
                    let own = self.joined.as_ref().map(|joined| Arc::clone(&joined.enrolment.responder));
                    self.join(enrolment);
                    if self.joined.is_none() {
                        own.map_or(Ok(()), |own| members.leave(&own).and_then(|()| members.notify()))?;
                        return Ok(End::Left);
                    }
                }
                Ok(Command::Leave(done)) => {
                    let left = self.leave(members);
                    self.joined = None;
                    let _ = done.send(());
                    return left.map(|()| End::Left);
                }
                Err(TryRecvError::Disconnected) => return Ok(End::Closed),
                Err(TryRecvError::Empty) => {}
            }
            let names = self.live.settings().interfaces.clone();
            let Some(joined) = &mut self.joined else { return Ok(End::Left) };
            if is_unplugged(&names, has_link) {
                if !std::mem::replace(&mut joined.is_unplugged, true) {
                    members.leave(&joined.enrolment.responder)?;
                    members.notify()?;
                }
                // What is known stays in force, so that this responder serves as soon as the link is back.
                self.live.segment_problem(Some(format!(
                    "segment {}: no link on {}, so no machine reaches this responder. It has left the segment, and the \
                     others take over its machines. It comes back with the link: check the cable and the switch's port",
                    joined.enrolment.segment,
                    names.join(", ")
                )));
                members.wait(LINK_EVERY, self.wake.notified())?;
                continue;
            }
            joined.is_news |= std::mem::take(&mut joined.is_unplugged);
            let lease = MemberLease {
                responder: joined.enrolment.responder.to_string(),
                segment: joined.enrolment.segment.to_string(),
                weight: joined.enrolment.weight,
                host: self.ledger.host.clone(),
            };
            let rows = members.renew(&lease)?;
            let next = show(&self.live, joined, self.clock, &rows);
            self.is_connected.store(true, Ordering::Relaxed);
            // After the read: this responder begins to answer for its machines before the others stop.
            if std::mem::take(&mut joined.is_news) {
                members.notify()?;
            }
            members.wait(next.clamp(READ_EVERY, LEASE_EVERY), self.wake.notified())?;
        }
    }

    /// Leaves, and waits until all others that are alive have read it and had time to apply it.
    fn leave(&self, members: &mut Members) -> Result<(), PostgresError> {
        let Some(Joined { enrolment, .. }) = &self.joined else { return Ok(()) };
        members.leave(&enrolment.responder)?;
        // Before the others are notified: they may read before this thread runs again, and would seem to have read earlier.
        let left = self.clock.now();
        members.notify()?;
        loop {
            // Before the read, so that it is not longer than the ledger's time since then.
            let since = self.clock.now().since(left);
            let others = sightings(&members.read(&enrolment.segment)?);
            let is_alone = have_all_read(&enrolment.responder, &others, Duration::ZERO, LEASE);
            if is_alone {
                tracing::info!(event = "segment_left", "left the segment: no other responder is there");
                return Ok(());
            }
            if have_all_read(&enrolment.responder, &others, since, LEASE) {
                std::thread::sleep(APPLYING);
                tracing::info!(event = "segment_left", "left the segment: the others have taken over");
                return Ok(());
            }
            if since >= READING_MAX {
                tracing::warn!(
                    event = "segment_left",
                    "left the segment, and not all other responders have read that yet: machines may need a second request"
                );
                return Ok(());
            }
            std::thread::sleep(READ_EVERY);
        }
    }

    /// The ledger cannot be read.
    fn away(&mut self, why: &str) {
        let Some(joined) = &mut self.joined else { return };
        joined.membership.away();
        let name = &joined.enrolment.segment;
        let consequence = match joined.membership.presence() {
            Some(presence) => {
                let there = presence.segment.members().iter().filter(|member| presence.has(&member.name));
                let names: Vec<&str> = there.map(|member| &*member.name).collect();
                format!(
                    "pxed keeps to the responders that it knows ({}). The others take over this one's machines, and answer \
                     them beside it",
                    names.join(", ")
                )
            }
            None => {
                "pxed knows of no other responder, and answers every machine: machines may get several offers"
                    .into()
            }
        };
        self.live.segment_problem(Some(format!("segment {name}: {why}. Until then {consequence}")));
    }
}

/// Whether no interface has a link. One that does not say counts as having one.
fn is_unplugged(names: &[String], has_link: impl Fn(&str) -> Option<bool>) -> bool {
    !names.is_empty() && names.iter().all(|name| has_link(name) == Some(false))
}

/// Takes rows that were read, and publishes what has changed. Returns when the next read is due at the latest.
fn show(live: &LiveConfig, joined: &mut Joined, clock: Clock, rows: &[MemberRow]) -> Duration {
    let Joined { enrolment, membership, .. } = joined;
    match membership.read(clock.now(), &sightings(rows)) {
        Ok(next) => {
            if let Some(presence) = membership.presence() {
                live.found(Found { enrolment: enrolment.clone(), presence: presence.clone() });
            }
            live.segment_problem(None);
            next
        }
        Err(error) => {
            let name = &enrolment.segment;
            live.segment_problem(Some(format!(
                "the responders of segment {name} in the shared ledger cannot share it: {error}. Until then pxed keeps to \
                 those that it knew before"
            )));
            LEASE_EVERY
        }
    }
}

/// The rows' meaning.
pub(crate) fn sightings(rows: &[MemberRow]) -> Vec<Sighting> {
    let sighting = |row: &MemberRow| Sighting {
        member: Member { name: row.responder.as_str().into(), weight: row.weight },
        known: row.known,
        alive: row.alive,
        lease: row.lease,
        has_left: row.has_left,
    };
    rows.iter().map(sighting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_responder_is_unplugged_when_all_of_its_interfaces_are() {
        let link = |name: &str| match name {
            "down" => Some(false),
            "up" => Some(true),
            _ => None,
        };
        let unplugged = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            is_unplugged(&names, link)
        };
        assert!(unplugged(&["down"]) && unplugged(&["down", "down"]));
        assert!(!unplugged(&["down", "up"]) && !unplugged(&["down", "silent"]) && !unplugged(&[]));
    }
}
