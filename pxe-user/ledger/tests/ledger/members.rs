//! The rows of responders that share a segment.

use std::future::pending;
use std::time::Duration;

use pxe_kit::clock::now;
use pxe_ledger::postgres::{LEASE, MemberLease, MemberRow, Members, members, probe};

use super::support::{connect, database, server, target};

fn lease(responder: &str, segment: &str, weight: u32) -> MemberLease {
    MemberLease {
        responder: responder.into(),
        segment: segment.into(),
        weight,
        host: format!("host-{responder}"),
    }
}

fn names(rows: &[MemberRow]) -> Vec<(&str, u32)> {
    rows.iter().map(|row| (&*row.responder, row.weight)).collect()
}

#[test]
fn responders_of_one_segment_read_one_another() {
    let name = database(server());
    let target = target(&server().url(&name));
    assert_eq!(members(&target, "lab").unwrap(), [], "there are no tables yet, and none is made");
    assert_eq!(probe(&target, || Duration::ZERO).unwrap().schema, 0);
    let mut a = Members::connect(&target).unwrap();
    let mut b = Members::connect(&target).unwrap();
    assert_eq!(names(&a.renew(&lease("a", "lab", 2)).unwrap()), [("a", 2)]);
    let rows = b.renew(&lease("b", "lab", 1)).unwrap();
    assert_eq!(names(&rows), [("a", 2), ("b", 1)]);
    assert_eq!(rows[1].host, "host-b");
    assert!(rows.iter().all(|row| !row.has_left && row.lease > LEASE - Duration::from_secs(5)), "{rows:?}");
    assert!(rows[1].alive <= rows[0].alive && rows[1].known == rows[1].alive, "{rows:?}");
    // Another segment, with the history of the same responders beside it.
    connect(&target, "a").unwrap();
    let mut c = Members::connect(&target).unwrap();
    assert_eq!(names(&c.renew(&lease("c", "other", 1)).unwrap()), [("c", 1)]);
    assert_eq!(names(&a.renew(&lease("a", "lab", 3)).unwrap()), [("a", 3), ("b", 1)]);
    assert_eq!(names(&members(&target, "lab").unwrap()), [("a", 3), ("b", 1)]);
}

#[test]
fn a_lease_ends_by_itself_and_a_responder_that_comes_back_begins_anew() {
    let name = database(server());
    let target = target(&server().url(&name));
    let mut a = Members::connect(&target).unwrap();
    let mut renew = |change: &str| {
        if !change.is_empty() {
            server().sql(&name, &format!("UPDATE pxed.members SET {change}")).unwrap();
        }
        let seen = a.read("lab").unwrap().first().cloned();
        (seen, a.renew(&lease("a", "lab", 1)).unwrap().remove(0))
    };
    renew("");
    let day_before = "known = now() - interval '1 day', since = now() - interval '1 day'";
    let (_, row) = renew(day_before);
    assert!(row.alive > Duration::from_secs(80_000), "renewed in time: {row:?}");
    let (seen, row) = renew("renewed = now() - interval '10 s'");
    assert_eq!(seen.unwrap().lease, Duration::ZERO);
    assert!(row.alive < Duration::from_secs(5) && row.known > Duration::from_secs(80_000), "{row:?}");
    // The server's clock was set back: what was written before is in the future, and counts as ended.
    let (seen, row) = renew("renewed = now() + interval '1 hour', since = now() + interval '1 hour'");
    assert_eq!(seen.unwrap().lease, Duration::ZERO);
    assert!(row.lease > Duration::ZERO && row.alive < Duration::from_secs(5), "{row:?}");
    let (seen, _) = renew("renewed = now() - interval '2 days'");
    assert_eq!(seen, None, "forgotten after a day");
}

#[test]
fn one_that_leaves_is_seen_at_once() {
    let name = database(server());
    let target = target(&server().url(&name));
    let mut a = Members::connect(&target).unwrap();
    let mut b = Members::connect(&target).unwrap();
    a.renew(&lease("a", "lab", 1)).unwrap();
    b.renew(&lease("b", "lab", 1)).unwrap();
    let long = Duration::from_secs(30);
    let begin = now();
    b.leave("b").unwrap();
    b.notify().unwrap();
    assert_eq!(a.wait(long, pending::<()>()).unwrap(), None, "a notification");
    assert!(begin.elapsed() < long);
    let rows = a.renew(&lease("a", "lab", 1)).unwrap();
    assert!(!rows[0].has_left && rows[1].has_left, "{rows:?}");
    // What was in the read is no news.
    assert_eq!(a.wait(Duration::from_millis(50), pending::<()>()).unwrap(), None);
    assert_eq!(a.wait(long, async { 7 }).unwrap(), Some(7));
    let rows = b.renew(&lease("b", "lab", 1)).unwrap();
    assert!(!rows[1].has_left && rows[1].alive < Duration::from_secs(5), "it has come back: {rows:?}");
    b.notify().unwrap();
    assert_eq!(a.wait(long, pending::<()>()).unwrap(), None);
    assert!(begin.elapsed() < long);
}

#[test]
fn a_connection_that_ends_is_an_error() {
    let name = database(server());
    let mut a = Members::connect(&target(&server().url(&name))).unwrap();
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    server().sql(&name, end).unwrap();
    let mut waited = Ok(None);
    for _ in 0..100 {
        waited = a.wait(Duration::from_millis(100), pending::<()>());
        if waited.is_err() {
            break;
        }
    }
    assert!(waited.unwrap_err().to_string().contains("connection ended"));
    assert!(a.renew(&lease("a", "lab", 1)).is_err());
}
