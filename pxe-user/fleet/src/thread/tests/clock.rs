//! Tests of a wall clock that is set while the fleet runs.

use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::board::State;

/// The test's clocks run this many times faster than real time, so that a minute passes quickly.
const HASTE: u64 = 100;
const DAY_MS: i64 = 86_400_000;

#[test]
fn a_machine_that_stops_is_told_although_the_clock_was_set_back_a_day() {
    let (clock, set) = (Clock::start(), Arc::new(AtomicI64::new(0)));
    let now = move || Timestamp::from_micros(clock.now().as_micros() * HASTE);
    let (shown, begun) = (Arc::clone(&set), wall_clock().0);
    let wall = move || {
        UnixMs((begun + now().as_micros() / 1000).saturating_add_signed(shown.load(Ordering::Relaxed)))
    };
    let fleet = Running::start_by(now, wall, FleetConfig::default());
    fleet.told(1);
    fleet.until(|board| has(board, 1));
    set.store(-DAY_MS, Ordering::Relaxed);
    let board = fleet.until(|board| board.machines.iter().any(|machine| machine.state == State::Failed));
    let why = board.machines.iter().next().unwrap().why.as_deref().unwrap_or_default();
    assert!(why.contains("requested nothing"), "{why}");
    assert!(board.at.0 < begun, "what is shown is the time of day as it is now");
    fleet.stop();
}

/// The history of a machine survives a start with a clock that is 400 days ahead, one event then, and a start
/// with the right clock.
#[test]
fn a_start_with_a_clock_that_runs_ahead_forgets_nothing() {
    let place = tempfile::tempdir().unwrap();
    for (n, days) in [(1, 0), (2, 400), (3, 0)] {
        let clock = Clock::start();
        let wall = move || UnixMs(wall_clock().0.saturating_add_signed(days * DAY_MS));
        let config = FleetConfig { state: Some(place.path().to_owned()), ..FleetConfig::default() };
        let fleet = Running::start_by(move || clock.now(), wall, config);
        fleet.told(n);
        fleet.until(|board| (1..=n).all(|n| has(board, n)) && board.lost.is_empty());
        fleet.stop();
    }
    let fleet = Running::at(place.path());
    fleet.until(|board| board.machines.len() == 3);
    for n in 1..=3 {
        let asked = fleet.handle.ask_blocking(ANSWER_WAIT, |answer| Message::Story(mac(n), answer));
        let story = asked.unwrap().unwrap();
        assert!(story.boots.len() == 1 && story.steps.len() == 3, "machine {n}: {story:?}");
    }
    fleet.stop();
}
