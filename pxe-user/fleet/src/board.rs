//! What people and programs are shown of the fleet. These types are the JSON of `/api/v1`, of `pxed status --json`, and of
//! the events that are streamed; `docs/api.md` and the published OpenAPI file describe them.
//!
//! Times are milliseconds since 1970 (UTC); what is not known is `null`. Texts from machines are shown as they were sent,
//! cut to [`TEXT_MAX`] and without control characters: whoever shows them escapes them for where they go.

use serde::{Deserialize, Serialize};

use super::encoded_machine::EncodedMachine;

/// The longest text of a stranger that is kept, in bytes.
pub const TEXT_MAX: usize = 256;

/// Milliseconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMs(pub u64);

/// How a machine is doing. The order is that of attention: what needs a person comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its memory is bad, or its boot has failed: `why` says how.
    Failed,
    /// It came back to PXE while its test should run: it was reset, or has lost power.
    Returned,
    /// Its test has not been heard of for too long.
    Silent,
    /// Files are on their way to it.
    Loading,
    /// It was sent a boot offer.
    Offered,
    /// It asked, and there was nothing to say yet.
    Seen,
    /// It has loaded everything: its test runs.
    Running,
    /// Its test has ended well.
    Passed,
    /// It was sent to its own disk.
    Local,
    /// A rule says that it is not ours, or nothing is there for its kind.
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

    /// The word for it, as in JSON and in metrics.
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

/// A file that is on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Its name.
    pub file: String,
    /// Bytes that have arrived.
    pub bytes: u64,
    /// Its size.
    pub size: u64,
    /// Bytes a second, over the last second or two.
    pub bytes_per_s: u64,
}

/// What is known of a machine's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A test runs, and has found nothing so far.
    Testing,
    /// A test has ended and found nothing.
    Pass,
    /// An error was found.
    Fail,
}

/// A memory error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryError {
    /// When it was reported.
    pub at: UnixMs,
    /// Its physical address as the test wrote it, for example `0x12345678`.
    pub address: Option<String>,
    /// What should have been there.
    pub expected: Option<String>,
    /// What was there.
    pub actual: Option<String>,
    /// The processor that found it.
    pub cpu: Option<u32>,
    /// The DIMM, by its label on the board, if that is known.
    pub dimm: Option<String>,
    /// How often this has been reported, the first time included.
    pub count: u64,
}

/// A memory module, from SMBIOS type 17 or the test's own reading (SPD).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dimm {
    /// The slot's label on the board.
    pub slot: String,
    /// Its size in bytes; 0 for an empty slot.
    pub size: u64,
    /// DDR4 and the like.
    pub kind: Option<String>,
    /// In MT/s.
    pub speed: Option<u32>,
    /// Who made it.
    pub manufacturer: Option<String>,
    /// Its part number.
    pub part: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
}

/// What a test says of a machine's memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// In a word.
    pub outcome: Outcome,
    /// Which test says so: `memtest86+` or `pxed memory test`.
    pub source: String,
    /// When that test began.
    pub started: UnixMs,
    /// When it was last heard of.
    pub heard: UnixMs,
    /// Passes that are through.
    pub passes: u32,
    /// How far the present pass is, in per cent.
    pub percent: Option<u8>,
    /// Bytes under test.
    pub memory: Option<u64>,
    /// Errors so far, all of them.
    pub errors: u64,
    /// The first few, by address.
    pub first_errors: Vec<MemoryError>,
    /// Errors that the memory controller has corrected (EDAC), if it counts.
    pub corrected: Option<u64>,
    /// Errors that it could not correct.
    pub uncorrected: Option<u64>,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Its Ethernet address, by which it is known.
    pub mac: String,
    /// A name that a person or a console server gave it.
    pub name: Option<String>,
    /// Its SMBIOS UUID.
    pub uuid: Option<String>,
    /// Its serial number, where a script or a test reported it.
    pub serial: Option<String>,
    /// Its last known IPv4 address.
    pub address: Option<String>,
    /// Its architecture, as in `--boot-file`.
    pub arch: Option<String>,
    /// What its firmware calls itself.
    pub firmware: Option<String>,
    /// The relay between us.
    pub relay: Option<String>,
    /// The VLAN of its frames.
    pub vlan: Option<u16>,
    /// Our interface where it was seen.
    pub interface: Option<String>,
    /// How it is doing.
    pub state: State,
    /// Since when.
    pub since: UnixMs,
    /// Why, in a sentence for people; for failures above all.
    pub why: Option<String>,
    /// The rule that it matched last.
    pub rule: Option<String>,
    /// The image that it boots by that rule.
    pub image: Option<String>,
    /// What is on its way to it.
    pub progress: Option<Progress>,
    /// Boots that were begun.
    pub boots: u32,
    /// Boots whose payload arrived whole.
    pub completed: u32,
    /// DATA packets that were sent again, in all its boots.
    pub retransmits: u64,
    /// When it was first seen; 0 for a machine that was named before it was seen.
    pub first_seen: UnixMs,
    /// When it was last heard of; 0 for never.
    pub last_seen: UnixMs,
    /// What is known of its memory.
    pub verdict: Option<Verdict>,
    /// Its memory modules.
    pub dimms: Vec<Dimm>,
}

/// Something that is not kept or shown as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// What is lost, why, and what to do, in a sentence.
    pub what: String,
    /// Since when.
    pub since: UnixMs,
}

/// The whole fleet at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Board {
    /// When this was put together.
    pub at: UnixMs,
    /// Counts up with each change, so that a viewer knows whether it has missed one.
    pub revision: u64,
    /// The machines; those that need attention first, then by when they were last heard of.
    pub machines: Vec<EncodedMachine>,
    /// What is not kept.
    pub lost: Vec<Lost>,
}

/// A step in a machine's story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Counts up over all machines.
    pub id: u64,
    /// When.
    pub at: UnixMs,
    /// Which machine.
    pub mac: String,
    /// Which kind: `told`, `loading`, `fetched`, `state`, `report`, `error`, `upload`, `refused` and so on.
    pub event: String,
    /// What happened, in a sentence.
    pub text: String,
    /// Facts by name, numbers and texts.
    #[serde(default)]
    pub facts: serde_json::Map<String, serde_json::Value>,
}

/// How long the stages of one boot took, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// When it began.
    pub at: UnixMs,
    /// From the first DISCOVER to the first request for a file.
    pub offer_ms: Option<u64>,
    /// From there to the last byte of the payload.
    pub load_ms: Option<u64>,
    /// Bytes that were transferred.
    pub bytes: u64,
    /// DATA packets that were sent again.
    pub retransmits: u64,
    /// How it ended: `running`, `local`, `failed` and so on.
    pub outcome: Option<String>,
}

/// One machine with its story.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Story {
    /// The machine.
    pub machine: Machine,
    /// Its boots, newest first.
    pub boots: Vec<Boot>,
    /// Its steps, newest first.
    pub steps: Vec<Step>,
}

/// What a viewer that follows is sent.
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
    /// A machine was forgotten.
    Forgotten {
        /// The board's revision with this change.
        revision: u64,
        /// Which machine.
        mac: String,
    },
    /// A step in a machine's story.
    Step {
        /// The step.
        step: Step,
    },
    /// What is not kept has changed.
    Lost {
        /// All of it.
        lost: Vec<Lost>,
    },
}
