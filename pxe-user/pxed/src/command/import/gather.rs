//! Reads the lines into [`Old`]. If a line alone decides what becomes of it, this module sets the disposition; `convert` sets the
//! others.

use std::net::Ipv4Addr;

use super::conditions;
use super::finding::Disposition;
use super::hosts;
use super::lines::Line;
use super::old::{Choice, HostInterface, Ignore, Old, What};
use super::other;
use super::tags::{Need, Special, Test, needs, set_tag};

/// The names of client system architectures in `pxe-service`. The index is the architecture code (dnsmasq 2.76 and later).
const CSA: [&str; 12] = [
    "x86PC",
    "PC98",
    "IA64_EFI",
    "Alpha",
    "Arc_x86",
    "Intel_Lean_Client",
    "IA32_EFI",
    "X86-64_EFI",
    "Xscale_EFI",
    "BC_EFI",
    "ARM32_EFI",
    "ARM64_EFI",
];
/// Bytes that dnsmasq subtracts from `tftp-mtu` for the headers of IP (20), UDP (8) and TFTP (4).
const HEADERS: u16 = 32;

/// Reads all lines.
pub(super) fn gather(lines: Vec<Line>, host: &[HostInterface]) -> Old {
    let mut old = Old { dispositions: vec![None; lines.len()], lines, ..Old::default() };
    // Decide this first: whether dnsmasq gives out addresses affects the disposition of other lines.
    let ranges = || old.lines.iter().filter(|line| line.key == "dhcp-range");
    let is_proxy = |line: &Line| line.fields.iter().any(|field| field == "proxy");
    old.leases = ranges().any(|line| !is_proxy(line));
    for at in 0..old.lines.len() {
        let line = old.lines[at].clone();
        if let Some(disposition) = one(&mut old, at, &line, host) {
            old.disposition(at, disposition);
        }
    }
    set_by_dnsmasq(&mut old, host);
    old
}

/// Adds the tags that dnsmasq sets by itself: `known`, the tags of ranges, and the names of interfaces.
fn set_by_dnsmasq(old: &mut Old, host: &[HostInterface]) {
    if old.known_only.is_some() {
        // `[access]` rejects all other machines, so every machine that reaches the rules has this tag.
        old.tags.add("known", Test::Always);
    } else if !old.known.is_empty() {
        let addresses = old.known.iter().map(|(_, address)| address.clone()).collect();
        old.tags.add_special("known", Special::Mac { tag: "known".to_owned(), addresses });
    }
    let ranges = old.range_tags.clone();
    for (at, tag) in &ranges {
        if ranges.iter().all(|(_, other)| other == tag) {
            old.tags.add(tag, Test::Always);
            continue;
        }
        let subnet = old.ranges.iter().find(|(line, ..)| line == at);
        let special = match subnet.and_then(|(_, address, _)| interface_of(*address, host)) {
            Some(interface) => Special::Interface(interface),
            None => Special::Unsupported {
                tag: tag.clone(),
                why: "no interface of this host is in its range; match on `relay` or `interface`".to_owned(),
            },
        };
        old.tags.add_special(tag, special);
    }
    let choices = old.boots.iter().chain(&old.services).chain(&old.bootfiles).map(|choice| &choice.needs);
    let needs: Vec<Need> =
        choices.chain(old.ignores.iter().map(|ignore| &ignore.needs)).flatten().cloned().collect();
    let asked: Vec<String> = old.tags.behind(&needs).into_iter().map(str::to_owned).collect();
    for tag in asked {
        let is_interface =
            host.iter().any(|own| own.name == tag) || old.interfaces.iter().any(|(_, name)| *name == tag);
        if is_interface && !old.tags.is_set(&tag) {
            old.tags.add_special(&tag, Special::Interface(tag.clone()));
        }
    }
}

/// The interface whose subnet contains `address`.
pub(super) fn interface_of(address: Ipv4Addr, host: &[HostInterface]) -> Option<String> {
    let is_in = |own: &&HostInterface| {
        let mask = own.mask.to_bits();
        own.address.to_bits() & mask == address.to_bits() & mask
    };
    host.iter().find(is_in).map(|own| own.name.clone())
}

/// Reads one line. Returns its disposition, or `None` if the disposition depends on other lines.
fn one(old: &mut Old, at: usize, line: &Line, host: &[HostInterface]) -> Option<Disposition> {
    match line.key.as_str() {
        "port" if line.field(0) == Some("0") => {
            Some(Disposition::NotNeeded("pxed has no DNS server that it could switch off".to_owned()))
        }
        "port" => Some(Disposition::Unchanged("stays with dnsmasq (DNS)".to_owned())),
        "interface" => list(&mut old.interfaces, at, line),
        "except-interface" | "no-dhcp-interface" => list(&mut old.excepted, at, line),
        "listen-address" => {
            let addresses: Vec<Ipv4Addr> =
                line.fields.iter().filter_map(|field| field.parse().ok()).collect();
            if addresses.iter().all(Ipv4Addr::is_loopback) {
                return Some(Disposition::NotNeeded("pxed serves the machines' network only".to_owned()));
            }
            old.listening
                .extend(addresses.into_iter().filter(|a| !a.is_loopback()).map(|address| (at, address)));
            None
        }
        "dhcp-range" => range(old, at, line),
        "dhcp-boot" => boot(old, at, line, host),
        "pxe-service" => service(old, at, line, host),
        "pxe-prompt" => {
            let (tags, rest) = needs(&line.fields);
            let Some(text) = rest.first().filter(|text| !text.is_empty()) else {
                return Some(Disposition::incomplete("a text"));
            };
            if !tags.is_empty() {
                let why =
                    "pxed has one prompt for all machines; write it as `menu_prompt`, or without the tag";
                return Some(Disposition::NotSupported(why.to_owned()));
            }
            let timeout = rest.get(1).and_then(|text| text.parse::<i64>().ok());
            let timeout = timeout.map(|seconds| u8::try_from(seconds.clamp(0, 254)).unwrap_or(254));
            old.prompt = Some((at, text.clone(), timeout));
            None
        }
        "tftp-root" => {
            let Some(path) = line.field(0) else { return Some(Disposition::incomplete("a directory")) };
            if !path.starts_with('/') {
                let why = "the path is not absolute; write `root` with the whole path";
                return Some(Disposition::NotSupported(why.to_owned()));
            }
            match line.field(1) {
                Some(interface) => old.roots.push((at, interface.to_owned(), path.to_owned())),
                None => {
                    if let Some((earlier, _)) = old.root.replace((at, path.to_owned())) {
                        let why = Disposition::NotNeeded(
                            "a later line names another root, and dnsmasq takes that".to_owned(),
                        );
                        old.disposition(earlier, why);
                    }
                }
            }
            None
        }
        "tftp-no-blocksize" => limit(old, at, Some(512)),
        "tftp-mtu" => {
            let mtu = line.field(0).and_then(|text| text.parse::<u16>().ok());
            limit(old, at, mtu.and_then(|mtu| mtu.checked_sub(HEADERS)).filter(|blksize| *blksize >= 8))
        }
        "tftp-max" => match line.field(0).and_then(|text| text.parse().ok()).filter(|number| *number > 0) {
            Some(number) => {
                old.transfers = Some((at, number));
                Some(Disposition::TakenOver(format!("transfers = {number}")))
            }
            None => Some(Disposition::incomplete("a number")),
        },
        "dhcp-match" => conditions::matches(old, at, line),
        "dhcp-vendorclass" | "dhcp-userclass" => conditions::class(old, at, line),
        "dhcp-mac" => hosts::mac(old, at, line),
        "dhcp-host" => hosts::host(old, at, line),
        "dhcp-ignore" => {
            let (needs, rest) = needs(&line.fields);
            if needs.is_empty() || !rest.is_empty() {
                return Some(Disposition::incomplete("tags, as `tag:!known`"));
            }
            match needs.as_slice() {
                [only] if only.tag == "known" && only.is_negated => old.known_only = Some(at),
                _ => old.ignores.push(Ignore { at, needs }),
            }
            None
        }
        "dhcp-circuitid" | "dhcp-remoteid" | "dhcp-subscrid" => {
            let why =
                format!("rules have no condition for what {} asks; match on `relay` or `vlan`", line.key);
            let tag = set_tag(line.field(0).unwrap_or_default()).to_owned();
            old.tags.add_special(&tag, Special::Unsupported { tag: tag.clone(), why });
            old.setters.push((at, tag, String::new()));
            None
        }
        "tag-if" => {
            let sets: Vec<String> =
                line.fields.iter().map_while(|field| field.strip_prefix("set:")).map(str::to_owned).collect();
            let (needs, rest) = needs(line.fields.get(sets.len()..).unwrap_or_default());
            let Some(first) = sets.first().cloned().filter(|_| rest.is_empty()) else {
                return Some(Disposition::incomplete("`set:x,tag:y`"));
            };
            old.tags.add_if(sets, needs);
            old.setters.push((at, first, "what its tags ask for".to_owned()));
            None
        }
        "dhcp-option" | "dhcp-option-force" | "dhcp-option-pxe" => option(old, at, line, host),
        key => Some(other::disposition(key, old.leases).unwrap_or_else(|| {
            let why = "the import does not know this option; see whether booting depends on it";
            Disposition::NotSupported(why.to_owned())
        })),
    }
}

fn list(names: &mut Vec<(usize, String)>, at: usize, line: &Line) -> Option<Disposition> {
    let given: Vec<&String> = line.fields.iter().filter(|name| !name.is_empty()).collect();
    if given.iter().all(|name| *name == "lo") {
        return Some(Disposition::NotNeeded("machines do not boot over the loopback interface".to_owned()));
    }
    names.extend(given.into_iter().filter(|name| *name != "lo").map(|name| (at, name.clone())));
    None
}

fn limit(old: &mut Old, at: usize, blksize: Option<u16>) -> Option<Disposition> {
    let Some(blksize) = blksize else { return Some(Disposition::incomplete("a number of bytes")) };
    let smaller = old.blksize.is_none_or(|(_, known)| blksize < known);
    if smaller {
        old.blksize = Some((at, blksize));
    }
    Some(Disposition::TakenOver(format!("blksize = {blksize} in rules")))
}

fn range(old: &mut Old, at: usize, line: &Line) -> Option<Disposition> {
    if let Some(tag) =
        line.fields.iter().find_map(|field| field.strip_prefix("set:").or(field.strip_prefix("net:")))
    {
        old.range_tags.push((at, tag.to_owned()));
    }
    let gives = line.fields.iter().all(|field| field != "proxy");
    if let Some(address) = line.fields.iter().find_map(|field| field.parse().ok()) {
        old.ranges.push((at, address, gives));
        return None;
    }
    if gives {
        return Some(other::leases(true));
    }
    Some(Disposition::incomplete("an address of the network"))
}

/// The address of another machine that has the files. `None` if this host has them. `Err` if the line gives a host name.
fn server(text: Option<&String>, host: &[HostInterface]) -> Result<Option<Ipv4Addr>, Disposition> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.parse::<Ipv4Addr>() {
        Ok(address) if address.is_unspecified() => Ok(None),
        Ok(address) => Ok((!host.iter().any(|own| own.address == address)).then_some(address)),
        Err(_) => {
            let why =
                format!("pxed looks up no names: write the address of `{text}` as `boot_server` into a rule");
            Err(Disposition::NotSupported(why))
        }
    }
}

fn boot(old: &mut Old, at: usize, line: &Line, host: &[HostInterface]) -> Option<Disposition> {
    let (needs, rest) = needs(&line.fields);
    let Some(file) = rest.first().filter(|file| !file.is_empty()) else {
        return Some(Disposition::incomplete("a file's name"));
    };
    let server = match server(rest.get(2), host) {
        Ok(server) => server,
        Err(disposition) => return Some(disposition),
    };
    old.boots.push(Choice { at, needs, arch: None, what: What::File(file.clone()), server });
    None
}

fn service(old: &mut Old, at: usize, line: &Line, host: &[HostInterface]) -> Option<Disposition> {
    let (needs, rest) = needs(&line.fields);
    let [csa, menu, rest @ ..] = rest else {
        return Some(Disposition::incomplete("an architecture and a text"));
    };
    let by_name = CSA.iter().position(|name| name.eq_ignore_ascii_case(csa));
    let number = by_name.and_then(|number| u16::try_from(number).ok()).or_else(|| csa.parse().ok());
    let Some(arch) = number else {
        return Some(Disposition::NotSupported(format!(
            "`{csa}` is no architecture; write x86PC, X86-64_EFI or a number"
        )));
    };
    if menu.starts_with("Raspberry Pi Boot") {
        let why = "pxed knows a Raspberry Pi by its address, and offers bootcode.bin";
        return Some(Disposition::NotNeeded(why.to_owned()));
    }
    let what = match rest.first().filter(|name| !name.is_empty()) {
        None => What::Local,
        Some(name) => match name.parse::<u16>() {
            Ok(0) => What::Local,
            Ok(number) => What::Discover(number),
            // Firmware asks for a layer, and dnsmasq appends the layer's number to a name without a suffix. The first layer is 0.
            Err(_) if name.contains('.') => What::File(name.clone()),
            Err(_) => What::File(format!("{name}.0")),
        },
    };
    let server = match server(rest.get(1), host) {
        Ok(server) => server,
        Err(disposition) => return Some(disposition),
    };
    old.services.push(Choice { at, needs, arch: Some(arch), what, server });
    None
}

fn option(old: &mut Old, at: usize, line: &Line, host: &[HostInterface]) -> Option<Disposition> {
    let (needs, rest) = needs(&line.fields);
    let Some(name) = rest.first() else { return Some(Disposition::incomplete("an option")) };
    let value = rest.get(1).cloned().unwrap_or_default();
    let not_needed = |why: &str| Some(Disposition::NotNeeded(why.to_owned()));
    match name.strip_prefix("option:").unwrap_or(name) {
        "67" | "bootfile-name" if !value.is_empty() => {
            old.bootfiles.push(Choice { at, needs, arch: None, what: What::File(value), server: None });
            None
        }
        "66" | "150" | "tftp-server" | "server-ip-address" | "tftp-server-address" => {
            match server(Some(&value), host) {
                Ok(None) => not_needed("machines load from this host, whose address pxed offers by itself"),
                Ok(Some(address)) => {
                    old.server = Some(address);
                    Some(Disposition::TakenOver(format!("boot_server = \"{address}\" in rules")))
                }
                Err(disposition) => Some(disposition),
            }
        }
        "43" | "60" | "vendor-class" | "vendor-encap" => not_needed("pxed writes options 43 and 60 itself"),
        "97" | "client-machine-id" => not_needed("pxed returns option 97 itself"),
        "175" => not_needed("pxed writes iPXE's option 175 itself"),
        option if option.starts_with("vendor:") || option.starts_with("encap:175") => {
            not_needed("pxed writes options 43 and 175 itself")
        }
        "209" if value == "pxelinux.cfg/default" => not_needed("pxed names PXELINUX's configuration itself"),
        "209" => Some(Disposition::NotSupported(format!(
            "PXELINUX reads pxelinux.cfg/default beside its boot file; move {value} there"
        ))),
        "210" => Some(Disposition::NotSupported(
            "PXELINUX looks beside its boot file; move the boot file to where the prefix leads".to_owned(),
        )),
        option if option.starts_with("option6:") => Some(other::leases(old.leases)),
        _ if old.leases => Some(other::leases(true)),
        _ => not_needed("addresses and what comes with them are your DHCP server's"),
    }
}
