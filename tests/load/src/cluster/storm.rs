//! A storm: machines that are switched on within some seconds, and what each of them saw.

use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow};
use pxe_kit::namespace;
use pxe_proto::mac::Mac;

use super::schedule::Schedule;
use super::site::{FILE, Site, file};
use crate::dhcp::mac;
use crate::fleet::{self, Plan};
use crate::machine::{Machine, State};
use crate::noise::Noise;
use crate::script::{Crew, Dhcp, Script};
use crate::strangers::Crowd;

/// The longest that a storm may take. The slowest firmware gives a transfer up after 24 s, and a DISCOVER after a minute.
const LIMIT: Duration = Duration::from_secs(240);
/// How often a machine that gave up is switched on again: its server may be killed amid its file, and the next one too.
const AGAIN: u8 = 4;

/// What a machine saw.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its number.
    pub index: u32,
    /// It has its file, whole.
    pub booted: bool,
    /// The responder that it followed last, by its number.
    pub server: u8,
    /// DISCOVERs that it repeated, and times that it began again.
    pub asked_again: u64,
    /// It gave a responder up, and began again.
    pub has_begun_again: bool,
    /// From power-on to its first OFFER.
    pub waited: Duration,
    /// How long its firmware waits before it asks again: at first, and then, in order.
    pub waits: [Duration; 3],
    /// From power-on to its last byte.
    pub took: Duration,
    /// When it had its file, since the storm's beginning.
    pub finished: Duration,
}

impl Seen {
    fn of(index: u32, machine: &Machine) -> Self {
        Self {
            index,
            booted: machine.state == State::Done,
            server: machine.server(),
            asked_again: machine.counters.repeats_discover + machine.counters.begun_again,
            has_begun_again: machine.counters.begun_again > 0,
            waited: machine.offered.map_or(Duration::MAX, |offered| offered.since(machine.started)),
            waits: [0, 1, 2]
                .map(|repeats| machine.kind().firmware().discover_wait(repeats).unwrap_or_default()),
            took: machine.finished.since(machine.started),
            finished: machine.finished.since(pxe_proto::time::Timestamp::default()),
        }
    }

    /// The machine's Ethernet address as the ledger writes it.
    pub(super) fn mac(&self) -> String {
        Mac(mac(self.index)).to_string()
    }
}

/// A storm in a thread of its own.
#[derive(Debug)]
pub(super) struct Storm(JoinHandle<Result<Vec<Seen>>>);

/// Begins a storm of machines with numbers from `first` on. Each storm has machines of its own: responders remember for a
/// minute who has asked.
///
/// # Errors
/// If the machines' interface is not there.
pub(super) fn start(site: &Site, schedule: &Schedule, first: u32) -> Result<Storm> {
    let (servers, peers) = site.servers()?;
    let mut script =
        Script::new(servers[0], Dhcp::Boot, Crew::Roms, 1468, 1).loading(vec![(FILE.into(), file())], 0);
    (script.servers, script.again) = (servers, AGAIN);
    let (namespace, interface) = site.machines()?;
    let plan = Plan {
        interface,
        machines: schedule.machines,
        first,
        power_on: schedule.power_on,
        noise: Noise::default(),
        noise_back: Noise::default(),
        seed: 1,
        limit: LIMIT,
        peers,
        pad: 0,
        script,
        crowd: Crowd::default(),
        kernel: None,
        stop_after: None,
    };
    let run = move || {
        namespace::enter(&namespace)?;
        let (_, machines) = fleet::run_with_machines(&plan)?;
        Ok((first..).zip(&machines).map(|(index, machine)| Seen::of(index, machine)).collect())
    };
    Ok(Storm(thread::spawn(run)))
}

impl Storm {
    pub(super) fn is_over(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// If the machines' interface cannot be had.
    pub(super) fn end(self) -> Result<Vec<Seen>> {
        self.0.join().map_err(|_| anyhow!("the machines' thread panicked"))?
    }
}
