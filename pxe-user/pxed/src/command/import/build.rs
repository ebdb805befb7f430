//! Builds rules and images that give each machine what dnsmasq would offer to it.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::path::Path;

use super::decide::{Block, Decision, Target, common};
use super::new::{Action, Conditions, Image, New, Noted, Rule};
use super::old::Old;
use super::tags::Special;
use pxe_content::rules::Matcher;
use pxe_proto::dhcp::Arch;

/// The script that pxed offers to iPXE without a rule, if the root has it.
const SCRIPT: &str = "boot.ipxe";
/// The name of the last rule. Its image of boot files is named `tree`.
pub(super) const REST: &str = "everything else";

/// The name itself, then the name with the numbers 2, 3 and so on behind it.
pub(super) fn numbered(wish: &str, separator: &str) -> impl Iterator<Item = String> {
    (1_u32..)
        .map(move |number| if number == 1 { wish.to_owned() } else { format!("{wish}{separator}{number}") })
}

/// The rules under construction, and what becomes of each line.
pub(super) struct Builder<'o> {
    pub(super) old: &'o Old,
    /// Whether a directory exists on this host. An image cannot have the name of a directory at the root, because the image would
    /// hide that directory.
    pub(super) taken: &'o dyn Fn(&Path) -> bool,
    pub(super) new: New,
    /// By line: what it became.
    pub(super) became: HashMap<usize, Vec<String>>,
    /// By line: why it became nothing.
    pub(super) refused: HashMap<usize, String>,
}

impl<'o> Builder<'o> {
    pub(super) fn new(old: &'o Old, taken: &'o dyn Fn(&Path) -> bool) -> Self {
        Self { old, taken, new: New::default(), became: HashMap::new(), refused: HashMap::new() }
    }

    /// Builds rules, or only `boot_files` if all machines get the same.
    pub(super) fn build(&mut self, blocks: &[Block]) {
        let root = self.old.root.as_ref();
        self.new.root = root.map(|(at, path)| Noted { value: path.clone(), from: self.old.source([*at]) });
        let Some((rest, others)) = blocks.split_last() else { return };
        let needs_rules = self.needs_rules(rest) || !others.is_empty();
        if !needs_rules {
            self.new.boot_files = self.files(&rest.plain, "boot_files");
            if is_own_script(rest) {
                self.note_own_script(rest);
            }
            self.http_urls(rest);
            return;
        }
        for (index, (at, interface, path)) in self.old.roots.iter().enumerate() {
            let is_first = self.old.roots.iter().take(index).all(|(_, earlier, _)| earlier != interface);
            if is_first {
                self.own_root(*at, interface, path, rest);
            } else {
                self.refused.insert(
                    *at,
                    "an earlier line names another root for this interface; leave one of them".into(),
                );
            }
        }
        for block in others {
            self.block(block);
        }
        self.block(rest);
        self.http_urls(rest);
        self.prune();
        let blksize = self.old.blksize.map(|(_, blksize)| blksize);
        for rule in &mut self.new.rules {
            let can = rule.conditions.asks_clients_only() && matches!(rule.outcome, Action::Image(_));
            rule.blksize = blksize.filter(|_| can);
        }
    }

    /// Removes rules that can never match, because an earlier rule matches all of their machines. Then removes images that no
    /// rule uses.
    fn prune(&mut self) {
        let mut kept: Vec<Rule> = Vec::new();
        let mut matchers: Vec<Matcher> = Vec::new();
        for rule in std::mem::take(&mut self.new.rules) {
            let matcher = rule.conditions.matcher();
            if !matchers.iter().any(|earlier| earlier.covers(&matcher)) {
                matchers.push(matcher);
                kept.push(rule);
            }
        }
        let is_used = |image: &Image| {
            kept.iter().any(|rule| matches!(&rule.outcome, Action::Image(name) if *name == image.name))
        };
        self.new.images.retain(is_used);
        self.new.rules = kept;
    }

    fn needs_rules(&self, rest: &Block) -> bool {
        let is_special = |decision: &Decision| {
            matches!(decision.target, Target::Local | Target::Ignore)
                || decision.server.is_some() && matches!(decision.target, Target::File(_))
        };
        !self.old.roots.is_empty()
            || self.old.blksize.is_some()
            || rest.plain.iter().any(|(_, decision)| is_special(decision))
            || self.ipxe_differs(rest) && !is_own_script(rest)
    }

    /// Whether iPXE gets something other than the firmware that started it.
    fn ipxe_differs(&self, block: &Block) -> bool {
        let mut pairs = block.ipxe.iter().zip(&block.plain).filter(|((arch, _), _)| !arch.is_http());
        pairs.any(|((_, ipxe), (_, plain))| !ipxe.is_like(plain))
    }

    fn block(&mut self, block: &Block) {
        let Some((conditions, name)) = self.conditions(&block.specials) else { return };
        if self.ipxe_differs(block) {
            if is_own_script(block) {
                self.note_own_script(block);
            } else if conditions.user_class.is_none() {
                let conditions = Conditions { user_class: Some("iPXE".to_owned()), ..conditions.clone() };
                let name = if name == REST { "iPXE".to_owned() } else { format!("{name}, iPXE") };
                self.rules(&block.ipxe, &conditions, &name, Some(block));
            }
        }
        self.rules(&block.plain, &conditions, &name, None);
    }

    fn note_own_script(&mut self, block: &Block) {
        for at in block.ipxe.iter().filter_map(|(_, decision)| decision.at) {
            self.note(at, format!("pxed offers {SCRIPT} to iPXE by itself"));
        }
    }

    /// The conditions of a rule for machines that meet these specials, and the rule's name. `None` if a rule cannot express them.
    fn conditions(&self, specials: &BTreeSet<usize>) -> Option<(Conditions, String)> {
        let mut conditions = Conditions::default();
        let mut names = Vec::new();
        for special in specials.iter().filter_map(|number| self.old.tags.specials.get(*number)) {
            let slot = match special {
                Special::Mac { tag, addresses } => {
                    names.push(tag.clone());
                    if conditions.mac.is_empty() {
                        conditions.mac.clone_from(addresses);
                    } else {
                        conditions.mac = common(&conditions.mac, addresses);
                        if conditions.mac.is_empty() {
                            return None;
                        }
                    }
                    continue;
                }
                Special::Class(text) => (&mut conditions.class, format!("*{text}*")),
                Special::UserClass(text) => (&mut conditions.user_class, format!("*{text}*")),
                Special::Interface(name) => (&mut conditions.interface, name.clone()),
                Special::Unsupported { .. } => return None,
            };
            names.push(slot.1.trim_matches('*').to_owned());
            if slot.0.replace(slot.1).is_some() {
                return None;
            }
        }
        let name = if names.is_empty() { REST.to_owned() } else { names.join(", ") };
        Some((conditions, name.chars().filter(|c| !c.is_control()).take(40).collect()))
    }

    /// Adds as few rules as possible for machines that differ only in their architecture. `ipxe` is the block if the machines run
    /// iPXE.
    fn rules(
        &mut self,
        decisions: &[(Arch, Decision)],
        conditions: &Conditions,
        name: &str,
        ipxe: Option<&Block>,
    ) {
        let firmware: Vec<&(Arch, Decision)> = decisions.iter().filter(|(arch, _)| !arch.is_http()).collect();
        let mut groups: Vec<(Group, Vec<Arch>, BTreeSet<usize>)> = Vec::new();
        for (arch, decision) in &firmware {
            let key = match &decision.target {
                // dnsmasq offers nothing to iPXE, so that iPXE does not load itself again.
                Target::Nothing if ipxe.is_some_and(|block| serves(block, *arch)) => Group::Ignore,
                Target::Nothing => continue,
                Target::Ignore => Group::Ignore,
                Target::Local => Group::Local,
                Target::File(_) => Group::Files(decision.server),
                Target::Url(url) => Group::Url(url.clone()),
            };
            match groups.iter_mut().find(|(known, ..)| *known == key) {
                Some((_, arches, lines)) => {
                    arches.push(*arch);
                    lines.extend(decision.at);
                }
                None => groups.push((key, vec![*arch], decision.at.into_iter().collect())),
            }
        }
        // The largest group comes last. Earlier rules match all other machines, so the last rule needs no architecture.
        groups.sort_by_key(|(_, arches, _)| arches.len());
        let last = groups.len().saturating_sub(1);
        let is_all =
            firmware.iter().all(|(_, decision)| decision.target != Target::Nothing) || ipxe.is_some();
        for (index, (group, arches, lines)) in groups.into_iter().enumerate() {
            let is_last = index == last && (is_all || matches!(group, Group::Files(_) | Group::Url(_)));
            let arch = if is_last { Vec::new() } else { folded(arches.clone()) };
            let suffix = if is_last || last == 0 { String::new() } else { format!(" ({})", listed(&arch)) };
            let rule_name = self.rule_name(&format!("{name}{suffix}"));
            let (outcome, boot_server) = match group {
                Group::Ignore => (Action::Ignore, None),
                Group::Local => (Action::Local, None),
                Group::Files(server) => {
                    let own: Vec<(Arch, Decision)> = decisions
                        .iter()
                        .filter(|(_, decision)| {
                            matches!(decision.target, Target::File(_)) && decision.server == server
                        })
                        .cloned()
                        .collect();
                    (Action::Image(self.image_of_files(name, &own)), server)
                }
                Group::Url(url) => (Action::Image(self.image_of_url(name, &url, &lines, ipxe)), None),
            };
            let what = match &outcome {
                Action::Image(_) => None,
                Action::Local => Some("local"),
                Action::Ignore => Some("ignore"),
            };
            for at in lines.iter().filter(|_| what.is_some()) {
                self.note(*at, format!("rule \"{rule_name}\": action = \"{}\"", what.unwrap_or_default()));
            }
            let conditions = Conditions { arch, ..conditions.clone() };
            let has_menu = decisions.iter().any(|(_, decision)| {
                decision.at.is_some_and(|at| lines.contains(&at)) && decision.has_menu(self.old)
            });
            let from = self.old.source(lines);
            self.new.rules.push(Rule {
                name: rule_name,
                conditions,
                outcome,
                boot_server,
                blksize: None,
                has_menu,
                style: None,
                from,
            });
        }
    }

    /// Adds a rule and an image for a directory that dnsmasq serves on one interface only.
    fn own_root(&mut self, at: usize, interface: &str, path: &str, rest: &Block) {
        let name = self.image_name(interface);
        let boot_files = self.files(&rest.plain, &format!("images.{name}.boot_files"));
        let image = Image { name: name.clone(), root: Some(path.to_owned()), boot_files, url: None };
        self.new.images.push(image);
        let conditions = Conditions { interface: Some(interface.to_owned()), ..Conditions::default() };
        let name_of_rule = self.rule_name(interface);
        self.note(
            at,
            format!("images.{name}.root = \"{path}\", rule \"{name_of_rule}\"; machines load its files below /{name}/"),
        );
        self.new.rules.push(Rule {
            name: name_of_rule,
            conditions,
            outcome: Action::Image(name),
            boot_server: None,
            blksize: None,
            has_menu: true,
            style: None,
            from: self.old.source([at]),
        });
    }

    pub(super) fn note(&mut self, at: usize, what: String) {
        let notes = self.became.entry(at).or_default();
        if !notes.contains(&what) {
            notes.push(what);
        }
    }

    /// A name made from `wish` that no rule has yet.
    pub(super) fn rule_name(&self, wish: &str) -> String {
        let is_free = |name: &String| !self.new.rules.iter().any(|rule| rule.name == *name);
        numbered(wish, " ").find(is_free).unwrap_or_default()
    }
}

/// What all machines of one rule get.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Group {
    Ignore,
    Local,
    Files(Option<Ipv4Addr>),
    Url(String),
}

/// Whether dnsmasq offers to iPXE, on all architectures, exactly the script that pxed offers to iPXE without a rule.
fn is_own_script(block: &Block) -> bool {
    let firmware = || block.ipxe.iter().filter(|(arch, _)| !arch.is_http());
    firmware()
        .all(|(_, decision)| decision.target == Target::File(SCRIPT.to_owned()) && decision.server.is_none())
}

/// Whether dnsmasq offers anything to firmware of an architecture.
fn serves(block: &Block, arch: Arch) -> bool {
    block.plain.iter().any(|(known, decision)| *known == arch && decision.target != Target::Nothing)
}

/// Architectures as rules list them. x64 includes EFI byte code.
fn folded(mut arches: Vec<Arch>) -> Vec<Arch> {
    let has_x64 = arches.contains(&Arch::X64);
    arches.retain(|arch| !(has_x64 && *arch == Arch::EBC));
    arches
}

fn listed(arches: &[Arch]) -> String {
    arches.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
