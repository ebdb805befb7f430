//! More machines than slots: requests wait in turn, and forged requests keep no real machine from a slot.

use std::net::{Ipv4Addr, SocketAddrV4};

use pxe_engine::counters::Counter;
use pxe_proto::dhcp::BootService;
use pxe_proto::tftp::send_session::TransferOutcome;
use pxe_proto::time::Timestamp;

use crate::clients::{self, Client, Manners, State};
use crate::network::{Network, Weather};
use crate::simulation::CALM;
use crate::support::*;

const OPTIONS: &[(&str, &str)] = &[("blksize", "8"), ("windowsize", "4")];
const TFTP: SocketAddrV4 = SocketAddrV4::new(SERVER, 69);

fn machine(n: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 0, 1, n), 2070)
}

/// Machines and a server with eight slots.
struct Crowd {
    lab: Lab,
    network: Network,
    /// The clients, indexed by the last byte of their address.
    clients: Vec<Client>,
    /// Forged requests: when they arrive, and from which address.
    forged: Vec<(Timestamp, SocketAddrV4)>,
    refused: u64,
}

impl Crowd {
    fn new(size: usize, weather: Weather, manners: impl IntoIterator<Item = (Timestamp, Manners)>) -> Self {
        let lab = Lab::with(settings(), BootService::new(SERVER), &[("file", &content(size))]);
        let clients = (0..).zip(manners).map(|(n, (at, manners))| Client::at(at, manners, machine(n)));
        let clients = clients.collect();
        Self { lab, network: Network::new(1, weather), clients, forged: Vec::new(), refused: 0 }
    }

    /// Runs until no packet, timer or forged request is left.
    fn play(&mut self) {
        self.forged.reverse();
        let mut steps = 0u64;
        loop {
            for client in &mut self.clients {
                for (from, to, payload) in client.out.drain(..) {
                    self.network.send(self.lab.now(), true, (from, to), &payload);
                }
            }
            for sent in std::mem::take(&mut self.lab.notes.sent) {
                self.refused += u64::from(matches!(sent.said(), Said::Error(0)));
                self.network.send(self.lab.now(), false, (sent.route.from, sent.route.to), &sent.payload);
            }
            let timer = self.lab.responder.next_deadline();
            let forged = self.forged.last().map(|(at, _)| *at);
            let clients = self.clients.iter().filter_map(|client| client.deadline);
            let others = [self.network.next(), timer, forged].into_iter().flatten();
            let Some(next) = clients.chain(others).min() else { break };
            let now = next.max(self.lab.now());
            self.lab.notes.now = now;
            if timer.is_some_and(|at| at <= now) {
                self.lab.responder.poll(now, &mut self.lab.notes);
            }
            self.clients.iter_mut().for_each(|client| client.on_time(now));
            while let Some((_, from)) = self.forged.pop_if(|(at, _)| *at <= now) {
                self.deliver(from, TFTP, &rrq("file", OPTIONS));
            }
            while let Some(flight) = self.network.arrive(now) {
                if flight.to_server {
                    self.deliver(flight.from, flight.to, &flight.payload);
                } else if let [10, 0, 1, n] = flight.to.ip().octets() {
                    self.clients[usize::from(n)].receive(now, flight.from, flight.to, &flight.payload);
                }
            }
            steps += 1;
            assert!(steps < 3_000_000, "it never ends");
        }
        self.lab.assert_idle();
        assert_eq!(self.lab.responder.pending(), 0);
    }

    fn deliver(&mut self, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) {
        let before = std::mem::take(&mut self.lab.notes.sent);
        let new = self.lab.say_as(from, to, payload);
        self.lab.notes.sent = [before, new].concat();
    }

    fn assert_all_served(&self, case: &str) {
        for (n, client) in self.clients.iter().enumerate() {
            assert_eq!(client.state, State::Done, "{case}: machine {n}");
        }
        assert_eq!(self.refused, 0, "{case}: an ERROR");
    }
}

/// Clients without a pause after the OACK. A client that pauses needs a free slot for that long, which these
/// tests do not provide.
fn hurried() -> impl Iterator<Item = Manners> + Clone {
    clients::ALL.into_iter().map(|manners| Manners { ponders: 0, ..manners })
}

#[test]
fn forty_machines_share_eight_slots() {
    for manners in hurried() {
        // In lock-step a transfer takes 2 s, so the last clients wait for 8 s.
        let weather = Weather { delay: 10_000, ..CALM };
        let mut crowd = Crowd::new(100 * 1000, weather, [(ms(0), manners); 40]);
        crowd.play();
        crowd.assert_all_served(manners.name);
        let count = |what: Counter| crowd.lab.count(what);
        assert!(count(Counter::Waited) >= 32, "{}: {}", manners.name, count(Counter::Waited));
        assert_eq!(count(Counter::AdmittedLate), count(Counter::Waited), "{}", manners.name);
        assert_eq!(count(Counter::Complete), 40, "{}", manners.name);
    }
}

#[test]
fn machines_of_all_kinds_share_eight_slots() {
    let weather = Weather { delay: 5_000, loss: 10, ..CALM };
    let mixed = (0u64..).zip(hurried().cycle()).map(|(n, manners)| (ms(n * 20), manners)).take(40);
    let mut crowd = Crowd::new(100 * 1000, weather, mixed);
    crowd.play();
    crowd.assert_all_served("mixed");
}

/// clients.md, section 5, line 9: forged requests arrive slowly or all at once, while real machines boot.
#[test]
fn line_9_a_flood_of_forged_requests_keeps_nobody_out() {
    for pause in [0u64, 100, 1000] {
        let real = hurried().chain([clients::IPXE]).map(|manners| (ms(0), manners));
        let mut crowd = Crowd::new(100 * 1000, Weather { delay: 5_000, ..CALM }, real);
        let forged = (0..10_000u32).map(|n| {
            let [_, _, a, b] = n.to_be_bytes();
            let from = SocketAddrV4::new(Ipv4Addr::new(10, 7, a, b), 2000);
            (Timestamp::from_micros(u64::from(n) * pause), from)
        });
        crowd.forged = forged.collect();
        crowd.play();
        let case = format!("every {pause} us");
        crowd.assert_all_served(&case);
        let count = |what: Counter| crowd.lab.count(what);
        assert_eq!(count(Counter::Complete), 8, "{case}");
        assert!(count(Counter::GaveWay) > 0, "{case}: {}", count(Counter::GaveWay));
        assert!(count(Counter::Forgotten) >= 5000, "{case}: {}", count(Counter::Forgotten));
        let waited = [Counter::AdmittedLate, Counter::RefusedLate, Counter::Forgotten].map(count);
        assert_eq!(waited.iter().sum::<u64>(), count(Counter::Waited), "{case}");
    }
}

/// A server on which eight clients hold all slots, and [`CLIENT`] has none.
fn full() -> Lab {
    let mut lab = Lab::new(&[("file", &content(800))]);
    for n in 0..8 {
        assert_eq!(lab.say_as(machine(n), TFTP, &rrq("file", OPTIONS)).len(), 1);
    }
    lab
}

/// Like [`full`], but all eight clients have acknowledged their OACK.
fn busy() -> Lab {
    let mut lab = full();
    for (client, port) in lab.notes.opened.clone() {
        lab.say_as(client, SocketAddrV4::new(SERVER, port), &ack(0));
    }
    lab
}

#[test]
fn who_waits_takes_the_slot_of_a_transfer_that_ends() {
    let mut lab = busy();
    assert_eq!(lab.say(69, &rrq("file", OPTIONS)), []);
    let (other, newcomer) = (machine(100), machine(101));
    assert!(lab.say_as(other, TFTP, &rrq("file", OPTIONS)).is_empty());
    assert!(lab.say_as(other, TFTP, &rrq("file", OPTIONS)).is_empty());
    let mut holders = lab.notes.opened.clone().into_iter();
    let mut end = |lab: &mut Lab| {
        let (client, port) = holders.next().unwrap();
        let sent = lab.say_as(client, SocketAddrV4::new(SERVER, port), &error(0));
        sent.iter().map(|sent| (sent.route.to, sent.said())).collect::<Vec<_>>()
    };
    let oack = Said::Oack("blksize 8 windowsize 4 ".into());
    // This client came later, but it has repeated its request.
    assert_eq!(end(&mut lab), [(other, oack.clone())]);
    // A new client waits behind those in the queue. A client that has a slot does not wait.
    assert!(lab.say_as(newcomer, TFTP, &rrq("file", OPTIONS)).is_empty());
    let sent = lab.say_as(other, TFTP, &rrq("file", &OPTIONS[..1]));
    assert_eq!(sent[0].said(), Said::Oack("blksize 8 ".into()));
    // A new request replaces the client's earlier one in the queue.
    assert_eq!(lab.say(69, &rrq("file", &OPTIONS[..1])), []);
    assert_eq!(end(&mut lab), [(CLIENT, Said::Oack("blksize 8 ".into()))]);
    assert_eq!(end(&mut lab), [(newcomer, oack)]);
    let count = |what: Counter| lab.count(what);
    assert_eq!(
        (count(Counter::Waited), count(Counter::AdmittedLate), count(Counter::WaitedChanged)),
        (3, 3, 1)
    );
}

/// A request for a file that does not exist needs its slot for a moment only, so the next request follows at
/// once.
#[test]
fn a_refused_file_lets_the_next_one_in() {
    let mut lab = busy();
    assert_eq!(lab.say(69, &rrq("nowhere", OPTIONS)), []);
    assert!(lab.say_as(machine(100), TFTP, &rrq("file", OPTIONS)).is_empty());
    let (client, port) = lab.notes.opened.first().copied().unwrap();
    let sent = lab.say_as(client, SocketAddrV4::new(SERVER, port), &error(0));
    let said: Vec<_> = sent.iter().map(|sent| (sent.route.to, sent.said())).collect();
    assert_eq!(
        said,
        [(CLIENT, Said::Error(1)), (machine(100), Said::Oack("blksize 8 windowsize 4 ".into()))]
    );
}

#[test]
fn who_asks_in_vain_is_refused_and_who_asks_once_is_forgotten() {
    let mut lab = busy();
    let asked = lab.now();
    lab.say(69, &rrq("file", OPTIONS));
    lab.say_as(machine(100), TFTP, &rrq("file", OPTIONS));
    lab.wait(250);
    lab.say(69, &rrq("file", OPTIONS));
    let sent = lab.wait(20_000);
    let errors: Vec<_> = sent.iter().filter(|sent| sent.said() == Said::Error(0)).collect();
    let [error] = errors[..] else { panic!("{errors:?}") };
    assert_eq!(
        (error.route.to, error.route.from.ip(), error.at.since(asked).as_millis()),
        (CLIENT, &SERVER, 15_000)
    );
    assert_eq!((lab.count(Counter::RefusedLate), lab.count(Counter::Forgotten)), (1, 1));
    assert_eq!(lab.responder.pending(), 0);
}

#[test]
fn when_all_places_are_taken_by_the_living_a_newcomer_is_refused_at_once() {
    let mut lab = busy();
    for n in 0..1024u16 {
        let from = SocketAddrV4::new(machine(200).ip().to_owned(), 5000 + n);
        for _ in 0..2 {
            assert!(lab.say_as(from, TFTP, &rrq("file", OPTIONS)).is_empty());
        }
    }
    assert_eq!(lab.say(69, &rrq("file", OPTIONS)), [Said::Error(0)]);
    assert_eq!((lab.count(Counter::Full), lab.responder.pending()), (1, 1024));
}

/// clients.md, section 6, line 27, applies while there is room, or while no client in the queue has repeated
/// its request.
#[test]
fn who_was_never_heard_gives_way_to_who_asks_again() {
    let mut lab = full();
    let begun = lab.now();
    lab.wait(10_000);
    assert_eq!(lab.say(69, &rrq("file", OPTIONS)), []);
    assert_eq!(lab.responder.active(), 8, "it may be forged itself");
    lab.wait(250);
    assert_eq!(lab.say(69, &rrq("file", OPTIONS)), [Said::Oack("blksize 8 windowsize 4 ".into())]);
    assert_eq!((lab.count(Counter::GaveWay), lab.outcomes()), (1, vec![TransferOutcome::TimedOut]));
    // A transfer that has just begun keeps its slot.
    let mut lab = full();
    for _ in 0..2 {
        assert_eq!(lab.say(69, &rrq("file", OPTIONS)), []);
    }
    let sent = lab.wait(5000);
    let admitted = sent.iter().find(|sent| sent.route.to == CLIENT).unwrap();
    assert_eq!(admitted.at.since(begun).as_secs(), 3);
}
