//! One machine, asked about by hand: requests are written as its firmware would, and answered.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Result;

use super::reply;
use super::show;
use super::trace::{Trace, World};
use crate::dhcp::{Answer, BootItem, Firmware, Request, Style, Via};

/// Stands for the address that the network's DHCP server gives to the machine (RFC 5737).
pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);

/// Writes the whole chain; what stands in the way of a boot is returned.
pub(super) fn explain(
    out: &mut impl Write,
    world: &World,
    firmware: &Firmware,
    vlan: Option<u16>,
) -> Result<Vec<String>> {
    let mut obstacles = Vec::new();
    if program(out, world, firmware, vlan, &mut obstacles)? && !firmware.is_ipxe() {
        writeln!(out, "\nThat program is iPXE, which asks for an offer of its own:\n")?;
        let ipxe = Firmware {
            // However it came: iPXE itself is a PXE client.
            arch: firmware.arch.processor(),
            user_class: Some("iPXE".into()),
            class: None,
            ..firmware.clone()
        };
        program(out, world, &ipxe, vlan, &mut obstacles)?;
    }
    Ok(obstacles)
}

/// What one program in the machine is told; whether what it loads is iPXE.
fn program(
    out: &mut impl Write,
    world: &World,
    firmware: &Firmware,
    vlan: Option<u16>,
    obstacles: &mut Vec<String>,
) -> Result<bool> {
    let packet = firmware.discover();
    let class = reply::printable(firmware.class().as_bytes());
    writeln!(out, "asks    DISCOVER, {} bytes, class {class}", packet.len())?;
    let from = SocketAddrV4::new(firmware.relay.unwrap_or(Ipv4Addr::UNSPECIFIED), 68);
    let trace = match world.trace(&Request::parse(&packet)?, Via::Port67, from, vlan) {
        Ok(trace) => trace,
        Err(ignored) => {
            writeln!(out, "reply   none: {}", reply::silence(ignored))?;
            obstacles.push(reply::silence(ignored));
            return Ok(false);
        }
    };
    writeln!(out, "rules")?;
    show::rules(out, world, &trace)?;
    said(out, &trace)?;
    obstacles.extend(trace.obstacles());
    let second = if trace.said.is_ok() { on_4011(out, world, firmware, vlan, &trace)? } else { None };
    if let Some(second) = &second {
        obstacles.extend(second.obstacles());
    }
    // What was acknowledged last is what is loaded.
    let files = second.as_ref().map_or(&trace.files, |second| &second.files);
    if !files.rows.is_empty() {
        writeln!(out, "files   in the order in which they are asked for")?;
        show::files(out, files)?;
    }
    obstacles.dedup();
    Ok(files.starts_ipxe)
}

fn said(out: &mut impl Write, trace: &Trace<'_>) -> Result<()> {
    let said = match &trace.said {
        Ok(said) => said,
        Err(ignored) => {
            writeln!(out, "reply   none: {}", reply::silence(*ignored))?;
            return Ok(());
        }
    };
    let (told, to) = (&said.reply.told, said.reply.to);
    let (kind, from_port) = (show::kind(told), said.reply.from_port);
    let style = match told.answer {
        Answer::Url(_) => "HTTP boot: the machine loads this URL",
        Answer::Local(_) => "a menu that has only the machine's own disk, taken at once",
        // clients.md section 1: iPXE skips port 4011 when it has a server and a file.
        Answer::Script(_) if told.style == Style::Binl => "iPXE has all it needs, and loads the file at once",
        _ => reply::style(told),
    };
    writeln!(out, "reply   {kind}, {} bytes, port {from_port} to {to}; {style}", said.bytes.len())?;
    Ok(reply::write(out, &said.view()?)?)
}

/// What comes on port 4011, if the machine asks there.
fn on_4011<'w>(
    out: &mut impl Write,
    world: &'w World,
    firmware: &Firmware,
    vlan: Option<u16>,
    first: &Trace<'_>,
) -> Result<Option<Trace<'w>>> {
    let Ok(said) = &first.said else { return Ok(None) };
    let item = match (said.reply.told.answer, said.reply.told.style) {
        (Answer::Menu(menu), _) => {
            let Some((boot_type, text)) = reply::entry(menu) else { return Ok(None) };
            writeln!(out, "4011    asked for entry {boot_type}, \"{text}\", when it is chosen")?;
            Some(BootItem { boot_type, layer: 0 })
        }
        (Answer::Program(_), Style::Binl) if !firmware.is_ipxe() => {
            writeln!(out, "4011    asked at once")?;
            None
        }
        _ => {
            writeln!(out, "4011    not asked")?;
            return Ok(None);
        }
    };
    let packet = firmware.boot_server(CLIENT, item);
    // clients.md section 1: EDK2 asks from port 4011, iPXE from 68.
    let from = SocketAddrV4::new(CLIENT, if firmware.is_ipxe() { 68 } else { 4011 });
    match world.trace(&Request::parse(&packet)?, Via::Port4011, from, vlan) {
        Ok(trace) => {
            said_again(out, first, &trace)?;
            Ok(Some(trace))
        }
        Err(ignored) => {
            writeln!(out, "reply   none: {}", reply::silence(ignored))?;
            Ok(None)
        }
    }
}

/// The second reply, and the rule behind it where that is another one.
fn said_again(out: &mut impl Write, first: &Trace<'_>, second: &Trace<'_>) -> Result<()> {
    let name = |trace: &Trace<'_>| trace.decision.rule.map(|rule| rule.name.clone());
    if name(first) != name(second) {
        let rule = name(second).map_or_else(|| "no rule".to_owned(), |name| format!("rule {name}"));
        writeln!(out, "        by {rule}, since this request shows other things")?;
    }
    said(out, second)
}
