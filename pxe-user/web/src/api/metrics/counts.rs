//! The counters of the HTTP servers: the API's, and the one for machines.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Label;
use pxe_content::boot::Refusal;

/// The counters. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    refused: Family<Label, Counter>,
    reports: Family<Label, Counter>,
    uploads: Family<Label, Counter>,
    uploaded_bytes: Counter,
    lines: Counter,
    test_lines: Counter,
    connections: Family<Label, Gauge>,
    viewers: Gauge,
}

/// One open connection or viewer: counts in its gauge until it is dropped.
#[derive(Debug)]
pub struct Counted(Gauge);

impl Counted {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Why the API, or the server for machines, rejected a request or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No resource has this path.
    Path,
    /// The path does not support the method.
    Method,
    /// The catalogue refuses the file.
    File(Refusal),
    /// The file has no byte in the requested range (416).
    Range,
    /// `[access]` does not allow this machine.
    Access,
    /// The `Host` header of a request on loopback does not name loopback: a page of another site may have sent the
    /// request (DNS rebinding).
    Host,
    /// A browser sent the request for a page of another site.
    Site,
    /// A write on a read-only address: loopback without a token.
    ReadOnly,
    /// The token is missing or wrong.
    Token,
    /// A write without a header that a page of another site cannot set.
    Header,
    /// The body is too large.
    TooLarge,
    /// The request took too long: its body arrived too slowly, or the answer was late.
    TooSlow,
    /// The listener has as many viewers of the event stream as it may have.
    Viewers,
    /// The listener has as many connections as it may have.
    Connections,
    /// The client's address has as many connections as one address may have.
    Peer,
}

impl Refused {
    /// The value of the counter's label `reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Method => "method",
            Self::File(refusal) => refusal.as_str(),
            Self::Range => "range",
            Self::Access => "access",
            Self::Host => "host",
            Self::Site => "site",
            Self::ReadOnly => "read_only",
            Self::Token => "token",
            Self::Header => "header",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Viewers => "viewers",
            Self::Connections => "connections",
            Self::Peer => "peer",
        }
    }
}

impl Counts {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("api_refused", "Requests that the API refused, by reason", self.refused.clone());
        registry.register("reports", "Reports of memory tests, by what became of them", self.reports.clone());
        registry.register("uploads", "Uploads into the inbox, by what became of them", self.uploads.clone());
        registry.register(
            "uploaded_bytes",
            "Bytes of files in the inbox that arrived whole",
            self.uploaded_bytes.clone(),
        );
        registry.register("console_lines", "Lines of consoles that were fed in", self.lines.clone());
        registry.register(
            "console_test_lines",
            "Lines among them that were a memory test's",
            self.test_lines.clone(),
        );
        registry.register("api_connections", "Open connections, by listener", self.connections.clone());
        registry.register("api_viewers", "Viewers that follow the board", self.viewers.clone());
    }

    /// Counts a request or connection that was rejected.
    pub fn refused(&self, reason: Refused) {
        self.refused.get_or_create(&[("reason", reason.as_str())]).inc();
    }

    /// Counts a report. `outcome` is `accepted` or the reason why it was rejected.
    pub fn report(&self, outcome: &'static str) {
        self.reports.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Counts an upload that ended. `outcome` is `accepted` or the reason why it was rejected; `bytes` is what the
    /// inbox keeps of it.
    pub fn upload(&self, outcome: &'static str, bytes: u64) {
        self.uploads.get_or_create(&[("outcome", outcome)]).inc();
        self.uploaded_bytes.inc_by(bytes);
    }

    pub(in crate::api) fn lines(&self, all: usize, of_tests: usize) {
        self.lines.inc_by(all as u64);
        self.test_lines.inc_by(of_tests as u64);
    }

    pub(in crate::api) fn connection(&self, listener: &'static str) -> Counted {
        Counted::new(self.connections.get_or_create(&[("listener", listener)]).clone())
    }

    pub(in crate::api) fn viewer(&self) -> Counted {
        Counted::new(self.viewers.clone())
    }
}
