//! All machines over one AF_XDP socket.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context as _, Result};
use pxe_common::abi::PROGRAM_TAKE_ALL;
use pxe_user::datagram::{Datagram, Link, write_frame};
use pxe_user::mac::Mac;
use pxe_user::nic::Queue;
use pxe_user::nic::programs::{Mode, Programs};
use pxe_user::nic::xsk::{Sizes, Tx, Xsk};
use pxe_user::time::Timestamp;
use pxe_user::worker::Clock;

use super::machine::{Machine, Say, State, Wish};
use super::report::Report;

/// The first machine's address; the others follow.
pub const FIRST: Ipv4Addr = Ipv4Addr::new(10, 50, 1, 0);
/// A machine's port: firmware uses one per request, and starts again after power-on.
const PORT: u16 = 2070;
/// Frames per turn.
const BATCH: usize = 256;
/// How often patience is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a run consists of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Index of the interface.
    pub interface: u32,
    /// The server's address.
    pub server: Ipv4Addr,
    /// How many machines.
    pub machines: u32,
    /// Time over which they are switched on.
    pub power_on: Duration,
    /// Frames lost on the way to the machines, per mille.
    pub loss: u32,
    /// The longest that the run may take.
    pub limit: Duration,
    /// What each machine loads.
    pub wish: Wish,
}

/// The sending side and what every frame has in common.
struct Voice<'a> {
    tx: Tx,
    plan: &'a Plan,
    request: Vec<u8>,
    /// Machines whose words found no room.
    held: VecDeque<(u32, u16, Say)>,
}

impl Voice<'_> {
    fn say(&mut self, machine: u32, port: u16, say: Say) {
        if !self.try_say(machine, port, say) {
            self.held.push_back((machine, port, say));
        }
    }

    fn try_say(&mut self, machine: u32, port: u16, say: Say) -> bool {
        let ack;
        let (port, payload): (u16, &[u8]) = match say {
            Say::Nothing => return true,
            Say::Request => (69, &self.request),
            Say::Ack(block) => {
                let [a, b] = block.to_be_bytes();
                ack = [0, 4, a, b];
                (port, &ack)
            }
        };
        let from = SocketAddrV4::new(Ipv4Addr::from_bits(FIRST.to_bits() + machine), PORT);
        let to = SocketAddrV4::new(self.plan.server, port);
        let [a, b, c, d] = machine.to_be_bytes();
        let link = Link::untagged(Mac([0xff; 6]));
        self.tx.push(|frame| write_frame(frame, Mac([2, 0, a, b, c, d]), &link, from, to, &[], payload))
    }

    fn flush(&mut self) {
        for _ in 0..self.held.len() {
            let Some((machine, port, say)) = self.held.pop_front() else { break };
            self.say(machine, port, say);
        }
        self.tx.flush();
    }
}

/// Runs the plan.
///
/// # Errors
/// When the interface cannot be had.
pub fn run(plan: &Plan) -> Result<Report> {
    let mut programs = Programs::load_program(PROGRAM_TAKE_ALL, 1, 16)?;
    programs.attach(plan.interface, Mode::Native)?;
    let sizes = Sizes { rx: 4096, tx: 4096, chunk: 2048 };
    let Xsk { mut rx, tx, .. } = Xsk::open(plan.interface, Queue(0), Mode::Native, sizes)?;
    programs.connect(Queue(0), &rx).context("connecting the generator's socket")?;
    let mut machines = vec![Machine::default(); plan.machines as usize];
    let mut voice = Voice { tx, plan, request: plan.wish.request(), held: VecDeque::new() };
    let clock = Clock::start();
    let (mut frames, mut on, mut noise) = (0u64, 0u32, 0x9e37_79b9_u32);
    let mut look = Timestamp::default();
    loop {
        let now = clock.now();
        while on < plan.machines && now.as_micros() >= power_on_at(plan, on) {
            let say = machines[on as usize].start(now);
            voice.say(on, 69, say);
            on += 1;
        }
        frames += rx.drain(BATCH, |frame| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if plan.loss > 0 && (noise >> 8) % 1000 < plan.loss {
                return;
            }
            let Ok(datagram) = Datagram::parse(frame) else { return };
            let index = datagram.to.ip().to_bits().wrapping_sub(FIRST.to_bits());
            let Some(machine) = machines.get_mut(index as usize) else { return };
            let port = datagram.from.port();
            let say = machine.receive(now, &plan.wish, port, datagram.payload);
            voice.say(index, port, say);
        }) as u64;
        if now >= look {
            look = now + LOOK_EVERY;
            for (index, machine) in (0..).zip(&mut machines) {
                let say = machine.on_time(now);
                voice.say(index, machine.server_port.unwrap_or(69), say);
            }
            let over = machines.iter().all(|machine| matches!(machine.state, State::Done | State::Failed));
            if over || now.since(Timestamp::default()) > plan.limit {
                voice.flush();
                let mut report = Report::of(&machines, plan.wish.bytes.len() as u64);
                report.frames = frames;
                report.own_share = own_seconds() / report.seconds;
                return Ok(report);
            }
        }
        voice.flush();
    }
}

/// When a machine is switched on, in microseconds.
fn power_on_at(plan: &Plan, machine: u32) -> u64 {
    plan.power_on.as_micros() as u64 * u64::from(machine) / u64::from(plan.machines.max(1))
}

/// Processor time of this process, in seconds.
fn own_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
