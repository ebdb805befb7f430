//! Whole boots, with the server's packets written here.

use std::net::Ipv4Addr;

use super::*;
use crate::dhcp::{LEN_MAX, Template};
use crate::manners::Firmware;
use crate::script::{Crew, address};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 1);
const TID: u16 = 61000;
const NOW: Timestamp = Timestamp::from_micros(1_000_000);
const DIRECT: &[u8] = b"\x2b\x04\x06\x01\x08\xff";

fn script(kind: Kind, dhcp: Dhcp, misses: u16) -> Script {
    let files = vec![("small".to_owned(), vec![7; 600]), ("large".to_owned(), vec![8; 700])];
    Script::new(SERVER, dhcp, Crew::All(kind), 512, 1).loading(files, misses)
}

/// A machine and everything that it said.
struct Stage {
    script: Script,
    machine: Machine,
    said: Vec<Word>,
    /// The transaction of the server's answers, if not the machine's present one.
    xid: Option<u32>,
    /// Who answers.
    server: Ipv4Addr,
}

impl Stage {
    fn start(script: Script) -> Self {
        let mut machine = Machine::new(3, &script);
        let mut said = Vec::new();
        machine.start(NOW, &script, &mut |word| said.push(word));
        Self { script, machine, said, xid: None, server: SERVER }
    }

    fn said(&mut self) -> Vec<Word> {
        std::mem::take(&mut self.said)
    }

    fn answer(&mut self, from: u16, to: u16, kind: u8, file: &str, more: &[u8]) -> Option<Duration> {
        let mut message = [0; LEN_MAX];
        let xid = self.xid.unwrap_or(self.machine.xid);
        Template::discover(Firmware::Ipxe).write(3, address(3), xid, &mut message);
        message[0] = 2;
        message[20..24].copy_from_slice(&self.server.octets());
        message[108..108 + file.len()].copy_from_slice(file.as_bytes());
        let options = [&[53, 1, kind, 54, 4, 10, 50, 0, 1], &b"\x3c\x09PXEClient"[..], more, &[255]].concat();
        message[240..240 + options.len()].copy_from_slice(&options);
        let said = &mut self.said;
        let from = SocketAddrV4::new(self.server, from);
        self.machine.answer(NOW, &self.script, from, to, &message, &mut |word| said.push(word))
    }

    fn packet(&mut self, to: u16, packet: &[u8]) -> Vec<Word> {
        let said = &mut self.said;
        self.machine.receive(NOW, &self.script, TID, to, packet, &mut |word| said.push(word));
        self.said()
    }

    fn later(&mut self, seconds: u64) -> Vec<Word> {
        let said = &mut self.said;
        let now = Timestamp::from_micros(1_000_000 * (1 + seconds));
        self.machine.on_time(now, &self.script, &mut |word| said.push(word));
        self.said()
    }
}

fn request(item: u16, probe: bool, from: u16) -> Word {
    Word { what: What::Request { item, probe }, from, to: 69, server: 0 }
}

fn ack(block: u16, from: u16) -> Word {
    Word { what: What::Ack(block), from, to: TID, server: 0 }
}

#[test]
fn pxelinux_loads_misses_and_loads_from_a_new_port_each_time() {
    let mut stage = Stage::start(script(Kind::Pxelinux, Dhcp::Boot, 1));
    assert!(matches!(stage.said()[..], [Word { what: What::Discover { .. }, from: 68, to: 67, .. }]));
    assert_eq!(stage.answer(67, 68, 2, "small", DIRECT), Some(Duration::ZERO));
    assert_eq!(stage.said(), [request(0, false, 2070)]);
    assert_eq!(stage.packet(2070, b"\0\x06blksize\x001408\0tsize\x00600\0"), [ack(0, 2070)]);
    let data = |byte, len| [&[0, 3, 0, 1], &vec![byte; len][..]].concat();
    assert_eq!(stage.packet(2070, &data(7, 600)), [ack(1, 2070), request(1, false, 2071)]);
    assert_eq!(stage.packet(2070, &data(7, 600)), [], "the old port is closed");
    assert_eq!(stage.packet(2071, b"\0\x05\0\x01no\0"), [request(2, false, 2072)]);
    assert_eq!(stage.packet(2072, b"\0\x06blksize\x001408\0tsize\x00700\0"), [ack(0, 2072)]);
    assert_eq!(stage.packet(2072, &data(8, 700)), [ack(1, 2072)]);
    assert_eq!((stage.machine.state, stage.machine.counters.data_frames), (State::Done, 2));
}

#[test]
fn edk2_asks_for_the_size_then_loads_from_another_port() {
    let mut stage = Stage::start(script(Kind::Edk2, Dhcp::Boot, 0));
    stage.answer(67, 68, 2, "small", DIRECT);
    assert!(stage.said().contains(&request(0, true, 2070)));
    let said = stage.packet(2070, b"\0\x06tsize\x00600\0blksize\x001468\0windowsize\x004\0");
    assert_eq!(said, [Word { what: What::Abort, from: 2070, to: TID, server: 0 }, request(0, false, 2071)]);
    assert_eq!(stage.packet(2071, b"\0\x06blksize\x001468\0windowsize\x004\0"), [ack(0, 2071)]);
}

#[test]
fn a_bare_offer_sends_edk2_to_the_boot_server_from_its_own_port() {
    let mut stage = Stage::start(script(Kind::Edk2, Dhcp::Boot, 0));
    let discovered = stage.machine.xid;
    stage.said();
    stage.answer(67, 68, 2, "", b"");
    assert!(
        matches!(stage.said()[..], [Word { what: What::BootServer { xid }, from: 4011, to: 4011, .. }] if xid != discovered)
    );
    assert!(matches!(stage.later(1)[..], [Word { what: What::BootServer { .. }, .. }]), "said again");
    assert_eq!(stage.answer(4011, 68, 5, "small", b""), None);
    assert_eq!(stage.said(), [], "it listens on 4011 only");
    stage.answer(4011, 4011, 5, "small", b"");
    assert_eq!(stage.said(), [request(0, true, 2070)]);
    assert_eq!((stage.machine.counters.offers, stage.machine.counters.repeats_discover), (1, 1));
}

#[test]
fn of_several_servers_the_machine_follows_the_one_whose_offer_it_takes() {
    let other = Ipv4Addr::new(10, 50, 0, 2);
    let mut script = script(Kind::Ipxe, Dhcp::Boot, 0);
    script.servers.push(other);
    let mut stage = Stage::start(script);
    stage.said();
    stage.server = Ipv4Addr::new(10, 50, 0, 9);
    assert_eq!(stage.answer(67, 68, 2, "small", DIRECT), None, "a stranger's offer is not taken");
    stage.server = other;
    assert!(stage.answer(67, 68, 2, "small", DIRECT).is_some());
    assert_eq!(stage.said(), [Word { server: 1, ..request(0, false, 2070) }]);
    stage.server = SERVER;
    assert_eq!(stage.answer(67, 68, 2, "small", DIRECT), None, "the second offer comes too late");
    assert_eq!(stage.machine.server(), 1);
}

#[test]
fn another_file_than_the_first_ends_the_boot() {
    let mut stage = Stage::start(script(Kind::Ipxe, Dhcp::Boot, 0));
    stage.answer(67, 68, 2, "other", DIRECT);
    assert_eq!(stage.machine.state, State::Failed(Failure::Refused));
}

#[test]
fn for_a_rate_each_offer_is_followed_by_a_discover_of_its_own() {
    let mut stage = Stage::start(script(Kind::Ipxe, Dhcp::Rate(2), 0));
    let first = stage.machine.xid;
    stage.said();
    assert!(stage.answer(67, 68, 2, "", b"").is_some());
    assert!(matches!(stage.said()[..], [Word { what: What::Discover { xid }, .. }] if xid != first));
    assert!(stage.answer(67, 68, 5, "", b"").is_none(), "no OFFER");
    assert_eq!(stage.later(0), []);
    for second in 1..=9 {
        assert_eq!(stage.later(second).len(), 1, "it never gives up");
    }
    stage.answer(67, 68, 2, "", b"");
    assert_eq!((stage.machine.state, stage.machine.counters.repeats_discover), (State::Done, 9));
}

#[test]
fn an_answer_to_an_older_question_is_not_heard() {
    let mut stage = Stage::start(script(Kind::Ipxe, Dhcp::Rate(3), 0));
    let old = stage.machine.xid;
    assert!(stage.answer(67, 68, 2, "", b"").is_some());
    let new = stage.xid.replace(old);
    assert!(stage.answer(67, 68, 2, "", b"").is_none());
    stage.xid = new;
    assert!(stage.answer(67, 68, 2, "", b"").is_some());
}

#[test]
fn silence_after_power_on_ends_the_boot() {
    let mut stage = Stage::start(script(Kind::Edk2, Dhcp::Boot, 0));
    stage.said();
    let again: usize = (1..=100).map(|second| stage.later(second).len()).sum();
    assert_eq!((again, stage.machine.state), (3, State::Failed(Failure::Silence)));
}

#[test]
fn time_outs_are_counted_by_what_was_said_again() {
    let mut stage = Stage::start(script(Kind::Plain, Dhcp::Skip, 0));
    assert_eq!(stage.said(), [request(0, false, 2070)]);
    assert_eq!(stage.later(1), [request(0, false, 2070)]);
    stage.packet(2070, b"\0\x06blksize\x00512\0");
    assert_eq!(stage.later(1), [ack(0, 2070)]);
    assert_eq!((stage.machine.counters.repeats_rrq, stage.machine.counters.repeats_ack), (1, 1));
}

#[test]
fn a_machine_that_gave_up_is_switched_on_again_as_often_as_the_script_says() {
    let mut script = script(Kind::Ipxe, Dhcp::Boot, 0);
    script.again = 1;
    let mut stage = Stage::start(script);
    stage.answer(67, 68, 2, "small", DIRECT);
    stage.said();
    assert_eq!(stage.packet(2070, b"\0\x05\0\0busy\0"), []);
    assert_eq!((stage.machine.state, stage.machine.is_over()), (State::Resting, false));
    assert!(matches!(stage.later(1)[..], [Word { what: What::Discover { .. }, .. }]), "from the beginning");
    stage.answer(67, 68, 2, "small", DIRECT);
    assert_eq!(stage.said(), [request(0, false, 2071)], "from a new port");
    stage.packet(2071, b"\0\x05\0\0busy\0");
    assert_eq!(stage.machine.state, State::Failed(Failure::Refused));
    assert_eq!(stage.machine.counters.begun_again, 1);
}
