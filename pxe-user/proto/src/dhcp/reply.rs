//! Request in, reply out.

use std::net::{Ipv4Addr, SocketAddrV4};

use arrayvec::ArrayString;

use super::ignored::Ignored;
use super::names::{Url, expand};
use super::options::code;
use super::request::{Class, Message, Request};
use super::service::{Menu, Program, Service};
use super::vendor::Vendor;
use super::writer::Writer;
use super::{MAX_REPLY, PORT_BOOT_SERVER, PORT_CLIENT, PORT_SERVER};
use crate::mac::Mac;

/// The port of ours at which a request arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerPort {
    /// 67, the DHCP server port.
    Port67,
    /// 4011, the PXE boot server port.
    Port4011,
}

/// How a machine is told what to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Style {
    /// The offer leads straight to TFTP; machines that ignore that get binl the next time.
    ///
    /// File and server are in the offer, and bit 3 of 43.6 is set.
    Direct,
    /// The machine asks again on port 4011: a second slower, understood by all.
    ///
    /// The offer has no option 43; firmware understands that also where it ignores bit 3.
    Binl,
    /// A menu: memory test, or local disk.
    ///
    /// It is the service's, in the offer; as `Direct` where the service has none.
    Menu,
}

/// What a machine was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'s> {
    /// This program.
    Program(&'s Program),
    /// This script, since it is iPXE that asks.
    Script(&'s Program),
    /// This URL (HTTP boot).
    Url(&'s Url),
    /// The boot menu; the program follows when the machine has chosen.
    Menu(&'s Menu),
    /// To boot its own disk, by a menu that has nothing else.
    Local(&'s Menu),
}

impl<'s> Answer<'s> {
    /// The file's name as one machine is told it, the URL, or a word for the menu: for a log line.
    #[must_use]
    pub fn name(self, mac: Mac) -> ArrayString<255> {
        match self {
            Self::Program(program) | Self::Script(program) => program.file.of(mac),
            Self::Url(url) => url.of(mac),
            other => ArrayString::from(other.as_str()).unwrap_or_default(),
        }
    }

    /// The file's name as it is configured, the URL, or a word for the menu.
    #[must_use]
    pub fn as_str(self) -> &'s str {
        match self {
            Self::Program(program) | Self::Script(program) => program.file.as_str(),
            Self::Url(url) => url.as_str(),
            Self::Menu(_) => "boot menu",
            Self::Local(_) => "local disk",
        }
    }
}

/// What the log and the picture of the fleet want to know of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplySummary<'s> {
    /// The machine.
    pub mac: Mac,
    /// Whether this is an acknowledgement (4011, or a boot-server request on 67) and not an offer.
    pub ack: bool,
    /// The style that was in effect.
    pub style: Style,
    /// What it was told.
    pub answer: Answer<'s>,
}

/// A reply, ready to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'s> {
    /// Its length in the output buffer, in bytes.
    pub len: usize,
    /// The UDP source port that the client insists on.
    pub from_port: u16,
    /// Where it goes. 255.255.255.255 stands for "the client, which has no address yet".
    pub to: SocketAddrV4,
    /// Whether the client asked for broadcast (flags bit 0): if not, a frame layer may send to its MAC.
    pub broadcast: bool,
    /// What it says.
    pub summary: ReplySummary<'s>,
}

/// Answers a request into `out`, which should hold [`MAX_REPLY`] bytes.
///
/// `from` is the request's source. Stateless: a repeated request gets the same reply again, and two machines with one
/// xid get their own, since nothing is kept.
///
/// # Errors
/// The reason for silence; `out` is then garbage.
pub fn reply<'s>(
    service: &'s Service,
    request: &Request<'_>,
    via: ServerPort,
    from: SocketAddrV4,
    style: Style,
    out: &mut [u8],
) -> Result<Reply<'s>, Ignored> {
    let Admitted { mac, ack } = admit(service.server, request, via)?;
    let to = destination(request, via, from)?;
    let style = if service.menu.is_none() && style == Style::Menu { Style::Direct } else { style };
    let answer = choose(service, request, ack, style)?;
    let summary = ReplySummary { mac, ack, style, answer };
    let len = write(service, request, &summary, out)?;
    let from_port = match via {
        ServerPort::Port67 => PORT_SERVER,
        ServerPort::Port4011 => PORT_BOOT_SERVER,
    };
    Ok(Reply { len, from_port, to, broadcast: request.wants_broadcast(), summary })
}

/// A request that is ours to answer, whatever rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Who asks.
    pub mac: Mac,
    /// Whether the answer is an acknowledgement and not an offer.
    pub ack: bool,
}

/// Is this ours to answer, as the server with this address?
///
/// # Errors
/// The reason for silence.
pub fn admit(server: Ipv4Addr, request: &Request<'_>, via: ServerPort) -> Result<Admitted, Ignored> {
    if !request.is_boot_request() {
        return Err(Ignored::NotBootRequest);
    }
    let pxe = match (request.class(), via) {
        (Class::Other, _) => return Err(Ignored::NotPxe),
        (Class::UBoot, _) => return Err(Ignored::UBoot),
        (Class::Http, ServerPort::Port4011) => return Err(Ignored::HttpOnPort4011),
        (Class::Http, ServerPort::Port67) => false,
        (Class::Pxe, _) => true,
    };
    let mac = request.mac().ok_or(Ignored::HardwareType)?;
    let ack = match (request.message().ok_or(Ignored::NoMessageType)?, via) {
        (Message::Discover, ServerPort::Port67) => false,
        (Message::Request, ServerPort::Port4011) => true,
        // PXE 2.1 chapter 2: boot servers may be discovered by broadcast to 67. All other DHCPREQUESTs there are
        // the DHCP server's, and some clients loop when two answer (clients.md line 2).
        (Message::Request, ServerPort::Port67) if pxe && request.boot_item().is_some() => true,
        (Message::Request, ServerPort::Port67) => return Err(Ignored::RequestOnPort67),
        (Message::Discover, ServerPort::Port4011) => return Err(Ignored::MessageType(1)),
        (Message::Other(other), _) => return Err(Ignored::MessageType(other)),
    };
    // edk2 and iPXE's boot-server request name no server on 4011 (clients.md line 12).
    if request.server_id().is_some_and(|meant| meant != server) {
        return Err(Ignored::ForeignServerId);
    }
    Ok(Admitted { mac, ack })
}

/// RFC 2131 section 4.1 for 67; PXE 2.1 chapter 2 and clients.md line 11 for 4011.
fn destination(request: &Request<'_>, via: ServerPort, from: SocketAddrV4) -> Result<SocketAddrV4, Ignored> {
    let giaddr = request.giaddr();
    let relayed = !giaddr.is_unspecified();
    if relayed && !is_host(giaddr) {
        return Err(Ignored::BadGiaddr);
    }
    match via {
        ServerPort::Port4011 if is_host(*from.ip()) && from.port() != 0 => Ok(from),
        ServerPort::Port4011 => Err(Ignored::BadSource),
        ServerPort::Port67 if relayed => Ok(SocketAddrV4::new(giaddr, PORT_SERVER)),
        ServerPort::Port67 => Ok(SocketAddrV4::new(Ipv4Addr::BROADCAST, PORT_CLIENT)),
    }
}

/// Whether an address can belong to a machine on a network: not 0.0.0.0/8, loopback, multicast, 240.0.0.0/4.
fn is_host(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    !matches!(first, 0 | 127 | 224..)
}

fn choose<'s>(
    service: &'s Service,
    request: &Request<'_>,
    ack: bool,
    style: Style,
) -> Result<Answer<'s>, Ignored> {
    if let Some(menu) = &service.local {
        return choose_local(service, menu, request, ack);
    }
    if request.class() == Class::Http {
        return service.url(request).map(Answer::Url);
    }
    // A Raspberry Pi shows no menu: it looks for its own magic text in 43.9 instead.
    if let (Some(menu), Style::Menu, false, false) = (&service.menu, style, ack, request.is_raspberry_pi()) {
        return service.menu_for(request, menu).map(|()| Answer::Menu(menu));
    }
    let programs = match request.boot_item() {
        Some(item) if ack => service.programs_for(item.boot_type)?,
        _ => &service.programs,
    };
    let (program, script) = programs.find(request)?;
    Ok(if script { Answer::Script(program) } else { Answer::Program(program) })
}

/// A machine that shall boot its own disk, told in the way that its kind understands. HTTP boot has no word for it, nor
/// has a Raspberry Pi: they are left alone, and go on by themselves.
fn choose_local<'s>(
    service: &'s Service,
    menu: &'s Menu,
    request: &Request<'_>,
    ack: bool,
) -> Result<Answer<'s>, Ignored> {
    if request.is_ipxe() {
        return service.programs.ipxe().map(Answer::Script).ok_or(Ignored::LocalBoot);
    }
    if ack || request.class() == Class::Http || request.is_raspberry_pi() {
        return Err(Ignored::LocalBoot);
    }
    Ok(Answer::Local(menu))
}

/// Writes the reply; its length.
fn write(
    service: &Service,
    request: &Request<'_>,
    summary: &ReplySummary<'_>,
    out: &mut [u8],
) -> Result<usize, Ignored> {
    let mut writer = Writer::new(out, limit(request), request.header())?;
    // RFC 2131 table 3: ciaddr is the client's own in an ACK, 0 in an OFFER. yiaddr stays 0: we give no addresses.
    if summary.ack {
        writer.ciaddr(request.ciaddr())?;
    }
    writer.siaddr(service.files_at())?;
    writer.option(code::MESSAGE_TYPE, &[if summary.ack { 5 } else { 2 }])?;
    writer.option(code::SERVER_ID, &service.server.octets())?;
    let class: &[u8] = if let Answer::Url(_) = summary.answer { b"HTTPClient" } else { b"PXEClient" };
    writer.option(code::CLASS, class)?;
    if let Some(uuid) = request.uuid_bytes() {
        writer.option(code::UUID, uuid)?;
    }
    match summary.answer {
        Answer::Program(program) | Answer::Script(program) => {
            write_program(&mut writer, program, summary.mac)?
        }
        Answer::Url(url) => write_url(&mut writer, url, summary.mac)?,
        Answer::Menu(_) | Answer::Local(_) => {}
    }
    if let Some(vendor) = vendor(service, request, summary)? {
        writer.option(code::VENDOR, vendor.as_bytes())?;
    }
    if service.ipxe_priority && request.is_ipxe() {
        // Encapsulated option 1, priority, one byte, 1: above the DHCP server's 0 (iPXE: `DHCP_EB_PRIORITY`).
        writer.option(code::ETHERBOOT, &[1, 1, 1])?;
    }
    // RFC 3046 section 2.1: last, where relays that cut it off expect it.
    if let Some(relay) = request.relay_agent_info() {
        writer.option(code::RELAY_AGENT, relay)?;
    }
    writer.finish()
}

/// The longest reply that this client takes, in bytes of BOOTP message.
///
/// Option 57 counts the whole IP datagram for RFC 2131 (its least value, 576, is IP's) and the BOOTP message alone for
/// edk2 and iPXE (1472). The smaller reading is safe for both.
fn limit(request: &Request<'_>) -> usize {
    const LEAST: u16 = 576;
    const IP_AND_UDP: usize = 28;
    let datagram = request.max_message_size().unwrap_or(LEAST).max(LEAST);
    (usize::from(datagram) - IP_AND_UDP).min(MAX_REPLY)
}

fn write_program(writer: &mut Writer<'_>, program: &Program, mac: Mac) -> Result<(), Ignored> {
    // In the header, not in 67: shim and GRUB read nothing else, and edk2 has no damage to do there.
    writer.file(program.file.of(mac).as_bytes())?;
    if let Some(config) = &program.config {
        writer.option(code::CONFIG_FILE, expand(config, mac).as_bytes())?;
    }
    if let Some(prefix) = &program.path_prefix {
        writer.option(code::PATH_PREFIX, prefix.as_bytes())?;
    }
    Ok(())
}

/// Option 67 with a NUL inside: edk2 terminates it in place, and would else overwrite the next option's code.
fn write_url(writer: &mut Writer<'_>, url: &Url, mac: Mac) -> Result<(), Ignored> {
    let mut value = [0; 255];
    let url = url.of(mac);
    let text = url.as_bytes();
    value.get_mut(..text.len()).ok_or(Ignored::DoesNotFit)?.copy_from_slice(text);
    writer.option(code::BOOT_FILE, value.get(..=text.len()).ok_or(Ignored::DoesNotFit)?)
}

/// Option 43, if this reply has one.
fn vendor(
    service: &Service,
    request: &Request<'_>,
    summary: &ReplySummary<'_>,
) -> Result<Option<Vendor>, Ignored> {
    let vendor = match (summary.answer, request.boot_item(), summary.style) {
        (Answer::Url(_), ..) => return Ok(None),
        (Answer::Menu(menu) | Answer::Local(menu), ..) => Vendor::menu(menu, service.files_at()),
        _ if request.is_raspberry_pi() => Vendor::raspberry_pi(),
        (_, Some(item), _) if summary.ack => Vendor::boot_item(item),
        (_, _, Style::Binl) => return Ok(None),
        (_, _, Style::Direct | Style::Menu) => Vendor::direct(),
    };
    vendor.map(Some).map_err(|_| Ignored::DoesNotFit)
}
