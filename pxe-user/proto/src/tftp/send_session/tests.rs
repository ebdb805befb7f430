//! Each event in each phase, and the rules in the head of the module.

use super::super::negotiation::OptionLimits;
use super::super::packet::RequestedOptions;
use super::*;

mod early_retransmit;
mod unverified_peer;

fn ms(millis: u64) -> Timestamp {
    Timestamp::from_micros(millis * 1000)
}

fn asked(windowsize: Option<u16>) -> RequestedOptions {
    RequestedOptions { blksize: Some(8), windowsize, ..RequestedOptions::default() }
}

fn grant(asked: &RequestedOptions) -> NegotiatedOptions {
    NegotiatedOptions::grant(asked, &OptionLimits { blksize: 1468, windowsize: u16::MAX })
}

/// Sends all blocks of the window. Returns the first one, and how many.
fn flush(transfer: &mut SendSession) -> (u64, u64) {
    let (first, count) = transfer.unsent();
    transfer.sent(count);
    (first.0, count)
}

/// Ten blocks of 8 bytes, the last one empty. The OACK was sent.
fn offered(windowsize: u16) -> SendSession {
    let (transfer, action) = SendSession::start(ms(0), 72, grant(&asked(Some(windowsize))));
    assert_eq!(action, SessionAction::SendOack);
    assert_eq!(transfer.unsent().1, 0);
    transfer
}

/// The first window was sent at 10 ms.
fn sending(windowsize: u16) -> SendSession {
    let mut transfer = offered(windowsize);
    assert_eq!(transfer.on_ack(ms(10), 0), SessionAction::SendData);
    flush(&mut transfer);
    transfer
}

fn ended(windowsize: u16) -> SendSession {
    let mut transfer = sending(windowsize);
    assert_eq!(transfer.on_error(ErrorCode(3)), SessionAction::End(TransferOutcome::Aborted(ErrorCode(3))));
    transfer
}

#[derive(Clone, Copy, Debug)]
enum On {
    Ack(u16),
    Error(u16),
    /// A call of the timer, in ms since the start.
    Time(u64),
    Supersede,
}

fn feed(transfer: &mut SendSession, event: On) -> SessionAction {
    match event {
        On::Ack(block) => transfer.on_ack(ms(20), block),
        On::Error(code) => transfer.on_error(ErrorCode(code)),
        On::Time(at) => transfer.on_time(ms(at)),
        On::Supersede => transfer.supersede(),
    }
}

#[test]
fn transition_table() {
    use IgnoredEvent::{DuplicateAck, Ended as Over, StrayAck};
    use Phase::{Ended, Sending};
    const OFFERED: Phase = Phase::Offered { oacks: 0 };
    const OFFERED_AGAIN: Phase = Phase::Offered { oacks: 1 };
    type State = fn(u16) -> SendSession;
    let aborted = |code| SessionAction::End(TransferOutcome::Aborted(ErrorCode(code)));
    // State, window, event -> action, phase, blocks to send (first, how many).
    type Case = (&'static str, State, u16, On, SessionAction, Phase, Option<(u64, u64)>);
    let table: &[Case] = &[
        // RFC 2347: only ACK 0 answers an OACK.
        ("offered", offered, 1, On::Ack(0), SessionAction::SendData, Sending, Some((1, 1))),
        ("offered", offered, 4, On::Ack(0), SessionAction::SendData, Sending, Some((1, 4))),
        ("offered", offered, 64, On::Ack(0), SessionAction::SendData, Sending, Some((1, 10))),
        ("offered", offered, 4, On::Ack(1), SessionAction::Ignore(StrayAck), OFFERED, None),
        ("offered", offered, 4, On::Ack(65535), SessionAction::Ignore(StrayAck), OFFERED, None),
        // clients.md, section 6, line 23.
        ("offered", offered, 4, On::Error(8), SessionAction::End(TransferOutcome::Probe), Ended, None),
        ("offered", offered, 4, On::Error(0), SessionAction::End(TransferOutcome::Probe), Ended, None),
        ("offered", offered, 4, On::Error(4), aborted(4), Ended, None),
        ("offered", offered, 4, On::Time(999), SessionAction::Wait, OFFERED, None),
        ("offered", offered, 4, On::Time(1000), SessionAction::SendOack, OFFERED_AGAIN, None),
        (
            "offered",
            offered,
            4,
            On::Time(135_000),
            SessionAction::End(TransferOutcome::TimedOut),
            Ended,
            None,
        ),
        ("offered", offered, 4, On::Supersede, SessionAction::End(TransferOutcome::Superseded), Ended, None),
        // RFC 1350, section 2: the next block after each ACK.
        ("sending", sending, 1, On::Ack(1), SessionAction::SendData, Sending, Some((2, 1))),
        ("sending", sending, 1, On::Ack(2), SessionAction::Ignore(StrayAck), Sending, None),
        // RFC 1123, section 4.2.3.1.
        ("sending", sending, 1, On::Ack(0), SessionAction::Ignore(DuplicateAck), Sending, None),
        ("sending", sending, 1, On::Ack(65535), SessionAction::Ignore(StrayAck), Sending, None),
        ("sending", sending, 1, On::Error(0), aborted(0), Ended, None),
        ("sending", sending, 1, On::Error(8), aborted(8), Ended, None),
        ("sending", sending, 1, On::Time(1009), SessionAction::Wait, Sending, None),
        ("sending", sending, 1, On::Time(1010), SessionAction::SendData, Sending, Some((1, 1))),
        ("sending", sending, 1, On::Time(45_010), SessionAction::End(TransferOutcome::TimedOut), Ended, None),
        ("sending", sending, 1, On::Supersede, SessionAction::End(TransferOutcome::Superseded), Ended, None),
        // RFC 7440, section 4: an ACK of the whole window, or of the part that arrived.
        ("sending", sending, 4, On::Ack(4), SessionAction::SendData, Sending, Some((5, 4))),
        ("sending", sending, 4, On::Ack(2), SessionAction::SendData, Sending, Some((3, 4))),
        ("sending", sending, 4, On::Ack(5), SessionAction::Ignore(StrayAck), Sending, None),
        ("sending", sending, 4, On::Ack(0), SessionAction::Ignore(DuplicateAck), Sending, None),
        ("sending", sending, 4, On::Time(1010), SessionAction::SendData, Sending, Some((1, 4))),
        ("sending", sending, 64, On::Ack(9), SessionAction::SendData, Sending, Some((10, 1))),
        ("sending", sending, 64, On::Ack(10), SessionAction::End(TransferOutcome::Complete), Ended, None),
        ("sending", sending, 64, On::Ack(11), SessionAction::Ignore(StrayAck), Sending, None),
        // Everything was sent; only the last ACK is missing.
        (
            "sending",
            sending,
            64,
            On::Supersede,
            SessionAction::End(TransferOutcome::CompleteUnconfirmed),
            Ended,
            None,
        ),
        ("ended", ended, 4, On::Ack(0), SessionAction::Ignore(Over), Ended, None),
        ("ended", ended, 4, On::Ack(4), SessionAction::Ignore(Over), Ended, None),
        ("ended", ended, 4, On::Error(0), SessionAction::Ignore(Over), Ended, None),
        ("ended", ended, 4, On::Time(1_000_000), SessionAction::Wait, Ended, None),
        ("ended", ended, 4, On::Supersede, SessionAction::Ignore(Over), Ended, None),
    ];
    for (name, state, window, event, action, phase, unsent) in table {
        let mut transfer = state(*window);
        let case = format!("{name}, window {window}, {event:?}");
        assert_eq!(feed(&mut transfer, *event), *action, "{case}");
        assert_eq!(transfer.phase, *phase, "{case}");
        let (first, count) = transfer.unsent();
        assert_eq!((count > 0).then_some((first.0, count)), *unsent, "{case}");
    }
}

#[test]
fn without_options_data_comes_at_once() {
    let (transfer, action) = SendSession::start(ms(0), 100, grant(&RequestedOptions::default()));
    assert_eq!((action, transfer.unsent()), (SessionAction::SendData, (Block(1), 1)));
}

/// RFC 1350, section 6: a transfer ends with a block that is shorter than the others, even if it is empty.
#[test]
fn the_last_block_is_short() {
    for (size, last) in [(0, 1), (1, 1), (7, 1), (8, 2), (9, 2), (16, 3), (65535 * 8, 65536)] {
        let (transfer, _) = SendSession::start(ms(0), size, grant(&asked(None)));
        assert_eq!(transfer.last(), Block(last), "{size} bytes");
    }
}

/// Runs the timer while the client sends nothing. Returns the actions with their times in ms after `from`.
fn silence(transfer: &mut SendSession, from: u64) -> Vec<(u64, SessionAction)> {
    let mut story = Vec::new();
    while !transfer.has_ended() {
        let at = transfer.deadline();
        let action = transfer.on_time(at);
        flush(transfer);
        story.push((at.as_micros() / 1000 - from, action));
        assert!(story.len() < 100, "it never ends: {story:?}");
    }
    story
}

/// clients.md, section 6, line 26: repeats after 1 to 2 s, backing off, for at least 30 s.
#[test]
fn line_26_data_is_repeated_for_30_seconds() {
    for windowsize in [1, 4] {
        let story = silence(&mut sending(windowsize), 10);
        let (end, repeats) = story.split_last().unwrap();
        let times: Vec<_> = repeats.iter().map(|(at, _)| at / 1000).collect();
        assert_eq!(times, [1, 2, 4, 8, 16, 24, 32, 40]);
        assert!(repeats.iter().all(|(_, action)| *action == SessionAction::SendData));
        assert_eq!(*end, (48_000, SessionAction::End(TransferOutcome::TimedOut)));
    }
}

/// The same for the last block, but then the transfer counts as complete (lines 26 and 34).
#[test]
fn line_34_a_missing_last_ack_ends_as_complete() {
    let story = silence(&mut sending(64), 10);
    let (end, repeats) = story.split_last().unwrap();
    assert!(repeats.last().unwrap().0 >= 30_000, "{repeats:?}");
    assert_eq!(*end, (40_000, SessionAction::End(TransferOutcome::CompleteUnconfirmed)));
    // Also if the client requests a long time-out, though pxed then sends fewer repeats.
    for seconds in [5, 30, 255] {
        let asked = RequestedOptions { timeout: Some(seconds), ..asked(Some(64)) };
        let (mut transfer, _) = SendSession::start(ms(0), 72, grant(&asked));
        transfer.on_ack(ms(0), 0);
        flush(&mut transfer);
        let end = silence(&mut transfer, 0).last().unwrap().1;
        assert_eq!(end, SessionAction::End(TransferOutcome::CompleteUnconfirmed), "{seconds} s");
    }
    // But not if the client has acknowledged nothing: its request may be forged.
    let (mut transfer, _) = SendSession::start(ms(0), 100, grant(&RequestedOptions::default()));
    flush(&mut transfer);
    assert_eq!(silence(&mut transfer, 0).last().unwrap().1, SessionAction::End(TransferOutcome::TimedOut));
}

/// RFC 2349: pxed uses the time-out that the client requests.
#[test]
fn a_timeout_that_was_asked_for_is_used() {
    for seconds in [1u8, 2, 5, 8, 30, 255] {
        let asked = RequestedOptions { timeout: Some(seconds), ..asked(None) };
        let (mut transfer, _) = SendSession::start(ms(0), 72, grant(&asked));
        assert_eq!(transfer.on_time(ms(u64::from(seconds) * 1000 - 1)), SessionAction::Wait);
        transfer.on_ack(ms(10), 0);
        flush(&mut transfer);
        let story = silence(&mut transfer, 10);
        assert_eq!(story[0], (u64::from(seconds) * 1000, SessionAction::SendData), "{seconds} s");
        assert!(story.len() >= 3, "{seconds} s: {story:?}");
    }
}

#[test]
fn progress_resets_the_back_off() {
    let mut transfer = sending(1);
    for _ in 0..4 {
        transfer.on_time(transfer.deadline());
    }
    assert_eq!(transfer.on_ack(ms(16_100), 1), SessionAction::SendData);
    assert_eq!(transfer.deadline(), ms(17_100));
    assert_eq!(transfer.on_time(ms(17_100)), SessionAction::SendData);
    assert_eq!(transfer.deadline(), ms(18_100));
}

#[test]
fn what_found_no_room_is_sent_later_and_not_after_the_end() {
    let mut transfer = offered(4);
    transfer.on_ack(ms(10), 0);
    transfer.sent(0);
    assert_eq!(transfer.unsent(), (Block(1), 4));
    assert_eq!(
        transfer.on_ack(ms(11), 1),
        SessionAction::Ignore(IgnoredEvent::StrayAck),
        "block 1 was never sent"
    );
    transfer.sent(3);
    assert_eq!(transfer.unsent(), (Block(4), 1));
    // A partial ACK while the window is partly sent: the window moves, and no block is repeated.
    assert_eq!(transfer.on_ack(ms(12), 3), SessionAction::SendData);
    assert_eq!(transfer.unsent(), (Block(4), 4));
    transfer.sent(1);
    assert_eq!(transfer.repeated_blocks(), 0);
    // An ACK in the middle of the sent blocks: only blocks that were sent twice count as repeated.
    transfer.sent(2);
    assert_eq!(transfer.on_ack(ms(13), 4), SessionAction::SendData);
    assert_eq!(flush(&mut transfer), (5, 4));
    assert_eq!(transfer.repeated_blocks(), 2);
    assert_eq!(transfer.on_ack(ms(14), 8), SessionAction::SendData);
    transfer.sent(1);
    transfer.on_error(ErrorCode::UNDEFINED);
    assert_eq!(transfer.unsent().1, 0);
}

/// A caller may report more blocks than the window holds.
#[test]
fn more_blocks_than_the_window_cannot_be_sent() {
    let mut transfer = offered(4);
    transfer.on_ack(ms(10), 0);
    transfer.sent(100);
    assert_eq!((transfer.unsent(), transfer.highest()), ((Block(5), 0), Block(4)));
}

/// clients.md, section 6, line 29, with the widest window: 65535 wraps to 0, and pxed takes no old ACK for a
/// new one.
#[test]
fn line_29_numbers_wrap_and_old_acks_stay_old() {
    let size = 8 * 200_000;
    for windowsize in [1, 7, 64, 32767] {
        let (mut transfer, _) = SendSession::start(ms(0), size, grant(&asked(Some(windowsize))));
        transfer.on_ack(ms(0), 0);
        flush(&mut transfer);
        let mut acked = 0u64;
        while !transfer.has_ended() {
            if acked > 40_000 {
                for old in [1, 2, 100, 32_000, 32_768] {
                    assert_eq!(
                        transfer.on_ack(ms(0), Block(acked - old).wire()),
                        SessionAction::Ignore(IgnoredEvent::StrayAck),
                        "{old} before {acked}, window {windowsize}"
                    );
                }
            }
            acked = (acked + u64::from(windowsize)).min(transfer.last().0);
            transfer.on_ack(ms(0), Block(acked).wire());
            flush(&mut transfer);
            assert_eq!(transfer.acknowledged() + 1, Block(acked + 1));
        }
        assert_eq!((acked, transfer.repeated_blocks()), (200_001, 0));
    }
}

#[test]
fn bytes_are_what_the_client_has() {
    let mut transfer = sending(4);
    assert_eq!(transfer.bytes(TransferOutcome::TimedOut), 0);
    transfer.on_ack(ms(20), 3);
    assert_eq!(transfer.bytes(TransferOutcome::TimedOut), 24);
    assert_eq!(transfer.bytes(TransferOutcome::CompleteUnconfirmed), 72);
}
