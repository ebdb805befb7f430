//! Tests of which rows are deleted, and that no wrong clock deletes any.

use std::path::Path;

use super::super::{Database, MIGRATIONS, migrate};
use super::*;
use crate::rows::{Rows, StepRow};

const DAY_MS: u64 = 86_400_000;
const RETENTION: Duration = Duration::from_secs(30 * 86400);
const WALL: u64 = 1_800_000_000_000;

fn memory() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate(&mut connection, MIGRATIONS, 0).unwrap();
    connection
}

#[test]
fn rows_of_one_machine_and_of_all_are_bounded_and_the_latest_stay() {
    let mut connection = memory();
    let transaction = connection.transaction().unwrap();
    for (mac, at) in [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("b", 5)] {
        transaction.execute("INSERT INTO boots VALUES (?1, ?2, '', 0)", params![mac, at]).unwrap();
        let sql = "INSERT INTO errors VALUES (?1, 1, ?2, ?2, '', 0)";
        transaction.execute(sql, params![mac, at]).unwrap();
    }
    for (of_one, of_all, kept) in [(2, 9, "2,3,4,5"), (2, 3, "3,4,5")] {
        bound(&transaction, of_one, of_all).unwrap();
        for table in ["boots", "errors"] {
            let sql = format!("SELECT group_concat(at) FROM (SELECT at FROM {table} ORDER BY at)");
            let found: String = transaction.query_row(&sql, [], |row| row.get(0)).unwrap();
            assert_eq!(found, kept, "{table}");
        }
    }
}

/// The machine had two boots while the clock ran ahead, and one after that, which is the newest.
#[test]
fn a_row_from_the_future_does_not_outlast_those_of_the_present() {
    let mut connection = memory();
    let transaction = connection.transaction().unwrap();
    for (at, age) in [(9000, 1), (9001, 2), (10, 3)] {
        transaction.execute("INSERT INTO boots VALUES ('a', ?1, '', ?2)", [at, age]).unwrap();
    }
    bound(&transaction, 1, 9).unwrap();
    let left: i64 = transaction.query_row("SELECT at FROM boots", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 10);
}

/// Opens the database at the wall-clock time `wall`, and writes step `id` after `days` of running, by the
/// monotonic clock. Returns the steps that were there before.
fn run(directory: &Path, wall: u64, id: u64, days: u64) -> Vec<u64> {
    let (mut database, opened) = Database::open(directory, wall, RETENTION).unwrap();
    let known = opened.steps.iter().map(|id| id.parse().unwrap()).collect();
    for (day, id) in [(0, None), (days, Some(id))] {
        let step = |id: u64| StepRow { id, at: wall, mac: "02:00:00:00:00:01".into(), json: id.to_string() };
        let batch = Rows {
            now: wall,
            monotonic: Timestamp::from_micros(day * DAY_MS * 1000),
            steps: id.into_iter().map(step).collect(),
            ..Rows::default()
        };
        database.write(&batch, RETENTION).unwrap();
    }
    known
}

#[test]
fn a_start_with_a_clock_that_runs_ahead_and_back_deletes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let ahead = WALL + 400 * DAY_MS;
    let mut known = Vec::new();
    for (id, wall) in [(1, WALL), (2, ahead), (3, WALL), (4, 0), (5, ahead)] {
        assert_eq!(run(place.path(), wall, id, 0), known);
        known.push(id);
    }
}

#[test]
fn what_is_older_than_the_retention_goes_by_the_time_that_pxed_has_run() {
    let place = tempfile::tempdir().unwrap();
    run(place.path(), WALL, 1, 0);
    // The wall clock does not move. By the monotonic clock, the first step is 20 days old, then 40.
    assert_eq!(run(place.path(), WALL, 2, 20), [1]);
    assert_eq!(run(place.path(), WALL, 3, 20), [1, 2]);
    assert_eq!(run(place.path(), WALL, 4, 0), [2, 3]);
}

/// A long absence counts as one day, an hour as an hour.
#[test]
fn a_bounded_part_of_an_absence_is_believed() {
    let place = tempfile::tempdir().unwrap();
    run(place.path(), WALL, 1, 0);
    for (later, believed) in [(DAY_MS / 24, DAY_MS / 24), (400 * DAY_MS, DAY_MS)] {
        let (_, opened) = Database::open(place.path(), WALL + later, RETENTION).unwrap();
        assert_eq!(opened.absence, Some(Absence { written: WALL, believed }));
    }
}

#[test]
fn one_run_deletes_a_bounded_number_of_rows() {
    let mut connection = memory();
    let transaction = connection.transaction().unwrap();
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
               INSERT INTO steps SELECT i, i, 'a', '', 0 FROM n";
    transaction.execute(sql, [DELETED_AT_ONCE + 7]).unwrap();
    for left in [7, 0] {
        tidy(&transaction, 31 * DAY_MS, RETENTION).unwrap();
        let count: i64 = transaction.query_row("SELECT count(*) FROM steps", [], |row| row.get(0)).unwrap();
        assert_eq!(count, left);
    }
}
