//! Which broadcasts a responder of a shared segment takes, in the XDP program in the kernel and in the same code over
//! slices.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use pxe_common::abi::{ASKED_MAX, Config};
use pxe_common::segment::{Asked, BUCKETS, Ranks, bucket};
use pxe_common::{Pass, Service, SliceFrame, Verdict, classify};
use pxe_kit::clock;
use pxe_properties::frames::{CLIENT, OWN, TID, broadcast_67, config, golden, udp};
use pxe_properties::verdicts::{CLIENT_PORT, Kernel, action, known};

/// A pause after which a DHCPDISCOVER is no copy of the one before.
const RETRY: Duration = Duration::from_millis(120);
const TAKEN: Verdict = Verdict::Copy(Service::Dhcp);
const OTHERS: Verdict = Verdict::Pass(Pass::OtherResponder);

/// Ranks by bucket: 0, 1 and 2 in turn.
fn ranks() -> Ranks {
    Ranks(std::array::from_fn(|bucket| (bucket % 3) as u8))
}

/// The number-th machine in whose bucket the responder has this rank.
fn machine(rank: u8, number: usize) -> [u8; 6] {
    let mac = |index: u32| {
        let [_, a, b, c] = index.to_be_bytes();
        [0x52, 0x54, 0, a, b, c]
    };
    (0..).map(mac).filter(|mac| ranks().of(*mac) == rank).nth(number).unwrap()
}

/// The recorded message as this machine would send it.
fn message(name: &str, mac: [u8; 6], secs: u16) -> Vec<u8> {
    let mut message = golden(name);
    message[28..34].copy_from_slice(&mac);
    message[8..10].copy_from_slice(&secs.to_be_bytes());
    message
}

fn discover(mac: [u8; 6], secs: u16) -> Vec<u8> {
    broadcast_67(&message("ovmf-discover", mac, secs))
}

fn request(mac: [u8; 6]) -> Vec<u8> {
    broadcast_67(&message("ovmf-request-67", mac, 0))
}

/// The program in the kernel, and the same code over slices with the same clock.
struct Both {
    config: Config,
    kernel: Kernel,
    asked: HashMap<[u8; 6], Asked>,
    start: Instant,
}

impl Both {
    fn new() -> Self {
        let config = Config { shared: 1, ..config() };
        let mut kernel = Kernel::new(&config, true);
        kernel.programs.set_ranks(&ranks()).unwrap();
        Self { config, kernel, asked: HashMap::new(), start: clock::now() }
    }

    #[track_caller]
    fn expect(&mut self, frame: &[u8], verdict: Verdict, what: &str) {
        // As the kernel's clock, it does not begin at 0.
        let now = (Duration::from_secs(1000) + self.start.elapsed()).as_nanos() as u64;
        let is_mine = |broadcast: &pxe_common::segment::Broadcast| {
            let entry = self.asked.entry(broadcast.mac).or_default();
            let (after, is_taken) = entry.take(ranks().of(broadcast.mac), broadcast.message, now);
            *entry = after;
            is_taken
        };
        let over_slice = classify(
            &SliceFrame(frame),
            &self.config,
            |packet| packet.key() == known(),
            |_, _| true,
            is_mine,
        );
        assert_eq!(over_slice, verdict, "{what}, over a slice");
        assert_eq!(self.kernel.run(frame), (verdict, action(verdict)), "{what}, in the kernel");
    }
}

#[test]
fn the_owner_answers_at_once_the_next_one_when_asked_again_and_all_the_third_time() {
    let mut both = Both::new();
    let rounds = [[TAKEN, OTHERS, OTHERS], [TAKEN, TAKEN, OTHERS], [TAKEN; 3], [TAKEN; 3]];
    for (round, verdicts) in rounds.into_iter().enumerate() {
        for (rank, verdict) in (0..).zip(verdicts) {
            for number in 0..20 {
                let what = format!("DISCOVER {} of a machine of rank {rank}", round + 1);
                both.expect(&discover(machine(rank, number), 0), verdict, &what);
                // The same frame by another way.
                if rank > 0 && verdict == OTHERS {
                    both.expect(&discover(machine(rank, number), 0), verdict, &format!("{what}, copied"));
                }
            }
        }
        sleep(RETRY);
    }
}

#[test]
fn a_request_ends_the_stage_and_every_responder_learns_of_it() {
    let mut both = Both::new();
    let [served, down] = [machine(1, 0), machine(1, 1)];
    both.expect(&discover(served, 0), OTHERS, "first stage");
    both.expect(&discover(down, 0), OTHERS, "first stage, owner down");
    both.expect(&request(served), TAKEN, "address");
    sleep(RETRY);
    both.expect(&discover(served, 0), OTHERS, "second stage");
    both.expect(&discover(down, 0), TAKEN, "first stage again, owner down");
    both.expect(&request(down), TAKEN, "address, owner down");
    sleep(RETRY);
    both.expect(&discover(down, 0), TAKEN, "second stage, owner down: no retry is needed");
}

#[test]
fn secs_of_a_retry_reach_the_next_responder_and_odd_ones_nobody() {
    let mut both = Both::new();
    for (number, (secs, of_next)) in
        [(0, OTHERS), (4, OTHERS), (10, TAKEN), (28, TAKEN), (0x0400, OTHERS), (0xffff, OTHERS)]
            .into_iter()
            .enumerate()
    {
        both.expect(&discover(machine(1, number), secs), of_next, &format!("rank 1, secs {secs}"));
        both.expect(&discover(machine(2, number), secs), OTHERS, &format!("rank 2, secs {secs}"));
    }
}

/// What is sent to this responder itself, and what is no DHCPDISCOVER or DHCPREQUEST, does not depend on the owner.
#[test]
fn requests_to_our_own_address_are_ours_whoever_owns_the_machine() {
    let mut both = Both::new();
    let mac = machine(2, 0);
    let redirect = Verdict::Redirect;
    let relayed = udp((CLIENT, 67), (OWN, 67), &message("ovmf-discover", mac, 0));
    both.expect(&relayed, redirect(Service::Dhcp), "DISCOVER through a relay");
    let to_4011 = |to| udp((CLIENT, 4011), (to, 4011), &message("ovmf-4011", mac, 0));
    both.expect(&to_4011(OWN), redirect(Service::BootServer), "4011");
    both.expect(&to_4011(Ipv4Addr::BROADCAST), Verdict::Copy(Service::BootServer), "4011, broadcast");
    let rrq = udp((CLIENT, CLIENT_PORT), (OWN, 69), b"\0\x01x\0octet\0");
    both.expect(&rrq, redirect(Service::TftpRequest), "RRQ");
    let ack = udp((CLIENT, CLIENT_PORT), (OWN, TID), &[0, 4, 0, 1]);
    both.expect(&ack, redirect(Service::TftpTransfer), "ACK");
    let to_subnet = udp((CLIENT, 68), (Ipv4Addr::new(10, 99, 0, 255), 67), &message("ovmf-discover", mac, 0));
    both.expect(&to_subnet, OTHERS, "DISCOVER to the subnet");
}

/// A reload of the configuration while the program runs.
#[test]
fn the_table_is_replaced_while_the_program_runs() {
    let mut both = Both::new();
    let (frame, mac) = (discover(machine(2, 7), 0), machine(2, 7));
    both.expect(&frame, OTHERS, "another's");
    let mut mine = ranks();
    mine.0[usize::from(bucket(mac))] = 0;
    both.kernel.programs.set_ranks(&mine).unwrap();
    assert_eq!(both.kernel.run(&frame), (TAKEN, action(TAKEN)), "it is ours now");
    both.kernel.programs.set_ranks(&Ranks([2; BUCKETS])).unwrap();
    assert_eq!(both.kernel.run(&frame).0, OTHERS);
    both.kernel.programs.configure(&Config { shared: 0, ..both.config }).unwrap();
    assert_eq!(both.kernel.run(&frame).0, TAKEN, "the segment is not shared any more");
}

/// A flood of forged machines hides that a real one has asked before. Its `secs` shows it all the same.
#[test]
fn a_flood_of_invented_machines_costs_a_real_one_no_answer() {
    let mut both = Both::new();
    both.kernel.programs.set_ranks(&Ranks([1; BUCKETS])).unwrap();
    let invented = |number: u32| {
        let [_, a, b, c] = number.to_be_bytes();
        discover([0x3c, 0xec, 0xef, a, b, c], 0)
    };
    for number in 0..2 * ASKED_MAX {
        assert_eq!(both.kernel.programs.test_run(&invented(number)).unwrap().0, action(OTHERS));
    }
    let counted: Vec<_> =
        both.kernel.programs.counters().unwrap().into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [("pass_other_responder", u64::from(2 * ASKED_MAX))]);
    let real = machine(1, 0);
    assert_eq!(both.kernel.run(&discover(real, 0)).0, OTHERS);
    sleep(RETRY);
    assert_eq!(both.kernel.run(&discover(real, 4)).0, TAKEN);
    assert_eq!(both.kernel.run(&discover(machine(1, 1), 12)).0, TAKEN);
}

/// Measures what a broadcast costs with and without a shared segment, in turn, for
/// `docs/decisions/0041-sharing-a-segment.md`.
#[test]
#[ignore = "a measurement: cargo test -p pxe-tests --test segment_verdicts --release -- --ignored --nocapture"]
fn what_sharing_costs() {
    const ROUNDS: usize = 41;
    const RUNS: u32 = 100_000;
    let mut kernel = Kernel::new(&config(), true);
    kernel.programs.set_ranks(&ranks()).unwrap();
    let discover = |rank| message("ipxe-bios-discover", machine(rank, 0), 0);
    // Nobody reads the copies here, so a copy costs as little as possible.
    for _ in 0..4000 {
        kernel.run(&broadcast_67(&discover(0)));
    }
    for (name, frame) in [
        ("DISCOVER to us", udp((CLIENT, 67), (OWN, 67), &discover(0))),
        ("DISCOVER of our machine", broadcast_67(&discover(0))),
        ("DISCOVER of another's machine", broadcast_67(&discover(2))),
    ] {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (shared, times) in (0..).zip(&mut times) {
                kernel.programs.configure(&Config { shared, ..config() }).unwrap();
                times.push(kernel.programs.test_run_time(&frame, RUNS).unwrap().as_nanos());
            }
        }
        let [alone, shared] = times.map(|mut times| {
            times.sort_unstable();
            (times[0], times[ROUNDS / 2], times[ROUNDS - 1])
        });
        println!("{name}: {alone:?} ns alone, {shared:?} ns shared (least, median, most)");
    }
}
