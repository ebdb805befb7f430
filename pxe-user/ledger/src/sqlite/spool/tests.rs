//! Tests of the spool: order, bounds, and numbers that are never given twice.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::rows::StepRow;

const NOW: u64 = 1_000_000;

fn open_at(place: &Path, bytes_max: u64) -> Database {
    let (mut database, _) = Database::open(place, NOW, Duration::from_secs(1)).unwrap();
    database.open_spool(bytes_max, "mine").unwrap();
    database
}

fn write(database: &mut Database, id: u64) {
    let step = StepRow { id, at: id, mac: "a".into(), json: "x".repeat(100) };
    let rows = Rows { now: NOW, steps: vec![step], ..Rows::default() };
    database.write(&rows, Duration::from_secs(1)).unwrap();
}

/// The numbers of the batches that wait, and the steps in them.
fn taken(database: &mut Database) -> Vec<(u64, u64)> {
    let batches = database.take(u64::MAX).unwrap();
    batches.iter().map(|batch| (batch.sequence, batch.rows.steps[0].id)).collect()
}

#[test]
fn batches_wait_in_order_over_a_restart_until_they_are_confirmed() {
    let place = tempfile::tempdir().unwrap();
    let mut database = open_at(place.path(), u64::MAX);
    for id in 1..=3 {
        write(&mut database, id);
    }
    database.write(&Rows { now: NOW, ..Rows::default() }, Duration::from_secs(1)).unwrap();
    drop(database);
    let mut database = open_at(place.path(), u64::MAX);
    assert_eq!((database.waiting().batches, database.spool_name()), (3, "mine"));
    assert_eq!(database.take(1).unwrap().len(), 1, "at least one");
    database.confirm().unwrap();
    assert_eq!(taken(&mut database), [(2, 2), (3, 3)]);
    write(&mut database, 4);
    database.put_back();
    assert_eq!(taken(&mut database), [(2, 2), (3, 3), (4, 4)]);
    database.confirm().unwrap();
    assert_eq!(database.waiting(), Waiting::default());
    write(&mut database, 5);
    assert_eq!(taken(&mut database), [(5, 5)], "no number is given twice");
    assert_eq!(database.steps(0, 9).unwrap().len(), 5, "the rows stay here");
}

#[test]
fn a_full_spool_drops_its_oldest_batches_and_counts_them() {
    let place = tempfile::tempdir().unwrap();
    let mut database = open_at(place.path(), 1000);
    for id in 1..=20 {
        write(&mut database, id);
    }
    let Waiting { batches, bytes, dropped, refused: _ } = database.waiting();
    assert!(bytes <= 1000 && batches >= 2, "{bytes}");
    assert_eq!(batches + dropped, 20);
    let ids: Vec<_> = taken(&mut database).into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids, (dropped + 1..=20).collect::<Vec<_>>());
    // What is being sent is not dropped: it would be counted as lost, and arrive.
    for id in 21..=30 {
        write(&mut database, id);
    }
    let left = database.waiting();
    database.confirm().unwrap();
    assert_eq!(left.dropped, dropped + 9, "all but what is being sent, and the newest");
    assert_eq!(taken(&mut database), [(30, 30)]);
}

#[test]
fn a_batch_larger_than_the_spool_still_waits() {
    let place = tempfile::tempdir().unwrap();
    let mut database = open_at(place.path(), 1);
    for id in 1..=3 {
        write(&mut database, id);
    }
    assert_eq!((taken(&mut database), database.waiting().dropped), (vec![(3, 3)], 2));
}

#[test]
fn numbers_that_the_database_has_seen_are_not_given_again() {
    let place = tempfile::tempdir().unwrap();
    let mut database = open_at(place.path(), u64::MAX);
    for id in 1..=3 {
        write(&mut database, id);
    }
    let known = |spool: &str, sequence| Known { spool: spool.into(), sequence, clock: 2 * NOW };
    database.adopt(&known("mine", 1)).unwrap();
    assert_eq!(taken(&mut database), [(1, 1), (2, 2), (3, 3)], "it goes on");
    database.adopt(&known("another", 2)).unwrap();
    assert_eq!(taken(&mut database), [(3, 1), (4, 2), (5, 3)], "a lost directory");
    database.adopt(&known("mine", 900)).unwrap();
    assert_eq!(taken(&mut database), [(903, 1), (904, 2), (905, 3)], "a restored backup");
    write(&mut database, 4);
    let last = database.take(u64::MAX).unwrap().pop().unwrap();
    assert_eq!((last.sequence, last.version), (906, 2 * NOW + 1), "later than all that the database has");
}

#[test]
fn what_cannot_be_read_or_taken_holds_nothing_up() {
    let place = tempfile::tempdir().unwrap();
    let mut database = open_at(place.path(), u64::MAX);
    for id in 1..=3 {
        write(&mut database, id);
    }
    database.connection.execute("UPDATE spool SET json = '{' WHERE sequence = 1", []).unwrap();
    assert_eq!(taken(&mut database), [(2, 2), (3, 3)]);
    database.drop_batch(2).unwrap();
    assert_eq!(taken(&mut database), [(3, 3)]);
    database.confirm().unwrap();
    let Waiting { batches, dropped, refused, .. } = database.waiting();
    assert_eq!((batches, dropped, refused), (0, 0, 2));
}

#[test]
fn many_rows_become_batches_that_the_database_takes_in_time() {
    let place = tempfile::tempdir().unwrap();
    let mut database = open_at(place.path(), u64::MAX);
    let step = |id| StepRow { id, at: 1, mac: "02:00:00:00:00:01".into(), json: "{}".into() };
    let steps: Vec<_> = (1..=ROWS_OF_ONE as u64 * 2 + 1).map(step).collect();
    let rows = Rows { now: 1, steps: steps.clone(), ..Rows::default() };
    database.write(&rows, Duration::MAX).unwrap();
    let batches = database.take(u64::MAX).unwrap();
    assert_eq!(batches.iter().map(|batch| batch.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    let spooled: Vec<_> = batches.into_iter().flat_map(|batch| batch.rows.steps).collect();
    assert_eq!(spooled, steps);
}
