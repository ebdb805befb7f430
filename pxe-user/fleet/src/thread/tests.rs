//! Tests of the fleet's thread with a real disk: what was shown survives, and the board says what cannot be
//! stored.

mod clock;
mod others;
mod shared;
mod trouble;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;
use crate::board::{Board, Update};
use crate::event::{Event, OfferKind, Requester, brief};
use pxe_proto::dhcp::{Arch, Style};

/// Time since the clock was created.
#[derive(Clone, Copy)]
struct Clock(std::time::Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the test plays the driver")]
    fn start() -> Self {
        Self(std::time::Instant::now())
    }

    fn now(self) -> Timestamp {
        Timestamp::from_micros(u64::try_from(self.0.elapsed().as_micros()).unwrap())
    }
}

/// Limit of a test's wait, in hundredths of a second. It only stops a test that hangs, and is far longer than
/// any test takes.
const PATIENCE: u32 = 6000;
const ANSWER_WAIT: std::time::Duration = std::time::Duration::from_secs(60);

/// A fleet's thread that is running.
struct Running {
    handle: FleetHandle,
    thread: JoinHandle<()>,
}

impl Running {
    fn start(config: FleetConfig) -> Self {
        let clock = Clock::start();
        Self::start_by(move || clock.now(), wall_clock, config)
    }

    /// Starts a fleet with clocks of the test's own.
    fn start_by(
        monotonic: impl FnMut() -> Timestamp + Send + 'static,
        wall: impl FnMut() -> UnixMs + Send + 'static,
        config: FleetConfig,
    ) -> Self {
        let deps = FleetDeps {
            monotonic: Box::new(monotonic),
            wall: Box::new(wall),
            neighbour: Box::new(|_| None),
            alive: Box::new(|| ()),
            store_alive: Box::new(|| ()),
        };
        let (handle, receiver) = FleetHandle::new();
        let thread = spawn(config, receiver, handle.clone(), deps).unwrap();
        Self { handle, thread }
    }

    fn at(state: &Path) -> Self {
        Self::start(FleetConfig { state: Some(state.to_owned()), ..FleetConfig::default() })
    }

    fn told(&self, n: u32) {
        self.handle.messages.blocking_send(Message::Event(told(n))).unwrap();
    }

    /// Waits until the board is as `wanted`.
    #[track_caller]
    fn until(&self, wanted: impl Fn(&Board) -> bool) -> Arc<Board> {
        for _ in 0..PATIENCE {
            let board = self.handle.board();
            if wanted(&board) {
                return board;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the board stays {:?}", self.handle.board().lost);
    }

    #[track_caller]
    fn until_lost(&self, words: &str) {
        self.until(|board| board.lost.iter().any(|lost| lost.what.contains(words)));
    }

    fn knows(&self, n: u32) -> bool {
        has(&self.handle.board(), n)
    }

    fn stop(self) {
        self.handle.messages.blocking_send(Message::Stop).unwrap();
        self.thread.join().unwrap();
    }
}

fn mac(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac([2, 0, a, b, c, d])
}

fn told(n: u32) -> Event {
    let requester = Box::new(Requester::new(mac(n), Arch::X64));
    Event::Offered { requester, what: OfferKind::Boot, file: brief("x"), style: Style::Direct, ack: false }
}

fn has(board: &Board, n: u32) -> bool {
    let mac = mac(n).to_string();
    board.machines.iter().any(|machine| machine.mac == mac)
}

#[test]
fn what_was_known_is_known_again_and_private() {
    let place = tempfile::tempdir().unwrap();
    let state = place.path().join("state");
    let fleet = Running::at(&state);
    fleet.told(1);
    fleet.handle.record(Event::StyleLearnt { mac: mac(1), style: Some(Style::Binl) }).unwrap();
    let named =
        fleet.handle.ask_blocking(ANSWER_WAIT, |answer| Message::Name(mac(1), Some("one".into()), answer));
    assert_eq!(named, Ok(Ok(())));
    let board = fleet.handle.board();
    assert_eq!(
        (board.machines.iter().next().unwrap().name.as_deref(), board.lost.len()),
        (Some("one"), 0),
        "an answer comes after the board"
    );
    assert_eq!(fleet.handle.boot_records().load()[&mac(1)].style, Some(Style::Binl));
    fleet.stop();
    let mode = |name: &str| state.join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("pxed.db")), (0o700, 0o600));

    let fleet = Running::at(&state);
    fleet.until(|board| has(board, 1));
    assert_eq!(fleet.handle.boot_records().load()[&mac(1)].style, Some(Style::Binl));
    let story =
        fleet.handle.ask_blocking(ANSWER_WAIT, |answer| Message::Story(mac(1), answer)).unwrap().unwrap();
    let words: Vec<_> = story.steps.iter().map(|step| step.event.as_str()).collect();
    assert_eq!((words, story.boots.len()), (vec!["named", "learnt", "state", "told", "new"], 1));
    let steps = fleet
        .handle
        .ask_blocking(ANSWER_WAIT, |answer| Message::Steps(story.steps[1].id, 9, answer))
        .unwrap();
    assert_eq!((steps.len(), steps[0].id), (1, story.steps[0].id));
    fleet.stop();
}

#[test]
fn without_a_directory_nothing_is_lost_and_events_are_lines_of_json() {
    let place = tempfile::tempdir().unwrap();
    let events = place.path().join("events");
    let fleet = Running::start(FleetConfig { events: Some(events.clone()), ..FleetConfig::default() });
    fleet.told(1);
    fleet.until(|board| has(board, 1));
    std::fs::rename(&events, place.path().join("moved")).unwrap();
    fleet.told(2);
    fleet.until(|board| has(board, 2));
    assert_eq!(fleet.handle.board().lost, []);
    fleet.stop();
    for (file, n) in [("moved", 1), ("events", 2)] {
        let text = std::fs::read_to_string(place.path().join(file)).unwrap();
        let steps: Vec<crate::board::Step> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(steps.len() == 3 && steps.iter().all(|step| step.mac == mac(n).to_string()), "{text}");
    }
    let fleet =
        Running::start(FleetConfig { events: Some(place.path().to_owned()), ..FleetConfig::default() });
    fleet.told(1);
    fleet.until_lost("events are not written");
    fleet.until(|board| has(board, 1));
    fleet.stop();
}

/// Updates are complete: applied to an empty board, they give the board.
#[test]
fn updates_lead_to_the_board() {
    let fleet = Running::start(FleetConfig::default());
    let mut updates = fleet.handle.updates();
    for n in 0..100 {
        fleet.told(n);
    }
    fleet.handle.ask_blocking(ANSWER_WAIT, |answer| Message::Again(None, answer)).unwrap();
    let board = fleet.handle.board();
    let mut machines = std::collections::BTreeMap::new();
    let mut last = None;
    while let Ok(update) = updates.try_recv() {
        if let Update::Machine { revision, machine } = &*update {
            assert!(last.is_none_or(|last| *revision == last + 1));
            last = Some(*revision);
            machines.insert(machine.mac.clone(), machine.clone());
        }
    }
    assert_eq!((last, machines.len()), (Some(board.revision), 100));
    assert!(board.machines.iter().all(|machine| machines.get(&machine.mac) == Some(machine)));
    fleet.stop();
}

#[test]
fn a_hundred_thousand_events_are_taken_and_the_last_is_shown() {
    let place = tempfile::tempdir().unwrap();
    let fleet = Running::at(place.path());
    for n in 0..100_000 {
        fleet.handle.messages.blocking_send(Message::Event(told(n % 2000))).unwrap();
    }
    fleet.told(5000);
    fleet.until(|board| has(board, 5000) && board.machines.len() == 2001 && board.lost.is_empty());
    fleet.stop();
}

/// The environment variable with which a test starts its own program again, for another part of the test.
const PART: &str = "PXED_FLEET_TEST_STATE";

fn itself(test: &str, before: &[&str], state: &Path) -> Command {
    let exe = std::env::current_exe().unwrap();
    let mut words: Vec<_> = before.iter().map(std::ffi::OsStr::new).collect();
    words.push(exe.as_os_str());
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["--exact", test, "--nocapture"]).env(PART, state);
    command
}

/// Everything that a viewer received is in the database after SIGKILL.
#[test]
fn what_was_shown_survives_the_end_of_the_process() {
    const NAME: &str = "thread::tests::what_was_shown_survives_the_end_of_the_process";
    if let Ok(state) = std::env::var(PART) {
        return show_for_ever(Path::new(&state));
    }
    let place = tempfile::tempdir().unwrap();
    let mut child = itself(NAME, &[], place.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut shown = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // The last line may be cut. Only complete lines end with a full stop.
        if let Some(word) = line.strip_prefix("shown ").and_then(|line| line.strip_suffix('.')) {
            shown.push(word.to_owned());
            if shown.len() == 3000 {
                child.kill().unwrap();
            }
        }
    }
    child.wait().unwrap();
    let fleet = Running::at(place.path());
    let board = fleet.until(|board| !board.machines.is_empty());
    let steps =
        fleet.handle.ask_blocking(ANSWER_WAIT, |answer| Message::Steps(0, usize::MAX, answer)).unwrap();
    let ids: std::collections::HashSet<_> = steps.iter().map(|step| step.id.to_string()).collect();
    let macs: std::collections::HashSet<_> =
        board.machines.iter().map(|machine| machine.mac.clone()).collect();
    assert!(shown.len() >= 3000);
    assert!(shown.iter().all(|word| ids.contains(word) || macs.contains(word)));
    fleet.stop();
}

fn show_for_ever(state: &Path) {
    let fleet = Running::at(state);
    let mut updates = fleet.handle.updates();
    let mut out = std::io::stdout().lock();
    writeln!(out).unwrap();
    for n in 0.. {
        fleet.told(n);
        while let Ok(update) = updates.try_recv() {
            match &*update {
                Update::Machine { machine, .. } => writeln!(out, "shown {}.", machine.mac).unwrap(),
                Update::Step { step } => writeln!(out, "shown {}.", step.id).unwrap(),
                Update::Lost { lost } => panic!("{lost:?}"),
                Update::Forgotten { .. } | Update::Responders { .. } => {}
            }
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}
