//! Tests of files that change, and of the limit of memory.

use std::thread;

use super::*;

/// Old transfers end with the old bytes, new ones start with the new bytes
/// (docs/decisions/0015-snapshots.md).
#[test]
fn a_held_image_keeps_its_bytes_whatever_happens_to_the_file() {
    let place = Place::new(&[("srv/pxelinux.0", "first")]);
    let catalogue = place.open();
    let first = catalogue.load(&name("pxelinux.0")).unwrap();

    place.write("srv/pxelinux.0", "other");
    assert_eq!(catalogue.ready("pxelinux.0").as_deref(), Some("first"), "until inotify was asked");
    assert_eq!(catalogue.updated(), [name("pxelinux.0")]);
    assert_eq!(catalogue.ready("pxelinux.0").as_deref(), Some("other"));

    let file = fs::OpenOptions::new().write(true).open(place.path("srv/pxelinux.0")).unwrap();
    file.set_len(0).unwrap();
    drop(file);
    assert_eq!(catalogue.updated(), [name("pxelinux.0")]);
    assert_eq!(catalogue.ready("pxelinux.0").as_deref(), Some(""));

    place.write("srv/new", "renamed over");
    fs::rename(place.path("srv/new"), place.path("srv/pxelinux.0")).unwrap();
    assert_eq!(catalogue.updated(), [name("pxelinux.0")]);
    assert_eq!(catalogue.ready("pxelinux.0").as_deref(), Some("renamed over"));

    fs::remove_file(place.path("srv/pxelinux.0")).unwrap();
    assert_eq!(catalogue.changed().removed, [(name("pxelinux.0"), Refusal::NotFound)]);
    assert_eq!(catalogue.ready("pxelinux.0"), None);
    assert_eq!(catalogue.read("pxelinux.0"), Err(Refusal::NotFound));

    place.write("srv/pxelinux.0", "again");
    assert_eq!(catalogue.read("pxelinux.0").as_deref(), Ok("again"), "no memory of its absence");
    assert_eq!(text(&first), "first");
}

/// Two versions of the same size, within one tick of the file system's clock, have the same stat.
#[test]
fn a_change_that_stat_does_not_show_is_noticed() {
    let place = Place::new(&[("srv/pxelinux.0", "0000")]);
    let catalogue = place.open();
    for i in 1..200 {
        let version = format!("{i:04}");
        catalogue.read("pxelinux.0").unwrap();
        place.write("srv/pxelinux.0", &version);
        assert_eq!(catalogue.updated(), [name("pxelinux.0")]);
        assert_eq!(catalogue.ready("pxelinux.0"), Some(version));
    }
}

#[test]
fn a_link_that_is_turned_and_a_target_that_changes_are_noticed() {
    let place = Place::new(&[("v1/kernel", "one"), ("v2/kernel", "two"), ("srv/pxelinux.0", "")]);
    symlink(place.path("v1"), place.path("current")).unwrap();
    symlink("../current/kernel", place.path("srv/kernel")).unwrap();
    let catalogue = place.open();
    assert_eq!(catalogue.read("kernel").as_deref(), Ok("one"));

    place.write("v1/kernel", "one and a half");
    assert_eq!(catalogue.updated(), [name("kernel")]);
    assert_eq!(catalogue.ready("kernel").as_deref(), Some("one and a half"));

    symlink(place.path("v2"), place.path("next")).unwrap();
    fs::rename(place.path("next"), place.path("current")).unwrap();
    assert_eq!(catalogue.updated(), [name("kernel")]);
    assert_eq!(catalogue.ready("kernel").as_deref(), Some("two"));

    place.write("v1/kernel", "nobody's any more");
    assert_eq!(catalogue.updated(), []);
    fs::rename(place.path("v2"), place.path("gone")).unwrap();
    assert_eq!(catalogue.changed().removed, [(name("kernel"), Refusal::LinkDangles)]);
}

#[test]
fn other_files_in_a_watched_directory_are_not_read_again() {
    let place = Place::new(&[("srv/pxelinux.0", "loader")]);
    let catalogue = place.open();
    let image = catalogue.load(&name("pxelinux.0")).unwrap();
    place.write("srv/log", "busy");
    fs::remove_file(place.path("srv/log")).unwrap();
    assert_eq!(catalogue.updated(), []);
    assert!(Arc::ptr_eq(&image, &catalogue.load(&name("pxelinux.0")).unwrap()));
}

#[test]
fn a_change_without_an_event_is_noticed_by_looking_again() {
    let place = Place::new(&[("srv/pxelinux.0", "loader"), ("srv/x", "x")]);
    let mut catalogue = place.open();
    catalogue.watcher = None;
    catalogue.read("pxelinux.0").unwrap();
    catalogue.read("x").unwrap();
    assert_eq!(catalogue.recheck(), Changes::default());
    place.write("srv/pxelinux.0", "longer than before");
    fs::remove_file(place.path("srv/x")).unwrap();
    assert_eq!(catalogue.changed(), Changes::default());
    let changes = catalogue.recheck();
    assert_eq!(changes.removed, [(name("x"), Refusal::NotFound)]);
    assert_eq!(changes.updated, [], "it may be half written");
    place.write("srv/pxelinux.0", "longer than before and still growing");
    assert_eq!(catalogue.recheck(), Changes::default());
    assert_eq!(catalogue.ready("pxelinux.0").as_deref(), Some("loader"));
    assert_eq!(catalogue.recheck().updated, [name("pxelinux.0")]);
    assert_eq!(catalogue.recheck(), Changes::default());
    place.write("srv/pxelinux.0", "different again");
    assert_eq!(catalogue.read("pxelinux.0").as_deref(), Ok("different again"), "loading looks, too");
}

#[test]
fn the_descriptor_is_readable_when_something_changed() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let place = Place::new(&[("srv/pxelinux.0", "loader")]);
    let catalogue = place.open();
    catalogue.read("pxelinux.0").unwrap();
    let readable = || {
        let fd = catalogue.fd().unwrap();
        poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&Timespec::default())).unwrap() == 1
    };
    assert!(!readable());
    place.write("srv/pxelinux.0", "new");
    assert!(readable());
    catalogue.changed();
    assert!(!readable());
}

#[test]
fn a_file_that_changes_while_it_is_copied_is_refused() {
    let place = Place::new(&[("file", "before")]);
    let memory = Memory::new(1 << 20);
    let file = fs::File::open(place.path("file")).unwrap();
    for change in ["before and longer", "b"] {
        let before = rustix::fs::fstat(&file).unwrap();
        place.write("file", change);
        let copy = Image::copy(name("file"), &file, &before, place.path("file"), Role::Other, &memory);
        assert_eq!(copy.map(drop), Err(Refusal::Changing), "{change}");
    }
    // Here the size is the same: only the times differ.
    let file = fs::File::open(place.path("file")).unwrap();
    let before = rustix::fs::fstat(&file).unwrap();
    place.write("file", "c");
    let times = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    fs::File::options().write(true).open(place.path("file")).unwrap().set_times(times).unwrap();
    let copy = Image::copy(name("file"), &file, &before, place.path("file"), Role::Other, &memory);
    assert_eq!(copy.map(drop), Err(Refusal::Changing));
    assert_eq!(memory.used(), 0);
}

/// Files of /proc have contents, but stat shows a size of 0.
#[test]
fn a_file_whose_size_is_not_what_stat_says_is_refused() {
    let place = Place::new(&[("srv/pxelinux.0", "")]);
    symlink("/proc/version", place.path("srv/version")).unwrap();
    assert_eq!(place.open().read("version"), Err(Refusal::Changing));
}

/// `srv` is the last directory on the path of one file, and the first on the path of the other.
#[test]
fn a_directory_is_watched_for_all_files_that_it_leads_to() {
    let place = Place::new(&[("srv/pxelinux.0", "loader"), ("srv/boot/kernel", "kernel")]);
    let catalogue = place.open();
    catalogue.read("pxelinux.0").unwrap();
    catalogue.read("boot/kernel").unwrap();
    place.write("srv/pxelinux.0", "new");
    assert_eq!(catalogue.updated(), [name("pxelinux.0")]);
    place.write("srv/boot/kernel", "new");
    assert_eq!(catalogue.updated(), [name("boot/kernel")]);
}

#[test]
fn what_leads_to_no_file_any_more_is_not_watched() {
    use std::os::fd::AsRawFd as _;
    let place = Place::new(&[("srv/pxelinux.0", "loader"), ("srv/boot/kernel", "kernel")]);
    let catalogue = place.open();
    let info = format!("/proc/self/fdinfo/{}", catalogue.fd().unwrap().as_raw_fd());
    let watches = || fs::read_to_string(&info).unwrap().matches("inotify wd:").count();
    catalogue.read("pxelinux.0").unwrap();
    catalogue.read("boot/kernel").unwrap();
    assert_eq!(watches(), 2);
    fs::remove_file(place.path("srv/boot/kernel")).unwrap();
    catalogue.changed();
    assert_eq!(watches(), 1);
}

#[test]
fn memory_is_bounded_and_what_nobody_uses_makes_room() {
    let sixty = "x".repeat(60);
    let files =
        [("srv/pxelinux.0", ""), ("srv/a", &sixty), ("srv/b", &sixty), ("srv/c", "12345678901234567890")];
    let place = Place::new(&files);
    place.write("srv/large", &"x".repeat(101));
    let catalogue = Catalogue::open(Config { memory: Some(100), ..place.tree() }).unwrap();
    assert_eq!(catalogue.read("large"), Err(Refusal::TooLarge));
    let a = catalogue.load(&name("a")).unwrap();
    assert_eq!(catalogue.read("b"), Err(Refusal::OutOfMemory), "a is being sent");
    catalogue.read("c").unwrap();
    drop(a);
    assert!(catalogue.ready("a").is_some(), "a is used later than c");
    assert_eq!(catalogue.read("b"), Ok(sixty));
    // To remove c alone would not free enough, so both were removed.
    assert_eq!((catalogue.ready("a"), catalogue.ready("c")), (None, None));
    catalogue.read("c").unwrap();
    assert_eq!(catalogue.store.memory().used(), 80);
    place.write("srv/d", &"x".repeat(25));
    assert!(catalogue.ready("b").is_some());
    catalogue.read("d").unwrap();
    assert!(
        catalogue.ready("b").is_some() && catalogue.ready("c").is_none(),
        "the least recently used one went"
    );
}

#[test]
fn a_new_version_may_take_the_old_ones_room() {
    let place = Place::new(&[("srv/pxelinux.0", &"1".repeat(60))]);
    let catalogue = Catalogue::open(Config { memory: Some(100), ..place.tree() }).unwrap();
    let first = catalogue.load(&name("pxelinux.0")).unwrap();
    place.write("srv/pxelinux.0", &"2".repeat(60));
    assert_eq!(
        catalogue.changed().removed,
        [(name("pxelinux.0"), Refusal::OutOfMemory)],
        "the old one is in use"
    );
    assert_eq!(catalogue.read("pxelinux.0"), Err(Refusal::OutOfMemory));
    drop(first);
    assert_eq!(catalogue.read("pxelinux.0"), Ok("2".repeat(60)));
    for version in ["3", "4"] {
        place.write("srv/pxelinux.0", &version.repeat(60));
        assert_eq!(catalogue.updated(), [name("pxelinux.0")]);
        assert_eq!(catalogue.ready("pxelinux.0"), Some(version.repeat(60)));
    }
}

/// Readers run at the same time as the loader. A reader sees one version or the other, never a mix.
#[test]
fn versions_are_never_mixed() {
    let place = Place::new(&[("srv/pxelinux.0", &"0".repeat(100_000))]);
    let catalogue = place.open();
    let file = name("pxelinux.0");
    catalogue.load(&file).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let Lookup::Ready(image) = catalogue.lookup(&file) else { panic!("disappeared") };
                assert_eq!(image.len(), 100_000);
                assert!(image.bytes().iter().all(|byte| *byte == image.bytes()[0]));
            }
        });
        let versions = "123456789".repeat(5);
        let noticed = versions.chars().filter(|digit| {
            place.write("srv/new", &String::from(*digit).repeat(100_000));
            fs::rename(place.path("srv/new"), place.path("srv/pxelinux.0")).unwrap();
            catalogue.changed().updated == [file]
        });
        let noticed = noticed.count();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(noticed, versions.len());
    });
}

/// The writer begins again before the loader has looked at what it closed, and pauses. The file's times and
/// size do not change during the copy, but half a file is no version.
#[test]
fn half_a_file_is_not_served_when_its_writer_begins_again_at_once() {
    use std::io::Write as _;
    let place = Place::new(&[("srv/pxelinux.0", ""), ("srv/kernel", "old old!")]);
    let catalogue = place.open();
    catalogue.read("kernel").unwrap();
    for round in 0..3 {
        place.write("srv/kernel", "new new!");
        let mut writer = fs::File::create(place.path("srv/kernel")).unwrap();
        writer.write_all(b"half").unwrap();
        catalogue.changed();
        let ready = catalogue.ready("kernel");
        assert!(matches!(ready.as_deref(), Some("old old!" | "whole now")), "{round}: {ready:?}");
        writer.write_all(b" a file").unwrap();
        catalogue.changed();
        assert_eq!(catalogue.ready("kernel"), ready, "{round}: the writer has not closed it");
        drop(writer);
        place.write("srv/kernel", "whole now");
        catalogue.changed();
        assert_eq!(catalogue.ready("kernel").as_deref(), Some("whole now"), "{round}");
    }
}

/// Nobody watched the file before the first request, so its first copy may be half a file. What the writer adds
/// must not keep it from being loaded again.
#[test]
fn a_file_that_was_being_written_when_it_was_first_asked_for_is_whole_once_it_is_closed() {
    use std::io::Write as _;
    let place = Place::new(&[("srv/pxelinux.0", "")]);
    let catalogue = place.open();
    let mut writer = fs::File::create(place.path("srv/kernel")).unwrap();
    writer.write_all(b"whole").unwrap();
    assert_eq!(catalogue.read("kernel").as_deref(), Ok("whole"));
    writer.write_all(b" now").unwrap();
    assert!(!catalogue.changed().entries, "only a write");
    assert_eq!(catalogue.read("kernel").as_deref(), Ok("whole"), "the last version stays");
    drop(writer);
    assert_eq!(catalogue.updated(), [name("kernel")]);
    assert_eq!(catalogue.ready("kernel").as_deref(), Some("whole now"));
}

/// The writer is not remembered longer than the file, because nothing would report its end.
#[test]
fn a_written_file_that_was_dropped_to_make_room_is_loaded_again_on_request() {
    use std::io::Write as _;
    let sixty = "x".repeat(60);
    let place = Place::new(&[("srv/pxelinux.0", ""), ("srv/a", &sixty), ("srv/b", &sixty)]);
    let catalogue = Catalogue::open(Config { memory: Some(100), ..place.tree() }).unwrap();
    catalogue.read("a").unwrap();
    let mut writer = fs::OpenOptions::new().append(true).open(place.path("srv/a")).unwrap();
    writer.write_all(b"y").unwrap();
    catalogue.changed();
    catalogue.read("b").unwrap();
    assert_eq!(catalogue.ready("a"), None, "b took its room");
    drop(writer);
    catalogue.changed();
    assert_eq!(catalogue.read("a"), Ok(format!("{sixty}y")));
    place.write("srv/a", "again");
    assert_eq!(catalogue.updated(), [name("a")]);
}

/// A change of the mode or of the times is no end of the writing.
#[test]
fn a_written_file_is_not_complete_because_its_attributes_change() {
    use std::io::Write as _;
    let place = Place::new(&[("srv/pxelinux.0", ""), ("srv/kernel", "old")]);
    let catalogue = place.open();
    catalogue.read("kernel").unwrap();
    let mut writer = fs::File::create(place.path("srv/kernel")).unwrap();
    writer.write_all(b"half").unwrap();
    writer.set_modified(std::time::UNIX_EPOCH).unwrap();
    catalogue.changed();
    assert_eq!(catalogue.ready("kernel").as_deref(), Some("old"));
    drop(writer);
    assert_eq!(catalogue.updated(), [name("kernel")]);
    assert_eq!(catalogue.ready("kernel").as_deref(), Some("half"));
}

/// The old file lives on, because its writer has it open, but the name leads to the new one.
#[test]
fn a_file_that_replaces_a_written_one_is_served_at_once() {
    use std::io::Write as _;
    let place = Place::new(&[("srv/pxelinux.0", ""), ("srv/kernel", "old")]);
    let catalogue = place.open();
    catalogue.read("kernel").unwrap();
    let mut writer = fs::File::create(place.path("srv/kernel")).unwrap();
    writer.write_all(b"never ends").unwrap();
    catalogue.changed();
    assert_eq!(catalogue.ready("kernel").as_deref(), Some("old"));
    place.write("srv/next", "new");
    fs::rename(place.path("srv/next"), place.path("srv/kernel")).unwrap();
    writer.write_all(b", still").unwrap();
    assert_eq!(catalogue.updated(), [name("kernel")]);
    assert_eq!(catalogue.ready("kernel").as_deref(), Some("new"));
    writer.write_all(b", still").unwrap();
    catalogue.changed();
    place.write("srv/kernel", "newer");
    assert_eq!(catalogue.updated(), [name("kernel")]);
    assert_eq!(catalogue.ready("kernel").as_deref(), Some("newer"));
}

/// A directory above the file is replaced while the file is written.
#[test]
fn a_file_in_a_replaced_directory_is_served_whoever_writes_the_old_one() {
    use std::io::Write as _;
    let place = Place::new(&[("srv/pxelinux.0", ""), ("v1/kernel", "one"), ("v2/kernel", "two")]);
    symlink(place.path("v1"), place.path("srv/current")).unwrap();
    let catalogue = place.open();
    catalogue.read("current/kernel").unwrap();
    let mut writer = fs::File::create(place.path("v1/kernel")).unwrap();
    writer.write_all(b"never ends").unwrap();
    catalogue.changed();
    symlink(place.path("v2"), place.path("next")).unwrap();
    fs::rename(place.path("next"), place.path("srv/current")).unwrap();
    writer.write_all(b", still").unwrap();
    assert_eq!(catalogue.updated(), [name("current/kernel")]);
    assert_eq!(catalogue.ready("current/kernel").as_deref(), Some("two"));
}
