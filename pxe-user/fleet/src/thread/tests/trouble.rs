//! Tests of a full disk, and of a database that is locked, damaged, read-only, or used by another process.
//! The fleet keeps showing machines, and the board says what is not stored.

use rusqlite::Connection;

use super::*;

#[test]
fn a_locked_database_is_said_and_caught_up_with() {
    let place = tempfile::tempdir().unwrap();
    let fleet = Running::at(place.path());
    fleet.told(1);
    fleet.until(|board| has(board, 1));
    let other = Connection::open(place.path().join("pxed.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    fleet.told(2);
    fleet.until_lost("another program has locked");
    assert!(fleet.knows(2), "it is shown from memory");
    fleet.told(3);
    fleet.until(|board| has(board, 3));
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    fleet.until(|board| board.lost.is_empty());
    fleet.stop();
    let fleet = Running::at(place.path());
    fleet.until(|board| [1, 2, 3].iter().all(|n| has(board, *n)));
    fleet.stop();
}

#[test]
fn a_damaged_database_is_set_aside() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("pxed.db"), [b'x'; 8192]).unwrap();
    let fleet = Running::at(place.path());
    fleet.until_lost("the database was damaged");
    fleet.told(1);
    fleet.until(|board| has(board, 1));
    fleet.stop();
    let names: Vec<_> = std::fs::read_dir(place.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let aside = names.iter().find(|name| name.starts_with("pxed.db.damaged-")).unwrap();
    assert_eq!(std::fs::read(place.path().join(aside)).unwrap(), [b'x'; 8192]);
    let fleet = Running::at(place.path());
    let board = fleet.until(|board| has(board, 1));
    assert_eq!(board.lost, []);
    fleet.stop();
}

/// The damage shows only when SQLite reads a page. Everything in memory goes into the new database.
#[test]
fn a_database_that_is_damaged_while_it_is_used_is_written_anew() {
    let place = tempfile::tempdir().unwrap();
    let fleet = Running::at(place.path());
    for n in 0..500 {
        fleet.told(n);
    }
    fleet.until(|board| board.machines.len() == 500);
    let path = place.path().join("pxed.db");
    let other = Connection::open(&path).unwrap();
    other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(other);
    let len = path.metadata().unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0xa5; usize::try_from(len).unwrap()], 0).unwrap();
    fleet.told(1000);
    fleet.until_lost("the database was damaged");
    fleet.until(|board| has(board, 1000));
    fleet.stop();
    let fleet = Running::at(place.path());
    fleet.until(|board| board.machines.len() == 501);
    fleet.stop();
}

#[test]
fn two_processes_never_write_one_database() {
    let place = tempfile::tempdir().unwrap();
    let first = Running::at(place.path());
    first.told(1);
    first.until(|board| has(board, 1));
    let second = Running::at(place.path());
    second.until_lost("another pxed uses");
    second.told(2);
    second.until(|board| has(board, 2));
    first.stop();
    // Now the lock is free. The second process loads what the first one stored, and adds what it has seen
    // itself.
    second.until(|board| board.lost.is_empty() && has(board, 1) && has(board, 2));
    second.stop();
}

#[test]
fn a_full_disk_is_said_and_caught_up_with() {
    const NAME: &str = "thread::tests::trouble::a_full_disk_is_said_and_caught_up_with";
    in_a_small_file_system(NAME, |state| {
        let fleet = Running::at(state);
        fleet.told(1);
        fleet.until(|board| has(board, 1) && board.lost.is_empty());
        let filler = state.join("filler");
        let mut file = std::fs::File::create(&filler).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        for n in 2..500 {
            fleet.told(n);
        }
        fleet.until_lost("is full: free some space");
        fleet.until(|board| board.machines.len() == 499);
        std::fs::remove_file(filler).unwrap();
        drop(file);
        fleet.until(|board| board.lost.is_empty());
        fleet.stop();
        let fleet = Running::at(state);
        fleet.until(|board| board.machines.len() == 499);
        fleet.stop();
    });
}

#[test]
fn a_read_only_file_system_is_said() {
    const NAME: &str = "thread::tests::trouble::a_read_only_file_system_is_said";
    in_a_small_file_system(NAME, |state| {
        let status = Command::new("mount").args(["-o", "remount,ro"]).arg(state).status().unwrap();
        assert!(status.success());
        let fleet = Running::at(state);
        fleet.until_lost("cannot be written");
        fleet.told(1);
        fleet.until(|board| has(board, 1));
        fleet.stop();
    });
}

/// Runs a part of a test in a mount namespace of its own, on a file system of 2 MB that ends with the
/// namespace.
fn in_a_small_file_system(test: &str, part: impl FnOnce(&Path)) {
    if let Ok(state) = std::env::var(PART) {
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs", &state]).status().unwrap();
        assert!(status.success());
        return part(Path::new(&state));
    }
    let place = tempfile::tempdir().unwrap();
    let output = itself(test, &["unshare", "--mount"], place.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "nothing is left");
}
