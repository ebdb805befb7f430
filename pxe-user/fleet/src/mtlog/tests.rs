//! Tests with lines of memtest86+, and with damaged ones.

use proptest::prelude::*;

use super::*;

/// The sample of memtest86plus pull request 640, and lines in the form of `app/reports.c` there.
const SAMPLE: &str = "\
MTLOG ts=0.0 ev=start version=9.00.fdc7ffa arch=x64\r
MTLOG ts=6.4 ev=info rtc=\"2026-07-19 14:31:08\"\r
MTLOG ts=6.4 ev=info board=\"ASUSTeK COMPUTER INC. ROG STRIX Z790-E GAMING WIFI\"\r
MTLOG ts=6.4 ev=info sys_serial=\"SN2309A4501234\"\r
MTLOG ts=6.4 ev=info mem_mb=32550\r
MTLOG ts=6.4 ev=info imc=DDR5-5600 cas=36-38-38-76\r
MTLOG ts=6.5 ev=spd slot=1 size_mb=16384 type=DDR5 freq=5600 ecc=0 mfg=\"Corsair\" sku=\"CMK32\"\r
MTLOG ts=7.0 ev=tick pass=0 pass_pct=12 test=3 test_pct=40 errors=0\r
MTLOG ts=9.1 ev=error type=data test=3 cpu=2 addr=0x12345678 expect=0xff actual=0xfe\r
MTLOG ts=99.9 ev=done passes=1 status=fail\r
";

fn events(text: &str) -> Vec<&str> {
    text.split('\n').filter_map(Line::parse).map(|line| line.event).collect()
}

#[test]
fn upstreams_lines_are_read() {
    let expected = ["start", "info", "info", "info", "info", "info", "spd", "tick", "error", "done"];
    assert_eq!(events(SAMPLE), expected);
    let lines: Vec<_> = SAMPLE.lines().filter_map(Line::parse).collect();
    assert_eq!(lines[2].value("board"), Some("ASUSTeK COMPUTER INC. ROG STRIX Z790-E GAMING WIFI"));
    assert_eq!((lines[5].value("imc"), lines[5].value("cas")), (Some("DDR5-5600"), Some("36-38-38-76")));
    assert_eq!((lines[6].number("size_mb"), lines[6].value("sku")), (Some(16384), Some("CMK32")));
    assert_eq!(lines[8].value("addr"), Some("0x12345678"));
    assert_eq!((lines[9].number("passes"), lines[9].value("status")), (Some(1), Some("fail")));
}

/// conserver's time stamps, syslog's header, colours, a carriage return, a line that was cut, and an unknown
/// key at the end.
#[test]
fn prefixes_and_escapes_do_not_matter() {
    let line = "MTLOG ts=7.0 ev=tick pass=1 errors=0";
    for text in [
        format!("[Tue Nov 24 01:02:03 2026]{line}"),
        format!("<13>1 2026-11-24T01:02:03Z rack3-07 console - - - {line}\r"),
        format!("\x1b[2J\x1b[0;37;44m{line}\x1b[0m"),
        format!("MTLOG ts=6.0 ev=ti{line}"),
        format!("{line} new_key=\"something unheard of\""),
    ] {
        let read = Line::parse(&text).unwrap_or_else(|| panic!("{text:?}"));
        assert_eq!(
            (read.event(), read.number("pass"), read.number("errors")),
            ("tick", Some(1), Some(0)),
            "{text:?}"
        );
    }
}

#[test]
fn damaged_lines_are_none_or_lose_only_what_was_damaged() {
    for none in [
        "",
        "MTLOG",
        "MTLOG ",
        "MTLOG ev=tick",
        "MTLOG ts=1.0",
        "MTLOG ts=x ev=tick",
        "ts=1 ev=tick",
        "MTLOG ts=nan ev=a",
    ] {
        assert_eq!(Line::parse(none), None, "{none:?}");
    }
    let cut = Line::parse("MTLOG ts=1.0 ev=info sys_serial=\"SN23").unwrap();
    assert_eq!(
        (cut.event(), cut.value("sys_serial")),
        ("info", None),
        "half a serial number is another machine's"
    );
    let odd = Line::parse("MTLOG ts=1.0 ev=info board=\"a \"b\" c\" mem_mb=1 =x b@d=1 word").unwrap();
    assert_eq!((odd.number("mem_mb"), odd.value("b@d"), odd.value("")), (Some(1), None, None));
    assert_eq!(
        Line::parse("MTLOG ts=1.0 ev=tick errors=99999999999999999999").unwrap().number("errors"),
        None
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Line::parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn nothing_behind_the_mark_makes_it_panic(rest in "[ =\"a-z0-9.\u{e4}\u{1b}\r]{0,120}") {
        if let Some(line) = Line::parse(&format!("MTLOG ts=1 ev=x {rest}")) {
            prop_assert!(line.pairs.len() <= PAIRS_MAX);
        }
    }
}
