//! The fleet's thread. It takes messages from all other threads, keeps the [`registry`](super::registry) of
//! machines, and publishes the board after its changes are on disk.
//!
//! ```text
//! messages --> registry --changes--> publisher --batch--> store's thread --> SQLite, file of events
//!     |                                  ^                     |
//!     '--> journal (log lines)           '------ written ------'--> only then: board, updates
//! ```
//!
//! This thread never waits for the disk: the store has a thread of its own. If a batch is not written within
//! 2 s, the thread publishes the changes all the same, and [`Board::lost`] says that they are not stored.

mod clock_watch;
mod ledger;
mod others;
mod publish;
mod questions;
mod recent;
mod rows;

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc::Receiver;

#[cfg(doc)]
use super::board::Board;
use super::board::UnixMs;
pub use super::config::{About, FleetConfig, SPOOL_MAX, SharedLedger, wall_clock};
use super::handle::{BootRecords, FleetHandle, Message};
use super::journal::Journal;
use super::registry::Registry;
use super::store::{self, Answer, StoreHandle};
use clock_watch::ClockWatch;
use publish::Publisher;
use pxe_content::boot::Nonce;
use pxe_proto::mac::Mac;
use pxe_proto::time::Timestamp;
use questions::PendingAnswer;

/// Maximum number of messages that the thread handles before it publishes again.
const AT_ONCE: usize = 1024;
/// How often the registry checks its timers.
const TICK_EVERY: Duration = Duration::from_secs(1);
/// The same while none runs: an idle daemon should rarely wake. The heartbeat needs a turn so often.
const IDLE_TICK_EVERY: Duration = Duration::from_secs(5);
/// How often the registry forgets strangers that were not seen for the retention.
const EXPIRE_EVERY: Duration = Duration::from_secs(600);
/// How long the thread waits at its start for the stored machines. If the disk is slower, the thread starts
/// without them, and adds them when they arrive.
const OPENING_MAX: Duration = Duration::from_secs(2);
/// How long the thread waits at its end for the last batch.
const CLOSING_MAX: Duration = Duration::from_secs(3);

/// What the thread needs from outside: clocks, the kernel's neighbour table, and heartbeats.
pub struct FleetDeps {
    /// The workers' monotonic clock, for time-outs and the rate limit of log lines.
    pub monotonic: Box<dyn FnMut() -> Timestamp + Send>,
    /// The wall clock: [`wall_clock`], or another one in tests.
    pub wall: Box<dyn FnMut() -> UnixMs + Send>,
    /// Returns the Ethernet address of an IPv4 address, from the kernel's neighbour table.
    pub neighbour: Box<dyn Fn(Ipv4Addr) -> Option<Mac> + Send>,
    /// The heartbeat of the fleet's thread, which calls it at each turn, at least every five seconds. If the
    /// calls stop, the thread hangs.
    pub alive: Box<dyn Fn() + Send>,
    /// The heartbeat of the store's thread, which calls it at each turn, at least every five seconds. If the
    /// calls stop, the thread hangs, for example because its disk does not answer.
    pub store_alive: Box<dyn Fn() + Send>,
}

/// Starts the thread. It ends with [`Message::Stop`], or when all other handles are dropped.
///
/// # Errors
/// When the system refuses a thread or a timer.
pub fn spawn(
    config: FleetConfig,
    receiver: Receiver<Message>,
    handle: FleetHandle,
    deps: FleetDeps,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let mut deps = deps;
    let store_alive = std::mem::replace(&mut deps.store_alive, Box::new(|| ()));
    let store = store::start(&config, store_alive)?;
    let FleetHandle { board, boot_records, updates, messages } = handle;
    // The thread must not hold a sender of its own queue: the queue would never close, and the thread would
    // never end.
    drop(messages);
    let fleet = move || {
        let mut deps = deps;
        let now = (deps.wall)();
        let publisher = Publisher::new(now, board, updates, store);
        let mut registry = Registry::new(config.silence, publisher.first_step(now));
        let responder = config.ledger.as_ref().map(|ledger| ledger.responder.clone());
        registry.set_responder(responder.as_deref().unwrap_or_default());
        let started = (deps.monotonic)();
        let fleet = Fleet {
            registry,
            journal: Journal::default(),
            publisher,
            boot_records,
            questions: Vec::new(),
            retention: config.retention,
            deps,
            watch: ClockWatch::default(),
            timers_wait: responder.is_some().then_some(started),
            responder: responder.unwrap_or_default(),
        };
        runtime.block_on(fleet.run(receiver));
    };
    std::thread::Builder::new().name("pxed-fleet".into()).spawn(fleet)
}

struct Fleet {
    registry: Registry,
    journal: Journal,
    publisher: Publisher,
    boot_records: Arc<ArcSwap<BootRecords>>,
    /// Questions whose answers must wait until all changes before them have been published.
    questions: Vec<PendingAnswer>,
    retention: Duration,
    deps: FleetDeps,
    watch: ClockWatch,
    /// This responder's name in the shared ledger. Empty without one.
    responder: String,
    /// Since when the timers wait for what other responders wrote. `None` if they run.
    timers_wait: Option<Timestamp>,
}

/// Why the thread's loop has woken.
enum Woken {
    Message(Option<Message>),
    Store(Answer),
    Time,
}

impl Fleet {
    async fn run(mut self, mut receiver: Receiver<Message>) {
        self.open().await;
        let mut ticked = (self.deps.monotonic)();
        let mut expired = ticked;
        let mut tick_every = TICK_EVERY;
        loop {
            (self.deps.alive)();
            let now = (self.deps.monotonic)();
            let pause = self
                .publisher
                .pause(now, &mut self.registry, !self.questions.is_empty())
                .min(tick_every.saturating_sub(now.since(ticked)));
            let woken = tokio::select! {
                biased;
                answer = StoreHandle::answer(self.publisher.store()) => Woken::Store(answer),
                message = receiver.recv() => Woken::Message(message),
                () = tokio::time::sleep(pause) => Woken::Time,
            };
            match woken {
                Woken::Message(None | Some(Message::Stop)) => break,
                Woken::Message(Some(message)) => {
                    // It may start a timer.
                    tick_every = TICK_EVERY;
                    if !self.take(message, &mut receiver) {
                        break;
                    }
                }
                Woken::Store(answer) => {
                    // It may bring machines whose timers run.
                    tick_every = TICK_EVERY;
                    self.stored(answer);
                }
                Woken::Time => {}
            }
            let now = (self.deps.monotonic)();
            if now.since(ticked) >= tick_every {
                ticked = now;
                let wall = self.wall();
                let runs = self.do_timers_wait(now) || self.registry.tick(wall);
                tick_every = if runs { TICK_EVERY } else { IDLE_TICK_EVERY };
                if now.since(expired) >= EXPIRE_EVERY {
                    expired = now;
                    self.registry.expire(wall, self.retention);
                }
            }
            self.show(now);
        }
        self.close(&mut receiver).await;
    }

    /// Reads the wall clock. If the clock was set since the last call, shifts the registry's times by the
    /// same amount.
    fn wall(&mut self) -> UnixMs {
        let (wall, now) = ((self.deps.wall)(), (self.deps.monotonic)());
        if let Some(by) = self.watch.look(wall, now) {
            self.registry.clock_set(by);
            let seconds = by / 1000;
            tracing::info!(
                event = "clock_set",
                seconds,
                "the time of day was set: machine times are adjusted"
            );
        }
        wall
    }

    /// Waits for the stored machines, for [`OPENING_MAX`] at most.
    async fn open(&mut self) {
        if self.publisher.store().is_some() {
            let answer = tokio::time::timeout(OPENING_MAX, StoreHandle::answer(self.publisher.store())).await;
            match answer {
                Ok(answer) => self.stored(answer),
                Err(_) => {
                    let wall = self.wall();
                    self.publisher.is_slow(wall);
                }
            }
        }
        let now = (self.deps.monotonic)();
        self.publisher.refresh();
        self.show(now);
    }

    /// Handles a message, and those that wait behind it. Returns false after [`Message::Stop`].
    fn take(&mut self, message: Message, receiver: &mut Receiver<Message>) -> bool {
        self.handle(message);
        for _ in 1..AT_ONCE {
            match receiver.try_recv() {
                Ok(Message::Stop) => return false,
                Ok(message) => self.handle(message),
                Err(_) => break,
            }
        }
        true
    }

    fn handle(&mut self, message: Message) {
        let now = self.wall();
        match message {
            Message::Event(event) => {
                let neighbour = &self.deps.neighbour;
                let owner = event.peer().and_then(|peer| self.registry.owner(peer, neighbour));
                self.journal.record((self.deps.monotonic)(), &event, owner);
                self.registry.apply(now, &event, neighbour);
            }
            Message::Report(claim, report, answer) => match self.registry.reported(now, &claim, &report) {
                Ok(()) => self.questions.push(PendingAnswer::Reported(answer)),
                // Here and below, sending an answer fails if the caller no longer waits. That is no error of
                // the fleet.
                Err(unbelieved) => drop(answer.send(Err(unbelieved))),
            },
            Message::Admit(claim, answer) => drop(answer.send(self.registry.admits(&claim).map(|_| ()))),
            Message::Lines(who, lines, answer) => {
                let count = self.registry.lines(now, &who, &lines);
                self.questions.push(PendingAnswer::Lines(answer, count));
            }
            Message::Owner(peer, answer) => {
                let _ = answer.send(self.registry.owner(&peer, &self.deps.neighbour));
            }
            Message::Uploaded(mac, name, bytes) => self.registry.uploaded(now, mac, &name, bytes),
            Message::Facts(inquiry, answer) => {
                let neighbour = &self.deps.neighbour;
                drop(answer.send(self.registry.facts(now, &inquiry, neighbour, Nonce::random)));
            }
            Message::Find(who, answer) => drop(answer.send(self.registry.find(&who))),
            Message::Boots(mac, answer) => {
                let machine = self.registry.machine(mac);
                let boots = machine.map(|machine| machine.boots.iter().cloned().collect());
                drop(answer.send(boots.unwrap_or_default()));
            }
            Message::Story(mac, answer) => self.questions.push(PendingAnswer::Story(mac, answer)),
            Message::Steps(after, most, answer) => {
                self.questions.push(PendingAnswer::Steps(after, most, answer))
            }
            Message::Again(which, answer) => {
                let count = self.registry.again(now, which);
                self.questions.push(PendingAnswer::Again(answer, count));
            }
            Message::Name(mac, name, answer) => match self.registry.name(now, mac, name.as_deref()) {
                Ok(()) => self.questions.push(PendingAnswer::Named(answer)),
                Err(not_named) => drop(answer.send(Err(not_named))),
            },
            Message::Stop => {}
        }
    }

    fn stored(&mut self, answer: Answer) {
        let wall = self.wall();
        let now = (self.deps.monotonic)();
        match answer {
            Answer::News(news) => self.learn(wall, *news),
            answer => {
                self.look_at_ledger(&answer);
                self.publisher.stored(now, wall, answer, &mut self.registry);
            }
        }
    }

    /// Publishes what has changed: boot records at once, the board after it is on disk. Then answers the
    /// questions that waited.
    fn show(&mut self, now: Timestamp) {
        if let Some(boot_records) = self.registry.take_boot_records() {
            self.boot_records.store(Arc::new(boot_records));
        }
        let wall = self.wall();
        let asked = !self.questions.is_empty();
        self.publisher.flush(now, wall, &mut self.registry, asked);
        if asked && self.publisher.is_current(&mut self.registry) {
            for question in std::mem::take(&mut self.questions) {
                question.answer(&self.registry, &self.publisher);
            }
        }
    }

    /// Handles the messages that are left, and writes the last batch, for [`CLOSING_MAX`] at most.
    async fn close(mut self, receiver: &mut Receiver<Message>) {
        receiver.close();
        while let Ok(message) = receiver.try_recv() {
            self.handle(message);
        }
        let last = async {
            loop {
                let now = (self.deps.monotonic)();
                self.publisher.skip_pause();
                self.show(now);
                if self.publisher.is_idle(&mut self.registry) {
                    break;
                }
                let answer = StoreHandle::answer(self.publisher.store()).await;
                self.stored(answer);
            }
        };
        let in_time = tokio::time::timeout(CLOSING_MAX, last).await.is_ok();
        if !in_time {
            tracing::warn!(event = "fleet_not_written", "could not store the last boot history in time");
        }
        self.publisher.close(in_time);
    }
}

#[cfg(test)]
mod tests;
