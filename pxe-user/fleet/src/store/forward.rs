//! [`Forwarding`]: how batches reach the database that several responders share (`[ledger]`).
//!
//! ```text
//! store's thread: SQLite with rows and spool --jobs--> ledger's thread: PostgreSQL
//!                                            <-reports-
//! ```
//! The store's thread never waits for the database: it writes each batch to this host's disk, rows and spool at once, and
//! answers the fleet. The ledger's thread sends what the spool has, oldest first, and reports. It also reads what other responders
//! wrote (`reading`). Batches leave the spool after the database has committed them. One job is on its way at a time, and belongs to one connection (its session): what a thread
//! reports about a connection that has ended in between cannot be taken for news.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::batch;
use super::reading::{News, Reading};
use crate::board::Story;
use crate::config::SharedLedger;
use pxe_ledger::postgres::{Postgres, PostgresError, Woken, Writer};
use pxe_ledger::rows::{History, Known, NumberedRows, Status};
use pxe_ledger::sqlite::{Database, DatabaseError, Waiting};
use pxe_proto::mac::Mac;
use pxe_proto::time::Timestamp;

/// Jobs that wait: one of each kind, and questions.
const JOBS_MAX: usize = 16;
/// Pause between two attempts to connect.
const RETRY_EVERY: Duration = Duration::from_secs(2);
/// About the most bytes of batches in one transaction.
const JOB_BYTES: u64 = 1 << 20;
/// How often a responder deletes old rows, if no other does.
const TIDY_EVERY: Duration = Duration::from_secs(60);
/// How long the store's thread waits at its end for the ledger's thread, which gives its name back meanwhile. A successor may
/// wait for the end, so the time is short.
const CLOSING_MAX: Duration = Duration::from_millis(300);

/// What the shared ledger is doing, for the board.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LedgerState {
    /// Why the database takes nothing. `None` if it does.
    pub(crate) away: Option<String>,
    /// The database was away, and not everything that waited has arrived.
    pub(crate) is_behind: bool,
    pub(crate) waiting: Waiting,
}

/// What the ledger's thread tells the store's thread.
pub(crate) enum Report {
    /// A connection is open.
    Connected { session: u64, known: Known },
    /// The batches of a job are committed.
    Written { session: u64 },
    /// The database can never take this batch of the job.
    Refused { session: u64, sequence: u64, why: String },
    /// There is no connection.
    Away { why: String },
    /// Other responders have written.
    News(Box<News>),
}

enum Job {
    Write {
        session: u64,
        spool: String,
        batches: Vec<NumberedRows>,
    },
    Tidy,
    /// Complete the history of a machine that another responder saw last.
    Story(StoryRequest),
    /// Read everything again that other responders wrote: the fleet's thread could not take it.
    ReadAgain,
}

/// A question for a machine's history, with what this host has of it.
pub(super) struct StoryRequest {
    pub(super) mac: Mac,
    pub(super) story: Box<Story>,
    pub(super) answer: oneshot::Sender<Option<Story>>,
}

impl StoryRequest {
    /// Answers. Sending fails only if the caller no longer waits.
    fn answer(self) {
        let _ = self.answer.send(Some(*self.story));
    }

    /// Completes the history from the shared ledger, as far as it can be read, and answers.
    fn answer_with(mut self, history: Option<&History>) {
        if let Some(History { boots, steps }) = history {
            self.story.boots = batch::read_all(boots);
            self.story.steps = batch::read_all(steps);
        }
        self.answer();
    }
}

/// The store's side: what is on its way, and what the board should say.
pub(super) struct Forwarding {
    config: SharedLedger,
    jobs: mpsc::Sender<Job>,
    ended: std::sync::mpsc::Receiver<()>,
    /// How many batches wait, for the other responders.
    waiting: Arc<AtomicU64>,
    must_read_again: bool,
    /// The present connection. `None` while there is none.
    session: Option<u64>,
    is_sending: bool,
    /// What the database had when it was last heard of.
    known: Known,
    tidied: Option<Timestamp>,
    state: LedgerState,
}

impl Forwarding {
    /// Starts the ledger's thread. It calls `report`, which returns false if nobody takes reports any more.
    pub(super) fn start(
        config: SharedLedger,
        retention: Duration,
        report: impl Fn(Report) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let instance = pxe_ledger::random_name()?;
        let (jobs, received) = mpsc::channel(JOBS_MAX);
        let (ending, ended) = channel();
        let waiting = Arc::<AtomicU64>::default();
        let worker = Worker {
            config: config.clone(),
            instance,
            retention,
            runtime: tokio::runtime::Builder::new_current_thread().enable_time().build()?,
            jobs: received,
            report,
            session: 0,
            reading: Reading::new(),
            waiting: Arc::clone(&waiting),
        };
        std::thread::Builder::new().name("pxed-ledger".into()).spawn(move || {
            worker.run();
            // Nobody may wait for it any more.
            let _ = ending.send(());
        })?;
        Ok(Self {
            config,
            jobs,
            ended,
            waiting,
            must_read_again: false,
            session: None,
            is_sending: false,
            known: Known::default(),
            tidied: None,
            state: LedgerState::default(),
        })
    }

    /// The name under which this responder writes.
    pub(super) fn responder(&self) -> &str {
        &self.config.responder
    }

    /// What the board should say.
    pub(super) fn state(&self, database: Option<&Database>) -> LedgerState {
        let waiting = database.map(Database::waiting).unwrap_or_default();
        LedgerState { waiting, ..self.state.clone() }
    }

    /// Prepares a database that was opened. It may be a new one, so its spool is compared with what the shared ledger had.
    pub(super) fn opened(&mut self, database: &mut Database) -> Result<(), DatabaseError> {
        let name = pxe_ledger::random_name().unwrap_or_else(|_| self.config.responder.clone());
        database.open_spool(self.config.spool_max, &name)?;
        if self.session.is_some() {
            database.adopt(&self.known)?;
            // A new database lacks the machines of others.
            self.must_read_again = true;
        }
        Ok(())
    }

    /// Answers with a history that other responders have seen. Without a connection, it is as this host knows it.
    pub(super) fn tell(&self, request: StoryRequest) {
        let request = match self.session {
            Some(_) => self.jobs.try_send(Job::Story(request)).err(),
            None => return request.answer(),
        };
        if let Some(TrySendError::Full(Job::Story(request)) | TrySendError::Closed(Job::Story(request))) =
            request
        {
            request.answer();
        }
    }

    /// Has everything read again that other responders wrote.
    pub(super) fn read_again(&mut self) {
        self.must_read_again = true;
    }

    /// Handles a report. A batch that cannot be read from the disk, or removed from it, is sent again later.
    pub(super) fn reported(
        &mut self,
        report: Report,
        database: Option<&mut Database>,
    ) -> Result<(), DatabaseError> {
        let is_stale = |session| self.session != Some(session);
        match report {
            Report::Connected { session, known } => {
                self.session = Some(session);
                self.is_sending = false;
                self.state.away = None;
                self.known = known;
                let Some(database) = database else { return Ok(()) };
                self.state.is_behind &= database.waiting().batches > 0;
                database.adopt(&self.known)
            }
            Report::Written { session } if is_stale(session) => Ok(()),
            Report::Written { .. } => {
                self.is_sending = false;
                let Some(database) = database else { return Ok(()) };
                if let Some(sequence) = database.confirm()? {
                    self.known = Known {
                        spool: database.spool_name().to_owned(),
                        sequence: sequence.max(self.known.sequence),
                        ..self.known
                    };
                }
                self.state.is_behind &= database.waiting().batches > 0;
                Ok(())
            }
            // The store's thread passes them on.
            Report::News(_) => Ok(()),
            Report::Refused { session, .. } if is_stale(session) => Ok(()),
            Report::Refused { sequence, why, .. } => {
                tracing::error!(
                    event = "ledger_refuses",
                    sequence,
                    "a batch is not in the shared ledger: {why}"
                );
                database.map_or(Ok(()), |database| database.drop_batch(sequence))
            }
            Report::Away { why } => {
                self.session = None;
                self.is_sending = false;
                self.state.is_behind = true;
                self.state.away = Some(why);
                if let Some(database) = database {
                    database.put_back();
                }
                Ok(())
            }
        }
    }

    /// Sends the next batches, if there is a connection and nothing is on its way.
    pub(super) fn send_next(&mut self, database: &mut Database) -> Result<(), DatabaseError> {
        self.waiting.store(database.waiting().batches, Ordering::Relaxed);
        if self.must_read_again && self.session.is_some() {
            self.must_read_again = self.jobs.try_send(Job::ReadAgain).is_err();
        }
        let Some(session) = self.session.filter(|_| !self.is_sending && database.waiting().batches > 0)
        else {
            return Ok(());
        };
        let batches = database.take(JOB_BYTES)?;
        if batches.is_empty() {
            return Ok(());
        }
        let job = Job::Write { session, spool: database.spool_name().to_owned(), batches };
        self.is_sending = self.jobs.try_send(job).is_ok();
        if !self.is_sending {
            database.put_back();
        }
        Ok(())
    }

    /// Has old rows deleted from time to time.
    pub(super) fn tidy(&mut self, now: Timestamp) {
        let is_due = self.tidied.is_none_or(|tidied| now.since(tidied) >= TIDY_EVERY);
        if self.session.is_some() && is_due && self.jobs.try_send(Job::Tidy).is_ok() {
            self.tidied = Some(now);
        }
    }

    /// Ends the ledger's thread. If the database hangs, the thread ends on its own a little later, or with the process.
    pub(super) fn close(self) {
        let Self { jobs, ended, .. } = self;
        drop(jobs);
        // Both a message and the end of the thread mean that it has ended. A time-out means that it hangs.
        let _ = ended.recv_timeout(CLOSING_MAX);
    }
}

/// The ledger's thread: the only one that waits for the database.
struct Worker<R> {
    config: SharedLedger,
    instance: String,
    retention: Duration,
    /// For the pauses without a connection.
    runtime: Runtime,
    jobs: mpsc::Receiver<Job>,
    report: R,
    session: u64,
    reading: Reading,
    waiting: Arc<AtomicU64>,
}

/// Why the thread stops using a connection.
enum End {
    /// The store's thread has ended.
    Closed,
    /// The connection failed, or there can be none: why, with the remedy.
    Failed(String),
}

impl<R: Fn(Report) -> bool> Worker<R> {
    fn run(mut self) {
        loop {
            let why = match self.serve() {
                End::Closed => return,
                End::Failed(why) => why,
            };
            if !(self.report)(Report::Away { why }) || self.is_closed_after(RETRY_EVERY) {
                return;
            }
        }
    }

    /// Connects, and does jobs until the connection fails.
    fn serve(&mut self) -> End {
        let target = match &self.config.target {
            Ok(target) => target,
            // Only a restart can help.
            Err(error) => return End::Failed(error.to_string()),
        };
        let SharedLedger { responder, host, .. } = self.config.clone();
        let writer = Writer { responder, instance: self.instance.clone(), host };
        let (mut ledger, known) = match Postgres::connect(target, writer) {
            Ok(connected) => connected,
            Err(error) => return End::Failed(error.to_string()),
        };
        self.session += 1;
        if !(self.report)(Report::Connected { session: self.session, known }) {
            return End::Closed;
        }
        // The others see this responder, and it sees them, without waiting for the first renewal.
        if let Err(error) = self.renew(&mut ledger) {
            return End::Failed(error.to_string());
        }
        loop {
            let done = match ledger.wait(self.jobs.recv()) {
                Woken::By(Some(job)) => self.work(&mut ledger, job),
                Woken::By(None) => {
                    // If it fails, the lease ends by itself.
                    let _ = ledger.release();
                    return End::Closed;
                }
                Woken::Noticed => self.look(&mut ledger),
                Woken::LeaseDue => self.renew(&mut ledger),
            };
            if let Err(error) = done {
                return End::Failed(error.to_string());
            }
        }
    }

    fn work(&mut self, ledger: &mut Postgres, job: Job) -> Result<(), PostgresError> {
        match job {
            Job::Write { session, spool, batches } if session == self.session => {
                self.write(ledger, &spool, &batches)
            }
            // For a connection that has ended. The store's thread sends the batches again.
            Job::Write { .. } => Ok(()),
            Job::Tidy => ledger.tidy(self.retention).map(drop),
            Job::Story(request) => {
                let history = ledger.history(&request.mac.to_string());
                request.answer_with(history.as_ref().ok());
                history.map(drop)
            }
            Job::ReadAgain => {
                self.reading = Reading::new();
                self.look(ledger)
            }
        }
    }

    /// Renews the lease, and looks at what is new: a notice may have been lost.
    fn renew(&mut self, ledger: &mut Postgres) -> Result<(), PostgresError> {
        let about = self.config.about.load();
        ledger.renew(&Status {
            pxed: env!("CARGO_PKG_VERSION").into(),
            segment: about.segment.clone(),
            rules: about.rules.clone(),
            waiting: self.waiting.load(Ordering::Relaxed),
        })?;
        self.reading.tick();
        self.look(ledger)
    }

    fn look(&mut self, ledger: &mut Postgres) -> Result<(), PostgresError> {
        let report = &self.report;
        // If nobody takes reports any more, the jobs end, too.
        self.reading.look(ledger, |news| {
            report(Report::News(Box::new(news)));
        })
    }

    /// Writes the batches of a job. If the database rejects a row, writes them one by one, so that only its batch is lost.
    fn write(
        &self,
        ledger: &mut Postgres,
        spool: &str,
        batches: &[NumberedRows],
    ) -> Result<(), PostgresError> {
        let session = self.session;
        match ledger.write(spool, batches) {
            Err(PostgresError::Row(_)) => {
                for batch in batches {
                    match ledger.write(spool, std::slice::from_ref(batch)) {
                        Err(PostgresError::Row(why)) => {
                            (self.report)(Report::Refused { session, sequence: batch.sequence, why });
                        }
                        other => other?,
                    }
                }
            }
            other => other?,
        }
        (self.report)(Report::Written { session });
        Ok(())
    }

    /// Waits. Returns true if the store's thread has ended.
    fn is_closed_after(&mut self, pause: Duration) -> bool {
        let Self { runtime, jobs, .. } = self;
        runtime.block_on(async {
            // Jobs are for a connection that has ended. There are a few at most.
            let end = async {
                while let Some(job) = jobs.recv().await {
                    if let Job::Story(request) = job {
                        request.answer();
                    }
                }
            };
            tokio::time::timeout(pause, end).await.is_ok()
        })
    }
}
