//! Each event in each phase, and the rules in the head of the module.

use super::super::negotiation::OptionLimits;
use super::super::packet::RequestedOptions;
use super::*;

fn ms(millis: u64) -> Timestamp {
    Timestamp::from_micros(millis * 1000)
}

/// Blocks of 8 bytes; the OACK was sent.
fn offered(windowsize: u16) -> ReceiveSession {
    let asked =
        RequestedOptions { blksize: Some(8), windowsize: Some(windowsize), ..RequestedOptions::default() };
    let negotiated = NegotiatedOptions::grant(&asked, &OptionLimits { blksize: 1468, windowsize: u16::MAX });
    let (reception, action) = ReceiveSession::start(ms(0), None, negotiated);
    assert_eq!(action, SessionAction::SendOack);
    reception
}

/// Blocks 1 to 4 arrived at 10 ms and are acknowledged.
fn receiving(windowsize: u16) -> ReceiveSession {
    let mut reception = offered(windowsize);
    let actions: Vec<_> = (1..=4).map(|block| feed(&mut reception, On::Data(block, 8), 10)).collect();
    assert_eq!(actions.last(), Some(&SessionAction::SendAck), "window {windowsize}");
    reception
}

/// Block 5 was short, so it is the last one.
fn finishing(windowsize: u16) -> ReceiveSession {
    let mut reception = receiving(windowsize);
    assert_eq!(
        feed(&mut reception, On::Data(5, 3), 10),
        SessionAction::Wait,
        "the last ACK waits for the disk"
    );
    reception
}

fn complete(windowsize: u16) -> ReceiveSession {
    let mut reception = finishing(windowsize);
    assert_eq!(reception.on_kept(ms(15)), SessionAction::End(TransferOutcome::Complete));
    reception
}

fn ended(windowsize: u16) -> ReceiveSession {
    let mut reception = receiving(windowsize);
    assert_eq!(reception.on_error(ErrorCode(3)), SessionAction::End(TransferOutcome::Aborted(ErrorCode(3))));
    reception
}

#[derive(Clone, Copy, Debug)]
enum On {
    Data(u16, usize),
    /// DATA for which there is no room.
    NoRoom(u16),
    Kept,
    Error(u16),
    Time,
    Supersede,
    GiveWay,
}

fn feed(reception: &mut ReceiveSession, event: On, at: u64) -> SessionAction {
    match event {
        On::Data(block, len) => reception.on_data(ms(at), block, len, |_| BlockAccepted::Yes),
        On::NoRoom(block) => reception.on_data(ms(at), block, 8, |_| BlockAccepted::No),
        On::Kept => reception.on_kept(ms(at)),
        On::Error(code) => reception.on_error(ErrorCode(code)),
        On::Time => reception.on_time(ms(at)),
        On::Supersede => reception.supersede(),
        On::GiveWay => reception.give_way(),
    }
}

#[test]
fn transition_table() {
    use IgnoredEvent::{DuplicateData, Ended as Over, GapInData, NoRoom};
    use Phase::{Complete, Ended, Finishing, Offered, Receiving};
    type State = fn(u16) -> ReceiveSession;
    let (aborted, end) =
        (|code| SessionAction::End(TransferOutcome::Aborted(ErrorCode(code))), SessionAction::End);
    let ignore = SessionAction::Ignore;
    // State, window, event, time in ms -> action, phase, last accepted block.
    type Case = (&'static str, State, u16, On, u64, SessionAction, Phase, u64);
    let table: &[Case] = &[
        // RFC 1350, section 2: an ACK for each block. RFC 7440: an ACK for each window.
        ("offered", offered, 1, On::Data(1, 8), 20, SessionAction::SendAck, Receiving, 1),
        ("offered", offered, 4, On::Data(1, 8), 20, SessionAction::Wait, Receiving, 1),
        // RFC 1350, section 6: a short block is the last one, also an empty one.
        ("offered", offered, 1, On::Data(1, 7), 20, SessionAction::Wait, Finishing, 1),
        ("offered", offered, 4, On::Data(1, 0), 20, SessionAction::Wait, Finishing, 1),
        ("offered", offered, 1, On::Data(0, 8), 20, ignore(DuplicateData), Offered, 0),
        ("offered", offered, 1, On::Data(2, 8), 20, ignore(DuplicateData), Offered, 0),
        ("offered", offered, 1, On::Data(65535, 8), 20, ignore(DuplicateData), Offered, 0),
        // RFC 7440, section 4: a gap causes an ACK at once.
        ("offered", offered, 4, On::Data(2, 8), 20, SessionAction::SendAck, Receiving, 0),
        ("offered", offered, 1, On::NoRoom(1), 20, ignore(NoRoom), Receiving, 0),
        ("offered", offered, 1, On::Kept, 20, ignore(Over), Offered, 0),
        ("offered", offered, 1, On::Error(0), 20, aborted(0), Ended, 0),
        ("offered", offered, 1, On::Time, 999, SessionAction::Wait, Offered, 0),
        ("offered", offered, 1, On::Time, 1000, SessionAction::SendOack, Offered, 0),
        ("offered", offered, 1, On::Time, 20_000, end(TransferOutcome::TimedOut), Ended, 0),
        ("offered", offered, 1, On::Supersede, 20, end(TransferOutcome::Superseded), Ended, 0),
        ("offered", offered, 1, On::GiveWay, 20, end(TransferOutcome::TimedOut), Ended, 0),
        ("receiving", receiving, 1, On::Data(5, 8), 20, SessionAction::SendAck, Receiving, 5),
        ("receiving", receiving, 4, On::Data(5, 8), 20, SessionAction::Wait, Receiving, 5),
        ("receiving", receiving, 4, On::Data(7, 8), 20, SessionAction::SendAck, Receiving, 4),
        ("receiving", receiving, 4, On::Data(8, 8), 20, SessionAction::SendAck, Receiving, 4),
        ("receiving", receiving, 4, On::Data(9, 8), 20, ignore(DuplicateData), Receiving, 4),
        // A copy that the network made (20 ms), and a repeat after the time-out of the client (60 ms).
        ("receiving", receiving, 1, On::Data(4, 8), 20, ignore(DuplicateData), Receiving, 4),
        ("receiving", receiving, 1, On::Data(4, 8), 60, SessionAction::SendAck, Receiving, 4),
        ("receiving", receiving, 4, On::Data(4, 8), 60, SessionAction::SendAck, Receiving, 4),
        ("receiving", receiving, 1, On::Data(3, 8), 60, ignore(DuplicateData), Receiving, 4),
        ("receiving", receiving, 1, On::NoRoom(5), 20, ignore(NoRoom), Receiving, 4),
        ("receiving", receiving, 1, On::Kept, 20, ignore(Over), Receiving, 4),
        ("receiving", receiving, 1, On::Error(0), 20, aborted(0), Ended, 4),
        ("receiving", receiving, 1, On::Time, 1009, SessionAction::Wait, Receiving, 4),
        ("receiving", receiving, 1, On::Time, 1010, SessionAction::SendAck, Receiving, 4),
        ("receiving", receiving, 1, On::Time, 45_010, end(TransferOutcome::TimedOut), Ended, 4),
        ("receiving", receiving, 1, On::Supersede, 20, end(TransferOutcome::Superseded), Ended, 4),
        // The last block is not acknowledged before the file is stored.
        ("finishing", finishing, 1, On::Data(5, 3), 5000, ignore(DuplicateData), Finishing, 5),
        ("finishing", finishing, 1, On::Data(6, 3), 20, ignore(DuplicateData), Finishing, 5),
        ("finishing", finishing, 1, On::Kept, 20, end(TransferOutcome::Complete), Complete, 5),
        ("finishing", finishing, 1, On::Error(3), 20, aborted(3), Ended, 5),
        ("finishing", finishing, 1, On::Time, 60_009, SessionAction::Wait, Finishing, 5),
        ("finishing", finishing, 1, On::Time, 60_010, end(TransferOutcome::TimedOut), Ended, 5),
        ("finishing", finishing, 1, On::Supersede, 20, end(TransferOutcome::Superseded), Ended, 5),
        // RFC 1350, section 6: the last ACK may be lost.
        ("complete", complete, 1, On::Data(5, 3), 20, ignore(DuplicateData), Complete, 5),
        ("complete", complete, 1, On::Data(5, 3), 5000, SessionAction::SendAck, Complete, 5),
        ("complete", complete, 4, On::Data(4, 8), 5000, ignore(Over), Complete, 5),
        ("complete", complete, 1, On::Kept, 20, ignore(Over), Complete, 5),
        ("complete", complete, 1, On::Error(0), 20, ignore(Over), Complete, 5),
        ("complete", complete, 1, On::Time, 90_000, SessionAction::Wait, Complete, 5),
        ("complete", complete, 1, On::Supersede, 20, ignore(Over), Complete, 5),
        ("ended", ended, 1, On::Data(5, 8), 20, ignore(Over), Ended, 4),
        ("ended", ended, 1, On::Data(4, 8), 5000, ignore(Over), Ended, 4),
        ("ended", ended, 1, On::Kept, 20, ignore(Over), Ended, 4),
        ("ended", ended, 1, On::Error(0), 20, ignore(Over), Ended, 4),
        ("ended", ended, 1, On::Time, 90_000, SessionAction::Wait, Ended, 4),
        ("ended", ended, 1, On::GiveWay, 20, ignore(Over), Ended, 4),
    ];
    for (name, state, window, event, at, action, phase, taken) in table {
        let mut reception = state(*window);
        let case = format!("{name}, window {window}, {event:?} at {at} ms");
        assert_eq!(feed(&mut reception, *event, *at), *action, "{case}");
        assert_eq!((reception.phase, reception.taken), (*phase, Block(*taken)), "{case}");
    }
    let mut reception = receiving(4);
    assert_eq!(feed(&mut reception, On::Data(6, 8), 20), SessionAction::SendAck);
    assert_eq!(feed(&mut reception, On::Data(7, 8), 20), ignore(GapInData), "once");
}

/// RFC 2347 and RFC 1350, section 4.
#[test]
fn without_options_ack_0_answers() {
    let negotiated = NegotiatedOptions::grant(
        &RequestedOptions::default(),
        &OptionLimits { blksize: 1468, windowsize: 16 },
    );
    let (mut reception, action) = ReceiveSession::start(ms(0), None, negotiated);
    assert_eq!((action, reception.taken()), (SessionAction::SendAck, Block(0)));
    assert_eq!(reception.on_time(ms(1000)), SessionAction::SendAck);
    assert_eq!(reception.on_data(ms(1010), 1, 512, no_last), SessionAction::SendAck);
}

/// Runs the timer while the client sends nothing. Returns the actions with their times in ms.
fn silence(reception: &mut ReceiveSession) -> Vec<(u64, SessionAction)> {
    let mut story = Vec::new();
    while !reception.has_ended() {
        let at = reception.deadline();
        story.push((at.as_micros() / 1000, reception.on_time(at)));
        assert!(story.len() < 100, "it never ends: {story:?}");
    }
    story
}

#[test]
fn a_silent_client_is_reminded_and_given_up() {
    let times = |story: &[(u64, SessionAction)]| story.iter().map(|(at, _)| *at).collect::<Vec<_>>();
    let story = silence(&mut offered(1));
    assert_eq!(times(&story), [1000, 2000, 4000, 8000, 16_000, 24_000]);
    let story = silence(&mut receiving(1));
    assert_eq!(times(&story), [1010, 2010, 4010, 8010, 16_010, 24_010, 32_010, 40_010, 48_010]);
    assert!(story[..8].iter().all(|(_, action)| *action == SessionAction::SendAck));
    assert_eq!(story[8].1, SessionAction::End(TransferOutcome::TimedOut));
    assert_eq!(times(&silence(&mut finishing(1))), [60_010]);
}

/// RFC 2349: pxed uses the time-out that the client requests.
#[test]
fn a_timeout_that_was_asked_for_is_used() {
    for seconds in [1u8, 5, 30, 255] {
        let asked = RequestedOptions { timeout: Some(seconds), ..RequestedOptions::default() };
        let negotiated = NegotiatedOptions::grant(&asked, &OptionLimits { blksize: 1468, windowsize: 16 });
        let (mut reception, _) = ReceiveSession::start(ms(0), None, negotiated);
        assert_eq!(feed(&mut reception, On::Data(1, 512), 10), SessionAction::SendAck);
        let story = silence(&mut reception);
        assert_eq!(story[0], (u64::from(seconds) * 1000 + 10, SessionAction::SendAck), "{seconds} s");
        assert!(story.len() >= 3, "{seconds} s: {story:?}");
    }
}

/// RFC 7440, section 4. A client sends a window for each ACK, so there must not be an ACK for each block
/// behind a gap.
#[test]
fn a_window_with_gaps_is_told_once_and_then_by_the_timer() {
    let mut reception = receiving(4);
    let gap = SessionAction::Ignore(IgnoredEvent::GapInData);
    // Block 6 is lost. The client sends the window after block 5 again: block 6 arrives, and block 7 is lost.
    let actions = [5, 7, 8, 6, 8].map(|block| feed(&mut reception, On::Data(block, 8), 20));
    assert_eq!(actions, [SessionAction::Wait, SessionAction::SendAck, gap, SessionAction::Wait, gap]);
    assert_eq!(reception.on_time(ms(1020)), SessionAction::SendAck);
    assert_eq!((reception.taken, reception.acked), (Block(6), Block(6)));
    // The client continues after the acknowledged block 6.
    let actions = [7, 8, 9, 10].map(|block| feed(&mut reception, On::Data(block, 8), 1030));
    assert_eq!(
        actions,
        [SessionAction::Wait, SessionAction::Wait, SessionAction::Wait, SessionAction::SendAck]
    );
    // The next gap causes an ACK at once again.
    assert_eq!(feed(&mut reception, On::Data(12, 8), 1040), SessionAction::SendAck);
}

#[test]
fn a_tail_that_is_lost_is_asked_for_by_the_timer() {
    let mut reception = receiving(4);
    for block in [5, 6] {
        assert_eq!(feed(&mut reception, On::Data(block, 8), 20), SessionAction::Wait);
    }
    assert_eq!((reception.deadline(), reception.on_time(ms(270))), (ms(270), SessionAction::SendAck));
    assert_eq!((reception.acked, reception.deadline()), (Block(6), ms(1270)));
}

#[test]
fn what_finds_no_room_is_not_acknowledged_and_comes_again() {
    let mut reception = receiving(4);
    assert_eq!(feed(&mut reception, On::NoRoom(5), 20), SessionAction::Ignore(IgnoredEvent::NoRoom));
    assert_eq!(feed(&mut reception, On::Data(6, 8), 20), SessionAction::Ignore(IgnoredEvent::GapInData));
    // The client repeats a window only after an ACK, so the ACK comes soon.
    assert_eq!((reception.deadline(), reception.on_time(ms(120))), (ms(120), SessionAction::SendAck));
    assert_eq!((feed(&mut reception, On::Data(5, 8), 130), reception.taken), (SessionAction::Wait, Block(5)));
    // In lock-step the client repeats the block after its own time-out: an ACK could only be a duplicate.
    let mut reception = receiving(1);
    assert_eq!(feed(&mut reception, On::NoRoom(5), 20), SessionAction::Ignore(IgnoredEvent::NoRoom));
    assert_eq!(reception.deadline(), ms(1010));
    assert_eq!(
        (feed(&mut reception, On::Data(5, 8), 70), reception.taken),
        (SessionAction::SendAck, Block(5))
    );
}

/// RFC 1123, section 4.2.3.1: copies of a packet do not multiply, also with a client that answers duplicate
/// ACKs.
#[test]
fn copies_do_not_breed() {
    let mut reception = offered(1);
    for block in 1..100u16 {
        let at = u64::from(block) * 10;
        let actions: Vec<_> =
            (0..3).map(|copy| feed(&mut reception, On::Data(block, 8), at + copy)).collect();
        let copy = SessionAction::Ignore(IgnoredEvent::DuplicateData);
        assert_eq!(actions, [SessionAction::SendAck, copy, copy]);
        // A copy of the previous block.
        assert_eq!(feed(&mut reception, On::Data(block - 1, 8), at + 3), copy);
    }
}

/// Block numbers wrap from 65535 to 0, and pxed accepts no old block as a new one.
#[test]
fn numbers_wrap() {
    for windowsize in [1, 7, 16] {
        let mut reception = offered(windowsize);
        for block in 1..=200_000u64 {
            if block % 10_000 < 20 {
                for old in [2, 17, 100, 32_768, 65_000] {
                    let wire = Block(block.wrapping_sub(old)).wire();
                    let action = reception.on_data(ms(0), wire, 8, |_| panic!("{old} before {block}"));
                    assert_eq!(action, SessionAction::Ignore(IgnoredEvent::DuplicateData));
                }
            }
            let action = reception.on_data(ms(0), Block(block).wire(), 8, no_last);
            assert_eq!(action == SessionAction::SendAck, block % u64::from(windowsize) == 0, "{block}");
        }
        assert_eq!(reception.taken(), Block(200_000));
    }
}

#[test]
fn when_the_same_request_is_the_same_session() {
    let reception = offered(1);
    assert!(reception.is_same_session(ms(19_000)));
    for state in [receiving, finishing, complete, ended] {
        assert!(state(1).is_same_session(ms(900)));
        assert!(!state(1).is_same_session(ms(1100)), "a machine that was reset");
    }
}

#[test]
fn after_the_end_there_is_time_for_a_lost_ack() {
    assert_eq!(complete(1).dally(), Some(Duration::from_secs(12)));
    assert_eq!((ended(1).dally(), finishing(1).dally()), (None, None));
}

fn no_last(last: bool) -> BlockAccepted {
    assert!(!last);
    BlockAccepted::Yes
}

/// This bounds the blocks that wait for the disk, and the client has to repeat none.
#[test]
fn while_the_disk_is_behind_the_ack_of_a_window_waits() {
    let behind = |reception: &mut ReceiveSession, block| {
        reception.on_data(ms(20), block, 8, |_| BlockAccepted::NoRoom)
    };
    let mut reception = receiving(4);
    for block in 5..=8 {
        assert_eq!(behind(&mut reception, block), SessionAction::Wait);
    }
    // Repeats by the client change nothing.
    assert_eq!(feed(&mut reception, On::Data(8, 8), 500), SessionAction::Ignore(IgnoredEvent::DuplicateData));
    assert_eq!(feed(&mut reception, On::Data(10, 8), 500), SessionAction::Ignore(IgnoredEvent::GapInData));
    assert_eq!((reception.on_room(ms(600)), reception.acked), (SessionAction::SendAck, Block(8)));
    assert_eq!(reception.on_room(ms(601)), SessionAction::Wait, "once");
    // The report that there is room may be lost.
    let mut reception = receiving(1);
    assert_eq!(behind(&mut reception, 5), SessionAction::Wait);
    assert_eq!(reception.on_time(ms(1020)), SessionAction::SendAck);
    // The last ACK waits until the file is stored; room is not enough.
    let mut reception = finishing(1);
    assert_eq!(reception.on_room(ms(20)), SessionAction::Wait);
}
