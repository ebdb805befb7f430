//! Wrong settings, a server that is away or hangs, and several responders in one database.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use pxe_kit::postgres::{PASSWORD, Postgres as Server, USER};
use pxe_ledger::postgres::{
    CONNECTING_MAX, LEASE_EVERY, OPERATION_MAX, Postgres, Target, TargetError, Url, probe,
};
use pxe_ledger::rows::{CountedRow, Rows, Status};

use crate::support::{
    Engine as _, RETENTION, SPOOL, Shared, batch, boot, connect, counted, database, epoch, machine, server,
    step, target, target_with, writer,
};

#[expect(clippy::disallowed_methods, reason = "the test measures time limits")]
fn now() -> Instant {
    Instant::now()
}

#[track_caller]
fn refused(target: &Target, words: &str) {
    let begin = now();
    let error = connect(target, "rack-1").unwrap_err().to_string();
    assert!(error.contains(words) && !error.contains(PASSWORD), "{error}");
    assert!(begin.elapsed() < CONNECTING_MAX + Duration::from_secs(2), "{:?}", begin.elapsed());
}

fn over_tcp(server: &Server, rest: &str) -> String {
    format!("postgres://{USER}@127.0.0.1:{}/{rest}", server.port())
}

#[test]
fn each_mistake_is_named_with_its_remedy() {
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        fs::write(place.path().join(name), text).unwrap();
        place.path().join(name)
    };
    let right = file("right", &format!("{PASSWORD}\n"));
    let wrong = file("wrong", "wrong");
    let plain = over_tcp(server(), "postgres?sslmode=disable");
    refused(&target_with(&plain, &wrong, None), "check the user in the URL, the password file");
    refused(&target(&plain), "none is given");
    refused(&target_with(&over_tcp(server(), "none?sslmode=disable"), &right, None), "createdb");
    refused(&target_with(&over_tcp(server(), "postgres?sslmode=require"), &right, None), "no TLS");
    refused(&target("postgres://u@127.0.0.1:1/d?sslmode=disable"), "check that PostgreSQL runs");
    let url = |text: &str| Url::parse(text).unwrap();
    let missing = Target::open(&url(&plain), Some(Path::new("/nonexistent")), None).unwrap_err();
    assert!(matches!(missing, TargetError::Password(_)), "{missing}");
    let empty = Target::open(&url(&plain), Some(&file("empty", "\n")), None).unwrap_err();
    assert!(matches!(empty, TargetError::Password(_)), "{empty}");
    let unknown = Target::open(&url("postgres://u@no-such-host.invalid/d"), None, None).unwrap_err();
    assert!(unknown.to_string().contains("start pxed again"), "{unknown}");
    let text = format!("{:?}", target_with(&plain, &right, None));
    assert!(!text.contains(PASSWORD), "{text}");
}

#[test]
fn a_user_without_rights_and_a_read_only_database_are_named() {
    let name = database(server());
    server().sql("postgres", "CREATE ROLE guest LOGIN").unwrap();
    let url = server().url(&name).replace("//postgres@", "//guest@");
    refused(&target(&url), "make the user of the URL the owner");
    server()
        .sql("postgres", &format!("ALTER DATABASE {name} SET default_transaction_read_only = on"))
        .unwrap();
    refused(&target(&server().url(&name)), "is read-only: promote a standby");
}

#[test]
fn a_database_that_cannot_hold_all_texts_is_named() {
    let sql = "CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0";
    server().sql("postgres", sql).unwrap();
    refused(&target(&server().url("ascii")), "has the encoding SQL_ASCII");
}

/// A certificate that names 127.0.0.1, and its authority.
struct Certificates {
    authority: String,
    certificate: String,
    key: String,
}

impl Certificates {
    fn make() -> Self {
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let authority = rcgen::CertifiedIssuer::self_signed(authority, authority_key).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        Self { authority: authority.pem(), certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

#[test]
fn a_certificate_is_verified_unless_the_url_says_otherwise() {
    let (certificates, other) = (Certificates::make(), Certificates::make());
    let server = Server::start_with("ssl = on", |data| {
        fs::write(data.join("server.crt"), &certificates.certificate)?;
        Ok(fs::write(data.join("server.key"), &certificates.key)?)
    })
    .unwrap();
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    fs::write(path("password"), PASSWORD).unwrap();
    fs::write(path("right"), &certificates.authority).unwrap();
    fs::write(path("wrong"), &other.authority).unwrap();
    fs::write(path("none"), "").unwrap();
    let over =
        |rest: &str, ca: &str| target_with(&over_tcp(&server, rest), &path("password"), Some(&path(ca)));
    connect(&over("postgres", "right"), "rack-1").unwrap();
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND application_name = 'pxed'";
    let (ledger, _) = connect(&over("postgres", "right"), "rack-1").unwrap();
    assert_ne!(server.sql("postgres", encrypted).unwrap(), "0");
    drop(ledger);
    refused(&over("postgres", "wrong"), "name the authority of its certificate");
    connect(&over("postgres?sslmode=require", "wrong"), "rack-1").unwrap();
    // The certificate names the address, and not this name of it.
    let by_name = over_tcp(&server, "postgres").replace("127.0.0.1", "localhost");
    refused(&target_with(&by_name, &path("password"), Some(&path("right"))), "the host in the URL");
    let url = Url::parse(&over_tcp(&server, "postgres")).unwrap();
    let error = Target::open(&url, None, Some(&path("none"))).unwrap_err().to_string();
    assert!(error.contains("contains no certificate"), "{error}");
}

#[test]
fn several_servers_are_tried_in_order_until_one_takes_writes() {
    let name = database(server());
    let socket = server().folder().display().to_string().replace('/', "%2F");
    let url = format!("postgres://{USER}@%2Fnonexistent:1,{socket}:{}/{name}", server().port());
    connect(&target(&url), "rack-1").unwrap();
}

#[test]
fn a_name_in_use_is_refused_until_its_lease_ends() {
    let name = database(server());
    let target = target(&server().url(&name));
    let (mut first, _) = Postgres::connect(&target, writer("rack-1", "first")).unwrap();
    let second = || Postgres::connect(&target, writer("rack-1", "second"));
    let error = second().unwrap_err().to_string();
    assert!(error.contains("`rack-1` is in use") && error.contains("host-of-the-test"), "{error}");
    Postgres::connect(&target, writer("rack-2", "second")).unwrap();
    server().sql(&name, "UPDATE pxed.responders SET leased = now() - interval '1 hour'").unwrap();
    let (mut later, _) = second().unwrap();
    // The process that has lost its name writes nothing any more.
    let error = first.write(SPOOL, &[batch(1, Rows::default())]).unwrap_err().to_string();
    assert!(error.contains("in use"), "{error}");
    assert!(first.renew(&Status::default()).is_err());
    later.release().unwrap();
    Postgres::connect(&target, writer("rack-1", "third")).unwrap();
    assert!(LEASE_EVERY * 3 <= Duration::from_secs(9));
}

#[test]
fn a_frozen_server_holds_a_caller_for_seconds_only() {
    let server = Server::start().unwrap();
    let target = target(&server.url("postgres"));
    let (mut ledger, _) = connect(&target, "rack-1").unwrap();
    server.freeze().unwrap();
    let begin = now();
    let error = ledger.write(SPOOL, &[batch(1, Rows::default())]).unwrap_err().to_string();
    assert!(error.contains("does not answer within 6 s"), "{error}");
    assert!(begin.elapsed() < OPERATION_MAX + Duration::from_secs(2));
    refused(&target, "does not answer within 10 s");
    server.thaw().unwrap();
    let mut again = connect(&target, "rack-1");
    for _ in 0..50 {
        if again.is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        again = connect(&target, "rack-1");
    }
    again.unwrap().0.write(SPOOL, &[batch(1, Rows::default())]).unwrap();
}

#[test]
fn a_killed_server_is_an_error_and_what_was_committed_is_there_again() {
    let server = Server::start().unwrap();
    let target = target(&server.url("postgres"));
    let (mut ledger, _) = connect(&target, "rack-1").unwrap();
    ledger.write(SPOOL, &[batch(7, Rows { steps: vec![step("a", 5)], ..Rows::default() })]).unwrap();
    server.kill().unwrap();
    assert!(ledger.write(SPOOL, &[batch(8, Rows::default())]).is_err());
    refused(&target, "check that PostgreSQL runs");
    server.launch().unwrap();
    let (mut ledger, known) = connect(&target, "rack-1").unwrap();
    assert_eq!((known.spool.as_str(), known.sequence, known.clock), (SPOOL, 7, 7));
    assert_eq!(ledger.steps(0, 9).unwrap(), ["5"]);
}

#[test]
fn of_two_responders_the_greater_version_of_a_machine_wins() {
    let mut first = Shared::empty();
    let (mut second, _) = connect(&target(&server().url(&first.name)), "rack-2").unwrap();
    let rows = |n| Rows { machines: vec![machine("a", n)], steps: vec![step("a", 5)], ..Rows::default() };
    first.write(&batch(9, rows(1)));
    second.write("other", &[batch(3, rows(2))]).unwrap();
    let row = |first: &mut Shared| first.ledger.load(9).unwrap().machines[0].row.json.clone();
    assert_eq!(row(&mut first), "1", "an older version");
    second.write("other", &[batch(9, rows(3))]).unwrap();
    assert_eq!(row(&mut first), "3", "the same version: the greater name");
    first.write(&batch(10, rows(4)));
    assert_eq!(row(&mut first), "4");
    assert_eq!(first.ledger.history("a").unwrap().steps.len(), 2, "each has its own steps");
    // A machine that another responder wrote last is not forgotten.
    second.write("other", &[batch(10, Rows { forgotten: vec!["a".into()], ..Rows::default() })]).unwrap();
    assert_eq!(row(&mut first), "4");
}

#[test]
fn a_boot_counts_once_whoever_reports_it() {
    let mut first = Shared::empty();
    let (mut second, _) = connect(&target(&server().url(&first.name)), "rack-2").unwrap();
    let counts =
        |first: &mut Shared| first.ledger.counts("a").unwrap().first().map_or(0, |(_, count)| *count);
    let boots = |names: &[&str], epoch| Rows {
        counted: names.iter().map(|name| counted("a", name, epoch)).collect(),
        ..Rows::default()
    };
    first.write(&batch(1, boots(&["n1", "n1", "n2"], 0)));
    second.write("other", &[batch(1, boots(&["n2", "n3"], 0))]).unwrap();
    // The second responder's spool was lost, and sends its boots again under other numbers.
    second.write("new", &[batch(9, boots(&["n2", "n3"], 0))]).unwrap();
    assert_eq!(counts(&mut first), 3);
    first.write(&batch(2, Rows { epochs: vec![epoch("a", 100)], ..Rows::default() }));
    assert_eq!(counts(&mut first), 0);
    // The second responder does not know of it yet: the machine boots once more, and not once less.
    second.write("new", &[batch(10, boots(&["n4"], 0))]).unwrap();
    assert_eq!(counts(&mut first), 0);
    first.write(&batch(3, boots(&["n5"], 100)));
    assert_eq!(counts(&mut first), 1);
    let older = Rows { epochs: vec![epoch("a", 50)], ..Rows::default() };
    second.write("new", &[batch(11, older)]).unwrap();
    assert_eq!(counts(&mut first), 1, "a lower epoch resets nothing");
}

#[test]
fn old_boots_are_added_up_and_the_count_stays() {
    let mut shared = Shared::empty();
    let rows = |names: [&str; 2]| Rows {
        counted: names.map(|name| counted("a", name, 4)).to_vec(),
        ..Rows::default()
    };
    shared.write(&batch(1, rows(["n1", "n2"])));
    shared.pass(31);
    shared.write(&batch(2, rows(["n3", "n4"])));
    shared.pass(31);
    shared.write(&batch(3, rows(["n5", "n6"])));
    shared.write(&batch(1, rows(["n1", "n2"])));
    assert_eq!(shared.ledger.counts("a").unwrap(), [("lab".to_owned(), 6)]);
    assert_eq!(server().sql(&shared.name, "SELECT count(*) FROM pxed.counted").unwrap(), "3");
    shared.write(&batch(4, Rows { epochs: vec![epoch("a", 5)], ..Rows::default() }));
    assert_eq!(shared.ledger.counts("a").unwrap(), []);
}

#[test]
fn an_import_that_comes_again_counts_once() {
    let mut shared = Shared::empty();
    let rows =
        |count| Rows { counted: vec![CountedRow { count, ..counted("a", "import", 0) }], ..Rows::default() };
    for (sequence, count) in [(1, 3), (2, 3), (3, 4), (4, 2)] {
        shared.write(&batch(sequence, rows(count)));
    }
    assert_eq!(shared.ledger.counts("a").unwrap(), [("lab".to_owned(), 4)]);
}

/// All of a transaction or none of it, and the error says that trying again cannot help.
#[test]
fn a_row_that_the_database_cannot_take_is_named() {
    let mut shared = Shared::empty();
    let mut bad = machine("b", 1);
    bad.json = "{".into();
    let batches = [
        batch(1, Rows { machines: vec![machine("a", 1)], ..Rows::default() }),
        batch(2, Rows { machines: vec![bad], ..Rows::default() }),
    ];
    let error = shared.ledger.write(SPOOL, &batches).unwrap_err();
    assert!(matches!(error, pxe_ledger::postgres::PostgresError::Row(_)), "{error}");
    assert_eq!(shared.ledger.load(9).unwrap().machines, []);
    shared.ledger.write(SPOOL, &batches[..1]).unwrap();
}

#[test]
fn boots_of_one_machine_are_bounded() {
    let mut shared = Shared::empty();
    let boots = (0..300).map(|at| boot("a", at, 1)).collect();
    shared.write(&batch(1, Rows { boots, ..Rows::default() }));
    assert!(!shared.ledger.tidy(RETENTION).unwrap(), "the tables were made just now: nobody need tidy yet");
    server().sql(&shared.name, "UPDATE pxed.clock SET wall = wall - interval '1 minute'").unwrap();
    assert!(shared.ledger.tidy(RETENTION).unwrap());
    assert!(!shared.ledger.tidy(RETENTION).unwrap(), "once a minute is enough, whoever does it");
    assert_eq!(server().sql(&shared.name, "SELECT count(*), min(at) FROM pxed.boots").unwrap(), "256|44");
}

#[test]
fn an_older_schema_is_migrated_and_two_starts_at_once_agree() {
    let name = database(server());
    let url = server().url(&name);
    let start = |responder: &'static str| {
        let url = url.clone();
        std::thread::spawn(move || connect(&target(&url), responder).map(drop))
    };
    let starts = ["a", "b", "c", "d"].map(start);
    for start in starts {
        start.join().unwrap().unwrap();
    }
    let found = probe(&target(&url), || Duration::ZERO).unwrap();
    assert_eq!((found.schema, found.latency), (found.known, Duration::ZERO));
    assert_eq!(server().sql(&name, "SELECT count(*) FROM pxed.version").unwrap(), "1");
}

#[test]
fn a_look_changes_nothing() {
    let name = database(server());
    let found = probe(&target(&server().url(&name)), || Duration::ZERO).unwrap();
    assert_eq!(found.schema, 0);
    assert!(found.server.starts_with(|c: char| c.is_ascii_digit()), "{}", found.server);
    assert_eq!(server().sql(&name, "SELECT to_regnamespace('pxed') IS NULL").unwrap(), "t");
}
