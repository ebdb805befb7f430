//! Both engines under one interface, and rows to write.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pxe_kit::postgres::Postgres as Server;
use pxe_ledger::postgres::{Postgres, PostgresError, Target, Url, Writer};
use pxe_ledger::rows::{
    BootRow, CountedRow, EpochRow, ErrorRow, History, Known, Loaded, MachineRow, NumberedRows, Rows, StepRow,
};
use pxe_ledger::sqlite::{Database, DatabaseError};
use pxe_proto::time::Timestamp;
use tempfile::TempDir;

pub(crate) const DAY_MS: u64 = 86_400_000;
pub(crate) const RETENTION: Duration = Duration::from_secs(30 * 86400);
pub(crate) const WALL: u64 = 1_800_000_000_000;
pub(crate) const SPOOL: &str = "spool";

/// What the tests of both engines need.
pub(crate) trait Engine: Sized {
    /// An empty ledger.
    fn empty() -> Self;
    fn write(&mut self, batch: &NumberedRows);
    /// What a start finds.
    fn reopen(&mut self) -> Loaded;
    fn history(&mut self, mac: &str) -> History;
    fn steps(&mut self, after: u64, most: usize) -> Vec<String>;
    /// Lets days pass, with the deletions that are then due.
    fn pass(&mut self, days: u64);
    /// Makes the schema one of a later program. Returns the error of the next start.
    fn with_a_newer_schema(self) -> String;
}

pub(crate) struct Sqlite {
    place: TempDir,
    database: Option<Database>,
    monotonic: Timestamp,
}

impl Engine for Sqlite {
    fn empty() -> Self {
        let place = tempfile::tempdir().unwrap();
        let (database, loaded) = open(place.path()).unwrap();
        assert_eq!(loaded, Loaded::default());
        Self { place, database: Some(database), monotonic: Timestamp::default() }
    }

    fn write(&mut self, batch: &NumberedRows) {
        let rows = Rows { monotonic: self.monotonic, ..batch.rows.clone() };
        self.database.as_mut().unwrap().write(&rows, RETENTION).unwrap();
    }

    fn reopen(&mut self) -> Loaded {
        self.database = None;
        let (database, loaded) = open(self.place.path()).unwrap();
        self.database = Some(database);
        loaded
    }

    fn history(&mut self, mac: &str) -> History {
        self.database.as_mut().unwrap().history(mac).unwrap()
    }

    fn steps(&mut self, after: u64, most: usize) -> Vec<String> {
        self.database.as_mut().unwrap().steps(after, most).unwrap()
    }

    fn pass(&mut self, days: u64) {
        self.monotonic = self.monotonic + Duration::from_millis(days * DAY_MS);
        self.write(&batch(0, Rows::default()));
    }

    fn with_a_newer_schema(mut self) -> String {
        self.database = None;
        let file = rusqlite::Connection::open(self.place.path().join("pxed.db")).unwrap();
        file.pragma_update(None, "user_version", 99).unwrap();
        let Err(error) = open(self.place.path()) else { panic!("it opens") };
        error.to_string()
    }
}

/// Opens a directory. Another test may just start a program, which holds a copy of the directory's lock until it runs.
fn open(place: &Path) -> Result<(Database, Loaded), DatabaseError> {
    for _ in 0..500 {
        match Database::open(place, WALL, RETENTION) {
            Err(DatabaseError::Taken(_)) => std::thread::sleep(Duration::from_millis(10)),
            other => return other,
        }
    }
    Database::open(place, WALL, RETENTION)
}

/// The server of all tests that do not stop it. Its watcher ends it with this process.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start().unwrap())
}

/// A new database in a server.
pub(crate) fn database(server: &Server) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    server.sql("postgres", &format!("CREATE DATABASE {name}")).unwrap();
    name
}

pub(crate) fn target(url: &str) -> Target {
    Target::open(&Url::parse(url).unwrap(), None, None).unwrap()
}

pub(crate) fn target_with(url: &str, password: &Path, ca: Option<&Path>) -> Target {
    Target::open(&Url::parse(url).unwrap(), Some(password), ca).unwrap()
}

pub(crate) fn writer(responder: &str, instance: &str) -> Writer {
    Writer { responder: responder.into(), instance: instance.into(), host: "host-of-the-test".into() }
}

pub(crate) fn connect(target: &Target, responder: &str) -> Result<(Postgres, Known), PostgresError> {
    Postgres::connect(target, writer(responder, "one"))
}

pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) ledger: Postgres,
}

impl Engine for Shared {
    fn empty() -> Self {
        let name = database(server());
        let (mut ledger, known) = connect(&target(&server().url(&name)), "rack-1").unwrap();
        assert_eq!((known, ledger.load(9).unwrap()), (Known::default(), Loaded::default()));
        Self { name, ledger }
    }

    fn write(&mut self, batch: &NumberedRows) {
        self.ledger.write(SPOOL, std::slice::from_ref(batch)).unwrap();
    }

    fn reopen(&mut self) -> Loaded {
        self.ledger = connect(&target(&server().url(&self.name)), "rack-1").unwrap().0;
        self.ledger.load(4096).unwrap()
    }

    fn history(&mut self, mac: &str) -> History {
        self.ledger.history(mac).unwrap()
    }

    fn steps(&mut self, after: u64, most: usize) -> Vec<String> {
        self.ledger.steps(after, most).unwrap()
    }

    fn pass(&mut self, days: u64) {
        for _ in 0..days {
            server().sql(&self.name, "UPDATE pxed.clock SET wall = wall - interval '1 day'").unwrap();
            assert!(self.ledger.tidy(RETENTION).unwrap());
        }
    }

    fn with_a_newer_schema(self) -> String {
        server().sql(&self.name, "UPDATE pxed.version SET version = 99").unwrap();
        connect(&target(&server().url(&self.name)), "rack-1").unwrap_err().to_string()
    }
}

pub(crate) fn batch(sequence: u64, rows: Rows) -> NumberedRows {
    NumberedRows { sequence, version: sequence, rows: Rows { now: WALL, ..rows } }
}

pub(crate) fn machine(mac: &str, n: u32) -> MachineRow {
    MachineRow { mac: mac.into(), json: n.to_string() }
}

pub(crate) fn boot(mac: &str, at: u64, n: u32) -> BootRow {
    BootRow { mac: mac.into(), at, json: n.to_string() }
}

pub(crate) fn step(mac: &str, id: u64) -> StepRow {
    StepRow { id, at: id, mac: mac.into(), json: id.to_string() }
}

pub(crate) fn error(mac: &str, address: &str) -> ErrorRow {
    ErrorRow { mac: mac.into(), test: 1, address: address.into(), at: 2, json: "{}".into() }
}

pub(crate) fn counted(mac: &str, boot: &str, epoch: u64) -> CountedRow {
    CountedRow { mac: mac.into(), rule: "lab".into(), boot: boot.into(), epoch, count: 1 }
}

pub(crate) fn epoch(mac: &str, epoch: u64) -> EpochRow {
    EpochRow { mac: mac.into(), epoch }
}
