//! The latest steps that were shown, at hand without the database.

use std::collections::VecDeque;

use crate::board::Step;

/// How many; a boot makes about ten.
const STEPS_MAX: usize = 16384;

/// The steps, oldest first.
#[derive(Debug, Default)]
pub(super) struct Recent {
    steps: VecDeque<Step>,
}

impl Recent {
    /// Adds a step.
    pub(super) fn push(&mut self, step: Step) {
        if self.steps.len() >= STEPS_MAX {
            self.steps.pop_front();
        }
        self.steps.push_back(step);
    }

    /// Those of a machine, newest first.
    pub(super) fn of(&self, mac: &str, most: usize) -> Vec<Step> {
        self.steps.iter().rev().filter(|step| step.mac == mac).take(most).cloned().collect()
    }

    /// Whether all after the step with this number are here.
    pub(super) fn reach_back_to(&self, after: u64) -> bool {
        self.steps.front().is_none_or(|first| first.id <= after.saturating_add(1))
    }

    /// Those after the one with this number.
    pub(super) fn after(&self, after: u64, most: usize) -> Vec<Step> {
        self.steps.iter().filter(|step| step.id > after).take(most).cloned().collect()
    }
}
