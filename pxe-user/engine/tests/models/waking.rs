//! A sleeping thread's door: no ring is lost.

use loom::thread;

use crate::model;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::waker::Waker;

/// Two leave something and ring, at any time, also while the thread is awake already. It may sleep when it has looked.
#[test]
fn whatever_is_left_before_a_door_is_found() {
    model(|| {
        let waker = Arc::new(Waker::new().unwrap());
        // Relaxed: a queue promises no more to who finds it empty.
        let left = Arc::new(AtomicUsize::new(0));
        let senders = [0, 1].map(|_| {
            let (waker, left) = (Arc::clone(&waker), Arc::clone(&left));
            thread::spawn(move || {
                left.fetch_add(1, Ordering::Relaxed);
                waker.wake();
            })
        });
        while left.load(Ordering::Relaxed) < 2 {
            waker.event_fd().wait();
            waker.clear();
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}

/// A thread that looks without being rung for (its nap is over, or a frame came) silences nobody's ring.
#[test]
fn who_looks_by_itself_misses_nothing() {
    model(|| {
        let waker = Arc::new(Waker::new().unwrap());
        let left = Arc::new(AtomicUsize::new(0));
        let sender = {
            let (waker, left) = (Arc::clone(&waker), Arc::clone(&left));
            thread::spawn(move || {
                for _ in 0..2 {
                    left.fetch_add(1, Ordering::Relaxed);
                    waker.wake();
                }
            })
        };
        waker.clear();
        while left.load(Ordering::Relaxed) < 2 {
            waker.event_fd().wait();
            waker.clear();
        }
        sender.join().unwrap();
    });
}

/// The end is heard, whatever else is.
#[test]
fn who_is_told_to_stop_stops() {
    model(|| {
        let waker = Arc::new(Waker::new().unwrap());
        let (ringer, stopper) = (Arc::clone(&waker), Arc::clone(&waker));
        let threads = [thread::spawn(move || ringer.wake()), thread::spawn(move || stopper.stop())];
        while !waker.is_stopped() {
            waker.event_fd().wait();
            waker.clear();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
