//! Shows every DHCP request of a capture, in a block for each machine and kind of request, and the servers that answer there.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Result;

use super::capture::{self, CaptureError};
use super::reply;
use super::show;
use super::trace::{ExplainContext, Trace};
use crate::command::status::text::escape;
use pxe_proto::datagram::Datagram;
use pxe_proto::dhcp::{
    Arch, Class, Ignored, MessageView, PORT_BOOT_SERVER, PORT_SERVER, Printable, Request, ServerPort,
};
use pxe_proto::mac::Mac;

/// The most kinds of requests, and of servers' replies, that are shown. A capture of a broken network may have any number.
const SHOWN_MAX: usize = 4096;

/// The fields that make a request another kind. Fields that change with every request are not among them.
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

/// A reply of a server in the capture. Replies with the same values are counted together.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct ServerReply {
    from: Ipv4Addr,
    message: String,
    server: Option<Ipv4Addr>,
    class: Vec<u8>,
    next: Ipv4Addr,
    file: Vec<u8>,
    gives_address: bool,
}

/// The protocol of a frame that holds no UDP datagram over IPv4.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum OtherProtocol {
    DhcpV6,
    Ipv6,
    Arp,
    Ipv4,
    Other,
}

impl OtherProtocol {
    /// Reads Ethernet II with up to two VLAN tags. DHCPv6 is UDP to or from ports 546 and 547 (RFC 8415 section 7.2).
    fn of(frame: &[u8]) -> Self {
        let word = |at: usize| Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
        let mut at = 12;
        while matches!(word(at), Some(0x8100 | 0x88a8)) && at < 20 {
            at += 4;
        }
        match word(at) {
            Some(0x86dd) => {
                let is_udp = frame.get(at + 2 + 6) == Some(&17);
                let ports = [word(at + 2 + 40), word(at + 2 + 42)];
                let is_dhcp = ports.iter().any(|port| matches!(port, Some(546 | 547)));
                if is_udp && is_dhcp { Self::DhcpV6 } else { Self::Ipv6 }
            }
            Some(0x0806) => Self::Arp,
            Some(0x0800) => Self::Ipv4,
            _ => Self::Other,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::DhcpV6 => "DHCPv6",
            Self::Ipv6 => "IPv6",
            Self::Arp => "ARP",
            Self::Ipv4 => "other IPv4",
            Self::Other => "other",
        }
    }
}

#[derive(Default)]
struct Survey {
    frames: u64,
    /// Requests by kind: number of the first packet, count, and the frame of the first packet.
    requests: BTreeMap<Kind, (u64, u64, Vec<u8>)>,
    /// Replies of servers: number of the first packet, and count.
    server_replies: BTreeMap<ServerReply, (u64, u64)>,
    damaged: u64,
    left_out: u64,
    /// Frames that hold no UDP datagram over IPv4, by protocol.
    foreign: BTreeMap<OtherProtocol, u64>,
}

/// The requests of a capture, each with its trace.
pub(super) struct Surveyed<'w> {
    survey: Survey,
    pub(super) blocks: Vec<Block<'w>>,
}

/// One kind of request of one machine.
pub(super) struct Block<'w> {
    /// Number of the first packet, from 1.
    pub(super) packet: u64,
    /// How many packets of this kind there are.
    pub(super) count: u64,
    pub(super) mac: Option<Mac>,
    pub(super) arch: Option<Arch>,
    pub(super) client: &'static str,
    pub(super) message: String,
    pub(super) to: SocketAddrV4,
    pub(super) vlan: Option<u16>,
    pub(super) relay: Option<Ipv4Addr>,
    pub(super) trace: Result<Trace<'w>, Ignored>,
    /// The machine sent this request to another server's address, because of that server's reply. The reply of pxed would not
    /// have led to this request.
    is_for_another: bool,
}

/// Reads a capture. The second value is the reason if the capture cannot be read to its end.
pub(super) fn survey<'w>(
    context: &'w ExplainContext,
    file: &[u8],
) -> (Surveyed<'w>, Result<(), CaptureError>) {
    let mut survey = Survey::default();
    let read = capture::frames(file, |number, frame| survey.take(number, frame));
    let mut all: Vec<_> = survey.requests.values().collect();
    all.sort_by_key(|(number, ..)| *number);
    let blocks =
        all.into_iter().filter_map(|(number, count, frame)| Block::of(context, *number, *count, frame));
    let blocks = blocks.collect();
    (Surveyed { survey, blocks }, read)
}

impl<'w> Block<'w> {
    fn of(context: &'w ExplainContext, packet: u64, count: u64, frame: &[u8]) -> Option<Self> {
        let datagram = Datagram::parse(frame).ok()?;
        let request = Request::parse(datagram.payload).ok()?;
        let client = match request.class() {
            _ if request.is_ipxe() => "iPXE",
            Class::Pxe => "PXE",
            Class::Http => "HTTP boot",
            Class::UBoot => "U-Boot",
            Class::Other => "DHCP",
        };
        let (to, vlan) = (datagram.to, datagram.link.vlan());
        let via = if to.port() == PORT_BOOT_SERVER { ServerPort::Port4011 } else { ServerPort::Port67 };
        Some(Self {
            packet,
            count,
            mac: request.mac(),
            arch: request.arches().next(),
            client,
            message: reply::message(request.message()),
            to,
            vlan,
            relay: Some(request.giaddr()).filter(|relay| !relay.is_unspecified()),
            trace: context.trace(&request, via, datagram.from, vlan),
            is_for_another: !to.ip().is_broadcast() && *to.ip() != context.here.server,
        })
    }

    /// What keeps the machine from booting.
    fn obstacles(&self) -> Vec<String> {
        let Ok(trace) = self.trace.as_ref() else { return Vec::new() };
        if self.is_for_another {
            return Vec::new();
        }
        trace.obstacles().into_iter().map(|text| format!("{}: {text}", self.machine())).collect()
    }

    fn machine(&self) -> String {
        self.mac.map_or_else(|| "no Ethernet address".to_owned(), |mac| mac.to_string())
    }

    fn write(&self, out: &mut impl Write) -> Result<()> {
        let arch = self.arch.map_or_else(|| "no architecture".to_owned(), |arch| arch.to_string());
        let (number, times, to) = (self.packet, times(self.count), self.to);
        let (message, mac, client) = (&self.message, self.machine(), self.client);
        write!(out, "packet {number}{times}: {message} to {to}, {mac}, {arch}, {client}")?;
        self.vlan.map_or(Ok(()), |vlan| write!(out, ", VLAN {vlan}"))?;
        self.relay.map_or(Ok(()), |relay| write!(out, ", relay {relay}"))?;
        writeln!(out)?;
        match &self.trace {
            Ok(trace) => decided(out, trace)?,
            Err(ignored) => writeln!(out, "  reply  none: {}", reply::silence(*ignored))?,
        }
        Ok(writeln!(out)?)
    }
}

impl Surveyed<'_> {
    /// Writes a block for each kind of request, then the servers that answer.
    pub(super) fn write(&self, out: &mut impl Write) -> Result<()> {
        for block in &self.blocks {
            block.write(out)?;
        }
        self.survey.others(out)
    }

    /// How many packets hold no UDP datagram over IPv4, by protocol.
    pub(super) fn others(&self) -> BTreeMap<&'static str, u64> {
        self.survey.foreign.iter().map(|(foreign, count)| (foreign.as_str(), *count)).collect()
    }

    /// What keeps machines from booting, without duplicates.
    pub(super) fn obstacles(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for obstacle in self.blocks.iter().flat_map(Block::obstacles) {
            if !all.contains(&obstacle) {
                all.push(obstacle);
            }
        }
        all
    }
}

impl Survey {
    fn take(&mut self, number: u64, frame: &[u8]) {
        self.frames += 1;
        let Ok(datagram) = Datagram::parse(frame) else {
            return *self.foreign.entry(OtherProtocol::of(frame)).or_default() += 1;
        };
        let is_server = |port: u16| matches!(port, PORT_SERVER | PORT_BOOT_SERVER);
        let (from, to) = (datagram.from.port(), datagram.to.port());
        if !is_server(from) && !is_server(to) {
            return;
        }
        let Ok(view) = MessageView::parse(datagram.payload) else { return self.damaged += 1 };
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

    fn hear(&mut self, number: u64, datagram: &Datagram<'_>, view: &MessageView<'_>) {
        let voice = ServerReply {
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
        if let Some((_, count)) = self.server_replies.get_mut(&voice) {
            *count += 1;
        } else if self.server_replies.len() < SHOWN_MAX {
            self.server_replies.insert(voice, (number, 1));
        } else {
            self.left_out += 1;
        }
    }

    /// Writes which servers answer in the capture, and what else it holds.
    fn others(&self, out: &mut impl Write) -> Result<()> {
        if self.requests.is_empty() {
            writeln!(out, "no DHCP request over IPv4 is in this capture of {} packets", self.frames)?;
        }
        for (foreign, count) in &self.foreign {
            match foreign {
                OtherProtocol::DhcpV6 => writeln!(
                    out,
                    "DHCPv6 packets: {count}. A machine boots over IPv6 there, which pxed does not serve; choose the IPv4 boot \
                     entry in its firmware"
                )?,
                other if self.requests.is_empty() => writeln!(out, "{} packets: {count}", other.as_str())?,
                _ => {}
            }
        }
        let mut all: Vec<_> = self.server_replies.iter().collect();
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
    let (told, style) = (&said.reply.summary, reply::style(&said.reply.summary));
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
