//! When a duplicate ACK brings the timer forward, and when it does not.

use super::*;

/// clients.md, section 6, line 24, and RFC 1123, section 4.2.3.1.
#[test]
fn line_24_duplicate_acks_hasten_a_window_once() {
    // A measured round trip of 20 ms, then a window whose first block is lost.
    let mut windowed = sending(4);
    windowed.on_ack(ms(30), 4);
    flush(&mut windowed);
    for n in 0..100 {
        assert_eq!(windowed.on_ack(ms(50 + n / 10), 4), SessionAction::Ignore(IgnoredEvent::DuplicateAck));
    }
    assert_eq!(windowed.deadline(), ms(50 + 40));
    assert_eq!(windowed.on_time(ms(90)), SessionAction::SendData);
    assert_eq!(flush(&mut windowed), (5, 4));
    // The echoes of the repeat change nothing.
    let deadline = windowed.deadline();
    assert!(deadline >= ms(1090));
    windowed.on_ack(ms(95), 4);
    assert_eq!(windowed.deadline(), deadline);
}

/// A lock-step transfer whose first round trip took `round_trip` ms. `None`: the OACK was repeated, so the
/// round trip is not known.
fn lock_step(round_trip: Option<u64>) -> SendSession {
    let mut transfer = offered(1);
    if round_trip.is_none() {
        assert_eq!(transfer.on_time(ms(1000)), SessionAction::SendOack);
    }
    let begun = round_trip.unwrap_or(1001);
    assert_eq!(transfer.on_ack(ms(begun), 0), SessionAction::SendData);
    flush(&mut transfer);
    // The first block is acknowledged, and the second one was sent at 2000 ms. Only the first answer is
    // measured.
    assert_eq!(transfer.on_ack(ms(2000), 1), SessionAction::SendData);
    flush(&mut transfer);
    transfer
}

#[test]
fn line_24_in_lock_step_only_the_clients_own_time_out_hastens_a_block() {
    for (round_trip, after) in [(Some(1), 50), (Some(12), 50), (Some(20), 80), (Some(100), 400), (None, 200)]
    {
        let mut transfer = lock_step(round_trip);
        let case = format!("round trip {round_trip:?}");
        for at in [0, 1, after / 2, after - 1] {
            assert_eq!(transfer.on_ack(ms(2000 + at), 1), SessionAction::Ignore(IgnoredEvent::DuplicateAck));
            assert_eq!(transfer.deadline(), ms(3000), "{case}, {at} ms after the block");
        }
        // The ACK sends nothing; the timer does.
        assert_eq!(transfer.on_ack(ms(2000 + after), 1), SessionAction::Ignore(IgnoredEvent::DuplicateAck));
        assert_eq!((transfer.unsent().1, transfer.deadline()), (0, ms(2000 + after)), "{case}");
        assert_eq!(transfer.on_time(ms(2000 + after)), SessionAction::SendData);
        assert_eq!(flush(&mut transfer), (2, 1));
        // Only once: after that, the timer runs as if no duplicate ACK had arrived.
        for at in 0..900 {
            assert_eq!(
                transfer.on_ack(ms(2000 + after + at), 1),
                SessionAction::Ignore(IgnoredEvent::DuplicateAck)
            );
        }
        assert_eq!(transfer.deadline(), ms(3000 + after), "{case}");
        // The answer to the repeat is a duplicate ACK while the next block is on its way. It has no effect,
        // however late it is.
        assert_eq!(transfer.on_ack(ms(2900), 2), SessionAction::SendData);
        flush(&mut transfer);
        transfer.on_ack(ms(3800), 2);
        assert_eq!(transfer.deadline(), ms(3900), "{case}: an echo of the repeat");
        // Then duplicate ACKs work as before.
        assert_eq!(transfer.on_ack(ms(3850), 3), SessionAction::SendData);
        flush(&mut transfer);
        transfer.on_ack(ms(3850 + after), 3);
        assert_eq!(transfer.deadline(), ms(3850 + after), "{case}");
    }
}

/// The timer of pxed was first. The time-out of the client has the same cause.
#[test]
fn a_block_that_the_timer_has_repeated_is_not_hastened() {
    let mut transfer = lock_step(Some(1));
    assert_eq!(transfer.on_time(ms(3000)), SessionAction::SendData);
    flush(&mut transfer);
    transfer.on_ack(ms(3900), 1);
    assert_eq!(transfer.deadline(), ms(4000));
}

/// The echoes of EDK2 (clients.md, section 2): 3014 ACKs instead of 26 if each of them triggered a window.
#[test]
fn an_echo_of_a_repeated_window_only_moves_it_on() {
    let mut transfer = sending(4);
    // Block 4 was lost, and the timer sends 1 to 4 again. The client has three of them, and sends three ACKs
    // of block 3.
    assert_eq!(transfer.on_time(transfer.deadline()), SessionAction::SendData);
    assert_eq!(flush(&mut transfer), (1, 4));
    assert_eq!(transfer.on_ack(ms(1030), 3), SessionAction::SendData);
    assert_eq!(flush(&mut transfer), (5, 3));
    assert_eq!(transfer.on_ack(ms(1031), 3), SessionAction::Ignore(IgnoredEvent::DuplicateAck));
    // A repeated window was acknowledged to its end: the next loss is repaired at once.
    assert_eq!(transfer.on_ack(ms(1040), 7), SessionAction::SendData);
    assert_eq!(flush(&mut transfer), (8, 3));
    assert_eq!(transfer.on_ack(ms(1050), 8), SessionAction::SendData);
    assert_eq!(flush(&mut transfer), (9, 2));
    // Another block was lost: the timer repeats it.
    assert_eq!(transfer.on_ack(ms(1051), 8), SessionAction::Ignore(IgnoredEvent::DuplicateAck));
    assert_eq!(transfer.on_time(transfer.deadline()), SessionAction::SendData);
    assert_eq!(transfer.unsent(), (Block(9), 2));
}

/// Without a measured round trip the repeat comes later: otherwise, on a path of 50 ms, pxed would send each
/// window twice, without end.
#[test]
fn an_unknown_round_trip_is_given_time() {
    let mut transfer = sending(4);
    transfer.on_ack(ms(20), 0);
    assert_eq!(transfer.deadline(), ms(270));
}

/// A few repeats of the last block are enough only for a client that has gone. For one that still requests
/// the block, the transfer ends too, but later.
#[test]
fn who_asks_for_the_last_block_gets_it_for_as_long_as_for_any_other() {
    for windowsize in [1, 4] {
        let mut transfer = sending(windowsize);
        // All of the ten blocks but the last.
        for block in (1..=9).filter(|block| block % windowsize == 0 || *block == 9) {
            transfer.on_ack(ms(20), block);
            flush(&mut transfer);
        }
        let mut repeats = Vec::new();
        for second in 1..=60 {
            match transfer.on_time(ms(second * 1000 + 20)) {
                SessionAction::SendData => repeats.push(second),
                SessionAction::End(outcome) => assert_eq!((second, outcome), (45, TransferOutcome::TimedOut)),
                _ => {}
            }
            flush(&mut transfer);
            transfer.on_ack(ms(second * 1000 + 30), 9);
        }
        assert!(transfer.has_ended() && repeats.len() > 40, "window {windowsize}: {repeats:?}");
    }
}

/// If the last packet of a client reports that it lacks the last block, it has not received it. If the client
/// is silent after a repeat, it most likely has.
#[test]
fn who_asked_for_the_last_block_and_is_silent_after_its_repeat_has_it() {
    let mut transfer = lock_step(None);
    for block in 1..=9 {
        transfer.on_ack(ms(20), block);
        flush(&mut transfer);
    }
    assert_eq!(transfer.on_time(ms(1020)), SessionAction::SendData);
    flush(&mut transfer);
    transfer.on_ack(ms(1500), 9);
    let story = silence(&mut transfer, 1500);
    assert_eq!(story.last().unwrap().1, SessionAction::End(TransferOutcome::CompleteUnconfirmed));
}
