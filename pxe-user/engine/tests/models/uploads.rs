//! Blocks that wait for the disk: a delayed ACK is not forgotten, and permits are returned.

use loom::sync::mpsc;
use loom::thread;

use crate::model;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::tftp::receive_session::BlockAccepted;
use crate::upload_limiter::{BEHIND, UploadLimiter, WINDOWSIZE_MAX};

/// A window of blocks waits for the disk, and the next block comes while the disk writes them.
#[test]
fn an_ack_that_waits_for_the_disk_is_sent() {
    model(|| {
        let permit = UploadLimiter::new(1).take(None).unwrap();
        assert_eq!((permit.announced(), permit.is_abandoned()), (None, true));
        let (blocks, written) = mpsc::channel();
        for _ in 0..WINDOWSIZE_MAX {
            assert_eq!(permit.stored(), BlockAccepted::Yes);
        }
        let clerks = permit.clone();
        let clerk = thread::spawn(move || {
            let mut wanted = (0..BEHIND).filter(|_| clerks.written()).count();
            written.recv().unwrap();
            wanted += usize::from(clerks.written());
            wanted
        });
        let taken = permit.stored();
        blocks.send(()).unwrap();
        let wanted = clerk.join().unwrap();
        // One report too many is harmless. One too few, and the client waits without end.
        assert!(taken == BlockAccepted::Yes || wanted > 0, "nobody says that there is room again");
        assert!(permit.is_abandoned());
    });
}

/// Three threads want the only permit. Each thread that gets it returns it.
#[test]
fn a_place_is_given_to_one_at_a_time() {
    model(|| {
        let upload_limiter = UploadLimiter::new(1);
        let holders = Arc::new(AtomicUsize::new(0));
        let take = |upload_limiter: &UploadLimiter, holders: &AtomicUsize| {
            if let Some(permit) = upload_limiter.take(Some(7)) {
                assert_eq!(holders.fetch_add(1, Ordering::Relaxed), 0, "two have the place");
                holders.fetch_sub(1, Ordering::Relaxed);
                drop(permit);
            }
        };
        let others = [0, 1].map(|_| {
            let (upload_limiter, holders) = (upload_limiter.clone(), Arc::clone(&holders));
            thread::spawn(move || take(&upload_limiter, &holders))
        });
        take(&upload_limiter, &holders);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert!(upload_limiter.take(None).is_some(), "the place is lost");
    });
}
