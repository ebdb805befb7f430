//! Which responder of a segment owns which bucket of machines: pure, and the same on every responder.
//!
//! [`Segment`] is the list of responders. [`Segment::table`] gives each of the 256 buckets to one of those that are
//! alive, and [`Table::ranks`] is one responder's part of it, in the form that the kernel programs and the responder
//! read ([`pxe_common::segment`]). The list is that of `[segment]`, and all of it counts as alive; or it is in the shared
//! ledger, and [`membership`] says who is alive.
//!
//! The table is made in two steps:
//!
//! 1. All buckets are spread over the whole list by weighted rendezvous hashing. Each pair of a bucket and a responder
//!    has a score. The pairs take turns in the order of their scores; a bucket goes to the first responder that still has
//!    room in its quota.
//! 2. The buckets of responders that are not alive are spread over the others in the same way. No other bucket moves.
//!
//! Without quotas, the share of each of three responders would differ from a third by a tenth, because 256 is few.
//!
//! All is integers, so all processors compute the same. The numbers are part of the protocol between responders: if one
//! changes, responders of two versions disagree for as long as both run (`the_table_never_changes` below).

pub mod membership;

use std::sync::Arc;

use pxe_common::segment::{BUCKETS, Ranks};

/// Most responders on a segment.
pub const RESPONDERS_MAX: usize = 64;
/// Largest weight of a responder. A weight counts as that many scores for each bucket.
pub const WEIGHT_MAX: u32 = 100;

/// A responder of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, which no other responder of the segment has.
    pub name: Arc<str>,
    /// Its capacity in proportion to the others', from 1 to [`WEIGHT_MAX`].
    pub weight: u32,
}

/// The responders of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Sorted by name.
    members: Vec<Member>,
}

/// Why a list of responders cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// The list is empty.
    #[error("it has no responders: list all of them, this one included")]
    Empty,
    /// The list is too long.
    #[error("it has {0} responders, and {RESPONDERS_MAX} are the most: divide the network into segments")]
    TooMany(usize),
    /// Two entries have one name.
    #[error("two responders are named `{0}`: give each its own name, as in its own `responder`")]
    Twice(Arc<str>),
    /// A weight is out of range.
    #[error(
        "`{name}` has weight {weight}: write a number from 1 to {WEIGHT_MAX}, or remove a responder that shall own nothing"
    )]
    Weight {
        /// The responder.
        name: Arc<str>,
        /// Its weight.
        weight: u32,
    },
}

impl SegmentError {
    /// The responder that the error is about, if it is about one.
    #[must_use]
    pub fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Twice(name) | Self::Weight { name, .. } => Some(name),
            Self::Empty | Self::TooMany(_) => None,
        }
    }
}

impl Segment {
    /// A segment with these responders, in any order.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn new(mut members: Vec<Member>) -> Result<Self, SegmentError> {
        if members.is_empty() {
            return Err(SegmentError::Empty);
        }
        if members.len() > RESPONDERS_MAX {
            return Err(SegmentError::TooMany(members.len()));
        }
        if let Some(wrong) = members.iter().find(|member| !(1..=WEIGHT_MAX).contains(&member.weight)) {
            return Err(SegmentError::Weight { name: Arc::clone(&wrong.name), weight: wrong.weight });
        }
        members.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = members.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(SegmentError::Twice(Arc::clone(&pair[0].name)));
        }
        Ok(Self { members })
    }

    /// The responders, sorted by name.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Whether the list has a responder of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.members.iter().any(|member| &*member.name == name)
    }

    /// Spreads the buckets over those responders for which `is_alive` returns true. If none is alive, all count as alive.
    #[must_use]
    pub fn table(&self, is_alive: impl Fn(&str) -> bool) -> Table {
        let mut alive: Vec<bool> = self.members.iter().map(|member| is_alive(&member.name)).collect();
        if !alive.contains(&true) {
            alive.fill(true);
        }
        let scores = self.scores();
        let mut owners = [None; BUCKETS];
        self.spread(&scores, &vec![true; self.members.len()], &mut owners);
        for owner in &mut owners {
            *owner = owner.filter(|index| alive[*index]);
        }
        self.spread(&scores, &alive, &mut owners);
        let order = |bucket: usize| {
            let mut order: Vec<usize> = (0..self.members.len()).filter(|index| alive[*index]).collect();
            // The owner first. Scores hardly ever tie; then the name decides, by which the members are sorted.
            order.sort_by_key(|index| {
                (owners[bucket] != Some(*index), std::cmp::Reverse(scores[*index][bucket]), *index)
            });
            order.into_iter().map(|index| Arc::clone(&self.members[index].name)).collect()
        };
        Table { orders: (0..BUCKETS).map(order).collect() }
    }

    /// The score of each responder for each bucket: the best of as many random numbers as its weight. So a responder of
    /// weight 2 wins as often as two of weight 1 would, exactly.
    fn scores(&self) -> Vec<[u64; BUCKETS]> {
        let score = |member: &Member| {
            let name = fnv1a(member.name.as_bytes());
            std::array::from_fn(|bucket| {
                let draw = |turn: u32| mixed(name ^ mixed((bucket as u64) << 32 | u64::from(turn)));
                (0..member.weight).map(draw).max().unwrap_or(0)
            })
        };
        self.members.iter().map(score).collect()
    }

    /// Gives each bucket without an owner to a responder that is alive.
    fn spread(&self, scores: &[[u64; BUCKETS]], alive: &[bool], owners: &mut [Option<usize>; BUCKETS]) {
        let mut room = self.room(alive, owners);
        let free: Vec<usize> = (0..BUCKETS).filter(|bucket| owners[*bucket].is_none()).collect();
        let of_member =
            |index: usize| free.iter().map(move |bucket| (scores[index][*bucket], index, *bucket));
        let mut pairs: Vec<(u64, usize, usize)> =
            (0..scores.len()).filter(|index| room[*index] > 0).flat_map(of_member).collect();
        pairs.sort_by_key(|(score, index, bucket)| (std::cmp::Reverse(*score), *index, *bucket));
        for (_, index, bucket) in pairs {
            if owners[bucket].is_none() && room[index] > 0 {
                owners[bucket] = Some(index);
                room[index] -= 1;
            }
        }
    }

    /// How many of the free buckets each responder gets. Each bucket in turn goes to the one that is furthest below its
    /// quota, the share of all buckets by weight. So nobody gets a whole bucket more than its quota.
    fn room(&self, alive: &[bool], owners: &[Option<usize>; BUCKETS]) -> Vec<usize> {
        let weight = |index: usize| if alive[index] { i64::from(self.members[index].weight) } else { 0 };
        let total: i64 = (0..self.members.len()).map(weight).sum();
        let mut owned = vec![0i64; self.members.len()];
        owners.iter().flatten().for_each(|index| owned[*index] += 1);
        let mut room = vec![0; self.members.len()];
        for _ in owners.iter().filter(|owner| owner.is_none()) {
            let missing = |index: &usize| BUCKETS as i64 * weight(*index) - owned[*index] * total;
            let candidates = (0..self.members.len()).filter(|index| alive[*index]);
            let Some(next) = candidates.max_by_key(|index| (missing(index), std::cmp::Reverse(*index)))
            else {
                break;
            };
            owned[next] += 1;
            room[next] += 1;
        }
        room
    }
}

/// The responders that are alive, in the order in which they answer, for each bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    orders: Vec<Vec<Arc<str>>>,
}

impl Table {
    /// The rank of a responder in each bucket. One that is not in the table has the last rank everywhere.
    #[must_use]
    pub fn ranks(&self, name: &str) -> Ranks {
        let mut ranks = Ranks([u8::MAX; BUCKETS]);
        for (rank, order) in ranks.0.iter_mut().zip(&self.orders) {
            let place = order.iter().position(|known| &**known == name);
            *rank = place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX);
        }
        ranks
    }

    /// The responders in the order in which they answer the machines of a bucket; the first is the owner.
    #[must_use]
    pub fn order(&self, bucket: u8) -> &[Arc<str>] {
        &self.orders[usize::from(bucket)]
    }

    /// In how many buckets a responder is the owner.
    #[must_use]
    pub fn owned(&self, name: &str) -> usize {
        self.ranks(name).owned()
    }

    /// A number that two tables share only if they are the same, in practice: for people who compare two responders.
    #[must_use]
    pub fn digest(&self) -> u32 {
        let names = self.orders.iter().flatten().flat_map(|name| name.bytes().chain([0]));
        (names.fold(FNV_OFFSET, fnv1a_step) >> 32) as u32
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv1a_step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
}

/// The hash FNV-1a, 64 bits (draft-eastlake-fnv).
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().copied().fold(FNV_OFFSET, fnv1a_step)
}

/// The output function of SplitMix64 (Steele, Lea and Flood, 2014): a permutation of all 64-bit numbers.
fn mixed(mut number: u64) -> u64 {
    number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests;
