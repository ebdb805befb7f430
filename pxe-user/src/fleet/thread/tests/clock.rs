//! The time of day is set under a running fleet.

use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::fleet::board::State;

/// Time passes so many times as fast as ours: nobody likes to wait for a minute.
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
    let surroundings =
        Surroundings { monotonic: Box::new(now), wall: Box::new(wall), neighbour: Box::new(|_| None) };
    let fleet = Running::start_in(surroundings, FleetConfig::default());
    fleet.told(1);
    fleet.until(|board| has(board, 1));
    set.store(-DAY_MS, Ordering::Relaxed);
    let board = fleet.until(|board| board.machines.iter().any(|machine| machine.state == State::Failed));
    let why = board.machines[0].why.as_deref().unwrap_or_default();
    assert!(why.contains("asked for nothing"), "{why}");
    assert!(board.at.0 < begun, "what is shown is the time of day as it is now");
    fleet.stop();
}
