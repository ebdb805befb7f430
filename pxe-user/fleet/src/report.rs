//! What a memory test posts over the network: the body of `POST /report/v1/{mac}`, JSON.
//!
//! The sender needs nothing but a shell: each field may be left out, unknown ones are passed over.

use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::board::TEXT_MAX;

/// The longest body that is taken, in bytes.
pub const BODY_MAX: usize = 256 * 1024;
/// Errors of one report that are kept: the first ones. `error_count` counts the rest.
pub const ERRORS_MAX: usize = 64;

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
    #[serde(deserialize_with = "short")]
    pub address: Option<String>,
    /// What should have been there.
    #[serde(deserialize_with = "short")]
    pub expected: Option<String>,
    /// What was there.
    #[serde(deserialize_with = "short")]
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
    #[serde(default, deserialize_with = "short")]
    pub source: Option<String>,
    /// The machine's serial number (SMBIOS type 1).
    #[serde(default, deserialize_with = "short")]
    pub serial: Option<String>,
    /// Its UUID.
    #[serde(default, deserialize_with = "short")]
    pub uuid: Option<String>,
    /// Its product name.
    #[serde(default, deserialize_with = "short")]
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
    /// Errors since the last report, at most [`ERRORS_MAX`].
    #[serde(default, deserialize_with = "first_errors")]
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
    #[serde(default, deserialize_with = "short")]
    pub message: Option<String>,
}

/// A text, cut to [`TEXT_MAX`] bytes.
fn short<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.map(|mut text| {
        text.truncate(text.floor_char_boundary(TEXT_MAX));
        text.shrink_to_fit();
        text
    }))
}

/// The first errors. The others are never kept: `{}` in a body is three bytes, and here about a hundred.
fn first_errors<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ReportedError>, D::Error> {
    struct First;

    impl<'de> Visitor<'de> for First {
        type Value = Vec<ReportedError>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of errors")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut errors = Vec::new();
            while errors.len() < ERRORS_MAX {
                match list.next_element()? {
                    Some(error) => errors.push(error),
                    None => return Ok(errors),
                }
            }
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(errors)
        }
    }

    deserializer.deserialize_seq(First)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_holds_no_more_than_its_bounds() {
        let errors = vec!["{}"; BODY_MAX / 3].join(",");
        let long = "\u{fc}".repeat(TEXT_MAX);
        let body = format!(
            r#"{{"stage":"error","message":"x{long}","smbios":"{long}","errors":[{{"address":"{long}"}},{errors}]}}"#
        );
        let report: Report = serde_json::from_str(&body).unwrap();
        assert_eq!(report.errors.len(), ERRORS_MAX);
        assert_eq!(report.errors[0].address.as_ref().map(String::len), Some(TEXT_MAX));
        // A character is not cut in two.
        assert_eq!(report.message.map(|text| text.len()), Some(TEXT_MAX - 1));
        // The table is needed whole.
        assert_eq!(report.smbios, Some(long));
    }
}
