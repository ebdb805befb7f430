//! What the cache removes to make room. Pure.

use std::collections::BTreeSet;

use pxe_content::boot::Digest;

/// A file of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// When an image last began to use it, in seconds.
    pub(crate) used: u64,
}

/// The room that files in use leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom {
    /// The size of the files in use.
    pub(crate) in_use: u64,
}

/// The files to remove, so that `need` more bytes fit below `max`: the least recently used first, and none in use.
pub(crate) fn evict(
    blobs: &[Blob],
    is_in_use: &BTreeSet<[u8; 32]>,
    need: u64,
    max: u64,
) -> Result<Vec<Digest>, NoRoom> {
    let (used, mut free): (Vec<Blob>, Vec<Blob>) =
        blobs.iter().partition(|blob| is_in_use.contains(&blob.digest.0));
    let sum = |blobs: &[Blob]| blobs.iter().fold(0u64, |sum, blob| sum.saturating_add(blob.size));
    let in_use = sum(&used);
    if in_use.saturating_add(need) > max {
        return Err(NoRoom { in_use });
    }
    free.sort_by_key(|blob| (blob.used, blob.digest.0));
    let mut total = in_use.saturating_add(sum(&free)).saturating_add(need);
    let mut removed = Vec::new();
    for blob in free {
        if total <= max {
            break;
        }
        total -= blob.size;
        removed.push(blob.digest);
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn blob(number: u8, size: u64, used: u64) -> Blob {
        Blob { digest: Digest([number; 32]), size, used }
    }

    #[test]
    fn the_least_recently_used_goes_first_and_what_is_in_use_stays() {
        let blobs = [blob(1, 40, 1), blob(2, 30, 3), blob(3, 20, 2)];
        let in_use = BTreeSet::from([[1; 32]]);
        assert_eq!(evict(&blobs, &in_use, 10, 100), Ok(vec![]));
        assert_eq!(evict(&blobs, &in_use, 20, 100), Ok(vec![Digest([3; 32])]));
        assert_eq!(evict(&blobs, &in_use, 60, 100), Ok(vec![Digest([3; 32]), Digest([2; 32])]));
        assert_eq!(evict(&blobs, &in_use, 61, 100), Err(NoRoom { in_use: 40 }));
        assert_eq!(evict(&[], &in_use, u64::MAX, 100), Err(NoRoom { in_use: 0 }));
    }

    proptest! {
        #[test]
        fn the_bound_holds_and_nothing_in_use_is_removed(
            sizes in proptest::collection::vec((0u64..100, 0u64..5, any::<bool>()), 0..20), need in 0u64..200, max in 0u64..600,
        ) {
            let blobs: Vec<_> = (0u8..).zip(&sizes).map(|(at, (size, used, _))| blob(at, *size, *used)).collect();
            let in_use: BTreeSet<_> =
                blobs.iter().zip(&sizes).filter(|(_, (.., used))| *used).map(|(blob, _)| blob.digest.0).collect();
            let removed = evict(&blobs, &in_use, need, max);
            let kept = |blob: &&Blob| removed.as_ref().is_ok_and(|gone| !gone.contains(&blob.digest));
            let sum: u64 = blobs.iter().filter(kept).map(|blob| blob.size).sum();
            if let Ok(gone) = &removed {
                prop_assert!(sum + need <= max);
                prop_assert!(gone.iter().all(|digest| !in_use.contains(&digest.0)));
            }
        }
    }
}
