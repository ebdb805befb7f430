//! Uploads through the whole responder: the replies to a WRQ and its DATA, and hostile packets.

use std::net::{Ipv4Addr, SocketAddrV4};

use proptest::prelude::*;
use pxe_engine::counters::Counter;
use pxe_engine::responder::{ResponderSettings, UploadLimiter};
use pxe_proto::dhcp::BootService;

use crate::support::*;

const TFTP: SocketAddrV4 = SocketAddrV4::new(SERVER, 69);

fn lab() -> Lab {
    let settings = ResponderSettings { uploads: Some(UploadLimiter::new(2)), ..settings() };
    Lab::with(settings, BootService::new(SERVER), &[("file", &content(800))])
}

/// Sends a WRQ from [`CLIENT`]. Returns our TID and the reply.
fn put(lab: &mut Lab, name: &str, options: &[(&str, &str)]) -> (u16, Said) {
    let sent = lab.say_as(CLIENT, TFTP, &wrq(name, options));
    let [only] = &sent[..] else { panic!("{sent:?}") };
    (only.route.from.port(), only.said())
}

#[test]
fn a_file_is_put_block_by_block() {
    let mut lab = lab();
    let (port, said) = put(&mut lab, "/dmesg.txt", &[]);
    assert_eq!(said, Said::Ack(0));
    let bytes = content(1300);
    for (block, part) in (1..).zip(bytes.chunks(512)) {
        assert_eq!(lab.say(port, &data(block, part)), [Said::Ack(block)]);
    }
    assert_eq!(lab.notes.inbox.files["dmesg.txt"], bytes);
    assert_eq!(lab.responder.active(), 0);
    let count = |what: Counter| lab.count(what);
    assert_eq!((count(Counter::Uploads), count(Counter::UploadComplete)), (1, 1));
    assert_eq!((count(Counter::UploadBlocks), count(Counter::UploadBytes)), (3, 1300));
    // The upload does not count as a download, and is not given to the kernel.
    assert_eq!(
        (count(Counter::Complete), count(Counter::Requests), count(Counter::GivenToKernel)),
        (0, 0, 0)
    );
    assert!(lab.notes.events.is_empty());
    // RFC 1350, section 6: the last ACK may be lost, so the client may retransmit its last block. Later the
    // slot is free, and the TIDs are unknown.
    lab.wait(5000);
    assert_eq!(lab.say(port, &data(3, &bytes[1024..])), [Said::Ack(3)]);
    lab.wait(8000);
    lab.assert_idle();
    assert_eq!(lab.say(port, &data(3, &bytes[1024..])), [Said::Error(5)]);
}

#[test]
fn options_are_granted_as_far_as_uploads_go() {
    for (options, oack) in [
        (
            &[("blksize", "1468"), ("windowsize", "4"), ("tsize", "3000")][..],
            "tsize 3000 blksize 1468 windowsize 4 ",
        ),
        (
            &[("blksize", "65464"), ("windowsize", "64"), ("timeout", "3")],
            "blksize 1468 timeout 3 windowsize 16 ",
        ),
        // A size that is not a number is ignored.
        (&[("tsize", "many"), ("blksize", "512")], "blksize 512 "),
    ] {
        assert_eq!(put(&mut lab(), "f", options).1, Said::Oack(oack.into()));
    }
    assert_eq!(put(&mut lab(), "f", &[("tsize", "many")]).1, Said::Ack(0));
}

#[test]
fn what_is_refused_says_why_at_once() {
    let mut lab = lab();
    lab.notes.inbox.files.insert("there".into(), vec![]);
    lab.notes.inbox.largest = 1000;
    let long = "x".repeat(256);
    for (name, options, code, counter) in [
        ("there", &[][..], 6, Counter::UploadExists),
        ("bad name", &[], 2, Counter::UploadName),
        ("/", &[], 2, Counter::UploadName),
        (&long, &[], 2, Counter::UploadName),
        ("large", &[("tsize", "1001")], 3, Counter::UploadTooLarge),
    ] {
        let before = lab.count(counter);
        assert_eq!(put(&mut lab, name, options).1, Said::Error(code), "{name}");
        assert_eq!(lab.count(counter), before + 1, "{name}");
        lab.assert_idle();
    }
    assert_eq!(lab.say(69, b"\0\x02\xff\xfe\0octet\0"), [Said::Error(2)]);
    assert_eq!(lab.say(69, b"\0\x02f\0netascii\0"), [Said::Error(4)]);
    // Without an announced size, the upload ends when the file becomes too large.
    let (port, _) = put(&mut lab, "grows", &[]);
    assert_eq!(lab.say(port, &data(1, &[0; 512])), [Said::Ack(1)]);
    assert_eq!(lab.say(port, &data(2, &[0; 512])), [Said::Ack(2), Said::Error(3)]);
    assert_eq!(lab.say(port, &data(3, &[0; 512])), [], "late DATA finds silence");
    assert_eq!((lab.count(Counter::UploadFull), lab.responder.active()), (1, 0));
    lab.wait(2000);
    lab.assert_idle();
    assert!(!lab.notes.inbox.files.contains_key("grows"));
}

#[test]
fn without_an_inbox_nothing_is_written() {
    let mut lab = Lab::new(&[]);
    assert_eq!(lab.say(69, &wrq("f", &[])), [Said::Error(2)]);
    assert_eq!((lab.count(Counter::Write), lab.count(Counter::Uploads)), (1, 0));
    lab.assert_idle();
}

/// A block that is larger than negotiated is neither cut nor taken as the last block.
#[test]
fn oversized_blocks_end_the_upload() {
    for (options, most) in [(&[][..], 512), (&[("blksize", "1468")], 1468), (&[("blksize", "8")], 8)] {
        let mut lab = lab();
        let (port, _) = put(&mut lab, "f", options);
        assert_eq!(lab.say(port, &data(1, &vec![0; most + 1])), [Said::Error(4)]);
        assert_eq!(lab.say(port, &data(1, &vec![0; most])), []);
        assert_eq!((lab.count(Counter::UploadOversized), lab.notes.inbox.under_way()), (1, 0));
        assert!(lab.notes.inbox.files.is_empty());
        lab.wait(2000);
        lab.assert_idle();
    }
}

#[test]
fn data_of_nobody_is_nothing() {
    let mut lab = lab();
    assert_eq!(lab.say(69, &data(1, b"x")), []);
    assert_eq!(lab.say(PORTS.first, &data(1, b"x")), [Said::Error(5)]);
    // DATA before the inbox has opened the file, and DATA in a transfer to a client.
    lab.loader_runs = false;
    assert_eq!(lab.say(69, &wrq("f", &[])), []);
    // One of the TIDs is the upload's own. On all other TIDs the packet belongs to no transfer.
    let answers: Vec<_> =
        (0..PORTS.count).map(|index| lab.say(PORTS.first + index, &data(1, b"x")).len()).collect();
    assert_eq!(answers.iter().sum::<usize>(), usize::from(PORTS.count) - 1, "{answers:?}");
    let reader = SocketAddrV4::new(*CLIENT.ip(), 9999);
    lab.loader_runs = true;
    let port = lab.say_as(reader, TFTP, &rrq("file", &[]))[0].route.from.port();
    assert!(lab.say_as(reader, SocketAddrV4::new(SERVER, port), &data(1, b"x")).is_empty());
    assert!(lab.notes.inbox.files.is_empty());
}

#[test]
fn a_client_that_breaks_off_or_vanishes_leaves_nothing() {
    for (options, silence) in [(&[][..], false), (&[("windowsize", "4")], false), (&[], true)] {
        let mut lab = lab();
        let (port, _) = put(&mut lab, "f", options);
        lab.say(port, &data(1, &[0; 512]));
        assert_eq!(lab.notes.inbox.under_way(), 1);
        if silence {
            lab.wait(60_000);
        } else {
            assert_eq!(lab.say(port, &error(0)), []);
            lab.wait(2000);
        }
        let ended = if silence { Counter::UploadTimedOut } else { Counter::UploadAborted };
        assert_eq!((lab.count(ended), lab.notes.inbox.under_way()), (1, 0));
        lab.assert_idle();
    }
}

#[test]
fn a_new_request_from_the_same_port_takes_the_old_ones_place() {
    let mut lab = lab();
    let (port, _) = put(&mut lab, "f", &[]);
    lab.say(port, &data(1, &[0; 512]));
    // An immediate repeat is a copy. A later one means that the machine was reset.
    assert_eq!(lab.say(69, &wrq("f", &[])), []);
    lab.wait(1500);
    let (port, said) = put(&mut lab, "f", &[]);
    assert_eq!(said, Said::Ack(0));
    assert_eq!(lab.say(port, &data(1, b"new")), [Said::Ack(1)]);
    assert_eq!(lab.notes.inbox.files["f"], b"new");
    assert_eq!((lab.count(Counter::UploadSuperseded), lab.count(Counter::DuplicateRequest)), (1, 1));
    // A read request from the same port also replaces the upload.
    let (port, _) = put(&mut lab, "g", &[]);
    lab.say(port, &data(1, &[0; 512]));
    assert_eq!(lab.ask("file", &[]).1, Said::Data(1, 512));
    assert_eq!((lab.count(Counter::UploadSuperseded), lab.notes.inbox.under_way()), (2, 0));
}

/// A block that finds no room is counted, but not acknowledged.
#[test]
fn an_ack_waits_for_room() {
    let mut lab = lab();
    let (port, _) = put(&mut lab, "f", &[]);
    lab.notes.inbox.room = 0;
    assert_eq!(lab.say(port, &data(1, &[1; 512])), []);
    lab.notes.inbox.room = 9;
    assert_eq!(lab.say(port, &data(1, &[1; 512])), [Said::Ack(1)]);
    assert_eq!(lab.say(port, &data(2, &[2; 4])), [Said::Ack(2)]);
    assert_eq!(lab.notes.inbox.files["f"].len(), 516);
    assert_eq!(lab.count(Counter::UploadNoRoom), 1);
}

/// The last ACK confirms that the file is stored, so it waits for the disk. An ERROR may come instead.
#[test]
fn the_last_ack_waits_for_the_disk() {
    let mut lab = lab();
    let (port, _) = put(&mut lab, "f", &[]);
    lab.loader_runs = false;
    assert_eq!(lab.say(port, &data(1, b"x")), []);
    assert_eq!(lab.wait(5000).len(), 0);
    lab.file();
    assert_eq!(lab.notes.sent.iter().map(Sent::said).collect::<Vec<_>>(), [Said::Ack(1)]);
}

#[test]
fn ten_thousand_requests_take_two_places_and_leave_downloads_alone() {
    let mut lab = lab();
    for n in 0..10_000u32 {
        let [_, _, a, b] = n.to_be_bytes();
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 1, a, b), 2000);
        let sent = lab.say_as(from, TFTP, &wrq(&format!("f{n}"), &[("blksize", "1468")]));
        assert!(
            sent.len() <= 1 && sent.iter().all(|sent| sent.route.to == from),
            "one packet for one packet"
        );
    }
    assert_eq!((lab.responder.active(), lab.count(Counter::UploadBusy)), (2, 9998));
    assert_eq!(lab.ask("file", &[]).1, Said::Data(1, 512));
    // An upload without any DATA soon loses its slot.
    lab.wait(30_000);
    assert_eq!((lab.count(Counter::UploadTimedOut), lab.notes.inbox.under_way()), (2, 0));
    lab.wait(60_000);
    lab.assert_idle();
    assert_eq!(put(&mut lab, "real", &[]).1, Said::Ack(0));
}

/// Without a free slot, an upload waits in the queue like every request.
#[test]
fn an_upload_waits_for_a_slot() {
    let mut lab = lab();
    for n in 0..8 {
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 100 + n), 2000);
        let port = lab.say_as(from, TFTP, &rrq("file", &[("blksize", "8")]))[0].route.from.port();
        lab.say_as(from, SocketAddrV4::new(SERVER, port), &ack(0));
    }
    assert_eq!(lab.say(69, &wrq("f", &[])), []);
    let (client, port) = lab.notes.opened.first().copied().unwrap();
    lab.say_as(client, SocketAddrV4::new(SERVER, port), &error(0));
    let port = lab.notes.opened.iter().find(|(client, _)| *client == CLIENT).unwrap().1;
    assert_eq!(lab.say(port, &data(1, b"late")), [Said::Ack(1)]);
    assert_eq!(lab.notes.inbox.files["f"], b"late");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any packet at any port: no panic, no more than two packets in reply, and nothing left at the end.
    #[test]
    fn any_packets_in_any_order(
        packets in prop::collection::vec(
            (prop::sample::select(vec![69u16, 69, 50_000, 50_001, 50_002, 50_003, 50_015]), 0u16..4, prop_oneof![
                3 => (0u16..6, prop::sample::select(vec![0usize, 8, 8, 8, 9])).prop_map(|(block, len)| data(block, &vec![0; len])),
                1 => (0u16..4).prop_map(ack),
                1 => (0u16..9).prop_map(error),
                2 => (0u8..3).prop_map(|name| wrq(&format!("f{name}"), &[("blksize", "8"), ("windowsize", "2")])),
                1 => Just(rrq("file", &[])),
                1 => prop::collection::vec(any::<u8>(), 0..64),
            ], 0u64..3000),
            0..60,
        ),
    ) {
        let mut lab = lab();
        lab.endure(packets, 2);
        prop_assert_eq!(lab.notes.inbox.under_way(), 0);
    }
}
