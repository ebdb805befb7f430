//! Decides whether and how pxed replies to a request, and writes the reply.

use std::net::{Ipv4Addr, SocketAddrV4};

use arrayvec::ArrayString;

use super::ignored::Ignored;
use super::names::{Url, expand};
use super::options::code;
use super::request::{Class, Message, Request};
use super::service::{BootService, Menu, Program};
use super::vendor::Vendor;
use super::writer::Writer;
use super::{MAX_REPLY, PORT_BOOT_SERVER, PORT_CLIENT, PORT_SERVER};
use crate::mac::Mac;

/// The port of pxed at which a request arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerPort {
    /// 67, the DHCP server port.
    Port67,
    /// 4011, the PXE boot server port.
    Port4011,
}

/// How pxed replies to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Style {
    /// The offer contains the file and the server, so the machine starts TFTP at once. A machine that ignores
    /// this gets `Binl` the next time.
    ///
    /// Bit 3 of 43.6 is set in the offer.
    Direct,
    /// The machine asks again on port 4011. This is one second slower, and all firmware supports it.
    ///
    /// The offer has no option 43. Firmware that ignores bit 3 of 43.6 also understands such an offer.
    Binl,
    /// The machine shows a boot menu, such as a memory test or the local disk.
    ///
    /// The menu is that of the service, and is in the offer. If the service has none, the style is `Direct`.
    Menu,
}

/// What a reply tells the machine to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'s> {
    /// This program.
    Program(&'s Program),
    /// This script, because the client is iPXE.
    Script(&'s Program),
    /// This URL (HTTP boot).
    Url(&'s Url),
    /// The boot menu. The program follows in a later reply, when the machine has chosen an entry.
    Menu(&'s Menu),
    /// The machine's own disk, by a menu that has no other entry.
    Local(&'s Menu),
}

impl<'s> Answer<'s> {
    /// Returns the file's name for this machine, the URL, or a word for the menu, for a log line.
    #[must_use]
    pub fn name(self, mac: Mac) -> ArrayString<255> {
        match self {
            Self::Program(program) | Self::Script(program) => program.file.of(mac),
            Self::Url(url) => url.of(mac),
            other => ArrayString::from(other.as_str()).unwrap_or_default(),
        }
    }

    /// Returns the file's name as it is configured, the URL, or a word for the menu.
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

/// Summary of a reply, for the log and the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplySummary<'s> {
    /// The machine to which the reply goes.
    pub mac: Mac,
    /// Whether the reply is an acknowledgement (to port 4011, or to a boot-server request on 67) and not an
    /// offer.
    pub ack: bool,
    /// The style of the reply, after fallbacks.
    pub style: Style,
    /// What the reply tells the machine to boot.
    pub answer: Answer<'s>,
}

/// A reply, ready to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'s> {
    /// Its length in the output buffer, in bytes.
    pub len: usize,
    /// The UDP source port, which the client checks.
    pub from_port: u16,
    /// Its destination. 255.255.255.255 stands for a client that has no address yet.
    pub to: SocketAddrV4,
    /// Whether the client asked for a broadcast reply (flags bit 0). If not, a frame may be sent to the
    /// client's MAC.
    pub broadcast: bool,
    /// Summary of the reply.
    pub summary: ReplySummary<'s>,
}

/// Writes the reply to a request into `out`, which should have [`MAX_REPLY`] bytes.
///
/// `from` is the request's source. The function has no state: a repeated request gets the same reply again,
/// and two machines with the same xid each get their own reply.
///
/// # Errors
/// The reason why there is no reply. The content of `out` is then undefined.
pub fn reply<'s>(
    service: &'s BootService,
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

/// A request that pxed may answer, before rules are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The machine that sent the request.
    pub mac: Mac,
    /// Whether the reply is an acknowledgement and not an offer.
    pub ack: bool,
}

/// Decides whether the server with this address may answer a request, before rules are applied.
///
/// # Errors
/// The reason why there is no reply.
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
        // PXE 2.1 chapter 2: a client may discover boot servers by broadcast to 67. All other DHCPREQUESTs on
        // 67 are for the DHCP server, and some clients loop if two servers reply (clients.md line 2).
        (Message::Request, ServerPort::Port67) if pxe && request.boot_item().is_some() => true,
        (Message::Request, ServerPort::Port67) => return Err(Ignored::RequestOnPort67),
        (Message::Discover, ServerPort::Port4011) => return Err(Ignored::MessageType(1)),
        (Message::Other(other), _) => return Err(Ignored::MessageType(other)),
    };
    // On 4011, EDK2 and the boot-server requests of iPXE name no server (clients.md line 12).
    if request.server_id().is_some_and(|meant| meant != server) {
        return Err(Ignored::ForeignServerId);
    }
    Ok(Admitted { mac, ack })
}

/// Returns the destination of a reply: by RFC 2131 section 4.1 on 67, and by PXE 2.1 chapter 2 and clients.md
/// line 11 on 4011.
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

/// Whether `address` can be the address of one host: it is not in 0.0.0.0/8, loopback, multicast or
/// 240.0.0.0/4.
fn is_host(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    !matches!(first, 0 | 127 | 224..)
}

fn choose<'s>(
    service: &'s BootService,
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

/// Returns the answer for a machine that should boot from its own disk. iPXE gets a script, other firmware
/// gets a menu. HTTP boot and a Raspberry Pi have no way to express it: they get no reply, and continue by
/// themselves.
fn choose_local<'s>(
    service: &'s BootService,
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

/// Writes the reply, and returns its length in bytes.
fn write(
    service: &BootService,
    request: &Request<'_>,
    summary: &ReplySummary<'_>,
    out: &mut [u8],
) -> Result<usize, Ignored> {
    let mut writer = Writer::new(out, limit(request), request.header())?;
    // RFC 2131 table 3: ciaddr is the client's own address in an ACK, and 0 in an OFFER. yiaddr stays 0,
    // because pxed assigns no addresses.
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
        // Encapsulated option 1: the priority, one byte with the value 1, which is above the DHCP server's 0
        // (iPXE: `DHCP_EB_PRIORITY`).
        writer.option(code::ETHERBOOT, &[1, 1, 1])?;
    }
    // RFC 3046 section 2.1: option 82 is the last option, where relays that remove it expect it.
    if let Some(relay) = request.relay_agent_info() {
        writer.option(code::RELAY_AGENT, relay)?;
    }
    writer.finish()
}

/// Returns the largest reply that this client accepts, in bytes of the BOOTP message.
///
/// In RFC 2131, option 57 counts the whole IP datagram (its least value, 576, is that of IP). EDK2 and iPXE
/// count the BOOTP message alone (1472). The smaller result is safe for both.
fn limit(request: &Request<'_>) -> usize {
    const LEAST: u16 = 576;
    const IP_AND_UDP: usize = 28;
    let datagram = request.max_message_size().unwrap_or(LEAST).max(LEAST);
    (usize::from(datagram) - IP_AND_UDP).min(MAX_REPLY)
}

fn write_program(writer: &mut Writer<'_>, program: &Program, mac: Mac) -> Result<(), Ignored> {
    // The name is in the header and not in option 67: shim and GRUB read only the header, and EDK2's
    // termination of option 67 (see `write_url`) cannot do damage there.
    writer.file(program.file.of(mac).as_bytes())?;
    if let Some(config) = &program.config {
        writer.option(code::CONFIG_FILE, expand(config, mac).as_bytes())?;
    }
    if let Some(prefix) = &program.path_prefix {
        writer.option(code::PATH_PREFIX, prefix.as_bytes())?;
    }
    Ok(())
}

/// Writes option 67 with a NUL in its value. EDK2 terminates the option in place, and would otherwise
/// overwrite the next option's code.
fn write_url(writer: &mut Writer<'_>, url: &Url, mac: Mac) -> Result<(), Ignored> {
    let mut value = [0; 255];
    let url = url.of(mac);
    let text = url.as_bytes();
    value.get_mut(..text.len()).ok_or(Ignored::DoesNotFit)?.copy_from_slice(text);
    writer.option(code::BOOT_FILE, value.get(..=text.len()).ok_or(Ignored::DoesNotFit)?)
}

/// Returns option 43; `None` if this reply has none.
fn vendor(
    service: &BootService,
    request: &Request<'_>,
    summary: &ReplySummary<'_>,
) -> Result<Option<Vendor>, Ignored> {
    let vendor = match (summary.answer, request.boot_item(), summary.style) {
        (Answer::Url(_), ..) => return Ok(None),
        (Answer::Menu(menu) | Answer::Local(menu), ..) => menu.vendor(service.files_at()),
        _ if request.is_raspberry_pi() => Vendor::raspberry_pi(),
        (_, Some(item), _) if summary.ack => Vendor::boot_item(item),
        (_, _, Style::Binl) => return Ok(None),
        (_, _, Style::Direct | Style::Menu) => Vendor::direct(),
    };
    vendor.map(Some).map_err(|_| Ignored::DoesNotFit)
}
