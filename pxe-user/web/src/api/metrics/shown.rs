//! Metrics that are read from the daemon's gauges and the board at each scrape.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::time::Instant;

use crate::api::read::totals;
use crate::api::throughput::TFTP_BYTES;
use pxe_engine::gauges::{Gauges, InterfaceGauges};
use pxe_fleet::board::{Board, TestOutcome};
use pxe_fleet::handle::FleetHandle;

/// The collector; its fields are the sources of the numbers.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) fleet: FleetHandle,
    pub(super) gauges: Arc<ArcSwap<Gauges>>,
    pub(super) started: Instant,
}

impl Collector for Shown {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = MetricsText(encoder);
        let uptime = self.started.elapsed().as_secs();
        daemon(&mut out, &self.gauges.load(), uptime)?;
        board(&mut out, &self.fleet.board())?;
        interfaces(&mut out, &self.gauges.load().interfaces)
    }
}

fn daemon(out: &mut MetricsText<'_>, gauges: &Gauges, uptime: u64) -> fmt::Result {
    out.gauges("build_info", "Which pxed this is", [(vec![("version", env!("CARGO_PKG_VERSION"))], 1)])?;
    if let Some(responder) = &gauges.responder {
        let segment = gauges.segment.as_ref().map_or("", |segment| segment.name.as_str());
        let text = "Which responder this is: its names in the shared ledger and on the segment";
        out.gauges(
            "responder_info",
            text,
            [(vec![("responder", responder.as_str()), ("segment", segment)], 1)],
        )?;
    }
    let others = gauges.foreign_proxies.is_some().into();
    out.gauge(
        "foreign_proxies",
        "1 when another proxyDHCP server answers machines: the board says which",
        others,
    )?;
    out.gauge("uptime_seconds", "Seconds since the start", uptime)?;
    out.gauge("ready", "1 when everything is set up", gauges.ready.into())?;
    out.gauge("image_bytes", "Bytes of boot files in memory", gauges.image_bytes)?;
    out.counter("http_sent_bytes", "Bytes of files sent over HTTP", gauges.http_bytes)?;
    out.counter("config_reloads", "Times that rules were loaded well", gauges.reloads)?;
    let refused = gauges.config_problem.is_some().into();
    out.gauge(
        "config_refused",
        "1 when the configuration file was refused and an older one is in force",
        refused,
    )?;
    let (mut fetched, mut failures, mut here) = (Vec::new(), Vec::new(), Vec::new());
    for image in &gauges.images {
        let name = ("image", image.name.as_str());
        fetched.push((vec![name], image.fetched));
        here.push((vec![name], image.files));
        failures
            .extend(image.failures.iter().map(|(reason, count)| (vec![name, ("reason", reason)], *count)));
    }
    out.gauges("image_files", "Files here of an image from elsewhere; 0: it is not here yet", here)?;
    out.counters("image_fetched", "New versions of an image from elsewhere", fetched)?;
    out.counters("image_fetch_failures", "Failed looks at an image's source, by reason", failures)?;
    let failing = gauges.images.iter().filter(|image| image.problem.is_some()).count() as u64;
    out.gauge("image_sources_failing", "Images from elsewhere whose last look failed", failing)?;
    let reason = gauges.hand_over_refused.map(|reason| (vec![("reason", reason)], 1));
    let text = "1 when the previous pxed's transfers could not be resumed, by reason";
    out.gauges("hand_over_refused", text, reason)
}

fn board(out: &mut MetricsText<'_>, board: &Board) -> fmt::Result {
    // Each responder counts its own machines, so that a sum over the responders of a shared ledger is right.
    let own = || board.machines.iter().filter(|machine| machine.responder.is_none());
    let states = totals(own()).into_iter().map(|(state, count)| (vec![("state", state)], count as u64));
    out.gauges("machines", "Machines, by state", states)?;
    let with = |wanted: TestOutcome| {
        let verdicts = own().filter_map(|machine| machine.verdict.as_ref());
        verdicts.filter(|verdict| verdict.outcome == wanted).count() as u64
    };
    let outcomes =
        [("testing", TestOutcome::Testing), ("pass", TestOutcome::Pass), ("fail", TestOutcome::Fail)];
    let outcomes = outcomes.map(|(word, outcome)| (vec![("outcome", word)], with(outcome)));
    out.gauges("machines_tested", "Machines whose memory is or was tested, by outcome", outcomes)?;
    let alive = |alive| board.responders.iter().filter(|responder| responder.alive == alive).count() as u64;
    if !board.responders.is_empty() {
        let states = [("true", alive(true)), ("false", alive(false))];
        let states = states.map(|(word, count)| (vec![("alive", word)], count));
        out.gauges("responders", "Responders of the shared ledger", states)?;
        let waiting = board.responders.iter().find(|responder| responder.own).map_or(0, |own| own.waiting);
        out.gauge("ledger_waiting", "Batches that wait on this host for the shared ledger", waiting)?;
    }
    out.gauge("lost", "What is not kept as it should be: the board says more", board.lost.len() as u64)
}

/// A metric with one value for each interface: name, help text, and how to read the value.
type Number = (&'static str, &'static str, fn(&InterfaceGauges) -> u64);

const GAUGES: [Number; 4] = [
    ("interface_queues", "Receive queues, each with a worker", |shown| shown.queues.into()),
    ("transfers", "Transfers under way", |shown| shown.transfers),
    ("transfers_waiting", "Requests that wait for a slot", |shown| shown.waiting),
    ("offload_bytes", "Bytes of files in the kernel", |shown| shown.offload_bytes),
];

const COUNTERS: [Number; 4] = [
    ("tftp_sent_bytes", "Bytes of files in DATA packets", |shown| counted(shown, TFTP_BYTES)),
    ("tftp_data_packets", "DATA packets that were sent", |shown| counted(shown, "tftp_data_packets")),
    ("tftp_data_repeated", "DATA packets that were sent again", |shown| counted(shown, "tftp_data_repeated")),
    ("tftp_transfers", "Transfers that arrived whole", |shown| {
        counted(shown, "tftp_complete") + counted(shown, "tftp_complete_unconfirmed")
    }),
];

fn counted(shown: &InterfaceGauges, label: &str) -> u64 {
    shown.counters.iter().find(|(name, _)| *name == label).map_or(0, |(_, value)| *value)
}

fn interfaces(out: &mut MetricsText<'_>, interfaces: &[InterfaceGauges]) -> fmt::Result {
    let addresses: Vec<_> =
        interfaces.iter().map(|shown| shown.address.map_or_else(String::new, |at| at.to_string())).collect();
    let info = interfaces.iter().zip(&addresses).map(|(shown, address)| {
        let labels = vec![
            ("interface", shown.name.as_str()),
            ("address", address),
            ("datapath", shown.datapath),
            ("mode", shown.mode),
            ("offload", shown.offload),
        ];
        (labels, 1)
    });
    out.gauges("interface_info", "How an interface is served", info)?;
    for (name, help, number) in GAUGES {
        let each = interfaces.iter().map(|shown| (vec![("interface", shown.name.as_str())], number(shown)));
        out.gauges(name, help, each)?;
    }
    for (name, help, number) in COUNTERS {
        let each = interfaces.iter().map(|shown| (vec![("interface", shown.name.as_str())], number(shown)));
        out.counters(name, help, each)?;
    }
    let events = interfaces.iter().flat_map(|shown| labelled(shown, "event", &shown.counters));
    out.counters(
        "events",
        "Everything that workers count: each way for a packet to end has its name",
        events,
    )?;
    let verdicts = interfaces.iter().flat_map(|shown| labelled(shown, "verdict", &shown.kernel));
    out.counters("kernel_packets", "What the kernel program counts", verdicts)
}

type Labels<'a> = Vec<(&'a str, &'a str)>;

fn labelled<'a>(
    shown: &'a InterfaceGauges,
    key: &'static str,
    counters: &'a [(&'static str, u64)],
) -> impl Iterator<Item = (Labels<'a>, u64)> {
    counters.iter().map(move |(name, value)| (vec![("interface", shown.name.as_str()), (key, *name)], *value))
}

/// The text that is being written.
struct MetricsText<'a>(DescriptorEncoder<'a>);

impl MetricsText<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.single(name, help, &gauge(value))
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.single(name, help, &ConstCounter::new(value))
    }

    fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> fmt::Result {
        self.family(name, help, values.into_iter().map(|(labels, value)| (labels, gauge(value))))
    }

    fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> fmt::Result {
        self.family(name, help, values.into_iter().map(|(labels, value)| (labels, ConstCounter::new(value))))
    }

    fn single(&mut self, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
        metric.encode(self.0.encode_descriptor(name, help, None, metric.metric_type())?)
    }

    fn family<'l, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (Labels<'l>, M)>,
    ) -> fmt::Result {
        let mut values = values.peekable();
        let Some((_, first)) = values.peek() else { return Ok(()) };
        let mut family = self.0.encode_descriptor(name, help, None, first.metric_type())?;
        for (labels, metric) in values {
            metric.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers to Prometheus")]
fn gauge(value: u64) -> ConstGauge<f64> {
    ConstGauge::new(value as f64)
}
