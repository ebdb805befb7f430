//! The table: which requests get slots, which packets find their transfers, and what the timers do.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::super::Block;
use super::super::negotiation::OptionLimits;
use super::super::packet::RequestedOptions;
use super::*;

const PORTS: TidPorts = TidPorts { first: 50_000, count: 16 };

fn ms(millis: u64) -> Timestamp {
    Timestamp::from_micros(millis * 1000)
}

fn client(n: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 0, (n >> 8) as u8, n as u8), 2000)
}

fn negotiated(windowsize: u16) -> NegotiatedOptions {
    let asked =
        RequestedOptions { blksize: Some(8), windowsize: Some(windowsize), ..RequestedOptions::default() };
    NegotiatedOptions::grant(&asked, &OptionLimits::for_mtu(1500, u16::MAX))
}

type Replaced = Vec<(SocketAddrV4, Option<TransferOutcome>)>;

/// A table, and the transfers that it has replaced.
struct Desk(Table<()>, Replaced);

impl Desk {
    fn new(limit: usize) -> Self {
        Self(Table::new(limit, PORTS), Vec::new())
    }

    fn admit(&mut self, at: u64, n: u16, request: &[u8]) -> Admission {
        let Self(table, replaced) = self;
        let request = table.fingerprint(request);
        let known = table.is_known(ms(at), client(n), request);
        let room = table.has_room();
        let admission = table.admit(ms(at), client(n), request, (), |entry, outcome| {
            replaced.push((entry.client, outcome));
        });
        // `is_known` and `has_room` predict the result.
        assert_eq!(admission == Admission::Full, !known && !room);
        assert!(admission != Admission::Duplicate || known);
        self.check();
        admission
    }

    fn admitted(&mut self, at: u64, n: u16, request: &[u8]) -> Id {
        match self.admit(at, n, request) {
            Admission::Admitted(id) => id,
            other => panic!("{other:?}"),
        }
    }

    /// Admits a request and starts its transfer.
    fn started(&mut self, at: u64, n: u16, size: u64, windowsize: u16) -> Id {
        let id = self.admitted(at, n, format!("f{at}").as_bytes());
        self.0.start(ms(at), id, size, negotiated(windowsize)).unwrap();
        id
    }

    /// Feeds an ACK to the TID of the transfer of a client. `None` if the client has no transfer.
    fn ack(&mut self, at: u64, n: u16, block: u16) -> Option<SessionAction> {
        let id = self.0.find(client(n), self.port(n))?;
        let action = self.0.on_ack(ms(at), id, block);
        if action == SessionAction::SendData
            && let Some(entry) = self.0.get_mut(id)
            && let (Some(transfer), ()) = entry.parts_mut()
        {
            transfer.sent(u64::MAX / 2);
        }
        self.check();
        Some(action)
    }

    fn error(&mut self, at: u64, n: u16) {
        if let Some(id) = self.0.find(client(n), self.port(n)) {
            self.0.on_error(ms(at), id, ErrorCode(0));
        }
        self.check();
    }

    fn port(&self, n: u16) -> u16 {
        let slot = self.0.by_client.get(&client(n)).copied();
        slot.and_then(|slot| self.0.slots[slot as usize].as_ref()).map_or(PORTS.first, |entry| entry.port)
    }

    fn expire(&mut self, at: u64) -> Vec<Expired<()>> {
        let mut all = Vec::new();
        while let Some(expired) = self.0.expire(ms(at), |_, _| ()) {
            all.push(expired);
            self.check();
        }
        assert!(self.0.next_deadline().is_none_or(|next| next > ms(at)));
        all
    }

    /// Invariants: each slot is free or found by its client, each occupied slot has a timer that is not late,
    /// and no list has grown.
    fn check(&self) {
        let table = &self.0;
        let live: Vec<_> = table.slots.iter().flatten().collect();
        assert_eq!(live.len() + table.free.len(), table.slots.len());
        assert_eq!(table.by_client.len(), live.len());
        assert_eq!(table.active, live.iter().filter(|entry| !entry.dallies()).count());
        assert!(table.active <= table.limit);
        assert!(table.dallying.len() <= table.slots.len() * 2);
        assert!(table.unverified.len() <= table.slots.len());
        let unverified = table.unverified.iter().filter(|id| table.is_unverified(**id)).count();
        let silent =
            live.iter().filter(|entry| entry.transfer().is_some_and(SendSession::is_unverified)).count();
        assert_eq!(unverified, silent, "each is found once");
        for (slot, entry) in (0..).zip(&table.slots) {
            let Some(entry) = entry else {
                assert_eq!(table.timers.get(slot), None, "a free slot has a timer");
                continue;
            };
            assert_eq!(table.by_client.get(&entry.client), Some(&slot));
            assert!(table.ports.contains(entry.port));
            let rings = table.timers.get(slot).expect("a timer");
            if let (Some(transfer), false) = (entry.transfer(), entry.dallies()) {
                assert!(rings <= transfer.deadline(), "the timer would be late");
            }
        }
    }
}

#[test]
fn the_limit_holds_and_room_comes_back() {
    let mut desk = Desk::new(2);
    let first = desk.admitted(0, 1, b"a");
    desk.admitted(0, 2, b"a");
    assert_eq!(desk.admit(0, 3, b"a"), Admission::Full);
    assert_eq!(desk.admit(0, 1, b"a"), Admission::Duplicate, "known clients are not turned away");
    desk.admitted(0, 1, b"other");
    assert_eq!(desk.admit(0, 3, b"a"), Admission::Full);
    assert!(desk.0.refuse(first).is_none(), "that slot has another transfer now");
    let id = desk.admitted(0, 2, b"other");
    assert!(desk.0.refuse(id).is_some());
    desk.admitted(0, 3, b"a");
    assert_eq!(desk.0.active(), 2);
}

#[test]
fn a_table_without_room_refuses() {
    assert_eq!(Desk::new(0).admit(0, 1, b"a"), Admission::Full);
}

/// clients.md, section 5, line 12, and section 6, line 28.
#[test]
fn line_28_a_repeated_request_is_the_same_session_until_it_is_another() {
    let mut desk = Desk::new(4);
    desk.admitted(0, 1, b"a");
    assert_eq!(desk.admit(110, 1, b"a"), Admission::Duplicate, "while the file is looked for");
    let id = desk.admitted(120, 1, b"b");
    assert_eq!(desk.1, [(client(1), Some(TransferOutcome::Superseded))]);
    desk.0.start(ms(130), id, 72, negotiated(4)).unwrap();
    assert_eq!(desk.admit(530, 1, b"b"), Admission::Duplicate, "while the OACK is unanswered");
    desk.ack(600, 1, 0);
    assert_eq!(desk.admit(1500, 1, b"b"), Admission::Duplicate, "a delayed copy");
    desk.admitted(5000, 1, b"b");
    assert_eq!(desk.1.len(), 2, "a machine that was reset");
}

/// The transfer was replaced while its file was loading: the reply of the loader finds no entry.
#[test]
fn names_of_replaced_transfers_are_void() {
    let mut desk = Desk::new(2);
    let old = desk.admitted(0, 1, b"a");
    let new = desk.admitted(0, 1, b"b");
    assert_ne!(old, new);
    assert_eq!(desk.0.start(ms(1), old, 100, negotiated(1)), None);
    assert!(desk.0.get(old).is_none() && desk.0.get_mut(old).is_none() && desk.0.refuse(old).is_none());
    assert!(desk.0.get(new).is_some_and(|entry| entry.transfer().is_none()));
    desk.check();
}

#[test]
fn ended_transfers_dally_in_silence_and_are_freed() {
    let mut desk = Desk::new(2);
    desk.started(0, 1, 5, 4);
    desk.ack(10, 1, 0);
    assert_eq!(desk.ack(20, 1, 1), Some(SessionAction::End(TransferOutcome::Complete)));
    assert_eq!(desk.0.active(), 0);
    assert_eq!(desk.ack(30, 1, 1), Some(SessionAction::Ignore(IgnoredEvent::Ended)));
    assert!(desk.expire(2019).is_empty());
    assert!(matches!(desk.expire(2020)[..], [Expired::Freed(_)]));
    assert_eq!(desk.0.next_deadline(), None);
    assert_eq!(desk.ack(2030, 1, 1), None);
}

#[test]
fn the_transfer_that_ended_first_gives_way_first() {
    let mut desk = Desk::new(2);
    for n in 1..=4 {
        desk.started(u64::from(n), n, 5, 4);
        desk.ack(u64::from(n), n, 0);
        desk.ack(u64::from(n), n, 1);
    }
    desk.admitted(10, 5, b"a");
    desk.admitted(10, 6, b"a");
    assert_eq!(desk.1, [(client(1), None), (client(2), None)]);
    assert_eq!(desk.admit(10, 7, b"a"), Admission::Full);
    // The other two are freed by their timers, once each.
    assert_eq!(desk.expire(2500).len(), 2);
}

/// clients.md, section 5, line 13; RFC 1350, section 4.
#[test]
fn line_13_strangers_change_nothing() {
    let mut desk = Desk::new(2);
    desk.started(0, 1, 72, 4);
    let port = desk.port(1);
    let other_port = PORTS.first + (port - PORTS.first + 1) % PORTS.count;
    let stranger = SocketAddrV4::new(*client(1).ip(), 2001);
    for (from, to) in [(stranger, port), (client(2), port), (client(1), other_port)] {
        assert_eq!(desk.0.find(from, to), None);
    }
    assert_eq!(desk.ack(2, 1, 0), Some(SessionAction::SendData));
    // A client whose file is loading is known.
    desk.admitted(0, 3, b"a");
    assert_eq!(desk.ack(1, 3, 0), Some(SessionAction::Ignore(IgnoredEvent::StrayAck)));
}

/// An update in `before` counts before the timer expires.
#[test]
fn a_transfer_that_was_carried_on_meanwhile_does_not_time_out() {
    let mut desk = Desk::new(2);
    let id = desk.started(0, 1, 72, 1);
    desk.ack(1, 1, 0);
    let carried = desk.0.expire(ms(1001), |who, entry| {
        assert_eq!(who, id);
        let (Some(transfer), ()) = entry.parts_mut() else { panic!("it has begun") };
        assert_eq!(transfer.carried(Block(3), ms(900)), 2);
    });
    assert!(carried.is_none(), "{carried:?}");
    assert_eq!(desk.0.next_deadline(), Some(ms(1900)));
    assert!(matches!(desk.expire(1900)[..], [Expired::Action(_, SessionAction::SendData)]));
}

#[test]
fn a_file_that_is_never_found_frees_its_slot() {
    let mut desk = Desk::new(1);
    desk.admitted(0, 1, b"a");
    assert!(desk.expire(29_999).is_empty());
    assert!(matches!(desk.expire(30_000)[..], [Expired::NotLoaded(_)]));
    assert_eq!((desk.0.active(), desk.0.next_deadline()), (0, None));
}

/// clients.md, section 5, line 13: many duplicates cost neither memory nor timers.
#[test]
fn line_13_a_storm_of_acks_grows_nothing() {
    let mut desk = Desk::new(4);
    desk.started(0, 1, 8_000_000, 4);
    desk.ack(1, 1, 0);
    let mut block = 0u16;
    for at in 0..20_000u64 {
        if at % 3 == 0 {
            block = block.wrapping_add(4);
        }
        desk.ack(at, 1, block);
        desk.expire(at);
    }
    assert_eq!(desk.0.active(), 1);
}

/// Repeated requests that end with an ERROR fill no list.
#[test]
fn a_client_that_always_breaks_off_grows_nothing() {
    let mut desk = Desk::new(4);
    desk.started(0, 2, 5, 4);
    let room = desk.0.dallying.capacity();
    for at in 0..1000 {
        desk.started(at, 1, 72, 4);
        desk.error(at, 1);
    }
    assert_eq!(desk.0.dallying.capacity(), room);
}

/// See also `engine/tests/tftp/admission.rs`.
#[test]
fn who_was_never_heard_gives_way_oldest_first() {
    let mut desk = Desk::new(4);
    desk.started(0, 1, 72, 4);
    let second = desk.started(10, 2, 72, 4);
    let third = desk.started(20, 3, 72, 4);
    desk.admitted(0, 4, b"a");
    desk.ack(100, 1, 0);
    assert_eq!(desk.0.give_way(ms(3009)), None, "the first one was heard, the second one is young");
    assert_eq!(desk.0.gives_way_at(), Some(ms(3010)));
    assert_eq!(desk.0.give_way(ms(3010)), Some((second, SessionAction::End(TransferOutcome::TimedOut))));
    assert_eq!(desk.0.active(), 3);
    desk.check();
    assert_eq!(desk.0.give_way(ms(3019)), None);
    assert_eq!(desk.0.give_way(ms(9000)), Some((third, SessionAction::End(TransferOutcome::TimedOut))));
    assert_eq!(
        (desk.0.give_way(ms(9000)), desk.0.gives_way_at()),
        (None, None),
        "files are being looked for"
    );
    // The transfer that was ended ignores ACKs, and its client may send a request again.
    assert_eq!(desk.ack(9010, 3, 0), Some(SessionAction::Ignore(IgnoredEvent::Ended)));
    desk.admitted(9010, 3, b"f20");
}

#[test]
fn a_replaced_transfer_gets_another_port() {
    let mut desk = Desk::new(2);
    desk.admitted(0, 1, b"a");
    let old = desk.port(1);
    desk.admitted(0, 1, b"b");
    assert_ne!(desk.port(1), old);
}

#[test]
fn workers_share_the_ports_without_overlap() {
    let all = TidPorts { first: 40_000, count: 1000 };
    let shares: Vec<_> = (0..7).map(|index| all.share(index, 7)).collect();
    for port in 39_990..41_010u16 {
        let owners = shares.iter().filter(|share| share.contains(port)).count();
        assert_eq!(owners, usize::from((40_000..40_994).contains(&port)), "port {port}");
    }
}

#[derive(Clone, Debug)]
enum Act {
    Request(u16, u8),
    Load(u16, u16),
    Ack(u16, u16),
    Error(u16),
    GiveWay,
    Sleep(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0u16..8, 0u8..3).prop_map(|(n, name)| Act::Request(n, name)),
        3 => (0u16..8, 1u16..6).prop_map(|(n, window)| Act::Load(n, window)),
        6 => (0u16..8, 0u16..12).prop_map(|(n, block)| Act::Ack(n, block)),
        1 => (0u16..8).prop_map(Act::Error),
        1 => Just(Act::GiveWay),
        3 => prop_oneof![0u64..300, 0u64..20_000].prop_map(Act::Sleep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// For any sequence of events the invariants of [`Desk::check`] hold, and when all clients are silent,
    /// all slots become free.
    #[test]
    fn whatever_happens_all_slots_come_back(acts in prop::collection::vec(act(), 0..150)) {
        let mut desk = Desk::new(3);
        let mut ids = [None; 8];
        let mut at = 0;
        for act in acts {
            match act {
                Act::Request(n, name) => {
                    if let Admission::Admitted(id) = desk.admit(at, n, &[name]) {
                        ids[usize::from(n)] = Some(id);
                    }
                }
                Act::Load(n, window) => {
                    if let Some(id) = ids[usize::from(n)].take() {
                        desk.0.start(ms(at), id, 72, negotiated(window));
                        desk.check();
                    }
                }
                Act::Ack(n, block) => { desk.ack(at, n, block); }
                Act::Error(n) => desk.error(at, n),
                Act::GiveWay => {
                    desk.0.give_way(ms(at));
                    desk.check();
                }
                Act::Sleep(time) => {
                    at += time;
                    desk.expire(at);
                }
            }
        }
        for _ in 0..40 {
            at += 5000;
            desk.expire(at);
        }
        prop_assert_eq!((desk.0.free.len(), desk.0.next_deadline()), (6, None));
    }
}
