//! What a memory test says about a machine: reports over HTTP, and memtest86+'s lines on a console. Both lead
//! to the same [`Verdict`].

use super::{Failure, Machine, since};
use crate::board::{Dimm, MemoryError, State, TestOutcome, UnixMs, Verdict};
use crate::changes::{ChangeLog, Draft};
use crate::mtlog::{self, Line};
use crate::report::{Report, Stage};
use crate::smbios;
use crate::text::{clean, clean_some};

/// Maximum number of errors that are kept with their addresses. The verdict counts all of them.
const ERRORS_KEPT: usize = 32;
/// Maximum number of memory modules of one machine. The largest servers have 96 slots.
const DIMMS_MAX: usize = 256;
/// If a test says within this time again that it begins, it is the same test: the answer to its first report
/// was lost.
const SAME_TEST_MS: u64 = 60_000;
/// Source of all lines on a console.
const MEMTEST: &str = "memtest86+";
/// Source of a report that does not name one.
const REPORTER: &str = "pxed memory test";

impl Machine {
    /// When its present test began. 0 if there is none.
    pub(super) fn test_began(&self) -> UnixMs {
        self.shown.verdict.as_ref().map_or(UnixMs(0), |verdict| verdict.started)
    }

    /// A test posted a report.
    pub(crate) fn reported(&mut self, now: UnixMs, report: &Report, change_log: &mut ChangeLog) {
        self.introduced(report);
        let source = report.source.as_deref().and_then(clean_some).unwrap_or_else(|| REPORTER.into());
        if report.stage == Stage::Broken {
            let message =
                report.message.as_deref().and_then(clean_some).unwrap_or_else(|| "no reason given".into());
            self.step(now, change_log, Draft::new("report", format!("could not test: {message}")));
            self.ended = true;
            self.fail(now, Failure::Test, format!("its test could not run: {message}"), change_log);
            return self.heard(now, change_log);
        }
        self.testing(now, &source, report.stage == Stage::Start, change_log);
        let ended = self.ended;
        let bad = !report.errors.is_empty() || report.error_count.max(report.uncorrected).unwrap_or(0) > 0;
        if ended && !(bad && self.has_passed()) {
            // The answer to the last report was lost, so the test has sent the report again.
            return self.heard(now, change_log);
        }
        let before = self.shown.verdict.as_ref().map_or(0, |verdict| verdict.errors);
        let more = report.error_count.is_none_or(|count| count > before);
        if let Some(verdict) = &mut self.shown.verdict {
            verdict.percent = report.percent.map(|percent| percent.min(100)).or(verdict.percent);
            verdict.memory = report.memory.or(verdict.memory);
            verdict.corrected = report.corrected.or(verdict.corrected);
            verdict.uncorrected = report.uncorrected.or(verdict.uncorrected);
        }
        for error in &report.errors {
            self.erred(
                now,
                error.address.as_deref(),
                error.expected.as_deref(),
                error.actual.as_deref(),
                error.cpu,
                more,
                change_log,
            );
        }
        if let (Some(count), Some(verdict)) = (report.error_count, &mut self.shown.verdict) {
            // The report's number is the total of the test, so a report that comes twice does not add to it.
            verdict.errors = before.max(count).max(verdict.first_errors.len() as u64);
        }
        self.judge(now, change_log);
        if report.stage == Stage::Done && !ended {
            self.finished(now, report.pass == Some(true), change_log);
        }
        self.heard(now, change_log);
    }

    /// Takes over what a report says about the machine itself.
    fn introduced(&mut self, report: &Report) {
        let shown = &mut self.shown;
        if let Some(serial) = report.serial.as_deref().and_then(clean_some) {
            shown.serial = Some(serial);
        }
        if let Some(uuid) = report.uuid.as_deref().and_then(clean_some) {
            shown.uuid = Some(uuid.to_ascii_lowercase());
        }
        if let Some(product) =
            report.product.as_deref().and_then(clean_some).filter(|_| shown.firmware.is_none())
        {
            shown.firmware = Some(product);
        }
        let Some(table) = report.smbios.as_deref().and_then(smbios::from_base64) else { return };
        let inventory = smbios::read(&table);
        if !inventory.dimms.is_empty() {
            shown.dimms = inventory.dimms.into_iter().take(DIMMS_MAX).collect();
            self.places = inventory.mapped;
        }
    }

    /// A line of memtest86+ came from its console.
    pub(crate) fn line(&mut self, now: UnixMs, line: &Line<'_>, change_log: &mut ChangeLog) {
        let event = line.event();
        self.testing(now, MEMTEST, event == "start", change_log);
        let bad = event == "error" || line.number("errors").unwrap_or(0) > 0;
        if self.ended && !(bad && self.has_passed()) {
            return self.heard(now, change_log);
        }
        match event {
            "info" => self.informed(line),
            "spd" => self.module(line),
            "tick" => self.ticked(line),
            "error" => self.error_line(now, line, change_log),
            "pass_end" => self.pass_ended(now, line, change_log),
            _ => {}
        }
        self.counted(line.number("errors").unwrap_or(0));
        self.judge(now, change_log);
        if event == "done" && !self.ended {
            self.finished(now, line.value("status") == Some("pass"), change_log);
        }
        self.heard(now, change_log);
    }

    fn informed(&mut self, line: &Line<'_>) {
        if let Some(serial) = line.value("sys_serial").and_then(clean_some) {
            self.shown.serial = Some(serial);
        }
        if let (Some(verdict), Some(mebibytes)) = (&mut self.shown.verdict, line.number("mem_mb")) {
            verdict.memory = mebibytes.checked_mul(1 << 20);
        }
    }

    fn module(&mut self, line: &Line<'_>) {
        let Some(slot) = line.value("slot").and_then(clean_some) else { return };
        let text = |key| line.value(key).and_then(clean_some);
        let dimm = Dimm {
            slot: format!("SPD {slot}"),
            size: line.number("size_mb").unwrap_or(0).saturating_mul(1 << 20),
            kind: text("type"),
            speed: line.number("freq").and_then(|speed| u32::try_from(speed).ok()),
            manufacturer: text("mfg").or_else(|| text("mfg_id")),
            part: text("sku"),
            serial: None,
        };
        let room = self.shown.dimms.len() < DIMMS_MAX;
        match self.shown.dimms.iter_mut().find(|known| known.slot == dimm.slot) {
            Some(known) => *known = dimm,
            None if room => self.shown.dimms.push(dimm),
            None => {}
        }
    }

    fn ticked(&mut self, line: &Line<'_>) {
        let Some(verdict) = &mut self.shown.verdict else { return };
        let percent = line.number("pass_pct").and_then(|percent| u8::try_from(percent).ok());
        verdict.percent = percent.map(|percent| percent.min(100)).or(verdict.percent);
        // Passes are numbered from 0: during pass 2, two passes have ended.
        let passes = line.number("pass").and_then(|pass| u32::try_from(pass).ok());
        verdict.passes = passes.unwrap_or(0).max(verdict.passes);
    }

    fn error_line(&mut self, now: UnixMs, line: &Line<'_>, change_log: &mut ChangeLog) {
        if line.value("type").is_some_and(mtlog::is_corrected) {
            if let Some(verdict) = &mut self.shown.verdict {
                verdict.corrected = Some(verdict.corrected.unwrap_or(0).saturating_add(1));
            }
            return;
        }
        let cpu = line.number("cpu").and_then(|cpu| u32::try_from(cpu).ok());
        self.erred(
            now,
            line.value("addr"),
            line.value("expect"),
            line.value("actual"),
            cpu,
            true,
            change_log,
        );
    }

    fn pass_ended(&mut self, now: UnixMs, line: &Line<'_>, change_log: &mut ChangeLog) {
        let Some(verdict) = &mut self.shown.verdict else { return };
        let passes =
            line.number("pass").and_then(|pass| u32::try_from(pass).ok()).unwrap_or(0).saturating_add(1);
        verdict.passes = passes.max(verdict.passes);
        verdict.percent = Some(100);
        let draft =
            Draft::new("report", format!("pass {passes} has ended")).fact("errors", line.number("errors"));
        self.step(now, change_log, draft);
    }

    fn has_passed(&self) -> bool {
        self.shown.verdict.as_ref().is_some_and(|verdict| verdict.outcome == TestOutcome::Pass)
    }

    /// A test has reported. Decides whether it is the known test or a new one. If memory was found bad, only
    /// a new boot begins a new test.
    fn testing(&mut self, now: UnixMs, source: &str, begins: bool, change_log: &mut ChangeLog) {
        let rebooted = std::mem::take(&mut self.fresh) || self.test_began() < self.attempt.began;
        let known = self.shown.verdict.as_mut().filter(|verdict| {
            let again = begins && since(now, verdict.started) >= SAME_TEST_MS;
            !rebooted && (verdict.outcome == TestOutcome::Fail || verdict.source == source && !again)
        });
        match known {
            Some(verdict) => verdict.heard = now,
            None => {
                self.shown.verdict = Some(Verdict {
                    outcome: TestOutcome::Testing,
                    source: source.into(),
                    started: now,
                    heard: now,
                    passes: 0,
                    percent: None,
                    memory: None,
                    errors: 0,
                    first_errors: Vec::new(),
                    corrected: None,
                    uncorrected: None,
                });
                self.ended = false;
                self.step(
                    now,
                    change_log,
                    Draft::new("report", format!("{source} has begun")).fact("source", source),
                );
                if rebooted && self.failure == Some(Failure::Test) {
                    self.failure = None;
                }
            }
        }
        if self.shown.verdict.as_ref().is_some_and(|verdict| verdict.outcome == TestOutcome::Testing) {
            self.attempt.trouble = None;
            self.attempt.payload = true;
            let why = self.resets();
            self.go(now, State::Running, why, change_log);
        }
    }

    /// Records an error. An address that is already known counts again only if there are `more` errors than
    /// before.
    #[expect(clippy::too_many_arguments, reason = "the fields of an error, as texts of either source")]
    fn erred(
        &mut self,
        now: UnixMs,
        address: Option<&str>,
        expected: Option<&str>,
        actual: Option<&str>,
        cpu: Option<u32>,
        more: bool,
        change_log: &mut ChangeLog,
    ) {
        let address = address.and_then(clean_some);
        let dimm = address.as_deref().and_then(|address| smbios::dimm_at(&self.places, address));
        let Some(verdict) = &mut self.shown.verdict else { return };
        let started = verdict.started;
        verdict.errors = verdict.errors.saturating_add(1);
        let full = verdict.first_errors.len() >= ERRORS_KEPT;
        let known = verdict.first_errors.iter_mut().find(|error| error.address == address);
        let error = match known {
            Some(_) if !more => return,
            Some(error) => {
                error.count = error.count.saturating_add(1);
                error.clone()
            }
            None if full => return,
            None => {
                let (expected, actual) = (expected.and_then(clean_some), actual.and_then(clean_some));
                let error =
                    MemoryError { at: now, address, expected, actual, cpu, dimm: dimm.map(clean), count: 1 };
                verdict.first_errors.push(error.clone());
                let draft = Draft::new("error", format!("memory error {}", place(&error)))
                    .fact("address", error.address.clone())
                    .fact("expected", error.expected.clone())
                    .fact("actual", error.actual.clone())
                    .fact("cpu", error.cpu)
                    .fact("dimm", error.dimm.clone());
                self.step(now, change_log, draft);
                error
            }
        };
        let key = error.address.clone().unwrap_or_default();
        change_log.changes.errors.insert((self.mac, started, key), error);
    }

    /// Takes over the test's own number of errors, if it is greater.
    fn counted(&mut self, errors: u64) {
        if let Some(verdict) = &mut self.shown.verdict {
            verdict.errors = verdict.errors.max(errors);
        }
    }

    /// If there is an error, the memory is bad at once, and stays bad for the rest of this test.
    fn judge(&mut self, now: UnixMs, change_log: &mut ChangeLog) {
        let Some(verdict) = &mut self.shown.verdict else { return };
        let uncorrected = verdict.uncorrected.unwrap_or(0);
        if verdict.errors == 0 && uncorrected == 0 {
            return;
        }
        verdict.outcome = TestOutcome::Fail;
        let why = match (verdict.first_errors.first(), verdict.errors) {
            (Some(first), 0..=1) => format!("memory error {}", place(first)),
            (Some(first), errors) => format!("memory error {}, {errors} in all", place(first)),
            (None, 0) => format!("the memory controller could not correct {uncorrected} errors"),
            (None, errors) => format!("{errors} memory errors, at addresses that were not reported"),
        };
        self.fail(now, Failure::Test, why, change_log);
    }

    /// The test has ended.
    fn finished(&mut self, now: UnixMs, passed: bool, change_log: &mut ChangeLog) {
        self.ended = true;
        let Some(verdict) = &mut self.shown.verdict else { return };
        if verdict.outcome == TestOutcome::Fail {
            return self.step(now, change_log, Draft::new("report", "the test has ended: FAIL"));
        }
        if !passed {
            verdict.outcome = TestOutcome::Fail;
            self.step(now, change_log, Draft::new("report", "the test has ended: FAIL"));
            return self.fail(
                now,
                Failure::Test,
                "its test ended without saying that it passed".into(),
                change_log,
            );
        }
        verdict.outcome = TestOutcome::Pass;
        verdict.percent = Some(100);
        self.step(now, change_log, Draft::new("report", "the test has ended: PASS"));
        self.end_boot("passed", change_log);
        let why = self.resets();
        self.go(now, State::Passed, why, change_log);
    }

    /// Checks the timers, about once a second. `silence` is in milliseconds.
    ///
    /// Returns whether one of them still runs.
    pub(crate) fn tick(&mut self, now: UnixMs, silence: u64, change_log: &mut ChangeLog) -> bool {
        self.wait(now, change_log);
        self.look_for_silence(now, silence, change_log);
        self.is_waiting() || self.is_testing()
    }

    fn is_testing(&self) -> bool {
        matches!(self.shown.state, State::Running | State::Silent)
            && self.shown.verdict.as_ref().is_some_and(|verdict| verdict.outcome == TestOutcome::Testing)
    }

    fn look_for_silence(&mut self, now: UnixMs, silence: u64, change_log: &mut ChangeLog) {
        let Some(verdict) = self.shown.verdict.as_ref().filter(|_| self.is_testing()) else { return };
        let quiet = since(now, verdict.heard.max(self.listening));
        if quiet >= silence {
            // In whole minutes, so that a silent test does not change the board every second.
            let seconds = if quiet < 120_000 { silence.min(quiet) / 1000 } else { quiet / 60_000 * 60 };
            self.go(now, State::Silent, Some(format!("no tick for {seconds} s")), change_log);
        }
    }
}

/// Where an error is, as text for people.
fn place(error: &MemoryError) -> String {
    let address = error.address.as_deref().unwrap_or("an unknown address");
    match &error.dimm {
        Some(dimm) => format!("at {address} ({dimm})"),
        None => format!("at {address}"),
    }
}
