//! The fleet as one table, for a terminal or a pipe.

use std::io::{self, IsTerminal as _, Write};

use super::row::{HEADS, Row, responders, totals};
use super::text::{cut, escape, pad, width};
use pxe_fleet::board::{Board, State, UnixMs};

/// What the output can show.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    /// Width in columns; `None` means no limit.
    pub(super) width: Option<usize>,
    pub(super) colour: bool,
}

impl Look {
    /// The width and colours of standard output. `COLUMNS` is the width if the output is no terminal; `NO_COLOR` turns
    /// colours off.
    pub(super) fn of_stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        let columns = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { width: columns.or(said), colour }
    }
}

/// Writes the table.
pub(super) fn write(out: &mut impl Write, board: &Board, now: UnixMs, look: &Look) -> io::Result<()> {
    let fit = |line: &str| look.width.map_or_else(|| line.to_owned(), |columns| cut(line, columns));
    writeln!(out, "{}", fit(&totals(board.machines.iter().map(|card| &**card))))?;
    for lost in &board.lost {
        writeln!(out, "not kept: {}", escape(&lost.what))?;
    }
    for responder in responders(&board.responders, now) {
        writeln!(out, "{}", fit(&responder))?;
    }
    if board.machines.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = board.machines.iter().map(|machine| Row::new(machine, now)).collect();
    let cells = |row: &Row| -> [String; 5] {
        [
            row.state.as_str().into(),
            row.machine.clone(),
            row.age.clone(),
            row.doing.clone(),
            row.detail.clone(),
        ]
    };
    let mut widths = HEADS.map(width);
    for row in &rows {
        for (widest, cell) in widths.iter_mut().zip(cells(row)) {
            *widest = (*widest).max(width(&cell));
        }
    }
    writeln!(out, "{}", fit(&line(&HEADS.map(String::from), widths)))?;
    for row in &rows {
        let text = fit(&line(&cells(row), widths));
        let state = row.state.as_str();
        match (look.colour.then(|| colour(row.state)), text.strip_prefix(state)) {
            (Some(colour), Some(rest)) => writeln!(out, "\u{1b}[{colour}m{state}\u{1b}[0m{rest}")?,
            _ => writeln!(out, "{text}")?,
        }
    }
    Ok(())
}

fn line(cells: &[String; 5], widths: [usize; 5]) -> String {
    let padded: Vec<_> = cells.iter().zip(widths).map(|(cell, width)| pad(cell, width)).collect();
    padded.join("  ").trim_end().to_owned()
}

/// SGR codes (ECMA-48). Colour is never the only sign: the state's word is shown too.
fn colour(state: State) -> &'static str {
    match state {
        State::Failed => "1;31",
        State::Returned | State::Silent => "33",
        State::Loading | State::Offered => "36",
        State::Running => "34",
        State::Passed => "32",
        State::Seen | State::Local | State::Ignored => "2",
    }
}
