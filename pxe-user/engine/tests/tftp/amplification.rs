//! What somebody gets who has not asked: requests that are sent in his name bring little, whatever they are and however
//! often they come.

use std::net::{Ipv4Addr, SocketAddrV4};

use proptest::prelude::*;
use pxe_engine::responder::{Settings, UploadLimiter};
use pxe_proto::dhcp::Service;

use crate::support::*;

/// In whose name it is asked.
const VICTIM: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 200);
/// What docs/decisions/0021 promises: less than so many times the bytes of a request. A number of its own, so that the code cannot
/// move it unnoticed.
const FACTOR: usize = 8;
/// A DATA packet with 512 bytes.
const FIRST_BLOCK: usize = 4 + 512;

fn lab() -> Lab {
    let settings = Settings { uploads: Some(UploadLimiter::new(2)), ..settings() };
    Lab::with(settings, Service::new(SERVER), &[("file", &content(100_000)), ("f", &content(512))])
}

/// What a request may bring in all, in bytes of UDP payload.
fn allowed(request: &[u8]) -> usize {
    (FACTOR * request.len()).max(FIRST_BLOCK * usize::from(is_plain(request)))
}

/// A request that could be answered by DATA at once: without options, or with none that we know.
fn is_plain(request: &[u8]) -> bool {
    request[1] == 1 && (request.ends_with(b"octet\0") || request.ends_with(b"multicast\0\0"))
}

/// The most tempting requests: short, and for much.
fn requests() -> Vec<Vec<u8>> {
    let window = [("blksize", "1468"), ("windowsize", "64")];
    vec![
        rrq("f", &[]),
        rrq("file", &[]),
        rrq("f", &[("tsize", "0")]),
        rrq("f", &[("blksize", "8")]),
        rrq("f", &[("timeout", "1")]),
        rrq("file", &[("tsize", "0"), ("blksize", "1468"), ("windowsize", "64")]),
        rrq("file", &window),
        rrq("x", &[]),
        rrq("x", &window),
        rrq("../x", &[]),
        wrq("a", &[]),
        wrq("b", &[("tsize", "9")]),
        wrq("?", &[]),
        b"\0\x01f\0mail\0".to_vec(),
        b"\0\x01f\0octet\0multicast\0\0".to_vec(),
    ]
}

#[test]
fn each_request_alone_brings_little() {
    for request in requests() {
        let mut lab = lab();
        let mut bytes = 0;
        let from = SocketAddrV4::new(VICTIM, 2000);
        let at_once = lab.say_as(from, SocketAddrV4::new(SERVER, 69), &request);
        let later = lab.wait(200_000);
        for sent in at_once.iter().chain(&later) {
            bytes += sent.payload.len();
        }
        let name = String::from_utf8_lossy(&request);
        assert!(bytes > 0 && bytes <= allowed(&request), "{name:?}: {bytes} bytes for {}", request.len());
        lab.assert_idle();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any requests in any order, from a few ports, repeated or not, with packets for transfers mixed in that acknowledge
    /// nothing: in all, no more than each request may bring.
    #[test]
    fn all_together_bring_no_more_than_each_may(
        sequence in prop::collection::vec(
            (0u16..3, prop::sample::select(requests()), 1usize..5, 0u64..2500, any::<bool>()),
            0..40,
        ),
    ) {
        let mut lab = lab();
        let (mut asked, mut got) = (0, 0);
        let tftp = SocketAddrV4::new(SERVER, 69);
        for (port, request, times, pause, stray) in sequence {
            let from = SocketAddrV4::new(VICTIM, 2000 + port);
            for _ in 0..times {
                asked += allowed(&request);
                let sent = lab.say_as(from, tftp, &request);
                prop_assert!(sent.iter().all(|sent| sent.route.to == from), "only to who seems to ask");
                let ours = sent.first().map(|sent| sent.route.from);
                got += bytes(&sent);
                if let (true, Some(ours)) = (stray, ours) {
                    // An ACK that acknowledges what was never sent, and a repeat of nothing.
                    let stray = ack(777);
                    asked += FACTOR * stray.len();
                    got += bytes(&lab.say_as(from, ours, &stray));
                }
                got += bytes(&lab.wait(pause / times as u64));
            }
            prop_assert!(got <= asked, "{got} bytes, of {asked} at the most");
        }
        got += bytes(&lab.wait(200_000));
        prop_assert!(got <= asked, "{got} bytes, of {asked} at the most");
        lab.assert_idle();
    }
}

fn bytes(sent: &[Sent]) -> usize {
    sent.iter().map(|sent| sent.payload.len()).sum()
}

/// The client's own repeats bring what was lost, also where it has no options.
#[test]
fn a_client_that_asks_again_gets_what_was_lost() {
    let mut lab = lab();
    let plain = rrq("file", &[]);
    let tftp = SocketAddrV4::new(SERVER, 69);
    assert_eq!(bytes(&lab.say_as(CLIENT, tftp, &plain)), FIRST_BLOCK);
    for _ in 0..5 {
        assert_eq!(bytes(&lab.wait(5000)), 0, "nothing by itself");
        assert_eq!(bytes(&lab.say_as(CLIENT, tftp, &plain)) + bytes(&lab.wait(0)), FIRST_BLOCK);
    }
    // With options the OACK comes again until the request does: GRUB would not repeat its ACK 0.
    let options = rrq("file", &[("blksize", "1024"), ("tsize", "0")]);
    let first = bytes(&lab.say_as(CLIENT, tftp, &options));
    assert_eq!(bytes(&lab.wait(60_000)), 6 * first);
    assert_eq!(bytes(&lab.say_as(CLIENT, tftp, &options)) + bytes(&lab.wait(0)), first);
}

/// From one TID to the next, for requests of one client; there are sixteen.
fn steps(requests: usize) -> Vec<u16> {
    let mut lab = lab();
    let mut ports = Vec::new();
    for n in 0..=requests {
        let sent = lab.say_as(
            CLIENT,
            SocketAddrV4::new(SERVER, 69),
            &rrq("f", &[("tsize", "0"), ("n", &n.to_string())]),
        );
        ports.push(sent[0].route.from.port());
    }
    ports.windows(2).map(|pair| (16 + pair[1] - pair[0]) % 16).collect()
}

/// How many of the pairs are two equal numbers.
fn equal(pairs: impl Iterator<Item = (u16, u16)>) -> usize {
    pairs.filter(|(one, other)| one == other).count()
}

/// An ACK that is forged, too, must name our TID: it is another for each request, follows from none before, and another
/// process gives others. The numbers are far from what chance does: each pair is equal once in fifteen times.
#[test]
fn tids_cannot_be_foretold() {
    const COUNT: usize = 400;
    let (one, other) = (steps(COUNT), steps(COUNT));
    assert!(!one.contains(&0), "late packets of the last transfer would be taken for the next one's");
    let pairs: std::collections::HashSet<_> = one.windows(2).map(|pair| (pair[0], pair[1])).collect();
    assert!(pairs.len() > COUNT / 4, "a step does not follow from the one before: {} pairs", pairs.len());
    for lag in 1..=COUNT / 2 {
        let again = equal(one.iter().copied().zip(one[lag..].iter().copied()));
        assert!(again < (COUNT - lag) / 2, "nothing comes again after {lag} requests: {again} times");
    }
    let same = equal(one.into_iter().zip(other));
    assert!(same < COUNT / 2, "another process gives others: {same} are the same");
}
