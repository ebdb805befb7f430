//! Clients in lock-step that retransmit an ACK before our time-out of one second: how much time that saves,
//! and that it does not multiply packets.

use std::time::Duration;

use pxe_clients::manners::Waits;

use crate::clients::{self, Manners, State, Unexpected};
use crate::network::Weather;
use crate::simulation::{CALM, Scene};

/// Clients in lock-step whose own time-out is shorter than ours, with that time-out in milliseconds.
const IMPATIENT: [(Manners, u64); 2] =
    [(clients::IPXE, 250), (Manners { ponders: 0, ..clients::PXELINUX }, 110)];

/// A lost block costs the client's time-out, not our second. Half of all lost packets are ACKs, which cost
/// the client's time-out in any case.
#[test]
fn a_block_lost_in_lock_step_costs_the_clients_time_out() {
    for (manners, time_out) in IMPATIENT {
        for kernel in [0, 64] {
            let (mut losses, mut took) = (0, Duration::ZERO);
            for seed in 0..10 {
                let weather = Weather { loss: 50, ..CALM };
                let story = Scene { seed, kernel, ..Scene::new(manners, 300 * 1400, weather) }.play();
                assert_eq!(story.client.state, State::Done);
                losses += story.network.lost;
                took += story.took;
            }
            // By our own timer alone, a loss would cost 600 ms for iPXE and 528 ms for PXELINUX, instead of
            // 334 and 194.
            let each = took / u32::try_from(losses).unwrap();
            let most = Duration::from_millis(time_out + 100);
            assert!(each <= most, "{}, kernel {kernel}: {each:?} for each loss", manners.name);
        }
    }
}

/// If the round trip is longer than the clients' time-out, the clients repeat each ACK although no block was
/// lost. After the server has measured a round trip, it retransmits nothing. Without a measurement, it never
/// retransmits two blocks in a row.
#[test]
fn line_24_on_a_long_way_haste_breeds_nothing() {
    for (manners, _) in IMPATIENT {
        for delay in [20_000, 60_000, 150_000, 240_000] {
            for (kernel, ponders) in [(0, 0), (64, 0), (0, 5000), (64, 5000)] {
                for duplicates in [0, 300] {
                    let manners = Manners { ponders, ..manners };
                    let weather = Weather { delay, duplicates, jitter: delay / 2, ..CALM };
                    let story = Scene { kernel, ..Scene::new(manners, 100 * 1400, weather) }.play();
                    let case = format!("{}, {weather:?}, kernel {kernel}, ponders {ponders}", manners.name);
                    assert_eq!(story.client.state, State::Done, "{case}");
                    let most = story.blocks() * if ponders == 0 { 2 } else { 3 } / 2;
                    assert!(story.data <= most, "{case}: {} DATA of {}", story.data, story.blocks());
                }
            }
        }
    }
}

/// Every real firmware waits longer than eleven seconds. A server that backs off, or stops after a few
/// retransmissions, would lose some of these transfers.
#[test]
fn who_waits_for_eleven_seconds_ends_well_when_a_third_of_the_answers_is_lost() {
    let manners = Manners {
        name: "a plain client",
        options: &[("tsize", "0"), ("blksize", "1408")],
        waits: Waits::Seconds,
        unexpected: Unexpected::AckOld,
        ..clients::PLAIN
    };
    let weather = Weather { loss: 300, loses_answers_only: true, ..CALM };
    for kernel in [0, 64] {
        for seed in 0..2000 {
            let story = Scene { seed, kernel, ..Scene::new(manners, 20_000, weather) }.play();
            let told = format!("kernel {kernel}, seed {seed}, after {:?}", story.took);
            assert_eq!(story.client.state, State::Done, "{told}");
        }
    }
}
