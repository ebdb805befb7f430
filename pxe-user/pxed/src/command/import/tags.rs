//! dnsmasq's tags: which of them a machine gets, and by which conditions.
//!
//! Architecture, HTTP boot and iPXE are what nearly every configuration asks for; a machine here has them as fields. All else that a
//! tag may depend on is a [`Special`]: machines have it or not, and rules of the new configuration ask for it.

use std::collections::{BTreeSet, HashSet};

use pxe_proto::dhcp::Arch;

/// The highest architecture whose class is tried: more than the registry has.
const ARCH_MAX: u16 = 41;

/// What a rule of the new configuration can ask for, beyond architecture and iPXE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Special {
    /// Ethernet addresses, or makers' beginnings.
    Mac { tag: String, addresses: Vec<String> },
    /// A part of option 60.
    Class(String),
    /// A part of option 77.
    UserClass(String),
    /// The interface that a request came in on.
    Interface(String),
    /// Something that no rule can ask for; with the reason.
    Unsupported { tag: String, why: String },
}

/// A tag that must be there, or must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) tag: String,
    pub(super) is_negated: bool,
}

/// When a tag is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Always,
    Arch(u16),
    /// A part of the class that network boot firmware sends.
    Class(String),
    Ipxe,
    Special(usize),
}

/// A machine, as far as tags see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine<'s> {
    pub(super) arch: Arch,
    pub(super) is_ipxe: bool,
    /// The specials that it has, by number.
    pub(super) specials: &'s BTreeSet<usize>,
}

/// All tags.
#[derive(Debug, Default)]
pub(super) struct Tags {
    rules: Vec<(String, Test)>,
    ifs: Vec<(Vec<String>, Vec<Need>)>,
    pub(super) specials: Vec<Special>,
}

/// What firmware sends as option 60, without its version.
fn class(arch: Arch) -> String {
    let client = if arch.is_http() { "HTTPClient" } else { "PXEClient" };
    format!("{client}:Arch:{:05}:UNDI:", arch.0)
}

/// The part of a class that does not depend on the firmware's version.
fn without_version(text: &str) -> &str {
    text.find(":UNDI").map_or(text, |at| &text[..at])
}

impl Tags {
    pub(super) fn add(&mut self, tag: &str, test: Test) {
        self.rules.push((tag.to_owned(), test));
    }

    pub(super) fn add_if(&mut self, tags: Vec<String>, needs: Vec<Need>) {
        self.ifs.push((tags, needs));
    }

    /// A tag for machines whose vendor class contains `text`.
    pub(super) fn add_class(&mut self, tag: &str, text: &str) {
        let text = without_version(text);
        if (0..=ARCH_MAX).any(|arch| class(Arch(arch)).contains(text)) {
            self.add(tag, Test::Class(text.to_owned()));
        } else {
            self.add_special(tag, Special::Class(text.to_owned()));
        }
    }

    pub(super) fn add_special(&mut self, tag: &str, special: Special) {
        let number = self.special(special);
        let test = Test::Special(number);
        if !self.rules.iter().any(|(known, known_test)| known == tag && *known_test == test) {
            self.add(tag, test);
        }
    }

    fn special(&mut self, special: Special) -> usize {
        if let Special::Mac { tag, addresses } = &special {
            let same = |known: &Special| matches!(known, Special::Mac { tag: known, .. } if known == tag);
            if let Some(number) = self.specials.iter().position(same)
                && let Some(Special::Mac { addresses: known, .. }) = self.specials.get_mut(number)
            {
                known
                    .extend(addresses.iter().filter(|new| !known.contains(new)).cloned().collect::<Vec<_>>());
                return number;
            }
        }
        if let Some(number) = self.specials.iter().position(|known| *known == special) {
            return number;
        }
        self.specials.push(special);
        self.specials.len() - 1
    }

    /// Whether any line sets this tag.
    pub(super) fn is_set(&self, tag: &str) -> bool {
        self.rules.iter().any(|(known, _)| known == tag)
            || self.ifs.iter().any(|(tags, _)| tags.iter().any(|known| known == tag))
    }

    /// The tags of a machine.
    pub(super) fn of(&self, machine: Machine<'_>) -> HashSet<&str> {
        let has = |test: &Test| match test {
            Test::Always => true,
            Test::Arch(arch) => machine.arch.0 == *arch,
            Test::Class(text) => class(machine.arch).contains(text.as_str()),
            Test::Ipxe => machine.is_ipxe,
            Test::Special(number) => machine.specials.contains(number),
        };
        let mut tags: HashSet<&str> =
            self.rules.iter().filter(|(_, test)| has(test)).map(|(tag, _)| tag.as_str()).collect();
        // One line may need what a later one sets.
        for _ in 0..=self.ifs.len() {
            let before = tags.len();
            for (set, needs) in &self.ifs {
                if meets(&tags, needs) {
                    tags.extend(set.iter().map(String::as_str));
                }
            }
            if tags.len() == before {
                break;
            }
        }
        tags
    }

    /// The specials that some tags depend on, also by way of `tag-if`.
    pub(super) fn specials_of(&self, needs: &[Need]) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut seen = HashSet::new();
        let mut todo: Vec<&str> = needs.iter().map(|need| need.tag.as_str()).collect();
        while let Some(tag) = todo.pop() {
            if !seen.insert(tag) {
                continue;
            }
            found.extend(self.rules.iter().filter(|(known, _)| known == tag).filter_map(
                |(_, test)| match test {
                    Test::Special(number) => Some(*number),
                    _ => None,
                },
            ));
            for (set, needs) in &self.ifs {
                if set.iter().any(|known| known == tag) {
                    todo.extend(needs.iter().map(|need| need.tag.as_str()));
                }
            }
        }
        found
    }

    /// All tags that some tags depend on, themselves included.
    pub(super) fn behind<'t>(&'t self, needs: &'t [Need]) -> HashSet<&'t str> {
        let mut seen = HashSet::new();
        let mut todo: Vec<&str> = needs.iter().map(|need| need.tag.as_str()).collect();
        while let Some(tag) = todo.pop() {
            if seen.insert(tag) {
                let ifs = self.ifs.iter().filter(|(set, _)| set.iter().any(|known| known == tag));
                todo.extend(ifs.flat_map(|(_, needs)| needs.iter().map(|need| need.tag.as_str())));
            }
        }
        seen
    }
}

/// Whether these tags are what a line needs.
pub(super) fn meets(tags: &HashSet<&str>, needs: &[Need]) -> bool {
    needs.iter().all(|need| tags.contains(need.tag.as_str()) != need.is_negated)
}

/// Takes the tags off the beginning of a line's fields: `tag:x`, `tag:!x`, and what older versions wrote as `net:x` and `#x`.
pub(super) fn needs(fields: &[String]) -> (Vec<Need>, &[String]) {
    let tag = |field: &String| {
        let tag = field.strip_prefix("tag:").or_else(|| field.strip_prefix("net:"))?;
        let plain = tag.strip_prefix(['!', '#']);
        Some(Need { tag: plain.unwrap_or(tag).to_owned(), is_negated: plain.is_some() })
    };
    let needs: Vec<Need> = fields.iter().map_while(tag).collect();
    let rest = fields.get(needs.len()..).unwrap_or_default();
    (needs, rest)
}

/// The tag that a line sets: `set:x`, `net:x`, or `x` alone.
pub(super) fn set_tag(field: &str) -> &str {
    field.strip_prefix("set:").or_else(|| field.strip_prefix("net:")).unwrap_or(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(text: &str) -> Vec<Need> {
        needs(&text.split(',').map(str::to_owned).collect::<Vec<_>>()).0
    }

    #[test]
    fn tags_are_set_by_what_a_machine_is() {
        let mut tags = Tags::default();
        tags.add("efi64", Test::Arch(7));
        tags.add_class("efi64", "PXEClient:Arch:00009:UNDI:003016");
        tags.add("ipxe", Test::Ipxe);
        tags.add_special("lab", Special::Mac { tag: "lab".into(), addresses: vec!["52:54:00".into()] });
        tags.add_if(vec!["ok".into()], need("tag:!ipxe,tag:efi64"));
        let none = BTreeSet::new();
        let machine = |arch, is_ipxe| Machine { arch: Arch(arch), is_ipxe, specials: &none };
        for (arch, is_ipxe, needs, fits) in [
            (7, false, "tag:efi64", true),
            (9, false, "net:efi64", true),
            (0, false, "tag:efi64", false),
            (7, true, "tag:#ipxe", false),
            (7, false, "tag:ok", true),
            (7, true, "tag:ok", false),
            (7, false, "tag:lab", false),
            (7, false, "tag:!nobody", true),
        ] {
            assert_eq!(
                meets(&tags.of(machine(arch, is_ipxe)), &need(needs)),
                fits,
                "{arch} {is_ipxe} {needs}"
            );
        }
        let lab = BTreeSet::from([0]);
        let machine = Machine { specials: &lab, ..machine(7, false) };
        assert!(meets(&tags.of(machine), &need("tag:lab,tag:ok")));
        assert_eq!(tags.specials_of(&need("tag:!lab")), lab);
    }
}
