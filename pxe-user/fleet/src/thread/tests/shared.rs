//! Tests of the shared ledger, with a real PostgreSQL: it is killed, frozen, or away, and nothing is missing or doubled
//! afterwards. Nothing that the fleet shows waits for it.

use pxe_kit::postgres::{PASSWORD, Postgres as Server, USER};
use pxe_ledger::postgres::{Target, Url};

use super::*;
use crate::board::Step;

pub(super) fn url(server: &Server) -> Url {
    Url::parse(&server.url("postgres")).unwrap()
}

pub(super) fn shared(server: &Server, state: &Path) -> FleetConfig {
    shared_as("rack-1", server, state)
}

/// A responder of this name.
pub(super) fn shared_as(responder: &str, server: &Server, state: &Path) -> FleetConfig {
    let ledger = SharedLedger {
        target: Target::open(&url(server), None, None),
        responder: responder.into(),
        host: "host".into(),
        spool_max: SPOOL_MAX,
        about: Arc::default(),
    };
    FleetConfig { state: Some(state.to_owned()), ledger: Some(ledger), ..FleetConfig::default() }
}

/// Waits until SQL in the shared ledger returns `wanted`.
#[track_caller]
pub(super) fn until_sql(server: &Server, sql: &str, wanted: &str) {
    let mut last = String::new();
    for _ in 0..PATIENCE / 10 {
        // The schema may not be there yet.
        last = server.sql("postgres", sql).unwrap_or_default();
        if last == wanted {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{sql} returns {last:?}, and not {wanted:?}");
}

/// Compares the shared ledger with this host: all steps once, in the order of their numbers, and all machines.
#[track_caller]
fn compare(fleet: &Running, server: &Server) {
    fleet.until(|board| board.lost.is_empty());
    let steps: Vec<Step> =
        fleet.handle.ask_blocking(ANSWER_WAIT, |answer| Message::Steps(0, usize::MAX, answer)).unwrap();
    let expected: Vec<_> = steps.iter().map(|step| step.id.to_string()).collect();
    until_sql(server, "SELECT count(*) FROM pxed.steps", &expected.len().to_string());
    let found = server.sql("postgres", "SELECT id FROM pxed.steps ORDER BY id").unwrap();
    assert!(found.lines().eq(expected.iter()), "{} and {} steps", found.lines().count(), expected.len());
    until_sql(server, "SELECT count(*) FROM pxed.machines", &fleet.handle.board().machines.len().to_string());
}

/// Machines `from` to `to` appear, some every millisecond.
pub(super) fn storm(fleet: &Running, from: u32, to: u32) {
    for n in from..to {
        fleet.told(n);
        std::thread::sleep(Duration::from_micros(500));
    }
}

#[test]
fn what_is_shown_reaches_the_shared_ledger() {
    let (place, server) = (tempfile::tempdir().unwrap(), Server::start().unwrap());
    let fleet = Running::start(shared(&server, place.path()));
    storm(&fleet, 0, 100);
    fleet.until(|board| board.machines.len() == 100);
    compare(&fleet, &server);
    fleet.handle.ask_blocking(ANSWER_WAIT, |answer| Message::Again(Some(mac(1)), answer)).unwrap();
    until_sql(&server, "SELECT count(*) FROM pxed.epochs WHERE epoch > 0", "1");
    fleet.stop();
    until_sql(&server, "SELECT leased FROM pxed.responders", "-infinity");
}

#[test]
fn a_database_that_is_killed_under_load_has_everything_once_when_it_is_back() {
    let (place, server) = (tempfile::tempdir().unwrap(), Server::start().unwrap());
    let fleet = Running::start(shared(&server, place.path()));
    storm(&fleet, 0, 500);
    server.kill().unwrap();
    storm(&fleet, 500, 1000);
    fleet.until_lost("the shared ledger is away");
    fleet.until(|board| board.machines.len() == 1000);
    fleet.until_lost("in the spool");
    server.launch().unwrap();
    storm(&fleet, 1000, 1500);
    server.kill().unwrap();
    server.launch().unwrap();
    compare(&fleet, &server);
    fleet.stop();
}

#[test]
fn a_database_that_hangs_under_load_delays_nothing_that_is_shown() {
    let (place, server) = (tempfile::tempdir().unwrap(), Server::start().unwrap());
    let fleet = Running::start(shared(&server, place.path()));
    storm(&fleet, 0, 200);
    server.freeze().unwrap();
    let clock = Clock::start();
    storm(&fleet, 200, 400);
    fleet.until(|board| board.machines.len() == 400);
    fleet.told(5000);
    fleet.until(|board| has(board, 5000));
    assert!(clock.now().since(Timestamp::default()) < Duration::from_secs(5), "{:?}", clock.now());
    fleet.until_lost("does not answer");
    server.thaw().unwrap();
    compare(&fleet, &server);
    fleet.stop();
}

#[test]
fn a_restart_while_the_database_is_away_loses_nothing_and_does_not_wait() {
    let (place, server) = (tempfile::tempdir().unwrap(), Server::start().unwrap());
    let fleet = Running::start(shared(&server, place.path()));
    storm(&fleet, 0, 10);
    compare(&fleet, &server);
    server.freeze().unwrap();
    storm(&fleet, 10, 20);
    fleet.until(|board| board.machines.len() == 20);
    let clock = Clock::start();
    fleet.stop();
    let fleet = Running::start(shared(&server, place.path()));
    // From this host's own copy.
    fleet.until(|board| board.machines.len() == 20);
    // Far less than the limit for a connection, with the store's pause if the lock is held for a moment.
    assert!(clock.now().since(Timestamp::default()) < Duration::from_secs(8), "{:?}", clock.now());
    storm(&fleet, 20, 30);
    server.thaw().unwrap();
    fleet.until(|board| board.machines.len() == 30);
    compare(&fleet, &server);
    fleet.stop();
}

#[test]
fn a_full_spool_is_said_and_all_machines_arrive_all_the_same() {
    let (place, server) = (tempfile::tempdir().unwrap(), Server::start().unwrap());
    let mut config = shared(&server, place.path());
    config.ledger.as_mut().unwrap().spool_max = 50_000;
    server.kill().unwrap();
    let fleet = Running::start(config);
    for n in 0..400 {
        fleet.told(n);
        // Many small batches.
        std::thread::sleep(Duration::from_millis(5));
    }
    fleet.until_lost("are missing in the shared ledger");
    fleet.until(|board| board.machines.len() == 400);
    server.launch().unwrap();
    fleet.until(|board| !board.lost.iter().any(|lost| lost.what.contains("is away")));
    until_sql(&server, "SELECT count(*) FROM pxed.machines", "400");
    fleet.until_lost("A larger `spool_mib`");
    fleet.stop();
}

#[test]
fn a_move_copies_everything_and_a_repeat_nothing() {
    let (place, server) = (tempfile::tempdir().unwrap(), Server::start().unwrap());
    let fleet = Running::at(place.path());
    storm(&fleet, 0, 100);
    fleet.until(|board| board.machines.len() == 100 && board.lost.is_empty());
    let target = Target::open(&url(&server), None, None).unwrap();
    let once = || crate::move_ledger::move_ledger(place.path(), &target, "rack-1", "host");
    let error = once().unwrap_err().to_string();
    assert!(error.contains("another pxed uses"), "{error}");
    fleet.stop();
    // Another test may just start a program, which holds a copy of the directory's lock until it runs.
    let moved = || {
        for _ in 0..500 {
            match once() {
                Err(error) if error.to_string().contains("another pxed uses") => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                other => return other,
            }
        }
        once()
    };
    // One machine has booted twice by a rule since its counts were reset.
    let file = rusqlite::Connection::open(place.path().join("pxed.db")).unwrap();
    let sql = "UPDATE machines SET json = json_set(json, '$.boots', json('[[\"lab\",2]]'), '$.machine.epoch', 7) WHERE mac = ?1";
    file.execute(sql, [mac(1).to_string()]).unwrap();
    drop(file);
    let rows = "SELECT (SELECT count(*) FROM pxed.machines), (SELECT count(*) FROM pxed.steps), \
                (SELECT count(*) FROM pxed.boots), (SELECT string_agg(rule || count || epoch, ' ') FROM pxed.counted)";
    let first = moved().unwrap();
    assert_eq!((first.machines, first.boots, first.counts), (100, 100, Some(1)));
    assert!(first.steps >= 100);
    let copied = server.sql("postgres", rows).unwrap();
    assert_eq!(copied, format!("100|{}|100|lab27", first.steps));
    assert_eq!(moved().unwrap(), first);
    assert_eq!(server.sql("postgres", rows).unwrap(), copied);
    // A daemon that starts now goes on, and has sent its boots itself from then on.
    let fleet = Running::start(shared(&server, place.path()));
    fleet.until(|board| board.machines.len() == 100);
    storm(&fleet, 100, 110);
    fleet.until(|board| board.machines.len() == 110);
    compare(&fleet, &server);
    fleet.stop();
    assert_eq!(moved().unwrap().counts, None);
    let error =
        crate::move_ledger::move_ledger(&place.path().join("none"), &target, "rack-1", "host").unwrap_err();
    assert!(error.to_string().contains("no pxed.db"), "{error}");
}

#[test]
fn each_reason_is_on_the_board_and_serving_goes_on() {
    let (place, server) = (tempfile::tempdir().unwrap(), Server::start().unwrap());
    let tcp = format!("postgres://{USER}@127.0.0.1:{}/postgres?sslmode=disable", server.port());
    let password = place.path().join("password");
    std::fs::write(&password, "wrong").unwrap();
    let open = |url: &str, password| Target::open(&Url::parse(url).unwrap(), password, None);
    for (n, (target, words)) in [
        (open(&tcp, Some(&*password)), "check the user in the URL, the password file"),
        (open("postgres://u@no-such-host.invalid/d", None), "start pxed again when the name resolves"),
        (open(&server.url("none"), None), "createdb"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut config = shared(&server, &place.path().join(n.to_string()));
        config.ledger.as_mut().unwrap().target = target;
        let fleet = Running::start(config);
        fleet.until_lost(words);
        fleet.told(1);
        let board = fleet.until(|board| has(board, 1));
        assert!(board.lost.iter().all(|lost| !lost.what.contains(PASSWORD)), "{:?}", board.lost);
        fleet.stop();
    }
}

#[test]
fn a_second_responder_with_the_same_name_is_refused_and_serves() {
    let (place, server) = (tempfile::tempdir().unwrap(), Server::start().unwrap());
    let first = Running::start(shared(&server, &place.path().join("first")));
    first.told(1);
    first.until(|board| has(board, 1));
    compare(&first, &server);
    let second = Running::start(shared(&server, &place.path().join("second")));
    second.until_lost("`rack-1` is in use by another pxed, on host");
    second.told(2);
    second.until(|board| has(board, 2));
    first.stop();
    // The name is free now. What waited gets numbers after those of the first one.
    second.until(|board| board.lost.is_empty());
    until_sql(&server, "SELECT count(*) FROM pxed.machines", "2");
    second.stop();
}
