//! Amplification: requests with a forged source address cause few bytes to that address, whatever the
//! requests are and however often they come.

use std::net::{Ipv4Addr, SocketAddrV4};

use proptest::prelude::*;
use pxe_engine::responder::{ResponderSettings, UploadLimiter};
use pxe_proto::dhcp::BootService;

use crate::support::*;

/// The forged source address.
const VICTIM: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 200);
/// The promise of docs/decisions/0021: replies have less than this many times the bytes of a request. The
/// number is repeated here, so that a change in the code cannot change it unnoticed.
const FACTOR: usize = 8;
/// Size of a DATA packet with 512 bytes, in bytes.
const FIRST_BLOCK: usize = 4 + 512;

fn lab() -> Lab {
    let settings = ResponderSettings { uploads: Some(UploadLimiter::new(2)), ..settings() };
    Lab::with(settings, BootService::new(SERVER), &[("file", &content(100_000)), ("f", &content(512))])
}

/// Most bytes that one request may cause in all, as UDP payload.
fn allowed(request: &[u8]) -> usize {
    (FACTOR * request.len()).max(FIRST_BLOCK * usize::from(is_plain(request)))
}

/// Whether a request could be answered by DATA at once: it has no options, or only options that pxed does not
/// know.
fn is_plain(request: &[u8]) -> bool {
    request[1] == 1 && (request.ends_with(b"octet\0") || request.ends_with(b"multicast\0\0"))
}

/// The best requests for an attacker: short, and for a lot of data.
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

    /// Any requests in any order, from a few ports, repeated or not, mixed with packets that acknowledge
    /// nothing. All together cause no more bytes than each request may.
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
                    // An ACK of a block that was never sent.
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

/// When a client repeats its request, it gets again what was lost, even if the request has no options.
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
    // With options, the OACK is retransmitted until the client repeats its request. This is necessary because
    // GRUB does not retransmit its ACK 0.
    let options = rrq("file", &[("blksize", "1024"), ("tsize", "0")]);
    let first = bytes(&lab.say_as(CLIENT, tftp, &options));
    assert_eq!(bytes(&lab.wait(60_000)), 6 * first);
    assert_eq!(bytes(&lab.say_as(CLIENT, tftp, &options)) + bytes(&lab.wait(0)), first);
}

/// The differences between consecutive TIDs, for requests of one client. There are 16 TIDs.
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

/// How many of the pairs consist of two equal numbers.
fn equal(pairs: impl Iterator<Item = (u16, u16)>) -> usize {
    pairs.filter(|(one, other)| one == other).count()
}

/// A forged ACK must also contain our TID. The TID is different for each request, does not follow from
/// earlier ones, and another process chooses other TIDs. The limits leave a wide margin for chance: a random
/// pair is equal in one of fifteen cases.
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
