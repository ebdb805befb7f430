//! The fleet as people and programs see it. These types are the JSON of `/api/v1`, of `pxed status --json`,
//! and of the stream of updates. `docs/api.md` and the published OpenAPI file describe them.
//!
//! Times are milliseconds since 1970 (UTC). Unknown values are `null`. Texts from machines are cut to
//! [`TEXT_MAX`], without control characters, and otherwise unchanged: each reader must escape them for its
//! own output.

mod encoded_machine;
mod machines;

use serde::{Deserialize, Serialize};

pub use encoded_machine::EncodedMachine;
pub use machines::Machines;

/// The longest text from the network that pxed keeps, in bytes. Longer ones are cut.
pub const TEXT_MAX: usize = 256;

/// Milliseconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMs(pub u64);

/// The state of a machine. The order is that of attention: states that need a person come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The machine's memory is bad, or its boot has failed. [`Machine::why`] has the reason.
    Failed,
    /// The machine returned to PXE while its test should run: it was reset, or has lost power.
    Returned,
    /// The machine's test has not reported for [`FleetConfig::silence`](crate::thread::FleetConfig::silence).
    Silent,
    /// The machine is loading files.
    Loading,
    /// pxed has sent the machine an offer.
    Offered,
    /// pxed knows the machine, but no boot of it has begun. For example, it has only a name, or loads files
    /// without a DHCP request.
    Seen,
    /// The machine has loaded all files, and its test should run; or its test reports.
    Running,
    /// The machine's test has ended without errors.
    Passed,
    /// pxed has sent the machine to its own disk.
    Local,
    /// A rule ignores the machine, or no rule matches it.
    Ignored,
}

impl State {
    /// All states, most urgent first.
    pub const ALL: [Self; 10] = [
        Self::Failed,
        Self::Returned,
        Self::Silent,
        Self::Loading,
        Self::Offered,
        Self::Seen,
        Self::Running,
        Self::Passed,
        Self::Local,
        Self::Ignored,
    ];

    /// The state's name in JSON and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Returned => "returned",
            Self::Silent => "silent",
            Self::Loading => "loading",
            Self::Offered => "offered",
            Self::Seen => "seen",
            Self::Running => "running",
            Self::Passed => "passed",
            Self::Local => "local",
            Self::Ignored => "ignored",
        }
    }
}

/// A file that a machine is loading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The file's name.
    pub file: String,
    /// Bytes that have arrived.
    pub bytes: u64,
    /// The file's size in bytes.
    pub size: u64,
    /// Bytes per second since the last update, a second or two ago. 0 without an update in the last 5 s.
    pub bytes_per_s: u64,
}

/// The result of a memory test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestOutcome {
    /// The test runs, and has found no error so far.
    Testing,
    /// The test has ended and found no error.
    Pass,
    /// The test has found an error, or has ended without saying that it passed.
    Fail,
}

/// A memory error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryError {
    /// When it was first reported.
    pub at: UnixMs,
    /// Its physical address as the test wrote it, for example `0x12345678`.
    pub address: Option<String>,
    /// The value that the test expected there.
    pub expected: Option<String>,
    /// The value that the test read.
    pub actual: Option<String>,
    /// The number of the processor that found it.
    pub cpu: Option<u32>,
    /// The DIMM by its label on the board, if the SMBIOS table shows it.
    pub dimm: Option<String>,
    /// How often this address has been reported, including the first time.
    pub count: u64,
}

/// A memory module, from SMBIOS type 17, or from the SPD data that a test has read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dimm {
    /// The slot's label on the board, or `SPD` and a number if memtest86+ reported it.
    pub slot: String,
    /// Size in bytes. 0 for an empty slot.
    pub size: u64,
    /// The type of memory, for example `DDR4`.
    pub kind: Option<String>,
    /// Speed in MT/s.
    pub speed: Option<u32>,
    /// The manufacturer.
    pub manufacturer: Option<String>,
    /// The part number.
    pub part: Option<String>,
    /// The serial number.
    pub serial: Option<String>,
}

/// What a test reports about a machine's memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The result.
    pub outcome: TestOutcome,
    /// The test's name: `memtest86+` for lines of a console, otherwise the report's `source`, by default
    /// `pxed memory test`.
    pub source: String,
    /// When pxed received the test's first report or line.
    pub started: UnixMs,
    /// When pxed received the latest report or line.
    pub heard: UnixMs,
    /// Passes that have ended. Only memtest86+ reports them.
    pub passes: u32,
    /// Progress of the present pass, in per cent.
    pub percent: Option<u8>,
    /// Bytes under test.
    pub memory: Option<u64>,
    /// Number of errors so far.
    pub errors: u64,
    /// The first errors with different addresses, 32 at most.
    pub first_errors: Vec<MemoryError>,
    /// Errors that the memory controller has corrected (EDAC). `None` if nothing counts them.
    pub corrected: Option<u64>,
    /// Errors that the memory controller could not correct. `None` if nothing counts them.
    pub uncorrected: Option<u64>,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The Ethernet address, which identifies the machine.
    pub mac: String,
    /// The name that an administrator or a program gave it over the API.
    pub name: Option<String>,
    /// The SMBIOS UUID.
    pub uuid: Option<String>,
    /// The serial number, if a report or a console has named it.
    pub serial: Option<String>,
    /// The last known IPv4 address.
    pub address: Option<String>,
    /// The architecture, written as in `--boot-file`.
    pub arch: Option<String>,
    /// The vendor class that the firmware last sent (option 60). Without one, the product name from a report.
    pub firmware: Option<String>,
    /// The relay that forwarded its last request. `None` if the request came directly.
    pub relay: Option<String>,
    /// The VLAN of its frames. `None` if they are untagged.
    pub vlan: Option<u16>,
    /// The interface on which pxed last received a request from it.
    pub interface: Option<String>,
    /// The responder that saw it last, if that is another one of a shared ledger. `None` if this one did.
    pub responder: Option<String>,
    /// The state.
    pub state: State,
    /// Since when it has been in this state.
    pub since: UnixMs,
    /// The reason for the state, in a sentence for people. Failures always have one.
    pub why: Option<String>,
    /// The rule that matched its last request.
    pub rule: Option<String>,
    /// The image that this rule names.
    pub image: Option<String>,
    /// The file that it is loading now.
    pub progress: Option<Progress>,
    /// Number of boots that it began from the network.
    pub boots: u32,
    /// Number of boots that loaded all their files.
    pub completed: u32,
    /// DATA packets that were retransmitted, in all its boots.
    pub retransmits: u64,
    /// When it was first seen. 0 for a machine that has a name but was never seen.
    pub first_seen: UnixMs,
    /// When pxed last received anything from it or from its console. 0 for never.
    pub last_seen: UnixMs,
    /// What a test reports about its memory. `None` before the first test.
    pub verdict: Option<Verdict>,
    /// Its memory modules.
    pub dimms: Vec<Dimm>,
}

/// Something that pxed cannot store or show completely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// What is lost, why, and the remedy, in a sentence.
    pub what: String,
    /// Since when.
    pub since: UnixMs,
}

/// A responder of a shared ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Responder {
    /// Its name.
    pub name: String,
    /// It is the one that shows this board.
    pub own: bool,
    /// Its host's name.
    pub host: String,
    /// It runs, and is connected to the shared ledger.
    pub alive: bool,
    /// When it was last connected, if it is not alive. `None` if it is alive, or was stopped.
    pub seen: Option<UnixMs>,
    /// The name of its segment, if it is in one.
    pub segment: Option<String>,
    /// The version of pxed. `None` if it is too old to say so.
    pub version: Option<String>,
    /// How many batches wait on its host for the shared ledger.
    pub waiting: u64,
    /// A digest of its rules. Of two responders with the same version of pxed, different digests mean different rules.
    pub rules: Option<String>,
}

/// The whole fleet at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Board {
    /// When the board was made.
    pub at: UnixMs,
    /// Grows by one with each change of a machine, so that a viewer can see that it has missed one. It starts
    /// at the wall-clock time in milliseconds, so it grows over restarts, too.
    pub revision: u64,
    /// The machines, in the order of [`State`], then the ones that were seen last.
    pub machines: Machines,
    /// What is not stored at present.
    pub lost: Vec<Lost>,
    /// All responders of the shared ledger, as this one last knew them. Empty without one.
    #[serde(default)]
    pub responders: Vec<Responder>,
}

/// A step in a machine's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Number of the step. It grows over all machines.
    pub id: u64,
    /// When it happened.
    pub at: UnixMs,
    /// The machine's Ethernet address.
    pub mac: String,
    /// The kind of step: `new`, `told`, `fetched`, `broken_off`, `refused`, `no_config`, `state`, `report`,
    /// `error`, `upload` and so on.
    pub event: String,
    /// What happened, in a sentence.
    pub text: String,
    /// Facts by name: numbers and texts.
    #[serde(default)]
    pub facts: serde_json::Map<String, serde_json::Value>,
}

/// One boot, with the duration of its stages in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// When it began.
    pub at: UnixMs,
    /// From pxed's first offer to the first request for a file. `None` if pxed sent no offer.
    pub offer_ms: Option<u64>,
    /// From the first request for a file to the payload's last byte. A boot without a payload counts as
    /// loaded 15 s after its last request, and these are included.
    pub load_ms: Option<u64>,
    /// Bytes that were transferred.
    pub bytes: u64,
    /// DATA packets that were retransmitted.
    pub retransmits: u64,
    /// How far it came: `running`, `passed`, `failed`, `local`, `reset` or `unfinished`. `None` while it
    /// loads.
    pub outcome: Option<String>,
}

/// One machine with its history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Story {
    /// The machine.
    pub machine: Machine,
    /// Its boots, newest first.
    pub boots: Vec<Boot>,
    /// Its steps, newest first.
    pub steps: Vec<Step>,
}

/// A change of the board, sent to viewers that subscribe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Update {
    /// A machine is new, or has changed.
    Machine {
        /// The board's revision with this change.
        revision: u64,
        /// The machine.
        machine: EncodedMachine,
    },
    /// The registry has forgotten a machine.
    Forgotten {
        /// The board's revision with this change.
        revision: u64,
        /// The machine's Ethernet address.
        mac: String,
    },
    /// A new step in a machine's history.
    Step {
        /// The step.
        step: Step,
    },
    /// [`Board::responders`] has changed.
    Responders {
        /// The board's revision with this change.
        revision: u64,
        /// The new list, complete.
        responders: Vec<Responder>,
    },
    /// [`Board::lost`] has changed.
    Lost {
        /// The new list, complete.
        lost: Vec<Lost>,
    },
}
