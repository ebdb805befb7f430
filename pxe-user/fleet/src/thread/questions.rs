//! Questions that are answered once everything said before them is shown: who has posted a report or given a name reads it
//! back, and no answer tells what a crash could take away.

use tokio::sync::oneshot::Sender;

use super::publish::Publisher;
use crate::board::{Step, Story};
use crate::claim::ClaimRefusal;
use crate::handle::NotNamed;
use crate::registry::Registry;
use pxe_proto::mac::Mac;

/// Steps of one machine that are shown with its story.
pub(super) const STORY_STEPS: usize = 500;

/// A question, or the receipt for something that was said.
pub(super) enum Question {
    Reported(Sender<Result<(), ClaimRefusal>>),
    Lines(Sender<Option<usize>>, Option<usize>),
    Again(Sender<usize>, usize),
    Named(Sender<Result<(), NotNamed>>),
    Story(Mac, Sender<Option<Story>>),
    Steps(u64, usize, Sender<Vec<Step>>),
}

impl Question {
    /// Answers. Whoever asked may have gone meanwhile: that is no concern of ours.
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
