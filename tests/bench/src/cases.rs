//! What is measured, as data: who boots what, and which responders take part.

use std::path::Path;

use anyhow::Result;

use super::faults::{Fault, Flood, Noise};
use super::responders::Who;

/// How much is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Tiny files: does the benchmark itself work?
    Check,
    /// The main table, in two minutes.
    Short,
    /// The rows of the targets' table.
    #[default]
    Targets,
    /// All of the matrix: machines, windows, loss.
    Full,
    /// What goes wrong, while machines load.
    Faults,
    /// The same with fewer machines and smaller files, for us alone: does it go well?
    FaultsShort,
}

impl Form {
    /// The folder in the workspace where its results are published.
    #[must_use]
    pub(super) fn docs(self) -> &'static str {
        match self {
            Self::Faults | Self::FaultsShort => "docs/reliability",
            Self::Check | Self::Short | Self::Targets | Self::Full => "docs/performance",
        }
    }
}

/// A file that is loaded. The sizes are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// For the short form, where only the content counts.
    Tiny,
    /// As memtest86+ for UEFI is: 99 blocks of 1468 bytes and a part of one.
    Small,
    /// For what happens in the middle of a transfer.
    Medium,
    /// An installer's or a rescue system's image.
    Large,
    /// An image that machines keep in memory: no one loads it over TFTP.
    Huge,
}

impl File {
    /// All that the responders have in their root.
    pub const ALL: [Self; 5] = [Self::Tiny, Self::Small, Self::Medium, Self::Large, Self::Huge];

    /// Its name in the root. With a dot: dnsmasq adds `.0` to a boot program's name that has none.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tiny.img",
            Self::Small => "small.img",
            Self::Medium => "medium.img",
            Self::Large => "large.img",
            Self::Huge => "huge.img",
        }
    }

    /// Its length in bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Tiny => 20_000,
            Self::Small => 145_408,
            Self::Medium => 4_000_000,
            Self::Large => 64_000_000,
            Self::Huge => 1_000_000_000,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Tiny => "20 KB",
            Self::Small => "150 KB",
            Self::Medium => "4 MB",
            Self::Large => "64 MB",
            Self::Huge => "1 GB",
        }
    }

    /// Writes it with bytes that do not repeat.
    pub(super) fn write(self, root: &Path) -> Result<()> {
        let mut state = self.bytes() as u64 | 1;
        let next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        let bytes: Vec<u8> = std::iter::repeat_with(next).take(self.bytes()).collect();
        Ok(std::fs::write(root.join(self.name()), bytes)?)
    }
}

/// Bytes of a block in all cases that load one file: what fits an Ethernet frame, as EDK2 asks for.
pub(super) const BLOCK: u16 = 1468;

/// What the machines do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Play {
    /// Each loads one file.
    Load {
        /// How many.
        machines: u32,
        /// What.
        file: File,
        /// Blocks per window; 1 is lock-step.
        window: u16,
        /// Milliseconds over which they are switched on.
        power_on: u64,
    },
    /// Whole boots, a mix of iPXE, EDK2, PXELINUX and GRUB: DISCOVER, offer, port 4011 where it is used, every file.
    Boots {
        /// How many.
        machines: u32,
        /// Which boot program and files they load.
        file: File,
        /// Milliseconds over which they are switched on.
        power_on: u64,
        /// So many machines, these among them, have booted before, and are in the ledger that the responder starts with.
        /// 0: it has none.
        known: u32,
    },
    /// DISCOVER and offer, nothing else.
    Offers {
        /// How many.
        machines: u32,
        /// How often each asks.
        each: u32,
    },
    /// Each asks for a file and is never heard of again; then the responder's memory is looked at.
    Waiting {
        /// How many.
        machines: u32,
    },
    /// What kernel programs take for an answer, in lock-step, and for frames of others.
    Programs {
        /// Seconds that machines load meanwhile.
        seconds: u32,
    },
    /// A responder without any machine: what it costs while it waits.
    Idle {
        /// Seconds.
        seconds: u32,
    },
    /// Connections load a file over HTTP, again and again, over the cable of others.
    Http {
        /// How many at a time.
        connections: u32,
        /// What.
        file: File,
        /// All from one address, as machines behind a router that translates addresses; else each from its own.
        from_one: bool,
        /// Seconds.
        seconds: u32,
    },
    /// Whole boots of UEFI's HTTP client behind a relay: DISCOVER, an offer with a URL, HEAD and GET.
    HttpBoots {
        /// How many.
        machines: u32,
        /// What.
        file: File,
        /// Milliseconds over which they are switched on.
        power_on: u64,
    },
    /// No machine at all: iperf3 sends into the host, while a responder waits.
    Stream {
        /// UDP datagrams, else one TCP connection.
        udp: bool,
        /// Seconds.
        seconds: u32,
    },
}

/// One row of cases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What is played.
    pub play: Play,
    /// What the cable does meanwhile.
    pub noise: Noise,
    /// What happens to the responder meanwhile.
    pub fault: Fault,
    /// The veth's ring has no queue before it, and loses what it has no room for.
    pub ring_loses: bool,
    /// How often each machine loads the file, one time after the other: where one load is over before a server has warmed
    /// up.
    pub loads: u16,
    /// The run is over then, in seconds, and what has arrived counts; 0: when all machines are done.
    pub seconds: u32,
    /// Who takes part, in this order.
    pub who: &'static [Who],
}

impl Case {
    /// What machines load while the kernel counts what its programs take.
    pub(super) fn of_programs(&self, seconds: u32) -> Self {
        for_seconds(seconds, Self { who: self.who, ..load(MACHINES, File::Small, 1, &[]) })
    }

    /// Once, until all machines are done, and nothing goes wrong.
    pub(super) const fn of(play: Play) -> Self {
        Self {
            play,
            noise: Noise::NONE,
            fault: Fault::None,
            ring_loses: false,
            loads: 1,
            seconds: 0,
            who: &[],
        }
    }

    /// Its name, for people and for the filter. No two cases of a form have the same.
    #[must_use]
    pub fn name(&self) -> String {
        let mut name = match self.play {
            Play::Load { machines, file, window, power_on } => {
                let mut name = format!("{}, {}", count(machines), file.title());
                match window {
                    1 => name += ", lock-step",
                    blocks => name += &format!(", window {blocks}"),
                }
                if power_on > 0 {
                    name += &format!(", on within {power_on} ms");
                }
                name
            }
            Play::Boots { machines, power_on, known, .. } => {
                let mut name = format!("{}, whole boots, on within {power_on} ms", count(machines));
                if known > 0 {
                    name += &format!(", of {known} known");
                }
                name
            }
            Play::Offers { machines, .. } => format!("{}, DHCP only", count(machines)),
            Play::Waiting { machines } => format!("{machines} transfers wait"),
            Play::Http { connections, file, from_one, .. } => {
                let plural = if connections == 1 { "" } else { "s" };
                let from = if from_one { " from one address" } else { "" };
                format!("HTTP: {connections} connection{plural}{from}, {}", file.title())
            }
            Play::HttpBoots { machines, file, power_on } => {
                format!("HTTP: {}, whole boots, {}, on within {power_on} ms", count(machines), file.title())
            }
            Play::Programs { .. } => "kernel programs".into(),
            Play::Idle { .. } => "idle".into(),
            Play::Stream { udp: false, .. } => "others: TCP into the host".into(),
            Play::Stream { udp: true, .. } => "others: UDP into the host".into(),
        };
        let ring = if self.ring_loses { "a ring that loses" } else { "" };
        for words in [&self.noise.words(), self.fault.words(), ring] {
            if !words.is_empty() {
                name = format!("{name}, {words}");
            }
        }
        name
    }

    /// Whether something goes wrong, on purpose.
    #[must_use]
    pub fn goes_wrong(&self) -> bool {
        self.noise != Noise::NONE || self.fault != Fault::None
    }

    /// The most frames that are on the cable at a time: what machines ask at once, or windows for all of them.
    #[must_use]
    pub fn under_way(&self) -> u32 {
        match self.play {
            Play::Load { machines, window, .. } => machines * u32::from(window),
            Play::Boots { machines, .. } | Play::Offers { machines, .. } | Play::Waiting { machines } => {
                machines
            }
            Play::Programs { .. } => MACHINES,
            Play::Idle { .. } | Play::Http { .. } | Play::HttpBoots { .. } | Play::Stream { .. } => 0,
        }
    }

    /// The file that machines load.
    #[must_use]
    pub fn file(&self) -> File {
        match self.play {
            Play::Load { file, .. }
            | Play::Boots { file, .. }
            | Play::Http { file, .. }
            | Play::HttpBoots { file, .. } => file,
            Play::Offers { .. }
            | Play::Waiting { .. }
            | Play::Programs { .. }
            | Play::Idle { .. }
            | Play::Stream { .. } => File::Small,
        }
    }

    /// DATA packets of one machine's transfer, its last and perhaps empty block included.
    #[must_use]
    pub fn blocks(&self) -> Option<u64> {
        let Play::Load { file, .. } = self.play else { return None };
        Some(file.bytes() as u64 / u64::from(BLOCK) + 1)
    }
}

fn count(machines: u32) -> String {
    format!("{machines} machine{}", if machines == 1 { "" } else { "s" })
}

const fn load(machines: u32, file: File, window: u16, who: &'static [Who]) -> Case {
    case(Play::Load { machines, file, window, power_on: 0 }, who)
}

const fn case(play: Play, who: &'static [Who]) -> Case {
    Case { who, ..Case::of(play) }
}

/// Machines load as often as they can within some seconds. A row takes as long with every server.
const fn for_seconds(seconds: u32, case: Case) -> Case {
    Case { loads: LOADS_MAX, seconds, ..case }
}

/// The same with one large file, which no machine has whole by then.
const fn a_part_within(seconds: u32, case: Case) -> Case {
    Case { seconds, ..case }
}

const fn lossy(per_mille: u32, case: Case) -> Case {
    noisy(Noise { loss: per_mille, ..Noise::NONE }, case)
}

const fn noisy(noise: Noise, case: Case) -> Case {
    Case { noise, ..case }
}

const fn faulty(fault: Fault, case: Case) -> Case {
    Case { fault, ..case }
}

/// More often than any server sends a small file to a machine within some seconds.
const LOADS_MAX: u16 = 5000;

/// As many machines as the network of the cable has addresses for, which is nearly what the registry has room for.
const KNOWN: u32 = 65_000;

/// As many machines as find a place in a veth's ring.
const MACHINES: u32 = 128;

/// The main table.
const SHORT: &[Case] = &[
    for_seconds(3, load(MACHINES, File::Small, 1, Who::SHORT_AND_LIMITS)),
    a_part_within(3, load(MACHINES, File::Large, 1, Who::SHORT_AND_LIMITS)),
    case(Play::Programs { seconds: 1 }, Who::PROGRAMS),
];

/// Whether the benchmark works.
const CHECK: &[Case] = &[
    load(16, File::Tiny, 1, Who::SHORT_AND_LIMITS),
    for_seconds(1, load(16, File::Medium, 1, &[Who::Socket, Who::GenericOffload])),
    load(16, File::Tiny, 4, &[Who::Socket, Who::GenericOffload, Who::NativeOffload]),
    lossy(
        10,
        case(
            Play::Load { machines: 16, file: File::Tiny, window: 1, power_on: 31 },
            &[Who::Socket, Who::GenericOffload],
        ),
    ),
    case(
        Play::Boots { machines: 16, file: File::Tiny, power_on: 100, known: 0 },
        &[Who::Socket, Who::NativeOffload],
    ),
    case(Play::Offers { machines: 16, each: 20 }, &[Who::Dnsmasq, Who::Socket, Who::Generic]),
    case(Play::Waiting { machines: 100 }, &[Who::Socket, Who::Generic]),
    case(Play::Programs { seconds: 1 }, &[Who::GenericOffload, Who::CopyRedirect]),
    case(Play::Idle { seconds: 1 }, &[Who::Socket, Who::Generic]),
    case(Play::Http { connections: 20, file: File::Small, from_one: false, seconds: 1 }, Who::HTTP),
    http_boots(20, File::Small),
    case(Play::Stream { udp: false, seconds: 1 }, &[Who::Nobody, Who::GenericOffload]),
];

/// Everybody within a second: the issue's own case.
const STORM: Play = boots(2000);

const fn http(connections: u32, file: File) -> Case {
    case(
        Play::Http {
            connections,
            file,
            from_one: false,
            seconds: if matches!(file, File::Huge) { 3 } else { 1 },
        },
        Who::HTTP,
    )
}

const fn http_boots(machines: u32, file: File) -> Case {
    case(Play::HttpBoots { machines, file, power_on: 1000 }, &[Who::GenericOffload])
}

const fn boots(machines: u32) -> Play {
    Play::Boots { machines, file: File::Small, power_on: 1000, known: 0 }
}

/// Boots of machines that are in the ledger among so many.
const fn boots_of(known: u32) -> Case {
    let play = Play::Boots { machines: 100, file: File::Small, power_on: 1000, known };
    case(play, &[Who::GenericOffload])
}

/// A hall of machines after a power cut.
const HALL: Play = Play::Boots { machines: 10_000, file: File::Small, power_on: 10_000, known: 0 };

/// As many as find a place in the ring, five times over, at once.
const CROWD: Case =
    case(Play::Load { machines: 1000, file: File::Small, window: 1, power_on: 31 }, Who::SHORT);

/// The rows of the targets.
const TARGETS: &[Case] = &[
    // 100 exchanges of some microseconds would be over before a clock has run: one machine loads the large file.
    a_part_within(2, load(1, File::Large, 1, Who::SHORT)),
    for_seconds(1, load(4, File::Small, 1, Who::CURVES)),
    for_seconds(1, load(16, File::Small, 1, Who::CURVES)),
    for_seconds(2, load(MACHINES, File::Small, 1, Who::ALL_AND_LIMITS)),
    a_part_within(2, load(MACHINES, File::Large, 1, Who::SHORT_AND_LIMITS)),
    a_part_within(2, load(10, File::Large, 16, Who::ALL)),
    CROWD,
    Case { ring_loses: true, who: &[Who::Dnsmasq, Who::Socket, Who::Generic, Who::GenericOffload], ..CROWD },
    lossy(10, load(128, File::Small, 1, Who::SHORT)),
    case(boots(100), Who::CURVES),
    case(boots(500), Who::CURVES),
    case(STORM, Who::BOOTS),
    case(HALL, &[Who::Dnsmasq, Who::Socket, Who::GenericOffload]),
    boots_of(100),
    boots_of(KNOWN),
    case(Play::Offers { machines: 128, each: 1000 }, Who::BOOTS),
    case(Play::Offers { machines: 1000, each: 125 }, Who::BOOTS),
    case(Play::Waiting { machines: 2000 }, Who::OURS),
    case(Play::Programs { seconds: 1 }, Who::PROGRAMS),
    case(Play::Idle { seconds: 3 }, Who::SHORT),
    http(1, File::Small),
    http(16, File::Small),
    http(250, File::Small),
    http(2000, File::Small),
    case(Play::Http { connections: 500, file: File::Small, from_one: true, seconds: 1 }, Who::HTTP),
    http(16, File::Large),
    http(4, File::Huge),
    http_boots(2000, File::Small),
    case(Play::Stream { udp: false, seconds: 2 }, Who::BESIDE),
];

/// Everything at a time, on both ways.
const ALL_NOISE: Noise = Noise { loss: 100, duplicate: 100, reorder: 100, both_ways: true };

/// What goes wrong.
const FAULTS: &[Case] = &[
    lossy(300, load(200, File::Tiny, 1, Who::FAULTS)),
    noisy(Noise { reorder: 300, ..Noise::NONE }, load(200, File::Tiny, 4, Who::FAULTS)),
    noisy(Noise { duplicate: 300, ..Noise::NONE }, load(200, File::Tiny, 4, Who::FAULTS)),
    noisy(ALL_NOISE, load(200, File::Tiny, 1, Who::FAULTS)),
    faulty(Fault::Killed, load(200, File::Medium, 1, Who::FAULTS)),
    faulty(Fault::Stopped, load(2000, File::Tiny, 1, Who::FAULTS)),
    faulty(Fault::Replaced, case(CHANGING, Who::FAULTS)),
    faulty(Fault::Rewritten, case(CHANGING, Who::FAULTS)),
    faulty(Fault::Starved, load(200, File::Small, 1, Who::FAULTS)),
    faulty(Fault::Flooded(Flood { requests: 5000, listen: 35 }), case(BESIDE_FLOOD, Who::FAULTS)),
    case(STORM, Who::FAULTS),
    lossy(50, case(STORM, Who::FAULTS)),
];

/// Some begin with one version of a file, some with the other, and all are in the middle when it changes.
const CHANGING: Play = Play::Load { machines: 200, file: File::Medium, window: 1, power_on: 1500 };

/// Some come before strangers hold whatever can be held, some after.
const BESIDE_FLOOD: Play = Play::Load { machines: 100, file: File::Small, window: 1, power_on: 5000 };

/// The same, for few processors and a debug build. What a kill leaves behind has a test of its own.
const FAULTS_SHORT: &[Case] = &[
    lossy(300, load(100, File::Tiny, 1, Who::USUAL)),
    noisy(Noise { reorder: 300, ..Noise::NONE }, load(100, File::Tiny, 4, Who::DATAPATHS)),
    noisy(Noise { duplicate: 300, ..Noise::NONE }, load(100, File::Tiny, 4, Who::DATAPATHS)),
    noisy(ALL_NOISE, load(100, File::Tiny, 1, Who::USUAL)),
    faulty(Fault::Stopped, load(2000, File::Tiny, 1, Who::USUAL)),
    faulty(Fault::Replaced, case(CHANGING, Who::USUAL)),
    faulty(Fault::Rewritten, case(CHANGING, Who::USUAL)),
    faulty(Fault::Starved, load(100, File::Small, 1, Who::USUAL)),
    faulty(Fault::Flooded(Flood { requests: 5000, listen: 8 }), case(BESIDE_FLOOD, Who::DATAPATHS)),
    case(STORM, Who::DATAPATHS),
    lossy(50, case(STORM, Who::USUAL)),
];

/// The matrix, besides the rows of the targets, and what takes too long for these.
fn matrix() -> Vec<Case> {
    let mut cases = vec![
        case(Play::Stream { udp: true, seconds: 2 }, Who::BESIDE),
        http(250, File::Large),
        http(2000, File::Large),
    ];
    for machines in [1, 16, 128, 1000, 2000] {
        for window in [1, 4, 16, 64] {
            for loss in [0, 10, 50] {
                cases.push(lossy(loss, load(machines, File::Small, window, Who::ALL)));
            }
        }
    }
    // Many machines and large files at a time are minutes for most: one window each.
    for (machines, window) in [(16, 4), (16, 64), (128, 1), (128, 16)] {
        cases.push(load(machines, File::Large, window, Who::ALL));
    }
    cases
}

/// The cases of a form; those with `filter` in their names if it is given.
#[must_use]
pub(super) fn cases(form: Form, filter: Option<&str>) -> Vec<Case> {
    let mut cases = match form {
        Form::Check => CHECK.to_vec(),
        Form::Short => SHORT.to_vec(),
        Form::Targets | Form::Full => TARGETS.to_vec(),
        Form::Faults => FAULTS.to_vec(),
        Form::FaultsShort => FAULTS_SHORT.to_vec(),
    };
    if form == Form::Full {
        for case in matrix() {
            if cases.iter().all(|other| other.name() != case.name()) {
                cases.push(case);
            }
        }
    }
    cases.retain(|case| filter.is_none_or(|word| case.name().contains(word)));
    cases
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_tell_cases_apart() {
        for form in [Form::Check, Form::Short, Form::Targets, Form::Full, Form::Faults, Form::FaultsShort] {
            let cases = cases(form, None);
            assert!(!cases.is_empty());
            let names: BTreeSet<String> = cases.iter().map(Case::name).collect();
            assert_eq!(names.len(), cases.len(), "{form:?}");
        }
    }

    #[test]
    fn a_filter_leaves_what_it_names() {
        let found = cases(Form::Targets, Some("1 % lost"));
        assert_eq!(
            found.iter().map(Case::name).collect::<Vec<_>>(),
            ["128 machines, 150 KB, lock-step, 1 % lost"]
        );
        assert!(cases(Form::Full, Some("no such case")).is_empty());
    }

    #[test]
    fn the_last_block_is_counted_also_when_it_is_short() {
        assert_eq!(load(1, File::Small, 1, &[]).blocks(), Some(100));
    }
}
