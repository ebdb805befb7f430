//! [`PendingAnswer`]: an answer that must wait until all changes before it have been published. So a caller that
//! posts a report or sets a name can read it back at once. And no answer confirms what a crash could still
//! lose, while the database works.

use tokio::sync::oneshot::Sender;

use super::publish::Publisher;
use crate::board::{Step, Story};
use crate::claim::ClaimRefusal;
use crate::handle::NameError;
use crate::registry::Registry;
use pxe_proto::mac::Mac;

/// Maximum number of steps that a machine's history has.
pub(super) const STORY_STEPS: usize = 500;

/// A caller that waits for an answer, with the answer where it is already known.
pub(super) enum PendingAnswer {
    Reported(Sender<Result<(), ClaimRefusal>>),
    Lines(Sender<Option<usize>>, Option<usize>),
    Again(Sender<usize>, usize),
    Named(Sender<Result<(), NameError>>),
    Story(Mac, Sender<Option<Story>>),
    Steps(u64, usize, Sender<Vec<Step>>),
}

impl PendingAnswer {
    /// Sends the answer. Sending fails only if the caller no longer waits.
    pub(super) fn answer(self, registry: &Registry, publisher: &Publisher) {
        match self {
            Self::Reported(answer) => drop(answer.send(Ok(()))),
            Self::Lines(answer, count) => drop(answer.send(count)),
            Self::Again(answer, count) => drop(answer.send(count)),
            Self::Named(answer) => drop(answer.send(Ok(()))),
            Self::Story(mac, answer) => {
                let Some(machine) = registry.machine(mac) else { return drop(answer.send(None)) };
                let boots = machine.boots.iter().cloned().collect();
                let steps = publisher.steps_of(&machine.shown.mac, STORY_STEPS);
                publisher.tell(mac, Story { machine: machine.shown.clone(), boots, steps }, answer);
            }
            Self::Steps(after, most, answer) => publisher.list(after, most, answer),
        }
    }
}
