//! The tables, for the terminal and for Markdown: one for each case, and one of the targets.

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle, presets};

use super::cases::{Case, Play};
use super::faults::Fault;
use super::figures::{Figure, Samples, Spread};
use super::responders::Who;
use super::targets::{Bound, TargetResult};

/// A table with its title and what its readers should know.
#[derive(Debug)]
pub struct Block {
    /// The case.
    pub title: String,
    /// Its rows.
    pub table: Table,
    /// Why some rows are as they are.
    pub notes: Vec<String>,
}

/// Where a table is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// In a terminal.
    Terminal,
    /// In a Markdown file.
    Markdown,
}

/// No other lines: rows are many, and 120 columns are few.
const LINE_UNDER_HEADER: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

impl Look {
    fn table(self, header: &[&str]) -> Table {
        let mut table = Table::new();
        table.load_style(match self {
            Self::Terminal => LINE_UNDER_HEADER,
            Self::Markdown => presets::ASCII_MARKDOWN,
        });
        table.set_header(header.iter().copied());
        for (number, column) in table.column_iter_mut().enumerate() {
            if number > 0 {
                column.set_cell_alignment(CellAlignment::Right);
            }
            if self == Self::Terminal {
                column.set_padding((0, 1));
            }
        }
        table
    }
}

/// Why a responder was not measured.
pub type Absent = (Who, String);

type Column = (&'static str, fn(&Samples, &str, Who) -> String);

const TRANSFERS: &[Column] = &[
    ("MB/s", |s, case, who| median(s, case, who, Figure::Rate)),
    ("over dnsmasq", |s, case, who| ratio(s, case, who, Who::Dnsmasq, Figure::Rate)),
    ("of limit", of_limit),
    ("p50 p99 max, s", |s, case, who| several(s, case, who, &[Figure::P50, Figure::P99, Figure::Max], " ")),
    ("fail/RRQ/other", |s, case, who| {
        several(s, case, who, &[Figure::Failed, Figure::RequestsAgain, Figure::Again], "/")
    }),
    ("CPU s/GB", |s, case, who| median(s, case, who, Figure::Cpu)),
    ("u/s/irq %", shares),
    ("MB", |s, case, who| median(s, case, who, Figure::Memory)),
    ("gen", |s, case, who| median(s, case, who, Figure::Own)),
];

/// Where something goes wrong.
const FAULTS: &[Column] = &[
    ("failed", |s, case, who| median(s, case, who, Figure::Failed)),
    ("of these wrong", |s, case, who| median(s, case, who, Figure::Wrong)),
    ("p50 p99 max, s", |s, case, who| several(s, case, who, &[Figure::P50, Figure::P99, Figure::Max], " ")),
    ("RRQ/other again", |s, case, who| several(s, case, who, &[Figure::RequestsAgain, Figure::Again], "/")),
    ("begun again", |s, case, who| median(s, case, who, Figure::BegunAgain)),
    ("away, s", |s, case, who| median(s, case, who, Figure::Away)),
];

/// Where strangers ask.
const FLOOD: &[Column] = &[
    ("failed", |s, case, who| median(s, case, who, Figure::Failed)),
    ("p50 p99 max, s", |s, case, who| several(s, case, who, &[Figure::P50, Figure::P99, Figure::Max], " ")),
    ("answered", |s, case, who| median(s, case, who, Figure::Answered)),
    ("bytes per byte", |s, case, who| median(s, case, who, Figure::ToStranger)),
    ("to services", |s, case, who| median(s, case, who, Figure::ToServices)),
    ("tasks", |s, case, who| median(s, case, who, Figure::Tasks)),
    ("MB", |s, case, who| median(s, case, who, Figure::Memory)),
    ("rights", rights),
];

const OFFER: Column = ("offer p50 p99 p99.9, s", |s, case, who| {
    several(s, case, who, &[Figure::OfferP50, Figure::OfferP99, Figure::OfferP999], " ")
});

const PER_BOOT: Column = ("CPU ms/boot", |s, case, who| median(s, case, who, Figure::PerBoot));

const EXCHANGE: Column = ("us/block", |s, case, who| median(s, case, who, Figure::Exchange));

const OFFERS: &[Column] = &[
    ("k replies/s", |s, case, who| median(s, case, who, Figure::Offers)),
    ("over dnsmasq", |s, case, who| ratio(s, case, who, Who::Dnsmasq, Figure::Offers)),
    ("asked again", |s, case, who| median(s, case, who, Figure::DiscoversAgain)),
    ("failed", |s, case, who| median(s, case, who, Figure::Failed)),
    ("MB", |s, case, who| median(s, case, who, Figure::Memory)),
    ("gen", |s, case, who| median(s, case, who, Figure::Own)),
];

const WAITING: &[Column] = &[
    ("bytes per transfer", |s, case, who| median(s, case, who, Figure::PerTransfer)),
    ("MB beside the files", |s, case, who| median(s, case, who, Figure::Daemon)),
];

const PROGRAMS: &[Column] = &[
    ("answer, ns", |s, case, who| median(s, case, who, Figure::Answer)),
    ("foreign TCP, ns", |s, case, who| median(s, case, who, Figure::ForeignTcp)),
    ("foreign UDP, ns", |s, case, who| median(s, case, who, Figure::ForeignUdp)),
    ("ARP, ns", |s, case, who| median(s, case, who, Figure::ForeignArp)),
];

const HTTP: &[Column] = &[
    ("MB/s", |s, case, who| median(s, case, who, Figure::Rate)),
    ("over nginx", |s, case, who| ratio(s, case, who, Who::Nginx, Figure::Rate)),
    ("p50 p99 max, s", |s, case, who| several(s, case, who, &[Figure::P50, Figure::P99, Figure::Max], " ")),
    ("failed", |s, case, who| median(s, case, who, Figure::Failed)),
    ("CPU s/GB", |s, case, who| median(s, case, who, Figure::Cpu)),
    ("over nginx's", |s, case, who| ratio(s, case, who, Who::Nginx, Figure::Cpu)),
    ("MB", |s, case, who| median(s, case, who, Figure::Memory)),
    ("gen", |s, case, who| median(s, case, who, Figure::Own)),
];

const HTTP_BOOTS: &[Column] = &[
    OFFER,
    ("p50 p99 max, s", |s, case, who| several(s, case, who, &[Figure::P50, Figure::P99, Figure::Max], " ")),
    ("failed", |s, case, who| median(s, case, who, Figure::Failed)),
    ("asked again", |s, case, who| median(s, case, who, Figure::DiscoversAgain)),
    PER_BOOT,
    ("MB", |s, case, who| median(s, case, who, Figure::Memory)),
    ("gen", |s, case, who| median(s, case, who, Figure::Own)),
];

const IDLE: &[Column] = &[
    ("CPU %", |s, case, who| median(s, case, who, Figure::Idle)),
    ("wake-ups/s", |s, case, who| median(s, case, who, Figure::Wakes)),
    ("start, s", |s, case, who| median(s, case, who, Figure::Start)),
];

const STREAMS: &[Column] = &[
    ("Mbit/s", |s, case, who| median(s, case, who, Figure::Others)),
    ("over without", |s, case, who| ratio(s, case, who, Who::Nobody, Figure::Others)),
];

fn columns(case: &Case) -> Vec<Column> {
    match case.play {
        Play::Load { .. } if matches!(case.fault, Fault::Flooded(_)) => FLOOD.to_vec(),
        Play::Load { .. } if case.goes_wrong() => FAULTS.to_vec(),
        Play::Boots { .. } => {
            let mut columns = TRANSFERS.to_vec();
            columns[2] = OFFER;
            columns.retain(|(title, _)| !matches!(*title, "over dnsmasq" | "of limit" | "CPU s/GB"));
            columns.insert(4, PER_BOOT);
            columns
        }
        // Among many machines the time of one exchange is the queue's.
        Play::Load { machines: 1, .. } => {
            let mut columns = TRANSFERS.to_vec();
            columns[2] = EXCHANGE;
            columns
        }
        Play::Load { .. } => TRANSFERS.to_vec(),
        Play::Offers { .. } => OFFERS.to_vec(),
        Play::Waiting { .. } => WAITING.to_vec(),
        Play::Programs { .. } => PROGRAMS.to_vec(),
        Play::Http { .. } => HTTP.to_vec(),
        Play::HttpBoots { .. } => HTTP_BOOTS.to_vec(),
        Play::Idle { .. } => IDLE.to_vec(),
        Play::Stream { .. } => STREAMS.to_vec(),
    }
}

/// Medians over the rounds; ratios are medians of each round's own ratio, with their range. A row for everybody whom a
/// case names, also if it could not be measured.
#[must_use]
pub(super) fn cases(look: Look, cases: &[Case], samples: &Samples, absent: &[Absent]) -> Vec<Block> {
    cases.iter().map(|case| block(look, case, samples, absent)).collect()
}

fn block(look: Look, case: &Case, samples: &Samples, absent: &[Absent]) -> Block {
    let name = case.name();
    let columns = columns(case);
    let mut table = look
        .table(&[&["responder"][..], &columns.iter().map(|(title, _)| *title).collect::<Vec<_>>()].concat());
    let mut notes = Vec::new();
    for &who in case.who {
        let responder = who.responder();
        let why_not = responder.cannot(case).map(str::to_owned).or_else(|| {
            let missing = absent.iter().find(|(other, _)| *other == who).map(|(_, why)| why.clone());
            missing.or_else(|| {
                let failed = samples.of(&name, who).find_map(|sample| sample.error());
                failed.map(|error| format!("failed: {error}"))
            })
        });
        let mut row = vec![who.title().to_owned()];
        row.extend(columns.iter().map(|(_, value)| value(samples, &name, who)));
        table.add_row(row);
        let told = why_not.into_iter().chain(responder.remark(case).map(str::to_owned));
        let told = told.chain(limited(samples, &name, who)).chain(lost(samples, &name, who));
        notes.extend(told.map(|note| format!("{}: {note}", who.title())));
    }
    Block { title: name, table, notes }
}

/// A row that says nothing of its server.
fn limited(samples: &Samples, case: &str, who: Who) -> Option<String> {
    let share = samples.spread(case, who, Figure::Own)?.median;
    samples
        .is_limited(case, who)
        .then(|| format!("not judged: the generator is the limit, with {} of its core", short(share)))
}

/// What the cable and the generator lost: no responder has seen these frames, or can do anything about them.
fn lost(samples: &Samples, case: &str, who: Who) -> Option<String> {
    let [server, machines, generator] = [Figure::LostToServer, Figure::LostToMachines, Figure::Overrun]
        .map(|figure| samples.spread(case, who, figure).map_or(0.0, |spread| spread.median));
    (server + machines + generator > 0.0).then(|| {
        let [server, machines, generator] = [server, machines, generator].map(short);
        format!("the cable lost {server} frames to the server, {machines} to the machines, the generator {generator}")
    })
}

/// The targets, each with what came of it.
#[must_use]
pub(super) fn targets(look: Look, judged: &[TargetResult]) -> Table {
    let mut table = look.table(&["work", "target", "measured (range)", "verdict", "who", "case"]);
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Left);
    }
    for result in judged {
        let bound = match result.target.bound {
            Bound::AtLeast(least) => format!(">= {}", short(least)),
            Bound::AtMost(most) => format!("<= {}", short(most)),
        };
        let who = match result.who {
            Some((mine, Some(other))) => format!("{} over {}", mine.title(), other.title()),
            Some((mine, None)) => format!("worst: {}", mine.title()),
            None => "-".into(),
        };
        let seen = result.seen.map_or_else(|| "-".into(), range);
        table.add_row([result.target.work, &bound, &seen, &result.words(), &who, result.case]);
    }
    if look == Look::Terminal {
        table.set_width(120).set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    }
    table
}

fn median(samples: &Samples, case: &str, who: Who, figure: Figure) -> String {
    samples.spread(case, who, figure).map_or_else(|| "-".into(), |spread| short(spread.median))
}

fn several(samples: &Samples, case: &str, who: Who, figures: &[Figure], between: &str) -> String {
    let values: Vec<String> = figures.iter().map(|&figure| median(samples, case, who, figure)).collect();
    if values.iter().all(|value| value == "-") { "-".into() } else { values.join(between) }
}

/// Which parts of the server's processor time are the program's, the kernel's for it, and the receiving thread's, in
/// per cent.
fn shares(samples: &Samples, case: &str, who: Who) -> String {
    let value = |figure| samples.spread(case, who, figure).map(|spread| spread.median);
    let Some(all) = value(Figure::Cpu).filter(|all| *all > 0.0) else { return "-".into() };
    let parts = [Figure::User, Figure::System, Figure::Softirq].map(|figure| match value(figure) {
        Some(part) => format!("{:.0}", 100.0 * part / all),
        None => "-".into(),
    });
    parts.join("/")
}

/// The most that one of its threads may: whose it is, how many capabilities it has, whether its system calls are filtered.
fn rights(samples: &Samples, case: &str, who: Who) -> String {
    let value = |figure| samples.spread(case, who, figure).map(|spread| spread.high);
    let (Some(root), Some(capabilities), Some(unfiltered)) =
        (value(Figure::Root), value(Figure::Capabilities), value(Figure::Unfiltered))
    else {
        return "-".into();
    };
    let user = if root > 0.0 { "root" } else { "user" };
    let filter = if unfiltered > 0.0 { "" } else { ", filter" };
    let plural = if capabilities == 1.0 { "" } else { "s" };
    format!("{user}, {} cap{plural}{filter}", short(capabilities))
}

/// The share of what the limit row of the same hook reaches, in the same round.
fn of_limit(samples: &Samples, case: &str, who: Who) -> String {
    let Some(limit) = who.limit() else { return "-".into() };
    let ratio = samples.ratio(case, (who, Figure::Rate), (limit, Figure::Rate));
    // The range is in the table of the targets: 120 columns are few.
    ratio.map_or_else(|| "-".into(), |ratio| short(ratio.median))
}

fn ratio(samples: &Samples, case: &str, who: Who, reference: Who, figure: Figure) -> String {
    if who == reference {
        return "1".into();
    }
    samples.ratio(case, (who, figure), (reference, figure)).map_or_else(|| "-".into(), range)
}

fn range(spread: Spread) -> String {
    let (median, low, high) = (short(spread.median), short(spread.low), short(spread.high));
    if low == high { median } else { format!("{median} ({low}-{high})") }
}

/// Three digits that matter, and no more than that; whole numbers as they are.
#[must_use]
pub(super) fn short(value: f64) -> String {
    let digits = match value.abs() {
        v if v == v.trunc() || v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::cases::{Form, cases as all};
    use super::super::figures::Sample;
    use super::super::targets::judge;
    use super::*;

    #[test]
    fn three_digits_are_shown() {
        for (value, text) in
            [(1234.5, "1234"), (12.345, "12.3"), (1.2345, "1.23"), (0.0123, "0.012"), (5.0, "5"), (0.0, "0")]
        {
            assert_eq!(short(value), text);
        }
    }

    fn all_cases() -> Vec<Case> {
        [Form::Targets, Form::Faults].into_iter().flat_map(|form| all(form, None)).collect()
    }

    /// The widest values that are thinkable.
    fn samples() -> Samples {
        let report = json!({ "done": 2000, "failed": 2000, "bytes": 2e9, "seconds": 2.345, "p50": 0.123, "p99": 30.12,
            "max": 59.9, "repeats": 20000, "repeats_rrq": 2000, "server_user": 2.4, "server_system": 24.6,
            "server_softirq": 21.2, "server_memory": 1.2e9, "generator_share": 0.987, "offers_per_second": 645_123.0, "mbit": 10_600.0,
            "wrong": 2000, "begun_again": 2000, "away": 0.568, "strangers": 5000, "strangers_bytes": 90000, "strangers_answered": 4500, "stranger_bytes": 2214, "answers_to_services": 2555,
            "server_tasks": 5001, "server_root": 0, "server_capabilities": 41, "server_unfiltered": 0 });
        let mut samples = Vec::new();
        for round in 0..3 {
            for case in all_cases() {
                for &who in case.who {
                    let mut report = report.clone();
                    if who != Who::Dnsmasq {
                        report["seconds"] = json!(0.123 + 0.02 * round as f64);
                    }
                    samples.push(Sample::new(&case, who, round, report));
                }
            }
        }
        Samples(samples)
    }

    #[test]
    fn everybody_has_a_row_and_no_row_is_too_wide() {
        let (samples, all) = (samples(), all_cases());
        for (block, case) in cases(Look::Terminal, &all, &samples, &[]).iter().zip(&all) {
            let text = block.table.to_string();
            assert!(case.who.iter().all(|who| text.contains(who.title())), "{text}");
            let width = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(width <= 120, "{width} columns:\n{text}");
        }
        let text = targets(Look::Terminal, &judge(&samples, true)).to_string();
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    }

    #[test]
    fn who_was_not_measured_is_told() {
        let case = &all(Form::Targets, Some("128 machines, DHCP"))[0];
        let absent = [(Who::NativeOffload, "not built".to_owned())];
        let block = block(Look::Markdown, case, &Samples::default(), &absent);
        assert!(block.notes.contains(&"pxed native+XDP: not built".to_owned()), "{:?}", block.notes);
        assert!(block.notes.contains(&"atftpd: knows no DHCP".to_owned()), "{:?}", block.notes);
    }
}
