//! Tests of which machine an event is about, and which machines are forgotten.

use std::net::SocketAddrV4;
use std::sync::Arc;

use super::*;
use crate::board::State;
use crate::changes::BootKey;
use crate::event::{OfferKind, Requester, Transport, brief};
use crate::report::Stage;
use pxe_content::boot::{Refusal, Role};
use pxe_proto::dhcp::{Arch, Style};

const NOW: UnixMs = UnixMs(1_000_000_000);

fn mac(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac([2, 0, a, b, c, d])
}

fn address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, n)
}

fn registry() -> Registry {
    Registry::new(Duration::from_secs(60), 1)
}

fn told(mac: Mac, address: Option<Ipv4Addr>, relay: Option<Ipv4Addr>) -> Event {
    let requester = Requester { address, relay, rule: Some("lab".into()), ..Requester::new(mac, Arch::X64) };
    Event::Offered {
        requester: Box::new(requester),
        what: OfferKind::Boot,
        file: brief("x"),
        style: Style::Direct,
        ack: false,
    }
}

fn peer(address: Ipv4Addr, mac: Mac) -> Peer {
    Peer { address: SocketAddrV4::new(address, 2000), mac, transport: Transport::Tftp }
}

fn refused(address: Ipv4Addr, mac: Mac) -> Event {
    let peer = peer(address, mac);
    Event::Refused { peer, name: Box::new("x".parse().unwrap()), refusal: Refusal::NotFound }
}

fn state(registry: &Registry, mac: Mac) -> Option<State> {
    registry.machine(mac).map(|machine| machine.shown.state)
}

fn load(registry: &mut Registry, mac: Mac) {
    let transfer = FinishedTransfer {
        file: "memtest".into(),
        role: Role::Payload,
        in_images_folder: false,
        transport: Transport::Tftp,
        outcome: pxe_proto::tftp::send_session::TransferOutcome::Complete,
        bytes: 1,
        took_ms: 1,
        retransmits: 0,
    };
    registry.with(NOW, mac, |machine, change_log| machine.fetched(NOW, &transfer, change_log));
}

/// A machine on the link is found by the source of its frames, otherwise by the kernel's neighbour table. A
/// refused boot program makes the found machine fail, which shows the result. Machine 1 claims the address in
/// its requests.
#[test]
fn a_machine_on_the_link_is_found_by_its_frames() {
    for (word, frame, neighbour, meant) in [
        (Some(address(9)), mac(2), None, Some(mac(2))),
        (Some(address(9)), Mac::default(), Some(mac(2)), Some(mac(2))),
        (Some(address(9)), Mac::default(), None, None),
        (None, mac(2), None, Some(mac(2))),
        (None, Mac::default(), Some(mac(2)), Some(mac(2))),
        (None, Mac::default(), None, None),
        (None, mac(7), None, None),
    ] {
        let mut registry = registry();
        registry.apply(NOW, &told(mac(1), word, None), |_| None);
        registry.apply(NOW, &told(mac(2), None, None), |_| None);
        registry.apply(NOW, &refused(address(9), frame), |_| neighbour);
        let failed: Vec<_> = [1, 2, 7]
            .map(mac)
            .into_iter()
            .filter(|mac| state(&registry, *mac) == Some(State::Failed))
            .collect();
        assert_eq!(failed, meant.into_iter().collect::<Vec<_>>());
        assert!(registry.machine(mac(7)).is_none(), "a name that is not there makes no machine");
    }
}

/// All frames from behind a relay have the router's address.
#[test]
fn a_router_is_no_machine() {
    let image = image();
    let router = mac(99);
    let loading = Event::Loading { peer: peer(address(9), router), image, bytes: 1, all_sent: false };
    let mut registry = registry();
    registry.apply(NOW, &relayed(mac(1), router), |_| None);
    registry.apply(NOW, &loading, |_| None);
    assert!(registry.machine(router).is_none());
    assert_eq!(state(&registry, mac(1)), Some(State::Offered), "nobody knows whose this address is");
}

/// A lease that a machine takes through the relay shows whose address it is, even if the router counted as a
/// machine before.
#[test]
fn behind_a_relay_a_machine_is_known_by_its_lease() {
    let (image, router) = (image(), mac(99));
    let loading = Event::Loading { peer: peer(address(9), router), image, bytes: 1, all_sent: false };
    let mut registry = registry();
    load(&mut registry, router);
    registry.apply(NOW, &relayed(mac(1), router), |_| None);
    registry.apply(NOW, &relayed(mac(2), router), |_| None);
    let lease = |mac, address| Event::Leased { mac, origin: Origin::Through(Some(router)), address };
    registry.apply(NOW, &lease(mac(1), address(9)), |_| None);
    registry.apply(NOW, &lease(mac(7), address(7)), |_| None);
    assert!(registry.machine(mac(7)).is_none(), "who takes a lease is no machine of ours yet");
    registry.apply(NOW, &loading, |_| None);
    let states = [1, 2, 99].map(|n| state(&registry, mac(n)));
    assert_eq!(states, [Some(State::Loading), Some(State::Offered), Some(State::Seen)]);
    assert_eq!(registry.find(&MachineSelector::Address(address(9))), Some(mac(1)));
}

/// An attack: a DISCOVER in the machine's name through an unknown relay, and a report. Without the checks,
/// these two packets set the machine's verdict.
#[test]
fn whoever_speaks_for_a_machine_on_the_link_from_elsewhere_is_not_believed() {
    let (victim, router) = (mac(1), mac(99));
    let mut registry = registry();
    registry.apply(NOW, &told(victim, None, None), |_| None);
    registry.apply(NOW, &relayed(victim, router), |_| None);
    let lease = Event::Leased { mac: victim, origin: Origin::Through(Some(router)), address: address(66) };
    registry.apply(NOW, &lease, |_| None);
    let shown = &registry.machine(victim).unwrap().shown;
    assert_eq!((&shown.relay, &shown.address, shown.boots), (&None, &None, 1));
    let attacker = |registry: &mut Registry| {
        let inquiry = FactsRequest { named: Some(victim), peer: peer(address(66), router) };
        registry.facts(NOW, &inquiry, |_| None, Nonce::random).unwrap().nonce
    };
    assert_eq!(attacker(&mut registry), None, "the nonce is the machine's alone");
    let claim = |nonce, neighbour| Claim { mac: victim, nonce, neighbour };
    assert_eq!(registry.reported(NOW, &claim(None, None), &report("start")), Err(ClaimRefusal::Nonce));
    assert_eq!(
        registry.reported(NOW, &claim(Nonce::random(), None), &report("start")),
        Err(ClaimRefusal::Nonce)
    );

    let nonce = nonce(&mut registry, 1);
    assert_eq!(
        registry.reported(NOW, &claim(nonce, Some(mac(2))), &report("start")),
        Err(ClaimRefusal::Sender)
    );
    assert_eq!(registry.reported(NOW, &claim(nonce, None), &report("start")), Err(ClaimRefusal::NotFetched));
    load(&mut registry, victim);
    assert_eq!(registry.reported(NOW, &claim(nonce, None), &report("done")), Err(ClaimRefusal::NotBegun));
    assert_eq!(registry.reported(NOW, &claim(nonce, Some(victim)), &report("start")), Ok(()));
    assert_eq!(attacker(&mut registry), None);
    assert_eq!(registry.reported(NOW, &claim(nonce, Some(victim)), &report("done")), Ok(()));
    assert_eq!(state(&registry, victim), Some(State::Passed));

    // A report with the nonce of an earlier boot is rejected.
    let later = UnixMs(NOW.0 + 600_000);
    registry.apply(later, &told(victim, None, None), |_| None);
    load(&mut registry, victim);
    assert_eq!(
        registry.reported(later, &claim(nonce, Some(victim)), &report("start")),
        Err(ClaimRefusal::Nonce)
    );
}

/// The machine has moved, and its user has run `pxed again`.
#[test]
fn a_machine_that_boots_again_may_be_elsewhere() {
    let (machine, router) = (mac(1), mac(99));
    let mut registry = registry();
    registry.apply(NOW, &told(machine, None, None), |_| None);
    registry.again(NOW, Some(machine));
    registry.apply(NOW, &relayed(machine, router), |_| None);
    assert!(registry.machine(machine).unwrap().shown.relay.is_some());
    // Its lease is unknown. So the first client that requests its file counts as the machine, and its address
    // is known from then on.
    let inquiry = FactsRequest { named: Some(machine), peer: peer(address(9), router) };
    assert!(registry.facts(NOW, &inquiry, |_| None, Nonce::random).unwrap().nonce.is_some());
    let other = FactsRequest { named: Some(machine), peer: peer(address(10), router) };
    assert_eq!(registry.facts(NOW, &other, |_| None, Nonce::random).unwrap().nonce, None);
    assert_eq!(registry.owner(&peer(address(9), router), |_| None), Some(machine));
}

fn relayed(mac: Mac, router: Mac) -> Event {
    let Event::Offered { mut requester, what, file, style, ack } = told(mac, None, Some(address(1))) else {
        unreachable!()
    };
    requester.origin = Origin::Through(Some(router));
    Event::Offered { requester, what, file, style, ack }
}

fn report(stage: &str) -> Report {
    serde_json::from_str(&format!(r#"{{"stage":"{stage}","pass":true}}"#)).unwrap()
}

/// The nonce in the files of machine `n`, which loads them from address `n`.
fn nonce(registry: &mut Registry, n: u8) -> Option<Nonce> {
    let inquiry = FactsRequest { named: None, peer: peer(address(n), mac(u32::from(n))) };
    registry.facts(NOW, &inquiry, |_| None, Nonce::random)?.nonce
}

fn image() -> Arc<pxe_content::boot::Image> {
    use pxe_content::boot::{Catalogue, Config, Source};
    let place = tempfile::tempdir().unwrap();
    for name in ["memtest", "pxelinux.0"] {
        std::fs::write(place.path().join(name), [0; 100]).unwrap();
    }
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place.path(), permissions).unwrap();
    let source = Source::Tree { root: place.path().to_owned(), links: Default::default() };
    let catalogue = Catalogue::open(Config { source, ..Config::default() }).unwrap();
    catalogue.load(&"memtest".parse().unwrap()).unwrap()
}

#[test]
fn an_event_of_a_file_says_what_the_file_is() {
    let peer = Peer { address: SocketAddrV4::new(address(9), 2000), mac: mac(1), transport: Transport::Tftp };
    let mut registry = registry();
    registry.apply(NOW, &told(mac(1), None, None), |_| None);
    let fetched = Event::Fetched {
        peer,
        image: image(),
        outcome: pxe_proto::tftp::send_session::TransferOutcome::Complete,
        bytes: 100,
        took: Duration::from_millis(7),
        retransmits: 0,
    };
    registry.apply(NOW, &fetched, |_| None);
    assert_eq!(state(&registry, mac(1)), Some(State::Running));
    let boot_records = registry.take_boot_records().unwrap();
    assert_eq!(boot_records[&mac(1)].boots_by("lab"), 1);
    // The same boot, for a ledger that other responders read: by its nonce, or by its beginning if it has none.
    let [one] = registry.take_changes().counted.try_into().unwrap();
    assert_eq!((one.mac, one.rule.as_str(), one.boot, one.epoch), (mac(1), "lab", BootKey::Began(NOW), 0));
    assert_eq!(registry.take_boot_records(), None);
    assert_eq!(registry.again(NOW, Some(mac(1))), 1);
    assert_eq!(registry.take_boot_records().unwrap().size(), 0);
    assert_eq!(registry.take_changes().epochs[&mac(1)], NOW.0, "later boots count anew");
    assert_eq!(registry.find(&MachineSelector::Address(address(9))), Some(mac(1)));
    registry.apply(NOW, &Event::StyleLearnt { mac: mac(1), style: Some(Style::Binl) }, |_| None);
    assert_eq!(registry.take_boot_records().unwrap()[&mac(1)].style, Some(Style::Binl));
}

#[test]
fn words_find_one_machine_or_none() {
    let mut registry = registry();
    for n in 1..=3_u8 {
        let serial = if n == 1 { "SN1" } else { "To be filled" };
        let report: Report =
            serde_json::from_str(&format!(r#"{{"stage":"start","serial":"{serial}"}}"#)).unwrap();
        assert_eq!(report.stage, Stage::Start);
        let mac = mac(u32::from(n));
        let claim = |nonce| Claim { mac, nonce, neighbour: Some(mac) };
        assert_eq!(registry.reported(NOW, &claim(None), &report), Err(ClaimRefusal::Unknown));
        assert!(registry.machine(mac).is_none());
        registry.apply(NOW, &told(mac, None, None), |_| None);
        load(&mut registry, mac);
        let nonce = nonce(&mut registry, n);
        registry.reported(NOW, &claim(nonce), &report).unwrap();
    }
    assert_eq!(registry.name(NOW, mac(2), Some(" rack\u{1b}-2 ")), Ok(()));
    let find = |words: &str| registry.find(&MachineSelector::Text(words.into()));
    assert_eq!(
        (find("sn1"), find("RACK-2"), find("to be filled"), find("")),
        (Some(mac(1)), Some(mac(2)), None, None)
    );
    assert_eq!((find(&mac(3).to_string()), find("10.0.0.3")), (Some(mac(3)), Some(mac(3))));
}

/// A console server has its own name for a machine. The serial number in its lines connects that name with
/// the machine from then on.
#[test]
fn a_console_introduces_itself_by_a_serial_number() {
    let mut registry = registry();
    let report: Report = serde_json::from_str(r#"{"stage":"start","serial":"SN1"}"#).unwrap();
    registry.apply(NOW, &told(mac(1), None, None), |_| None);
    load(&mut registry, mac(1));
    let claim = Claim { mac: mac(1), nonce: nonce(&mut registry, 1), neighbour: None };
    registry.reported(NOW, &claim, &report).unwrap();
    let console = MachineSelector::Text("bmc-17".into());
    let says = |registry: &mut Registry, line: &str| {
        registry.lines(NOW, &console, &[format!("MTLOG ts=1 {line}"), "noise".into()])
    };
    assert_eq!(says(&mut registry, "ev=tick errors=0"), None);
    assert_eq!(says(&mut registry, "ev=info sys_serial=\"SN1\""), Some(1));
    assert_eq!(says(&mut registry, "ev=tick errors=7"), Some(1));
    assert_eq!(state(&registry, mac(1)), Some(State::Failed));
}

/// A name finds one machine, even one that was never switched on.
#[test]
fn names_are_unique_and_may_come_before_the_machine() {
    let mut registry = registry();
    registry.apply(NOW, &told(mac(1), None, None), |_| None);
    assert_eq!(registry.name(NOW, mac(9), None), Err(NameError::Unknown));
    assert_eq!(registry.name(NOW, mac(9), Some("rack-9")), Ok(()));
    assert_eq!(registry.name(NOW, mac(1), Some("RACK-9")), Err(NameError::Taken(mac(9))));
    assert_eq!(registry.name(NOW, mac(9), Some("Rack-9")), Ok(()), "its own name");
    assert_eq!(registry.find(&MachineSelector::Text("rack-9".into())), Some(mac(9)));
    let shown = &registry.machine(mac(9)).unwrap().shown;
    assert_eq!((shown.state, shown.boots), (State::Seen, 0));
    assert!(shown.why.as_ref().unwrap().contains("not asked for a boot yet"));
    assert_eq!((shown.first_seen, shown.last_seen), (UnixMs(0), UnixMs(0)), "never");
    registry.apply(NOW, &told(mac(9), None, None), |_| None);
    let shown = &registry.machine(mac(9)).unwrap().shown;
    assert_eq!((shown.first_seen, shown.last_seen), (NOW, NOW));
    assert_eq!(
        (shown.state, shown.why.as_ref(), shown.name.as_deref()),
        (State::Offered, None, Some("Rack-9"))
    );
    // The name is free again.
    assert_eq!(registry.name(NOW, mac(9), None), Ok(()));
    assert_eq!(registry.name(NOW, mac(1), Some("rack-9")), Ok(()));
}

#[test]
fn a_flood_of_invented_machines_forgets_those_and_no_real_one() {
    let mut registry = registry();
    for n in 0..100 {
        registry.apply(NOW, &told(mac(n), None, None), |_| None);
        load(&mut registry, mac(n));
    }
    for n in 0..150_000 {
        registry.apply(UnixMs(NOW.0 + 1), &told(mac(1_000_000 + n), None, None), |_| None);
        assert!(registry.machines.len() <= MACHINES_MAX);
        if n % 10_000 == 0 {
            assert!(registry.take_changes().steps.len() <= 20_000, "a flood does not fill the disk");
        }
    }
    assert!((0..100).all(|n| state(&registry, mac(n)) == Some(State::Running)));
    assert!(registry.by_address.len() <= MACHINES_MAX);
    registry.expire(UnixMs(NOW.0 + 10_000), Duration::from_secs(5));
    assert_eq!(registry.machines.len(), 100);
}

/// A start with a clock that is 400 days ahead ages no machine. Time that passes does.
#[test]
fn strangers_are_forgotten_by_time_that_has_passed_and_not_by_the_clock() {
    const DAY: u64 = 86_400_000;
    let retention = Duration::from_millis(30 * DAY);
    let mut before = registry();
    before.apply(NOW, &told(mac(1), None, None), |_| None);
    let known: Vec<_> = before.machines().cloned().collect();
    let absence = Some(Absence { written: NOW, believed: DAY });
    let ahead = UnixMs(NOW.0 + 400 * DAY);
    for (wall, back) in [(ahead, -400), (UnixMs(1), 11)] {
        let mut registry = registry();
        registry.resume(wall, known.clone(), absence);
        registry.expire(wall, retention);
        let later = UnixMs(wall.0 + 28 * DAY);
        registry.expire(later, retention);
        assert_eq!(registry.machines.len(), 1, "29 days");
        let back = back * i64::try_from(DAY).unwrap();
        registry.clock_set(back);
        let later = UnixMs(later.0.saturating_add_signed(back));
        registry.expire(later, retention);
        assert_eq!(registry.machine(mac(1)).unwrap().shown.last_seen, NOW, "of the clock of then");
        registry.expire(UnixMs(later.0 + 2 * DAY), retention);
        assert_eq!(registry.machines.len(), 0, "31 days");
    }
}
