use std::os::unix::fs::PermissionsExt as _;

use super::*;

const ALICE: Mac = Mac([2, 0, 0, 0, 0, 1]);
const BOB: Mac = Mac([2, 0, 0, 0, 0, 2]);
const QUOTA: Quota = Quota { file: 200_000, machine: 300_000, total: 500_000 };

fn inbox() -> (tempfile::TempDir, Arc<Inbox>) {
    let directory = tempfile::tempdir().unwrap();
    let inbox = Inbox::open(&directory.path().join("inbox"), QUOTA).unwrap();
    (directory, inbox)
}

fn put(inbox: &Arc<Inbox>, mac: Mac, name: &str, size: usize) -> Result<u64, InboxError> {
    let mut upload = inbox.begin(mac, name, None)?;
    for chunk in vec![7; size].chunks(1000) {
        upload.write(chunk)?;
    }
    upload.finish()
}

fn files(inbox: &Inbox) -> Vec<String> {
    let mut names = Vec::new();
    let mut open = vec![inbox.directory.clone()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                names.push(path.strip_prefix(&inbox.directory).unwrap().display().to_string());
            }
        }
    }
    names.sort();
    names
}

#[test]
fn what_is_complete_is_there_and_private_and_stays_as_it_is() {
    let (_directory, inbox) = inbox();
    assert_eq!(put(&inbox, ALICE, "dmesg.txt", 2500).unwrap(), 2500);
    assert_eq!(files(&inbox), ["02:00:00:00:00:01/dmesg.txt"]);
    let path = inbox.directory.join("02:00:00:00:00:01/dmesg.txt");
    assert_eq!(fs::read(&path).unwrap(), vec![7; 2500]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&path), mode(path.parent().unwrap()), mode(&inbox.directory)), (0o600, 0o700, 0o700));
    assert!(matches!(put(&inbox, ALICE, "dmesg.txt", 1), Err(InboxError::Exists)));
    assert_eq!(fs::read(&path).unwrap().len(), 2500);
    put(&inbox, BOB, "dmesg.txt", 1).unwrap();
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let (_directory, inbox) = inbox();
    let long = "x".repeat(101);
    for name in ["", ".", "..", "../x", "a/b", ".hidden", "a b", "a\0b", "ä", "a\n", "a\\b", &long] {
        assert!(matches!(inbox.begin(ALICE, name, None), Err(InboxError::Name)), "{name:?}");
    }
    assert!(files(&inbox).is_empty());
}

#[test]
fn what_is_broken_off_leaves_nothing_and_gives_its_place_back() {
    let (_directory, inbox) = inbox();
    for _ in 0..100 {
        let mut upload = inbox.begin(ALICE, "a", Some(150_000)).unwrap();
        upload.write(&[1; 150_000]).unwrap();
    }
    assert!(files(&inbox).is_empty());
    assert_eq!(inbox.used().all(), 0);
    let first = inbox.begin(ALICE, "a", None).unwrap();
    assert!(matches!(inbox.begin(ALICE, "a", None), Err(InboxError::Exists)), "one at a time");
    drop(first);
    put(&inbox, ALICE, "a", 1).unwrap();
}

#[test]
fn a_killed_process_leaves_nothing_that_stays() {
    let (_directory, inbox) = inbox();
    let mut upload = inbox.begin(ALICE, "a", None).unwrap();
    upload.write(&[1; 1000]).unwrap();
    std::mem::forget(upload);
    assert_eq!(files(&inbox), [".upload-1"]);
    let again = Inbox::open(&inbox.directory, QUOTA).unwrap();
    assert!(files(&again).is_empty());
}

#[test]
fn each_bound_holds() {
    let (_directory, inbox) = inbox();
    assert!(matches!(put(&inbox, ALICE, "a", 200_001), Err(InboxError::TooLarge(200_000))));
    assert!(matches!(inbox.begin(ALICE, "a", Some(200_001)), Err(InboxError::TooLarge(_))));
    put(&inbox, ALICE, "a", 200_000).unwrap();
    assert!(matches!(put(&inbox, ALICE, "b", 150_000), Err(InboxError::Full(true))));
    put(&inbox, ALICE, "b", 0).unwrap();
    assert!(matches!(put(&inbox, ALICE, "c", 0), Err(InboxError::Full(true))), "an empty file counts, too");
    put(&inbox, BOB, "a", 200_000).unwrap();
    assert!(matches!(put(&inbox, BOB, "b", 0), Err(InboxError::Full(false))));
    assert_eq!(files(&inbox).len(), 3);
    // The result is the same after a restart. There is room again after an administrator removes a file.
    let again = Inbox::open(&inbox.directory, QUOTA).unwrap();
    assert!(matches!(put(&again, BOB, "b", 0), Err(InboxError::Full(false))));
    fs::remove_file(again.directory.join("02:00:00:00:00:01/a")).unwrap();
    put(&again, BOB, "b", 0).unwrap();
}

#[test]
fn uploads_at_a_time_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let quota = Quota { file: 1, machine: u64::MAX, total: u64::MAX };
    let inbox = Inbox::open(directory.path(), quota).unwrap();
    let begin = |index: usize| {
        let machine = u8::try_from(index / UPLOADS_OF_ONE_MAX).unwrap();
        inbox.begin(Mac([2, 0, 0, 0, 0, machine]), &index.to_string(), None)
    };
    let held: Vec<_> = (0..UPLOADS_MAX).map(|index| begin(index).unwrap()).collect();
    assert!(matches!(begin(UPLOADS_MAX), Err(InboxError::Busy)));
    drop(held);
    begin(UPLOADS_MAX).unwrap();
}

/// A machine with four addresses and eight connections for each could otherwise use all uploads.
#[test]
fn one_machine_cannot_hold_all_places() {
    let directory = tempfile::tempdir().unwrap();
    let quota = Quota { file: 1, machine: u64::MAX, total: u64::MAX };
    let inbox = Inbox::open(directory.path(), quota).unwrap();
    let begin = |mac, index: usize| inbox.begin(mac, &index.to_string(), None);
    let mut held: Vec<_> = (0..UPLOADS_OF_ONE_MAX).map(|index| begin(ALICE, index).unwrap()).collect();
    assert!(matches!(begin(ALICE, UPLOADS_OF_ONE_MAX), Err(InboxError::MachineBusy)));
    begin(BOB, 0).unwrap();
    held.pop();
    begin(ALICE, UPLOADS_OF_ONE_MAX).unwrap();
}
