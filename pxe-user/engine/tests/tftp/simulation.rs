//! Every kind of client on every kind of network: each transfer completes, or ends with a clear error, in
//! bounded time. No packet causes more packets than allowed.

use std::collections::HashSet;
use std::time::Duration;

use pxe_engine::counters::Counter;
use pxe_engine::responder::ResponderSettings;
use pxe_proto::dhcp::BootService;
use pxe_proto::tftp::negotiation::OptionLimits;
use pxe_proto::tftp::send_session::TransferOutcome;
use pxe_proto::time::Timestamp;

use crate::clients::{self, Client, Manners, State};
use crate::network::{Network, Weather};
use crate::offload::Kernel;
use crate::support::*;

/// The result of a simulation.
pub(crate) struct Story {
    pub(crate) lab: Lab,
    pub(crate) client: Client,
    pub(crate) network: Network,
    /// Time until the client had ended.
    pub(crate) took: Duration,
    pub(crate) data: u64,
    /// All packets that the server sent, with their times.
    pub(crate) sent: Vec<Sent>,
}

impl Story {
    fn outcome(&self) -> Option<TransferOutcome> {
        self.lab.outcomes().last().copied()
    }

    pub(crate) fn blocks(&self) -> u64 {
        (self.client.got.len() / self.client.blksize + 1) as u64
    }
}

pub(crate) struct Scene {
    pub(crate) manners: Manners,
    pub(crate) size: usize,
    pub(crate) weather: Weather,
    pub(crate) seed: u64,
    /// The largest window, in blocks, that the simulated kernel sends. With 0 there is no kernel offload.
    pub(crate) kernel: u32,
    /// The client stops after it has received this many packets.
    pub(crate) vanishes: Option<u64>,
    /// How many DATA packets find room until the next poll.
    pub(crate) room: u64,
}

impl Scene {
    pub(crate) fn new(manners: Manners, size: usize, weather: Weather) -> Self {
        Self { manners, size, weather, seed: 1, kernel: 0, vanishes: None, room: u64::MAX }
    }

    pub(crate) fn play(&self) -> Story {
        let bytes = content(self.size);
        let settings = ResponderSettings { limits: OptionLimits::for_mtu(1500, u16::MAX), ..settings() };
        let mut lab = Lab::with(settings, BootService::new(SERVER), &[("file", &bytes)]);
        let mut network = Network::new(self.seed, self.weather);
        let mut client = Client::new(ms(0), self.manners);
        lab.notes.room = self.room;
        lab.notes.kernel = (self.kernel > 0).then(|| Kernel::new(self.kernel));
        let mut all = Vec::new();
        let mut guard = Guard::default();
        let mut received = 0;
        let mut over: Option<Timestamp> = None;
        let mut steps = 0u64;
        loop {
            for (from, to, payload) in client.out.drain(..) {
                network.send(lab.now(), true, (from, to), &payload);
            }
            for sent in std::mem::take(&mut lab.notes.sent) {
                guard.on_sent(&sent);
                network.send(lab.now(), false, (sent.route.from, sent.route.to), &sent.payload);
                all.push(sent);
            }
            if matches!(client.state, State::Done | State::Failed(_)) && over.is_none() {
                over = Some(lab.now());
            }
            let timer = lab.responder.next_deadline();
            let Some(next) = [network.next(), timer, client.deadline].into_iter().flatten().min() else {
                break;
            };
            assert!(next >= lab.now() || self.room < u64::MAX, "a deadline in the past");
            lab.notes.now = next.max(lab.now());
            let now = lab.now();
            if timer.is_some_and(|at| at <= now) {
                lab.notes.room = self.room;
                lab.responder.poll(now, &mut lab.notes);
                if self.room < u64::MAX {
                    // Room comes back only as time passes.
                    lab.notes.now = now + Duration::from_micros(20);
                }
            }
            client.on_time(now);
            while let Some(flight) = network.arrive(now) {
                if flight.to_server {
                    guard.hear(&flight.payload, flight.from, flight.to.port());
                    let answers = lab.deliver(flight.from, flight.to, &flight.payload);
                    lab.notes.sent.extend(answers);
                } else if self.vanishes.is_none_or(|most| received < most) {
                    received += 1;
                    client.receive(now, flight.from, flight.to, &flight.payload);
                } else {
                    client.state = State::Failed("vanished".into());
                    client.deadline = None;
                }
            }
            steps += 1;
            assert!(steps < 3_000_000, "it never ends");
        }
        let end = over.unwrap_or_else(|| lab.now());
        // Section 6, line 34, and section 5, line 17: no slot stays in use. PXELINUX waits the longest.
        assert!(lab.now().since(end) <= Duration::from_secs(140), "slots are kept too long");
        lab.assert_idle();
        assert!(bytes.starts_with(&client.got), "the client has other bytes than the file");
        Story { lab, client, network, took: end.since(ms(0)), data: guard.data, sent: all }
    }
}

impl Lab {
    fn deliver(
        &mut self,
        from: std::net::SocketAddrV4,
        to: std::net::SocketAddrV4,
        payload: &[u8],
    ) -> Vec<Sent> {
        if let Some(kernel) = &mut self.notes.kernel
            && let Some(answers) = kernel.answer(self.notes.now, from, to, payload)
        {
            return answers;
        }
        let before = std::mem::take(&mut self.notes.sent);
        let new = self.say_as(from, to, payload);
        self.notes.sent = before;
        new
    }
}

/// Checks all packets that the server sends.
#[derive(Default)]
struct Guard {
    begun: HashSet<(std::net::SocketAddrV4, u16)>,
    data: u64,
}

impl Guard {
    fn hear(&mut self, payload: &[u8], from: std::net::SocketAddrV4, port: u16) {
        if payload == ack(0) {
            self.begun.insert((from, port));
        }
    }

    /// Section 6, line 25: no OACK after ACK 0 or DATA.
    fn on_sent(&mut self, sent: &Sent) {
        let session = (sent.route.to, sent.route.from.port());
        match sent.said() {
            Said::Data(..) => {
                self.data += 1;
                self.begun.insert(session);
            }
            Said::Oack(_) => assert!(!self.begun.contains(&session), "an OACK after ACK 0"),
            Said::Ack(_) | Said::Error(_) => {}
        }
    }
}

/// Number of seeds for each kind of client and network.
const SEEDS: u64 = 6;

/// Without the kernel, with a kernel that sends block by block, and with one that sends windows: see
/// [`Scene::kernel`].
const KERNELS: [u32; 3] = [0, 1, 64];

pub(crate) const CALM: Weather =
    Weather { loss: 0, loses_answers_only: false, duplicates: 0, delay: 200, jitter: 0, lose_data: None };

pub(crate) fn sizes(manners: &Manners) -> Vec<usize> {
    let blksize: usize = manners
        .options
        .iter()
        .find(|(name, _)| *name == "blksize")
        .map_or(512, |(_, value)| value.parse().unwrap());
    vec![0, 1, blksize - 1, blksize, blksize + 1, 4 * blksize, 100 * blksize - 1]
}

#[test]
fn on_a_calm_network_nothing_is_sent_twice() {
    for manners in clients::ALL {
        for size in sizes(&manners) {
            for kernel in KERNELS {
                let story = Scene { kernel, ..Scene::new(manners, size, CALM) }.play();
                let case = format!("{}, {size} bytes, kernel {kernel}", manners.name);
                assert_eq!(story.client.state, State::Done, "{case}");
                assert_eq!(story.client.got.len(), size, "{case}");
                assert_eq!(story.outcome(), Some(TransferOutcome::Complete), "{case}");
                assert_eq!(story.data, story.blocks(), "{case}");
                let timeouts = story.lab.count(Counter::Timeouts);
                // While PXELINUX pauses, the OACK is retransmitted.
                assert_eq!(timeouts, if manners.ponders > 0 { 6 } else { 0 }, "{case}");
                if let Some(tsize) = story.client.tsize {
                    assert_eq!(tsize, size as u64, "{case}");
                }
            }
        }
    }
}

/// Section 6, line 32: 100 blocks in windows of 4 need about 26 ACKs (with ACK 0), also if one block is lost.
#[test]
fn line_32_one_lost_block_costs_one_window() {
    let size = 100 * 1468 - 1;
    let calm = Scene::new(clients::EDK2, size, CALM).play();
    assert_eq!((calm.client.acks, calm.data), (26, 100));
    for lost in 1..=100 {
        for (delay, kernel) in [(100, 0), (20_000, 0), (60_000, 0), (100, 64), (60_000, 64)] {
            let weather = Weather { lose_data: Some(lost), delay, ..CALM };
            let story = Scene { kernel, ..Scene::new(clients::EDK2, size, weather) }.play();
            let case = format!("block {lost}, {delay} us, kernel {kernel}");
            assert_eq!(story.client.state, State::Done, "{case}");
            assert!(story.data <= 100 + 4, "{case}: {} DATA", story.data);
            assert!(story.client.acks <= 26 + 5, "{case}: {} ACKs", story.client.acks);
        }
    }
}

/// RFC 1123, section 4.2.3.1: in lock-step, each DATA packet is caused by a new ACK or a time-out, whichever
/// packets are duplicated.
#[test]
fn line_24_no_sorcerers_apprentice() {
    for manners in clients::ALL {
        for duplicates in [100, 1000] {
            for jitter in [0, 500, 3000] {
                for (seed, kernel) in (0..3).zip(KERNELS) {
                    let weather = Weather { duplicates, jitter, ..CALM };
                    let scene = Scene { seed, kernel, ..Scene::new(manners, 100 * 1400, weather) };
                    // An OACK that the network duplicates makes GRUB and U-Boot start again. No server can
                    // prevent that.
                    if manners.oack_restarts {
                        continue;
                    }
                    let story = scene.play();
                    let case = format!("{}, {weather:?}, seed {seed}", manners.name);
                    assert_eq!(story.client.state, State::Done, "{case}");
                    if story.client.window == 1 {
                        // After the end, the client sends nothing.
                        assert!(story.data <= story.blocks(), "{case}: {} DATA", story.data);
                    } else {
                        // A reordered packet looks like a loss to the client. Each costs one window (RFC
                        // 7440, section 4).
                        let window = if jitter > 0 { story.client.window } else { 1 };
                        let most = story.blocks() * (1 + window);
                        assert!(story.data <= most, "{case}: {} DATA of {}", story.data, story.blocks());
                    }
                }
            }
        }
    }
}

#[test]
fn on_a_bad_network_all_ends_well_or_clearly() {
    let mut failed = 0;
    for manners in clients::ALL {
        for (loss, duplicates, jitter) in
            [(10, 0, 0), (50, 20, 300), (100, 0, 2000), (100, 50, 5000), (300, 50, 100)]
        {
            for seed in 0..SEEDS * KERNELS.len() as u64 {
                let kernel = KERNELS[(seed / SEEDS) as usize];
                let sizes = sizes(&manners);
                let size = sizes[(seed as usize + 1) % sizes.len()];
                let duplicates = if manners.oack_restarts { 0 } else { duplicates };
                let weather = Weather { loss, duplicates, jitter, ..CALM };
                let story = Scene { seed, kernel, ..Scene::new(manners, size, weather) }.play();
                let case =
                    format!("{}, {size} bytes, {weather:?}, seed {seed}, kernel {kernel}", manners.name);
                let timeouts = story.lab.count(Counter::Timeouts);
                match &story.client.state {
                    State::Done => {
                        assert_eq!(story.client.got.len(), size, "{case}");
                        // There may be other outcomes: that of EDK2's probe, if its ERROR was lost.
                        let outcomes = story.lab.outcomes();
                        let good = [TransferOutcome::Complete, TransferOutcome::CompleteUnconfirmed];
                        // If its only ACK is lost, the server has received nothing but the request, which
                        // may be forged.
                        let unheard = manners.options.is_empty() && story.blocks() == 1;
                        assert!(
                            unheard || outcomes.iter().any(|end| good.contains(end)),
                            "{case}: {outcomes:?}"
                        );
                    }
                    // A client may give up before a retransmission gets through.
                    State::Failed(why) if loss >= 300 && why == "gave up" => failed += 1,
                    other => panic!("{case}: {other:?}"),
                }
                assert!(story.took < Duration::from_secs(1000), "{case}: {:?}", story.took);
                // Each time-out and each loss costs one window at most, and so does each reordered or
                // duplicated packet.
                let trouble = timeouts + story.network.lost + story.network.duplicated;
                let window = story.client.window;
                let most = story.blocks()
                    + window * trouble
                    + if window > 1 && jitter > 0 { story.blocks() * window } else { 0 };
                assert!(story.data <= most, "{case}: {} DATA, not {most}", story.data);
            }
        }
    }
    assert!(failed <= SEEDS * 2 * KERNELS.len() as u64, "{failed} transfers failed at 30 % loss");
}

/// Section 6, line 29: more than 65535 blocks, in lock-step and in windows.
#[test]
fn line_29_block_numbers_wrap() {
    for (options, loss) in [
        (&[("blksize", "8")][..], 0),
        (&[("blksize", "8"), ("windowsize", "16")], 1),
        (&[("blksize", "8"), ("windowsize", "64")], 0),
        (&[("blksize", "8"), ("windowsize", "65535")], 0),
    ] {
        let manners =
            Manners { options: Box::leak(Box::new(options.to_vec())), probes: false, ..clients::EDK2 };
        let weather = Weather { loss, ..CALM };
        for kernel in KERNELS {
            let story = Scene { kernel, ..Scene::new(manners, 8 * 65_600, weather) }.play();
            assert_eq!(story.client.state, State::Done, "{options:?}, kernel {kernel}");
            assert_eq!(story.client.got.len(), 8 * 65_600, "{options:?}, kernel {kernel}");
        }
    }
}

/// Section 5, line 17: wherever a client stops, its slot becomes free again. [`Scene::play`] checks within
/// which time.
#[test]
fn line_17_a_client_that_vanishes_is_forgotten() {
    for manners in clients::ALL {
        for (vanishes, kernel) in [(0, 0), (1, 64), (2, 1), (3, 64), (10, 1), (10, 64), (99, 64), (99, 0)] {
            let scene = Scene { vanishes: Some(vanishes), kernel, ..Scene::new(manners, 98 * 1400, CALM) };
            let story = scene.play();
            let outcomes = story.lab.outcomes();
            assert!(!outcomes.is_empty(), "{}, after {vanishes}", manners.name);
        }
    }
}

/// If there is never room for more than a few packets at a time, the whole file still arrives.
#[test]
fn without_room_to_send_it_only_takes_longer() {
    for options in
        [&[("windowsize", "64")][..], &[("windowsize", "1000"), ("blksize", "64")], &[("windowsize", "3")]]
    {
        for room in [1, 2, 7] {
            let manners =
                Manners { options: Box::leak(Box::new(options.to_vec())), probes: false, ..clients::EDK2 };
            let story = Scene { room, ..Scene::new(manners, 100_000, CALM) }.play();
            assert_eq!(
                (story.client.state.clone(), story.client.got.len()),
                (State::Done, 100_000),
                "{options:?}"
            );
            assert_eq!(story.data, story.blocks(), "{options:?}, room {room}");
        }
    }
}
