//! Tests of a store that does not answer. A disk that hangs would need a device of its own, so a silent store
//! takes its place.

use std::time::Duration;

use super::*;
use crate::machine::Machine;
use crate::registry::Registry;

const WALL: UnixMs = UnixMs(1_000_000);

fn at(ms: u64) -> Timestamp {
    Timestamp::from_micros(ms * 1000)
}

#[test]
fn what_hangs_is_waited_for_two_seconds_and_then_said() {
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let board = Arc::<ArcSwap<Board>>::default();
    let (updates, mut received) = broadcast::channel(64);
    let (link, _orders) = StoreHandle::silent();
    let mut publisher = Publisher::new(WALL, Arc::clone(&board), updates, Some(link));
    let mut registry = Registry::new(Duration::from_secs(60), 1);
    publisher.stored(at(0), WALL, Answer::Opened(Box::default()), &mut registry);
    registry.uploaded(WALL, mac, "x", 1);
    for (ms, shown, pause) in [(1000, 0, 2000), (2900, 0, 100), (3000, 1, u64::MAX)] {
        publisher.flush(at(ms), WALL, &mut registry, false);
        let expected = if pause == u64::MAX { Duration::MAX } else { Duration::from_millis(pause) };
        assert_eq!(publisher.pause(at(ms), &mut registry, false), expected, "the thread wakes in time");
        assert_eq!(board.load().machines.len(), shown, "at {ms} ms");
    }
    assert!(board.load().lost[0].what.contains("does not answer"));
    assert!(matches!(&*received.try_recv().unwrap(), Update::Machine { .. }));
    // From here on, changes are shown at once.
    registry.uploaded(WALL, Mac([2, 0, 0, 0, 0, 2]), "x", 1);
    publisher.flush(at(3300), WALL, &mut registry, false);
    assert_eq!(board.load().machines.len(), 2);
    publisher.stored(at(9000), WALL, Answer::Written { events: None, version: 0 }, &mut registry);
    publisher.flush(at(9001), WALL, &mut registry, false);
    publisher.stored(at(9002), WALL, Answer::Written { events: None, version: 0 }, &mut registry);
    assert_eq!(board.load().lost, []);
}

/// After an error the database is opened again, and contains what this process wrote itself. Nothing may
/// count twice.
#[test]
fn a_database_that_is_opened_again_adds_nothing() {
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let (updates, _received) = broadcast::channel(64);
    let (link, orders) = StoreHandle::silent();
    let mut publisher = Publisher::new(WALL, Arc::default(), updates, Some(link));
    let mut registry = Registry::new(Duration::from_secs(60), 1);
    let mut machine = Machine::new(WALL, mac);
    machine.shown.boots = 1;
    machine.boot_record.boots.push(("lab".into(), 1));
    for _ in 0..2 {
        let machines = vec![machine.clone()];
        let opened = Opened { machines, last_step: 7, ..Opened::default() };
        publisher.stored(at(0), WALL, Answer::Opened(Box::new(opened)), &mut registry);
        let known = registry.machine(mac).unwrap();
        assert_eq!((known.shown.boots, known.boot_record.boots_by("lab")), (1, 1));
    }
    registry.take_changes();
    publisher.flush(at(1000), WALL, &mut registry, true);
    let Ok(StoreRequest::Write(batch)) = orders.try_recv() else { panic!("nothing is written") };
    assert_eq!(batch.machines.len(), 1, "what is in memory is written anew");
}
