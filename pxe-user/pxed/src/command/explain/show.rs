//! Writes a trace as text.

use std::io::{self, Write};

use super::files::{Files, Row};
use super::trace::{ExplainContext, Trace};
use crate::command::status::text::{bytes, escape};
use pxe_content::boot::{Preview, Refusal};
use pxe_content::rules::{Action, Rule, RuleOutcome};
use pxe_proto::dhcp::ReplySummary;

/// Writes the rules in their order, and the result of each.
pub(super) fn rules(out: &mut impl Write, context: &ExplainContext, trace: &Trace<'_>) -> io::Result<()> {
    if trace.steps.is_empty() {
        return writeln!(out, "  none: every machine gets the same");
    }
    let widest = trace.steps.iter().map(|(rule, _)| rule.name.chars().count()).max().unwrap_or_default();
    for (index, (rule, fate)) in trace.steps.iter().enumerate() {
        let text = match fate {
            RuleOutcome::NotReached => "not reached".to_owned(),
            RuleOutcome::Misses { condition, wanted, shown } => {
                let (word, shown, wanted) = (condition.as_str(), or_nothing(shown), escape(wanted));
                format!("no: {word} is {shown}, and it wants {wanted}")
            }
            RuleOutcome::Matches => format!("matches: {}", outcome(context, trace, rule)),
        };
        writeln!(out, "  {:>2} {:<widest$}  {text}", index + 1, escape(&rule.name))?;
    }
    if trace.decision.rule.is_none() {
        writeln!(out, "  no rule matches: pxed ignores the machine")?;
    }
    Ok(())
}

fn or_nothing(shown: &str) -> String {
    if shown.is_empty() { "not given".to_owned() } else { escape(shown) }
}

/// What a matching rule leads to, with its number of boots.
fn outcome(context: &ExplainContext, trace: &Trace<'_>, rule: &Rule) -> String {
    let image = rule.image.as_deref().unwrap_or_default();
    let action = match rule.action {
        Action::Ignore if trace.broken.is_some() => {
            return format!("boots image {image}, which cannot be opened");
        }
        Action::Ignore => return "ignored".to_owned(),
        Action::Local => return "boots its own disk".to_owned(),
        Action::Boot(_) => format!("boots image {image}"),
    };
    let Some(most) = rule.boots else { return action };
    let counted = match context.boots {
        0 => "as if it had not booted yet by this rule".to_owned(),
        boots => format!("as if it had booted {} by this rule", times(boots)),
    };
    let then = if trace.decision.is_local { "so it boots its own disk" } else { "then its own disk" };
    let action = if trace.decision.is_local { format!("image {image}") } else { action };
    format!("{action}, {}, {counted}; {then}", times(most))
}

fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// The message type of a reply.
pub(super) fn kind(told: &ReplySummary<'_>) -> &'static str {
    if told.ack { "ACK" } else { "OFFER" }
}

/// Writes the files and what pxed has for each of them. A text that pxed wrote is shown in full.
pub(super) fn files(out: &mut impl Write, files: &Files) -> io::Result<()> {
    let name = |row: &Row| match row {
        Row::Needed(name, _) | Row::Tried(name, _) | Row::Elsewhere(name) => safe(name),
        Row::Note(_) => String::new(),
    };
    let widest = files.rows.iter().map(|row| name(row).len()).max().unwrap_or_default();
    for row in &files.rows {
        let text = match row {
            Row::Needed(_, Ok(seen)) => self::seen(seen),
            Row::Needed(_, Err(refusal)) => format!("missing: {refusal}"),
            Row::Tried(_, Ok(seen)) => format!("{} (tried)", self::seen(seen)),
            Row::Tried(_, Err(Refusal::NotFound)) => "not there (tried)".to_owned(),
            Row::Tried(_, Err(refusal)) => format!("not served: {refusal} (tried)"),
            Row::Elsewhere(_) => "on another server, not checked".to_owned(),
            Row::Note(text) => {
                writeln!(out, "  {}", escape(text))?;
                continue;
            }
        };
        writeln!(out, "  {:<widest$}  {text}", name(row))?;
        if let Row::Needed(_, Ok(Preview::Written(text))) | Row::Tried(_, Ok(Preview::Written(text))) = row {
            for line in String::from_utf8_lossy(text.bytes()).lines() {
                writeln!(out, "      | {}", escape(line))?;
            }
        }
    }
    Ok(())
}

/// The files in one line.
pub(super) fn files_in_short(files: &Files) -> String {
    let one = |row: &Row| match row {
        Row::Needed(name, Ok(Preview::File(size, _))) => Some(format!("{} ({})", safe(name), bytes(*size))),
        Row::Needed(name, Ok(Preview::Written(_))) => Some(format!("{} (written)", safe(name))),
        Row::Needed(name, Err(_)) => Some(format!("{} (missing)", safe(name))),
        Row::Tried(name, Ok(_)) => Some(safe(name)),
        Row::Tried(_, Err(_)) => None,
        Row::Elsewhere(name) => Some(format!("{} (elsewhere)", safe(name))),
        Row::Note(text) => Some(escape(text)),
    };
    let all: Vec<_> = files.rows.iter().filter_map(one).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

fn seen(seen: &Preview) -> String {
    match seen {
        Preview::File(size, path) => format!("{size} bytes, {}", escape(&path.display().to_string())),
        Preview::Written(text) => format!("{} bytes, written by pxed", text.len()),
    }
}

fn safe(name: &str) -> String {
    escape(name)
}
