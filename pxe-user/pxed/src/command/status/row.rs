//! One machine in a few words, for the table and for the live view. All texts are escaped.

use super::text::{bytes, cut, escape, span};
use pxe_fleet::board::{Machine, Responder, State, TestOutcome, UnixMs, Verdict};

/// Width at which a name is cut, in columns.
const NAME_MAX: usize = 32;

/// The cells of one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) state: State,
    /// The machine's name, if it has one, its Ethernet address, and the responder that saw it, if that is another one.
    pub(super) machine: String,
    /// How long the machine has been in this state.
    pub(super) age: String,
    /// Progress of the load or the test in per cent, for a bar; `None` if there is none.
    pub(super) percent: Option<u8>,
    /// Progress of the load, or the result of the test so far.
    pub(super) doing: String,
    /// The reason for the state, or what the machine boots.
    pub(super) detail: String,
}

pub(super) const HEADS: [&str; 5] = ["STATE", "MACHINE", "SINCE", "PROGRESS", "WHY, OR WHAT IT BOOTS"];

impl Row {
    pub(super) fn new(machine: &Machine, now: UnixMs) -> Self {
        let (percent, doing) = doing(machine);
        Self {
            state: machine.state,
            machine: name(machine),
            age: span(now.0.saturating_sub(machine.since.0)),
            percent,
            doing,
            detail: escape(&detail(machine)),
        }
    }
}

fn name(machine: &Machine) -> String {
    let name = machine.name.as_ref().map(|name| format!("{} ", cut(&escape(name), NAME_MAX)));
    let responder = machine.responder.as_ref().map(|name| format!(" @{}", cut(&escape(name), NAME_MAX)));
    format!("{}{}{}", name.unwrap_or_default(), escape(&machine.mac), responder.unwrap_or_default())
}

/// The responders of a shared ledger, one in a line. Rules that differ from those of the responder that is asked are marked.
pub(super) fn responders(responders: &[Responder], now: UnixMs) -> impl Iterator<Item = String> {
    let own = responders.iter().find(|responder| responder.own);
    responders.iter().map(move |responder| {
        let Responder { name, own: is_own, alive, seen, segment, version, waiting, rules, .. } = responder;
        let mut text = format!("responder {}", escape(name));
        // Another version of pxed may make another digest of the same rules.
        let differ = rules.is_some()
            && own.is_some_and(|own| own.version == *version && own.rules.is_some() && own.rules != *rules);
        let mut add = |words: Option<String>| text.extend(words.map(|words| format!("  {words}")));
        add(is_own.then(|| "this one".into()));
        add(Some(match (alive, seen) {
            (true, _) => "alive".into(),
            (false, Some(seen)) => format!("not alive since {}", span(now.0.saturating_sub(seen.0))),
            (false, None) => "stopped".into(),
        }));
        add(segment.as_ref().map(|segment| format!("segment {}", escape(segment))));
        add(version.as_ref().map(|version| format!("pxed {}", escape(version))));
        add((*waiting > 0).then(|| format!("{waiting} waiting")));
        add(differ.then(|| "other rules".into()));
        text
    })
}

fn doing(machine: &Machine) -> (Option<u8>, String) {
    if machine.state == State::Loading
        && let Some(progress) = &machine.progress
    {
        let percent =
            (u128::from(progress.bytes) * 100).checked_div(progress.size.into()).unwrap_or(0).min(100);
        let speed = bytes(progress.bytes_per_s);
        return (u8::try_from(percent).ok(), format!("{percent}% {speed}/s"));
    }
    match &machine.verdict {
        Some(verdict) => tested(verdict),
        None => (None, String::new()),
    }
}

fn tested(verdict: &Verdict) -> (Option<u8>, String) {
    let passes = match verdict.passes {
        1 => "1 pass".to_owned(),
        passes => format!("{passes} passes"),
    };
    match (verdict.outcome, verdict.errors) {
        (TestOutcome::Pass, _) => (None, format!("PASS, {passes}")),
        (TestOutcome::Fail, 1) => (None, format!("FAIL, 1 error, {passes}")),
        (TestOutcome::Fail, errors) => (None, format!("FAIL, {errors} errors, {passes}")),
        (TestOutcome::Testing, _) => match verdict.percent {
            Some(percent) => (Some(percent.min(100)), format!("{}%, {passes}", percent.min(100))),
            None => (None, passes),
        },
    }
}

fn detail(machine: &Machine) -> String {
    if let Some(why) = &machine.why {
        return why.clone();
    }
    match (&machine.progress, &machine.image, &machine.rule) {
        (Some(progress), ..) if machine.state == State::Loading => progress.file.clone(),
        (_, Some(image), Some(rule)) => format!("{image} (rule {rule})"),
        (_, Some(image), None) => image.clone(),
        (_, None, Some(rule)) => format!("rule {rule}"),
        _ => machine.firmware.clone().unwrap_or_default(),
    }
}

/// The number of machines in each state; states without machines are omitted.
pub(super) fn totals<'a>(machines: impl Iterator<Item = &'a Machine>) -> String {
    let mut counts = [0_usize; State::ALL.len()];
    for machine in machines {
        counts[machine.state as usize] += 1;
    }
    let all: usize = counts.iter().sum();
    let mut text = format!("{all} machine{}", if all == 1 { "" } else { "s" });
    for (state, count) in State::ALL.iter().zip(counts).filter(|(_, count)| *count > 0) {
        text.push_str(&format!("  {count} {}", state.as_str()));
    }
    text
}
