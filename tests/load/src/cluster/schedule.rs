//! [`Schedule`]: how many machines boot, and what fails meanwhile. Pure.

use std::fmt;
use std::time::Duration;

/// Responders at the site.
pub const RESPONDERS: usize = 3;

/// Something that is done to the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A responder is killed by SIGKILL.
    Kill(usize),
    /// A responder is stopped in order (SIGTERM).
    Stop(usize),
    /// A responder that was killed or stopped starts.
    Start(usize),
    /// The database's processes are killed.
    KillDatabase,
    /// The database's processes are stopped: it accepts connections and does not answer.
    FreezeDatabase,
    /// The database starts, or goes on.
    RestoreDatabase,
}

/// How many machines boot, and what fails meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// For people.
    pub name: String,
    /// Machines.
    pub machines: u32,
    /// Time over which they are switched on.
    pub power_on: Duration,
    /// What is done when, in order of time.
    pub acts: Vec<(Duration, Act)>,
}

impl Schedule {
    /// Nothing fails.
    #[must_use]
    pub fn calm(machines: u32, power_on: Duration) -> Self {
        Self { name: "nothing fails".into(), machines, power_on, acts: Vec::new() }
    }

    /// A responder is killed while machines are switched on, and starts again after all of them are.
    #[must_use]
    pub fn killed(machines: u32, power_on: Duration) -> Self {
        let acts = vec![(power_on / 3, Act::Kill(1)), (power_on * 2, Act::Start(1))];
        Self { name: "a responder is killed".into(), machines, power_on, acts }
    }

    /// The database is killed before the first machine, and starts after `away`.
    #[must_use]
    pub fn database(machines: u32, power_on: Duration, away: Duration) -> Self {
        let acts = vec![(Duration::ZERO, Act::KillDatabase), (away, Act::RestoreDatabase)];
        let name = format!("the database is away for {} s", away.as_secs());
        Self { name, machines, power_on, acts }
    }

    /// The database does not answer for a time.
    #[must_use]
    pub fn frozen(machines: u32, power_on: Duration, away: Duration) -> Self {
        let acts = vec![(power_on / 4, Act::FreezeDatabase), (power_on / 4 + away, Act::RestoreDatabase)];
        let name = format!("the database is frozen for {} s", away.as_secs());
        Self { name, machines, power_on, acts }
    }

    /// Each responder is stopped and started, one after the other, as by an upgrade.
    #[must_use]
    pub fn upgrade(machines: u32, power_on: Duration) -> Self {
        let each = power_on / RESPONDERS as u32;
        let acts = (0..RESPONDERS)
            .flat_map(|responder| {
                let at = each * responder as u32 + each / 4;
                [(at, Act::Stop(responder)), (at + each / 2, Act::Start(responder))]
            })
            .collect();
        Self { name: "each is restarted".into(), machines, power_on, acts }
    }

    /// A schedule that is the same for the same seed. At each moment at least one responder serves.
    #[must_use]
    pub fn random(seed: u64, machines: u32, power_on: Duration) -> Self {
        let mut dice = Dice(seed);
        let mut acts = Vec::new();
        let (mut down, mut database) = ([false; RESPONDERS], true);
        let mut at = Duration::ZERO;
        loop {
            at += Duration::from_millis(100 + u64::from(dice.below(power_on.as_millis() as u32 / 4)));
            if at >= power_on {
                break;
            }
            let responder = dice.below(RESPONDERS as u32) as usize;
            let others = (0..RESPONDERS).any(|other| other != responder && !down[other]);
            let act = match dice.below(4) {
                0 if database => Act::KillDatabase,
                1 if database => Act::FreezeDatabase,
                0 | 1 => Act::RestoreDatabase,
                _ if down[responder] => Act::Start(responder),
                2 if others => Act::Kill(responder),
                3 if others => Act::Stop(responder),
                _ => continue,
            };
            match act {
                Act::Kill(_) | Act::Stop(_) => down[responder] = true,
                Act::Start(_) => down[responder] = false,
                Act::KillDatabase | Act::FreezeDatabase => database = false,
                Act::RestoreDatabase => database = true,
            }
            acts.push((at, act));
        }
        Self { name: format!("seed {seed}"), machines, power_on, acts }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} machines within {:?}", self.machines, self.power_on)?;
        self.acts.iter().try_for_each(|(at, act)| write!(f, "; {:.1} s {act:?}", at.as_secs_f64()))
    }
}

/// Numbers that are the same for the same seed (Steele, Lea, Flood: `SplitMix64`).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((number ^ (number >> 31)) % u64::from(most.max(1))) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POWER_ON: Duration = Duration::from_secs(6);

    /// The responders that are down after each act, and whether the database is there.
    fn states(schedule: &Schedule) -> Vec<([bool; RESPONDERS], bool)> {
        let (mut down, mut database) = ([false; RESPONDERS], true);
        let step = |(_, act): &(Duration, Act)| {
            match *act {
                Act::Kill(responder) | Act::Stop(responder) => {
                    assert!(!std::mem::replace(&mut down[responder], true), "{schedule}");
                }
                Act::Start(responder) => {
                    assert!(std::mem::replace(&mut down[responder], false), "{schedule}")
                }
                Act::KillDatabase | Act::FreezeDatabase => {
                    assert!(std::mem::replace(&mut database, false), "{schedule}");
                }
                Act::RestoreDatabase => assert!(!std::mem::replace(&mut database, true), "{schedule}"),
            }
            (down, database)
        };
        schedule.acts.iter().map(step).collect()
    }

    #[test]
    fn acts_are_possible_in_their_order_and_somebody_always_serves() {
        let written = [
            Schedule::killed(1, POWER_ON),
            Schedule::database(1, POWER_ON, POWER_ON),
            Schedule::frozen(1, POWER_ON, POWER_ON),
            Schedule::upgrade(1, POWER_ON),
        ];
        for schedule in written.into_iter().chain((0..1000).map(|seed| Schedule::random(seed, 1, POWER_ON))) {
            assert!(states(&schedule).iter().all(|(down, _)| down.contains(&false)), "{schedule}");
            assert!(schedule.acts.is_sorted_by_key(|(at, _)| *at), "{schedule}");
        }
    }

    #[test]
    fn seeds_repeat_themselves_and_each_act_comes_about() {
        assert_eq!(Schedule::random(7, 1, POWER_ON), Schedule::random(7, 1, POWER_ON));
        let all: Vec<Act> =
            (0..100).flat_map(|seed| Schedule::random(seed, 1, POWER_ON).acts).map(|(_, act)| act).collect();
        let wanted = [
            Act::Kill(2),
            Act::Stop(0),
            Act::Start(1),
            Act::KillDatabase,
            Act::FreezeDatabase,
            Act::RestoreDatabase,
        ];
        assert!(wanted.iter().all(|act| all.contains(act)));
    }
}
