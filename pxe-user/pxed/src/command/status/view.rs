//! The state of the live view, and what keys do to it. No terminal, no socket and no clock: `watch` passes in what they
//! deliver.

use std::collections::HashMap;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use pxe_fleet::board::EncodedMachine;
use pxe_fleet::board::{Board, Lost, Machine, Responder, Story, Update};

/// What `watch` must do after a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    Quit,
    /// Request the story of the machine with this Ethernet address.
    Ask(String),
}

/// The fleet as the daemon last described it, and the viewer's position in it.
#[derive(Debug, Default)]
pub(super) struct View {
    machines: HashMap<String, EncodedMachine>,
    /// Ethernet addresses of the machines that match the filter, in the order of attention. Sorted again when `stale`
    /// is set.
    order: Vec<String>,
    stale: bool,
    pub(super) lost: Vec<Lost>,
    /// The responders of a shared ledger.
    pub(super) responders: Vec<Responder>,
    /// The Ethernet address of the chosen machine. It stays chosen when its row moves.
    chosen: Option<String>,
    /// The row of the chosen machine. If that machine disappears, the machine in this row is chosen.
    position: usize,
    /// Index of the first row on the screen.
    pub(super) top: usize,
    pub(super) filter: String,
    /// Whether keys edit the filter.
    pub(super) typing: bool,
    pub(super) story: Option<Story>,
    /// The Ethernet address of the machine whose story was requested. A response that arrives after the story was
    /// closed does not open it again.
    wanted: Option<String>,
    /// Index of the first line of the story on the screen.
    pub(super) scroll: u16,
    /// Why there is no connection to the daemon; `None` if there is one.
    pub(super) away: Option<String>,
}

impl View {
    /// Replaces the whole fleet, at the start or after a gap.
    pub(super) fn board(&mut self, board: Board) {
        self.machines = board.machines.iter().map(|machine| (machine.mac.clone(), machine.clone())).collect();
        self.lost = board.lost;
        self.responders = board.responders;
        self.away = None;
        self.stale = true;
    }

    pub(super) fn update(&mut self, update: Update) {
        match update {
            Update::Machine { machine, .. } => {
                self.machines.insert(machine.mac.clone(), machine);
            }
            Update::Forgotten { mac, .. } => {
                self.machines.remove(&mac);
            }
            Update::Lost { lost } => self.lost = lost,
            Update::Responders { responders, .. } => self.responders = responders,
            Update::Step { .. } => return,
        }
        self.stale = true;
    }

    pub(super) fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.values().map(|card| &**card)
    }

    /// The machines of the rows from `top` on, at most `height`, and the index of the chosen one among them. Moves
    /// `top` so that the chosen machine is visible.
    pub(super) fn rows(&mut self, height: usize) -> (Vec<&Machine>, Option<usize>) {
        self.sort();
        let chosen = (!self.order.is_empty()).then_some(self.position);
        if let Some(chosen) = chosen {
            self.top = self.top.clamp((chosen + 1).saturating_sub(height.max(1)), chosen);
        }
        self.top = self.top.min(self.order.len().saturating_sub(height));
        let shown = self.order.iter().skip(self.top).take(height);
        (
            shown.filter_map(|mac| self.machines.get(mac).map(|card| &**card)).collect(),
            chosen.map(|chosen| chosen - self.top),
        )
    }

    /// The number of machines that match the filter.
    pub(super) fn matching(&self) -> usize {
        self.order.len()
    }

    fn sort(&mut self) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        let words = self.filter.to_lowercase();
        let mut shown: Vec<_> = self.machines.values().filter(|machine| matches(machine, &words)).collect();
        // By the start of the state, not by the last sign of life: otherwise rows would move with every report.
        shown.sort_by(|a, b| (a.state, b.since, &a.mac).cmp(&(b.state, a.since, &b.mac)));
        self.order = shown.into_iter().map(|machine| machine.mac.clone()).collect();
        let found = self.chosen.as_ref().and_then(|mac| self.order.iter().position(|other| other == mac));
        self.choose(found.unwrap_or(self.position));
    }

    fn choose(&mut self, position: usize) {
        self.position = position.min(self.order.len().saturating_sub(1));
        self.chosen = self.order.get(self.position).cloned();
    }

    /// Handles a key. `page` is the number of rows on the screen.
    pub(super) fn key(&mut self, key: KeyEvent, page: usize) -> Action {
        self.sort();
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => Action::Quit,
            _ if self.typing => self.type_key(key.code),
            KeyCode::Char('q') if self.story.is_none() => Action::Quit,
            _ if self.story.is_some() => self.story_key(key.code, page),
            KeyCode::Enter => {
                self.wanted.clone_from(&self.chosen);
                self.chosen.clone().map_or(Action::Nothing, Action::Ask)
            }
            code => {
                self.move_key(code, page);
                Action::Nothing
            }
        }
    }

    fn type_key(&mut self, code: KeyCode) -> Action {
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(character) if !character.is_control() => self.filter.push(character),
            _ => {}
        }
        self.stale = true;
        Action::Nothing
    }

    fn story_key(&mut self, code: KeyCode, page: usize) -> Action {
        let page = u16::try_from(page).unwrap_or(u16::MAX);
        match code {
            KeyCode::Esc | KeyCode::Enter | KeyCode::Backspace | KeyCode::Char('q') => {
                (self.story, self.wanted) = (None, None);
            }
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll = self.scroll.saturating_add(1),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(page),
            KeyCode::PageDown => self.scroll = self.scroll.saturating_add(page),
            KeyCode::Home => self.scroll = 0,
            _ => {}
        }
        Action::Nothing
    }

    fn move_key(&mut self, code: KeyCode, page: usize) {
        let at = self.position;
        match code {
            KeyCode::Up | KeyCode::Char('k') => self.choose(at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.choose(at + 1),
            KeyCode::PageUp => self.choose(at.saturating_sub(page)),
            KeyCode::PageDown => self.choose(at + page),
            KeyCode::Home => self.choose(0),
            KeyCode::End => self.choose(usize::MAX),
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Esc => {
                self.filter.clear();
                self.stale = true;
            }
            _ => {}
        }
    }

    pub(super) fn show(&mut self, story: Story) {
        if self.wanted.as_ref() != Some(&story.machine.mac) {
            return;
        }
        // A refresh of the story that is already open keeps the scroll position.
        if self.story.as_ref().is_none_or(|old| old.machine.mac != story.machine.mac) {
            self.scroll = 0;
        }
        self.story = Some(story);
    }
}

fn matches(machine: &Machine, words: &str) -> bool {
    let texts = [
        &machine.name,
        &machine.serial,
        &machine.address,
        &machine.why,
        &machine.rule,
        &machine.image,
        &machine.responder,
    ];
    let texts = texts.into_iter().flatten().map(String::as_str);
    let mut all = texts.chain([machine.mac.as_str(), machine.state.as_str()]);
    words.is_empty() || all.any(|text| text.to_lowercase().contains(words))
}
