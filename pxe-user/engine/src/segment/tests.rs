//! The table's promises: by weight, the same everywhere, and little moves.

use proptest::prelude::*;
use pxe_common::segment::bucket;

use super::*;

fn member(name: &str, weight: u32) -> Member {
    Member { name: name.into(), weight }
}

fn segment(members: &[(&str, u32)]) -> Segment {
    Segment::new(members.iter().map(|(name, weight)| member(name, *weight)).collect()).unwrap()
}

fn all(segment: &Segment) -> Table {
    segment.table(|_| true)
}

/// The buckets whose owners differ, with the owner before and after.
fn moves<'t>(before: &'t Table, after: &'t Table) -> Vec<(&'t str, &'t str)> {
    let owners = |table: &'t Table| (0..=255).map(|bucket| &*table.order(bucket)[0]);
    owners(before).zip(owners(after)).filter(|(before, after)| before != after).collect()
}

/// Responders of two versions must agree. If this test fails, their versions must not run on one segment. The values
/// are those of a program of its own, written from the head of the module.
#[test]
fn the_table_never_changes() {
    let table = all(&segment(&[("a", 1), ("b", 1), ("c", 1)]));
    let owners: String = (0..64).map(|bucket| &*table.order(bucket)[0]).collect();
    assert_eq!(owners, GOLDEN_OWNERS);
    assert_eq!(table.digest(), GOLDEN_DIGEST);
    let weighted = all(&segment(&[("rack-1", 4), ("rack-2", 2), ("spare", 1)]));
    assert_eq!(["rack-1", "rack-2", "spare"].map(|name| weighted.owned(name)), [146, 73, 37]);
    assert_eq!(weighted.digest(), GOLDEN_WEIGHTED);
}

const GOLDEN_OWNERS: &str = "bbcabbacbacbaccabcbbccbcbcbcacbbcaacbbccccabbbaabccbccccababbccb";
const GOLDEN_DIGEST: u32 = 0xacfc_3fa7;
const GOLDEN_WEIGHTED: u32 = 0xeee6_e792;

#[test]
fn lists_that_cannot_be_used_are_refused_with_the_remedy() {
    let refused = |members: Vec<Member>, words: &str| {
        let error = Segment::new(members).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refused(vec![], "list all of them");
    refused(vec![member("a", 1), member("b", 2), member("a", 3)], "two responders are named `a`");
    refused(vec![member("a", 1), member("b", 0)], "`b` has weight 0");
    refused(vec![member("a", 101)], "1 to 100");
    refused((0..65).map(|number| member(&format!("r{number}"), 1)).collect(), "65 responders, and 64");
}

#[test]
fn one_responder_owns_all() {
    let table = all(&segment(&[("a", 3)]));
    assert_eq!(table.ranks("a"), Ranks::ALONE);
    assert_eq!(table.owned("b"), 0);
}

/// With nobody alive there would be no owner, and machines would wait for nothing.
#[test]
fn if_nobody_is_alive_all_are() {
    let segment = segment(&[("a", 1), ("b", 1)]);
    assert_eq!(segment.table(|_| false), all(&segment));
}

#[test]
fn ten_thousand_machines_are_spread_by_weight() {
    // Machines of three makers: in a row, in steps of two and of 256, as cards with several ports are numbered.
    let mac = |number: u32| {
        let [_, a, b, c] = (number / 3).to_be_bytes();
        match number % 3 {
            0 => [0x52, 0x54, 0x00, a, b, c],
            1 => [0x3c, 0xec, 0xef, a << 1 | b >> 7, b << 1 | c >> 7, c << 1],
            _ => [0xb8, 0x59, 0x9f, b, c, a],
        }
    };
    for members in [
        &[("a", 1), ("b", 1), ("c", 1)][..],
        &[("a", 1), ("b", 1)],
        &[("big", 4), ("middle", 2), ("small", 1)],
        &[("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 1), ("f", 1), ("g", 1), ("h", 1)],
    ] {
        let segment = segment(members);
        let table = all(&segment);
        let total: u32 = members.iter().map(|(_, weight)| weight).sum();
        for (name, weight) in members {
            let ranks = table.ranks(name);
            let owned = (0..10_000).filter(|number| ranks.of(mac(*number)) == 0).count() as f64;
            let fair = 10_000.0 * f64::from(*weight) / f64::from(total);
            assert!((owned / fair - 1.0).abs() < 0.1, "{name} of {members:?}: {owned}, fair {fair}");
        }
    }
    let used = (0..10_000).map(|number| bucket(mac(number))).collect::<std::collections::HashSet<_>>().len();
    assert_eq!(used, 256);
}

fn members() -> impl Strategy<Value = Vec<Member>> {
    let member = ("[a-z0-9-]{1,12}", 1..=WEIGHT_MAX).prop_map(|(name, weight)| member(&name, weight));
    prop::collection::vec(member, 1..12).prop_map(|mut members| {
        members.sort_by(|a, b| a.name.cmp(&b.name));
        members.dedup_by(|a, b| a.name == b.name);
        members
    })
}

/// How far a responder is from its share of all buckets, in buckets.
fn off(segment: &Segment, table: &Table, is_alive: impl Fn(&str) -> bool) -> f64 {
    let alive = || segment.members().iter().filter(|member| is_alive(&member.name));
    let total: f64 = alive().map(|member| f64::from(member.weight)).sum();
    let off = |member: &Member| {
        let quota = 256.0 * f64::from(member.weight) / total;
        (table.owned(&member.name) as f64 - quota).abs()
    };
    alive().map(off).fold(0.0, f64::max)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_owns_its_quota_within_one_bucket(members in members()) {
        let segment = Segment::new(members).unwrap();
        prop_assert!(off(&segment, &all(&segment), |_| true) < 1.0);
    }

    #[test]
    fn the_order_of_the_list_changes_nothing(
        (members, shuffled) in members().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
    ) {
        prop_assert_eq!(
            all(&Segment::new(members).unwrap()),
            all(&Segment::new(shuffled).unwrap()),
        );
    }

    /// Each responder that is alive has one rank in each bucket, and no two have the same.
    #[test]
    fn ranks_are_a_permutation(members in members()) {
        let segment = Segment::new(members).unwrap();
        let table = all(&segment);
        let ranks: Vec<Ranks> = segment.members().iter().map(|member| table.ranks(&member.name)).collect();
        for bucket in 0..BUCKETS {
            let mut of_bucket: Vec<usize> = ranks.iter().map(|ranks| usize::from(ranks.0[bucket])).collect();
            of_bucket.sort_unstable();
            prop_assert_eq!(of_bucket, (0..segment.members().len()).collect::<Vec<_>>());
        }
    }

    /// When responders go down, their buckets move and no others, to those that are alive, by weight. When they come
    /// back, all is as before: the table depends on who is alive and not on what was.
    #[test]
    fn only_the_buckets_of_those_that_are_down_move(members in members(), down: [prop::sample::Index; 2]) {
        prop_assume!(members.len() > 2);
        let segment = Segment::new(members).unwrap();
        let down = down.map(|index| Arc::clone(&index.get(segment.members()).name));
        let is_alive = |name: &str| down.iter().all(|down| **down != *name);
        let (before, after) = (all(&segment), segment.table(is_alive));
        for (owner, _) in moves(&before, &after) {
            prop_assert!(!is_alive(owner), "{owner}");
        }
        prop_assert!(down.iter().all(|down| after.owned(down) == 0));
        // One of those that are alive may have had a bucket more than its quota before.
        prop_assert!(off(&segment, &after, is_alive) < 2.0);
    }

    /// A responder that is added to the list gets its quota, and few buckets move between the others.
    #[test]
    fn a_longer_list_moves_little_else(members in members()) {
        prop_assume!(members.len() > 1);
        let before = all(&Segment::new(members[1..].to_vec()).unwrap());
        let after = all(&Segment::new(members.clone()).unwrap());
        let moved = moves(&before, &after);
        let elsewhere = moved.iter().filter(|(_, owner)| **owner != *members[0].name).count();
        prop_assert!(moved.len() - elsewhere == after.owned(&members[0].name));
        prop_assert!(elsewhere <= 40, "{elsewhere} of {}", moved.len());
    }
}
