//! All machines over one AF_XDP socket.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pxe_nic::xsk::Rx;
use pxe_proto::datagram::Datagram;
use pxe_proto::mac::Mac;
use pxe_proto::time::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::dhcp::addressee;
use super::kernel::{self, Kernel};
use super::machine::Machine;
use super::manners::Kind;
use super::noise::{Noise, Way};
use super::programs::Program;
use super::report::{Effort, Report};
use super::script::{Dhcp, FIRST, Script};
use super::strangers::{Crowd, Strangers};
use super::wire::{Voice, Wire};
use crate::clock::Clock;

/// Frames per turn: few, since machines are not in step with each other. With 256, all of 128 machines were asked and
/// answered at once, and each side waited for the other.
const BATCH: usize = 32;
/// How often patience is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Longest sleep where the kernel plays the machines: it says nothing of what it acknowledges.
const SLEEP: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// What a run consists of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Index of the interface.
    pub interface: u32,
    /// How many machines.
    pub machines: u32,
    /// The number of the first, which makes its addresses. 0 where the kernel plays the machines.
    pub first: u32,
    /// Time over which they are switched on.
    pub power_on: Duration,
    /// What happens to frames on their way to the machines.
    pub noise: Noise,
    /// What happens to theirs.
    pub noise_back: Noise,
    /// To which ones.
    pub seed: u32,
    /// The longest that the run may take.
    pub limit: Duration,
    /// For each of the script's servers, the Ethernet address that frames for it go to.
    pub peers: Vec<Mac>,
    /// Least length of a TFTP frame, in bytes.
    pub pad: usize,
    /// What each machine does.
    pub script: Script,
    /// Who else asks meanwhile.
    pub crowd: Crowd,
    /// The kernel plays the steady state of transfers, and compares every byte of one of so many blocks.
    pub kernel: Option<u32>,
    /// The run is over then, and what has arrived counts, also at machines that are not done.
    pub stop_after: Option<Duration>,
}

/// The machines and everything that a frame for them touches.
struct Fleet<'a> {
    plan: &'a Plan,
    machines: Vec<Machine>,
    voice: Voice<'a>,
    way: Way<Vec<u8>>,
    /// How long offers took, in microseconds.
    offers: Vec<u32>,
    /// Machines that are switched on.
    on: u32,
    strangers: Strangers,
    kernel: Option<Kernel>,
    /// The first error of the kernel's maps.
    failed: Result<()>,
}

/// Runs the plan.
///
/// # Errors
/// When the interface cannot be had.
pub fn run(plan: &Plan) -> Result<Report> {
    run_with_machines(plan).map(|(report, _)| report)
}

/// Runs the plan, and returns also the machines as they are at its end.
///
/// # Errors
/// When the interface cannot be had.
pub fn run_with_machines(plan: &Plan) -> Result<(Report, Vec<Machine>)> {
    run_until_over(plan, |_| ())
}

/// Runs the plan, and calls `act` once: as soon as every machine has a part of its file, and before any has all of it.
///
/// # Errors
/// When the interface cannot be had, or one machine had everything before the last had something.
pub fn run_and_amid(plan: &Plan, act: impl FnOnce()) -> Result<Report> {
    let mut act = Some(act);
    let (report, _) = run_until_over(plan, |machines| {
        let amid = |machine: &Machine| machine.counters.data_frames > 0 && !machine.is_over();
        if machines.iter().all(amid)
            && let Some(act) = act.take()
        {
            act();
        }
    })?;
    ensure!(act.is_none(), "at no time were all machines amid their files: {}", report.to_json());
    Ok(report)
}

/// Runs the plan, and shows the machines from time to time.
fn run_until_over(plan: &Plan, mut watch: impl FnMut(&[Machine])) -> Result<(Report, Vec<Machine>)> {
    let mut wire = match plan.kernel {
        None => Wire::open(plan.interface)?,
        Some(_) => {
            let blksize = plan.script.manners(Kind::Plain).blksize;
            let programs = kernel::load(&plan.script, plan.machines, blksize)?;
            Wire::open_with(plan.interface, Program::Machines, programs)?
        }
    };
    let kernel = plan.kernel.map(|compare| Kernel::new(&mut wire.attached, plan.machines, compare, plan.pad));
    // Not the same fates on both ways: a request and its answer would be lost together.
    let back = Way::new(!plan.seed, plan.noise_back);
    let voice = Voice::new(wire.tx, &plan.script, &plan.peers, plan.pad, back);
    let machines = (0..plan.machines).map(|index| Machine::new(plan.first + index, &plan.script)).collect();
    let way = Way::new(plan.seed, plan.noise);
    let each = if let Dhcp::Rate(count) = plan.script.dhcp { count } else { 1 };
    let offers = Vec::with_capacity(plan.machines as usize * each as usize);
    let strangers = Strangers::new(plan.crowd);
    let kernel = kernel.transpose()?;
    let mut fleet = Fleet { plan, machines, voice, way, offers, on: 0, strangers, kernel, failed: Ok(()) };
    let clock = Clock::start();
    let mut effort = Effort::start(clock.now());
    let mut look = Timestamp::default();
    loop {
        let now = clock.now();
        fleet.switch_on(now);
        fleet.ask_as_strangers(now);
        let received = fleet.receive(now, &mut wire.rx);
        effort.turn(now, received);
        if received == 0 && fleet.kernel.is_some() {
            // The thread that acknowledges for these machines needs the processor.
            let mut socket = [PollFd::new(&wire.rx, PollFlags::IN)];
            poll(&mut socket, Some(&SLEEP)).context("waiting for a frame")?;
        } else if received == 0 {
            // Else it would hold the processor that its own interface's receiving thread needs to bring something.
            std::thread::yield_now();
        }
        if now >= look {
            look = now + LOOK_EVERY;
            fleet.catch_up(now);
            watch(&fleet.machines);
            let over = fleet.look_at_the_time(now) && fleet.strangers.is_over(now);
            let stop = plan.stop_after.unwrap_or(plan.limit).min(plan.limit);
            if over || now.since(Timestamp::default()) > stop {
                fleet.take_all_back(now);
                fleet.failed.context("the maps of the machines in the kernel")?;
                fleet.voice.flush();
                let mut report = Report::of_machines(now, &fleet.machines, &plan.script, &mut fleet.offers);
                if plan.stop_after.is_some() {
                    report.count_unfinished(now, &fleet.machines, &plan.script);
                }
                report.in_kernel = fleet.kernel.as_ref().map(Kernel::counts);
                report.strangers = fleet.strangers.heard();
                report.suffered = [fleet.way.suffered(), fleet.voice.suffered()];
                return Ok((effort.finish(clock.now(), wire.rx.statistics(), report), fleet.machines));
            }
        }
        fleet.voice.flush();
    }
}

impl Fleet<'_> {
    fn switch_on(&mut self, now: Timestamp) {
        while self.on < self.plan.machines && now.as_micros() >= power_on_at(self.plan, self.on) {
            let (index, voice) = (self.on, &mut self.voice);
            let number = self.plan.first + index;
            self.machines[index as usize].start(now, &self.plan.script, &mut |word| voice.say(number, word));
            self.on += 1;
        }
    }

    fn ask_as_strangers(&mut self, now: Timestamp) {
        while let Some(from) = self.strangers.next(now) {
            let Some(bytes) = self.voice.ask_as(from) else { break };
            self.strangers.asked(now, bytes);
        }
    }

    /// Gives up to a batch of frames to their machines, and returns how many there were.
    fn receive(&mut self, now: Timestamp, rx: &mut Rx) -> u64 {
        // Aside: whoever gets what arrives is a part of `self`, too.
        let mut way = std::mem::take(&mut self.way);
        let count = rx.drain(BATCH, |frame| way.carry(frame, |frame| self.frame(now, frame)));
        self.way = way;
        count as u64
    }

    /// What was held back comes now: nobody may wait for a frame that others would have to overtake.
    fn catch_up(&mut self, now: Timestamp) {
        while let Some(late) = self.way.overdue() {
            self.frame(now, &late);
        }
        self.voice.catch_up();
    }

    fn frame(&mut self, now: Timestamp, frame: &[u8]) {
        let Ok(datagram) = Datagram::parse(frame) else { return };
        if self.strangers.hear(datagram.to, datagram.payload.len()) {
            return;
        }
        let (from, to) = (datagram.from.port(), datagram.to.port());
        let script = &self.plan.script;
        let dhcp = matches!(from, 67 | 4011);
        let number = if dhcp { addressee(datagram.payload) } else { number_of(*datagram.to.ip()) };
        let Some(number) = number else { return };
        let Some(index) = number.checked_sub(self.plan.first) else { return };
        let Some(machine) = self.machines.get_mut(index as usize) else { return };
        let voice = &mut self.voice;
        let mut say = |word| voice.say(number, word);
        if dhcp {
            let took = machine.answer(now, script, datagram.from, to, datagram.payload, &mut say);
            self.offers.extend(took.map(|took| took.as_micros() as u32));
        } else {
            if let Some(kernel) = &mut self.kernel {
                let taken = kernel.take_back(now, index, machine, script);
                machine.receive(now, script, from, to, datagram.payload, &mut say);
                // Before the ACK is sent, so that the kernel knows the transfer when the next block comes.
                let handed = kernel.hand_over(index, machine, script);
                self.failed = std::mem::replace(&mut self.failed, Ok(())).and(taken).and(handed);
                return;
            }
            machine.receive(now, script, from, to, datagram.payload, &mut say);
        }
    }

    /// What the kernel has acknowledged so far becomes the machines'.
    fn take_all_back(&mut self, now: Timestamp) {
        let Some(kernel) = &mut self.kernel else { return };
        for (index, machine) in (0..).zip(&mut self.machines) {
            let taken = kernel.take_back(now, index, machine, &self.plan.script);
            self.failed = std::mem::replace(&mut self.failed, Ok(())).and(taken);
        }
    }

    /// Repeats what is due; true when nobody has anything to do any more.
    fn look_at_the_time(&mut self, now: Timestamp) -> bool {
        let (script, voice) = (&self.plan.script, &mut self.voice);
        let mut over = true;
        for (index, machine) in (0..).zip(&mut self.machines) {
            if let Some(kernel) = self.kernel.as_mut().filter(|_| machine.is_due(now)) {
                // It is not due any more if the kernel has heard of it meanwhile.
                let mut asked = kernel.look(now, index, machine, script);
                if machine.is_due(now) {
                    asked = asked.and(kernel.take_back(now, index, machine, script));
                }
                self.failed = std::mem::replace(&mut self.failed, Ok(())).and(asked);
            }
            machine.on_time(now, script, &mut |word| voice.say(self.plan.first + index, word));
            over &= machine.is_over();
        }
        over
    }
}

/// The number of the machine with an address.
fn number_of(address: Ipv4Addr) -> Option<u32> {
    address.to_bits().checked_sub(FIRST.to_bits())
}

/// When a machine is switched on, in microseconds.
fn power_on_at(plan: &Plan, machine: u32) -> u64 {
    plan.power_on.as_micros() as u64 * u64::from(machine) / u64::from(plan.machines.max(1))
}
