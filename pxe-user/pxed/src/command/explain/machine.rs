//! Explains one machine that the command line describes: builds the requests that its firmware would send, and answers them.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Result;

use super::reply;
use super::show;
use super::trace::{ExplainContext, Trace};
use pxe_proto::dhcp::{Answer, BootItem, Firmware, Ignored, Request, ServerPort, Style};

/// Stands for the address that the network's DHCP server gives to the machine (RFC 5737).
pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);

/// The requests of one program in the machine, and what they lead to.
pub(super) struct Program<'w> {
    /// The program's DISCOVER, as a DHCP message.
    pub(super) packet: Vec<u8>,
    pub(super) class: String,
    pub(super) first: Result<Trace<'w>, Ignored>,
    /// The program's request on port 4011. `None` if it sends none.
    pub(super) second: Option<Second<'w>>,
}

/// A request on port 4011.
pub(super) struct Second<'w> {
    /// Number and text of the menu entry that the request asks for. `None` if it asks for no entry.
    pub(super) item: Option<(u16, String)>,
    pub(super) trace: Result<Trace<'w>, Ignored>,
}

impl<'w> Program<'w> {
    /// The trace that decides what the program loads. The last reply wins.
    pub(super) fn last(&self) -> Option<&Trace<'w>> {
        let second = self.second.as_ref().and_then(|second| second.trace.as_ref().ok());
        second.or(self.first.as_ref().ok())
    }

    /// What keeps the program from booting.
    pub(super) fn obstacles(&self) -> Vec<String> {
        let second = self.second.as_ref().and_then(|second| second.trace.as_ref().ok());
        let mut obstacles = match &self.first {
            Ok(trace) => trace.obstacles(),
            Err(ignored) => vec![reply::silence(*ignored)],
        };
        obstacles.extend(second.iter().flat_map(|trace| trace.obstacles()));
        obstacles.dedup();
        obstacles
    }
}

/// The programs that run in the machine, in order: its firmware, and iPXE if the firmware loads iPXE.
pub(super) fn programs<'w>(
    context: &'w ExplainContext,
    firmware: &Firmware,
    vlan: Option<u16>,
) -> Result<Vec<Program<'w>>> {
    let mut all = vec![program(context, firmware, vlan)?];
    let starts_ipxe = all[0].last().is_some_and(|trace| trace.files.starts_ipxe);
    if starts_ipxe && !firmware.is_ipxe() {
        let ipxe = Firmware {
            // iPXE is a PXE client itself, even if the firmware loaded it over HTTP.
            arch: firmware.arch.processor(),
            user_class: Some("iPXE".into()),
            class: None,
            ..firmware.clone()
        };
        all.push(program(context, &ipxe, vlan)?);
    }
    Ok(all)
}

fn program<'w>(context: &'w ExplainContext, firmware: &Firmware, vlan: Option<u16>) -> Result<Program<'w>> {
    let packet = firmware.discover();
    let from = SocketAddrV4::new(firmware.relay.unwrap_or(Ipv4Addr::UNSPECIFIED), 68);
    let first = context.trace(&Request::parse(&packet)?, ServerPort::Port67, from, vlan);
    let second = match &first {
        Ok(trace) => on_4011(context, firmware, vlan, trace)?,
        Err(_) => None,
    };
    let class = reply::printable(firmware.class().as_bytes());
    Ok(Program { packet, class, first, second })
}

/// The request on port 4011 with its trace. `None` if the machine sends none.
fn on_4011<'w>(
    context: &'w ExplainContext,
    firmware: &Firmware,
    vlan: Option<u16>,
    first: &Trace<'_>,
) -> Result<Option<Second<'w>>> {
    let Ok(said) = &first.said else { return Ok(None) };
    let item = match (said.reply.summary.answer, said.reply.summary.style) {
        (Answer::Menu(menu), _) => match reply::entry(menu) {
            Some((boot_type, text)) => Some((boot_type, text.to_owned())),
            None => return Ok(None),
        },
        (Answer::Program(_), Style::Binl) if !firmware.is_ipxe() => None,
        _ => return Ok(None),
    };
    let asked = item.as_ref().map(|(boot_type, _)| BootItem { boot_type: *boot_type, layer: 0 });
    let packet = firmware.boot_server(CLIENT, asked);
    // clients.md section 1: EDK2 sends from port 4011, iPXE from port 68.
    let from = SocketAddrV4::new(CLIENT, if firmware.is_ipxe() { 68 } else { 4011 });
    let trace = context.trace(&Request::parse(&packet)?, ServerPort::Port4011, from, vlan);
    Ok(Some(Second { item, trace }))
}

/// Writes all programs in their order.
pub(super) fn write(out: &mut impl Write, context: &ExplainContext, programs: &[Program<'_>]) -> Result<()> {
    for (index, program) in programs.iter().enumerate() {
        if index > 0 {
            writeln!(out, "\nThat program is iPXE, which asks for an offer of its own:\n")?;
        }
        write_program(out, context, program)?;
    }
    Ok(())
}

fn write_program(out: &mut impl Write, context: &ExplainContext, program: &Program<'_>) -> Result<()> {
    writeln!(out, "asks    DISCOVER, {} bytes, class {}", program.packet.len(), program.class)?;
    let trace = match &program.first {
        Ok(trace) => trace,
        Err(ignored) => return Ok(writeln!(out, "reply   none: {}", reply::silence(*ignored))?),
    };
    writeln!(out, "rules")?;
    show::rules(out, context, trace)?;
    said(out, trace)?;
    match &program.second {
        Some(second) => {
            match &second.item {
                Some((boot_type, text)) => {
                    writeln!(out, "4011    asked for entry {boot_type}, \"{text}\", when it is chosen")?;
                }
                None => writeln!(out, "4011    asked at once")?,
            }
            match &second.trace {
                Ok(again) => said_again(out, trace, again)?,
                Err(ignored) => writeln!(out, "reply   none: {}", reply::silence(*ignored))?,
            }
        }
        None if trace.said.is_ok() && !is_empty_menu(trace) => writeln!(out, "4011    not asked")?,
        None => {}
    }
    if let Some(trace) = program.last()
        && !trace.files.rows.is_empty()
    {
        writeln!(out, "files   in the order in which they are asked for")?;
        show::files(out, &trace.files)?;
    }
    Ok(())
}

/// Whether the reply is a menu without an entry that leads to pxed. The machine then never asks on port 4011.
fn is_empty_menu(trace: &Trace<'_>) -> bool {
    let answer = trace.said.as_ref().map(|said| said.reply.summary.answer);
    matches!(answer, Ok(Answer::Menu(menu)) if reply::entry(menu).is_none())
}

fn said(out: &mut impl Write, trace: &Trace<'_>) -> Result<()> {
    let said = match &trace.said {
        Ok(said) => said,
        Err(ignored) => {
            writeln!(out, "reply   none: {}", reply::silence(*ignored))?;
            return Ok(());
        }
    };
    let (told, to) = (&said.reply.summary, said.reply.to);
    let (kind, from_port) = (show::kind(told), said.reply.from_port);
    let style = match told.answer {
        Answer::Url(_) => "HTTP boot: the machine loads this URL",
        Answer::Local(_) => "a menu that has only the machine's own disk, taken at once",
        // clients.md section 1: iPXE skips port 4011 if it has a server and a file.
        Answer::Script(_) if told.style == Style::Binl => {
            "iPXE needs nothing more and loads the file at once"
        }
        _ => reply::style(told),
    };
    writeln!(out, "reply   {kind}, {} bytes, port {from_port} to {to}; {style}", said.bytes.len())?;
    Ok(reply::write(out, &said.view()?)?)
}

/// Writes the second reply, and its rule if that differs from the rule of the first.
fn said_again(out: &mut impl Write, first: &Trace<'_>, second: &Trace<'_>) -> Result<()> {
    let name = |trace: &Trace<'_>| trace.decision.rule.map(|rule| rule.name.clone());
    if name(first) != name(second) {
        let rule = name(second).map_or_else(|| "no rule".to_owned(), |name| format!("rule {name}"));
        writeln!(out, "        by {rule}, since this request shows other things")?;
    }
    said(out, second)
}
