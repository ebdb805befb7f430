//! clients.md, section 5, lines 1 to 17, through the whole responder: each packet gets no reply or an ERROR,
//! increases a counter, and leaves nothing behind. The tests beside `tftp::packet` check how packets are
//! parsed.

use std::net::{Ipv4Addr, SocketAddrV4};

use proptest::prelude::*;
use pxe_content::boot::Refusal;
use pxe_engine::counters::{Counted, Counter};
use pxe_proto::tftp::send_session::TransferOutcome;

use crate::support::*;

const OPTIONS: &[(&str, &str)] = &[("blksize", "8"), ("windowsize", "4")];

fn lab() -> Lab {
    Lab::new(&[("file", &content(800))])
}

/// The packet increases a counter, gets no reply, and leaves nothing behind.
fn silent(payload: &[u8], what: impl Into<Counted>) {
    let mut lab = lab();
    assert_eq!(lab.say(69, payload), [], "{payload:?}");
    assert_eq!(lab.count(what), 1, "{payload:?}");
    lab.assert_idle();
}

#[test]
fn line_1_truncated_and_empty_requests() {
    silent(b"", Counter::TftpShort);
    silent(b"\0", Counter::TftpShort);
    silent(b"\0\x01", Counter::TftpUnterminated);
    silent(b"\0\x01file", Counter::TftpUnterminated);
    silent(b"\0\x01file\0octet", Counter::TftpUnterminated);
    silent(b"\0\x01\0octet\0", Counter::TftpEmpty);
    silent(b"\0\x01file\0\0", Counter::TftpEmpty);
}

#[test]
fn line_2_a_very_long_name() {
    let mut lab = lab();
    for len in [256, 1400, 9000] {
        assert_eq!(lab.ask(&"x".repeat(len), &[]).1, Said::Error(1));
    }
    assert_eq!(lab.count(Refusal::TooLong), 3);
}

#[test]
fn line_3_errors_are_never_answered() {
    for payload in [
        b"\0\x05".to_vec(),
        b"\0\x05\0".to_vec(),
        error(5),
        [b"\0\x05\0\0".to_vec(), vec![b'x'; 1400]].concat(),
    ] {
        let mut lab = lab();
        let (port, _) = lab.ask("file", OPTIONS);
        // On port 69, from an unknown source, and in a transfer.
        assert_eq!(lab.say(69, &payload), []);
        let stranger = SocketAddrV4::new(*CLIENT.ip(), 2999);
        assert!(lab.say_as(stranger, SocketAddrV4::new(SERVER, port), &payload).is_empty());
        assert_eq!(lab.say(port, &payload), []);
    }
}

#[test]
fn lines_4_5_6_and_14_odd_options_are_left_out() {
    for options in [
        &[("blksize", "-8")][..],
        &[("blksize", "99999999999999999999999")],
        &[("timeout", "0"), ("windowsize", "0"), ("blksize", "1")],
        &[("timeout", "256"), ("windowsize", "65536"), ("blksize", "7")],
        &[("multicast", "")],
    ] {
        assert_eq!(lab().ask("file", options).1, Said::Data(1, 512), "{options:?}");
    }
    let many = vec![("blksize", "1400"); 100];
    assert_eq!(lab().ask("file", &many).1, Said::Oack("blksize 1400 ".into()));
    assert_eq!(lab().ask("file", &[("blksize", "65465")]).1, Said::Oack("blksize 1468 ".into()));
    let odd = [rrq("file", &[("blksize", "1400")]), b"windowsize\0".to_vec()].concat();
    assert_eq!(lab().say(69, &odd), [Said::Oack("blksize 1400 ".into())]);
}

#[test]
fn line_8_no_name_leads_out() {
    for name in ["../../etc/passwd", "..\\..\\etc\\passwd", "/../etc/passwd", "x/../../etc/passwd"] {
        assert_eq!(lab().ask(name, &[]).1, Said::Error(2), "{name}");
    }
    assert_eq!(lab().ask("/etc/passwd", &[]).1, Said::Error(1));
}

#[test]
fn line_9_a_flood_of_forged_requests_is_bounded_and_passes() {
    let mut lab = lab();
    let mut answers = 0;
    for n in 0..10_000u32 {
        let [_, _, a, b] = n.to_be_bytes();
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 1, a, b), 2000);
        let sent = lab.say_as(from, SocketAddrV4::new(SERVER, 69), &rrq("file", OPTIONS));
        assert!(sent.len() <= 1, "one packet for one packet");
        answers += sent.len();
    }
    // Nothing is sent to the addresses of requests in the queue, not even when the requests are dropped.
    assert_eq!((lab.responder.active(), lab.responder.pending(), answers), (8, 1024, 8));
    let sent = lab.wait(200_000);
    assert_eq!(sent.len(), 8 * 6);
    assert_eq!((lab.count(Counter::Waited), lab.count(Counter::Forgotten)), (9992, 9992));
    lab.assert_idle();
}

#[test]
fn line_10_sources_that_are_no_clients() {
    let ip = *CLIENT.ip();
    for from in [0, 53, 67, 69, 123, 1023, 4011].map(|port| SocketAddrV4::new(ip, port)).into_iter().chain(
        [
            Ipv4Addr::BROADCAST,
            Ipv4Addr::new(224, 0, 0, 1),
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::new(240, 0, 0, 1),
            Ipv4Addr::LOCALHOST,
            BROADCAST,
            SERVER,
        ]
        .map(|ip| SocketAddrV4::new(ip, 2070)),
    ) {
        let mut lab = lab();
        for payload in [rrq("file", OPTIONS), rrq("nowhere", &[]), b"\0\x02f\0octet\0".to_vec()] {
            assert!(lab.say_as(from, SocketAddrV4::new(SERVER, 69), &payload).is_empty(), "{from}");
        }
        assert_eq!(lab.count(Counter::BadSource), 3, "{from}");
        // These sources get no ERROR 5 either.
        assert!(lab.say_as(from, SocketAddrV4::new(SERVER, PORTS.first), &ack(1)).is_empty(), "{from}");
        lab.assert_idle();
    }
}

/// RFC 1123, section 4.2.3.5: a request that was broadcast is ignored.
#[test]
fn requests_to_many_are_ignored() {
    let mut lab = lab();
    for to in [Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 1, 2)] {
        assert!(lab.say_as(CLIENT, SocketAddrV4::new(to, 69), &rrq("file", OPTIONS)).is_empty());
        assert!(lab.say_as(CLIENT, SocketAddrV4::new(to, PORTS.first), &ack(0)).is_empty());
    }
    assert_eq!(lab.count(Counter::Broadcast), 2);
}

#[test]
fn line_12_a_request_that_is_repeated_at_once() {
    let mut lab = lab();
    lab.ask("file", OPTIONS);
    for _ in 0..5 {
        lab.wait(110);
        assert_eq!(lab.say(69, &rrq("file", OPTIONS)), []);
    }
    assert_eq!(lab.count(Counter::DuplicateRequest), 5);
}

#[test]
fn line_13_wrong_acks_change_nothing_and_strangers_get_error_5() {
    let mut lab = lab();
    let (port, _) = lab.ask("file", OPTIONS);
    assert_eq!(lab.say(port, &ack(7)), [], "before ACK 0");
    assert_eq!(lab.say(port, &ack(0)).len(), 4);
    for block in [5, 100, 65535, 32768] {
        assert_eq!(lab.say(port, &ack(block)), [], "{block}");
    }
    assert_eq!(lab.count(Counter::StrayAck), 5);
    let to = SocketAddrV4::new(SERVER, port);
    for stranger in
        [SocketAddrV4::new(*CLIENT.ip(), 2999), SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 98), 2070)]
    {
        let sent = lab.say_as(stranger, to, &ack(4));
        assert_eq!((sent[0].said(), sent[0].route.to, sent[0].route.from), (Said::Error(5), stranger, to));
    }
    assert_eq!(lab.count(Counter::UnknownTid), 2);
    assert_eq!(lab.say(port, &ack(4)).len(), 4, "the transfer stays");
}

#[test]
fn line_15_writes_modes_and_opcodes() {
    for (payload, said, counter) in [
        (&b"\0\x02file\0octet\0"[..], Some(2), Counter::Write),
        (b"\0\x01file\0netascii\0", Some(4), Counter::Mode),
        (b"\0\x01file\0mail\0", Some(4), Counter::Mode),
        (b"\0\x01file\0netascii\0tsize\x000\0", Some(4), Counter::Mode),
        (b"\0\0file\0octet\0", None, Counter::TftpOpcode),
        (b"\0\x07file\0octet\0", None, Counter::TftpOpcode),
        (b"\0\x03\0\x01data", None, Counter::TftpUnexpected),
        (b"\0\x04\0\0", None, Counter::TftpUnexpected),
        (b"\0\x05\0\0x\0", None, Counter::TftpUnexpected),
        (b"\0\x06tsize\x000\0", None, Counter::TftpUnexpected),
    ] {
        let mut lab = lab();
        assert_eq!(lab.say(69, payload), Vec::from_iter(said.map(Said::Error)), "{payload:?}");
        assert_eq!(lab.count(counter), 1, "{payload:?}");
        lab.assert_idle();
    }
    assert_eq!(lab().say(69, b"\0\x01file\0OCTET\0"), [Said::Data(1, 512)]);
}

#[test]
fn in_a_transfer_only_acks_and_errors_count() {
    let mut lab = lab();
    let (port, _) = lab.ask("file", OPTIONS);
    for payload in [
        &b"\0\x03\0\x01x"[..],
        b"\0\x06x\0y\0",
        b"\0\x02f\0octet\0",
        b"\0\x01f\0octet\0",
        b"\0\x04\0",
        b"",
        b"\0\x09",
    ] {
        assert_eq!(lab.say(port, payload), [], "{payload:?}");
    }
    assert_eq!(lab.say(port, &ack(0)).len(), 4);
    assert_eq!(lab.say(PORTS.first + PORTS.count, &ack(4)), [], "none of our ports");
    assert_eq!(lab.count(Counter::OtherPort), 1);
}

#[test]
fn line_16_what_is_no_regular_file() {
    let mut lab = lab();
    let fifo = std::process::Command::new("mkfifo").arg(lab.dir.path().join("fifo")).status();
    assert!(fifo.is_ok_and(|status| status.success()));
    std::fs::create_dir(lab.dir.path().join("directory")).unwrap();
    assert_eq!(lab.ask("fifo", &[]).1, Said::Error(2));
    assert_eq!(lab.ask("directory", &[]).1, Said::Error(2));
    assert_eq!(lab.count(Refusal::NotAFile), 2);
    for name in ["%n%s%x", "caf\u{e9}", "\u{202e}", "con", "a\nb"] {
        assert_eq!(lab.ask(name, &[]).1, Said::Error(1), "{name}");
    }
}

/// See also `simulation::line_17_a_client_that_vanishes_is_forgotten`.
#[test]
fn line_17_a_client_that_vanishes_after_oack_is_forgotten() {
    let mut lab = lab();
    lab.ask("file", OPTIONS);
    lab.wait(137_000);
    assert_eq!(lab.outcomes(), [TransferOutcome::TimedOut]);
    lab.assert_idle();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any packet at any port: no panic, no more than one window in reply to a packet, and nothing left at
    /// the end.
    #[test]
    fn any_packets_in_any_order(
        packets in prop::collection::vec(
            (prop::sample::select(vec![67u16, 69, 69, 69, 4011, 50_000, 50_003, 50_007, 50_015, 1]), 0u16..4, prop_oneof![
                (0u16..70).prop_map(ack),
                (0u16..9).prop_map(error),
                Just(rrq("file", OPTIONS)),
                Just(rrq("file", &[])),
                Just(rrq("nowhere", OPTIONS)),
                prop::collection::vec(any::<u8>(), 0..64),
            ], 0u64..3000),
            0..60,
        ),
    ) {
        lab().endure(packets, 4);
    }
}
