//! clients.md, section 6, lines 19 to 34: the checklist, through the whole responder.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use pxe_content::boot::Refusal;
use pxe_engine::counters::Counter;
use pxe_engine::responder::ResponderSettings;
use pxe_fleet::event::Event;
use pxe_proto::tftp::negotiation::OptionLimits;
use pxe_proto::tftp::packet::ErrorCode;
use pxe_proto::tftp::send_session::TransferOutcome;

use crate::support::*;

const EDK2: &[(&str, &str)] = &[("tsize", "0"), ("blksize", "1468"), ("windowsize", "4")];

fn lab() -> Lab {
    Lab::new(&[("file", &content(100 * 1468 - 1)), ("sub/other", b"other")])
}

#[test]
fn line_19_oack_holds_what_was_asked_and_no_more() {
    for (options, oack) in [
        (&[("blksize", "1432")][..], "blksize 1432 "),
        (&[("tsize", "0")], "tsize 146799 "),
        (&[("BLKSIZE", "512")], "blksize 512 "),
        (&[("blksize", "9000"), ("windowsize", "65535")], "blksize 1468 windowsize 64 "),
        (&[("timeout", "7"), ("multicast", "")], "timeout 7 "),
        (EDK2, "tsize 146799 blksize 1468 windowsize 4 "),
    ] {
        assert_eq!(lab().ask("file", options).1, Said::Oack(oack.into()), "{options:?}");
    }
    // Without any valid option, the reply is DATA, as for a request without options.
    for options in [&[][..], &[("blksize", "7")], &[("timeout", "256"), ("windowsize", "0")], &[("x", "y")]] {
        assert_eq!(lab().ask("file", options).1, Said::Data(1, 512), "{options:?}");
    }
}

#[test]
fn line_20_oack_timeout_equals_the_request() {
    for timeout in ["1", "5", "255"] {
        assert_eq!(lab().ask("file", &[("timeout", timeout)]).1, Said::Oack(format!("timeout {timeout} ")));
    }
}

#[test]
fn line_21_tsize_is_exact() {
    for size in [0usize, 1, 512, 100_000] {
        let mut lab = Lab::new(&[("file", &content(size))]);
        assert_eq!(lab.ask("file", &[("tsize", "0")]).1, Said::Oack(format!("tsize {size} ")));
    }
}

#[test]
fn line_22_blksize_is_clamped_to_the_path() {
    let settings = ResponderSettings { limits: OptionLimits::for_mtu(1492, 64), ..settings() };
    let mut lab = Lab::with(settings, pxe_proto::dhcp::BootService::new(SERVER), &[("file", &content(3000))]);
    let (port, oack) = lab.ask("file", &[("blksize", "1468")]);
    assert_eq!(oack, Said::Oack("blksize 1460 ".into()));
    assert_eq!(lab.say(port, &ack(0)), [Said::Data(1, 1460)]);
}

#[test]
fn line_23_error_after_oack_ends_quietly_and_a_new_request_works() {
    for code in [8, 0] {
        let mut lab = lab();
        let (port, _) = lab.ask("file", EDK2);
        assert_eq!(lab.say(port, &error(code)), []);
        assert_eq!(lab.outcomes(), [TransferOutcome::Probe]);
        assert_eq!((lab.count(Counter::Probes), lab.count(Counter::Aborted)), (1, 0));
        let other = SocketAddrV4::new(*CLIENT.ip(), CLIENT.port() + 1);
        let sent = lab.say_as(other, SocketAddrV4::new(SERVER, 69), &rrq("file", &EDK2[1..]));
        assert_eq!(sent[0].said(), Said::Oack("blksize 1468 windowsize 4 ".into()));
        // A different request from the same port works, too.
        assert!(matches!(lab.ask("file", &EDK2[1..]).1, Said::Oack(_)));
    }
}

#[test]
fn line_24_a_duplicate_ack_never_triggers_data() {
    for options in [&[("blksize", "1468")][..], EDK2] {
        let mut lab = lab();
        let (port, _) = lab.ask("file", options);
        let window = lab.say(port, &ack(0)).len();
        for _ in 0..1000 {
            assert_eq!(lab.say(port, &ack(0)), []);
        }
        assert_eq!(lab.count(Counter::DuplicateAck), 1000);
        // The server retransmits once for all duplicates together.
        assert_eq!(lab.wait(900).len(), if window > 1 { window } else { 0 });
    }
}

#[test]
fn line_25_oack_only_by_timer_and_never_after_ack_0() {
    let mut lab = lab();
    let (port, _) = lab.ask("file", EDK2);
    let asked = lab.now();
    lab.say(69, &rrq("file", EDK2));
    let sent = lab.wait(60_000);
    assert_eq!(seconds(&sent, asked), [1, 2, 4, 8, 16, 24]);
    assert!(sent.iter().all(|sent| matches!(sent.said(), Said::Oack(_))));
    lab.say(port, &ack(0));
    let sent = lab.wait(300_000);
    assert!(!sent.is_empty() && sent.iter().all(|sent| matches!(sent.said(), Said::Data(..))));
}

#[test]
fn line_26_data_is_repeated_for_at_least_30_seconds() {
    for options in [&[][..], &[("blksize", "1468")], EDK2, &[("windowsize", "64"), ("blksize", "1468")]] {
        let mut lab = lab();
        let (port, first) = lab.ask("file", options);
        // Before the client has acknowledged anything, other limits apply: see `amplification`.
        lab.say(port, &ack(u16::from(matches!(first, Said::Data(..)))));
        let begun = lab.now();
        let sent = lab.wait(300_000);
        let mut times = seconds(&sent, begun);
        times.dedup();
        assert_eq!(times, [1, 2, 4, 8, 16, 24, 32, 40], "{options:?}");
        assert_eq!(lab.outcomes(), [TransferOutcome::TimedOut]);
        lab.assert_idle();
    }
}

#[test]
fn line_27_ack_0_may_come_late() {
    for after in [10_000, 40_000, 130_000] {
        let mut lab = lab();
        let (port, _) = lab.ask("file", &[("tsize", "0"), ("blksize", "1408")]);
        lab.wait(after);
        assert_eq!(lab.say(port, &ack(0)), [Said::Data(1, 1408)], "after {after} ms");
    }
}

#[test]
fn line_28_the_same_rrq_is_the_same_session() {
    let mut lab = lab();
    let (port, _) = lab.ask("file", EDK2);
    for _ in 0..40 {
        lab.wait(400);
        assert_eq!(lab.say(69, &rrq("file", EDK2)), []);
    }
    assert_eq!((lab.count(Counter::DuplicateRequest), lab.count(Counter::Requests)), (40, 1));
    assert_eq!(lab.say(port, &ack(0)).len(), 4);
    assert_eq!(lab.say(69, &rrq("file", EDK2)), [], "a copy that is late");
    assert_eq!(lab.say(port, &ack(4)).len(), 4);
    // The machine was reset during the transfer.
    lab.wait(5000);
    let (new, oack) = lab.ask("file", EDK2);
    assert!(matches!(oack, Said::Oack(_)));
    assert_ne!(new, port);
    assert_eq!(lab.outcomes(), [TransferOutcome::Superseded]);
    assert_eq!(lab.notes.opened.len(), 1);
}

/// Line 29 is also simulated: `simulation::line_29_block_numbers_wrap`.
#[test]
fn line_29_65535_wraps_to_0() {
    let mut lab = Lab::new(&[("file", &content(8 * 65_540))]);
    let (port, _) = lab.ask("file", &[("blksize", "8")]);
    for block in 0..=65_540u32 {
        let said = lab.say(port, &ack(block as u16));
        let len = if block == 65_540 { 0 } else { 8 };
        assert_eq!(said, [Said::Data((block + 1) as u16, len)]);
    }
    assert_eq!(lab.say(port, &ack(65_541u32 as u16)), []);
    assert_eq!(lab.outcomes(), [TransferOutcome::Complete]);
}

#[test]
fn line_30_missing_is_1_and_denied_is_2_at_once() {
    let mut lab = lab();
    assert_eq!(lab.ask("nowhere", EDK2).1, Said::Error(1));
    assert_eq!(lab.ask("sub", EDK2).1, Said::Error(2));
    std::fs::write(lab.dir.path().join("secret"), b"secret").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(lab.dir.path().join("secret"), mode).unwrap();
    assert_eq!(lab.ask("secret", EDK2).1, Said::Error(2));
    assert_eq!((lab.count(Refusal::NotFound), lab.count(Refusal::NotReadable)), (1, 1));
    let refused = lab.notes.events.iter().filter(|event| matches!(event, Event::Refused { .. }));
    assert_eq!(refused.count(), 3);
    lab.assert_idle();
}

#[test]
fn line_31_replies_come_from_the_address_that_the_client_used() {
    let second = Ipv4Addr::new(10, 0, 0, 2);
    for payload in [rrq("file", EDK2), rrq("file", &[]), rrq("nowhere", &[]), b"\0\x02f\0octet\0".to_vec()] {
        let mut lab = lab();
        let sent = lab.say_as(CLIENT, SocketAddrV4::new(second, 69), &payload);
        let port = sent[0].route.from.port();
        assert_eq!((*sent[0].route.from.ip(), sent[0].route.to), (second, CLIENT));
        assert!(PORTS.contains(port));
        for sent in lab.wait(10_000) {
            assert_eq!(sent.route.from, SocketAddrV4::new(second, port));
        }
        // A datapath that does not know our address passes 0.0.0.0.
        let sent = lab.say_as(CLIENT, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 69), &rrq("nowhere", &[]));
        assert_eq!(*sent[0].route.from.ip(), SERVER);
    }
}

/// See also `simulation::line_32_one_lost_block_costs_one_window`.
#[test]
fn line_32_100_blocks_in_windows_of_4_are_26_acks() {
    let mut lab = lab();
    let (port, _) = lab.ask("file", EDK2);
    let (mut acks, mut block) = (0, 0);
    while lab.outcomes().is_empty() {
        let said = lab.say(port, &ack(block));
        acks += 1;
        block += said.len() as u16;
    }
    assert_eq!((acks, block), (26, 100));
    assert_eq!(lab.count(Counter::DataBytes), 100 * 1468 - 1);
}

#[test]
fn line_33_names_are_normalised_and_traversal_is_refused() {
    let mut lab = lab();
    for name in ["sub/other", "/sub/other", "\\sub\\other", "sub//other", "//sub\\\\other", "./sub/./other"] {
        assert_eq!(lab.ask(name, &[]).1, Said::Data(1, 5), "{name}");
    }
    for name in ["../etc/passwd", "sub/../../x", "\\..\\x", "sub/..", "/../sub/other", ".."] {
        assert_eq!(lab.ask(name, &[]).1, Said::Error(2), "{name}");
    }
    assert_eq!(lab.count(Refusal::DotDot), 6);
    assert_eq!(lab.ask("/", &[]).1, Said::Error(1));
}

#[test]
fn line_34_a_missing_last_ack_counts_as_complete_and_is_cleaned_up() {
    let mut lab = lab();
    let (port, _) = lab.ask("sub/other", EDK2);
    assert_eq!(lab.say(port, &ack(0)), [Said::Data(1, 5)]);
    let begun = lab.now();
    let sent = lab.wait(60_000);
    assert_eq!(seconds(&sent, begun), [1, 2, 4, 8, 16, 24, 32]);
    assert_eq!(lab.outcomes(), [TransferOutcome::CompleteUnconfirmed]);
    assert_eq!(lab.count(Counter::CompleteUnconfirmed), 1);
    lab.assert_idle();
}

#[test]
fn only_so_many_transfers_are_admitted() {
    let mut lab = lab();
    let from = |n: u16| SocketAddrV4::new(*CLIENT.ip(), 3000 + n);
    let to = SocketAddrV4::new(SERVER, 69);
    for n in 0..8 {
        assert!(matches!(lab.say_as(from(n), to, &rrq("file", EDK2))[0].said(), Said::Oack(_)));
    }
    // More requests wait in the queue: see `admission`.
    assert!(lab.say_as(from(8), to, &rrq("file", EDK2)).is_empty());
    assert_eq!((lab.responder.pending(), lab.responder.active()), (1, 8));
    // If the kernel's table or the loader's queue is full, the client gets an ERROR.
    for _ in 0..3 {
        lab.wait(200_000);
    }
    lab.assert_idle();
    lab.notes.opens = false;
    assert_eq!(lab.ask("file", EDK2).1, Said::Error(0));
    lab.notes.loads = false;
    assert_eq!(lab.ask("sub/other", EDK2).1, Said::Error(0));
    assert_eq!((lab.count(Counter::KernelFull), lab.count(Counter::LoaderBusy)), (1, 1));
    lab.assert_idle();
}

#[test]
fn an_answer_of_the_loader_that_comes_too_late_finds_nobody() {
    let mut lab = lab();
    lab.loader_runs = false;
    assert_eq!(lab.say(69, &rrq("file", EDK2)), []);
    assert_eq!(lab.say(69, &rrq("file", EDK2)), [], "the same again while it is loaded");
    assert_eq!(lab.say(69, &rrq("sub/other", EDK2)), []);
    let [(old, old_name), (new, new_name)] = lab.notes.orders[..] else { panic!("{:?}", lab.notes.orders) };
    for (id, name) in [(old, old_name), (new, new_name), (old, old_name)] {
        let image = lab.catalogue.load(&name).unwrap();
        lab.responder.loaded(lab.notes.now, id, &name, Ok(Arc::clone(&image)), &mut lab.notes);
        lab.responder.loaded(lab.notes.now, old, &name, Err(Refusal::NotFound), &mut lab.notes);
    }
    let said: Vec<_> = lab.notes.sent.iter().map(Sent::said).collect();
    assert_eq!(said, [Said::Oack("tsize 5 blksize 1468 windowsize 4 ".into())]);
    assert_eq!((lab.responder.active(), lab.notes.opened.len()), (1, 1));
}

#[test]
fn a_loader_that_never_answers_is_given_up() {
    let mut lab = lab();
    lab.loader_runs = false;
    assert_eq!(lab.say(69, &rrq("file", EDK2)), []);
    let sent = lab.wait(60_000);
    assert_eq!(sent.iter().map(Sent::said).collect::<Vec<_>>(), [Said::Error(0)]);
    lab.assert_idle();
    lab.load();
    assert_eq!(lab.notes.sent.len(), 0);
}

#[test]
fn nothing_of_an_ended_transfer_is_sent_from_the_backlog() {
    let mut lab = lab();
    let (port, _) = lab.ask("file", &[("windowsize", "64"), ("blksize", "1468")]);
    lab.notes.room = 3;
    assert_eq!(lab.say(port, &ack(0)).len(), 3);
    assert_eq!(lab.responder.next_deadline(), Some(lab.now()), "it waits for room");
    assert_eq!(lab.count(Counter::SendBusy), 1);
    assert_eq!(lab.say(port, &error(3)), []);
    lab.notes.room = 100;
    assert_eq!(lab.wait(0).len(), 0);
    assert_eq!(lab.outcomes(), [TransferOutcome::Aborted(ErrorCode(3))]);
    lab.wait(3000);
    lab.assert_idle();
}

#[test]
fn what_was_sent_partly_goes_on_when_there_is_room() {
    let mut lab = lab();
    let (port, _) = lab.ask("file", &[("windowsize", "8"), ("blksize", "1468")]);
    lab.notes.room = 3;
    assert_eq!(lab.say(port, &ack(0)).len(), 3);
    // An ACK inside the window, while the rest of the window waits for room.
    lab.notes.room = 2;
    assert_eq!(lab.say(port, &ack(3)), [Said::Data(4, 1468), Said::Data(5, 1468)]);
    lab.notes.room = 100;
    let rest: Vec<_> = lab.wait(0).iter().map(Sent::said).collect();
    assert_eq!(rest, (6..=11).map(|block| Said::Data(block, 1468)).collect::<Vec<_>>());
    assert_eq!((lab.count(Counter::DataPackets), lab.count(Counter::DataBytes)), (11, 11 * 1468));
}

/// A running transfer continues with the bytes that it began with.
#[test]
fn a_file_that_is_replaced_changes_no_transfer() {
    let mut lab = lab();
    let (port, _) = lab.ask("sub/other", EDK2);
    std::fs::write(lab.dir.path().join("new"), b"longer than before").unwrap();
    std::fs::rename(lab.dir.path().join("new"), lab.dir.path().join("sub/other")).unwrap();
    lab.catalogue.recheck();
    let sent = lab.say_as(CLIENT, SocketAddrV4::new(SERVER, port), &ack(0));
    assert_eq!(&sent[0].payload[4..], b"other");
}
