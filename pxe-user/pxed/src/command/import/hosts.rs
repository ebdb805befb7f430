//! Lines about single machines: `dhcp-host` and `dhcp-mac`.

use super::finding::Disposition;
use super::lines::Line;
use super::old::{Ignore, Old};
use super::tags::{Need, Special, set_tag};
use pxe_proto::mac::Mac;

/// The tag that the import gives to machines whose `dhcp-host` line has `ignore`.
const IGNORED: &str = "ignored by dhcp-host";

/// An Ethernet address, or its first three bytes, in the form that rules use. `None` if the text is no address.
///
/// # Errors
/// The reason why a rule cannot have this address.
fn pattern(text: &str) -> Option<Result<String, String>> {
    let text = text.strip_prefix("01-").filter(|rest| rest.contains(':')).unwrap_or(text);
    if let Ok(mac) = text.parse::<Mac>() {
        return Some(Ok(mac.to_string()));
    }
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let is_hex =
        |part: &&str| (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if parts.len() != 6 || !parts.iter().all(|part| *part == "*" || is_hex(part)) {
        return None;
    }
    let hex: Vec<String> =
        parts.iter().map_while(|part| is_hex(part).then(|| format!("{part:0>2}").to_lowercase())).collect();
    let stars = parts.iter().filter(|part| **part == "*").count();
    Some(match (hex.len(), stars) {
        (6, 0) | (3, 3) => Ok(hex.join(":")),
        _ => Err(format!(
            "rules know whole addresses and makers' first three bytes, and not {text}; list the machines"
        )),
    })
}

pub(super) fn mac(old: &mut Old, at: usize, line: &Line) -> Option<Disposition> {
    let (Some(tag), Some(address)) = (line.field(0), line.field(1)) else {
        return Some(Disposition::incomplete("a tag and an address"));
    };
    let tag = set_tag(tag).to_owned();
    match pattern(address) {
        Some(Ok(address)) => {
            let addresses = vec![address.clone()];
            old.tags.add_special(&tag, Special::Mac { tag: tag.clone(), addresses });
            old.setters.push((at, tag, format!("mac = \"{address}\"")));
            None
        }
        Some(Err(why)) => {
            old.tags.add_special(&tag, Special::Unsupported { tag: tag.clone(), why });
            old.setters.push((at, tag, String::new()));
            None
        }
        None => Some(Disposition::incomplete("an Ethernet address")),
    }
}

pub(super) fn host(old: &mut Old, at: usize, line: &Line) -> Option<Disposition> {
    let mut addresses = Vec::new();
    let mut refused = None;
    let mut tag = None;
    let mut is_ignored = false;
    for field in &line.fields {
        if let Some(set) = field.strip_prefix("set:").or_else(|| field.strip_prefix("net:")) {
            tag = Some(set.to_owned());
        } else if field == "ignore" {
            is_ignored = true;
        } else if field.starts_with("id:") {
            refused = Some(
                "pxed knows machines by address and UUID, and not by client id; write the address".to_owned(),
            );
        } else {
            match pattern(field) {
                Some(Ok(address)) => addresses.push(address),
                Some(Err(why)) => refused = Some(why),
                None => {}
            }
        }
    }
    if is_ignored {
        return ignored(old, at, addresses, refused);
    }
    old.known.extend(addresses.iter().map(|address| (at, address.clone())));
    let Some(tag) = tag else {
        // Another line decides whether only known machines are served.
        return match refused {
            Some(why) if addresses.is_empty() && !old.leases => Some(Disposition::NotSupported(why)),
            _ => None,
        };
    };
    let what = match (addresses.is_empty(), refused) {
        (true, why) => {
            let why = why.unwrap_or_else(|| "it names the machine without its address; add that".to_owned());
            old.tags.add_special(&tag, Special::Unsupported { tag: tag.clone(), why });
            String::new()
        }
        (false, _) => {
            old.tags.add_special(&tag, Special::Mac { tag: tag.clone(), addresses: addresses.clone() });
            format!("mac = \"{}\"", addresses.join("\", \""))
        }
    };
    old.setters.push((at, tag, what));
    None
}

fn ignored(old: &mut Old, at: usize, addresses: Vec<String>, refused: Option<String>) -> Option<Disposition> {
    if addresses.is_empty() {
        let why = refused.unwrap_or_else(|| "it names the machine without its address; add that".to_owned());
        return Some(Disposition::NotSupported(why));
    }
    old.tags.add_special(IGNORED, Special::Mac { tag: IGNORED.to_owned(), addresses });
    let needs = vec![Need { tag: IGNORED.to_owned(), is_negated: false }];
    if old.ignores.iter().any(|ignore| ignore.needs == needs) {
        return Some(Disposition::TakenOver(format!("rule \"{IGNORED}\"")));
    }
    old.ignores.push(Ignore { at, needs });
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_rules_have_them() {
        for (text, expected) in [
            ("52:54:00:12:34:56", Some(Ok("52:54:00:12:34:56"))),
            ("01-52:54:00:12:34:AB", Some(Ok("52:54:00:12:34:ab"))),
            ("b8:27:eb:*:*:*", Some(Ok("b8:27:eb"))),
            ("2:4:0:1:2:3", Some(Ok("02:04:00:01:02:03"))),
            ("b8:27:eb:00:*:*", Some(Err(()))),
            ("node7", None),
            ("10.0.0.7", None),
            ("1h", None),
        ] {
            let found = pattern(text);
            let found = found.as_ref().map(|found| found.as_deref().map_err(|_| ()));
            assert_eq!(found, expected, "{text}");
        }
    }
}
