//! What dnsmasq would offer to a machine. The import asks this for every kind of machine that the old configuration tells apart, and
//! writes rules that lead to the same: so the order of lines, `tag:!x` and `tag-if` need no translation of their own.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::Ipv4Addr;

use super::old::{Choice, Old, What};
use super::tags::{Machine, Special, meets};
use pxe_proto::dhcp::Arch;

/// The architectures that machines have, without HTTP boot.
pub(super) const PXE: [Arch; 6] = [Arch::BIOS, Arch::IA32, Arch::X64, Arch::EBC, Arch::ARM32, Arch::ARM64];
/// The same for UEFI HTTP boot.
const HTTP: [Arch; 5] = [Arch(15), Arch::X64_HTTP, Arch::EBC_HTTP, Arch(18), Arch(19)];

/// What a machine is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Nothing,
    Ignore,
    Local,
    File(String),
    Url(String),
}

/// What a machine is offered, and by which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) target: Target,
    /// Another machine that has the file.
    pub(super) server: Option<Ipv4Addr>,
    pub(super) at: Option<usize>,
    /// Lines of the same menu that offer something else.
    pub(super) beside: Vec<usize>,
}

impl Decision {
    fn of(target: Target, at: Option<usize>) -> Self {
        Self { target, server: None, at, beside: Vec::new() }
    }

    /// Whether machines see no difference.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.target == other.target && self.server == other.server
    }
}

/// Machines that differ by architecture only.
#[derive(Debug)]
pub(super) struct Block {
    /// What they have beyond that.
    pub(super) specials: BTreeSet<usize>,
    /// What firmware is offered.
    pub(super) plain: Vec<(Arch, Decision)>,
    /// What iPXE is offered.
    pub(super) ipxe: Vec<(Arch, Decision)>,
}

/// Lines that fit a machine, and those that decided about it.
pub(super) type Reached = BTreeMap<usize, BTreeSet<usize>>;

/// All machines that the configuration tells apart, those with the most in common with a line first; the last block is everybody else.
/// Also the lines that fit any machine at all, each with the lines that decided in its place.
pub(super) fn blocks(old: &Old) -> (Vec<Block>, Reached) {
    let arches = arches(old);
    let mut reached = Reached::new();
    let mut blocks: Vec<Block> = worlds(old)
        .into_iter()
        .map(|specials| Block {
            plain: decisions(old, &arches, &specials, false, &mut reached),
            ipxe: decisions(old, &arches, &specials, true, &mut reached),
            specials,
        })
        .collect();
    if let Some(last) = blocks.pop() {
        let alike = |one: &[(Arch, Decision)], other: &[(Arch, Decision)]| {
            one.iter().zip(other).all(|((_, one), (_, other))| one.is_like(other))
        };
        blocks.retain(|block| !alike(&block.plain, &last.plain) || !alike(&block.ipxe, &last.ipxe));
        blocks.push(last);
    }
    (blocks, reached)
}

fn arches(old: &Old) -> Vec<Arch> {
    let mut arches: Vec<Arch> = PXE.into_iter().chain(HTTP).collect();
    for arch in old.services.iter().filter_map(|choice| choice.arch).map(Arch) {
        if !arches.contains(&arch) {
            arches.push(arch);
        }
    }
    arches
}

/// The combinations of specials that lines ask for.
fn worlds(old: &Old) -> Vec<BTreeSet<usize>> {
    let choices = old.boots.iter().chain(&old.services).chain(&old.bootfiles).map(|choice| &choice.needs);
    let needs = choices.chain(old.ignores.iter().map(|ignore| &ignore.needs));
    let can_be_asked = |number: &usize| {
        old.tags.specials.get(*number).is_some_and(|special| !matches!(special, Special::Unsupported { .. }))
    };
    let mut worlds: Vec<BTreeSet<usize>> = Vec::new();
    let mut add = |world: BTreeSet<usize>| {
        if !world.is_empty() && !worlds.contains(&world) {
            worlds.push(world);
        }
    };
    for needs in needs {
        let specials: BTreeSet<usize> =
            old.tags.specials_of(needs).into_iter().filter(can_be_asked).collect();
        for one in &specials {
            add(BTreeSet::from([*one]));
        }
        add(specials);
    }
    // One address may be in several lists.
    let overlap = |one: usize, other: usize| match (old.tags.specials.get(one), old.tags.specials.get(other))
    {
        (Some(Special::Mac { addresses: one, .. }), Some(Special::Mac { addresses: other, .. })) => {
            !common(one, other).is_empty()
        }
        _ => false,
    };
    let asked: Vec<usize> = worlds.iter().flatten().copied().collect::<BTreeSet<_>>().into_iter().collect();
    for (index, one) in asked.iter().enumerate() {
        for other in asked.iter().skip(index + 1).filter(|other| overlap(*one, **other)) {
            let pair = BTreeSet::from([*one, *other]);
            if !worlds.contains(&pair) {
                worlds.push(pair);
            }
        }
    }
    // What fits fewer machines first: the first rule that matches wins.
    let is_wide = |world: &BTreeSet<usize>| {
        world.iter().any(|number| match old.tags.specials.get(*number) {
            Some(Special::Mac { addresses, .. }) => addresses.iter().any(|address| address.len() < 17),
            _ => true,
        })
    };
    worlds.sort_by_key(|world| (std::cmp::Reverse(world.len()), is_wide(world)));
    worlds.push(BTreeSet::new());
    worlds
}

/// The addresses that are in both of two lists, which may have makers' beginnings.
pub(super) fn common(one: &[String], other: &[String]) -> Vec<String> {
    let within = |list: &[String], mac: &String| list.iter().any(|known| mac.starts_with(known.as_str()));
    let mut both: Vec<String> = one.iter().filter(|mac| within(other, mac)).cloned().collect();
    let rest: Vec<String> =
        other.iter().filter(|mac| within(one, mac) && !both.contains(mac)).cloned().collect();
    both.extend(rest);
    both
}

fn decisions(
    old: &Old,
    arches: &[Arch],
    specials: &BTreeSet<usize>,
    is_ipxe: bool,
    reached: &mut Reached,
) -> Vec<(Arch, Decision)> {
    let sets: Vec<(Arch, HashSet<&str>)> =
        arches.iter().map(|arch| (*arch, old.tags.of(Machine { arch: *arch, is_ipxe, specials }))).collect();
    let case = Case { old, sets: &sets, is_ipxe };
    let decide = |(arch, tags): &(Arch, HashSet<&str>)| {
        let mut fits = HashSet::new();
        let decision = case.decide(*arch, tags, &mut fits);
        for line in fits {
            reached.entry(line).or_default().extend(decision.at.filter(|at| *at != line));
        }
        (*arch, decision)
    };
    sets.iter().map(decide).collect()
}

struct Case<'o> {
    old: &'o Old,
    sets: &'o [(Arch, HashSet<&'o str>)],
    is_ipxe: bool,
}

impl Case<'_> {
    fn decide(&self, arch: Arch, tags: &HashSet<&str>, reached: &mut HashSet<usize>) -> Decision {
        if let Some(ignore) = self.old.ignores.iter().find(|ignore| meets(tags, &ignore.needs)) {
            reached.insert(ignore.at);
            return Decision::of(Target::Ignore, Some(ignore.at));
        }
        let is_http = arch.is_http();
        let services = if is_http { Vec::new() } else { self.services(arch, tags, reached) };
        let boot = self.boot(&self.old.boots, arch, tags, reached);
        let boot = boot.or_else(|| self.boot(&self.old.bootfiles, arch, tags, reached));
        // Firmware takes the menu, iPXE the file where there is one.
        let boot = match boot {
            Some(choice) if self.is_ipxe || services.is_empty() => choice,
            _ => return self.menu(&services),
        };
        match self.target(boot) {
            Target::Url(_) if !self.is_ipxe && !is_http => Decision::of(Target::Nothing, None),
            Target::File(_) if is_http => Decision::of(Target::Nothing, None),
            target => {
                Decision { server: boot.server.or(self.old.server), ..Decision::of(target, Some(boot.at)) }
            }
        }
    }

    /// The services that a machine's menu would have, in their order.
    fn services(&self, arch: Arch, tags: &HashSet<&str>, reached: &mut HashSet<usize>) -> Vec<&Choice> {
        let is_for = |choice: &&Choice| choice.arch == Some(arch.0) && meets(tags, &choice.needs);
        let services: Vec<&Choice> = self.old.services.iter().filter(is_for).collect();
        reached.extend(services.iter().map(|choice| choice.at));
        services
    }

    fn menu(&self, services: &[&Choice]) -> Decision {
        let boots = |choice: &&&Choice| matches!(&choice.what, What::File(_));
        let first = services.iter().find(boots).or(services.iter().find(|choice| choice.what == What::Local));
        let Some(first) = first else { return Decision::of(Target::Nothing, None) };
        let target = match self.target(first) {
            Target::Url(_) if !self.is_ipxe => Target::Nothing,
            target => target,
        };
        let beside = services.iter().map(|choice| choice.at).filter(|at| *at != first.at).collect();
        Decision { target, server: first.server.or(self.old.server), at: Some(first.at), beside }
    }

    /// The line that dnsmasq would take: of those with tags the last that fits, else the last without.
    fn boot<'c>(
        &self,
        choices: &'c [Choice],
        arch: Arch,
        tags: &HashSet<&str>,
        reached: &mut HashSet<usize>,
    ) -> Option<&'c Choice> {
        let fits: Vec<&Choice> = choices.iter().filter(|choice| meets(tags, &choice.needs)).collect();
        reached.extend(fits.iter().map(|choice| choice.at));
        let can_start = |choice: &&&Choice| match &choice.what {
            What::File(file) => self.names_arch(choice) || runs_on(file, arch),
            What::Local | What::Discover(_) => true,
        };
        let with_tags = fits.iter().rev().filter(|choice| !choice.needs.is_empty()).find(can_start);
        with_tags
            .or_else(|| fits.iter().rev().filter(|choice| choice.needs.is_empty()).find(can_start))
            .copied()
    }

    /// Whether a line is for some architectures only. One that is for all names a file that most of them could not start.
    fn names_arch(&self, choice: &Choice) -> bool {
        let of_pxe = self.sets.iter().filter(|(arch, _)| PXE.contains(arch));
        !of_pxe.into_iter().all(|(_, tags)| meets(tags, &choice.needs))
    }

    fn target(&self, choice: &Choice) -> Target {
        match &choice.what {
            What::File(name) if name.contains("://") => Target::Url(name.clone()),
            What::File(name) => Target::File(self.below_root(name)),
            What::Local => Target::Local,
            What::Discover(_) => Target::Nothing,
        }
    }

    /// A name below the root: dnsmasq also takes whole paths that lead there.
    fn below_root(&self, name: &str) -> String {
        let root = self.old.root.as_ref().map(|(_, root)| root.trim_end_matches('/'));
        let below = root.and_then(|root| name.strip_prefix(root)?.strip_prefix('/'));
        below.unwrap_or(name).to_owned()
    }
}

/// Whether firmware of an architecture could start a file, by its name.
fn runs_on(name: &str, arch: Arch) -> bool {
    let lower = name.to_ascii_lowercase();
    let base = lower.rsplit('/').next().unwrap_or_default();
    if lower.ends_with(".efi") || lower.ends_with(".efi.signed") {
        let is_for = |marks: &[&str]| marks.iter().any(|mark| lower.contains(mark));
        let own = if is_for(&["aa64", "arm64", "aarch64"]) {
            Arch::ARM64
        } else if is_for(&["ia32", "i386", "efi32"]) {
            Arch::IA32
        } else if is_for(&["bootarm", "arm32", "grubarm"]) {
            Arch::ARM32
        } else {
            Arch::X64
        };
        return arch.processor() == own;
    }
    let is_bios = [".0", ".kpxe", ".kkpxe", ".pxe", ".lkrn", ".com", ".n12", ".bin"]
        .iter()
        .any(|end| base.ends_with(end));
    if arch.is_http() {
        // A URL for iPXE's scripts is none for firmware.
        return false;
    }
    !is_bios || arch == Arch::BIOS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_show_who_can_start_a_file() {
        for (name, bios, x64, arm64) in [
            ("pxelinux.0", true, false, false),
            ("ltsp/undionly.kpxe", true, false, false),
            ("ipxe.efi", false, true, false),
            ("arm64/snponly.efi", false, false, true),
            ("boot.ipxe", true, true, true),
        ] {
            let found = [Arch::BIOS, Arch::X64, Arch::ARM64].map(|arch| runs_on(name, arch));
            assert_eq!(found, [bios, x64, arm64], "{name}");
        }
    }
}
