//! Reports of memory tests: bounded for any input, and writing and parsing again gives the same report.

use pxe_fleet::board::TEXT_MAX;
use pxe_fleet::report::{ERRORS_MAX, Report};

/// Takes any bytes as the body of a report.
pub fn check(input: &[u8]) {
    let Ok(report) = serde_json::from_slice::<Report>(input) else { return };
    assert!(report.errors.len() <= ERRORS_MAX);
    let texts = [&report.source, &report.serial, &report.uuid, &report.product, &report.message];
    let of_errors = report.errors.iter().flat_map(|error| [&error.address, &error.expected, &error.actual]);
    for text in texts.into_iter().chain(of_errors).flatten() {
        assert!(text.len() <= TEXT_MAX, "{} bytes", text.len());
    }
    let written = serde_json::to_vec(&report).expect("a report can be written");
    assert_eq!(serde_json::from_slice::<Report>(&written).ok(), Some(report));
}
