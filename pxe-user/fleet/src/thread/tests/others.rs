//! Tests of several responders that share a ledger in a real PostgreSQL: each of them shows the whole fleet.

use std::sync::atomic::{AtomicU64, Ordering};

use pxe_kit::postgres::Postgres as Server;

use super::shared::{shared_as, storm, until_sql};
use super::*;
use crate::board::{Machine, State};

fn shown(board: &Board, n: u32) -> Option<&Machine> {
    let mac = mac(n).to_string();
    board.machines.iter().find(|machine| machine.mac == mac).map(|card| &**card)
}

fn owner(board: &Board, n: u32) -> Option<&str> {
    shown(board, n)?.responder.as_deref()
}

fn is_alive(board: &Board, name: &str) -> bool {
    board.responders.iter().any(|responder| responder.name == name && responder.alive)
}

fn again(fleet: &Running, n: u32) -> usize {
    fleet.handle.ask_blocking(ANSWER_WAIT, |answer| Message::Again(Some(mac(n)), answer)).unwrap()
}

/// The numbers of machines that a board has.
fn numbers(board: &Board, up_to: u32) -> Vec<u32> {
    (0..up_to).filter(|n| has(board, *n)).collect()
}

#[test]
fn what_one_responder_sees_is_on_the_board_of_the_other() {
    let (place, server) = (tempfile::tempdir().unwrap(), Server::start().unwrap());
    let start = |name: &str| Running::start(shared_as(name, &server, &place.path().join(name)));
    let first = start("rack-1");
    first.told(1);
    first.until(|board| has(board, 1));
    let second = start("rack-2");
    second.until(|board| owner(board, 1) == Some("rack-1"));
    // A machine that speaks to the second one belongs to it from then on.
    first.told(2);
    second.until(|board| owner(board, 2) == Some("rack-1"));
    second.told(2);
    second.until(|board| has(board, 2) && owner(board, 2).is_none());
    first.until(|board| owner(board, 2) == Some("rack-2"));
    let story = second.handle.ask_blocking(ANSWER_WAIT, |answer| Message::Story(mac(1), answer)).unwrap();
    let story = story.unwrap();
    let steps: Vec<_> = story.steps.iter().map(|step| step.event.as_str()).collect();
    assert_eq!((story.boots.len(), steps), (1, vec!["state", "told", "new"]), "what the first one saw");
    let board = first.until(|board| is_alive(board, "rack-1") && is_alive(board, "rack-2"));
    let names: Vec<_> =
        board.responders.iter().map(|responder| (responder.name.as_str(), responder.own)).collect();
    assert_eq!(names, [("rack-1", true), ("rack-2", false)]);
    assert_eq!(board.responders[1].version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    second.stop();
    first.until(|board| !is_alive(board, "rack-2"));
    first.stop();
}

#[test]
fn a_name_in_the_ledger_and_a_boot_record_reach_the_other_responder() {
    let (place, server) = (tempfile::tempdir().unwrap(), Server::start().unwrap());
    let start = |name: &str| Running::start(shared_as(name, &server, &place.path().join(name)));
    let (first, second) = (start("rack-1"), start("rack-2"));
    first.told(1);
    second.until(|board| has(board, 1));
    // The first one has counted a boot, as its rows say.
    let sql = format!(
        "INSERT INTO pxed.counted SELECT '{}', 'lab', 'n1', 0, 1, name, sequence + 1, 0 FROM pxed.responders WHERE name = 'rack-1'; \
         UPDATE pxed.responders SET sequence = sequence + 1 WHERE name = 'rack-1'",
        mac(1)
    );
    server.sql("postgres", &sql).unwrap();
    let boots = |fleet: &Running| {
        fleet.handle.boot_records().load().get(&mac(1)).map_or(0, |record| record.boots_by("lab"))
    };
    second.until(|_| boots(&second) == 1);
    // Its counts are reset by way of the second responder, which does not take the machine over.
    assert_eq!(again(&second, 1), 1);
    assert_eq!(boots(&second), 0);
    until_sql(&server, "SELECT count(*) FROM pxed.epochs WHERE responder = 'rack-2'", "1");
    let epoch: u64 = server.sql("postgres", "SELECT epoch FROM pxed.epochs").unwrap().parse().unwrap();
    // A boot of the new epoch.
    let sql = format!(
        "INSERT INTO pxed.counted SELECT '{}', 'lab', 'n2', {epoch}, 1, name, sequence + 1, 0 FROM pxed.responders WHERE name = 'rack-2'; \
         UPDATE pxed.responders SET sequence = sequence + 1 WHERE name = 'rack-2'",
        mac(1)
    );
    server.sql("postgres", &sql).unwrap();
    first.until(|_| boots(&first) == 1);
    assert_eq!(owner(&second.handle.board(), 1), Some("rack-1"));
    first.stop();
    second.stop();
}

/// Rows that come without a notice, as if it were lost.
#[test]
fn what_no_notice_announces_is_read_all_the_same() {
    let (place, server) = (tempfile::tempdir().unwrap(), Server::start().unwrap());
    let fleet = Running::start(shared_as("rack-1", &server, &place.path().join("1")));
    fleet.told(1);
    fleet.until(|board| is_alive(board, "rack-1"));
    until_sql(&server, "SELECT count(*) FROM pxed.machines", "1");
    let sql = format!(
        "INSERT INTO pxed.responders (name, instance, host, leased, sequence) VALUES ('rack-9', 'x', 'y', now(), 1); \
         INSERT INTO pxed.machines SELECT '{1}', replace(json::text, '{0}', '{1}')::json, version, 'rack-9', 1 FROM pxed.machines",
        mac(1),
        mac(7)
    );
    server.sql("postgres", &sql).unwrap();
    fleet.until(|board| owner(board, 7) == Some("rack-9"));
    fleet.stop();
}

#[test]
fn after_the_database_was_away_nothing_is_missing_and_nothing_is_doubled() {
    let (place, server) = (tempfile::tempdir().unwrap(), Server::start().unwrap());
    let start = |name: &str| Running::start(shared_as(name, &server, &place.path().join(name)));
    let (first, second) = (start("rack-1"), start("rack-2"));
    storm(&first, 0, 100);
    second.until(|board| board.machines.len() == 100);
    server.kill().unwrap();
    first.until_lost("is away");
    second.until_lost("is away");
    storm(&first, 100, 200);
    storm(&second, 200, 300);
    first.until(|board| board.machines.len() == 200);
    assert_eq!(second.until(|board| board.machines.len() == 200).responders.len(), 2, "the last known");
    server.launch().unwrap();
    for fleet in [&first, &second] {
        let board = fleet.until(|board| board.machines.len() == 300 && board.lost.is_empty());
        assert_eq!(numbers(&board, 300).len(), 300);
    }
    assert_eq!(owner(&first.handle.board(), 250), Some("rack-2"));
    assert_eq!(owner(&second.handle.board(), 150), Some("rack-1"));
    // Each machine has its rows once, and only its own responder's.
    let owners = "SELECT responder, count(*) FROM pxed.machines GROUP BY responder ORDER BY responder";
    until_sql(&server, owners, "rack-1|200\nrack-2|100");
    let steps = "SELECT count(*), count(DISTINCT (mac, json->>'event')) FROM pxed.steps";
    let counted = server.sql("postgres", steps).unwrap();
    let (all, distinct) = counted.split_once('|').unwrap();
    assert_eq!(all, distinct, "each step once");
    first.stop();
    second.stop();
}

/// Two clocks that a test moves together, so that no clock seems to be set.
#[derive(Clone)]
struct Moved(Clock, Arc<AtomicU64>);

impl Moved {
    fn start(&self, config: FleetConfig) -> Running {
        let (wall, monotonic) = (self.clone(), self.clone());
        let by = |moved: &Self| Duration::from_secs(moved.1.load(Ordering::Relaxed));
        Running::start_by(
            move || monotonic.0.now() + by(&monotonic),
            move || UnixMs(wall_clock().0 + u64::try_from(by(&wall).as_millis()).unwrap()),
            config,
        )
    }
}

#[test]
fn a_foreign_machine_causes_no_timer_events_and_no_writes_also_after_a_restart() {
    let (place, server) = (tempfile::tempdir().unwrap(), Server::start().unwrap());
    let config = |name: &str| shared_as(name, &server, &place.path().join(name));
    let first = Running::start(config("rack-1"));
    first.told(1);
    let clocks = Moved(Clock::start(), Arc::default());
    let second = clocks.start(config("rack-2"));
    second.until(|board| owner(board, 1) == Some("rack-1"));
    first.stop();
    second.told(2);
    second.until(|board| has(board, 2));
    clocks.1.store(600, Ordering::Relaxed);
    // The machine of the second responder has requested nothing for ten minutes.
    second.until(|board| shown(board, 2).is_some_and(|machine| machine.state == State::Failed));
    let board = second.handle.board();
    assert_eq!((shown(&board, 1).unwrap().state, owner(&board, 1)), (State::Offered, Some("rack-1")));
    let steps = second.handle.ask_blocking(ANSWER_WAIT, |answer| Message::Steps(0, 999, answer)).unwrap();
    assert!(steps.iter().all(|step| step.mac == mac(2).to_string()), "{steps:?}");
    until_sql(&server, "SELECT count(*) FROM pxed.machines WHERE responder = 'rack-2'", "1");
    second.stop();
    // A restart without the database: the machine is still known, and still another responder's.
    server.kill().unwrap();
    let second = clocks.start(config("rack-2"));
    second.until_lost("is away");
    second.until(|board| owner(board, 1) == Some("rack-1"));
    clocks.1.store(1200, Ordering::Relaxed);
    second.told(3);
    clocks.1.store(1800, Ordering::Relaxed);
    second.until(|board| shown(board, 3).is_some_and(|machine| machine.state == State::Failed));
    assert_eq!(shown(&second.handle.board(), 1).unwrap().state, State::Offered);
    server.launch().unwrap();
    until_sql(&server, "SELECT count(*) FROM pxed.machines WHERE responder = 'rack-2'", "2");
    until_sql(&server, "SELECT responder FROM pxed.machines WHERE mac LIKE '%:01'", "rack-1");
    second.stop();
}

#[test]
fn a_machine_that_its_responder_has_forgotten_leaves_the_other_boards() {
    let (place, server) = (tempfile::tempdir().unwrap(), Server::start().unwrap());
    let start = |name: &str| Running::start(shared_as(name, &server, &place.path().join(name)));
    let (first, second) = (start("rack-1"), start("rack-2"));
    storm(&first, 0, 3);
    second.until(|board| board.machines.len() == 3);
    second.stop();
    server.sql("postgres", "DELETE FROM pxed.machines WHERE mac LIKE '%:01'").unwrap();
    // A start lists all machines, and then each ten minutes.
    let second = start("rack-2");
    second.until(|board| numbers(board, 3) == [0, 2]);
    first.stop();
    second.stop();
}
