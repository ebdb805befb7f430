//! A bad cable: frames that get lost, come twice, or come late. The same ones for the same seed and the same frames.

use std::borrow::Borrow;
use std::collections::VecDeque;

/// Frames that pass before one that is late.
const LATE: u32 = 3;

/// What happens to the frames of one direction, per mille of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noise {
    /// Frames that never come.
    pub loss: u32,
    /// Frames that come twice.
    pub duplicate: u32,
    /// Frames that three others overtake.
    pub reorder: u32,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It comes.
    Arrives,
    /// It never comes.
    Lost,
    /// It comes twice.
    Twice,
    /// It comes after some others.
    Late,
}

/// Frames of one direction to which something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suffered {
    /// They never came.
    pub lost: u64,
    /// They came twice.
    pub twice: u64,
    /// Others overtook them, where there were others.
    pub late: u64,
}

/// One direction of the cable. `T` is what it holds back.
#[derive(Clone, Debug)]
pub struct Way<T> {
    noise: Noise,
    state: u32,
    suffered: Suffered,
    /// With the number of frames that are still to pass.
    late: VecDeque<(u32, T)>,
}

impl<T> Way<T> {
    /// A direction with this noise.
    pub fn new(seed: u32, noise: Noise) -> Self {
        Self { noise, state: seed, suffered: Suffered::default(), late: VecDeque::new() }
    }

    /// A frame goes this way: calls `arrive` with whatever comes now, this frame or one that it has overtaken.
    pub fn carry<B>(&mut self, frame: &B, mut arrive: impl FnMut(&B))
    where
        B: ToOwned<Owned = T> + ?Sized,
        T: Borrow<B>,
    {
        match self.fate() {
            Fate::Lost => return,
            Fate::Late => return self.late.push_back((LATE, frame.to_owned())),
            Fate::Twice => arrive(frame),
            Fate::Arrives => {}
        }
        arrive(frame);
        while let Some(late) = self.passed() {
            arrive(late.borrow());
        }
    }

    fn fate(&mut self) -> Fate {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let Noise { loss, duplicate, reorder } = self.noise;
        let (fate, count) = match (self.state >> 8) % 1000 {
            draw if draw < loss => (Fate::Lost, &mut self.suffered.lost),
            draw if draw < loss + duplicate => (Fate::Twice, &mut self.suffered.twice),
            draw if draw < loss + duplicate + reorder => (Fate::Late, &mut self.suffered.late),
            _ => return Fate::Arrives,
        };
        *count += 1;
        fate
    }

    /// What has happened so far.
    pub fn suffered(&self) -> Suffered {
        self.suffered
    }

    /// Another frame has passed: gives the one that comes now, if one does.
    fn passed(&mut self) -> Option<T> {
        for (left, _) in &mut self.late {
            *left = left.saturating_sub(1);
        }
        self.late.pop_front_if(|(left, _)| *left == 0).map(|(_, frame)| frame)
    }

    /// No others came for a while: gives the first that was held back.
    pub fn overdue(&mut self) -> Option<T> {
        self.late.pop_front().map(|(_, frame)| frame)
    }
}

impl<T> Default for Way<T> {
    /// Nothing happens to frames.
    fn default() -> Self {
        Self::new(0, Noise::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(seed: u32, noise: Noise) -> Vec<Fate> {
        let mut way = Way::<()>::new(seed, noise);
        (0..100_000).map(|_| way.fate()).collect()
    }

    #[test]
    fn as_many_frames_suffer_as_were_asked_for_and_each_seed_other_ones() {
        let noise = Noise { loss: 10, duplicate: 20, reorder: 30 };
        let count = |fate| fates(1, noise).into_iter().filter(|other| *other == fate).count();
        for (fate, share) in [(Fate::Lost, 10), (Fate::Twice, 20), (Fate::Late, 30)] {
            let (least, most) = (share * 90, share * 110);
            assert!((least..most).contains(&count(fate)), "{fate:?}: {}", count(fate));
        }
        assert_eq!(fates(1, noise), fates(1, noise));
        assert_ne!(fates(1, noise), fates(2, noise));
        assert!(fates(1, Noise::default()).iter().all(|fate| *fate == Fate::Arrives));
        let all = Noise { loss: 1000, ..Noise::default() };
        assert!(fates(1, all).iter().all(|fate| *fate == Fate::Lost));
    }

    /// Carries so many frames, each its own number; what came, in its order, and what was counted.
    fn carried(noise: Noise, frames: u32) -> (Vec<u32>, Suffered) {
        let (mut way, mut came) = (Way::new(1, noise), Vec::new());
        for frame in 0..frames + LATE {
            // The last ones overtake whatever is late.
            if frame == frames {
                way.noise = Noise::default();
            }
            way.carry(&frame, |frame| came.push(*frame));
        }
        assert_eq!(way.overdue(), None);
        (came, way.suffered())
    }

    #[test]
    fn what_is_counted_is_what_happened() {
        let (came, suffered) = carried(Noise { loss: 100, duplicate: 200, reorder: 300 }, 1000);
        let times = |frame: u32| came.iter().filter(|other| **other == frame).count();
        let count = |wanted| (0..1000).filter(|frame| times(*frame) == wanted).count() as u64;
        assert_eq!((suffered.lost, suffered.twice), (count(0), count(2)));
        // It comes behind one that was sent after it.
        let overtaken = |at: usize| came[..at].iter().any(|earlier| *earlier > came[at]);
        assert_eq!(suffered.late, (0..came.len()).filter(|at| overtaken(*at)).count() as u64);
        assert!(suffered.lost > 0 && suffered.twice > 0 && suffered.late > 0, "{suffered:?}");
        assert_eq!(carried(Noise::default(), 2), (vec![0, 1, 2, 3, 4], Suffered::default()));
    }

    #[test]
    fn a_late_frame_comes_after_three_others_or_when_no_more_come() {
        let all_late = Noise { reorder: 1000, ..Noise::default() };
        let mut way = Way::new(1, all_late);
        way.carry(&"late", |_| panic!("it comes later"));
        way.noise = Noise::default();
        let mut came = Vec::new();
        for frame in ["one", "two", "three", "four"] {
            way.carry(&frame, |frame| came.push(*frame));
        }
        assert_eq!(came, ["one", "two", "three", "late", "four"]);
        way.noise = all_late;
        way.carry(&"last", |_| panic!("it comes later"));
        assert_eq!([way.overdue(), way.overdue()], [Some("last"), None]);
    }
}
