//! Colours and emphasis in `pxed status --watch`.

use pxe_fleet::board::State;
use ratatui::style::{Color, Modifier, Style};

pub(super) fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

/// Colour is never the only sign: the state's word is shown too.
pub(super) fn style(state: State) -> Style {
    let style = Style::new().fg(colour(state));
    if state == State::Failed { style.add_modifier(Modifier::BOLD) } else { style }
}

pub(super) fn colour(state: State) -> Color {
    match state {
        State::Failed => Color::Red,
        State::Returned | State::Silent => Color::Yellow,
        State::Loading | State::Offered => Color::Cyan,
        State::Running => Color::Blue,
        State::Passed => Color::Green,
        State::Seen | State::Local | State::Ignored => Color::DarkGray,
    }
}
