//! Clients that upload files on every kind of network, in virtual time. Each file arrives byte for byte, or
//! the upload ends with a reason. No packet causes more packets than allowed.

use std::net::SocketAddrV4;
use std::time::Duration;

use pxe_engine::counters::Counter;
use pxe_engine::responder::{ResponderSettings, UploadLimiter};
use pxe_proto::dhcp::BootService;
use pxe_proto::tftp::negotiation::OptionLimits;
use pxe_proto::time::Timestamp;

use crate::network::{Network, Weather};
use crate::simulation::CALM;
use crate::support::*;

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Asking,
    Sending,
    Done,
    Failed(String),
}

/// A client that uploads a file.
struct Putter {
    state: State,
    bytes: Vec<u8>,
    blksize: usize,
    window: u64,
    options: Vec<(&'static str, String)>,
    server: SocketAddrV4,
    /// The first block that was not acknowledged.
    base: u64,
    tries: u32,
    deadline: Option<Timestamp>,
    out: Vec<Vec<u8>>,
    /// Number of DATA packets that the client has sent.
    data: u64,
    /// The client answers duplicate ACKs, which is the Sorcerer's Apprentice bug (RFC 1123, section 4.2.3.1).
    apprentice: bool,
}

impl Putter {
    const TIMEOUT: Duration = Duration::from_millis(1000);
    const TRIES: u32 = 12;

    fn new(scene: &Scene) -> Self {
        let mut options = vec![("blksize", scene.blksize.to_string()), ("tsize", scene.size.to_string())];
        if scene.window > 1 {
            options.push(("windowsize", scene.window.to_string()));
        }
        if scene.plain {
            options.clear();
        }
        let mut putter = Self {
            state: State::Asking,
            bytes: content(scene.size),
            blksize: if scene.plain { 512 } else { scene.blksize },
            window: if scene.plain { 1 } else { scene.window.min(16) },
            options,
            server: SocketAddrV4::new(SERVER, 69),
            base: 1,
            tries: 0,
            deadline: None,
            out: Vec::new(),
            data: 0,
            apprentice: scene.apprentice,
        };
        putter.send(ms(0));
        putter
    }

    fn last(&self) -> u64 {
        (self.bytes.len() / self.blksize) as u64 + 1
    }

    /// Sends the request, or the window.
    fn send(&mut self, now: Timestamp) {
        self.deadline = Some(now + Self::TIMEOUT);
        if self.state == State::Asking {
            let options: Vec<_> = self.options.iter().map(|(name, value)| (*name, value.as_str())).collect();
            return self.out.push(wrq("file", &options));
        }
        for block in self.base..(self.base + self.window).min(self.last() + 1) {
            let start = (block - 1) as usize * self.blksize;
            let end = (start + self.blksize).min(self.bytes.len());
            self.out.push(data(block as u16, &self.bytes[start..end]));
            self.data += 1;
        }
    }

    fn receive(&mut self, now: Timestamp, from: SocketAddrV4, payload: &[u8]) {
        if !matches!(self.state, State::Asking | State::Sending) {
            return;
        }
        let number = u16::from_be_bytes([payload[2], payload[3]]);
        match payload[1] {
            4 if self.state == State::Asking && number == 0 => self.begin(now, from),
            6 if self.state == State::Asking => self.begin(now, from),
            4 if self.state == State::Sending => self.on_ack(now, number),
            5 => self.end(State::Failed(format!("ERROR {number}"))),
            _ => {}
        }
    }

    fn begin(&mut self, now: Timestamp, from: SocketAddrV4) {
        (self.state, self.server, self.tries) = (State::Sending, from, 0);
        self.send(now);
    }

    fn on_ack(&mut self, now: Timestamp, number: u16) {
        let acked = self.base - 1 + u64::from(number.wrapping_sub((self.base - 1) as u16));
        if acked >= self.base + self.window {
            return;
        }
        if acked >= self.base {
            (self.base, self.tries) = (acked + 1, 0);
        } else if !self.apprentice {
            return;
        }
        if acked == self.last() {
            return self.end(State::Done);
        }
        self.send(now);
    }

    fn end(&mut self, state: State) {
        (self.state, self.deadline) = (state, None);
    }

    fn on_time(&mut self, now: Timestamp) {
        if self.deadline.is_none_or(|at| at > now) {
            return;
        }
        self.tries += 1;
        if self.tries > Self::TRIES { self.end(State::Failed("gave up".into())) } else { self.send(now) }
    }
}

#[derive(Clone, Copy, Debug)]
struct Scene {
    size: usize,
    blksize: usize,
    window: u64,
    /// The client requests no options.
    plain: bool,
    apprentice: bool,
    weather: Weather,
    seed: u64,
    /// How many blocks find room until the next poll, or the next millisecond.
    room: u64,
    /// Milliseconds until each reply of the inbox.
    disk: u64,
    /// If true, each block takes that time, too, and the next ACK waits for it.
    behind: bool,
}

const SCENE: Scene = Scene {
    size: 0,
    blksize: 512,
    window: 1,
    plain: false,
    apprentice: false,
    weather: CALM,
    seed: 1,
    room: u64::MAX,
    disk: 0,
    behind: false,
};

struct Story {
    lab: Lab,
    client: Putter,
    network: Network,
    /// Number of ACKs that the server sent.
    acks: u64,
}

impl Scene {
    fn play(&self) -> Story {
        let limits = OptionLimits::for_mtu(1500, u16::MAX);
        let settings = ResponderSettings { uploads: Some(UploadLimiter::new(2)), limits, ..settings() };
        let mut lab = Lab::with(settings, BootService::new(SERVER), &[]);
        // The replies of the inbox come when the simulated disk is ready.
        lab.loader_runs = false;
        lab.notes.inbox.behind = self.behind;
        let mut network = Network::new(self.seed, self.weather);
        let mut client = Putter::new(self);
        let (mut acks, mut steps) = (0, 0u64);
        let mut disk: Option<Timestamp> = None;
        loop {
            for payload in client.out.drain(..) {
                network.send(lab.now(), true, (CLIENT, client.server), &payload);
            }
            for sent in std::mem::take(&mut lab.notes.sent) {
                acks += u64::from(matches!(sent.said(), Said::Ack(_)));
                network.send(lab.now(), false, (sent.route.from, sent.route.to), &sent.payload);
            }
            if disk.is_none() && lab.notes.inbox.has_answers() {
                disk = Some(lab.now() + Duration::from_millis(self.disk));
            }
            let timer = lab.responder.next_deadline();
            let Some(next) = [network.next(), timer, client.deadline, disk].into_iter().flatten().min()
            else {
                break;
            };
            let before = lab.now();
            lab.notes.now = next.max(before);
            let now = lab.now();
            if timer.is_some_and(|at| at <= now) || now.since(before) >= Duration::from_millis(1) {
                lab.notes.inbox.room = self.room;
            }
            if timer.is_some_and(|at| at <= now) {
                lab.responder.poll(now, &mut lab.notes);
            }
            if disk.is_some_and(|at| at <= now) {
                disk = None;
                lab.file();
            }
            client.on_time(now);
            while let Some(flight) = network.arrive(now) {
                if flight.to_server {
                    let before = std::mem::take(&mut lab.notes.sent);
                    let new = lab.say_as(flight.from, flight.to, &flight.payload);
                    lab.notes.sent = before;
                    lab.notes.sent.extend(new);
                } else {
                    client.receive(now, flight.from, &flight.payload);
                }
            }
            steps += 1;
            assert!(steps < 3_000_000, "it never ends: {self:?}");
        }
        lab.assert_idle();
        assert_eq!(lab.notes.inbox.under_way(), 0, "{self:?}");
        let story = Story { lab, client, network, acks };
        story.assert_nothing_is_damaged(self);
        story
    }
}

impl Story {
    /// A file in the inbox is complete, and a file that the client believes to be stored is there.
    fn assert_nothing_is_damaged(&self, scene: &Scene) {
        let kept = self.lab.notes.inbox.files.get("file");
        assert!(kept.is_none_or(|bytes| *bytes == self.client.bytes), "other bytes: {scene:?}");
        match self.client.state {
            State::Done => assert!(kept.is_some(), "it is not there: {scene:?}"),
            State::Failed(_) => {}
            _ => panic!("{:?}: {scene:?}", self.client.state),
        }
    }
}

fn sizes(blksize: usize) -> [usize; 7] {
    [0, 1, blksize - 1, blksize, blksize + 1, 4 * blksize, 100 * blksize - 1]
}

fn scenes() -> impl Iterator<Item = Scene> {
    [(8, 1), (512, 1), (1468, 1), (1468, 4), (512, 16), (8, 64)].into_iter().flat_map(|(blksize, window)| {
        sizes(blksize).into_iter().map(move |size| Scene { size, blksize, window, ..SCENE })
    })
}

#[test]
fn on_a_calm_network_nothing_is_sent_twice() {
    for scene in scenes().chain([0, 511, 512, 5000].map(|size| Scene { size, plain: true, ..SCENE })) {
        let story = scene.play();
        assert_eq!(story.client.state, State::Done, "{scene:?}");
        assert_eq!(story.client.data, story.client.last(), "{scene:?}");
        let first = u64::from(scene.plain);
        assert_eq!(story.acks, first + story.client.last().div_ceil(story.client.window), "{scene:?}");
        assert_eq!(story.lab.count(Counter::Timeouts), 0, "{scene:?}");
    }
}

/// RFC 7440, section 4: whichever block is lost, the loss costs one window.
#[test]
fn one_lost_block_costs_one_window() {
    for lost in 1..=100 {
        for delay in [100, 20_000] {
            let weather = Weather { lose_data: Some(lost), delay, ..CALM };
            let scene = Scene { size: 100 * 512 - 1, window: 4, weather, ..SCENE };
            let story = scene.play();
            assert_eq!(story.client.state, State::Done, "{scene:?}");
            assert!(story.client.data <= 100 + 4, "{scene:?}: {} DATA", story.client.data);
            assert!(story.acks <= 25 + 4, "{scene:?}: {} ACKs", story.acks);
        }
    }
}

/// RFC 1123, section 4.2.3.1: duplicates do not multiply, not even with a client that answers each duplicate
/// ACK.
#[test]
fn no_sorcerers_apprentice() {
    for duplicates in [100, 1000] {
        for jitter in [0, 500, 3000] {
            for (seed, apprentice) in [(0, false), (1, false), (0, true), (1, true)] {
                let weather = Weather { duplicates, jitter, ..CALM };
                let scene = Scene { size: 100 * 512, weather, seed, apprentice, ..SCENE };
                let story = scene.play();
                assert_eq!(story.client.state, State::Done, "{scene:?}");
                let most = story.client.last() * if apprentice { 2 } else { 1 };
                assert!(story.client.data <= most, "{scene:?}: {} DATA", story.client.data);
                assert!(story.acks <= story.client.last(), "{scene:?}: {} ACKs", story.acks);
            }
        }
    }
}

#[test]
fn on_a_bad_network_all_ends_well_or_clearly() {
    let mut failed = 0;
    for (loss, duplicates, jitter) in
        [(10, 0, 0), (50, 20, 300), (100, 0, 2000), (100, 50, 5000), (300, 50, 100)]
    {
        for scene in scenes() {
            for seed in 0..3 {
                let weather = Weather { loss, duplicates, jitter, ..CALM };
                let scene = Scene { weather, seed, disk: seed * 700, behind: seed == 1, ..scene };
                let story = scene.play();
                match &story.client.state {
                    State::Done => {}
                    State::Failed(why) if loss >= 300 && why == "gave up" => failed += 1,
                    other => panic!("{other:?}: {scene:?}"),
                }
                // Each loss, duplicate and time-out costs one window at most, and so does each reordered
                // block.
                let window = story.client.window;
                let trouble =
                    story.lab.count(Counter::Timeouts) + story.network.lost + story.network.duplicated;
                let overtaken = if window > 1 && jitter > 0 { story.client.last() * window } else { 0 };
                // A disk that is slower than the client's time-out costs one window more.
                let most = story.client.last() + window * (trouble + 1) + overtaken;
                assert!(story.client.data <= most, "{scene:?}: {} DATA, not {most}", story.client.data);
            }
        }
    }
    assert!(failed <= 6, "{failed} uploads failed at 30 % loss");
}

/// Block numbers wrap from 65535 to 0.
#[test]
fn more_than_65535_blocks_arrive() {
    for (window, loss) in [(1, 0), (16, 0), (16, 1)] {
        let weather = Weather { loss, ..CALM };
        let scene = Scene { size: 8 * 65_600 + 3, blksize: 8, window, weather, ..SCENE };
        assert_eq!(scene.play().client.state, State::Done, "{scene:?}");
    }
}

/// With a slow disk and few buffers, an upload only takes longer.
#[test]
fn without_room_it_only_takes_longer() {
    for window in [1, 4, 16] {
        for room in [1, 2, 7] {
            let scene = Scene { size: 20_000, window, room, disk: 300, ..SCENE };
            assert_eq!(scene.play().client.state, State::Done, "{scene:?}");
        }
        // If ACKs are delayed for the disk, no block is sent twice.
        let scene = Scene { size: 20_000, window, disk: 300, behind: true, ..SCENE };
        let story = scene.play();
        assert_eq!((story.client.state, story.client.data), (State::Done, 40), "{scene:?}");
    }
}
