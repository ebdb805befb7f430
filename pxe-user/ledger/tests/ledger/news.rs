//! What a responder reads of the others: at once after a notice, in pages, each row once.

use pxe_ledger::postgres::{Marks, Postgres, Woken};
use pxe_ledger::rows::{OtherRow, Page, Rows, Status, TotalsRow};

use crate::support::{
    Engine as _, Shared, batch, boot, connect, counted, database, epoch, machine, server, target,
};

/// Two responders of one database. The first one reads.
fn two() -> (Shared, Postgres, Marks) {
    let first = Shared::empty();
    let (second, _) = connect(&target(&server().url(&first.name)), "rack-2").unwrap();
    (first, second, Marks::default())
}

fn macs(page: &Page) -> Vec<&str> {
    page.machines.iter().map(|row| row.mac.as_str()).collect()
}

#[test]
fn a_batch_wakes_the_others_and_is_read_once() {
    let (mut first, mut second, mut marks) = two();
    assert!(first.ledger.news(&mut marks).unwrap().is_last);
    let rows = Rows {
        machines: vec![machine("a", 1)],
        boots: (1..=20).map(|n| boot("a", n.into(), n)).collect(),
        ..Rows::default()
    };
    second.write("other", &[batch(3, rows)]).unwrap();
    assert!(matches!(first.ledger.wait(std::future::pending::<()>()), Woken::Noticed));
    let page = first.ledger.news(&mut marks).unwrap();
    let (mac, responder) = ("a".to_owned(), "rack-2".to_owned());
    let latest = OtherRow { mac, responder, version: 3, json: "1".into(), boot: Some("20".into()) };
    assert_eq!(page.machines, [latest]);
    assert!(page.is_last);
    assert_eq!(first.ledger.news(&mut marks).unwrap().machines, []);
    // Its own notices do not wake a responder: only the time to renew the lease does.
    first.write(&batch(1, Rows { machines: vec![machine("b", 1)], ..Rows::default() }));
    assert!(matches!(first.ledger.wait(std::future::pending::<()>()), Woken::LeaseDue));
    assert_eq!(first.ledger.news(&mut marks).unwrap().machines, [], "its own machine");
    // The boot that both wrote is read once, as the machine's present responder wrote it.
    let both = |n| Rows { machines: vec![machine("b", n)], boots: vec![boot("b", 7, n)], ..Rows::default() };
    first.write(&batch(2, both(1)));
    second.write("other", &[batch(4, both(2))]).unwrap();
    let page = first.ledger.news(&mut marks).unwrap();
    assert_eq!((macs(&page), page.machines[0].boot.as_deref()), (vec!["b"], Some("2")));
    assert_eq!(first.ledger.history("b").unwrap().boots, ["2"]);
}

#[test]
fn many_rows_are_read_in_pages_and_an_older_copy_of_the_database_again() {
    let (mut first, mut second, mut marks) = two();
    let batches: Vec<_> = (1..=25)
        .map(|n| {
            let machines = (0..100).map(|m| machine(&format!("{n:02}-{m:02}"), n)).collect();
            batch(n.into(), Rows { machines, ..Rows::default() })
        })
        .collect();
    second.write("other", &batches).unwrap();
    let read = |first: &mut Shared, marks: &mut Marks| {
        let (mut all, mut pages) = (Vec::new(), 0);
        loop {
            let page = first.ledger.news(marks).unwrap();
            assert!(page.machines.len() <= 1100, "{} rows", page.machines.len());
            all.extend(macs(&page).into_iter().map(str::to_owned));
            pages += 1;
            if page.is_last {
                all.sort();
                return (all, pages);
            }
        }
    };
    let (all, pages) = read(&mut first, &mut marks);
    assert_eq!((all.len(), pages), (2500, 3));
    let listed = first.ledger.machines_after("", 1000).unwrap();
    assert_eq!(listed, all[..1000]);
    assert_eq!(first.ledger.machines_after(&all[2400], 1000).unwrap(), all[2401..]);
    // A backup from before is put in place.
    server().sql(&first.name, "UPDATE pxed.responders SET sequence = 24 WHERE name = 'rack-2'").unwrap();
    assert_eq!(read(&mut first, &mut marks).0.len(), 2400);
}

#[test]
fn counts_are_sums_over_all_responders_of_the_greatest_epoch() {
    let (mut first, mut second, mut marks) = two();
    let boots = |names: &[&str], at| Rows {
        counted: names.iter().map(|name| counted("a", name, at)).collect(),
        ..Rows::default()
    };
    first.write(&batch(1, boots(&["n1"], 0)));
    second.write("other", &[batch(1, boots(&["n2", "n3"], 0))]).unwrap();
    let mut totals = || {
        let mut all = Vec::new();
        loop {
            let page = first.ledger.news(&mut marks).unwrap();
            all.extend(page.totals);
            if page.is_last {
                return all;
            }
        }
    };
    let total = |epoch, count: u64| TotalsRow {
        mac: "a".into(),
        epoch,
        counts: (count > 0).then(|| ("lab".to_owned(), count)).into_iter().collect(),
    };
    assert_eq!(totals(), [total(0, 3)]);
    assert_eq!(totals(), []);
    second.write("other", &[batch(2, Rows { epochs: vec![epoch("a", 9)], ..Rows::default() })]).unwrap();
    assert_eq!(totals(), [total(9, 0)]);
    second.write("other", &[batch(3, boots(&["n4"], 9))]).unwrap();
    assert_eq!(totals(), [total(9, 1)]);
    second.write("other", &[batch(4, Rows { epochs: vec![epoch("a", 5)], ..Rows::default() })]).unwrap();
    assert_eq!(totals(), [], "a lower epoch is no news");
}

#[test]
fn each_responder_says_what_it_is_until_it_ends() {
    let (mut first, mut second, mut marks) = two();
    let name = first.name.clone();
    let status =
        Status { pxed: "1.2".into(), segment: Some("lab".into()), rules: Some("0f".into()), waiting: 7 };
    second.renew(&status).unwrap();
    let mut row = || first.ledger.news(&mut marks).unwrap().responders.remove(1);
    let seen = row();
    assert_eq!((seen.name.as_str(), seen.is_alive, &seen.status), ("rack-2", true, &status));
    assert!(seen.renewed_ago.is_some_and(|ago| ago < 9000));
    let sql = "UPDATE pxed.responders SET leased = now() - interval '1 hour' WHERE name = 'rack-2'";
    server().sql(&name, sql).unwrap();
    assert!(matches!(row(), seen if !seen.is_alive && seen.renewed_ago.is_some_and(|ago| ago >= 3_600_000)));
    second.release().unwrap();
    assert!(matches!(row(), seen if !seen.is_alive && seen.renewed_ago.is_none()));
}

#[test]
fn the_first_schema_is_migrated_with_its_rows() {
    let name = database(server());
    let target = target(&server().url(&name));
    let (mut ledger, _) = connect(&target, "rack-1").unwrap();
    let rows = Rows { machines: vec![machine("a", 1)], epochs: vec![epoch("a", 4)], ..Rows::default() };
    ledger.write("spool", &[batch(1, rows)]).unwrap();
    drop(ledger);
    let before = "ALTER TABLE pxed.responders DROP COLUMN pxed, DROP COLUMN segment, DROP COLUMN rules, DROP COLUMN waiting; \
                  ALTER TABLE pxed.epochs DROP COLUMN responder, DROP COLUMN sequence; DROP TABLE pxed.members; \
                  UPDATE pxed.version SET version = 1";
    server().sql(&name, before).unwrap();
    let (mut ledger, known) = connect(&target, "rack-1").unwrap();
    assert_eq!(known.sequence, 1);
    let rows = Rows { epochs: vec![epoch("a", 5)], ..Rows::default() };
    ledger.write("spool", &[batch(2, rows)]).unwrap();
    let (mut other, _) = connect(&target, "rack-2").unwrap();
    let page = other.news(&mut Marks::default()).unwrap();
    assert_eq!((macs(&page), page.totals[0].epoch), (vec!["a"], 5));
    assert!(matches!(other.wait(std::future::ready(7)), Woken::By(7)));
}
