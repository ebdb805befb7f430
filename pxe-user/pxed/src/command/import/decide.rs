//! Computes what dnsmasq would offer to a machine. The import asks this for each kind of machine that the old configuration
//! distinguishes, and writes rules with the same result. So nothing has to translate the order of lines, `tag:!x` and `tag-if`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::Ipv4Addr;

use super::old::{Choice, Old, What};
use super::tags::{Machine, Special, meets};
use pxe_proto::dhcp::Arch;

/// Architectures of machines that boot by PXE.
pub(super) const PXE: [Arch; 6] = [Arch::BIOS, Arch::IA32, Arch::X64, Arch::EBC, Arch::ARM32, Arch::ARM64];
/// Architectures of machines that boot by UEFI HTTP boot.
const HTTP: [Arch; 5] = [Arch(15), Arch::X64_HTTP, Arch::EBC_HTTP, Arch(18), Arch(19)];

/// What dnsmasq offers to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Nothing,
    Ignore,
    Local,
    File(String),
    Url(String),
}

/// What dnsmasq offers to a machine, and the line that decides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) target: Target,
    /// Another machine that has the file. `None` for this host.
    pub(super) server: Option<Ipv4Addr>,
    /// Index of the line that decides. `None` if no line does.
    pub(super) at: Option<usize>,
    /// Indices of the other lines of the same menu.
    pub(super) beside: Vec<usize>,
}

impl Decision {
    /// Whether firmware shows a menu before it boots: the menu also offers the local disk, or its prompt waits for a choice.
    pub(super) fn has_menu(&self, old: &Old) -> bool {
        let service = |at: usize| old.services.iter().find(|service| service.at == at);
        let has_local =
            self.beside.iter().filter_map(|at| service(*at)).any(|other| other.what == What::Local);
        let waits = matches!(old.prompt, Some((_, _, None)));
        matches!(self.target, Target::File(_)) && self.at.and_then(service).is_some() && (has_local || waits)
    }

    fn of(target: Target, at: Option<usize>) -> Self {
        Self { target, server: None, at, beside: Vec::new() }
    }

    /// Whether the machine gets the same, no matter which line decides.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.target == other.target && self.server == other.server
    }
}

/// Machines that differ only in their architecture.
#[derive(Debug)]
pub(super) struct Block {
    /// The specials that these machines meet, as indices into `Tags::specials`.
    pub(super) specials: BTreeSet<usize>,
    /// What dnsmasq offers to firmware, by architecture.
    pub(super) plain: Vec<(Arch, Decision)>,
    /// What dnsmasq offers to iPXE, by architecture.
    pub(super) ipxe: Vec<(Arch, Decision)>,
}

/// Each line that fits a machine, with the lines that decided in its place.
pub(super) type Reached = BTreeMap<usize, BTreeSet<usize>>;

/// All kinds of machines that the configuration distinguishes. Kinds with more specials come first, and the last block is all
/// other machines. A kind that gets the same as the last block is left out. The second value is every line that fits any machine,
/// with the lines that decided in its place.
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

/// The combinations of specials that lines ask for, and last the empty combination.
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
    // An address may be in several lists, so two lists that overlap are a combination as well.
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
    // Combinations that fit fewer machines come first, because the first rule that matches wins.
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

/// The addresses that are in both lists. An entry may be the first three bytes of an address, which means all addresses of a
/// maker.
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
        // Firmware takes the menu. iPXE takes the boot file if there is one.
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

    /// The services that a machine's menu has, in their order.
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

    /// The line that dnsmasq takes: the last line with tags that fits, otherwise the last line without tags. The import skips a
    /// line for an architecture that cannot start the line's file.
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

    /// Whether a line fits only some architectures. A line that fits all of them names a file that most of them cannot start, so
    /// `runs_on` decides then.
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

    /// The name below the root. dnsmasq also accepts an absolute path that leads below the root.
    fn below_root(&self, name: &str) -> String {
        let root = self.old.root.as_ref().map(|(_, root)| root.trim_end_matches('/'));
        let below = root.and_then(|root| name.strip_prefix(root)?.strip_prefix('/'));
        below.unwrap_or(name).to_owned()
    }
}

/// Whether firmware of an architecture can start a file, judged by the file's name.
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
        // This URL does not name an EFI program, so it is for scripts of iPXE and not for firmware.
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
