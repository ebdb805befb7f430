//! Lines that set a tag according to an option of the request: `dhcp-match`, `dhcp-vendorclass` and `dhcp-userclass`.

use super::finding::Disposition;
use super::lines::Line;
use super::old::Old;
use super::tags::{Special, Test, set_tag};
use pxe_proto::dhcp::Arch;

pub(super) fn matches(old: &mut Old, at: usize, line: &Line) -> Option<Disposition> {
    let (Some(tag), Some(option)) = (line.field(0), line.field(1)) else {
        return Some(Disposition::incomplete("a tag and an option"));
    };
    let tag = set_tag(tag).to_owned();
    let value = line.field(2);
    let what = match option.strip_prefix("option:").unwrap_or(option) {
        "client-arch" | "93" => match value.and_then(arch) {
            Some(arch) => {
                old.tags.add(&tag, Test::Arch(arch));
                format!("arch = \"{}\"", Arch(arch))
            }
            None => {
                old.tags.add(&tag, Test::Always);
                "every machine".to_owned()
            }
        },
        "175" => {
            old.tags.add(&tag, Test::Ipxe);
            "user_class = \"iPXE\"".to_owned()
        }
        "user-class" | "77" => match value {
            Some(value) => return user_class(old, at, &tag, value),
            None => {
                old.tags.add_special(&tag, Special::UserClass(String::new()));
                "user_class = \"*\"".to_owned()
            }
        },
        "vendor-class" | "60" => match value {
            Some(value) => {
                old.tags.add_class(&tag, value);
                in_words(value)
            }
            None => {
                old.tags.add(&tag, Test::Always);
                "every machine".to_owned()
            }
        },
        _ => {
            let why = format!(
                "rules have no condition for option {option}; match on `mac`, `uuid`, `class` or `relay`"
            );
            old.tags.add_special(&tag, Special::Unsupported { tag: tag.clone(), why });
            String::new()
        }
    };
    old.setters.push((at, tag, what));
    None
}

/// Parses an architecture code: a decimal number, or two hexadecimal bytes such as `00:07`.
fn arch(text: &str) -> Option<u16> {
    match text.split_once(':') {
        Some((high, low)) => {
            let byte = |text: &str| u8::from_str_radix(text, 16).ok();
            Some(u16::from_be_bytes([byte(high)?, byte(low)?]))
        }
        None => text.parse().ok(),
    }
}

pub(super) fn class(old: &mut Old, at: usize, line: &Line) -> Option<Disposition> {
    let (Some(tag), Some(text)) = (line.field(0), line.fields.last().filter(|text| !text.is_empty())) else {
        return Some(Disposition::incomplete("a tag and a class"));
    };
    if line.fields.len() < 2 {
        return Some(Disposition::incomplete("a tag and a class"));
    }
    let (tag, text) = (set_tag(tag).to_owned(), text.clone());
    if line.key == "dhcp-userclass" {
        return user_class(old, at, &tag, &text);
    }
    old.tags.add_class(&tag, &text);
    old.setters.push((at, tag, in_words(&text)));
    None
}

fn user_class(old: &mut Old, at: usize, tag: &str, text: &str) -> Option<Disposition> {
    let what = if text.eq_ignore_ascii_case("iPXE") || text.eq_ignore_ascii_case("gPXE") {
        old.tags.add(tag, Test::Ipxe);
        "user_class = \"iPXE\"".to_owned()
    } else {
        old.tags.add_special(tag, Special::UserClass(text.to_owned()));
        format!("user_class = \"*{text}*\"")
    };
    old.setters.push((at, tag.to_owned(), what));
    None
}

/// A vendor class as the condition of a rule, for the report.
fn in_words(text: &str) -> String {
    let arch =
        text.split(":Arch:").nth(1).and_then(|rest| rest.get(..5)).and_then(|digits| digits.parse().ok());
    arch.map_or_else(|| format!("class = \"*{text}*\""), |arch| format!("arch = \"{}\"", Arch(arch)))
}
