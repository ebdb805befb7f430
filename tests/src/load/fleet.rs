//! All machines over one AF_XDP socket.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use pxe_user::datagram::Datagram;
use pxe_user::mac::Mac;
use pxe_user::nic::xsk::Rx;
use pxe_user::time::Timestamp;
use pxe_user::worker::Clock;

use super::dhcp::addressee;
use super::machine::Machine;
use super::report::{Effort, Report};
use super::script::{Dhcp, FIRST, Script};
use super::wire::{Voice, Wire};

/// Frames per turn: few, since machines are not in step with each other. With 256, all of 128 machines were asked and
/// answered at once, and each side waited for the other.
const BATCH: usize = 32;
/// How often patience is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a run consists of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Index of the interface.
    pub interface: u32,
    /// How many machines.
    pub machines: u32,
    /// Time over which they are switched on.
    pub power_on: Duration,
    /// Frames lost on the way to the machines, per mille.
    pub loss: u32,
    /// Which ones.
    pub seed: u32,
    /// The longest that the run may take.
    pub limit: Duration,
    /// Where frames for the server go.
    pub peer: Mac,
    /// Least length of a TFTP frame, in bytes.
    pub pad: usize,
    /// What each machine does.
    pub script: Script,
}

/// Frames that get lost: the same ones for the same seed and the same frames.
#[derive(Clone, Debug)]
struct Noise {
    state: u32,
    per_mille: u32,
}

impl Noise {
    fn new(seed: u32, per_mille: u32) -> Self {
        Self { state: seed, per_mille }
    }

    fn swallows(&mut self) -> bool {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.per_mille > 0 && (self.state >> 8) % 1000 < self.per_mille
    }
}

/// The machines and everything that a frame for them touches.
struct Fleet<'a> {
    plan: &'a Plan,
    machines: Vec<Machine>,
    voice: Voice<'a>,
    noise: Noise,
    /// How long offers took, in microseconds.
    offers: Vec<u32>,
    /// Machines that are switched on.
    on: u32,
}

/// Runs the plan.
///
/// # Errors
/// When the interface cannot be had.
pub fn run(plan: &Plan) -> Result<Report> {
    let mut wire = Wire::open(plan.interface)?;
    let voice = Voice::new(wire.tx, &plan.script, plan.peer, plan.pad);
    let machines = (0..plan.machines).map(|index| Machine::new(index, &plan.script)).collect();
    let noise = Noise::new(plan.seed, plan.loss);
    let each = if let Dhcp::Rate(count) = plan.script.dhcp { count } else { 1 };
    let offers = Vec::with_capacity(plan.machines as usize * each as usize);
    let mut fleet = Fleet { plan, machines, voice, noise, offers, on: 0 };
    let clock = Clock::start();
    let mut effort = Effort::start(clock.now());
    let mut look = Timestamp::default();
    loop {
        let now = clock.now();
        fleet.switch_on(now);
        let received = fleet.receive(now, &mut wire.rx);
        effort.turn(now, received);
        if received == 0 {
            // Else it would hold the processor that its own interface's receiving thread needs to bring something.
            std::thread::yield_now();
        }
        if now >= look {
            look = now + LOOK_EVERY;
            if fleet.look_at_the_time(now) || now.since(Timestamp::default()) > plan.limit {
                fleet.voice.flush();
                let report = Report::of_machines(now, &fleet.machines, &plan.script, &mut fleet.offers);
                return Ok(effort.finish(clock.now(), wire.rx.statistics(), report));
            }
        }
        fleet.voice.flush();
    }
}

impl Fleet<'_> {
    fn switch_on(&mut self, now: Timestamp) {
        while self.on < self.plan.machines && now.as_micros() >= power_on_at(self.plan, self.on) {
            let (index, voice) = (self.on, &mut self.voice);
            self.machines[index as usize].start(now, &self.plan.script, &mut |word| voice.say(index, word));
            self.on += 1;
        }
    }

    /// Gives up to a batch of frames to their machines, and returns how many there were.
    fn receive(&mut self, now: Timestamp, rx: &mut Rx) -> u64 {
        rx.drain(BATCH, |frame| {
            if !self.noise.swallows() {
                self.frame(now, frame);
            }
        }) as u64
    }

    fn frame(&mut self, now: Timestamp, frame: &[u8]) {
        let Ok(datagram) = Datagram::parse(frame) else { return };
        let (from, to) = (datagram.from.port(), datagram.to.port());
        let script = &self.plan.script;
        let dhcp = matches!(from, 67 | 4011);
        let index = if dhcp { addressee(datagram.payload) } else { index_of(*datagram.to.ip()) };
        let Some(index) = index else { return };
        let Some(machine) = self.machines.get_mut(index as usize) else { return };
        let voice = &mut self.voice;
        let mut say = |word| voice.say(index, word);
        if dhcp {
            let took = machine.answer(now, script, from, to, datagram.payload, &mut say);
            self.offers.extend(took.map(|took| took.as_micros() as u32));
        } else {
            machine.receive(now, script, from, to, datagram.payload, &mut say);
        }
    }

    /// Repeats what is due; true when nobody has anything to do any more.
    fn look_at_the_time(&mut self, now: Timestamp) -> bool {
        let (script, voice) = (&self.plan.script, &mut self.voice);
        let mut over = true;
        for (index, machine) in (0..).zip(&mut self.machines) {
            machine.on_time(now, script, &mut |word| voice.say(index, word));
            over &= machine.is_over();
        }
        over
    }
}

/// The machine with an address.
fn index_of(address: Ipv4Addr) -> Option<u32> {
    address.to_bits().checked_sub(FIRST.to_bits())
}

/// When a machine is switched on, in microseconds.
fn power_on_at(plan: &Plan, machine: u32) -> u64 {
    plan.power_on.as_micros() as u64 * u64::from(machine) / u64::from(plan.machines.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_frames_are_lost_as_were_asked_for_and_each_seed_loses_others() {
        let lost = |seed, per_mille| {
            let mut noise = Noise::new(seed, per_mille);
            (0..100_000).filter(|_| noise.swallows()).collect::<Vec<u32>>()
        };
        assert!((900..1100).contains(&lost(1, 10).len()), "{}", lost(1, 10).len());
        assert_eq!(lost(1, 10), lost(1, 10));
        assert_ne!(lost(1, 10), lost(2, 10));
        assert!(lost(1, 0).is_empty());
        assert_eq!(lost(1, 1000).len(), 100_000);
    }
}
