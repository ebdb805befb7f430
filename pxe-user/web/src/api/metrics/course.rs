//! Sums over changes of the board: boots, durations of their stages, memory errors.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::sync::broadcast::error::RecvError;

use super::{Label, Metrics};
use crate::api::FLEET_WAIT;
use crate::api::read::ask;
use pxe_fleet::board::{Boot, Machine, State, Update};
use pxe_fleet::handle::{FleetHandle, Message};

/// Upper bounds of the histogram's buckets, in seconds: from one machine on a fast network to a whole lab on a slow
/// one.
const STAGES: [f64; 14] = [0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0];

/// The sums. [`follow`] is the only writer.
#[derive(Debug)]
pub(in crate::api) struct Course {
    boots: Counter,
    completed: Counter,
    retransmits: Counter,
    memory_errors: Counter,
    entered: Family<Label, Counter>,
    stages: Family<Label, Histogram, fn() -> Histogram>,
}

impl Default for Course {
    fn default() -> Self {
        let course = Self {
            boots: Counter::default(),
            completed: Counter::default(),
            retransmits: Counter::default(),
            memory_errors: Counter::default(),
            entered: Family::default(),
            stages: Family::new_with_constructor(|| Histogram::new(STAGES)),
        };
        // Prometheus sees no increase in a series that appears with its first event, so alerts would miss that event.
        for state in State::ALL {
            drop(course.entered.get_or_create(&[("state", state.as_str())]));
        }
        for stage in ["offer", "load"] {
            drop(course.stages.get_or_create(&[("stage", stage)]));
        }
        course
    }
}

/// The numbers of a machine that are already part of the sums.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    state: Option<State>,
    boots: u32,
    completed: u32,
    retransmits: u64,
    errors: u64,
}

impl Known {
    fn of(machine: &Machine) -> Self {
        Self {
            state: Some(machine.state),
            boots: machine.boots,
            completed: machine.completed,
            retransmits: machine.retransmits,
            errors: machine.verdict.as_ref().map_or(0, |verdict| verdict.errors),
        }
    }

    /// The numbers to start from when a machine first appears: zero. A machine with more than one boot comes from the
    /// database, and an earlier process has counted its numbers.
    fn before(machine: &Machine) -> Self {
        if machine.boots > 1 { Self::of(machine) } else { Self::default() }
    }
}

impl Course {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("boots", "Boots that were begun", self.boots.clone());
        registry.register("boots_completed", "Boots whose payload arrived whole", self.completed.clone());
        registry.register(
            "boot_retransmits",
            "DATA packets that were sent again, as machines' boots count them",
            self.retransmits.clone(),
        );
        registry.register(
            "memory_errors",
            "Memory errors that tests have reported",
            self.memory_errors.clone(),
        );
        registry.register("state_changes", "Times that a machine came into a state", self.entered.clone());
        registry.register(
            "boot_stage_seconds",
            "How long the stages of boots took: offer is from the first DISCOVER to the first request for a file, load from there to the payload's last byte",
            self.stages.clone(),
        );
    }

    /// Adds what has changed of a machine to the sums. Returns true if a boot of it has completed.
    fn count(&self, known: &mut Known, machine: &Machine) -> bool {
        let now = Known::of(machine);
        if now.state != known.state {
            self.entered.get_or_create(&[("state", machine.state.as_str())]).inc();
        }
        self.boots.inc_by(now.boots.saturating_sub(known.boots).into());
        self.completed.inc_by(now.completed.saturating_sub(known.completed).into());
        self.retransmits.inc_by(now.retransmits.saturating_sub(known.retransmits));
        // A smaller number belongs to a new test, which counts from zero.
        self.memory_errors.inc_by(now.errors.checked_sub(known.errors).unwrap_or(now.errors));
        let completed = now.completed > known.completed;
        *known = now;
        completed
    }

    /// Records the durations of the newest boot that has loaded everything.
    fn observe(&self, boots: &[Boot]) {
        let Some(boot) = boots.iter().find(|boot| boot.load_ms.is_some()) else { return };
        for (stage, ms) in [("offer", boot.offer_ms), ("load", boot.load_ms)] {
            if let Some(ms) = ms {
                #[expect(clippy::cast_precision_loss, reason = "milliseconds of a boot are far below 2^52")]
                self.stages.get_or_create(&[("stage", stage)]).observe(ms as f64 / 1000.0);
            }
        }
    }
}

/// Adds changes of the board to the sums, starting from the board as it is now. Ends only with the fleet. Cancel safe.
pub(in crate::api) async fn follow(fleet: FleetHandle, metrics: Arc<Metrics>) {
    let course = &metrics.course;
    let mut updates = fleet.updates();
    let board = fleet.board();
    let mut known: HashMap<String, Known> =
        board.machines.iter().map(|machine| (machine.mac.clone(), Known::of(machine))).collect();
    loop {
        let changed = match updates.recv().await.as_deref() {
            Ok(Update::Machine { machine, .. }) => vec![machine.clone()],
            Ok(Update::Forgotten { mac, .. }) => {
                known.remove(mac);
                continue;
            }
            Ok(Update::Step { .. } | Update::Lost { .. } | Update::Responders { .. }) => continue,
            Err(RecvError::Lagged(_)) => {
                updates = updates.resubscribe();
                fleet.board().machines.iter().cloned().collect()
            }
            Err(RecvError::Closed) => return,
        };
        for machine in &changed {
            if machine.responder.is_some() {
                // Its responder counts it.
                known.insert(machine.mac.clone(), Known::of(machine));
                continue;
            }
            let before = known.entry(machine.mac.clone()).or_insert_with(|| Known::before(machine));
            if course.count(before, machine)
                && let Ok(mac) = machine.mac.parse()
                && let Ok(boots) = ask(&fleet, FLEET_WAIT, |answer| Message::Boots(mac, answer)).await
            {
                course.observe(&boots);
            }
        }
    }
}
