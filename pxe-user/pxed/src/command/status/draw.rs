//! Draws a [`View`] in the terminal: title, notes, table or story, and a line of keys.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as Cells, Table, Wrap};

use super::colour::{colour, dim, style};
use super::row::{HEADS, Row, responders, totals};
use super::story;
use super::text::{cut, escape, width};
use super::view::View;
use pxe_fleet::board::UnixMs;

/// Width of a progress bar, in columns.
const BAR: usize = 10;
/// At most this many lines of `not kept` are shown.
const LOST_MAX: usize = 3;
/// At most this many responders that are not alive are shown.
const RESPONDERS_MAX: usize = 3;

/// Draws the view. Returns the height of a page: the rows of machines, or the lines of a story, that fit.
pub(super) fn draw(frame: &mut Frame<'_>, view: &mut View, now: UnixMs) -> usize {
    let notes = notes(view, now);
    let notes_height = u16::try_from(notes.len()).unwrap_or(0);
    let title = format!("pxed  {}", totals(view.machines()));
    let title_height = if width(&title) > usize::from(frame.area().width) { 2 } else { 1 };
    let [head, note, body, foot] = Layout::vertical([
        Constraint::Length(title_height),
        Constraint::Length(notes_height),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let title = Paragraph::new(title).style(Style::new().add_modifier(Modifier::BOLD));
    frame.render_widget(title.wrap(Wrap { trim: true }), head);
    frame.render_widget(Paragraph::new(notes), note);
    if view.story.is_some() {
        frame.render_widget(Line::styled("q back  arrows PgUp PgDn scroll", dim()), foot);
        return story::draw(frame, view, body, now);
    }
    frame.render_widget(footer(view), foot);
    machines(frame, view, body, now)
}

fn notes(view: &View, now: UnixMs) -> Vec<Line<'static>> {
    let away = view.away.iter().map(|why| {
        Line::styled(format!("no connection, stale data: {}", escape(why)), Style::new().fg(Color::Red))
    });
    let lost = view.lost.iter().take(LOST_MAX);
    let lost = lost
        .map(|lost| Line::styled(format!("not kept: {}", escape(&lost.what)), Style::new().fg(Color::Red)));
    let lines = responders(&view.responders, now).zip(&view.responders);
    let dead = lines.filter(|(_, responder)| !responder.alive).take(RESPONDERS_MAX);
    let dead = dead.map(|(line, _)| Line::styled(line, Style::new().fg(Color::Yellow)));
    away.chain(lost).chain(dead).collect()
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
    // The chosen machine's whole detail stands in the line below the table, since the column may cut it.
    let [area, below] = Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    let height = usize::from(area.height.saturating_sub(1));
    let (names, doing) = if area.width < 110 { (18, 24) } else { (40, 32) };
    let fixed = [8, names, 5, doing];
    let details = usize::from(area.width.saturating_sub(fixed.iter().sum::<u16>() + 4));
    let (machines, chosen) = view.rows(height);
    let rows: Vec<_> = machines.iter().map(|machine| Row::new(machine, now)).collect();
    let detail = chosen.and_then(|chosen| rows.get(chosen)).map_or("", |row| row.detail.as_str());
    frame.render_widget(Line::raw(cut(detail, usize::from(below.width))), below);
    let lines = rows.iter().enumerate().map(|(index, row)| {
        let line = cells(row, usize::from(names), details);
        if Some(index) == chosen { line.style(Style::new().add_modifier(Modifier::REVERSED)) } else { line }
    });
    let widths = fixed.map(Constraint::Length).into_iter().chain([Constraint::Fill(1)]);
    let table = Table::new(lines, widths).header(Cells::new(HEADS).style(dim())).column_spacing(1);
    frame.render_widget(table, area);
    height
}

fn cells(row: &Row, names: usize, details: usize) -> Cells<'static> {
    let doing = match row.percent {
        Some(percent) => Line::from(vec![
            Span::styled(bar(percent), Style::new().fg(colour(row.state))),
            Span::raw(format!(" {}", row.doing)),
        ]),
        None => Line::raw(row.doing.clone()),
    };
    Cells::new(vec![
        Cell::new(row.state.as_str()).style(style(row.state)),
        Cell::new(cut(&row.machine, names)),
        Cell::new(Line::raw(row.age.clone()).right_aligned()),
        Cell::new(doing),
        Cell::new(cut(&row.detail, details)),
    ])
}

/// A progress bar with a resolution of an eighth of a column.
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
