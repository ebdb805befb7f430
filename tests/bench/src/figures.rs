//! Samples, and what is computed of them.

use serde_json::{Value, json};

use super::cases::{BLOCK, Case};
use super::responders::Who;

/// One run's figures.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The case's name.
    pub case: String,
    /// Who answered.
    pub who: Who,
    /// In which round.
    pub round: usize,
    /// The generator's report with what was seen of the server beside it, or `error`.
    pub report: Value,
    /// DATA packets of one transfer.
    pub blocks: Option<u64>,
}

impl Sample {
    /// Of a report, or of what went wrong instead.
    pub(super) fn new(case: &Case, who: Who, round: usize, report: Value) -> Self {
        Self { case: case.name(), who, round, report, blocks: case.blocks() }
    }

    /// A number of the report.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.report[name].as_f64()
    }

    /// What went wrong, if nothing was measured.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.report["error"].as_str()
    }

    /// All that was measured.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "case": self.case, "responder": self.who.title(), "round": self.round, "report": self.report })
    }
}

/// What is told of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Megabytes (10^6) of files a second that arrived and were right; of a reflector: of as many full blocks.
    Rate,
    /// DATA packets a second, in thousands.
    Packets,
    /// DHCP replies a second, in thousands.
    Offers,
    /// Seconds from the first machine's request to the last machine's last block.
    Seconds,
    /// Seconds until a machine had everything: the median machine.
    P50,
    /// 99 of 100 machines.
    P99,
    /// The last machine.
    Max,
    /// How much longer the 99th of 100 machines took than the median one.
    Tail,
    /// Microseconds for each DATA packet; with one machine in lock-step: of an exchange, an ACK and the DATA for it.
    Exchange,
    /// Machines that gave up or got wrong bytes.
    Failed,
    /// Of these: machines that got wrong bytes, or bytes of two versions of a file.
    Wrong,
    /// Times that a machine gave up and was switched on again.
    BegunAgain,
    /// Seconds until an OFFER came: the median one.
    OfferP50,
    /// 99 of 100.
    OfferP99,
    /// 999 of 1000.
    OfferP999,
    /// Seconds between a responder's end and its successor's start.
    Away,
    /// Responders whose program stayed at the interface when they were killed.
    LeftAttached,
    /// Requests for a file that were repeated.
    RequestsAgain,
    /// Other packets that machines repeated.
    Again,
    /// DISCOVERs that were repeated.
    DiscoversAgain,
    /// The server's processor seconds per GB (10^9 bytes), of all kinds.
    Cpu,
    /// Of these: in the program.
    User,
    /// In the kernel on its behalf.
    System,
    /// In the receiving thread, where that has one.
    Softirq,
    /// The server's processor time for a machine that is done, in milliseconds.
    PerBoot,
    /// The responder's memory at its peak, in MB (10^6), with the files that it has mapped.
    Memory,
    /// What each waiting transfer added, in bytes.
    PerTransfer,
    /// The daemon's memory beside the files while transfers wait, in MB.
    Daemon,
    /// Strangers who got an answer.
    Answered,
    /// Bytes that the stranger who got the most of them got for each byte of his request, UDP payload both.
    ToStranger,
    /// Packets that went to strangers' ports of services.
    ToServices,
    /// Threads, and processes with one, of the responder at its peak.
    Tasks,
    /// Whether a thread of it is root's.
    Root,
    /// Capabilities that its threads have.
    Capabilities,
    /// Whether one makes system calls without a filter.
    Unfiltered,
    /// Nanoseconds that the kernel programs take for a packet of a transfer.
    Answer,
    /// For a TCP segment of others.
    ForeignTcp,
    /// For a UDP datagram of others.
    ForeignUdp,
    /// For an ARP packet.
    ForeignArp,
    /// Seconds from the start of the program until it serves.
    Start,
    /// The share of a core that it needs while nobody asks, in per cent.
    Idle,
    /// How often its threads wake up in a second while nobody asks.
    Wakes,
    /// What others get through the interface, in Mbit/s.
    Others,
    /// Frames that the cable lost on their way to the server.
    LostToServer,
    /// Frames that the cable lost on their way to the machines.
    LostToMachines,
    /// Frames that the generator lost: it was too slow.
    Overrun,
    /// The generator's share of a core: near 1 it is what is measured.
    Own,
}

/// Above this share of its core the generator is the limit, and not what is measured.
pub(super) const LIMIT: f64 = 0.85;

impl Figure {
    /// Whether a generator that is slow makes it worse.
    #[must_use]
    pub(super) fn is_about_speed(self) -> bool {
        use Figure::{Exchange, Max, Offers, P50, P99, Packets, Rate, Seconds, Tail};
        matches!(self, Exchange | Max | Offers | P50 | P99 | Packets | Rate | Seconds | Tail)
    }

    /// Its value in a sample that has it.
    #[must_use]
    pub fn of(self, sample: &Sample) -> Option<f64> {
        // A reflector's machines load nothing.
        let loads_none = sample.get("reflected_per_second").is_some();
        if loads_none && !matches!(self, Self::Rate | Self::Packets | Self::Memory | Self::Own | Self::Start)
        {
            return None;
        }
        let get = |name| sample.get(name);
        let per_gb = |name| Some(get(name)? / (get("bytes").filter(|bytes| *bytes > 0.0)? / 1e9));
        // Nobody was done when time was up.
        let finished = |name| get(name).filter(|time| *time > 0.0);
        let seconds = || get("seconds").filter(|seconds| *seconds > 0.0);
        match self {
            Self::Rate => match get("reflected_per_second") {
                Some(reflected) => Some(reflected * f64::from(BLOCK) / 1e6),
                None => Some(get("bytes")? / seconds()? / 1e6),
            },
            Self::Packets => {
                let reflected = get("reflected_per_second");
                let sent = || get("data_frames").or_else(|| Some(get("done")? * sample.blocks? as f64));
                reflected.or_else(|| Some(sent()? / seconds()?)).map(|packets| packets / 1e3)
            }
            Self::Offers => get("offers_per_second").map(|offers| offers / 1e3),
            Self::Seconds => seconds(),
            Self::P50 => finished("p50"),
            Self::P99 => finished("p99"),
            Self::Max => finished("max"),
            Self::Tail => Some(get("p99")? / get("p50").filter(|p50| *p50 > 0.0)?),
            Self::Exchange => Some(seconds()? * 1e6 / get("data_frames").filter(|frames| *frames > 0.0)?),
            Self::Failed => get("failed"),
            Self::Wrong => get("wrong"),
            Self::BegunAgain => get("begun_again"),
            Self::OfferP50 => get("p50_offer"),
            Self::OfferP99 => get("p99_offer"),
            Self::OfferP999 => get("p999_offer"),
            Self::Away => get("away"),
            Self::LeftAttached => get("left_attached"),
            Self::RequestsAgain => get("repeats_rrq"),
            Self::DiscoversAgain => get("repeats_discover"),
            Self::Again => Some(get("repeats")? - get("repeats_rrq").unwrap_or(0.0)),
            Self::Cpu => Some(
                per_gb("server_user")? + per_gb("server_system")? + per_gb("server_softirq").unwrap_or(0.0),
            ),
            Self::User => per_gb("server_user"),
            Self::System => per_gb("server_system"),
            Self::Softirq => per_gb("server_softirq"),
            Self::PerBoot => {
                let time = get("server_user")? + get("server_system")? + get("server_softirq").unwrap_or(0.0);
                Some(1e3 * time / get("done").filter(|done| *done > 0.0)?)
            }
            Self::Memory => get("server_memory").map(|bytes| bytes / 1e6),
            Self::PerTransfer => get("bytes_per_transfer"),
            Self::Daemon => get("server_own_memory").map(|bytes| bytes / 1e6),
            Self::Answered => get("strangers_answered"),
            Self::Overrun => get("overrun"),
            Self::ToStranger => {
                let request = get("strangers_bytes")? / get("strangers").filter(|count| *count > 0.0)?;
                Some(get("stranger_bytes")? / request)
            }
            Self::ToServices => get("answers_to_services"),
            Self::Tasks => get("server_tasks"),
            Self::Root => get("server_root"),
            Self::Capabilities => get("server_capabilities"),
            Self::Unfiltered => get("server_unfiltered"),
            Self::Answer => get("answer_ns"),
            Self::ForeignTcp => get("foreign_tcp_ns"),
            Self::ForeignUdp => get("foreign_udp_ns"),
            Self::ForeignArp => get("foreign_arp_ns"),
            Self::Start => get("start"),
            Self::Idle => get("idle_share").map(|share| 100.0 * share),
            Self::Wakes => get("idle_wakes"),
            Self::Others => get("mbit"),
            Self::LostToServer => get("lost_to_server"),
            Self::LostToMachines => get("lost_to_machines"),
            Self::Own => get("generator_share"),
        }
    }
}

/// The middle of some values and how far they reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

impl Spread {
    /// Of values; none of none.
    #[must_use]
    pub fn of(values: Vec<f64>) -> Option<Self> {
        let low = values.iter().copied().reduce(f64::min)?;
        let high = values.iter().copied().reduce(f64::max)?;
        Some(Self { median: median(values), low, high })
    }
}

/// The middle of the values; 0 of none.
#[must_use]
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        len if len % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// All samples, and questions to them.
#[derive(Clone, Debug, Default)]
pub struct Samples(pub Vec<Sample>);

impl Samples {
    /// Those of one responder in one case.
    pub fn of<'a>(&'a self, case: &'a str, who: Who) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| sample.case == case && sample.who == who)
    }

    /// A figure over the rounds.
    #[must_use]
    pub fn spread(&self, case: &str, who: Who, figure: Figure) -> Option<Spread> {
        Spread::of(self.of(case, who).filter_map(|sample| figure.of(sample)).collect())
    }

    /// Whether the generator was the limit in a case, at the median of the rounds.
    #[must_use]
    pub fn is_limited(&self, case: &str, who: Who) -> bool {
        self.spread(case, who, Figure::Own).is_some_and(|share| share.median > LIMIT)
    }

    /// Each round's figure over that of another in the same round: what disturbs a machine disturbs both.
    #[must_use]
    pub fn ratio(&self, case: &str, mine: (Who, Figure), other: (Who, Figure)) -> Option<Spread> {
        let ratios = self.of(case, mine.0).filter_map(|sample| {
            let same_round = self.of(case, other.0).find(|reference| reference.round == sample.round)?;
            Some(mine.1.of(sample)? / other.1.of(same_round).filter(|value| *value > 0.0)?)
        });
        Spread::of(ratios.collect())
    }

    /// Each round's figure in a case over the same responder's in another case of the same round.
    #[must_use]
    pub fn ratio_of_cases(&self, who: Who, figure: Figure, case: &str, other: &str) -> Option<Spread> {
        let ratios = self.of(case, who).filter_map(|sample| {
            let same_round = self.of(other, who).find(|reference| reference.round == sample.round)?;
            Some(figure.of(sample)? / figure.of(same_round).filter(|value| *value > 0.0)?)
        });
        Spread::of(ratios.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(who: Who, round: usize, report: Value) -> Sample {
        Sample { case: "case".into(), who, round, report, blocks: Some(100) }
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(Vec::new()), 0.0);
    }

    #[test]
    fn figures_have_their_units() {
        let sample = sample(
            Who::Native,
            0,
            json!({ "done": 10, "failed": 3, "wrong": 2, "bytes": 2_000_000_000_u64, "seconds": 4.0, "p50": 1.0, "p99": 3.0,
                    "repeats": 7, "repeats_rrq": 2, "data_frames": 1000, "server_user": 1.0, "server_system": 2.0, "server_softirq": 5.0 }),
        );
        let expected = [
            (Figure::Rate, 500.0),
            (Figure::Packets, 0.25),
            (Figure::Tail, 3.0),
            (Figure::Exchange, 4000.0),
            (Figure::Failed, 3.0),
            (Figure::Again, 5.0),
            (Figure::Cpu, 4.0),
            (Figure::Softirq, 2.5),
        ];
        for (figure, value) in expected {
            assert_eq!(figure.of(&sample), Some(value), "{figure:?}");
        }
        assert_eq!(Figure::Offers.of(&sample), None);
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let rate =
            |who, round, bytes: f64| sample(who, round, json!({ "bytes": bytes * 1e6, "seconds": 1.0 }));
        let samples = Samples(vec![
            rate(Who::Dnsmasq, 0, 100.0),
            rate(Who::Native, 0, 400.0),
            rate(Who::Dnsmasq, 1, 300.0),
            rate(Who::Native, 1, 600.0),
            // Its reference failed: no ratio.
            rate(Who::Native, 2, 900.0),
        ]);
        let ratio = samples.ratio("case", (Who::Native, Figure::Rate), (Who::Dnsmasq, Figure::Rate)).unwrap();
        assert_eq!(ratio, Spread { median: 3.0, low: 2.0, high: 4.0 });
        assert_eq!(samples.ratio("other", (Who::Native, Figure::Rate), (Who::Dnsmasq, Figure::Rate)), None);
    }
}
