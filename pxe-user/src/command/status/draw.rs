//! A view on the screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as Cells, Table};

use super::row::{HEADS, Row, totals};
use super::story;
use super::text::{cut, escape};
use super::view::View;
use crate::fleet::board::{Machine, State, UnixMs};

/// Columns of a progress bar.
const BAR: usize = 10;
/// Lines about what is lost that are shown at most.
const LOST_MAX: usize = 3;

/// Draws it. Answers how many rows of machines, or lines of a story, fit: a page.
pub(super) fn draw(frame: &mut Frame<'_>, view: &mut View, now: UnixMs) -> usize {
    let notes = notes(view);
    let notes_height = u16::try_from(notes.len()).unwrap_or(0);
    let [head, note, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(notes_height),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let title = format!("pxed  {}", totals(view.machines()));
    frame.render_widget(Line::styled(title, Style::new().add_modifier(Modifier::BOLD)), head);
    frame.render_widget(Paragraph::new(notes), note);
    if view.story.is_some() {
        frame.render_widget(Line::styled("q back  arrows PgUp PgDn scroll", dim()), foot);
        return story::draw(frame, view, body, now);
    }
    frame.render_widget(footer(view), foot);
    machines(frame, view, body, now)
}

fn notes(view: &View) -> Vec<Line<'static>> {
    let away = view.away.iter().map(|why| {
        Line::styled(format!("no connection, this is old: {}", escape(why)), Style::new().fg(Color::Red))
    });
    let lost = view.lost.iter().take(LOST_MAX);
    let lost = lost
        .map(|lost| Line::styled(format!("not kept: {}", escape(&lost.what)), Style::new().fg(Color::Red)));
    away.chain(lost).collect()
}

fn footer(view: &View) -> Line<'static> {
    let filter = escape(&view.filter);
    if view.typing {
        return Line::raw(format!("/{filter}_   Enter keeps, Esc clears"));
    }
    let keys = "q quit  arrows PgUp PgDn move  Enter story  / filter";
    if filter.is_empty() {
        return Line::styled(keys, dim());
    }
    Line::styled(format!("/{filter}: {} match, Esc clears  {keys}", view.matching()), dim())
}

fn machines(frame: &mut Frame<'_>, view: &mut View, area: Rect, now: UnixMs) -> usize {
    let height = usize::from(area.height.saturating_sub(1));
    let names = if area.width < 100 { 18 } else { 32 };
    let (machines, chosen) = view.rows(height);
    let doing = u16::try_from(BAR + 1 + 20).unwrap_or(0);
    let widths = [
        Constraint::Length(8),
        Constraint::Length(names),
        Constraint::Length(5),
        Constraint::Length(if area.width < 100 { 24 } else { doing }),
        Constraint::Fill(1),
    ];
    let rows = machines.iter().enumerate().map(|(index, machine)| {
        let row = cells(machine, now, usize::from(names));
        if Some(index) == chosen { row.style(Style::new().add_modifier(Modifier::REVERSED)) } else { row }
    });
    let table = Table::new(rows, widths).header(Cells::new(HEADS).style(dim())).column_spacing(1);
    frame.render_widget(table, area);
    height
}

fn cells(machine: &Machine, now: UnixMs, names: usize) -> Cells<'static> {
    let row = Row::new(machine, now);
    let doing = match row.percent {
        Some(percent) => Line::from(vec![
            Span::styled(bar(percent), Style::new().fg(colour(row.state))),
            Span::raw(format!(" {}", row.doing)),
        ]),
        None => Line::raw(row.doing),
    };
    Cells::new(vec![
        Cell::new(row.state.as_str()).style(style(row.state)),
        Cell::new(cut(&row.machine, names)),
        Cell::new(Line::raw(row.age).right_aligned()),
        Cell::new(doing),
        Cell::new(row.detail),
    ])
}

/// A bar in eighths of a column.
pub(super) fn bar(percent: u8) -> String {
    const PARTS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = usize::from(percent.min(100)) * BAR * 8 / 100;
    let mut bar = "█".repeat(eighths / 8);
    if eighths / 8 < BAR {
        bar.push(PARTS[eighths % 8]);
        bar.push_str(&"·".repeat(BAR - eighths / 8 - 1));
    }
    bar
}

pub(super) fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

/// The word says the same.
pub(super) fn style(state: State) -> Style {
    let style = Style::new().fg(colour(state));
    if state == State::Failed { style.add_modifier(Modifier::BOLD) } else { style }
}

fn colour(state: State) -> Color {
    match state {
        State::Failed => Color::Red,
        State::Returned | State::Silent => Color::Yellow,
        State::Loading | State::Offered => Color::Cyan,
        State::Running => Color::Blue,
        State::Passed => Color::Green,
        State::Seen | State::Local | State::Ignored => Color::DarkGray,
    }
}
