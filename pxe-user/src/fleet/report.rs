//! What a memory test posts over the network: the body of `POST /report/v1/{mac}`, JSON.
//!
//! The sender needs nothing but a shell: each field may be left out, unknown ones are passed over.

use serde::{Deserialize, Serialize};

/// The longest body that is taken, in bytes.
pub const BODY_MAX: usize = 256 * 1024;

/// Which step of the test reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The test begins.
    Start,
    /// It runs.
    Progress,
    /// It has found an error.
    Error,
    /// It has ended: `pass` says how.
    Done,
    /// It could not run: `message` says why.
    Broken,
}

/// One error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReportedError {
    /// Its physical address, in hexadecimal with `0x`.
    pub address: Option<String>,
    /// What should have been there.
    pub expected: Option<String>,
    /// What was there.
    pub actual: Option<String>,
    /// The processor.
    pub cpu: Option<u32>,
}

/// A report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Which step.
    pub stage: Stage,
    /// What tests: for people.
    #[serde(default)]
    pub source: Option<String>,
    /// The machine's serial number (SMBIOS type 1).
    #[serde(default)]
    pub serial: Option<String>,
    /// Its UUID.
    #[serde(default)]
    pub uuid: Option<String>,
    /// Its product name.
    #[serde(default)]
    pub product: Option<String>,
    /// Seconds since the test began.
    #[serde(default)]
    pub seconds: Option<u64>,
    /// How far it is, in per cent.
    #[serde(default)]
    pub percent: Option<u8>,
    /// Bytes under test.
    #[serde(default)]
    pub memory: Option<u64>,
    /// Processors that test.
    #[serde(default)]
    pub cpus: Option<u32>,
    /// With [`Stage::Done`]: whether nothing was found.
    #[serde(default)]
    pub pass: Option<bool>,
    /// All errors so far.
    #[serde(default)]
    pub error_count: Option<u64>,
    /// Errors since the last report.
    #[serde(default)]
    pub errors: Vec<ReportedError>,
    /// Corrected errors by EDAC, all memory controllers together.
    #[serde(default)]
    pub corrected: Option<u64>,
    /// Uncorrected errors by EDAC.
    #[serde(default)]
    pub uncorrected: Option<u64>,
    /// The SMBIOS structure table (`/sys/firmware/dmi/tables/DMI`) in base64: the DIMMs are read from it.
    #[serde(default)]
    pub smbios: Option<String>,
    /// A sentence for people.
    #[serde(default)]
    pub message: Option<String>,
}
