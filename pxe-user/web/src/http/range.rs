//! Range requests (RFC 9110, section 14): which part of a file the client asks for.

use std::ops::Range;

use axum::http::{HeaderMap, header};

/// The part of a file that the response carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The whole file (200).
    Whole,
    /// These bytes, at least one (206).
    Range(Range<u64>),
}

/// The part of a file of `len` bytes that a request asks for; `None` if the file has no byte of that range (416).
///
/// Several ranges at once, units other than bytes, malformed ranges and an `If-Range` with another entity tag give the
/// whole file, as the RFC allows.
pub(super) fn part(headers: &HeaderMap, len: u64, entity_tag: &str) -> Option<Part> {
    let Some(range) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
        return Some(Part::Whole);
    };
    let is_other = |wanted: &header::HeaderValue| wanted.as_bytes() != entity_tag.as_bytes();
    if headers.get(header::IF_RANGE).is_some_and(is_other) {
        return Some(Part::Whole);
    }
    let Some(spec) = range.strip_prefix("bytes=").filter(|spec| !spec.contains(',')) else {
        return Some(Part::Whole);
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let range = match spec.trim().split_once('-').map(|(first, last)| (number(first), last)) {
        Some((Some(first), "")) => first..len,
        Some((Some(first), last)) => match number(last) {
            Some(last) if last >= first => first..last.saturating_add(1).min(len),
            _ => return Some(Part::Whole),
        },
        Some((None, last)) if spec.starts_with('-') => match number(last) {
            Some(suffix) => len.saturating_sub(suffix)..len,
            None => return Some(Part::Whole),
        },
        _ => return Some(Part::Whole),
    };
    (range.start < range.end).then_some(Part::Range(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(range: &str, if_range: Option<&str>) -> Option<Part> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().unwrap());
        if let Some(tag) = if_range {
            headers.insert(header::IF_RANGE, tag.parse().unwrap());
        }
        part(&headers, 100, "\"tag\"")
    }

    #[test]
    fn one_part_is_understood_and_all_else_means_the_whole() {
        for (range, expected) in [
            ("bytes=0-9", Some(Part::Range(0..10))),
            ("bytes=90-", Some(Part::Range(90..100))),
            ("bytes=90-200", Some(Part::Range(90..100))),
            ("bytes=-10", Some(Part::Range(90..100))),
            ("bytes=-1000", Some(Part::Range(0..100))),
            ("bytes=99-99", Some(Part::Range(99..100))),
            ("bytes=0-99999999999999999999999", Some(Part::Range(0..100))),
            ("bytes=100-", None),
            ("bytes=-0", None),
            ("bytes=5-4", Some(Part::Whole)),
            ("bytes=0-1,3-4", Some(Part::Whole)),
            ("bytes=a-", Some(Part::Whole)),
            ("bytes=+1-2", Some(Part::Whole)),
            ("bytes=-", Some(Part::Whole)),
            ("lines=1-2", Some(Part::Whole)),
            ("bytes", Some(Part::Whole)),
        ] {
            assert_eq!(of(range, None), expected, "{range}");
        }
        assert_eq!(part(&HeaderMap::new(), 100, ""), Some(Part::Whole));
    }

    #[test]
    fn a_part_of_another_version_is_not_sent() {
        assert_eq!(of("bytes=0-9", Some("\"tag\"")), Some(Part::Range(0..10)));
        assert_eq!(of("bytes=0-9", Some("\"old\"")), Some(Part::Whole));
    }

    proptest::proptest! {
        #[test]
        fn what_is_sent_is_inside_the_file(range in "(bytes=)?[-0-9, ]{0,12}", len in 0u64..50) {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, range.parse().unwrap());
            if let Some(Part::Range(range)) = part(&headers, len, "") {
                proptest::prop_assert!(range.start < range.end && range.end <= len);
            }
        }
    }
}
