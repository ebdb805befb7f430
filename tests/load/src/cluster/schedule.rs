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
    /// A responder hands over to a new process (`--take-over`).
    TakeOver(usize),
    /// A responder loses the network of the database, and keeps the machines'.
    CutLedger(usize),
    /// It has the network of the database again.
    MendLedger(usize),
    /// A responder's cable in the machines' network is pulled out. It keeps the database.
    Unplug(usize),
    /// A responder's port is in another network than the machines, and its cable is good. It keeps the database.
    Isolate(usize),
    /// It is in the machines' network again.
    Replug(usize),
    /// The primary's processes are killed.
    KillDatabase,
    /// The primary's processes are stopped: it accepts connections and does not answer.
    FreezeDatabase,
    /// The primary starts, or goes on.
    RestoreDatabase,
    /// The primary's processes are killed, and its standby becomes the primary.
    Promote,
    /// Nothing is done until this can be seen.
    Await(Sign),
}

/// Something that shows that a fault has come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The responder's board says that it cannot reach the database.
    SaysNoLedger(usize),
    /// The responder's board says that it has no link.
    SaysNoLink(usize),
    /// All other responders count the responder as gone: it owns no machine.
    TakenOver(usize),
    /// All responders share the segment by the same table, and this one owns machines.
    Shared(usize),
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
    /// By how many seconds the responders' clocks are ahead.
    pub clocks: [i32; RESPONDERS],
    /// What is done when, in order of time.
    pub acts: Vec<(Duration, Act)>,
    /// How often a machine may have to ask again until a responder answers. `None` if that depends on chance.
    pub repeats: Option<usize>,
}

impl Schedule {
    fn new(name: impl Into<String>, machines: u32, power_on: Duration) -> Self {
        let (name, clocks) = (name.into(), [0; RESPONDERS]);
        Self { name, machines, power_on, clocks, acts: Vec::new(), repeats: Some(0) }
    }

    fn with(self, repeats: usize, acts: impl IntoIterator<Item = (Duration, Act)>) -> Self {
        Self { acts: acts.into_iter().collect(), repeats: Some(repeats), ..self }
    }

    /// Nothing fails.
    #[must_use]
    pub fn calm(machines: u32, power_on: Duration) -> Self {
        Self::new("nothing fails", machines, power_on)
    }

    /// A responder is killed while machines are switched on, and starts again after all of them are.
    #[must_use]
    pub fn killed(machines: u32, power_on: Duration) -> Self {
        let acts = [(power_on / 3, Act::Kill(1)), (power_on * 2, Act::Start(1))];
        Self::new("a responder is killed", machines, power_on).with(1, acts)
    }

    /// The database is killed before the first machine, and starts after `away`.
    #[must_use]
    pub fn database(machines: u32, power_on: Duration, away: Duration) -> Self {
        let acts = [(Duration::ZERO, Act::KillDatabase), (away, Act::RestoreDatabase)];
        Self::new(format!("the database is away for {} s", away.as_secs()), machines, power_on).with(0, acts)
    }

    /// The database does not answer for a time.
    #[must_use]
    pub fn frozen(machines: u32, power_on: Duration, away: Duration) -> Self {
        let acts = [(power_on / 4, Act::FreezeDatabase), (power_on / 4 + away, Act::RestoreDatabase)];
        Self::new(format!("the database is frozen for {} s", away.as_secs()), machines, power_on)
            .with(0, acts)
    }

    /// The primary is killed under load, and its standby takes over.
    #[must_use]
    pub fn promoted(machines: u32, power_on: Duration) -> Self {
        let acts = [(power_on / 2, Act::Promote)];
        Self::new("the standby is promoted", machines, power_on).with(0, acts)
    }

    /// Each responder is stopped and started, one after the other, as by an upgrade.
    #[must_use]
    pub fn upgrade(machines: u32, power_on: Duration) -> Self {
        let each = power_on / RESPONDERS as u32;
        let acts = (0..RESPONDERS).flat_map(|responder| {
            let at = each * responder as u32 + each / 4;
            [(at, Act::Stop(responder)), (at + each / 2, Act::Start(responder))]
        });
        Self::new("each is restarted", machines, power_on).with(1, acts)
    }

    /// Each responder hands over to a new process, one after the other.
    #[must_use]
    pub fn handed_over(machines: u32, power_on: Duration) -> Self {
        let each = power_on / RESPONDERS as u32;
        let acts =
            (0..RESPONDERS).map(|responder| (each * responder as u32 + each / 2, Act::TakeOver(responder)));
        Self::new("each is taken over", machines, power_on).with(1, acts)
    }

    /// A responder loses the database alone, until the others have taken over its machines.
    #[must_use]
    pub fn without_ledger(machines: u32, power_on: Duration) -> Self {
        let cut = power_on / 8;
        let acts = [
            (cut, Act::CutLedger(1)),
            (cut, Act::Await(Sign::SaysNoLedger(1))),
            (cut, Act::Await(Sign::TakenOver(1))),
            (power_on, Act::MendLedger(1)),
            (power_on, Act::Await(Sign::Shared(1))),
        ];
        Self::new("one has no database", machines, power_on).with(0, acts)
    }

    /// A responder's cable is pulled out, until the others have taken over its machines.
    #[must_use]
    pub fn unplugged(machines: u32, power_on: Duration) -> Self {
        let acts = [
            (power_on / 4, Act::Unplug(1)),
            (power_on / 4, Act::Await(Sign::TakenOver(1))),
            (power_on / 4, Act::Await(Sign::SaysNoLink(1))),
            (power_on, Act::Replug(1)),
            (power_on, Act::Await(Sign::Shared(1))),
        ];
        Self::new("one is unplugged", machines, power_on).with(1, acts)
    }

    /// A responder is cut off from the machines, and cannot know it.
    #[must_use]
    pub fn isolated(machines: u32, power_on: Duration) -> Self {
        let acts = [(power_on / 4, Act::Isolate(1)), (power_on, Act::Replug(1))];
        Self::new("one is in another network", machines, power_on).with(1, acts)
    }

    /// The responders' clocks are two minutes apart, and the one that is ahead is killed.
    #[must_use]
    pub fn clocks_apart(machines: u32, power_on: Duration) -> Self {
        let acts = [(power_on / 2, Act::Kill(1)), (power_on, Act::Start(1))];
        let apart = Self::new("clocks a minute apart", machines, power_on).with(1, acts);
        Self { clocks: [0, 60, -60], ..apart }
    }

    /// A schedule that is the same for the same seed. At each moment at least one responder serves.
    #[must_use]
    pub fn random(seed: u64, machines: u32, power_on: Duration) -> Self {
        let mut dice = Dice(seed);
        let mut state = State::default();
        let mut acts = Vec::new();
        let mut at = Duration::ZERO;
        loop {
            at += Duration::from_millis(100 + u64::from(dice.below(power_on.as_millis() as u32 / 4)));
            if at >= power_on {
                break;
            }
            let (responder, kind) = (dice.below(RESPONDERS as u32) as usize, dice.below(9));
            if let Some(act) = state.next(responder, kind) {
                state.take(act);
                acts.push((at, act));
            }
        }
        let schedule = Self::new(format!("seed {seed}"), machines, power_on);
        Self { acts, repeats: None, ..schedule }
    }
}

/// What is possible at a moment.
#[derive(Clone, Copy, Debug)]
struct State {
    /// Responders that do not run.
    is_down: [bool; RESPONDERS],
    /// Responders without the machines' network.
    is_unplugged: [bool; RESPONDERS],
    /// Responders without the database's network.
    is_cut: [bool; RESPONDERS],
    has_database: bool,
    has_standby: bool,
}

impl Default for State {
    fn default() -> Self {
        let none = [false; RESPONDERS];
        Self { is_down: none, is_unplugged: none, is_cut: none, has_database: true, has_standby: true }
    }
}

impl State {
    fn serves(&self, responder: usize) -> bool {
        !self.is_down[responder] && !self.is_unplugged[responder]
    }

    /// A possible act of a kind from 0 to 8, if there is one.
    fn next(&self, responder: usize, kind: u32) -> Option<Act> {
        let is_spared = (0..RESPONDERS).any(|other| other != responder && self.serves(other));
        let (serves, has_database) = (self.serves(responder), self.has_database);
        Some(match kind {
            0 if has_database => Act::KillDatabase,
            1 if has_database => Act::FreezeDatabase,
            0 | 1 => Act::RestoreDatabase,
            2 if has_database && self.has_standby => Act::Promote,
            3 if self.is_cut[responder] => Act::MendLedger(responder),
            3 => Act::CutLedger(responder),
            _ if self.is_unplugged[responder] => Act::Replug(responder),
            _ if self.is_down[responder] => Act::Start(responder),
            4 if serves && is_spared => Act::Kill(responder),
            5 if serves && is_spared => Act::Stop(responder),
            6 if serves && is_spared => Act::Unplug(responder),
            7 if serves && is_spared => Act::Isolate(responder),
            8 if serves => Act::TakeOver(responder),
            _ => return None,
        })
    }

    fn take(&mut self, act: Act) {
        match act {
            Act::Kill(responder) | Act::Stop(responder) => self.is_down[responder] = true,
            Act::Start(responder) => self.is_down[responder] = false,
            Act::CutLedger(responder) => self.is_cut[responder] = true,
            Act::MendLedger(responder) => self.is_cut[responder] = false,
            Act::Unplug(responder) | Act::Isolate(responder) => self.is_unplugged[responder] = true,
            Act::Replug(responder) => self.is_unplugged[responder] = false,
            Act::KillDatabase | Act::FreezeDatabase => self.has_database = false,
            Act::RestoreDatabase => self.has_database = true,
            Act::Promote => self.has_standby = false,
            Act::TakeOver(_) | Act::Await(_) => {}
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} machines within {:?}", self.machines, self.power_on)?;
        if self.clocks != [0; RESPONDERS] {
            write!(f, "; clocks ahead by {:?} s", self.clocks)?;
        }
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

    /// The states after each act. Each act must be one that changes something.
    fn states(schedule: &Schedule) -> Vec<State> {
        let mut state = State::default();
        let step = |(_, act): &(Duration, Act)| {
            let before = state;
            let is_possible = match *act {
                Act::Kill(responder) | Act::Stop(responder) | Act::TakeOver(responder) => {
                    before.serves(responder)
                }
                Act::Start(responder) => before.is_down[responder],
                Act::CutLedger(responder) => !before.is_cut[responder],
                Act::MendLedger(responder) => before.is_cut[responder],
                Act::Unplug(responder) | Act::Isolate(responder) => before.serves(responder),
                Act::Replug(responder) => before.is_unplugged[responder],
                Act::KillDatabase | Act::FreezeDatabase => before.has_database,
                Act::RestoreDatabase => !before.has_database,
                Act::Promote => before.has_database && before.has_standby,
                Act::Await(_) => true,
            };
            assert!(is_possible, "{act:?} in {schedule}");
            state.take(*act);
            state
        };
        schedule.acts.iter().map(step).collect()
    }

    #[test]
    fn acts_are_possible_in_their_order_and_somebody_always_serves() {
        let written = [
            Schedule::killed(1, POWER_ON),
            Schedule::database(1, POWER_ON, POWER_ON),
            Schedule::frozen(1, POWER_ON, POWER_ON),
            Schedule::promoted(1, POWER_ON),
            Schedule::upgrade(1, POWER_ON),
            Schedule::handed_over(1, POWER_ON),
            Schedule::without_ledger(1, POWER_ON),
            Schedule::unplugged(1, POWER_ON),
            Schedule::isolated(1, POWER_ON),
            Schedule::clocks_apart(1, POWER_ON),
        ];
        for schedule in written.into_iter().chain((0..1000).map(|seed| Schedule::random(seed, 1, POWER_ON))) {
            let serves = |state: &State| (0..RESPONDERS).any(|responder| state.serves(responder));
            assert!(states(&schedule).iter().all(serves), "{schedule}");
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
            Act::TakeOver(1),
            Act::CutLedger(0),
            Act::MendLedger(0),
            Act::Unplug(2),
            Act::Isolate(1),
            Act::Replug(2),
            Act::KillDatabase,
            Act::FreezeDatabase,
            Act::RestoreDatabase,
            Act::Promote,
        ];
        assert!(wanted.iter().all(|act| all.contains(act)));
    }
}
