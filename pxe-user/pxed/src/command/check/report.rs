//! All results of a check, as data.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::Serialize;

use crate::config::{self, Problem, Responders, Severity};
use pxe_engine::segment::{Member, Segment, Table};

/// All results. `pxed check --json` prints this as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The configuration file. `None` if the command line names none.
    pub(super) file: Option<PathBuf>,
    /// The problems. [`Report::sort`] puts them in the order of their lines.
    findings: Vec<Finding>,
    /// The images that rules name, with the file that each architecture starts with.
    pub(super) images: Vec<ImagePrograms>,
    /// The file that each architecture starts with, if no rule names an image. `None` if there is no such file.
    pub(super) programs: BTreeMap<String, Option<String>>,
    /// What machines cannot boot because a package is missing.
    pub(super) missing: Vec<String>,
    /// The interfaces that pxed would serve.
    pub(super) interfaces: Vec<InterfacePlan>,
    /// The shared ledger. `None` if there is none, or if it could not be looked at.
    pub(super) ledger: Option<LedgerReport>,
    /// What the daemon would open, and its user. `None` if the options or the configuration have an error.
    pub(super) settings: Option<SettingsReport>,
}

/// A problem.
#[derive(Debug, Serialize)]
struct Finding {
    line: Option<usize>,
    severity: &'static str,
    text: String,
}

#[derive(Debug, Serialize)]
pub(super) struct ImagePrograms {
    pub(super) name: String,
    pub(super) programs: BTreeMap<String, String>,
}

/// How pxed would serve an interface.
#[derive(Debug, Serialize)]
pub(super) struct InterfacePlan {
    pub(super) name: String,
    pub(super) mac: String,
    pub(super) address: Ipv4Addr,
    /// Further addresses of the interface. pxed does not serve them.
    pub(super) other_addresses: Vec<Ipv4Addr>,
    pub(super) mtu: u32,
    pub(super) queues: u32,
    /// `xdp` or `socket`. `None` if only root can find out.
    pub(super) datapath: Option<&'static str>,
    pub(super) why: String,
    /// Why XDP is not possible. `None` if it is possible, not planned, or if only root can find out.
    pub(super) no_xdp: Option<String>,
    /// With XDP: what the kernel program does with DHCP requests to pxed's address.
    pub(super) dhcp: Option<&'static str>,
    pub(super) blksize_max: u16,
    pub(super) windowsize_max: u16,
    /// Whether a pxed serves the interface now. If so, the check does not try the ports.
    pub(super) is_served_now: bool,
}

/// The shared ledger as the check found it.
#[derive(Debug, Serialize)]
pub(super) struct LedgerReport {
    /// The name of this responder.
    pub(super) responder: String,
    /// PostgreSQL's version.
    pub(super) server: String,
    /// The schema's version. 0 if the start of pxed will make it.
    pub(super) schema: i32,
    /// The version that the start of pxed migrates an older schema to.
    pub(super) newest_schema: i32,
    /// The time for one statement, in milliseconds.
    pub(super) latency_ms: f64,
}

impl std::fmt::Display for LedgerReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { responder, server, schema, newest_schema, latency_ms } = self;
        write!(f, "PostgreSQL {server}, {latency_ms} ms for a statement, this responder is {responder}; ")?;
        match schema {
            0 => write!(f, "the start makes schema {newest_schema}"),
            schema if schema == newest_schema => write!(f, "schema {schema}"),
            schema => write!(f, "the start migrates schema {schema} to {newest_schema}"),
        }
    }
}

/// What the daemon would open, and its user.
#[derive(Debug, Serialize)]
pub(super) struct SettingsReport {
    /// The TCP port for boot files and reports, on each served address.
    http_port: Option<u16>,
    board: Option<String>,
    /// Whether the board requires a token.
    board_token: bool,
    socket: PathBuf,
    state: Option<PathBuf>,
    /// The shared ledger: database, servers and user.
    ledger: Option<String>,
    inbox: Option<PathBuf>,
    events: Option<PathBuf>,
    /// The user that the daemon becomes. `None` for the default user.
    user: Option<String>,
    confinement: String,
    /// The machines that pxed serves. `None` for all machines.
    access: Option<String>,
    /// The responders that share the segment. `None` if this one is alone.
    pub(super) segment: Option<SegmentReport>,
}

/// Which responder of the segment owns how many of the 256 buckets of machines.
#[derive(Debug, Serialize)]
pub(super) struct SegmentReport {
    name: String,
    /// This responder's name.
    responder: String,
    responders: Vec<ResponderReport>,
    /// The same on every responder. `None` if the responders are in the shared ledger, and not known.
    table: Option<String>,
    /// All of this as one sentence.
    #[serde(skip)]
    share: String,
}

#[derive(Debug, Serialize)]
struct ResponderReport {
    name: String,
    weight: u32,
    buckets: usize,
}

impl SegmentReport {
    fn new(settings: &config::SegmentSettings) -> Self {
        let mut report = Self {
            name: settings.name.to_string(),
            responder: settings.own().to_string(),
            responders: Vec::new(),
            table: None,
            share: String::new(),
        };
        if let Responders::InLedger { weight } = settings.responders {
            report.share = format!(
                "this responder ({}) has weight {weight}, and finds the others in the shared ledger",
                report.responder
            );
        }
        if let Some((segment, table)) = settings.listed() {
            report.show(segment, &table);
        }
        report
    }

    /// Shows a table of responders.
    pub(super) fn show(&mut self, segment: &Segment, table: &Table) {
        let responder = |member: &Member| ResponderReport {
            name: member.name.to_string(),
            weight: member.weight,
            buckets: table.owned(&member.name),
        };
        self.responders = segment.members().iter().map(responder).collect();
        self.table = Some(format!("{:08x}", table.digest()));
        self.share = config::share(&self.responder, segment, table);
    }
}

impl Report {
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        Self {
            file,
            findings: Vec::new(),
            images: Vec::new(),
            programs: BTreeMap::new(),
            missing: Vec::new(),
            interfaces: Vec::new(),
            ledger: None,
            settings: None,
        }
    }

    pub(super) fn problem(&mut self, problem: Problem) {
        let Problem { line, severity, text } = problem;
        self.findings.push(Finding { line, severity: severity.as_str(), text });
    }

    pub(super) fn error(&mut self, line: Option<usize>, text: impl Into<String>) {
        self.problem(Problem { line, severity: Severity::Error, text: text.into() });
    }

    pub(super) fn warning(&mut self, line: Option<usize>, text: impl Into<String>) {
        self.problem(Problem { line, severity: Severity::Warning, text: text.into() });
    }

    /// Sorts the problems by line. Problems without a line come first.
    pub(super) fn sort(&mut self) {
        self.findings.sort_by_key(|finding| finding.line);
    }

    pub(super) fn errors(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error.as_str()).count()
    }

    /// One line for each problem in the format of compilers, so that editors find the place.
    pub(super) fn findings_text(&self) -> String {
        let mut text = String::new();
        for Finding { line, severity, text: what } in &self.findings {
            if let Some(file) = &self.file {
                let _ = write!(text, "{}:", file.display());
                let _ = line.map_or(Ok(()), |line| write!(text, "{line}:"));
                text.push(' ');
            }
            let _ = writeln!(text, "{severity}: {what}");
        }
        text
    }

    pub(super) fn settings(&mut self, settings: &config::Settings) {
        let socket = settings.socket.clone().unwrap_or_else(|| pxe_web::api::listen::SOCKET.into());
        self.settings = Some(SettingsReport {
            http_port: settings.http_port,
            board: settings.board.as_ref().map(|board| format!("http://{}/", board.listen)),
            board_token: settings.board.as_ref().is_some_and(|board| board.token_file.is_some()),
            socket,
            state: settings.state.clone(),
            ledger: settings.ledger.as_ref().map(|ledger| ledger.url.to_string()),
            inbox: settings.inbox.as_ref().map(|inbox| inbox.directory.clone()),
            events: settings.events.clone(),
            user: settings.user.clone(),
            confinement: settings.confinement.to_string(),
            access: (!settings.access.is_open()).then(|| settings.access.to_string()),
            segment: settings.segment.as_ref().map(SegmentReport::new),
        });
    }
}

impl SettingsReport {
    /// Name and value of each setting, for one line each.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let path = |path: &Option<PathBuf>, or: &str| {
            path.as_ref().map_or_else(|| or.to_owned(), |path| path.display().to_string())
        };
        let board = match &self.board {
            Some(url) if self.board_token => format!("{url}, with a token"),
            Some(url) => format!("{url}, without a token: everybody on this host may look"),
            None => "off".to_owned(),
        };
        let http = self.http_port.map_or_else(
            || "off".to_owned(),
            |port| format!("port {port} of each served address: boot files and reports"),
        );
        let shared = |segment: &SegmentReport| format!("{}; {}", segment.name, segment.share);
        let segment = self.segment.as_ref().map_or_else(|| "not shared".to_owned(), shared);
        vec![
            ("HTTP", http),
            ("board", board),
            ("control socket", self.socket.display().to_string()),
            ("machines", self.access.clone().unwrap_or_else(|| "all".to_owned())),
            ("segment", segment),
            ("history", path(&self.state, "kept in memory: give `state` or --state to keep it")),
            ("shared ledger", self.ledger.clone().unwrap_or_else(|| "off".to_owned())),
            ("uploads", path(&self.inbox, "off")),
            ("events", path(&self.events, "off")),
            ("user", self.user.clone().unwrap_or_else(|| "pxed, or nobody if there is none".to_owned())),
            ("confinement", self.confinement.clone()),
        ]
    }
}
