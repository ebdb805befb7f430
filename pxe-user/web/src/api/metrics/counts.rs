//! What the servers count of themselves.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Label;
use pxe_content::boot::Refusal;

/// The counters. Clones count into the same.
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

/// One of those that are there now; not any more when this is dropped.
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

/// Why a request, or a connection, was refused: here, or where machines come for files and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is nothing under this path.
    Path,
    /// Not with this method.
    Method,
    /// The file is not given.
    File(Refusal),
    /// The file has no such part.
    Range,
    /// This machine is not on the list of those that are served.
    Access,
    /// The host's name in a request on loopback is not this host's: a page elsewhere may have sent it (DNS rebinding).
    Host,
    /// A page of another site asks.
    Site,
    /// This address is for looking only.
    ReadOnly,
    /// The token is missing, or another one.
    Token,
    /// A write that any page could have made a browser send.
    Header,
    /// The body is too large.
    TooLarge,
    /// The body came too slowly.
    TooSlow,
    /// As many follow the board already as may.
    Viewers,
    /// As many connections are open already as may be.
    Connections,
    /// As many from this address.
    Peer,
}

impl Refused {
    /// Its word in the counter's label.
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

    /// A request was refused.
    pub fn refused(&self, reason: Refused) {
        self.refused.get_or_create(&[("reason", reason.as_str())]).inc();
    }

    /// A report came; `outcome` is `accepted` or the reason why not.
    pub fn report(&self, outcome: &'static str) {
        self.reports.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// An upload ended; `outcome` is `accepted` or the reason why not, `bytes` what is kept of it.
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
