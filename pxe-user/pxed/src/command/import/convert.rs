//! Converts dnsmasq's configuration: takes lines, and returns the new configuration and a finding for each line. Reads no file.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use super::build::Builder;
use super::decide::{self, Block, Decision, Reached};
use super::finding::{Disposition, Finding, shortened};
use super::gather::{gather, interface_of};
use super::lines::Line;
use super::new::{Action, New, Noted};
use super::old::{HostInterface, Old, What};
use super::other;
use super::tags::{Need, Special};
use pxe_proto::dhcp::Text;

/// The result of the conversion.
#[derive(Debug)]
pub(super) struct Converted {
    pub(super) new: New,
    pub(super) findings: Vec<Finding>,
    /// Whether dnsmasq gives out addresses, so that it must keep running.
    pub(super) leases: bool,
    /// Whether dnsmasq also serves DNS.
    pub(super) has_dns: bool,
    /// Whether dnsmasq serves the boot files by TFTP itself.
    pub(super) has_tftp: bool,
    /// The directories with boot files.
    pub(super) roots: Vec<String>,
}

/// Converts lines. `root` is a tree that the command line names beside them. `taken` tells whether a directory exists on this
/// host.
pub(super) fn convert(
    lines: Vec<Line>,
    host: &[HostInterface],
    root: Option<&str>,
    taken: &dyn Fn(&Path) -> bool,
) -> Converted {
    let mut old = gather(lines, host);
    let (blocks, reached) = decide::blocks(&old);
    let mut builder = Builder::new(&old, taken);
    builder.build(&blocks);
    let Builder { mut new, became, refused, .. } = builder;
    for (at, what) in became {
        old.disposition(at, Disposition::TakenOver(what.join("; ")));
    }
    for (at, why) in refused {
        old.disposition(at, Disposition::NotSupported(why));
    }
    new.interfaces = interfaces(&mut old, host);
    roots(&mut old, &mut new, root);
    menu(&mut old, &mut new, &blocks);
    access(&mut old, &mut new);
    if let Some((at, transfers)) = old.transfers {
        new.transfers = Some(Noted { value: transfers, from: old.source([at]) });
    }
    choices(&mut old, &reached, &blocks);
    setters(&mut old);
    finish(old, new)
}

fn finish(old: Old, new: New) -> Converted {
    let serves_dns = old.lines.iter().all(|line| line.key != "port" || line.field(0) != Some("0"));
    let has_tftp = old.lines.iter().any(|line| line.key == "enable-tftp");
    let unknown = || {
        Disposition::NotSupported(
            "the import has no place for it; see whether booting depends on it".to_owned(),
        )
    };
    let roots: Vec<String> = new.root.iter().map(|root| root.value.clone()).collect();
    let roots = roots.into_iter().chain(old.roots.iter().map(|(.., path)| path.clone())).collect();
    let (leases, lines, dispositions) = (old.leases, old.lines, old.dispositions);
    let findings = lines.into_iter().zip(dispositions);
    let findings = findings.map(|(line, disposition)| Finding {
        place: line.place,
        text: line.text,
        disposition: disposition.unwrap_or_else(unknown),
    });
    Converted { new, findings: findings.collect(), leases, has_dns: serves_dns, has_tftp, roots }
}

/// The interfaces that dnsmasq serves: by name, by address, or, if no line names one, by the subnets of its ranges.
fn interfaces(old: &mut Old, host: &[HostInterface]) -> Vec<Noted<String>> {
    let mut named: Vec<(usize, String)> = Vec::new();
    for (at, name) in old.interfaces.clone() {
        let found: Vec<String> = match name.strip_suffix('*') {
            Some(prefix) => host
                .iter()
                .map(|own| own.name.clone())
                .filter(|own| own.starts_with(prefix) && own != "lo")
                .collect(),
            None => vec![name.clone()],
        };
        let disposition = if found.is_empty() {
            Disposition::NotSupported(format!(
                "no interface of this host is meant by {name}; write `interfaces` with whole names"
            ))
        } else {
            Disposition::TakenOver(format!("interfaces: {}", found.join(", ")))
        };
        old.disposition(at, disposition);
        named.extend(found.into_iter().map(|name| (at, name)));
    }
    for (at, address) in old.listening.clone() {
        let own = host.iter().find(|own| own.address == address).map(|own| own.name.clone());
        let disposition = match &own {
            Some(name) => Disposition::TakenOver(format!("interfaces: {name}")),
            None => Disposition::NotSupported(format!(
                "this host does not have {address}; write `interfaces` and `address`"
            )),
        };
        old.disposition(at, disposition);
        named.extend(own.map(|name| (at, name)));
    }
    let by_name = !named.is_empty();
    for (at, address, gives) in old.ranges.clone() {
        let own = interface_of(address, host).filter(|_| !by_name);
        named.extend(own.iter().map(|name| (at, name.clone())));
        let disposition = match (gives, own) {
            (true, own) => {
                let serves = own.map(|name| format!("; pxed serves {name}, too")).unwrap_or_default();
                Disposition::Unchanged(format!("stays with dnsmasq, which goes on giving out addresses: pxed never does{serves}"))
            }
            (false, Some(name)) => Disposition::TakenOver(format!(
                "interfaces: {name}, whose network that is; pxed is always a proxyDHCP server"
            )),
            (false, None) if by_name => {
                Disposition::TakenOver("pxed is always a proxyDHCP server, on its interfaces".to_owned())
            }
            (false, None) => Disposition::TakenOver(
                "pxed is always a proxyDHCP server; no interface of this host is in that network, so name one".to_owned(),
            ),
        };
        old.disposition(at, disposition);
    }
    for (at, name) in old.excepted.clone() {
        let is_meant =
            |served: &str| name.strip_suffix('*').map_or(served == name, |prefix| served.starts_with(prefix));
        let before = named.len();
        named.retain(|(_, served)| !is_meant(served));
        let disposition = if named.len() < before {
            Disposition::TakenOver(format!("interfaces, without {name}"))
        } else {
            Disposition::NotNeeded("pxed serves the interfaces that are named, and no others".to_owned())
        };
        old.disposition(at, disposition);
    }
    let mut interfaces: Vec<Noted<String>> = Vec::new();
    for (at, name) in named {
        match interfaces.iter_mut().find(|known| known.value == name) {
            Some(known) => known.from.extend(old.source([at])),
            None => interfaces.push(Noted { value: name, from: old.source([at]) }),
        }
    }
    interfaces
}

fn roots(old: &mut Old, new: &mut New, given: Option<&str>) {
    if let Some((at, path)) = old.root.clone() {
        old.disposition(at, Disposition::TakenOver(format!("root = \"{}\"", shortened(&path))));
    } else if let Some(given) = given {
        new.root =
            Some(Noted { value: given.to_owned(), from: vec!["the directory that was named".to_owned()] });
    }
}

/// Sets the boot menu, if dnsmasq shows one to any machine.
fn menu(old: &mut Old, new: &mut New, blocks: &[Block]) {
    let decisions = || blocks.iter().flat_map(|block| &block.plain).map(|(_, decision)| decision);
    let is_local = |old: &Old, at: &usize| old.services.iter().any(|s| s.at == *at && s.what == What::Local);
    let shown: Vec<&Decision> = decisions().filter(|decision| decision.has_menu(old)).collect();
    let locals: HashSet<usize> = shown
        .iter()
        .flat_map(|decision| decision.beside.iter().copied())
        .filter(|at| is_local(old, at))
        .collect();
    if shown.is_empty() {
        if let Some((at, ..)) = old.prompt {
            let why = "machines have one thing to boot, so pxed offers that at once; `style = \"menu\"` shows a menu";
            old.disposition(at, Disposition::NotNeeded(why.to_owned()));
        }
        return;
    }
    let (prompt, timeout) = match &old.prompt {
        Some((_, text, timeout)) => (Some(text.clone()), timeout.unwrap_or(255)),
        // dnsmasq waits for the choice if there is no prompt. 255 does the same.
        None => (None, 255),
    };
    let at = old.prompt.as_ref().map(|(at, ..)| *at);
    let fits = prompt.as_ref().filter(|prompt| Text::new(prompt).is_ok() && prompt.len() <= 120).cloned();
    if let Some(at) = at {
        old.disposition(
            at,
            match (&prompt, &fits) {
                (Some(_), None) => Disposition::NotSupported(
                    "the text does not fit the menu; write `menu_prompt` with a shorter one".to_owned(),
                ),
                _ => {
                    Disposition::TakenOver(format!("style = \"menu\", menu_prompt, menu_timeout = {timeout}"))
                }
            },
        );
    }
    for local in &locals {
        let is_first = decisions()
            .any(|decision| decision.beside.contains(local) && decision.at.is_some_and(|boot| *local < boot));
        let disposition = if is_first && timeout < 255 {
            let why = "pxed's menu boots its image when the time is over, and not the local disk; `menu_timeout = 255` makes it \
                       wait for the choice";
            Disposition::NotSupported(why.to_owned())
        } else {
            Disposition::TakenOver("style = \"menu\", whose last entry is the local disk".to_owned())
        };
        old.disposition(*local, disposition);
    }
    let from = old.source(at.into_iter().chain(locals));
    new.menu = Some(Noted { value: (fits, timeout), from });
    for rule in new.rules.iter_mut().filter(|rule| !rule.has_menu && matches!(rule.outcome, Action::Image(_)))
    {
        rule.style = Some("direct");
    }
}

/// Translates `dhcp-ignore=tag:!known` to `[access]`: only the machines that dnsmasq knows are allowed. Then sets the disposition of
/// the `dhcp-host` lines that have none yet.
fn access(old: &mut Old, new: &mut New) {
    let known = old.known.clone();
    if let Some(at) = old.known_only {
        if known.is_empty() {
            let why = "no dhcp-host names a machine by its address, so nobody would be served; write [access] with machines";
            old.disposition(at, Disposition::NotSupported(why.to_owned()));
        } else {
            old.disposition(
                at,
                Disposition::TakenOver("[access] allow, with the machines of dhcp-host".to_owned()),
            );
            let mut allow: Vec<String> = Vec::new();
            for (line, address) in &known {
                if !allow.contains(address) {
                    allow.push(address.clone());
                }
                if old.dispositions.get(*line).is_some_and(Option::is_none) {
                    old.disposition(*line, Disposition::TakenOver(format!("[access] allow: {address}")));
                }
            }
            let from = old.source(known.iter().map(|(line, _)| *line).chain([at]));
            new.allow = Some(Noted { value: allow, from });
        }
    }
    let hosts: Vec<usize> = (0..old.lines.len()).filter(|at| old.lines[*at].key == "dhcp-host").collect();
    for at in hosts {
        let sets_tag = old.setters.iter().any(|(line, ..)| line == &at);
        if old.dispositions[at].is_none() && !sets_tag {
            old.disposition(at, other::leases(old.leases));
        }
    }
}

/// Sets the disposition of lines that choose what machines boot, and that led to no rule or image.
fn choices(old: &mut Old, reached: &Reached, blocks: &[Block]) {
    let all = old.boots.iter().chain(&old.services).chain(&old.bootfiles);
    let all: Vec<(usize, Vec<Need>, What)> =
        all.map(|choice| (choice.at, choice.needs.clone(), choice.what.clone())).collect();
    let ignores: Vec<_> =
        old.ignores.iter().map(|ignore| (ignore.at, ignore.needs.clone(), What::Local)).collect();
    for (at, needs, what) in all.into_iter().chain(ignores) {
        if old.dispositions.get(at).is_some_and(Option::is_some) {
            continue;
        }
        let beside = |block: &Block| block.plain.iter().any(|(_, decision)| decision.beside.contains(&at));
        let disposition = if let What::Discover(number) = what {
            Disposition::NotSupported(format!(
                "pxed does not look for boot servers of type {number}; write `boot_server` with the address of that server into a rule"
            ))
        } else if blocks.iter().any(beside) {
            let why = "a machine boots one image, the first; let a boot loader's menu offer both, or write a rule for each machine";
            Disposition::NotSupported(why.to_owned())
        } else if let Some(why) = unsupported(old, &needs) {
            Disposition::NotSupported(why)
        } else if let What::File(name) = &what
            && name.contains("://")
            && reached.contains_key(&at)
        {
            let why = "firmware cannot load a URL by PXE; write a rule with `user_class = \"iPXE\"`, or [http_urls] for UEFI HTTP boot";
            Disposition::NotSupported(why.to_owned())
        } else if let Some(deciding) = reached.get(&at) {
            decided(old, &what, deciding)
        } else if needs.is_empty() {
            Disposition::NotNeeded(
                "other lines decide what machines boot; pxed sends one boot file, by DHCP's own field"
                    .to_owned(),
            )
        } else {
            Disposition::NotNeeded(
                "no kind of machine that the configuration tells apart has its tags".to_owned(),
            )
        };
        old.disposition(at, disposition);
    }
}

/// The disposition of a line that other lines overrule.
fn decided(old: &Old, what: &What, deciding: &BTreeSet<usize>) -> Disposition {
    let all = old.boots.iter().chain(&old.services).chain(&old.bootfiles);
    let same: Vec<usize> = all
        .filter(|choice| deciding.contains(&choice.at) && choice.what == *what)
        .map(|choice| choice.at)
        .collect();
    let places = |lines: &mut dyn Iterator<Item = usize>| {
        let places: Vec<String> = lines.filter_map(|at| Some(old.lines.get(at)?.place.to_string())).collect();
        places.join(", ")
    };
    if !same.is_empty() {
        return Disposition::TakenOver(format!("the same as by {}", places(&mut same.into_iter())));
    }
    match deciding.is_empty() {
        true => Disposition::NotNeeded("no machine that it fits could start it".to_owned()),
        false => Disposition::NotNeeded(format!(
            "{} decides for the machines that it fits",
            places(&mut deciding.iter().copied())
        )),
    }
}

/// The reason why no rule can have a condition that these tags depend on. `None` if there is no such condition.
fn unsupported(old: &Old, needs: &[Need]) -> Option<String> {
    let specials = old.tags.specials_of(needs);
    specials.iter().find_map(|number| match old.tags.specials.get(*number) {
        Some(Special::Unsupported { tag, why }) => Some(format!("tag {tag}: {why}")),
        _ => None,
    })
}

/// Sets the disposition of lines that set tags. Such a line is taken over if a line that chooses what machines boot asks for its tag.
fn setters(old: &mut Old) {
    let choices = old.boots.iter().chain(&old.services).chain(&old.bootfiles);
    let needs: Vec<Need> = choices
        .map(|choice| &choice.needs)
        .chain(old.ignores.iter().map(|ignore| &ignore.needs))
        .flatten()
        .cloned()
        .collect();
    let asked: HashSet<String> = old.tags.behind(&needs).into_iter().map(str::to_owned).collect();
    for (at, tag, what) in old.setters.clone() {
        if old.dispositions.get(at).is_some_and(Option::is_some) {
            continue;
        }
        let disposition =
            match (asked.contains(&tag), unsupported(old, &[Need { tag: tag.clone(), is_negated: false }])) {
                (false, _) => Disposition::NotNeeded(format!("nothing that boots asks for tag {tag}")),
                (true, Some(why)) if what.is_empty() => Disposition::NotSupported(why),
                (true, _) => Disposition::TakenOver(format!("tag {tag}: {what}")),
            };
        old.disposition(at, disposition);
    }
}
