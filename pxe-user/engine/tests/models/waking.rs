//! The waker of a sleeping thread: no wake-up is lost.

use loom::thread;

use crate::model;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::waker::Waker;

/// Two threads leave something and call `wake` at any time, also while the owner is awake. After the owner
/// has looked, it may sleep.
#[test]
fn whatever_is_left_before_a_door_is_found() {
    model(|| {
        let waker = Arc::new(Waker::new().unwrap());
        // Relaxed, because a queue guarantees no more to a reader that finds it empty.
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

/// The owner looks without having been woken, for example after a time-out or a frame. It must not clear
/// another thread's wake-up.
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

/// The owner sees `stop`, also when another thread wakes it at the same time.
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
