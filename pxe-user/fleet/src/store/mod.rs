//! The store: a thread that keeps the fleet's history in SQLite and in a file of events. It is a thread of
//! its own, because a disk may block. The fleet's thread sends [`StoreRequest`]s and receives [`Answer`]s
//! through a [`StoreHandle`].
//!
//! | file | contents |
//! |---|---|
//! | `forward` | sends batches to a database that several responders share; a thread of its own |
//! | `reading` | what that thread reads there of other responders |
//! | `batch` | what one transaction writes, and its rows |
//! | `events` | the file with one line of JSON for each step |
//!
//! Each batch is one transaction of the ledger (`pxe_ledger::sqlite`), and is answered after the commit.

mod batch;
mod events;
mod forward;
mod reading;

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::absence::Absence;
use super::board::{Step, Story, UnixMs};
use super::config::{FleetConfig, wall_clock};
use super::machine::Machine;
pub(crate) use batch::Batch;
use events::Events;
pub(crate) use forward::LedgerState;
use forward::{Forwarding, Report, StoryRequest};
use pxe_ledger::rows::{History, Loaded};
use pxe_ledger::sqlite::{Database, DatabaseError};
use pxe_proto::mac::Mac;
pub(crate) use reading::News;

/// Capacity of the request queue: one batch, and questions.
const REQUESTS_MAX: usize = 256;
/// Longest wait for a request. `alive` is called at least so often.
const TURN_MAX: Duration = Duration::from_secs(5);

/// A request to the store's thread.
pub(crate) enum StoreRequest {
    /// Write a batch. The thread sends an [`Answer`].
    Write(Box<Batch>),
    /// Replace a history's boots and steps with those in the database.
    Story(Mac, Box<Story>, oneshot::Sender<Option<Story>>),
    /// Return the steps after a number, at most as many as the second value.
    Steps(u64, usize, oneshot::Sender<Vec<Step>>),
    /// What happens to the batches for the shared ledger.
    Forwarded(Report),
    /// End the thread.
    Stop,
}

/// The result of opening the database or of writing a batch. `events` says why the file of events cannot be
/// written, if it cannot.
pub(crate) enum Answer {
    /// The batch is committed. `version` is that of its machines in the shared ledger.
    Written { events: Option<String>, version: u64 },
    /// The database is open now. If a batch was the reason to open it, that batch is not written.
    Opened(Box<Opened>),
    /// The state of the shared ledger. No batch is the reason.
    Ledger(LedgerState),
    /// What other responders wrote to the shared ledger. No batch is the reason.
    News(Box<News>),
    /// Nothing is written to the database.
    Failed { why: String, events: Option<String> },
}

/// What the store found in a database.
#[derive(Default)]
pub(crate) struct Opened {
    /// The machines, with their boot records and latest boots.
    pub(crate) machines: Vec<Machine>,
    /// Machines that other responders wrote to the shared ledger, as of the last run.
    pub(crate) others: Vec<Machine>,
    /// The latest steps, oldest first, and the greatest number of any step.
    pub(crate) steps: Vec<Step>,
    pub(crate) last_step: u64,
    /// The time since the run before this one. `None` if there was none.
    pub(crate) absence: Option<Absence>,
    /// A sentence for people, if a damaged database was moved away and replaced by a new one.
    pub(crate) set_aside: Option<String>,
}

/// How the fleet's thread uses the store.
pub(crate) struct StoreHandle {
    requests: SyncSender<StoreRequest>,
    answers: mpsc::UnboundedReceiver<Answer>,
    thread: JoinHandle<()>,
}

impl StoreHandle {
    /// Sends a request. Returns false if the queue is full or the thread has ended.
    pub(crate) fn send(&self, order: StoreRequest) -> bool {
        self.requests.try_send(order).is_ok()
    }

    /// A store that never answers.
    #[cfg(test)]
    pub(crate) fn silent() -> (Self, Receiver<StoreRequest>) {
        let (requests, received) = sync_channel(REQUESTS_MAX);
        let (_, answers) = mpsc::unbounded_channel();
        (Self { requests, answers, thread: std::thread::spawn(|| ()) }, received)
    }

    /// Waits for an answer, for ever if there is no store. Cancel safe: if the future is dropped, no answer
    /// is lost.
    pub(crate) async fn answer(link: Option<&mut Self>) -> Answer {
        let answer = match link {
            Some(link) => link.answers.recv().await,
            None => None,
        };
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    /// Has a history completed from the database. If the queue is full, the caller gets it as it is.
    pub(crate) fn tell(&self, mac: Mac, story: Story, answer: oneshot::Sender<Option<Story>>) {
        let refused = self.requests.try_send(StoreRequest::Story(mac, Box::new(story), answer)).err();
        if let Some(StoreRequest::Story(_, story, answer)) = refused.map(request_of) {
            let _ = answer.send(Some(*story));
        }
    }

    /// Has steps listed. If the queue is full, `answer` is dropped, and the caller gets no list.
    pub(crate) fn list(&self, after: u64, most: usize, answer: oneshot::Sender<Vec<Step>>) {
        self.send(StoreRequest::Steps(after, most, answer));
    }

    /// Ends the thread. Waits for it if `wait` is set, which is right only if the thread does not hang.
    pub(crate) fn close(self, wait: bool) {
        if self.send(StoreRequest::Stop) && wait {
            let _ = self.thread.join();
        }
    }
}

fn request_of(error: std::sync::mpsc::TrySendError<StoreRequest>) -> StoreRequest {
    match error {
        std::sync::mpsc::TrySendError::Full(order) | std::sync::mpsc::TrySendError::Disconnected(order) => {
            order
        }
    }
}

/// Starts the store, if the configuration names a database or a file of events. The thread first opens the
/// database and answers with what it found. It calls `alive` at each turn.
///
/// # Errors
/// When the system refuses a thread.
pub(crate) fn start(config: &FleetConfig, alive: Box<dyn Fn() + Send>) -> io::Result<Option<StoreHandle>> {
    if config.state.is_none() && config.events.is_none() {
        return Ok(None);
    }
    let (requests, received) = sync_channel(REQUESTS_MAX);
    let (answering, answers) = mpsc::unbounded_channel();
    let reports = requests.clone();
    let forwarding = config.ledger.clone().map(|ledger| {
        Forwarding::start(ledger, config.retention, move |report| {
            reports.send(StoreRequest::Forwarded(report)).is_ok()
        })
    });
    let store = Store {
        directory: config.state.clone(),
        retention: config.retention,
        database: None,
        forwarding: forwarding.transpose()?,
        shown: LedgerState::default(),
        events: config.events.clone().map(Events::new),
        answers: answering,
    };
    let thread =
        std::thread::Builder::new().name("pxed-store".into()).spawn(move || store.run(&received, &*alive))?;
    Ok(Some(StoreHandle { requests, answers, thread }))
}

/// What the store's thread owns.
struct Store {
    directory: Option<PathBuf>,
    retention: Duration,
    database: Option<Database>,
    forwarding: Option<Forwarding>,
    /// What the fleet's thread knows of the shared ledger.
    shown: LedgerState,
    events: Option<Events>,
    answers: mpsc::UnboundedSender<Answer>,
}

impl Store {
    fn run(mut self, requests: &Receiver<StoreRequest>, alive: &dyn Fn()) {
        let first = match &self.directory {
            Some(_) => self.open(wall_clock(), None),
            None => Answer::Opened(Box::default()),
        };
        // Sending fails only if the fleet's thread has ended. Then no request comes either, and the loop
        // ends.
        let _ = self.answers.send(first);
        loop {
            alive();
            let order = match requests.recv_timeout(TURN_MAX) {
                Ok(order) => order,
                Err(RecvTimeoutError::Timeout) => {
                    self.forward();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            match order {
                StoreRequest::Write(batch) => {
                    let answer = self.write(*batch);
                    let _ = self.answers.send(answer);
                    self.forward();
                }
                StoreRequest::Story(mac, mut story, answer) => match &self.forwarding {
                    // This host has not seen what happened.
                    Some(forwarding) if story.machine.responder.is_some() => {
                        forwarding.tell(StoryRequest { mac, story, answer });
                    }
                    _ => {
                        self.complete(mac, &mut story);
                        let _ = answer.send(Some(*story));
                    }
                },
                StoreRequest::Steps(after, most, answer) => {
                    let steps = self.database.as_ref().map(|database| database.steps(after, most));
                    let _ = answer.send(batch::read_all(&steps.and_then(Result::ok).unwrap_or_default()));
                }
                StoreRequest::Forwarded(Report::News(news)) => self.pass_on(news),
                StoreRequest::Forwarded(report) => {
                    let done = self
                        .forwarding
                        .as_mut()
                        .map(|ledger| ledger.reported(report, self.database.as_mut()));
                    warn(done);
                    self.forward();
                }
                StoreRequest::Stop => break,
            }
        }
        if let Some(forwarding) = self.forwarding {
            forwarding.close();
        }
    }

    /// Sends what waits for the shared ledger, and tells the fleet's thread what has changed.
    fn forward(&mut self) {
        let Some(forwarding) = &mut self.forwarding else { return };
        warn(self.database.as_mut().map(|database| forwarding.send_next(database)));
        let state = forwarding.state(self.database.as_ref());
        if is_news(&self.shown, &state) {
            self.shown = state.clone();
            let _ = self.answers.send(Answer::Ledger(state));
        }
    }

    /// Stores what other responders wrote, and passes it on.
    fn pass_on(&mut self, mut news: Box<News>) {
        let Some(database) = &mut self.database else {
            // The fleet's thread must know this host's own machines first.
            self.forwarding.iter_mut().for_each(Forwarding::read_again);
            return;
        };
        let rows = std::mem::take(&mut news.rows);
        warn(Some(database.learn(&rows)));
        warn(news.listed.as_ref().map(|listed| database.keep_others(listed)));
        let _ = self.answers.send(Answer::News(news));
    }

    /// Replaces the boots and steps of a history with those in the database. If they cannot be read, leaves
    /// the history as it is, and logs a warning.
    fn complete(&self, mac: Mac, story: &mut Story) {
        match self.database.as_ref().map(|database| database.history(&mac.to_string())) {
            Some(Ok(History { boots, steps })) => {
                story.boots = batch::read_all(&boots);
                story.steps = batch::read_all(&steps);
            }
            Some(Err(error)) => tracing::warn!(event = "story_unread", %mac, "{error}"),
            None => {}
        }
    }

    fn open(&mut self, now: UnixMs, events: Option<String>) -> Answer {
        let Some(directory) = &self.directory else { return Answer::Written { events, version: 0 } };
        let opened = Database::open(directory, now.0, self.retention);
        match opened.and_then(|(database, loaded)| self.spooled(database, loaded)) {
            Ok((database, opened)) => {
                self.database = Some(database);
                Answer::Opened(Box::new(opened))
            }
            Err(error) => Answer::Failed { why: error.to_string(), events },
        }
    }

    fn write(&mut self, batch: Batch) -> Answer {
        let events = self.events.as_mut().and_then(|events| events.append(&batch.steps).err());
        if self.directory.is_none() {
            return Answer::Written { events, version: 0 };
        }
        let Some(database) = &mut self.database else { return self.open(batch.now, events) };
        let responder = self.forwarding.as_ref().map_or("", Forwarding::responder);
        match database.write(&batch.rows(responder), self.retention) {
            Ok(()) => {
                if let Some(forwarding) = &mut self.forwarding {
                    forwarding.tidy(batch.monotonic);
                }
                Answer::Written { events, version: database.version() }
            }
            Err(error) => {
                // The next attempt opens the database again. If it finds damage then, it replaces the
                // database.
                if matches!(error, DatabaseError::Damaged { .. } | DatabaseError::Unwritable { .. }) {
                    self.database = None;
                }
                if matches!(error, DatabaseError::Damaged { .. }) {
                    return self.set_aside(batch.now, events);
                }
                Answer::Failed { why: error.to_string(), events }
            }
        }
    }

    /// Gives a database that was opened a spool, if there is a shared ledger. Returns it with what it contained.
    fn spooled(
        &mut self,
        mut database: Database,
        loaded: Loaded,
    ) -> Result<(Database, Opened), DatabaseError> {
        self.forwarding.as_mut().map_or(Ok(()), |forwarding| forwarding.opened(&mut database))?;
        let opened = batch::opened(loaded, &database.versions()?, &database.others()?);
        Ok((database, opened))
    }

    fn set_aside(&mut self, now: UnixMs, events: Option<String>) -> Answer {
        let Some(directory) = &self.directory else { return Answer::Written { events, version: 0 } };
        let replaced = Database::replace(directory, now.0, self.retention);
        match replaced.and_then(|(database, loaded)| self.spooled(database, loaded)) {
            Ok((database, opened)) => {
                self.database = Some(database);
                Answer::Opened(Box::new(opened))
            }
            Err(error) => Answer::Failed { why: error.to_string(), events },
        }
    }
}

/// Whether the board should change. While the database is away, what waits grows with each batch: a tenth more is news.
fn is_news(shown: &LedgerState, state: &LedgerState) -> bool {
    let (before, now) = (shown.waiting, state.waiting);
    let is_other = (&shown.away, shown.is_behind) != (&state.away, state.is_behind);
    let grown = before.batches.abs_diff(now.batches) * 10 > before.batches;
    is_other || (before.dropped, before.refused) != (now.dropped, now.refused) || state.is_behind && grown
}

/// Logs an error of the spool. The batches stay where they are, and are sent again.
fn warn(done: Option<Result<(), DatabaseError>>) {
    if let Some(Err(error)) = done {
        tracing::warn!(event = "spool_fails", "cannot read what waits for the shared ledger: {error}");
    }
}
