//! One simulated machine from power-on to its last file: asks who boots it, then loads one thing after the other. Pure.

use std::net::SocketAddrV4;
use std::time::Duration;

use pxe_proto::tftp::Block;
use pxe_proto::time::Timestamp;

use super::dhcp::{Answer, Next};
use super::manners::{Firmware, Kind};
use super::script::{Dhcp, Item, Script, TFTP};
use super::transfer::{ClientAction, Failure, Steady, Transfer};

/// Ports in use before the first comes again. From the default first one on, all are below 4011.
const PORTS: u32 = 1900;
/// Time-out of a machine that only counts offers.
const RATE_WAIT: Duration = Duration::from_secs(1);
/// How long somebody who switches a machine on again needs for it: firmware's own self-test is longer.
const REST: Duration = Duration::from_secs(1);

/// What a machine says, and from where to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The matter.
    pub what: What,
    /// The machine's port.
    pub from: u16,
    /// The server's port.
    pub to: u16,
    /// The number of the server in [`Script::servers`]. A DISCOVER goes to all.
    pub server: u8,
}

/// The matter of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// DISCOVER, broadcast.
    Discover {
        /// Transaction.
        xid: u32,
    },
    /// REQUEST to the boot server.
    BootServer {
        /// Transaction.
        xid: u32,
    },
    /// RRQ for an item of the script.
    Request {
        /// Which.
        item: u16,
        /// For the size only.
        probe: bool,
    },
    /// An ACK of this block, modulo 65536.
    Ack(u16),
    /// ERROR 8: the size is known.
    Abort,
}

/// Where a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Switched off.
    Off,
    /// Waits for an OFFER.
    Discovering,
    /// Waits for the boot server's answer.
    AskingBootServer,
    /// Loads an item.
    Loading,
    /// It has everything.
    Done,
    /// It gave up, and is switched on again in a moment.
    Resting,
    /// It gave up for good.
    Failed(Failure),
}

/// What a machine counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// RRQs said again after a time-out.
    pub repeats_rrq: u64,
    /// ACKs said again after a time-out.
    pub repeats_ack: u64,
    /// DISCOVERs and boot-server requests said again after a time-out.
    pub repeats_discover: u64,
    /// DATA packets that arrived for its transfers.
    pub data_frames: u64,
    /// OFFERs that it took.
    pub offers: u64,
    /// Times that it gave up and was switched on again.
    pub begun_again: u64,
    /// Files that came in another version than their first.
    pub later_versions: u64,
}

/// One machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Where it is.
    pub state: State,
    /// When it was switched on.
    pub started: Timestamp,
    /// When it had an OFFER for the first time.
    pub offered: Option<Timestamp>,
    /// When it had everything.
    pub finished: Timestamp,
    /// Its counts.
    pub counters: Counters,
    /// How long it took, for each time that it has loaded everything.
    pub times: Vec<Duration>,
    /// When it began to load what it loads now.
    began: Timestamp,
    index: u32,
    kind: Kind,
    /// The server that it follows: see [`Word::server`].
    server: u8,
    /// The item that it is at.
    item: u16,
    /// Transfers begun, for the port.
    transfers: u32,
    transfer: Transfer,
    /// The DHCP exchange: its transaction, its beginning, its end of patience, and how often it was repeated.
    xid: u32,
    asked: Timestamp,
    deadline: Timestamp,
    repeats: u8,
}

impl Machine {
    /// The `index`-th machine, switched off.
    pub fn new(index: u32, script: &Script) -> Self {
        let zero = Timestamp::default();
        Self {
            state: State::Off,
            started: zero,
            offered: None,
            finished: zero,
            counters: Counters::default(),
            times: Vec::new(),
            began: zero,
            index,
            kind: script.kind(index),
            server: 0,
            item: 0,
            transfers: 0,
            transfer: Transfer::default(),
            xid: 0,
            asked: zero,
            deadline: zero,
            repeats: 0,
        }
    }

    /// Whether it is done or gave up.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Done | State::Failed(_))
    }

    /// The firmware or loader that it plays.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The number of the server whose offer it follows, in [`Script::servers`].
    pub fn server(&self) -> u8 {
        self.server
    }

    /// Switched on.
    pub fn start(&mut self, now: Timestamp, script: &Script, say: &mut impl FnMut(Word)) {
        (self.started, self.began) = (now, now);
        self.boot(now, script, say);
    }

    fn boot(&mut self, now: Timestamp, script: &Script, say: &mut impl FnMut(Word)) {
        self.item = 0;
        match script.dhcp {
            Dhcp::Skip => self.load(now, script, say),
            Dhcp::Boot | Dhcp::Rate(_) => self.ask(now, script, State::Discovering, say),
        }
    }

    /// A DHCP answer from a server. The time from the first DISCOVER if it is an OFFER that the machine takes.
    pub fn answer(
        &mut self,
        now: Timestamp,
        script: &Script,
        from: SocketAddrV4,
        to: u16,
        message: &[u8],
        say: &mut impl FnMut(Word),
    ) -> Option<Duration> {
        let answer = Answer::parse(message).filter(|answer| answer.xid == self.xid)?;
        let server = script.server(*from.ip())?;
        match (self.state, from.port()) {
            (State::Discovering, 67) if to == 68 && answer.is_offer() => {
                let took = now.since(self.asked);
                self.counters.offers += 1;
                self.offered.get_or_insert(now);
                self.server = server;
                self.offer(now, script, &answer, say);
                Some(took)
            }
            (State::AskingBootServer, 4011)
                if to == self.kind.firmware().boot_server_port() && server == self.server =>
            {
                match answer.follow_boot_server(self.kind.firmware(), script.boot_file(), *from.ip()) {
                    Ok(()) => self.load(now, script, say),
                    Err(failure) => self.give_up(now, script, failure),
                }
                None
            }
            _ => None,
        }
    }

    fn offer(&mut self, now: Timestamp, script: &Script, answer: &Answer<'_>, say: &mut impl FnMut(Word)) {
        let again = match script.dhcp {
            Dhcp::Rate(count) if self.counters.offers < u64::from(count) => Ok(State::Discovering),
            Dhcp::Rate(_) => Ok(State::Done),
            Dhcp::Skip | Dhcp::Boot => {
                let server = script.address_of(self.server);
                match answer.follow(self.kind.firmware(), script.boot_file(), server) {
                    Ok(Next::Load) => Ok(State::Loading),
                    Ok(Next::BootServer) => Ok(State::AskingBootServer),
                    Err(failure) => Err(failure),
                }
            }
        };
        match again {
            Ok(State::Loading) => self.load(now, script, say),
            Ok(State::Done) => self.finish(now),
            Ok(state) => self.ask(now, script, state, say),
            Err(failure) => self.give_up(now, script, failure),
        }
    }

    /// Begins a DHCP exchange.
    fn ask(&mut self, now: Timestamp, script: &Script, state: State, say: &mut impl FnMut(Word)) {
        (self.state, self.asked, self.repeats) = (state, now, 0);
        // Below, the machine; above, the exchange, so that a late answer is known. iPXE asks 4011 with its old one.
        if state == State::Discovering || self.kind.firmware() == Firmware::Edk2 {
            self.xid = (self.xid & 0xfff0_0000).wrapping_add(0x0010_0000) | (self.index & 0x000f_ffff);
        }
        self.deadline = now + self.patience(script).unwrap_or_default();
        say(self.question());
    }

    fn question(&self) -> Word {
        let xid = self.xid;
        if self.state == State::Discovering {
            return Word { what: What::Discover { xid }, from: 68, to: 67, server: self.server };
        }
        let from = self.kind.firmware().boot_server_port();
        Word { what: What::BootServer { xid }, from, to: 4011, server: self.server }
    }

    fn patience(&self, script: &Script) -> Option<Duration> {
        let firmware = self.kind.firmware();
        match (script.dhcp, self.state) {
            (Dhcp::Rate(_), _) => Some(RATE_WAIT),
            (_, State::AskingBootServer) => firmware.boot_server_wait(self.repeats),
            _ => firmware.discover_wait(self.repeats),
        }
    }

    /// A packet for one of its TFTP ports.
    pub fn receive(
        &mut self,
        now: Timestamp,
        script: &Script,
        from: u16,
        to: u16,
        packet: &[u8],
        say: &mut impl FnMut(Word),
    ) {
        if self.state != State::Loading || to != self.port(script) {
            return;
        }
        self.counters.data_frames += u64::from(packet.starts_with(&[0, 3]));
        let versions = match script.items.get(usize::from(self.item)) {
            Some(Item::File { versions, .. }) => Some(versions.as_slice()),
            _ => None,
        };
        let step = self.transfer.receive(now, script.manners(self.kind), versions, from, packet);
        self.take(now, script, step, say);
    }

    /// The machine's port, the file's length and the transfer, if that is in its steady state and the file has one version.
    pub fn steady(&self, script: &Script) -> Option<(u16, usize, Steady)> {
        let Some(Item::File { versions, .. }) = script.items.get(usize::from(self.item)) else { return None };
        let [only] = versions.as_slice() else { return None };
        let steady = self.transfer.steady().filter(|_| self.state == State::Loading)?;
        Some((self.port(script), only.len(), steady))
    }

    /// The kernel has acknowledged everything up to `have`, and has seen `in_window` blocks since its last ACK.
    pub fn resume(&mut self, now: Timestamp, script: &Script, have: Block, in_window: u16) {
        self.counters.data_frames += have.0.saturating_sub(self.transfer.have().0);
        self.transfer.resume(now, script.manners(self.kind), have, in_window);
    }

    /// Whether its present transfer has waited for too long.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.state == State::Loading && now >= self.transfer.deadline
    }

    /// Bytes of files that have arrived so far, in whole blocks.
    pub fn bytes(&self, script: &Script) -> u64 {
        let all = |items: &[Item]| items.iter().map(Item::bytes).sum::<u64>();
        let before = self.times.len() as u64 * all(&script.items) + all(&script.items[..self.item.into()]);
        before + if self.state == State::Loading { self.transfer.bytes() } else { 0 }
    }

    fn take(&mut self, now: Timestamp, script: &Script, step: ClientAction, say: &mut impl FnMut(Word)) {
        let to = self.transfer.server_port.unwrap_or(TFTP);
        let word = |what| Word { what, from: self.port(script), to, server: self.server };
        match step {
            ClientAction::Nothing => {}
            ClientAction::Request => {
                let probe = self.transfer.probing;
                say(Word { to: TFTP, ..word(What::Request { item: self.item, probe }) });
            }
            ClientAction::Ack(block) => say(word(What::Ack(block))),
            ClientAction::Complete(block) => {
                say(word(What::Ack(block)));
                self.counters.later_versions += u64::from(self.transfer.is_later_version());
                self.item += 1;
                self.load(now, script, say);
            }
            ClientAction::Sized => {
                say(word(What::Abort));
                self.request(now, script, false, say);
            }
            ClientAction::Missing => {
                self.item += 1;
                self.load(now, script, say);
            }
            ClientAction::Failed(failure) => self.give_up(now, script, failure),
        }
    }

    /// Asks for the item that it is at, or is done.
    fn load(&mut self, now: Timestamp, script: &Script, say: &mut impl FnMut(Word)) {
        if usize::from(self.item) >= script.items.len() {
            self.times.push(now.since(self.began));
            if script.items.is_empty() || self.times.len() >= script.loads.into() {
                return self.finish(now);
            }
            (self.item, self.began) = (0, now);
        }
        let probe = script.manners(self.kind).probe.is_some();
        self.request(now, script, probe, say);
    }

    fn request(&mut self, now: Timestamp, script: &Script, probe: bool, say: &mut impl FnMut(Word)) {
        self.state = State::Loading;
        self.transfers += 1;
        self.transfer = Transfer::start(now, script.manners(self.kind), probe);
        self.take(now, script, ClientAction::Request, say);
    }

    /// Wrong bytes are for good: a machine that booted them would not come back.
    fn give_up(&mut self, now: Timestamp, script: &Script, failure: Failure) {
        if failure == Failure::Wrong || self.counters.begun_again >= script.again.into() {
            self.state = State::Failed(failure);
            return;
        }
        self.counters.begun_again += 1;
        (self.state, self.deadline) = (State::Resting, now + REST);
    }

    fn finish(&mut self, now: Timestamp) {
        (self.state, self.finished) = (State::Done, now);
    }

    /// The port of the present transfer: firmware takes another for each, and begins at the same after power-on.
    fn port(&self, script: &Script) -> u16 {
        script.port.wrapping_add((self.transfers.saturating_sub(1) % PORTS) as u16)
    }

    /// To be called every few milliseconds.
    pub fn on_time(&mut self, now: Timestamp, script: &Script, say: &mut impl FnMut(Word)) {
        match self.state {
            State::Loading if now >= self.transfer.deadline => {
                let step = self.transfer.on_time(now, script.manners(self.kind));
                self.counters.repeats_rrq += u64::from(step == ClientAction::Request);
                self.counters.repeats_ack += u64::from(matches!(step, ClientAction::Ack(_)));
                self.take(now, script, step, say);
            }
            State::Resting if now >= self.deadline => self.boot(now, script, say),
            State::Discovering | State::AskingBootServer if now >= self.deadline => {
                self.repeats = self.repeats.saturating_add(1);
                let Some(wait) = self.patience(script) else {
                    return self.give_up(now, script, Failure::Silence);
                };
                self.counters.repeats_discover += 1;
                self.deadline = now + wait;
                say(self.question());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
