//! Who is there, by tables of sightings, and by a model of the ledger with several responders in virtual time.

use proptest::prelude::*;
use pxe_common::segment::BUCKETS;

use super::*;

const LEASE: Duration = Duration::from_secs(9);
const RENEW_EVERY: Duration = Duration::from_secs(3);
const NAMES: [&str; 3] = ["a", "b", "c"];

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::default() + s(seconds)
}

/// A responder that has been alive for a time, and has been known for ever.
fn alive(name: &str, seconds: u64) -> Sighting {
    let member = Member { name: name.into(), weight: 1 };
    Sighting { member, known: s(1000), alive: s(seconds), lease: LEASE, has_left: false }
}

fn dead(name: &str) -> Sighting {
    Sighting { lease: Duration::ZERO, ..alive(name, 100) }
}

fn left(name: &str) -> Sighting {
    Sighting { has_left: true, ..alive(name, 100) }
}

fn present(membership: &Membership) -> Vec<&str> {
    membership.presence().unwrap().present.iter().map(|name| &**name).collect()
}

#[test]
fn who_is_there_at_the_first_read() {
    for (what, sightings, expected) in [
        ("alone", vec![alive("a", 0)], &["a"][..]),
        ("all began long ago", vec![alive("a", 90), alive("b", 200)], &["a", "b"]),
        ("the lease has ended", vec![alive("a", 90), dead("b")], &["a"]),
        ("it has left", vec![alive("a", 90), left("b")], &["a"]),
        ("another comes", vec![alive("a", 90), alive("b", 6)], &["a"]),
        ("another has settled, and had time to say so", vec![alive("a", 90), alive("b", 7)], &["a", "b"]),
        ("this one comes", vec![alive("a", 5), alive("b", 90)], &["b"]),
        ("this one has settled", vec![alive("a", 6), alive("b", 90)], &["a", "b"]),
        ("both come", vec![alive("a", 0), alive("b", 0)], &["a"]),
        ("both have come", vec![alive("a", 0), alive("b", 1)], &["a", "b"]),
        ("they began together", vec![alive("a", 0), alive("b", 15)], &["a", "b"]),
        ("they did not", vec![alive("a", 0), alive("b", 16)], &["b"]),
    ] {
        let mut membership = Membership::new("a".into());
        membership.read(at(1), &sightings).unwrap();
        assert_eq!(present(&membership), expected, "{what}");
    }
}

#[test]
fn the_next_read_is_due_when_something_changes_by_itself() {
    let mut membership = Membership::new("a".into());
    let mut next = |sightings: &[Sighting]| membership.read(at(1), sightings).unwrap();
    assert_eq!(next(&[alive("a", 90), alive("b", 5)]), s(2), "b gets its buckets");
    let ending = Sighting { lease: s(1), ..alive("b", 90) };
    assert_eq!(next(&[alive("a", 90), ending]), s(1), "b's lease ends");
    assert_eq!(next(&[alive("a", 90), dead("b")]), LEASE);
}

#[test]
fn a_responder_that_is_gone_stays_in_the_list_and_a_newcomer_is_not_there_yet() {
    let mut membership = Membership::new("a".into());
    let newcomer = Sighting { known: s(2), ..alive("c", 2) };
    membership.read(at(1), &[alive("a", 90), dead("b"), newcomer]).unwrap();
    let segment = &membership.presence().unwrap().segment;
    assert!(segment.has("a") && segment.has("b") && !segment.has("c"));
    assert_eq!(membership.presence().unwrap().table().owned("a"), BUCKETS);
}

#[test]
fn after_an_outage_those_that_were_there_still_count_unless_they_have_left() {
    let mut membership = Membership::new("a".into());
    membership.read(at(0), &[alive("a", 90), alive("b", 90), alive("c", 90)]).unwrap();
    membership.away();
    assert_eq!(present(&membership), ["a", "b", "c"], "what is known stays");
    // This one finds the ledger again first.
    let next = membership.read(at(60), &[alive("a", 0), dead("b"), left("c")]).unwrap();
    assert_eq!((present(&membership), next), (vec!["a", "b"], GRACE));
    membership.read(at(65), &[alive("a", 5), alive("b", 0), left("c")]).unwrap();
    assert_eq!(present(&membership), ["a", "b"]);
    membership.read(at(66), &[alive("a", 6), dead("b"), left("c")]).unwrap();
    assert_eq!(present(&membership), ["a"], "the grace has ended");
}

#[test]
fn what_cannot_share_is_refused_and_what_was_known_stays() {
    let mut membership = Membership::new("a".into());
    membership.read(at(0), &[alive("a", 90), alive("b", 90)]).unwrap();
    let heavy = Sighting { member: Member { name: "c".into(), weight: 1000 }, ..alive("c", 90) };
    let error = membership.read(at(3), &[alive("a", 93), alive("b", 93), heavy]).unwrap_err();
    assert!(error.to_string().contains("`c` has weight 1000"), "{error}");
    assert_eq!(present(&membership), ["a", "b"]);
    let many: Vec<Sighting> = (0..65).map(|number| alive(&format!("r{number}"), 90)).collect();
    assert!(membership.read(at(6), &many).unwrap_err().to_string().contains("divide the network"));
    // Those that are gone do not count if there are too many of them.
    let gone: Vec<Sighting> = (0..65).map(|number| dead(&format!("r{number}"))).collect();
    membership.read(at(9), &[vec![alive("a", 99)], gone].concat()).unwrap();
    assert_eq!(present(&membership), ["a"]);
}

#[test]
fn leaving_waits_for_all_that_are_alive() {
    let renewed = |name: &str, ago: u64| Sighting { lease: LEASE - s(ago), ..alive(name, 90) };
    for (others, since, expected) in [
        (vec![], 0, true),
        (vec![dead("b"), left("c")], 0, true),
        (vec![renewed("b", 1)], 0, false),
        (vec![renewed("b", 1)], 1, false),
        (vec![renewed("b", 1)], 2, true),
        (vec![renewed("b", 1), renewed("c", 3)], 2, false),
    ] {
        let all = [others, vec![left("a")]].concat();
        assert_eq!(have_all_read("a", &all, s(since), LEASE), expected, "{all:?} after {since} s");
    }
}

/// A row of the ledger, as `pxe_ledger::postgres::members` writes it.
#[derive(Clone, Copy)]
struct Row {
    known: Timestamp,
    since: Timestamp,
    renewed: Timestamp,
    has_left: bool,
}

/// A responder that runs.
struct Responder {
    membership: Membership,
    next: Timestamp,
    /// The table in force, and one that is being applied.
    table: Option<Table>,
    applied: Option<(Timestamp, Table)>,
    /// It has left, and ends then.
    ends: Option<Timestamp>,
    /// It cannot reach the ledger.
    is_away: bool,
}

/// The ledger, and responders that read it.
struct Model {
    now: Timestamp,
    rows: [Option<Row>; 3],
    running: [Option<Responder>; 3],
    /// For how long each bucket has had no owner.
    unowned: [Duration; BUCKETS],
    worst: Duration,
    /// A responder was killed: until then, its machines need a second request.
    excused: Timestamp,
}

const STEP: Duration = Duration::from_millis(20);

impl Model {
    fn new() -> Self {
        let (rows, running) = ([None; 3], [None, None, None]);
        let zero = Duration::ZERO;
        Self { now: at(1), rows, running, unowned: [zero; BUCKETS], worst: zero, excused: at(0) }
    }

    fn sightings(&self) -> Vec<Sighting> {
        let sighting = |(name, row): (&str, &Option<Row>)| {
            let row = (*row)?;
            Some(Sighting {
                member: Member { name: name.into(), weight: 1 },
                known: self.now.since(row.known),
                alive: self.now.since(row.since),
                lease: LEASE.saturating_sub(self.now.since(row.renewed)),
                has_left: row.has_left,
            })
        };
        NAMES.into_iter().zip(&self.rows).filter_map(sighting).collect()
    }

    fn renew(&mut self, index: usize) {
        let now = self.now;
        let row =
            self.rows[index].get_or_insert(Row { known: now, since: now, renewed: now, has_left: false });
        if row.has_left || now.since(row.renewed) > LEASE {
            row.since = now;
        }
        (row.renewed, row.has_left) = (now, false);
    }

    fn read(&mut self, index: usize) {
        let (now, sightings) = (self.now, self.sightings());
        let Some(responder) = &mut self.running[index] else { return };
        let next = responder.membership.read(now, &sightings).unwrap();
        responder.next = now + next.min(RENEW_EVERY);
        let table = responder.membership.presence().unwrap().table();
        // Each takes another time to apply a table.
        responder.applied = Some((now + STEP * index as u32, table));
    }

    fn start(&mut self, index: usize) {
        if self.running[index].is_some() {
            return;
        }
        let membership = Membership::new(NAMES[index].into());
        let (next, is_away) = (self.now, false);
        self.running[index] =
            Some(Responder { membership, next, table: None, applied: None, ends: None, is_away });
        self.renew(index);
        self.read(index);
        self.notify();
    }

    /// Has all responders read at the next step.
    fn notify(&mut self) {
        for responder in self.running.iter_mut().flatten() {
            responder.next = self.now;
        }
    }

    fn leave(&mut self, index: usize) {
        let Some(responder) = self.running[index].as_mut().filter(|responder| responder.ends.is_none())
        else {
            return;
        };
        responder.ends = Some(self.now + Duration::from_millis(200));
        if let Some(row) = &mut self.rows[index] {
            row.has_left = true;
        }
        self.notify();
    }

    fn kill(&mut self, index: usize) {
        if self.running[index].take().is_some() {
            self.excused = self.now + LEASE + s(1);
        }
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now = self.now + STEP;
            for index in 0..NAMES.len() {
                self.turn(index);
            }
            self.look();
        }
    }

    fn turn(&mut self, index: usize) {
        let now = self.now;
        let Some(responder) = &mut self.running[index] else { return };
        if responder.ends.is_some_and(|ends| ends <= now) {
            self.running[index] = None;
            return;
        }
        if let Some((_, table)) = responder.applied.take_if(|(due, _)| *due <= now) {
            responder.table = Some(table);
        }
        if responder.ends.is_none() && !responder.is_away && responder.next <= now {
            self.renew(index);
            self.read(index);
        }
    }

    fn look(&mut self) {
        let running = || self.running.iter().zip(NAMES).filter_map(|(one, name)| Some((one.as_ref()?, name)));
        if running().next().is_none() || self.now < self.excused {
            self.unowned = [Duration::ZERO; BUCKETS];
            return;
        }
        // Without a table a responder answers every machine.
        let ranks: Vec<_> = running()
            .map(|(responder, name)| responder.table.as_ref().map(|table| table.ranks(name)))
            .collect();
        for (bucket, unowned) in self.unowned.iter_mut().enumerate() {
            let is_owned = ranks.iter().any(|ranks| ranks.as_ref().is_none_or(|ranks| ranks.0[bucket] == 0));
            *unowned = if is_owned { Duration::ZERO } else { *unowned + STEP };
            self.worst = self.worst.max(*unowned);
        }
    }

    fn owned(&self) -> [usize; 3] {
        let owned = |index: usize| {
            let responder = self.running[index].as_ref()?;
            Some(responder.table.as_ref().map_or(BUCKETS, |table| table.owned(NAMES[index])))
        };
        [0, 1, 2].map(|index| owned(index).unwrap_or(0))
    }
}

#[test]
fn responders_come_share_and_leave() {
    let mut model = Model::new();
    model.start(0);
    model.run(s(60));
    model.start(1);
    model.run(s(5));
    assert_eq!(model.owned(), [256, 0, 0], "a newcomer waits");
    model.run(Duration::from_millis(1500));
    assert_eq!(model.owned(), [256, 128, 0], "it begins before the other one stops");
    model.run(s(1));
    assert_eq!(model.owned(), [128, 128, 0]);
    model.leave(1);
    model.run(Duration::from_millis(100));
    assert_eq!(model.owned(), [256, 128, 0], "the other one begins before it ends");
    model.run(s(1));
    assert_eq!(model.owned(), [256, 0, 0]);
    assert_eq!(model.worst, Duration::ZERO, "no machine had to ask twice");
}

#[test]
fn after_a_power_cut_all_share_at_once() {
    let mut model = Model::new();
    (0..3).for_each(|index| model.start(index));
    model.run(s(2));
    assert_eq!(model.owned().iter().sum::<usize>(), 256, "{:?}", model.owned());
    assert_eq!(model.worst, Duration::ZERO);
}

#[test]
fn the_machines_of_a_killed_responder_move_when_its_lease_ends_and_others_do_not() {
    let mut model = Model::new();
    (0..3).for_each(|index| model.start(index));
    model.run(s(60));
    let before = model.running[0].as_ref().unwrap().table.clone().unwrap();
    model.kill(2);
    model.run(s(5));
    assert_eq!(model.running[0].as_ref().unwrap().table.as_ref(), Some(&before));
    model.run(s(5));
    assert_eq!(model.owned()[..2].iter().sum::<usize>(), 256);
    let after = model.running[0].as_ref().unwrap().table.clone().unwrap();
    for bucket in 0..=255 {
        let (before, after) = (&before.order(bucket)[0], &after.order(bucket)[0]);
        assert!(before == after || **before == *"c");
    }
}

/// A responder whose connection comes and goes moves its machines when it is gone, and not each time that it is there for
/// a moment.
#[test]
fn a_responder_that_flaps_gets_nothing() {
    let mut model = Model::new();
    model.start(0);
    model.start(1);
    model.run(s(60));
    model.kill(1);
    model.run(s(20));
    for _ in 0..10 {
        model.start(1);
        model.run(s(4));
        model.kill(1);
        model.run(s(12));
        let of_other = model.running[0].as_ref().unwrap().table.as_ref().unwrap().owned("a");
        assert_eq!(of_other, 256);
    }
}

/// All lose the ledger for a minute, and find it again within some seconds of one another.
#[test]
fn an_outage_of_the_ledger_moves_nothing() {
    let mut model = Model::new();
    (0..3).for_each(|index| model.start(index));
    model.run(s(60));
    let before = model.owned();
    for responder in model.running.iter_mut().flatten() {
        responder.is_away = true;
        responder.membership.away();
    }
    model.run(s(60));
    assert_eq!(model.owned(), before);
    for index in [2, 0, 1] {
        model.running[index].as_mut().unwrap().is_away = false;
        for _ in 0..20 {
            model.run(Duration::from_millis(100));
            assert_eq!(model.owned(), before);
        }
    }
    for _ in 0..200 {
        model.run(Duration::from_millis(100));
        assert_eq!(model.owned(), before);
    }
    assert_eq!(model.worst, Duration::ZERO);
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Start,
    Leave,
    Kill,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever comes and goes, each machine has somebody who answers its first request, as long as nobody is killed. A
    /// list that becomes longer moves a few buckets between the others, which apply that at slightly different times.
    #[test]
    fn no_machine_is_without_an_owner(
        events in prop::collection::vec(
            (0usize..3, prop_oneof![4 => Just(Event::Start), 3 => Just(Event::Leave), 1 => Just(Event::Kill)], 0u64..20_000),
            1..8,
        ),
    ) {
        let mut model = Model::new();
        for (index, event, pause) in events {
            match event {
                Event::Start => model.start(index),
                Event::Leave => model.leave(index),
                Event::Kill => model.kill(index),
            }
            model.run(Duration::from_millis(pause));
        }
        model.run(s(30));
        prop_assert!(model.worst <= STEP * 3, "{:?}", model.worst);
        let total: usize = model.owned().iter().sum();
        prop_assert!(total == 256 || total == 0, "{:?}", model.owned());
    }
}
