//! [`Report`]: what a memory test posts over HTTP, as the JSON body of `POST /report/v1/{mac}`.
//!
//! The sender may be a plain shell script. So every field but `stage` is optional, and unknown fields are
//! ignored.

use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::board::TEXT_MAX;

/// The longest body that pxed accepts, in bytes.
pub const BODY_MAX: usize = 256 * 1024;
/// Errors that pxed keeps from one report: the first ones. [`Report::error_count`] counts all of them.
pub const ERRORS_MAX: usize = 64;

/// The stage of the test that a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The test begins.
    Start,
    /// The test runs.
    Progress,
    /// The test has found an error.
    Error,
    /// The test has ended. [`Report::pass`] has the result.
    Done,
    /// The test could not run. [`Report::message`] has the reason.
    Broken,
}

/// A memory error in a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReportedError {
    /// Physical address, in hexadecimal with `0x`.
    #[serde(deserialize_with = "short")]
    pub address: Option<String>,
    /// The value that the test expected.
    #[serde(deserialize_with = "short")]
    pub expected: Option<String>,
    /// The value that the test read.
    #[serde(deserialize_with = "short")]
    pub actual: Option<String>,
    /// The number of the processor.
    pub cpu: Option<u32>,
}

/// A memory test's report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The stage of the test.
    pub stage: Stage,
    /// The test's name, for people. By default `pxed memory test`.
    #[serde(default, deserialize_with = "short")]
    pub source: Option<String>,
    /// The machine's serial number (SMBIOS type 1).
    #[serde(default, deserialize_with = "short")]
    pub serial: Option<String>,
    /// The machine's UUID.
    #[serde(default, deserialize_with = "short")]
    pub uuid: Option<String>,
    /// The machine's product name.
    #[serde(default, deserialize_with = "short")]
    pub product: Option<String>,
    /// Seconds since the test began.
    #[serde(default)]
    pub seconds: Option<u64>,
    /// Progress in per cent. Values above 100 count as 100.
    #[serde(default)]
    pub percent: Option<u8>,
    /// Bytes under test.
    #[serde(default)]
    pub memory: Option<u64>,
    /// Number of processors that take part.
    #[serde(default)]
    pub cpus: Option<u32>,
    /// With [`Stage::Done`]: true if the test found no error. `None` counts as failed.
    #[serde(default)]
    pub pass: Option<bool>,
    /// Number of errors since the test began.
    #[serde(default)]
    pub error_count: Option<u64>,
    /// Errors since the last report. Only the first [`ERRORS_MAX`] are kept.
    #[serde(default, deserialize_with = "first_errors")]
    pub errors: Vec<ReportedError>,
    /// Corrected errors that EDAC counts, over all memory controllers.
    #[serde(default)]
    pub corrected: Option<u64>,
    /// Uncorrected errors that EDAC counts, over all memory controllers.
    #[serde(default)]
    pub uncorrected: Option<u64>,
    /// The SMBIOS structure table (`/sys/firmware/dmi/tables/DMI`) in base64. pxed reads the memory modules
    /// from it.
    #[serde(default)]
    pub smbios: Option<String>,
    /// A sentence for people.
    #[serde(default, deserialize_with = "short")]
    pub message: Option<String>,
}

/// Deserializes a text, and cuts it to [`TEXT_MAX`] bytes at a character's end.
fn short<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.map(|mut text| {
        text.truncate(text.floor_char_boundary(TEXT_MAX));
        text.shrink_to_fit();
        text
    }))
}

/// Deserializes the first [`ERRORS_MAX`] errors, and skips the others at once. Otherwise a body could use
/// much memory: `{}` is three bytes with its comma, and a `ReportedError` about a hundred.
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
        // A cut never splits a character.
        assert_eq!(report.message.map(|text| text.len()), Some(TEXT_MAX - 1));
        // The table is not cut: pxed needs all of it.
        assert_eq!(report.smbios, Some(long));
    }
}
