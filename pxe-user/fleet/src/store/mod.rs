//! Where the fleet's story is kept: SQLite, and a file of events. A thread of its own, since a disk may hang.
//!
//! | file | noun |
//! |---|---|
//! | `database` | SQLite: opening, tables, batches |
//! | `retention` | how old rows are, and when they go |
//! | `batch` | what is written at once |
//! | `events` | one line of JSON for each step |
//!
//! Each batch is one transaction, and is answered when it is committed. With WAL and `synchronous = NORMAL` what is
//! committed survives the end of this process however it ends; the last moments before a power failure may be lost,
//! the database is whole all the same (<https://www.sqlite.org/pragma.html#pragma_synchronous>).

mod batch;
mod database;
mod events;
mod retention;

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::board::{Step, Story, UnixMs};
use super::machine::Machine;
use super::thread::{FleetConfig, wall_clock};
pub(crate) use batch::Batch;
use database::{Database, DatabaseError};
use events::Events;
use pxe_proto::mac::Mac;
pub(crate) use retention::Absence;

/// Orders that may wait: one batch, and questions.
const ORDERS_MAX: usize = 256;
/// The longest turn of the thread's loop without an order: `alive` is called at least so often.
const TURN_MAX: Duration = Duration::from_secs(5);

/// What the store is asked to do.
pub(crate) enum StoreRequest {
    /// Write this; answered by an [`Answer`].
    Write(Box<Batch>),
    /// Complete a machine's story from the database.
    Story(Mac, Box<Story>, oneshot::Sender<Option<Story>>),
    /// List the steps after one, at most so many.
    Steps(u64, usize, oneshot::Sender<Vec<Step>>),
    /// End.
    Stop,
}

/// What became of an opening or a batch. In each case but the second: why the file of events fails, if it does.
pub(crate) enum Answer {
    /// The batch is committed.
    Written { events: Option<String> },
    /// The database is open now. A batch that led to this is not written.
    Opened(Box<Opened>),
    /// Nothing is written.
    Failed { why: String, events: Option<String> },
}

/// What was found in a database.
#[derive(Default)]
pub(crate) struct Opened {
    /// The machines with their standings and latest boots.
    pub(crate) machines: Vec<Machine>,
    /// The latest steps, oldest first, and the greatest number of any.
    pub(crate) steps: Vec<Step>,
    pub(crate) last_step: u64,
    /// The time since the run before this one, if there was one.
    pub(crate) absence: Option<Absence>,
    /// What to say if a damaged database was set aside for a new one.
    pub(crate) set_aside: Option<String>,
}

/// The way to the store's thread.
pub(crate) struct StoreHandle {
    requests: SyncSender<StoreRequest>,
    answers: mpsc::UnboundedReceiver<Answer>,
    thread: JoinHandle<()>,
}

impl StoreHandle {
    /// Gives an order; whether there was room for it.
    pub(crate) fn send(&self, order: StoreRequest) -> bool {
        self.requests.try_send(order).is_ok()
    }

    /// The way to a store that never answers.
    #[cfg(test)]
    pub(crate) fn silent() -> (Self, Receiver<StoreRequest>) {
        let (requests, received) = sync_channel(ORDERS_MAX);
        let (_, answers) = mpsc::unbounded_channel();
        (Self { requests, answers, thread: std::thread::spawn(|| ()) }, received)
    }

    /// Waits for an answer; for ever if there is no store. Cancel safe.
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

    /// Has a story completed; as it is, if there is no room for another question.
    pub(crate) fn tell(&self, mac: Mac, story: Story, answer: oneshot::Sender<Option<Story>>) {
        let refused = self.requests.try_send(StoreRequest::Story(mac, Box::new(story), answer)).err();
        if let Some(StoreRequest::Story(_, story, answer)) = refused.map(order_of) {
            let _ = answer.send(Some(*story));
        }
    }

    /// Has steps listed; none, if there is no room for another question.
    pub(crate) fn list(&self, after: u64, most: usize, answer: oneshot::Sender<Vec<Step>>) {
        self.send(StoreRequest::Steps(after, most, answer));
    }

    /// Ends the thread, and waits for it if it is known not to hang.
    pub(crate) fn close(self, wait: bool) {
        if self.send(StoreRequest::Stop) && wait {
            let _ = self.thread.join();
        }
    }
}

fn order_of(error: std::sync::mpsc::TrySendError<StoreRequest>) -> StoreRequest {
    match error {
        std::sync::mpsc::TrySendError::Full(order) | std::sync::mpsc::TrySendError::Disconnected(order) => {
            order
        }
    }
}

/// Starts the store, if anything is to be kept. It opens the database and answers with what it found. `alive` is called at
/// each turn.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn start(config: &FleetConfig, alive: Box<dyn Fn() + Send>) -> io::Result<Option<StoreHandle>> {
    if config.state.is_none() && config.events.is_none() {
        return Ok(None);
    }
    let (requests, received) = sync_channel(ORDERS_MAX);
    let (answering, answers) = mpsc::unbounded_channel();
    let store = Store {
        directory: config.state.clone(),
        retention: config.retention,
        database: None,
        events: config.events.clone().map(Events::new),
        answers: answering,
    };
    let thread =
        std::thread::Builder::new().name("pxed-store".into()).spawn(move || store.run(&received, &*alive))?;
    Ok(Some(StoreHandle { requests, answers, thread }))
}

/// What the thread has.
struct Store {
    directory: Option<PathBuf>,
    retention: Duration,
    database: Option<Database>,
    events: Option<Events>,
    answers: mpsc::UnboundedSender<Answer>,
}

impl Store {
    fn run(mut self, requests: &Receiver<StoreRequest>, alive: &dyn Fn()) {
        let first = match &self.directory {
            Some(_) => self.open(wall_clock(), None),
            None => Answer::Opened(Box::default()),
        };
        // The fleet's thread has ended if nobody takes the answer; then the next order does not come.
        let _ = self.answers.send(first);
        loop {
            alive();
            let order = match requests.recv_timeout(TURN_MAX) {
                Ok(order) => order,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            match order {
                StoreRequest::Write(batch) => {
                    let answer = self.write(*batch);
                    let _ = self.answers.send(answer);
                }
                StoreRequest::Story(mac, mut story, answer) => {
                    if let Some(database) = &self.database {
                        database.complete(mac, &mut story);
                    }
                    let _ = answer.send(Some(*story));
                }
                StoreRequest::Steps(after, most, answer) => {
                    let steps = self.database.as_ref().map(|database| database.steps(after, most));
                    let _ = answer.send(steps.unwrap_or_default());
                }
                StoreRequest::Stop => break,
            }
        }
    }

    fn open(&mut self, now: UnixMs, events: Option<String>) -> Answer {
        let Some(directory) = &self.directory else { return Answer::Written { events } };
        match Database::open(directory, now, self.retention) {
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
            return Answer::Written { events };
        }
        let Some(database) = &mut self.database else { return self.open(batch.now, events) };
        match database.write(&batch, self.retention) {
            Ok(()) => Answer::Written { events },
            Err(error) => {
                // Opened anew when it is tried again: then a damaged file is set aside, too.
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

    fn set_aside(&mut self, now: UnixMs, events: Option<String>) -> Answer {
        let Some(directory) = &self.directory else { return Answer::Written { events } };
        match Database::replace(directory, now, self.retention) {
            Ok((database, opened)) => {
                self.database = Some(database);
                Answer::Opened(Box::new(opened))
            }
            Err(error) => Answer::Failed { why: error.to_string(), events },
        }
    }
}
