//! dnsmasq's tags: the conditions that set each tag, and the tags that a machine has.
//!
//! Nearly every configuration asks for the architecture, HTTP boot or iPXE, so a [`Machine`] has fields for these (the
//! architecture code tells whether it is HTTP boot). Each other condition of a tag is a [`Special`]: a machine meets it or does
//! not, and rules of the new configuration ask for it.

use std::collections::{BTreeSet, HashSet};

use pxe_proto::dhcp::Arch;

/// The highest architecture code that [`Tags::add_class`] tries. The registry has no higher code.
const ARCH_MAX: u16 = 41;

/// A condition of a tag other than architecture and iPXE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Special {
    /// Ethernet addresses, or their first three bytes, which identify the maker.
    Mac { tag: String, addresses: Vec<String> },
    /// Text that option 60 (vendor class) contains.
    Class(String),
    /// Text that option 77 (user class) contains.
    UserClass(String),
    /// Name of the interface that received the request.
    Interface(String),
    /// A condition that no rule can have. `why` is the reason.
    Unsupported { tag: String, why: String },
}

/// A tag that a machine must have, or must not have if `is_negated`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) tag: String,
    pub(super) is_negated: bool,
}

/// The condition under which a tag is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Always,
    Arch(u16),
    /// Text that the vendor class of network boot firmware contains.
    Class(String),
    Ipxe,
    Special(usize),
}

/// The properties of a machine that decide its tags.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine<'s> {
    pub(super) arch: Arch,
    pub(super) is_ipxe: bool,
    /// The specials that the machine meets, as indices into [`Tags::specials`].
    pub(super) specials: &'s BTreeSet<usize>,
}

/// All tags, with the conditions that set them.
#[derive(Debug, Default)]
pub(super) struct Tags {
    rules: Vec<(String, Test)>,
    ifs: Vec<(Vec<String>, Vec<Need>)>,
    pub(super) specials: Vec<Special>,
}

/// Option 60 as firmware of this architecture sends it, without the version.
fn class(arch: Arch) -> String {
    let client = if arch.is_http() { "HTTPClient" } else { "PXEClient" };
    format!("{client}:Arch:{:05}:UNDI:", arch.0)
}

/// The part of a vendor class that does not depend on the firmware's version.
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

    /// Sets `tag` for machines whose vendor class contains `text`. If `text` is part of the class that the firmware of some
    /// architecture sends, the architecture decides. Otherwise the class is a [`Special`].
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

    /// The tags that a machine has.
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
        // Repeat, because a `tag-if` line may need a tag that a later `tag-if` line sets.
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

    /// The specials that these tags depend on, directly or through `tag-if`.
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

    /// All tags that these tags depend on through `tag-if`, and these tags themselves.
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

/// Whether a machine with `tags` meets all of `needs`.
pub(super) fn meets(tags: &HashSet<&str>, needs: &[Need]) -> bool {
    needs.iter().all(|need| tags.contains(need.tag.as_str()) != need.is_negated)
}

/// Splits the tags off the start of a line's fields: `tag:x`, or `tag:!x` for a tag that must not be set. Older versions of
/// dnsmasq write `net:` instead of `tag:`, and `#` instead of `!`. Returns the tags and the other fields.
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

/// The tag that a field sets. The field is `set:x`, `net:x` or just `x`.
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
