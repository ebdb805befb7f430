//! What was learnt of a machine's firmware: some ignore an offer that leads straight to TFTP and repeat their DISCOVER
//! for ever. Such a machine gets the common denominator, BINL over port 4011, the next time.

use std::collections::HashMap;
use std::time::Duration;

use crate::dhcp::Style;
use crate::mac::Mac;
use crate::time::Timestamp;

/// Direct offers without any request for a file after them until BINL is tried. Firmware that waits for a slow DHCP
/// server repeats its DISCOVER too: EDK2 at 3.6, 11.7 and 27.7 s (docs/clients.md, section 1).
const PATIENCE: u8 = 3;
/// A DISCOVER that comes later than this after the last one belongs to another boot.
const SAME_BOOT: Duration = Duration::from_secs(90);
/// Machines that are remembered; beyond it those that loaded something are forgotten first.
const MACHINES_MAX: usize = 16384;

#[derive(Clone, Copy, Debug)]
struct Habit {
    style: Option<Style>,
    unanswered: u8,
    last: Timestamp,
}

/// The habits of all machines that a worker has seen.
#[derive(Debug)]
pub struct Habits {
    default: Style,
    machines: HashMap<Mac, Habit>,
}

impl Habits {
    /// Nothing is known yet; every machine is told in the style `default`.
    pub fn new(default: Style) -> Self {
        Self { default, machines: HashMap::with_capacity(1024) }
    }

    /// The style for a machine, without learning anything.
    pub fn style(&self, mac: Mac) -> Style {
        self.machines.get(&mac).and_then(|habit| habit.style).unwrap_or(self.default)
    }

    /// A machine sent a DISCOVER: the style to answer in.
    pub fn discovered(&mut self, now: Timestamp, mac: Mac) -> Style {
        if self.machines.len() >= MACHINES_MAX && !self.machines.contains_key(&mac) {
            self.machines.retain(|_, habit| habit.style.is_some() && now.since(habit.last) < SAME_BOOT);
            if self.machines.len() >= MACHINES_MAX {
                return self.default;
            }
        }
        let habit = self.machines.entry(mac).or_insert(Habit { style: None, unanswered: 0, last: now });
        if now.since(habit.last) > SAME_BOOT {
            habit.unanswered = 0;
        }
        habit.last = now;
        if self.default == Style::Direct {
            habit.unanswered += 1;
            if habit.unanswered > PATIENCE {
                habit.unanswered = 1;
                habit.style = if habit.style.is_none() { Some(Style::Binl) } else { None };
            }
        }
        habit.style.unwrap_or(self.default)
    }

    /// A machine asks for a file, so it has understood what it was told.
    pub fn understood(&mut self, mac: Mac) {
        if let Some(habit) = self.machines.get_mut(&mac) {
            habit.unanswered = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_machine_that_keeps_asking_gets_binl_and_keeps_it_once_it_has_understood() {
        let mut habits = Habits::new(Style::Direct);
        for (seconds, style) in
            [(0, Style::Direct), (4, Style::Direct), (12, Style::Direct), (28, Style::Binl)]
        {
            assert_eq!(habits.discovered(at(seconds), MAC), style, "at {seconds} s");
        }
        habits.understood(MAC);
        assert_eq!(habits.discovered(at(600), MAC), Style::Binl);
        assert_eq!(habits.style(Mac([2, 0, 0, 0, 0, 2])), Style::Direct);
    }

    #[test]
    fn if_binl_does_not_help_either_it_goes_back() {
        let mut habits = Habits::new(Style::Direct);
        let styles: Vec<_> = (0..9).map(|n| habits.discovered(at(n), MAC)).collect();
        assert_eq!(styles.iter().filter(|style| **style == Style::Binl).count(), 3);
        assert_eq!(styles.last(), Some(&Style::Direct));
    }

    #[test]
    fn machines_that_load_are_told_directly_for_ever() {
        let mut habits = Habits::new(Style::Direct);
        for n in 0..20 {
            assert_eq!(habits.discovered(at(n), MAC), Style::Direct);
            habits.understood(MAC);
        }
    }

    #[test]
    fn boots_that_are_far_apart_teach_nothing() {
        let mut habits = Habits::new(Style::Direct);
        for n in 0..20 {
            assert_eq!(habits.discovered(at(n * 600), MAC), Style::Direct);
        }
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let mut habits = Habits::new(Style::Direct);
        for n in 0..100_000u32 {
            let [a, b, c, d] = n.to_be_bytes();
            habits.discovered(at(1), Mac([2, 0, a, b, c, d]));
        }
        assert!(habits.machines.len() <= MACHINES_MAX);
    }
}
