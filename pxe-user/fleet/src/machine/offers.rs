//! DHCP: an offer belongs to the same boot as the last one, to the next stage of a chain, or to a new boot. A
//! new boot while the test should run means that the machine was reset.

use super::{Failure, Machine, since};
use crate::board::{State, UnixMs};
use crate::changes::{ChangeLog, Draft};
use crate::event::{Client, OfferKind, Requester, Unanswered};
use crate::text::clean;
use pxe_proto::dhcp::Style;

/// Offers within this time belong to the same boot. Firmware repeats a DISCOVER for up to 28 s, and longer if
/// it waits for a slow DHCP server (docs/clients.md, section 1).
const SAME_BOOT_MS: u64 = 90_000;

/// An offer that pxed has sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastReply<'a> {
    pub(crate) requester: &'a Requester,
    pub(crate) what: OfferKind,
    /// The file or URL that was offered.
    pub(crate) file: &'a str,
    pub(crate) style: Style,
    /// True for an ACK of the boot server, false for an OFFER.
    pub(crate) ack: bool,
}

impl LastReply<'_> {
    fn step(&self) -> Draft<'static> {
        let file = clean(self.file);
        let text = match self.what {
            OfferKind::Boot => format!("was offered {file}"),
            OfferKind::Menu => format!("was offered a menu with {file}"),
            OfferKind::Local => "was sent to its own disk".into(),
        };
        Draft::new("told", text)
            .fact("file", file)
            .fact("client", self.requester.client.as_str())
            .fact("style", style_word(self.style))
            .fact("by", if self.ack { "ack" } else { "offer" })
            .fact("rule", self.requester.rule.as_deref())
            .fact("image", self.requester.image.as_deref())
    }
}

impl Machine {
    /// pxed sent it an offer.
    pub(crate) fn told(&mut self, now: UnixMs, told: &LastReply<'_>, change_log: &mut ChangeLog) {
        let LastReply { requester, what, .. } = *told;
        let asked = self.attempt.asked.is_some();
        let chained = self.is_chained(now, requester.client);
        let again = !asked && since(now, self.attempt.told_at) < SAME_BOOT_MS;
        let same = self.attempt.told_at != UnixMs(0) && (chained || again);
        let file = clean(told.file);
        let repeated =
            same && self.attempt.told.as_ref() == Some(&file) && self.client == Some(requester.client);
        self.identify(requester);
        self.client = Some(requester.client);
        self.local = what == OfferKind::Local;
        if !same {
            self.come_back(now, what, change_log);
            self.begin_boot(now, change_log);
            self.shown.boots += u32::from(what != OfferKind::Local);
        }
        self.attempt.told_at = now;
        self.attempt.active = now;
        // A later stage of a chain has requested files already. If it requests no more, the reason is not
        // that its firmware ignores offers.
        self.attempt.expected = what == OfferKind::Boot && !(same && asked);
        self.attempt.told = Some(file);
        self.shown.progress = None;
        if !repeated {
            self.step(now, change_log, told.step());
        }
        if what == OfferKind::Local {
            self.attempt.trouble = None;
            self.go(now, State::Local, None, change_log);
            self.end_boot("local", change_log);
        } else {
            self.go(now, State::Offered, None, change_log);
        }
        self.heard(now, change_log);
    }

    /// pxed could have answered its request, and did not.
    pub(crate) fn unanswered(
        &mut self,
        now: UnixMs,
        requester: &Requester,
        why: Unanswered,
        change_log: &mut ChangeLog,
    ) {
        self.identify(requester);
        self.client = Some(requester.client);
        match why {
            Unanswered::Rule => {
                let why = requester.rule.is_none().then(|| "no rule matches this machine".to_owned());
                self.go(now, State::Ignored, why, change_log);
            }
            // A machine that loads or runs may also send requests for the boot program of another
            // architecture. Without an image for these, the boot does not fail.
            Unanswered::NoImage if matches!(self.shown.state, State::Running | State::Loading) => {}
            Unanswered::NoImage => {
                self.fail(now, Failure::NoImage, requester.no_image(), change_log);
            }
        }
        self.heard(now, change_log);
    }

    /// Its firmware needs this offer style. With `None`, the usual style works again.
    pub(crate) fn learnt(&mut self, now: UnixMs, style: Option<Style>, change_log: &mut ChangeLog) {
        if self.boot_record.style == style {
            return;
        }
        self.boot_record.style = style;
        let text = match style {
            Some(style) => format!("its firmware needs {} offers", style_word(style)),
            None => "its firmware gets the default offers again".into(),
        };
        self.step(now, change_log, Draft::new("learnt", text));
        change_log.changes.boot_records = true;
        self.heard(now, change_log);
    }

    /// Whether a request comes from a program that was loaded in this boot. iPXE after PXE or HTTP boot
    /// always does. Any other change of the client's kind does, too, if it follows soon after a transfer and
    /// the payload has not arrived. After the payload, only a reset leads to a new request.
    fn is_chained(&self, now: UnixMs, client: Client) -> bool {
        let Some(before) = self.client.filter(|before| *before != client) else { return false };
        let loaded = self.attempt.asked.is_some();
        let up = client == Client::Ipxe && before != Client::Ipxe;
        loaded && (up || !self.attempt.payload && since(now, self.attempt.active) < SAME_BOOT_MS)
    }

    /// A new boot begins. If the test should run, the machine was reset.
    fn come_back(&mut self, now: UnixMs, what: OfferKind, change_log: &mut ChangeLog) {
        let running = matches!(self.shown.state, State::Running | State::Silent);
        if !running || self.ended || what == OfferKind::Local {
            return;
        }
        self.returns += 1;
        let seconds = since(now, self.shown.since.max(self.test_began())) / 1000;
        let why = format!("returned to PXE after {seconds} s of its test: it was reset");
        self.end_boot("reset", change_log);
        self.go(now, State::Returned, Some(why), change_log);
    }

    /// A note for a machine that runs or has passed: how often its test was reset before.
    pub(super) fn resets(&self) -> Option<String> {
        match self.returns {
            0 => None,
            1 => Some("its test was reset once before".into()),
            n => Some(format!("its test was reset {n} times before")),
        }
    }

    /// Makes it boot by its rules from the beginning again.
    pub(crate) fn again(&mut self, now: UnixMs, change_log: &mut ChangeLog) {
        // Greater than the epochs that other responders give, also while this one does not see them.
        self.reset_counts(now.0.max(self.epoch + 1));
        change_log.changes.epochs.insert(self.mac, self.epoch);
        self.step(now, change_log, Draft::new("again", "boots by its rules from the beginning again"));
        change_log.changes.boot_records = true;
        if self.is_foreign() {
            // Its responder learns it by the epoch. A row of ours would take the machine away from it.
            change_log.show(self.mac);
        } else {
            change_log.touch(self.mac);
        }
    }

    /// Begins a new epoch of its counts.
    pub(super) fn reset_counts(&mut self, epoch: u64) {
        self.boot_record.boots.clear();
        self.epoch = epoch;
        self.returns = 0;
        // The machine may have moved to another network, so requests through a relay are accepted again.
        self.on_link = false;
        self.attempt.doubted = false;
    }
}

/// The style's name in steps and in the database.
pub(crate) fn style_word(style: Style) -> &'static str {
    match style {
        Style::Direct => "direct",
        Style::Binl => "binl",
        Style::Menu => "menu",
    }
}
