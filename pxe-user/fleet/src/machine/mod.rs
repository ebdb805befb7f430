//! One machine: what it was told, what it fetched, what its test says. Pure: `now` is an argument.
//!
//! ```text
//!         Unanswered                 a file                payload, or quiet           report, MTLOG
//! Seen ------------> Failed    .---> Loading -------------------> Running -------------------> Passed
//!   |   (no image) / Ignored   |        |                          |    ^ |                      Failed
//!   '--Told--> Offered --------'        | broken off, refused      |    | | no tick
//!   |             |                     v                          |    '-v
//!   |             '--- no request --> Failed          asks again --'   Silent
//!   '--Told local--> Local                                v
//!                                                     Returned, until it runs again
//! ```
//!
//! A failed boot stays failed until a file arrives; bad memory stays failed until a new test reports after a new boot,
//! whatever the machine loads meanwhile; a machine that came back stays returned until it runs again.

mod belief;
mod identity;
mod loading;
mod telling;
mod verdict;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::board::{self, Boot, State, UnixMs};
use super::changes::{ChangeLog, Draft};
use super::event::Client;
use super::handle::BootRecord;
use super::smbios::Mapped;
pub(crate) use loading::{ActiveTransfer, FinishedTransfer};
use pxe_content::boot::Nonce;
use pxe_proto::mac::Mac;
pub(crate) use telling::{LastReply, style_word};

/// Boots that are shown of a machine; the database has the others.
const BOOTS_SHOWN: usize = 32;

/// Why a machine is failed: this decides what ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Failure {
    /// Nothing is there for its kind: ended by being told something.
    NoImage,
    /// Its boot: ended by a file that arrives.
    Boot,
    /// Its test: ended by a new test after a new boot.
    Test,
}

/// The present boot, as far as the state machine needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Attempt {
    /// When it was told first, and last.
    began: UnixMs,
    told_at: UnixMs,
    /// The file or URL that it was told.
    told: Option<String>,
    /// It must ask for a file: it was told one, and not given a menu to choose from.
    expected: bool,
    /// When it first asked for a file, and when it was last heard of in this boot.
    asked: Option<UnixMs>,
    active: UnixMs,
    /// Files that arrived whole: loaders, and those that are neither that nor configuration.
    loaders: u32,
    files: u32,
    /// The last of them.
    last: Option<String>,
    /// A name that was asked for in vain since then.
    missing: Option<String>,
    /// Names that a boot loader has looked for in vain since then, for its configuration.
    #[serde(skip)]
    looked_for: Vec<String>,
    /// Since when the whole payload has been sent, but not acknowledged.
    sent: Option<UnixMs>,
    /// The payload has arrived.
    payload: bool,
    /// It counts as completed; its rule has been credited with it.
    completed: bool,
    credited: bool,
    /// Something broke, and may mend itself.
    trouble: Option<(UnixMs, String)>,
    /// What ties reports to this boot, once it was handed out.
    nonce: Option<Nonce>,
    /// Somebody else has asked in its name, which is told once.
    doubted: bool,
}

/// A machine, and what must survive of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    #[serde(skip)]
    pub(crate) mac: Mac,
    pub(crate) shown: board::Machine,
    /// What a console server calls it.
    #[serde(default)]
    pub(crate) console: Option<String>,
    #[serde(skip)]
    pub(crate) boot_record: BootRecord,
    #[serde(skip)]
    pub(crate) boots: VecDeque<Boot>,
    /// When it was last told to boot its disk, and not otherwise since.
    #[serde(default)]
    pub(crate) local: bool,
    /// A frame of its own has come over our link: what comes in its name by another way is not believed.
    #[serde(default)]
    on_link: bool,
    #[serde(default)]
    client: Option<Client>,
    #[serde(default)]
    attempt: Attempt,
    #[serde(default)]
    failure: Option<Failure>,
    /// How often it came back while its test should run.
    #[serde(default)]
    returns: u32,
    /// Its test has ended by itself.
    #[serde(default)]
    ended: bool,
    /// It has booted since a test was last heard of: the next word is a new test's.
    #[serde(default)]
    fresh: bool,
    /// Which DIMM has which addresses.
    #[serde(default)]
    places: Vec<Mapped>,
    /// Silence counts from here at the earliest: nobody listened before.
    #[serde(skip)]
    listening: UnixMs,
}

impl Machine {
    pub(crate) fn new(now: UnixMs, mac: Mac) -> Self {
        let shown = board::Machine {
            mac: mac.to_string(),
            name: None,
            uuid: None,
            serial: None,
            address: None,
            arch: None,
            firmware: None,
            relay: None,
            vlan: None,
            interface: None,
            state: State::Seen,
            since: now,
            why: None,
            rule: None,
            image: None,
            progress: None,
            boots: 0,
            completed: 0,
            retransmits: 0,
            first_seen: now,
            last_seen: now,
            verdict: None,
            dimms: Vec::new(),
        };
        Self {
            mac,
            shown,
            console: None,
            boot_record: BootRecord::default(),
            boots: VecDeque::new(),
            local: false,
            on_link: false,
            client: None,
            attempt: Attempt::default(),
            failure: None,
            returns: 0,
            ended: false,
            fresh: false,
            places: Vec::new(),
            listening: now,
        }
    }

    /// Takes up a machine that was written down before.
    pub(crate) fn resume(&mut self, now: UnixMs, mac: Mac) {
        self.mac = mac;
        self.listening = now;
        self.shown.progress = None;
    }

    /// The time of day was set, by so many milliseconds. What this boot waits for moves with it, and so does what is shown of
    /// the present; the past keeps the time that it was written down with.
    pub(crate) fn clock_set(&mut self, by: i64) {
        let Attempt { began, told_at, asked, active, trouble, .. } = &mut self.attempt;
        let attempt = [began, told_at, active].into_iter();
        let attempt = attempt.chain(asked).chain(trouble.as_mut().map(|(at, _)| at));
        let verdict = self.shown.verdict.as_mut();
        let verdict = verdict.into_iter().flat_map(|verdict| [&mut verdict.started, &mut verdict.heard]);
        let shown = [&mut self.shown.since, &mut self.shown.last_seen, &mut self.listening];
        // Zero is no time but none at all.
        for time in attempt.chain(verdict).chain(shown).filter(|time| time.0 != 0) {
            time.0 = time.0.saturating_add_signed(by).max(1);
        }
    }

    /// Adds what was written down of it before it was seen now.
    pub(crate) fn merge(&mut self, before: Self) {
        let shown = &mut self.shown;
        shown.boots += before.shown.boots;
        shown.completed += before.shown.completed;
        shown.retransmits += before.shown.retransmits;
        // Zero is never: it was named, and not seen before.
        if before.shown.first_seen != UnixMs(0) {
            shown.first_seen = shown.first_seen.min(before.shown.first_seen);
        }
        shown.name = shown.name.take().or(before.shown.name);
        shown.serial = shown.serial.take().or(before.shown.serial);
        shown.uuid = shown.uuid.take().or(before.shown.uuid);
        shown.verdict = shown.verdict.take().or(before.shown.verdict);
        if shown.dimms.is_empty() {
            shown.dimms = before.shown.dimms;
            self.places = before.places;
        }
        self.on_link |= before.on_link;
        self.console = self.console.take().or(before.console);
        self.boot_record.style = self.boot_record.style.or(before.boot_record.style);
        for (rule, boots) in before.boot_record.boots {
            match self.boot_record.boots.iter_mut().find(|(known, _)| *known == rule) {
                Some((_, known)) => *known += boots,
                None => self.boot_record.boots.push((rule, boots)),
            }
        }
        self.boots.extend(before.boots);
        self.boots.truncate(BOOTS_SHOWN);
    }

    /// Nothing ties it to us: an invented address looks like this. Such machines are the first to be forgotten.
    pub(crate) fn is_stranger(&self) -> bool {
        self.shown.completed == 0
            && self.shown.name.is_none()
            && self.shown.verdict.is_none()
            && self.boot_record == BootRecord::default()
            && self.boots.iter().all(|boot| boot.bytes == 0)
    }

    fn heard(&mut self, now: UnixMs, change_log: &mut ChangeLog) {
        self.shown.last_seen = now;
        if self.shown.first_seen == UnixMs(0) {
            self.shown.first_seen = now;
        }
        change_log.touch(self.mac);
    }

    fn step(&self, now: UnixMs, change_log: &mut ChangeLog, draft: Draft<'_>) {
        change_log.step(now, self.mac, self.is_stranger(), draft);
    }

    /// Goes to another state, unless what it is in lasts longer than that.
    fn go(&mut self, now: UnixMs, state: State, why: Option<String>, change_log: &mut ChangeLog) {
        let lasting = match self.failure {
            Some(Failure::Test) => state != State::Failed,
            Some(Failure::Boot) => matches!(state, State::Offered | State::Seen),
            Some(Failure::NoImage) => state == State::Seen,
            None => {
                self.shown.state == State::Returned
                    && matches!(state, State::Offered | State::Loading | State::Seen)
            }
        };
        if lasting {
            return;
        }
        if state != State::Failed {
            self.failure = None;
        }
        let changed = self.shown.state != state;
        if changed || self.shown.why != why {
            let text = why.clone().unwrap_or_else(|| state.as_str().into());
            if changed || state == State::Failed {
                let draft = Draft::new("state", text).fact("state", state.as_str());
                self.step(now, change_log, draft);
            }
            self.shown.why = why;
            change_log.touch(self.mac);
        }
        if changed {
            self.shown.state = state;
            self.shown.since = now;
        }
    }

    fn fail(&mut self, now: UnixMs, failure: Failure, why: String, change_log: &mut ChangeLog) {
        if self.failure == Some(Failure::Test) && failure != Failure::Test {
            return;
        }
        self.failure = Some(failure);
        self.shown.progress = None;
        self.attempt.trouble = None;
        self.go(now, State::Failed, Some(why), change_log);
        self.end_boot("failed", change_log);
    }

    fn boot_mut(&mut self, change_log: &mut ChangeLog, change: impl FnOnce(&mut Boot)) {
        let Some(boot) = self.boots.front_mut() else { return };
        change(boot);
        change_log.changes.boots.insert((self.mac, boot.at), boot.clone());
    }

    fn end_boot(&mut self, outcome: &str, change_log: &mut ChangeLog) {
        self.boot_mut(change_log, |boot| boot.outcome = Some(outcome.into()));
    }

    fn begin_boot(&mut self, now: UnixMs, change_log: &mut ChangeLog) {
        let trouble = self.attempt.trouble.take();
        self.attempt = Attempt { began: now, active: now, trouble, ..Attempt::default() };
        if self.boots.front().is_some_and(|boot| boot.outcome.is_none()) {
            self.end_boot("unfinished", change_log);
        }
        // Two boots of one machine never begin in the same millisecond.
        let at = self.boots.front().map_or(now, |last| UnixMs(now.0.max(last.at.0 + 1)));
        self.boots.push_front(Boot { at, ..Boot::default() });
        self.boots.truncate(BOOTS_SHOWN);
        self.boot_mut(change_log, |_| ());
    }
}

/// Milliseconds from one time to another; zero if the clock was set back meanwhile.
fn since(now: UnixMs, earlier: UnixMs) -> u64 {
    now.0.saturating_sub(earlier.0)
}

#[cfg(test)]
mod tests;
