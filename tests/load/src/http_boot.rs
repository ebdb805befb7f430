//! Whole boots of UEFI's HTTP client, behind a relay: DISCOVER, an offer with a URL, HEAD and GET of the file that it names.
//!
//! The relay is an ordinary socket of this host (RFC 1542, section 4). It forwards the DISCOVERs of all machines, as one of a
//! lab's routers does. So each DISCOVER needs no Ethernet address of its own, and the machines' TCP may be the kernel's.
//! Captured firmware asks (`ovmf-http-discover.bin`), and takes of an offer what EDK2 does: `HttpBootDhcp4.c`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context as _, Result};
use pxe_kit::figures::percentiles;
use pxe_nic::xsk::Statistics;
use pxe_proto::time::Timestamp;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::dhcp::{Answer, LEN_MAX, Template, addressee};
use super::http::{Client, Connection, ReadOutcome};
use super::report::{Effort, Report, offer_percentiles};
use crate::clock::Clock;

/// DHCP servers and relays.
const DHCP: u16 = 67;
/// EDK2's first time-out for an offer.
const PATIENCE: Duration = Duration::from_secs(4);
/// DISCOVERs after which a machine gives up.
const TRIES: u8 = 3;
/// The relay's socket among the connections.
const RELAY: u64 = u64::MAX;
const SLEEP: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
/// Messages that are read before connections have their turn.
const MESSAGES: usize = 256;

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many machines, where their HTTP server is, and which file they must get.
    pub client: Client,
    /// The relay's address, which is this host's.
    pub relay: Ipv4Addr,
    /// Time over which the machines are switched on.
    pub power_on: Duration,
    /// The longest that the run may take.
    pub limit: Duration,
}

/// A machine that is switched on.
#[derive(Clone, Copy, Debug)]
struct Machine {
    began: Timestamp,
    asked: Timestamp,
    tries: u8,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Asking,
    Loading,
    Done,
    Failed,
}

struct Boots<'a> {
    plan: &'a Plan,
    machines: Vec<Machine>,
    connections: BTreeMap<u32, Connection>,
    relay: UdpSocket,
    template: Template,
    offers: Vec<u32>,
    times: Vec<f64>,
    report: Report,
}

/// Runs the plan.
///
/// # Errors
/// When sockets cannot be had.
pub fn run(plan: &Plan) -> Result<Report> {
    let address = SocketAddrV4::new(plan.relay, DHCP);
    let relay = UdpSocket::bind(address).with_context(|| format!("binding the relay's {address}"))?;
    relay.set_nonblocking(true)?;
    let waiting = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&waiting, &relay, epoll::EventData::new_u64(RELAY), epoll::EventFlags::IN)?;
    let mut boots = Boots {
        plan,
        machines: Vec::new(),
        connections: BTreeMap::new(),
        relay,
        template: Template::http_discover(plan.relay),
        offers: Vec::new(),
        times: Vec::new(),
        report: Report::default(),
    };
    let clock = Clock::start();
    let mut effort = Effort::start(clock.now());
    let mut buffer = vec![0; super::http::BUFFER];
    let mut events = Vec::with_capacity(1024);
    loop {
        events.clear();
        match epoll::wait(&waiting, rustix::buffer::spare_capacity(&mut events), Some(&SLEEP)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for answers"),
        }
        effort.turn(clock.now(), events.len() as u64);
        for event in &events {
            match event.data.u64() {
                RELAY => boots.hear(&clock, &waiting)?,
                index => boots.read(clock.now(), index as u32, &mut buffer, &waiting)?,
            }
        }
        let now = clock.now();
        boots.switch_on(now)?;
        let over = boots.look_at_the_time(now)?;
        if over || now.since(Timestamp::default()) > plan.limit {
            return Ok(boots.finish(now, &mut effort));
        }
    }
}

impl Boots<'_> {
    fn switch_on(&mut self, now: Timestamp) -> Result<()> {
        let count = self.plan.client.connections;
        let due = |index: u32| {
            let share = self.plan.power_on.as_micros() as u64 * u64::from(index) / u64::from(count.max(1));
            now.as_micros() >= share
        };
        let first = self.machines.len() as u32;
        let last = (first..count).take_while(|index| due(*index)).last();
        for index in first..last.map_or(first, |last| last + 1) {
            self.machines.push(Machine { began: now, asked: now, tries: 1, state: State::Asking });
            self.discover(index)?;
        }
        Ok(())
    }

    fn discover(&self, index: u32) -> Result<()> {
        let mut message = [0; LEN_MAX];
        let len = self.template.write(index, Ipv4Addr::UNSPECIFIED, index, &mut message);
        let server = SocketAddrV4::new(*self.plan.client.server.ip(), DHCP);
        match self.relay.send_to(&message[..len], server) {
            Ok(_) => Ok(()),
            // It counts as lost, and the machine asks again.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error).context("the relay cannot send"),
        }
    }

    /// Reads what servers send to the relay.
    fn hear(&mut self, clock: &Clock, waiting: &impl AsFd) -> Result<()> {
        let mut message = [0; 2048];
        for _ in 0..MESSAGES {
            let len = match self.relay.recv(&mut message) {
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("the relay cannot receive"),
            };
            let (Some(index), Some(answer)) = (addressee(&message[..len]), Answer::parse(&message[..len]))
            else {
                continue;
            };
            let Some(machine) = self.machines.get_mut(index as usize) else { continue };
            if machine.state != State::Asking || answer.xid != index || !answer.is_http_offer() {
                continue;
            }
            let now = clock.now();
            self.offers.push(now.since(machine.asked).as_micros() as u32);
            self.report.counters.offers += 1;
            if answer.url() == self.plan.client.url() {
                machine.state = State::Loading;
                let connection = Connection::open(&self.plan.client, index, now, waiting)?;
                self.connections.insert(index, connection.with_head_first());
            } else {
                machine.state = State::Failed;
            }
        }
        Ok(())
    }

    /// A connection is ready.
    fn read(&mut self, now: Timestamp, index: u32, buffer: &mut [u8], waiting: &impl AsFd) -> Result<()> {
        let Some(connection) = self.connections.get_mut(&index) else { return Ok(()) };
        let machine = &mut self.machines[index as usize];
        match connection.turn(&self.plan.client, buffer, waiting)? {
            ReadOutcome::Reads | ReadOutcome::Waits => return Ok(()),
            ReadOutcome::Done => {
                machine.state = State::Done;
                self.report.done += 1;
                self.report.bytes += self.plan.client.file.len() as u64;
                self.report.seconds = now.since(self.machines[0].began).as_secs_f64();
                self.times.push(now.since(self.machines[index as usize].began).as_secs_f64());
            }
            failed @ (ReadOutcome::Failed | ReadOutcome::Wrong) => {
                machine.state = State::Failed;
                self.report.wrong += u64::from(failed == ReadOutcome::Wrong);
            }
        }
        self.connections.remove(&index);
        Ok(())
    }

    /// Asks again where it is due; true when nobody has anything to do any more.
    fn look_at_the_time(&mut self, now: Timestamp) -> Result<bool> {
        let mut again = Vec::new();
        let mut over = self.machines.len() as u32 == self.plan.client.connections;
        for (index, machine) in (0..).zip(&mut self.machines) {
            if machine.state == State::Asking && now.since(machine.asked) >= PATIENCE {
                if machine.tries == TRIES {
                    machine.state = State::Failed;
                } else {
                    (machine.tries, machine.asked) = (machine.tries + 1, now);
                    again.push(index);
                }
            }
            over &= matches!(machine.state, State::Done | State::Failed);
        }
        self.report.counters.repeats_discover += again.len() as u64;
        again.into_iter().try_for_each(|index| self.discover(index))?;
        Ok(over)
    }

    fn finish(mut self, now: Timestamp, effort: &mut Effort) -> Report {
        let count = u64::from(self.plan.client.connections);
        self.report.failed = count - self.report.done;
        self.report.percentiles = percentiles(&mut self.times);
        self.report.offer_percentiles = Some(offer_percentiles(&mut self.offers));
        effort.finish(now, Statistics::default(), self.report)
    }
}
