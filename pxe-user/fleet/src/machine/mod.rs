//! [`Machine`]: the state machine of one machine. It follows what pxed offers, what the machine fetches, and
//! what its test reports. Pure: `now` is an argument.
//!
//! | file | contents |
//! |---|---|
//! | `offers` | DHCP: offers, new boots, resets |
//! | `loading` | file transfers |
//! | `verdict` | reports and console lines of a memory test |
//! | `trust` | which requests and reports count as the machine's own |
//! | `identity` | addresses, name, UUID, and other facts |
//! | `owner` | which responder of a shared ledger a machine belongs to |
//!
//! ```text
//!         Unanswered                 a file                payload, or quiet           report, MTLOG
//! Seen ------------> Failed    .---> Loading -------------------> Running -------------------> Passed
//!   |   (no image) / Ignored   |        |                          |    ^ |                      Failed
//!   '-Offered-> Offered --------'        | broken off, refused      |    | | no tick
//!   |             |                     v                          |    '-v
//!   |             '--- no request --> Failed          asks again --'   Silent
//!   '-local---> Local                                 v
//!                                                     Returned, until it runs again
//! ```
//!
//! A failed boot stays `Failed` until a file arrives. Bad memory stays `Failed` until a new test reports
//! after a new boot, whatever the machine loads in between. A machine that returned to PXE stays `Returned`
//! until it runs again.

mod identity;
mod loading;
mod offers;
mod owner;
mod trust;
mod verdict;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::board::{self, Boot, State, UnixMs};
use super::changes::{ChangeLog, Draft};
use super::event::Client;
use super::handle::BootRecord;
use super::smbios::Mapped;
pub(crate) use loading::{ActiveTransfer, FinishedTransfer};
pub(crate) use offers::{LastReply, style_word};
pub(crate) use owner::replaces;
use pxe_content::boot::Nonce;
use pxe_proto::mac::Mac;

/// Maximum number of boots of a machine that are kept in memory. The database has older ones.
const BOOTS_SHOWN: usize = 32;

/// Why a machine is in the state [`State::Failed`]. The reason decides what ends the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Failure {
    /// No boot program exists for the machine's architecture. An offer ends it.
    NoImage,
    /// The boot failed. A file that arrives ends it.
    Boot,
    /// The test found errors, could not run, or did not say that it passed. A new test after a new boot ends
    /// it.
    Test,
}

/// What the state machine knows about the present boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Attempt {
    /// When pxed sent the first and the latest offer of this boot. `told_at` is 0 without an offer.
    began: UnixMs,
    told_at: UnixMs,
    /// The file or URL of the latest offer.
    told: Option<String>,
    /// The machine must request a file, because it was offered one, and not a menu.
    expected: bool,
    /// When the machine first requested a file, and when it was last active in this boot.
    asked: Option<UnixMs>,
    active: UnixMs,
    /// Number of complete files: boot loaders, and files that are neither boot loaders nor configuration.
    loaders: u32,
    files: u32,
    /// The last of these files.
    last: Option<String>,
    /// The name of a missing file that it requested after that.
    missing: Option<String>,
    /// Names of missing configuration files that its boot loader requested after that.
    #[serde(skip)]
    looked_for: Vec<String>,
    /// Since when all of the payload has been sent without being acknowledged.
    sent: Option<UnixMs>,
    /// The payload has arrived.
    payload: bool,
    /// The boot counts in `completed`, and in the boot count of its rule.
    completed: bool,
    credited: bool,
    /// When and how something broke off. It becomes a failure unless the machine recovers in time.
    trouble: Option<(UnixMs, String)>,
    /// The nonce of this boot, if it was handed out. A report must present it.
    nonce: Option<Nonce>,
    /// A request in the machine's name came by another way. Only the first one is a step.
    doubted: bool,
}

/// A machine. The fields without `serde(skip)` are the JSON in the database.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    #[serde(skip)]
    pub(crate) mac: Mac,
    pub(crate) shown: board::Machine,
    /// The name under which a console server sends this machine's lines.
    #[serde(default)]
    pub(crate) console: Option<String>,
    /// When `shown.progress` was last updated.
    #[serde(skip)]
    progress_at: UnixMs,
    /// The version of its row in the shared ledger, as of its responder's last write. 0 if there is none.
    #[serde(skip)]
    pub(crate) version: u64,
    #[serde(skip)]
    pub(crate) boot_record: BootRecord,
    #[serde(skip)]
    pub(crate) boots: VecDeque<Boot>,
    /// The latest offer sent it to its own disk.
    #[serde(default)]
    pub(crate) local: bool,
    /// A frame of its own has come over the link. Requests in its name that come by another way are ignored
    /// from then on.
    #[serde(default)]
    on_link: bool,
    #[serde(default)]
    client: Option<Client>,
    #[serde(default)]
    attempt: Attempt,
    #[serde(default)]
    failure: Option<Failure>,
    /// How often it returned to PXE while its test should run.
    #[serde(default)]
    returns: u32,
    /// Its test has ended or could not run; it was not reset.
    #[serde(default)]
    ended: bool,
    /// It has booted since the last word of a test, so the next report or line begins a new test.
    #[serde(default)]
    fresh: bool,
    /// The epoch of its boot counts. It grows when they are reset.
    #[serde(default)]
    epoch: u64,
    /// Which DIMM has which addresses.
    #[serde(default)]
    places: Vec<Mapped>,
    /// When this process began to watch the machine. Its test cannot be silent for longer than that.
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
            responder: None,
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
            progress_at: UnixMs(0),
            version: 0,
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
            epoch: 0,
            places: Vec::new(),
            listening: now,
        }
    }

    /// Prepares a machine that was loaded from the database.
    pub(crate) fn resume(&mut self, now: UnixMs, mac: Mac) {
        self.mac = mac;
        self.listening = now;
        self.shown.progress = None;
    }

    /// The wall clock was set by `by` milliseconds. The times that the present boot and state depend on are
    /// shifted by the same amount. Times of the past, such as boots and errors, stay as they were stored.
    pub(crate) fn clock_set(&mut self, by: i64) {
        let Attempt { began, told_at, asked, active, trouble, .. } = &mut self.attempt;
        let attempt = [began, told_at, active].into_iter();
        let attempt = attempt.chain(asked).chain(trouble.as_mut().map(|(at, _)| at));
        let verdict = self.shown.verdict.as_mut();
        let verdict = verdict.into_iter().flat_map(|verdict| [&mut verdict.started, &mut verdict.heard]);
        let shown = [&mut self.shown.since, &mut self.shown.last_seen, &mut self.listening];
        // 0 means that there is no time.
        for time in attempt.chain(verdict).chain(shown).filter(|time| time.0 != 0) {
            time.0 = time.0.saturating_add_signed(by).max(1);
        }
    }

    /// Adds what the database has about this machine to what was seen since the start.
    pub(crate) fn merge(&mut self, before: Self) {
        let shown = &mut self.shown;
        shown.boots += before.shown.boots;
        shown.completed += before.shown.completed;
        shown.retransmits += before.shown.retransmits;
        // 0 means never: it had a name only.
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
        self.epoch = self.epoch.max(before.epoch);
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

    /// Whether it has loaded nothing, and has no name, verdict or boot record. An invented address looks like
    /// this, so the registry forgets such machines first.
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

    /// Changes the state, unless the present one must stay until something else ends it.
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
        // The key of a boot is its machine and the millisecond of its beginning, so two boots must not share
        // it.
        let at = self.boots.front().map_or(now, |last| UnixMs(now.0.max(last.at.0 + 1)));
        self.boots.push_front(Boot { at, ..Boot::default() });
        self.boots.truncate(BOOTS_SHOWN);
        self.boot_mut(change_log, |_| ());
    }
}

/// Milliseconds from `earlier` to `now`. Zero if the clock was set back between them.
fn since(now: UnixMs, earlier: UnixMs) -> u64 {
    now.0.saturating_sub(earlier.0)
}

#[cfg(test)]
mod tests;
