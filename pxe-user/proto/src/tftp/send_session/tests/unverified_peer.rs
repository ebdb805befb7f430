//! Before the first ACK: OACKs, first blocks, and whether an identical request is a copy.

use super::*;

/// clients.md, section 6, line 25.
#[test]
fn line_25_the_oack_is_repeated_by_the_timer_a_second_or_more_apart_and_not_after_ack_0() {
    let story = silence(&mut offered(4), 0);
    let oacks: Vec<_> = story
        .iter()
        .filter(|(_, action)| *action == SessionAction::SendOack)
        .map(|(at, _)| at / 1000)
        .collect();
    assert_eq!(oacks, [1, 2, 4, 8, 16, 24]);
    let mut transfer = sending(4);
    assert!(silence(&mut transfer, 0).iter().all(|(_, action)| *action != SessionAction::SendOack));
}

/// With a third of the frames lost, four of five OACKs would otherwise be lost in the time that a client
/// waits.
#[test]
fn an_oack_comes_sooner_but_not_more_often_for_who_asks_again() {
    for ask_every in [100, 1000] {
        let mut transfer = offered(1);
        let mut oacks = Vec::new();
        for now in (ask_every..=30_000).step_by(ask_every) {
            if transfer.is_same_session(ms(now as u64)) {
                transfer.ask_again(ms(now as u64));
            }
            if transfer.on_time(ms(now as u64)) == SessionAction::SendOack {
                oacks.push(now);
            }
        }
        let each_second: Vec<_> = (1..=30).map(|second| second * 1000).collect();
        assert_eq!(oacks, each_second, "asked every {ask_every} ms");
    }
}

/// clients.md, section 6, line 27: PXELINUX tries for 131 s.
#[test]
fn line_27_ack_0_may_come_after_131_seconds() {
    let mut transfer = offered(1);
    while transfer.deadline() < ms(131_000) {
        transfer.on_time(transfer.deadline());
    }
    assert_eq!(transfer.on_ack(ms(131_000), 0), SessionAction::SendData);
    assert_eq!(transfer.deadline(), ms(132_000));
}

/// clients.md, section 6, line 28.
#[test]
fn line_28_when_the_same_request_is_the_same_session() {
    let mut transfer = offered(4);
    for _ in 0..6 {
        assert!(transfer.is_same_session(transfer.deadline()));
        transfer.on_time(transfer.deadline());
    }
    // All OACKs were lost. Now each repeat of the request causes one more.
    for at in [40_000, 42_000] {
        assert_eq!(transfer.on_time(ms(at - 1)), SessionAction::Wait);
        assert!(transfer.is_same_session(ms(at)));
        transfer.ask_again(ms(at));
        assert_eq!(transfer.on_time(ms(at)), SessionAction::SendOack);
    }
    // Not after the transfer is given up, whenever the timer expires.
    assert!(transfer.is_same_session(ms(134_900)) && !transfer.is_same_session(ms(135_000)));
    // A machine that was reset starts again. A copy of its request that is late by less than a second changes
    // nothing.
    let transfer = sending(4);
    assert!(transfer.is_same_session(ms(900)));
    assert!(!transfer.is_same_session(ms(1100)));
    let (mut plain, _) = SendSession::start(ms(0), 100, grant(&RequestedOptions::default()));
    flush(&mut plain);
    assert!(plain.is_same_session(ms(30_000)));
}

/// A first block may go to a host that has requested nothing. pxed repeats it only for repeats of the
/// request, at most once a second.
#[test]
fn without_options_only_the_same_request_again_brings_another_first_block() {
    let begin = || {
        let (mut transfer, _) = SendSession::start(ms(0), 5000, grant(&RequestedOptions::default()));
        flush(&mut transfer);
        transfer
    };
    assert_eq!(
        silence(&mut begin(), 0),
        [(1000, SessionAction::Wait), (45_000, SessionAction::End(TransferOutcome::TimedOut))]
    );
    let mut transfer = begin();
    // However often the request is repeated.
    for millis in [100, 200, 300] {
        transfer.ask_again(ms(millis));
    }
    assert_eq!(transfer.deadline(), ms(1000));
    assert_eq!(transfer.on_time(ms(1000)), SessionAction::SendData);
    assert_eq!(flush(&mut transfer), (1, 1));
    transfer.ask_again(ms(5000));
    assert_eq!(transfer.on_time(ms(5000)), SessionAction::SendData);
    assert_eq!(flush(&mut transfer), (1, 1));
    assert_eq!(silence(&mut transfer, 5000), [(45_000, SessionAction::End(TransferOutcome::TimedOut))]);
    // A duplicate ACK changes nothing. After an ACK of block 1, the timer repeats blocks.
    let mut transfer = begin();
    assert_eq!(transfer.on_ack(ms(500), 0), SessionAction::Ignore(IgnoredEvent::DuplicateAck));
    assert_eq!(transfer.on_time(ms(1000)), SessionAction::Wait);
    assert_eq!(transfer.on_ack(ms(1100), 1), SessionAction::SendData);
    flush(&mut transfer);
    transfer.ask_again(ms(1200));
    assert_eq!(transfer.deadline(), ms(2100));
    assert_eq!(transfer.on_time(ms(2100)), SessionAction::SendData);
}
