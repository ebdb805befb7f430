//! MTLOG: a line of a console, from a console server or a hostile machine.

use pxe_fleet::mtlog::{Line, is_corrected};

/// The keys of memtest86+, and the empty key.
const KEYS: [&str; 12] =
    ["pass", "errors", "test", "addr", "status", "sys_serial", "board", "ts", "ev", "type", "passes", ""];

/// Takes any bytes as a line.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Some(line) = Line::parse(&text) else { return };
    assert_eq!(Line::parse(&text).as_ref(), Some(&line));
    let values = KEYS.iter().filter_map(|key| line.value(key)).chain([line.event()]);
    for value in values {
        assert!(text.contains(value) && !value.contains(char::is_control), "{value:?}");
        let _ = is_corrected(value);
    }
    assert!(line.value("ts").is_none() && line.value("ev").is_none() && line.value("").is_none());
    for number in KEYS.iter().filter_map(|key| Some((line.value(key)?, line.number(key)?))) {
        assert_eq!(number.0.trim_start_matches('+').parse(), Ok(number.1));
    }
}
