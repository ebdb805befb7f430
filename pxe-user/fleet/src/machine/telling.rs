//! A machine asks what to boot: the same boot again, the next link of its chain, a new boot, or back too early.

use super::{Failure, Machine, since};
use crate::board::{State, UnixMs};
use crate::changes::{ChangeLog, Draft};
use crate::event::{Client, Requester, Telling, Unanswered};
use crate::text::clean;
use pxe_proto::dhcp::Style;

/// Firmware repeats a DISCOVER for up to 28 s, and some wait longer for a slow DHCP server (docs/clients.md, section 1).
const SAME_BOOT_MS: u64 = 90_000;

/// What a machine was told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastReply<'a> {
    pub(crate) requester: &'a Requester,
    pub(crate) what: Telling,
    /// The file or URL.
    pub(crate) file: &'a str,
    pub(crate) style: Style,
    /// By an ACK, or by an OFFER.
    pub(crate) ack: bool,
}

impl LastReply<'_> {
    fn step(&self) -> Draft<'static> {
        let file = clean(self.file);
        let text = match self.what {
            Telling::Boot => format!("was offered {file}"),
            Telling::Menu => format!("was offered a menu with {file}"),
            Telling::Local => "was sent to its own disk".into(),
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
    /// It was sent a boot offer.
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
        self.local = what == Telling::Local;
        if !same {
            self.come_back(now, what, change_log);
            self.begin_boot(now, change_log);
            self.shown.boots += u32::from(what != Telling::Local);
        }
        self.attempt.told_at = now;
        self.attempt.active = now;
        // A link of a chain has asked for files before, so its silence is not that of firmware that ignores offers.
        self.attempt.expected = what == Telling::Boot && !(same && asked);
        self.attempt.told = Some(file);
        self.shown.progress = None;
        if !repeated {
            self.step(now, change_log, told.step());
        }
        if what == Telling::Local {
            self.attempt.trouble = None;
            self.go(now, State::Local, None, change_log);
            self.end_boot("local", change_log);
        } else {
            self.go(now, State::Offered, None, change_log);
        }
        self.heard(now, change_log);
    }

    /// A machine that could be answered was not.
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
            // A machine that runs asks for the offer of another architecture's boot program, too: only a first request fails.
            Unanswered::NoImage if matches!(self.shown.state, State::Running | State::Loading) => {}
            Unanswered::NoImage => {
                self.fail(now, Failure::NoImage, requester.no_image(), change_log);
            }
        }
        self.heard(now, change_log);
    }

    /// Its firmware has shown in which style it wants to be told; `None` is the usual one.
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

    /// A program that was loaded in this boot asks by itself: iPXE after PXE or HTTP boot. Another kind that asks soon
    /// after a transfer is a chain too, as long as the payload has not arrived: after that only a reset leads there.
    fn is_chained(&self, now: UnixMs, client: Client) -> bool {
        let Some(before) = self.client.filter(|before| *before != client) else { return false };
        let loaded = self.attempt.asked.is_some();
        let up = client == Client::Ipxe && before != Client::Ipxe;
        loaded && (up || !self.attempt.payload && since(now, self.attempt.active) < SAME_BOOT_MS)
    }

    /// It asks anew. If its test should run, it was reset.
    fn come_back(&mut self, now: UnixMs, what: Telling, change_log: &mut ChangeLog) {
        let running = matches!(self.shown.state, State::Running | State::Silent);
        if !running || self.ended || what == Telling::Local {
            return;
        }
        self.returns += 1;
        let seconds = since(now, self.shown.since.max(self.test_began())) / 1000;
        let why = format!("returned to PXE after {seconds} s of its test: it was reset");
        self.end_boot("reset", change_log);
        self.go(now, State::Returned, Some(why), change_log);
    }

    /// What to say of a machine that runs or has passed, and was reset before.
    pub(super) fn resets(&self) -> Option<String> {
        match self.returns {
            0 => None,
            1 => Some("its test was reset once before".into()),
            n => Some(format!("its test was reset {n} times before")),
        }
    }

    /// It boots by its rules from the beginning again.
    pub(crate) fn again(&mut self, now: UnixMs, change_log: &mut ChangeLog) {
        self.boot_record.boots.clear();
        self.returns = 0;
        // It may have moved.
        self.on_link = false;
        self.attempt.doubted = false;
        self.step(now, change_log, Draft::new("again", "boots by its rules from the beginning again"));
        change_log.changes.boot_records = true;
        change_log.touch(self.mac);
    }
}

/// The word for a style, in steps and in the database.
pub(crate) fn style_word(style: Style) -> &'static str {
    match style {
        Style::Direct => "direct",
        Style::Binl => "binl",
        Style::Menu => "menu",
    }
}
