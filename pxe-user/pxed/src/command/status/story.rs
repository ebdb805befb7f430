//! Draws one machine in the terminal: identity, memory, boots and steps.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::colour::{dim, style};
use super::row::Row;
use super::text::{bytes, escape, pad, span};
use super::view::View;
use pxe_fleet::board::{Boot, Dimm, MemoryError, Story, UnixMs};

/// Width of the labels, in columns.
const LABEL: usize = 11;

/// Draws the story. Returns the number of lines that fit.
pub(super) fn draw(frame: &mut Frame<'_>, view: &mut View, area: Rect, now: UnixMs) -> usize {
    let Some(story) = &view.story else { return 0 };
    let text = Paragraph::new(lines(story, now)).wrap(Wrap { trim: false });
    // The last line can scroll to the top, but not beyond.
    let all = lines(story, now).len();
    let last = u16::try_from(all.saturating_sub(1)).unwrap_or(u16::MAX);
    view.scroll = view.scroll.min(last);
    frame.render_widget(text.scroll((view.scroll, 0)), area);
    usize::from(area.height)
}

fn lines(story: &Story, now: UnixMs) -> Vec<Line<'static>> {
    let machine = &story.machine;
    let row = Row::new(machine, now);
    let mut lines = vec![Line::from(vec![
        Span::styled(row.state.as_str(), style(row.state)),
        Span::raw(format!(" for {}  ", row.age)),
        Span::styled(row.machine.clone(), Style::new().add_modifier(Modifier::BOLD)),
    ])];
    let mut fact = |label: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            lines.push(Line::from(vec![Span::styled(pad(label, LABEL), dim()), Span::raw(escape(&value))]));
        }
    };
    fact("why", machine.why.clone());
    fact("MAC", Some(machine.mac.clone()));
    fact("address", machine.address.clone());
    fact("serial", machine.serial.clone());
    fact("UUID", machine.uuid.clone());
    fact("firmware", join(&[&machine.arch, &machine.firmware]));
    fact(
        "seen on",
        join(&[&machine.interface, &machine.vlan.map(|vlan| format!("VLAN {vlan}")), &machine.relay]),
    );
    fact("boots", join(&[&machine.image, &machine.rule.as_ref().map(|rule| format!("by rule {rule}"))]));
    fact("test", Some(row.doing));
    for error in machine.verdict.iter().flat_map(|verdict| &verdict.first_errors) {
        fact("error", Some(memory_error(error)));
    }
    machine.dimms.iter().for_each(|module| fact("DIMM", Some(dimm(module))));
    for boot in &story.boots {
        fact("boot", Some(boot_line(boot, now)));
    }
    for step in &story.steps {
        let ago = span(now.0.saturating_sub(step.at.0));
        fact(&format!("{ago} ago"), Some(step.text.clone()));
    }
    lines
}

fn join(parts: &[&Option<String>]) -> Option<String> {
    let parts: Vec<_> = parts.iter().filter_map(|part| part.as_deref()).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn memory_error(error: &MemoryError) -> String {
    let part = |what: &str, value: &Option<String>| value.as_ref().map(|value| format!("{what} {value}"));
    let cpu = error.cpu.map(|cpu| format!("CPU {cpu}"));
    let times = (error.count > 1).then(|| format!("{} times", error.count));
    let parts = [
        &part("at", &error.address),
        &part("expected", &error.expected),
        &part("was", &error.actual),
        &error.dimm,
        &cpu,
        &times,
    ];
    join(&parts).unwrap_or_default()
}

fn dimm(dimm: &Dimm) -> String {
    let size = if dimm.size == 0 { "empty".to_owned() } else { bytes(dimm.size) };
    let speed = dimm.speed.map(|speed| format!("{speed} MT/s"));
    let parts = [
        &Some(dimm.slot.clone()),
        &Some(size),
        &dimm.kind,
        &speed,
        &dimm.manufacturer,
        &dimm.part,
        &dimm.serial,
    ];
    join(&parts).unwrap_or_default()
}

fn boot_line(boot: &Boot, now: UnixMs) -> String {
    let ms = |what: &str, ms: Option<u64>| ms.map(|ms| format!("{what} {}.{} s", ms / 1000, ms % 1000 / 100));
    let ago = format!("{} ago", span(now.0.saturating_sub(boot.at.0)));
    let again = (boot.retransmits > 0).then(|| format!("{} packets again", boot.retransmits));
    let parts = [
        &Some(ago),
        &ms("offer", boot.offer_ms),
        &ms("load", boot.load_ms),
        &Some(bytes(boot.bytes)),
        &again,
        &boot.outcome,
    ];
    join(&parts).unwrap_or_default()
}
