//! Every DHCP request of a capture, a block for each machine and kind of request; and who else answers there.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};

use super::capture;
use super::reply;
use super::show;
use super::trace::{Trace, World};
use crate::command::status::text::escape;
use crate::datagram::Datagram;
use crate::dhcp::{Class, PORT_BOOT_SERVER, PORT_SERVER, Printable, Request, Via, View};
use crate::mac::Mac;

/// Different requests, or answers of others, that are shown: a capture of a broken network may have any number.
const SHOWN_MAX: usize = 4096;

/// What makes a request another kind: the packet's own words, without what changes from one to the next.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    mac: Option<Mac>,
    via: u16,
    vlan: Option<u16>,
    relay: Ipv4Addr,
    message: String,
    class: Vec<u8>,
    user_class: Vec<u8>,
    arch: Option<u16>,
    item: Option<u16>,
}

/// What another server said.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Voice {
    from: Ipv4Addr,
    message: String,
    server: Option<Ipv4Addr>,
    class: Vec<u8>,
    next: Ipv4Addr,
    file: Vec<u8>,
    gives_address: bool,
}

/// A request's first packet, and how many there were.
struct Found<'f> {
    number: u64,
    count: u64,
    datagram: Datagram<'f>,
}

#[derive(Default)]
struct Survey {
    frames: u64,
    /// Requests in the order of the capture, each with its frame's payload.
    requests: BTreeMap<Kind, (u64, u64, Vec<u8>)>,
    voices: BTreeMap<Voice, (u64, u64)>,
    damaged: u64,
    left_out: u64,
}

/// Writes a block for each; what stands in the way of boots is returned.
///
/// # Errors
/// A damaged capture, after what was readable; or the output's.
pub(super) fn explain(out: &mut impl Write, world: &World, file: &[u8]) -> Result<Vec<String>> {
    let mut survey = Survey::default();
    let read = capture::frames(file, |number, frame| survey.take(number, frame));
    let mut all: Vec<_> = survey.requests.iter().collect();
    all.sort_by_key(|(_, (number, ..))| *number);
    let mut obstacles: Vec<String> = Vec::new();
    for (_, (number, count, frame)) in all {
        let Ok(datagram) = Datagram::parse(frame) else { continue };
        let found = Found { number: *number, count: *count, datagram };
        obstacles.extend(found.explain(out, world)?);
    }
    survey.others(out)?;
    let mut seen: Vec<String> = Vec::new();
    obstacles.retain(|obstacle| {
        let is_new = !seen.contains(obstacle);
        seen.push(obstacle.clone());
        is_new
    });
    read.context("the capture cannot be read to its end")?;
    Ok(obstacles)
}

impl Survey {
    fn take(&mut self, number: u64, frame: &[u8]) {
        self.frames += 1;
        let Ok(datagram) = Datagram::parse(frame) else { return };
        let is_server = |port: u16| matches!(port, PORT_SERVER | PORT_BOOT_SERVER);
        let (from, to) = (datagram.from.port(), datagram.to.port());
        if !is_server(from) && !is_server(to) {
            return;
        }
        let Ok(view) = View::parse(datagram.payload) else { return self.damaged += 1 };
        if view.is_reply() && is_server(from) {
            self.hear(number, &datagram, &view);
        } else if is_server(to) {
            match Request::parse(datagram.payload) {
                Ok(request) => self.ask(number, frame, &datagram, &request),
                Err(_) => self.damaged += 1,
            }
        }
    }

    fn ask(&mut self, number: u64, frame: &[u8], datagram: &Datagram<'_>, request: &Request<'_>) {
        let kind = Kind {
            mac: request.mac(),
            via: datagram.to.port(),
            vlan: datagram.link.vlan(),
            relay: request.giaddr(),
            message: reply::message(request.message()),
            class: request.vendor_class().to_vec(),
            user_class: request.user_class().to_vec(),
            arch: request.arches().next().map(|arch| arch.0),
            item: request.boot_item().map(|item| item.boot_type),
        };
        if let Some((_, count, _)) = self.requests.get_mut(&kind) {
            *count += 1;
        } else if self.requests.len() < SHOWN_MAX {
            self.requests.insert(kind, (number, 1, frame.to_vec()));
        } else {
            self.left_out += 1;
        }
    }

    fn hear(&mut self, number: u64, datagram: &Datagram<'_>, view: &View<'_>) {
        let voice = Voice {
            from: *datagram.from.ip(),
            message: reply::message(view.message()),
            server: view.server_id(),
            class: view.option(60).unwrap_or_default().to_vec(),
            next: view.siaddr(),
            file: Some(view.file())
                .filter(|file| !file.is_empty())
                .or(view.option(67))
                .unwrap_or_default()
                .to_vec(),
            gives_address: !view.yiaddr().is_unspecified(),
        };
        if let Some((_, count)) = self.voices.get_mut(&voice) {
            *count += 1;
        } else if self.voices.len() < SHOWN_MAX {
            self.voices.insert(voice, (number, 1));
        } else {
            self.left_out += 1;
        }
    }

    fn others(&self, out: &mut impl Write) -> Result<()> {
        if self.requests.is_empty() {
            writeln!(out, "no DHCP request is in this capture of {} packets", self.frames)?;
        }
        let mut all: Vec<_> = self.voices.iter().collect();
        all.sort_by_key(|(_, (number, _))| *number);
        if !all.is_empty() {
            writeln!(out, "who answers in this capture")?;
        }
        for (voice, (number, count)) in all {
            let server =
                voice.server.map_or_else(|| "no option 54".to_owned(), |id| format!("option 54 {id}"));
            let gives = if voice.gives_address { "gives an address" } else { "gives no address" };
            let class = match voice.class.as_slice() {
                [] => String::new(),
                class => format!(", {}", Printable(class)),
            };
            let file = match voice.file.strip_suffix(&[0]).unwrap_or(&voice.file) {
                [] => "no file".to_owned(),
                file => format!("file {} from {}", Printable(file), voice.next),
            };
            let times = times(*count);
            writeln!(
                out,
                "  {}  {}, {server}{class}, {gives}, {file}; packet {number}{times}",
                voice.from, voice.message
            )?;
        }
        if self.damaged > 0 {
            writeln!(out, "{} packets to or from DHCP ports are damaged or no DHCP", self.damaged)?;
        }
        if self.left_out > 0 {
            writeln!(out, "{} more packets of further kinds are not shown", self.left_out)?;
        }
        Ok(())
    }
}

impl Found<'_> {
    fn explain(&self, out: &mut impl Write, world: &World) -> Result<Vec<String>> {
        let request = Request::parse(self.datagram.payload)?;
        let mac = request.mac().map_or_else(|| "no Ethernet address".to_owned(), |mac| mac.to_string());
        let arch =
            request.arches().next().map_or_else(|| "no architecture".to_owned(), |arch| arch.to_string());
        let client = match request.class() {
            _ if request.is_ipxe() => "iPXE",
            Class::Pxe => "PXE",
            Class::Http => "HTTP boot",
            Class::UBoot => "U-Boot",
            Class::Other => "DHCP",
        };
        let message = reply::message(request.message());
        let (number, times, to) = (self.number, times(self.count), self.datagram.to);
        write!(out, "packet {number}{times}: {message} to {to}, {mac}, {arch}, {client}")?;
        let vlan = self.datagram.link.vlan();
        vlan.map_or(Ok(()), |vlan| write!(out, ", VLAN {vlan}"))?;
        if !request.giaddr().is_unspecified() {
            write!(out, ", relay {}", request.giaddr())?;
        }
        writeln!(out)?;
        let via = if to.port() == PORT_BOOT_SERVER { Via::Port4011 } else { Via::Port67 };
        let trace = match world.trace(&request, via, self.datagram.from, vlan) {
            Ok(trace) => trace,
            Err(ignored) => {
                writeln!(out, "  reply  none: {}\n", reply::silence(ignored))?;
                return Ok(Vec::new());
            }
        };
        decided(out, &trace)?;
        writeln!(out)?;
        if !to.ip().is_broadcast() && *to.ip() != world.here.server {
            // It follows what another server has said, which ours would not have.
            return Ok(Vec::new());
        }
        Ok(trace.obstacles().into_iter().map(|text| format!("{mac}: {text}")).collect())
    }
}

fn decided(out: &mut impl Write, trace: &Trace<'_>) -> Result<()> {
    let image = |name: &str| format!(", image {name}");
    let rule = match trace.decision.rule {
        Some(rule) => {
            format!("{}{}", escape(&rule.name), rule.image.as_deref().map(image).unwrap_or_default())
        }
        None if trace.steps.is_empty() => "there are none: every machine gets the same".to_owned(),
        None => "none matches".to_owned(),
    };
    writeln!(out, "  rule   {rule}")?;
    let said = match &trace.said {
        Ok(said) => said,
        Err(ignored) => return Ok(writeln!(out, "  reply  none: {}", reply::silence(*ignored))?),
    };
    let (told, style) = (&said.reply.told, reply::style(&said.reply.told));
    let name = escape(&told.answer.name(told.mac));
    writeln!(out, "  reply  {} of {name}; {style}", show::kind(told))?;
    if !trace.files.rows.is_empty() {
        writeln!(out, "  files  {}", show::files_in_short(&trace.files))?;
    }
    Ok(())
}

fn times(count: u64) -> String {
    match count {
        1 => String::new(),
        more => format!(" (and {} more)", more - 1),
    }
}
