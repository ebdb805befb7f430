//! [`Recent`]: the latest steps that were shown, in memory, so that most questions need no database.

use std::collections::VecDeque;

use crate::board::Step;

/// Maximum number of steps in memory. A boot causes about ten.
const STEPS_MAX: usize = 16384;

/// Steps, oldest first.
#[derive(Debug, Default)]
pub(super) struct Recent {
    steps: VecDeque<Step>,
}

impl Recent {
    /// Adds a step. Drops the oldest one if there are too many.
    pub(super) fn push(&mut self, step: Step) {
        if self.steps.len() >= STEPS_MAX {
            self.steps.pop_front();
        }
        self.steps.push_back(step);
    }

    /// Returns the steps of a machine, newest first.
    pub(super) fn of(&self, mac: &str, most: usize) -> Vec<Step> {
        self.steps.iter().rev().filter(|step| step.mac == mac).take(most).cloned().collect()
    }

    /// Whether all steps after number `after` are in memory.
    pub(super) fn reach_back_to(&self, after: u64) -> bool {
        self.steps.front().is_none_or(|first| first.id <= after.saturating_add(1))
    }

    /// Returns the steps after number `after`, oldest first.
    pub(super) fn after(&self, after: u64, most: usize) -> Vec<Step> {
        self.steps.iter().filter(|step| step.id > after).take(most).cloned().collect()
    }
}
