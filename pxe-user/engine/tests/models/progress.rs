//! A transfer that both the kernel and the daemon could continue: exactly one of them sends each block.

use loom::thread;
use pxe_common::abi::{Transfer, TransferKey};
use pxe_common::steady;

use crate::model;
use crate::slot::Slot;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A transfer of seven blocks, and its key.
const TRANSFER: Transfer = Transfer { generation: 1, file: 0, last: 7, windowsize: 1 };
const KEY: TransferKey =
    TransferKey { client_addr: [10, 0, 0, 99], client_port: [8, 22], server_port: [195, 80] };
/// The tag of the transfer's file.
const TAG: u32 = 77;
/// A transfer that has the slot afterwards.
const NEXT: Transfer = Transfer { generation: 2, file: 1, ..TRANSFER };
const NEXT_KEY: TransferKey = TransferKey { client_port: [8, 23], ..KEY };
const NEXT_TAG: u32 = 78;

fn slot() -> Arc<Slot> {
    let [word, heard, key, file, last, tag] = [0; 6].map(AtomicU64::new);
    Arc::new(Slot { word, heard, key, file, last, tag, reserved: [0; 2] })
}

/// The kernel program on one processor (`pxe-ebpf/src/offload/mod.rs`), step by step: its read of the word,
/// its plain reads, which the processor keeps behind the first one, and its compare-and-exchange, which is a
/// full barrier. Returns the block that it sends, and of which file, if it sends one.
fn kernel(slot: &Slot, key: &TransferKey, ack: u16) -> Option<(u32, u32)> {
    let word = slot.word.load(Ordering::Acquire);
    if word == 0 || slot.key.load(Ordering::Relaxed) != key.to_word() {
        return None;
    }
    let pair = |word: u64| {
        let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
        (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]))
    };
    let (generation, file) = pair(slot.file.load(Ordering::Relaxed));
    let (last, windowsize) = pair(slot.last.load(Ordering::Relaxed));
    let (tag, _) = pair(slot.tag.load(Ordering::Relaxed));
    let window = steady::next(word, &Transfer { generation, file, last, windowsize }, ack)?;
    // In the kernel, a block of the file at this index contains the file's tag.
    if [TRANSFER, NEXT].iter().zip([TAG, NEXT_TAG]).all(|(transfer, own)| (file, tag) != (transfer.file, own))
    {
        return None;
    }
    slot.word.compare_exchange(word, window.word, Ordering::SeqCst, Ordering::SeqCst).ok()?;
    slot.heard.store(5, Ordering::Relaxed);
    Some((window.first, file))
}

/// How often each block was sent.
#[derive(Default)]
struct Sent([AtomicUsize; 8]);

impl Sent {
    fn note(&self, block: Option<(u32, u32)>) {
        block.into_iter().for_each(|(block, _)| _ = self.0[block as usize].fetch_add(1, Ordering::Relaxed));
    }

    fn counts(&self) -> [usize; 8] {
        std::array::from_fn(|block| self.0[block].load(Ordering::Relaxed))
    }
}

/// The same ACK reaches two processors. Meanwhile the daemon takes the transfer back, and answers the ACK if
/// the kernel has not.
#[test]
fn a_block_is_sent_by_exactly_one() {
    model(|| {
        let (slot, sent) = (slot(), Arc::new(Sent::default()));
        slot.name(&KEY, &TRANSFER, TAG);
        slot.offload(TRANSFER.generation, 3);
        let processors = [0, 1].map(|_| {
            let (slot, sent) = (Arc::clone(&slot), Arc::clone(&sent));
            thread::spawn(move || sent.note(kernel(&slot, &KEY, 3)))
        });
        let reached = slot.reclaim(TRANSFER.generation).expect("we gave it");
        if reached.sent == 3 {
            sent.note(Some((4, TRANSFER.file)));
        }
        processors.into_iter().for_each(|processor| processor.join().unwrap());
        assert_eq!(sent.counts(), [0, 0, 0, 0, 1, 0, 0, 0], "we saw {reached:?}");
        assert_eq!(slot.offload_progress(TRANSFER.generation), None);
    });
}

/// Two ACKs arrive one after the other, and the daemon reads the progress meanwhile. The progress never goes
/// backwards, and when the daemon takes the transfer back it gets all progress.
#[test]
fn no_block_is_lost_and_none_comes_twice() {
    model(|| {
        let (slot, sent) = (slot(), Arc::new(Sent::default()));
        slot.name(&KEY, &TRANSFER, TAG);
        slot.offload(TRANSFER.generation, 1);
        let processor = {
            let (slot, sent) = (Arc::clone(&slot), Arc::clone(&sent));
            thread::spawn(move || {
                for ack in [1, 2] {
                    sent.note(kernel(&slot, &KEY, ack));
                }
            })
        };
        let seen = slot.offload_progress(TRANSFER.generation).expect("we gave it");
        let reached = slot.reclaim(TRANSFER.generation).expect("nobody else takes it");
        assert!(reached.sent >= seen.sent);
        // The daemon sends all blocks after the last one that the kernel has sent.
        (reached.sent + 1..=3).for_each(|block| sent.note(Some((block, TRANSFER.file))));
        processor.join().unwrap();
        assert_eq!(sent.counts(), [0, 0, 1, 1, 0, 0, 0, 0], "we saw {reached:?}");
    });
}

/// A slot gets a new transfer while a processor still handles an ACK of the old one. The processor then sends
/// nothing for the old transfer, and for the new transfer the kernel sends only blocks of the new file.
#[test]
fn a_slot_that_changes_hands_serves_its_new_transfer_only() {
    model(|| {
        let slot = slot();
        slot.name(&KEY, &TRANSFER, TAG);
        slot.offload(TRANSFER.generation, 3);
        let taken = Arc::new(AtomicUsize::new(0));
        let former = {
            let (slot, taken) = (Arc::clone(&slot), Arc::clone(&taken));
            thread::spawn(move || {
                let before = taken.load(Ordering::SeqCst);
                let sent = kernel(&slot, &KEY, 3);
                assert!(before == 0 || sent.is_none(), "sent for a transfer that was taken back");
                sent
            })
        };
        let next = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || kernel(&slot, &NEXT_KEY, 3))
        };
        let reached = slot.reclaim(TRANSFER.generation).expect("we gave it");
        taken.store(1, Ordering::SeqCst);
        slot.name(&NEXT_KEY, &NEXT, NEXT_TAG);
        slot.offload(NEXT.generation, 3);
        let former = former.join().unwrap();
        let wanted = (reached.sent == 4).then_some((4, TRANSFER.file));
        assert_eq!(former, wanted, "we saw {reached:?}");
        let sent = next.join().unwrap();
        assert!(sent.is_none_or(|sent| sent == (4, NEXT.file)), "{sent:?}");
        let reached = slot.reclaim(NEXT.generation).expect("we gave it");
        assert_eq!(reached.sent, sent.map_or(3, |(block, _)| block));
    });
}
