use super::buffer::{BYTES_MAX, Batch};
use super::lines::{LINE_MAX, Lines};
use super::*;

fn whose(pattern: &str, line: &str) -> Option<(String, String)> {
    let names = Names::new(None, vec![pattern.parse().unwrap()]);
    names.whose(line).map(|(who, rest)| (who.to_string(), rest.to_owned()))
}

#[test]
fn names_are_found_where_console_servers_put_them() {
    let line = "MTLOG ts=1 ev=tick";
    for (pattern, prefix, name) in [
        ("conserver", "[node7] ", "node7"),
        ("conserver", "[node7 Tue Nov 24 02:00:00 2026]", "node7"),
        ("conserver", "node-7.lab: ", "node-7.lab"),
        ("syslog", "<13>Nov  4 02:00:00 node7 ", "node7"),
        ("syslog", "<165>1 2026-11-24T02:00:00.003Z node7.lab ", "node7.lab"),
        ("syslog", "2026-11-24T02:00:00+00:00 node7 ", "node7"),
        ("^rack (\\w+): ", "rack n7: ", "n7"),
    ] {
        let found = whose(pattern, &format!("{prefix}{line}"));
        assert_eq!(found, Some((name.into(), line.into())), "{pattern} {prefix}");
    }
    assert_eq!(whose("conserver", line), None);
    assert_eq!(whose("syslog", line), None);
    assert!("no group".parse::<Pattern>().is_err() && "(".parse::<Pattern>().is_err());
    let named = Names::new(Some("node7"), vec![]);
    assert_eq!(named.whose("[x] y"), Some(("node7".into(), "[x] y")));
    assert_eq!(Names::introduced("machine node 7 \r").as_deref(), Some("node 7"));
    assert_eq!((Names::introduced("machine "), Names::introduced("MTLOG x")), (None, None));
}

#[test]
fn bytes_become_lines_in_whatever_pieces_they_come() {
    let bytes = [b"one\r\n\n\xfftwo\n".as_slice(), &[b'x'; LINE_MAX + 10], b"\nlast"].concat();
    for size in [1, 2, 7, 100_000] {
        let (mut lines, mut got) = (Lines::default(), Vec::new());
        for piece in bytes.chunks(size) {
            lines.feed(piece, |line| got.push(line.to_owned()));
        }
        lines.end(|line| got.push(line.to_owned()));
        assert_eq!(got, ["one", "\u{fffd}two", "x".repeat(LINE_MAX).as_str(), "last"], "{size}");
    }
}

#[test]
fn each_machines_lines_stay_in_order_and_the_oldest_give_way() {
    let buffer = Buffer::default();
    for (who, line) in [("a", "1"), ("b", "1"), ("a", "2"), ("b", "2"), ("a", "3")] {
        buffer.push(who.into(), line);
    }
    let batch = |who: &str, lines: &[&str]| Batch {
        who: who.into(),
        lines: lines.iter().map(|line| (*line).to_owned()).collect(),
    };
    let first = buffer.take(1000).unwrap();
    assert_eq!(first, batch("a", &["1", "2", "3"]));
    buffer.give_back(first);
    assert_eq!(buffer.take(4), Some(batch("a", &["1", "2"])));
    assert_eq!(buffer.take(1000), Some(batch("a", &["3"])));
    assert_eq!(buffer.take(1000), Some(batch("b", &["1", "2"])));
    assert_eq!((buffer.take(1000), buffer.dropped()), (None, 0));
    let line = "x".repeat(4000);
    (0..5000).for_each(|index| buffer.push("a".into(), &format!("{index} {line}")));
    let dropped = buffer.dropped();
    assert!(dropped > 0 && dropped + buffer.left() as u64 == 5000);
    assert!(buffer.left() * 4000 < BYTES_MAX);
    assert!(buffer.take(1000).unwrap().lines[0].starts_with(&format!("{dropped} ")), "the newest are kept");
}
