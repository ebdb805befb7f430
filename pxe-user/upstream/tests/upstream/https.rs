//! Images of a web server.

use std::fs;

use pxe_upstream::FetchError;
use pxe_upstream::follower::Outcome;
use pxe_upstream::schedule::RETRY_FIRST;

use crate::peer::{Answer, Peer};
use crate::support::{EVERY, Place, files, new, source};

/// The SHA-256 of `one`, `two` and `three`.
const ONE: &str = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
const TWO: &str = "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3";
const THREE: &str = "8b5b9db0c13db24256c829aa364aa90c6d2eba318b9232a4ab9313b954d3555f";

#[test]
fn a_pinned_image_is_fetched_once_and_served_without_its_source() {
    let peer = Peer::start();
    let mut place = Place::new(peer.authority());
    let pinned = || vec![source(&peer.url(), &[], &[("vmlinuz", ONE), ("a/initrd", TWO)])];
    peer.put("vmlinuz", Answer { etag: None, ..Answer::file("one") });
    peer.put("a/initrd", Answer::file("two"));
    let mut running = place.start(pinned());
    assert_eq!(running.turn(), new(2, 6));
    assert_eq!(running.served("installer"), files(&[("a/initrd", "two"), ("vmlinuz", "one")]));
    assert_eq!(peer.requests(), ["a/initrd 200", "vmlinuz 200"], "each once");
    drop(running);
    // The source is away at the next start, and no connection could be made: nothing is missing, so nothing is a problem.
    peer.answers().clear();
    place.settings.ca_file = Some("/nonexistent".into());
    let mut again = place.start(pinned());
    assert_eq!(again.served("installer").len(), 2);
    assert_eq!(again.turn(), Ok(Outcome::Same));
    assert_eq!(peer.requests(), [""; 0]);
}

#[test]
fn a_file_with_another_digest_is_not_served_and_the_version_before_is() {
    let peer = Peer::start();
    let place = Place::new(peer.authority());
    peer.put("vmlinuz", Answer::file("one"));
    peer.put("initrd", Answer::file("two"));
    let mut running = place.start(vec![source(&peer.url(), &[], &[("vmlinuz", ONE), ("initrd", TWO)])]);
    running.turn().unwrap();
    let before = running.served("installer");
    // The next version is pinned, and only one of its files is right.
    peer.put("vmlinuz", Answer::file("three"));
    peer.put("initrd", Answer::file("wrong"));
    let now = running.now;
    running.follower.replace(vec![source(&peer.url(), &[], &[("vmlinuz", THREE), ("initrd", ONE)])], now);
    // A pin names the file itself, so one that is in the cache is not fetched.
    assert_eq!(running.turn(), new(2, 8));
    assert_eq!(running.served("installer"), files(&[("initrd", "one"), ("vmlinuz", "three")]));
    let now = running.now;
    let wanted = "0".repeat(64);
    running.follower.replace(vec![source(&peer.url(), &[], &[("vmlinuz", ONE), ("initrd", &wanted)])], now);
    let error = running.turn().unwrap_err();
    assert!(matches!(&error, FetchError::Digest { pinned, .. } if pinned.to_string() == wanted), "{error}");
    assert!(error.to_string().contains("correct `sha256`"), "{error}");
    assert_ne!(running.served("installer"), before);
    assert_eq!(running.served("installer"), files(&[("initrd", "one"), ("vmlinuz", "three")]), "as a whole");
    assert_eq!(running.follower.pause(running.now), RETRY_FIRST);
}

#[test]
fn a_followed_image_changes_as_a_whole() {
    let peer = Peer::start();
    let place = Place::new(peer.authority());
    peer.put("vmlinuz", Answer::file("one"));
    peer.put("initrd", Answer::file("two"));
    let mut running = place.start(vec![source(&peer.url(), &["vmlinuz", "initrd"], &[])]);
    assert_eq!(running.turn(), new(2, 6));
    assert_eq!(peer.requests(), ["initrd 200", "vmlinuz 200", "initrd 304", "vmlinuz 304"]);
    assert_eq!(running.follower.pause(running.now), EVERY);
    assert_eq!(running.turn(), Ok(Outcome::Same));
    assert_eq!(peer.requests(), ["initrd 304", "vmlinuz 304"]);
    peer.put("initrd", Answer::file("three"));
    peer.put("vmlinuz", Answer { status: Some(500), ..Answer::default() });
    let error = running.turn().unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error}");
    assert_eq!(
        running.served("installer"),
        files(&[("initrd", "two"), ("vmlinuz", "one")]),
        "not half of it"
    );
    peer.put("vmlinuz", Answer::file("four"));
    assert_eq!(running.turn(), new(2, 9));
    assert_eq!(running.served("installer"), files(&[("initrd", "three"), ("vmlinuz", "four")]));
}

#[test]
fn a_file_without_an_etag_is_followed_by_its_time_and_one_without_both_is_refused() {
    let peer = Peer::start();
    let place = Place::new(peer.authority());
    let at = |text: &str, second: u8| Answer {
        etag: None,
        modified: Some(format!("Tue, 01 Dec 2026 10:00:{second:02} GMT")),
        ..Answer::file(text)
    };
    peer.put("vmlinuz", at("one", 0));
    let mut running = place.start(vec![source(&peer.url(), &["vmlinuz"], &[])]);
    assert_eq!(running.turn(), new(1, 3));
    assert_eq!(running.turn(), Ok(Outcome::Same));
    peer.put("vmlinuz", at("two", 1));
    assert_eq!(running.turn(), new(1, 3));
    assert_eq!(running.served("installer"), files(&[("vmlinuz", "two")]));
    peer.put("vmlinuz", Answer { etag: None, ..Answer::file("three") });
    let error = running.turn().unwrap_err();
    assert!(matches!(error, FetchError::NoValidator(_)), "{error}");
    assert_eq!(running.served("installer"), files(&[("vmlinuz", "two")]));
}

#[test]
fn a_truncated_file_is_not_served_and_is_fetched_again() {
    let peer = Peer::start();
    let place = Place::new(peer.authority());
    peer.put("vmlinuz", Answer { length: Some(10), ..Answer::file("one") });
    let mut running = place.start(vec![source(&peer.url(), &["vmlinuz"], &[])]);
    let error = running.turn().unwrap_err();
    assert!(matches!(error, FetchError::Truncated { got: 3, size: 10, .. }), "{error}");
    assert_eq!((running.served("installer"), place.sizes()), (files(&[]), vec![]), "nothing is left");
    peer.put("vmlinuz", Answer::file("one"));
    assert_eq!(running.turn(), new(1, 3));
}

#[test]
fn a_source_that_is_away_at_the_start_is_asked_until_it_answers() {
    let peer = Peer::start();
    let place = Place::new(peer.authority());
    let mut running = place.start(vec![source(&peer.url(), &["vmlinuz"], &[])]);
    let error = running.turn().unwrap_err();
    assert!(matches!(error, FetchError::NotFound(_)), "{error}");
    assert!(running.served("installer").is_empty());
    let refused = place.start(vec![source("https://127.0.0.1:1/", &["vmlinuz"], &[])]).turn().unwrap_err();
    assert!(refused.to_string().contains("Connection refused"), "{refused}");
    peer.put("vmlinuz", Answer::file("one"));
    assert_eq!(running.turn(), new(1, 3));
    assert_eq!(running.now, RETRY_FIRST);
}

#[test]
fn a_server_of_another_authority_gets_no_request() {
    let (peer, other) = (Peer::start(), Peer::start());
    peer.put("vmlinuz", Answer::file("one"));
    let place = Place::new(other.authority());
    let error = place.start(vec![source(&peer.url(), &["vmlinuz"], &[])]).turn().unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(peer.requests(), [""; 0]);
}

#[test]
fn the_cache_stays_below_its_bound_and_keeps_what_is_in_use() {
    let peer = Peer::start();
    let mut place = Place::new(peer.authority());
    place.max = 10;
    peer.put("vmlinuz", Answer::file("aaaa"));
    let mut running = place.start(vec![source(&peer.url(), &["vmlinuz"], &[])]);
    running.turn().unwrap();
    for text in ["bbbbb", "cccc", "ddddd"] {
        peer.put("vmlinuz", Answer::file(text));
        running.turn().unwrap();
        assert_eq!(running.served("installer"), files(&[("vmlinuz", text)]));
        assert!(place.sizes().iter().sum::<u64>() <= 10, "{:?}", place.sizes());
    }
    peer.put("vmlinuz", Answer::file("eeeeee"));
    let error = running.turn().unwrap_err();
    assert!(matches!(error, FetchError::CacheFull { in_use: 5, .. }), "{error}");
    peer.put("vmlinuz", Answer::file("eleven bytes"));
    let error = running.turn().unwrap_err();
    assert!(matches!(error, FetchError::TooLarge { size: 12, max: 10, .. }), "{error}");
    assert_eq!(running.served("installer"), files(&[("vmlinuz", "ddddd")]));
}

#[test]
fn a_cache_that_was_changed_on_disk_is_noticed() {
    let peer = Peer::start();
    let place = Place::new(peer.authority());
    peer.put("vmlinuz", Answer::file("one"));
    let sources = || vec![source(&peer.url(), &[], &[("vmlinuz", ONE)])];
    place.start(sources()).turn().unwrap();
    fs::write(place.cache().join(format!("pxed-blob-{ONE}")), "two").unwrap();
    fs::write(place.cache().join("pxed-partial-download"), "half a file").unwrap();
    let mut running = place.start(sources());
    assert_eq!(place.sizes(), [3], "what an earlier process began is gone");
    assert_eq!(running.follower.verify(), ["installer".into()]);
    assert!(running.served("installer").is_empty(), "not served until it is whole again");
    assert_eq!(running.turn(), new(1, 3));
    assert_eq!(running.served("installer"), files(&[("vmlinuz", "one")]));
}

#[test]
fn a_directory_that_takes_nothing_is_named_and_the_version_before_stays() {
    let peer = Peer::start();
    let place = Place::new(peer.authority());
    peer.put("vmlinuz", Answer::file("one"));
    let mut running = place.start(vec![source(&peer.url(), &["vmlinuz"], &[])]);
    running.turn().unwrap();
    // A directory in the file's place, because root may write anywhere.
    fs::create_dir(place.cache().join(format!("pxed-partial-{}", std::process::id()))).unwrap();
    peer.put("vmlinuz", Answer::file("two"));
    let error = running.turn().unwrap_err();
    assert!(matches!(error, FetchError::Disk { .. }), "{error}");
    assert!(error.to_string().contains("Free some space"), "{error}");
    assert_eq!(running.served("installer"), files(&[("vmlinuz", "one")]));
}

#[test]
fn a_server_that_no_image_named_at_the_start_is_not_asked() {
    let (peer, other) = (Peer::start(), Peer::start());
    let place = Place::new(peer.authority());
    let mut running = place.start(vec![source(&peer.url(), &["vmlinuz"], &[])]);
    running.follower.replace(vec![source(&other.url(), &["vmlinuz"], &[])], running.now);
    let error = running.turn().unwrap_err();
    assert!(matches!(error, FetchError::Outside(_)), "{error}");
    assert!(error.to_string().contains("restart pxed"), "{error}");
    assert_eq!(other.requests(), [""; 0]);
}
