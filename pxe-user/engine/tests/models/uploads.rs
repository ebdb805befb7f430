//! Blocks on their way to the disk: an ACK that waits for them is not forgotten, and places come back.

use loom::sync::mpsc;
use loom::thread;

use crate::model;
use crate::places::{BEHIND, Places, WINDOWSIZE_MAX};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::tftp::reception::Taken;

/// The disk is behind by a window, and the next block comes while it catches up.
#[test]
fn an_ack_that_waits_for_the_disk_is_sent() {
    model(|| {
        let ticket = Places::new(1).take(None).unwrap();
        assert_eq!((ticket.announced(), ticket.is_abandoned()), (None, true));
        let (blocks, written) = mpsc::channel();
        for _ in 0..WINDOWSIZE_MAX {
            assert_eq!(ticket.stored(), Taken::Yes);
        }
        let clerks = ticket.clone();
        let clerk = thread::spawn(move || {
            let mut wanted = (0..BEHIND).filter(|_| clerks.written()).count();
            written.recv().unwrap();
            wanted += usize::from(clerks.written());
            wanted
        });
        let taken = ticket.stored();
        blocks.send(()).unwrap();
        let wanted = clerk.join().unwrap();
        // One too many is a look for nothing; one too few, and the client waits in vain.
        assert!(taken == Taken::Yes || wanted > 0, "nobody says that there is room again");
        assert!(ticket.is_abandoned());
    });
}

/// Three want the only place; whoever gets it gives it back.
#[test]
fn a_place_is_given_to_one_at_a_time() {
    model(|| {
        let places = Places::new(1);
        let holders = Arc::new(AtomicUsize::new(0));
        let take = |places: &Places, holders: &AtomicUsize| {
            if let Some(ticket) = places.take(Some(7)) {
                assert_eq!(holders.fetch_add(1, Ordering::Relaxed), 0, "two have the place");
                holders.fetch_sub(1, Ordering::Relaxed);
                drop(ticket);
            }
        };
        let others = [0, 1].map(|_| {
            let (places, holders) = (places.clone(), Arc::clone(&holders));
            thread::spawn(move || take(&places, &holders))
        });
        take(&places, &holders);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert!(places.take(None).is_some(), "the place is lost");
    });
}
