//! The classifier: it takes a frame and returns a [`Verdict`]. The kernel programs and the tests use the same
//! code.
//!
//! The classifier fails open. It passes each frame that is not provably pxed's to the host. User space parses
//! all frames that it receives again, in full. The classifier takes lengths from the IP and UDP headers,
//! because a 46-byte ACK arrives padded to 60 bytes.
//!
//! The code must satisfy the kernel's verifier: each loop and each offset has a constant bound, and every
//! function is inlined.

use crate::abi::{Config, TransferKey, dhcp_mode};
use crate::rate_limit::{Rate, Source};
use crate::segment::{Broadcast, Message};
use crate::source_filter::{self, Own};
use crate::wire::{self, option};
use crate::{Drop, Frame, Pass, Service, Verdict};

/// Number of options, pads included, that the classifier walks in search of 53 and 60. It passes a request to
/// the host if it does not find them there, unless the options end earlier.
///
/// Every known client puts both among its first five options. EDK2 has 35 entries inside option 55, which is
/// one option (`docs/design.md`).
pub const MAX_OPTIONS: usize = 48;

/// Largest offset into a frame: more than the largest frame without fragments has at MTU 1500. It is a power
/// of two less one, so that the verifier learns the bound from one AND.
const OFFSET_MASK: usize = 0x7ff;

/// Returns the verdict for `frame`, which arrived on the interface that `config` describes.
///
/// `known` returns whether the packet belongs to one of pxed's TFTP transfers. `admits` returns whether the
/// source is within its rate limit, and counts this request against the limit. `is_mine` returns whether this
/// responder answers a broadcast; it is asked only on a segment that is shared.
#[inline(always)]
pub fn classify<F: Frame>(
    frame: &F,
    config: &Config,
    known: impl FnOnce(&TransferPacket) -> bool,
    admits: impl FnOnce(&Rate, &Source) -> bool,
    is_mine: impl FnOnce(&Broadcast) -> bool,
) -> Verdict {
    match udp(frame) {
        Ok(udp) => by_port(frame, config, &udp, known, admits, is_mine),
        Err(reason) => Verdict::Pass(reason),
    }
}

/// A packet to one of the ports that pxed's transfers use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferPacket {
    /// The client's address, in memory byte order.
    source: u32,
    /// The client's port and pxed's, in memory byte order.
    ports: u32,
    /// Offset of the IPv4 header in the frame, in bytes.
    pub ip: usize,
}

/// Returns the packet in `frame` if its destination is pxed's address and one of the transfers' ports. This
/// is the last step of [`classify`] by itself; the tcx program uses it.
#[inline(always)]
pub fn transfer_packet<F: Frame>(frame: &F, config: &Config) -> Option<TransferPacket> {
    let udp = udp(frame).ok()?;
    let port = udp.destination_port();
    if !is_ours(config, &udp) || port < config.tid_first || port > config.tid_last {
        return None;
    }
    Some(TransferPacket::new(&udp))
}

impl TransferPacket {
    #[inline(always)]
    fn new(udp: &Udp) -> Self {
        let ip = udp.payload - wire::UDP_LEN - wire::IPV4_LEN;
        Self { source: udp.source, ports: udp.ports, ip }
    }

    /// Returns the key of the transfer to which the packet would belong.
    #[inline(always)]
    #[must_use]
    pub const fn key(&self) -> TransferKey {
        let [a, b, c, d] = self.ports.to_ne_bytes();
        TransferKey { client_addr: self.source.to_ne_bytes(), client_port: [a, b], server_port: [c, d] }
    }

    /// Returns [`Self::key`] as one number: see [`TransferKey::to_word`].
    #[inline(always)]
    #[must_use]
    pub const fn word(&self) -> u64 {
        // Byte arrays in between would become eight stores of a byte each. A load of all eight at once has to
        // wait for them.
        let (low, high) = if cfg!(target_endian = "little") {
            (self.source, self.ports)
        } else {
            (self.ports, self.source)
        };
        (high as u64) << 32 | low as u64
    }
}

/// The header fields of a UDP datagram that is not fragmented.
struct Udp {
    /// Source address, in memory byte order.
    source: u32,
    /// Destination address, in memory byte order.
    destination: u32,
    /// Both ports, in memory byte order.
    ports: u32,
    /// Offset of the payload in the frame, in bytes.
    payload: usize,
    /// Length of the payload in bytes, by the UDP header.
    payload_len: usize,
}

impl Udp {
    #[inline(always)]
    fn source(&self) -> [u8; 4] {
        self.source.to_ne_bytes()
    }

    #[inline(always)]
    fn source_port(&self) -> u16 {
        halves(self.ports).0
    }

    #[inline(always)]
    fn destination_port(&self) -> u16 {
        halves(self.ports).1
    }
}

/// Returns the two numbers in network byte order that make up a word in memory byte order.
#[inline(always)]
fn halves(word: u32) -> (u16, u16) {
    let [a, b, c, d] = word.to_ne_bytes();
    (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
}

#[inline(always)]
fn udp<F: Frame>(frame: &F) -> Result<Udp, Pass> {
    let ip = ipv4_offset(frame)?;
    // RFC 791, section 3.1: version and lengths, identification and fragment, protocol, addresses.
    let [first, second, third, source, destination] =
        frame.words::<{ wire::IPV4_LEN / 4 }>(ip).ok_or(Pass::Truncated)?;
    if first.to_ne_bytes()[0] != wire::IPV4_VERSION_IHL {
        // The EtherType is IPv4. So the header has options, or it is invalid, which the host may judge.
        return Err(Pass::IpOptions);
    }
    if third.to_ne_bytes()[1] != wire::PROTOCOL_UDP {
        return Err(Pass::NotUdp);
    }
    if halves(second).1 & wire::IPV4_FRAGMENT_MASK != 0 {
        return Err(Pass::Fragment);
    }
    let total_length = halves(first).1 as usize;
    let udp = ip + wire::IPV4_LEN;
    let [ports, last] = frame.words::<{ wire::UDP_LEN / 4 }>(udp).ok_or(Pass::Truncated)?;
    let udp_length = halves(last).0 as usize;
    // RFC 768: Length includes the UDP header. RFC 791: Total Length includes the IP header.
    if udp_length < wire::UDP_LEN
        || udp_length + wire::IPV4_LEN > total_length
        || ip + total_length > frame.len()
    {
        return Err(Pass::Truncated);
    }
    Ok(Udp {
        source,
        destination,
        ports,
        payload: udp + wire::UDP_LEN,
        payload_len: udp_length - wire::UDP_LEN,
    })
}

/// Returns the offset of the IPv4 header, behind at most two VLAN tags.
#[inline(always)]
fn ipv4_offset<F: Frame>(frame: &F) -> Result<usize, Pass> {
    let mut at = wire::ETH_TYPE;
    let mut ethertype = frame.read_u16(at).ok_or(Pass::Truncated)?;
    for _ in 0..wire::MAX_VLAN_TAGS {
        if ethertype != wire::TPID_CUSTOMER && ethertype != wire::TPID_SERVICE {
            break;
        }
        at += wire::VLAN_LEN;
        ethertype = frame.read_u16(at).ok_or(Pass::Truncated)?;
    }
    if ethertype == wire::ETHERTYPE_IPV4 { Ok(at + 2) } else { Err(Pass::NotIpv4) }
}

#[inline(always)]
fn by_port<F: Frame>(
    frame: &F,
    config: &Config,
    udp: &Udp,
    known: impl FnOnce(&TransferPacket) -> bool,
    admits: impl FnOnce(&Rate, &Source) -> bool,
    is_mine: impl FnOnce(&Broadcast) -> bool,
) -> Verdict {
    let port = udp.destination_port();
    match port {
        // A client may send a boot-server request to a server or to the broadcast address (PXE specification
        // 2.1, section 2.2.3).
        wire::PORT_DHCP_SERVER | wire::PORT_PXE if is_ours(config, udp) || is_broadcast(config, udp) => {
            to_dhcp(frame, config, udp, admits, is_mine)
        }
        _ if !is_ours(config, udp) => Verdict::Pass(Pass::OtherPort),
        wire::PORT_TFTP => to_tftp(frame, config, udp, admits),
        _ if port < config.tid_first || port > config.tid_last => Verdict::Pass(Pass::OtherPort),
        _ if known(&TransferPacket::new(udp)) => Verdict::Redirect(Service::TftpTransfer),
        _ => Verdict::Pass(Pass::UnknownTransfer),
    }
}

#[inline(always)]
fn is_ours(config: &Config, udp: &Udp) -> bool {
    udp.destination == u32::from_ne_bytes(config.address)
}

#[inline(always)]
fn is_broadcast(config: &Config, udp: &Udp) -> bool {
    let destination = udp.destination;
    destination == u32::MAX || destination == u32::from_ne_bytes(config.broadcast)
}

#[inline(always)]
fn to_tftp<F: Frame>(
    frame: &F,
    config: &Config,
    udp: &Udp,
    admits: impl FnOnce(&Rate, &Source) -> bool,
) -> Verdict {
    if config.tftp == 0 {
        return Verdict::Pass(Pass::Off);
    }
    match sender(frame, config, udp, Service::TftpRequest) {
        Err(reason) => Verdict::Drop(reason),
        Ok(()) if !admits(&config.rates.tftp, &Source::of_tftp(udp.source())) => {
            Verdict::Drop(Drop::TftpRate)
        }
        Ok(()) => Verdict::Redirect(Service::TftpRequest),
    }
}

#[inline(always)]
fn sender<F: Frame>(frame: &F, config: &Config, udp: &Udp, service: Service) -> Result<(), Drop> {
    let own = Own { address: config.address, broadcast: config.broadcast };
    source_filter::is_client(own, service, mac(frame), (udp.source(), udp.source_port()))
}

/// Returns the frame's source address; zeros if the frame is too short.
#[inline(always)]
fn mac<F: Frame>(frame: &F) -> [u8; 6] {
    frame.read(wire::ETH_SOURCE).unwrap_or([0; 6])
}

#[inline(always)]
fn to_dhcp<F: Frame>(
    frame: &F,
    config: &Config,
    udp: &Udp,
    admits: impl FnOnce(&Rate, &Source) -> bool,
    is_mine: impl FnOnce(&Broadcast) -> bool,
) -> Verdict {
    if config.dhcp_mode == dhcp_mode::OFF {
        return Verdict::Pass(Pass::Off);
    }
    let message_type = match boot_request(frame, udp) {
        Err(reason) => return Verdict::Pass(reason),
        Ok(message_type) => message_type,
    };
    if udp.destination_port() == wire::PORT_PXE {
        return deliver(frame, config, udp, Service::BootServer, message_type, admits, is_mine);
    }
    match message_type {
        // A REQUEST is meant for the DHCP server, or it names a boot server in option 43. pxed does not
        // answer the first kind, but learns from it which address a machine takes.
        wire::DHCP_DISCOVER | wire::DHCP_REQUEST => {}
        _ => return Verdict::Pass(Pass::OtherMessage),
    }
    deliver(frame, config, udp, Service::Dhcp, message_type, admits, is_mine)
}

/// Returns what decides who answers a broadcast.
#[inline(always)]
fn broadcast<F: Frame>(frame: &F, udp: &Udp, message_type: u8) -> Broadcast {
    let mac = frame.read(udp.payload + wire::BOOTP_CHADDR).unwrap_or([0; 6]);
    let message = match message_type {
        wire::DHCP_REQUEST => Message::Request,
        _ => Message::Discover { secs: frame.read_u16(udp.payload + wire::BOOTP_SECS).unwrap_or(0) },
    };
    Broadcast { mac, message }
}

/// Decides between copy, redirect, pass and drop for a request that pxed answers.
///
/// A broadcast is always copied: a DHCP server on this host, in a guest, or in a container with its own
/// interface on top of this one needs it as much as pxed does. The program cannot see all of these servers.
///
/// Therefore a broadcast that pxed does not accept, or that exceeds the rate limit, still goes to the host,
/// without a copy to pxed. A request to pxed's own address is dropped on port 4011, which only pxed uses. On
/// port 67 it goes to the host, because a DHCP server may have started there a moment ago.
#[inline(always)]
fn deliver<F: Frame>(
    frame: &F,
    config: &Config,
    udp: &Udp,
    service: Service,
    message_type: u8,
    admits: impl FnOnce(&Rate, &Source) -> bool,
    is_mine: impl FnOnce(&Broadcast) -> bool,
) -> Verdict {
    let is_copied = config.dhcp_mode == dhcp_mode::COPY || !is_ours(config, udp);
    let may_be_the_hosts = is_copied || udp.destination_port() != wire::PORT_PXE;
    if let Err(reason) = sender(frame, config, udp, service) {
        return if may_be_the_hosts { Verdict::Pass(Pass::NoClient) } else { Verdict::Drop(reason) };
    }
    // A request to pxed's own address is pxed's, whoever owns the machine: a relay may know no other responder.
    let is_shared = service == Service::Dhcp && config.shared != 0 && !is_ours(config, udp);
    if is_shared && !is_mine(&broadcast(frame, udp, message_type)) {
        return Verdict::Pass(Pass::OtherResponder);
    }
    if !admits(&config.rates.dhcp, &dhcp_source(frame, udp)) {
        return match may_be_the_hosts {
            true => Verdict::Pass(Pass::DhcpRate),
            false => Verdict::Drop(Drop::BootServerRate),
        };
    }
    if is_copied { Verdict::Copy(service) } else { Verdict::Redirect(service) }
}

#[inline(always)]
fn dhcp_source<F: Frame>(frame: &F, udp: &Udp) -> Source {
    let giaddr = frame.read(udp.payload + wire::BOOTP_GIADDR).unwrap_or([0; 4]);
    let chaddr = frame.read(udp.payload + wire::BOOTP_CHADDR).unwrap_or([0; 6]);
    if udp.destination_port() == wire::PORT_PXE {
        Source::of_boot_server(mac(frame), (giaddr, chaddr), udp.source())
    } else {
        Source::of_dhcp(mac(frame), (giaddr, chaddr))
    }
}

/// Returns the message type (option 53) of a network boot client's BOOTREQUEST; 0 if it has none.
#[inline(always)]
fn boot_request<F: Frame>(frame: &F, udp: &Udp) -> Result<u8, Pass> {
    let end = udp.payload + udp.payload_len;
    let first = frame.read_u8(udp.payload).ok_or(Pass::NotBootRequest)?;
    let cookie: [u8; 4] = frame.read(udp.payload + wire::BOOTP_LEN).ok_or(Pass::NotBootRequest)?;
    if first != wire::BOOTREQUEST
        || u32::from_ne_bytes(cookie) != u32::from_ne_bytes(wire::DHCP_COOKIE)
        || udp.payload_len < wire::BOOTP_LEN + wire::DHCP_COOKIE.len()
        || end > OFFSET_MASK
    {
        return Err(Pass::NotBootRequest);
    }
    walk_options(frame, udp.payload + wire::BOOTP_LEN + wire::DHCP_COOKIE.len(), end)
}

/// Walks the options from `at` to `end` in search of 60 and 53, and returns the message type; 0 if there is
/// none.
#[inline(always)]
fn walk_options<F: Frame>(frame: &F, mut at: usize, end: usize) -> Result<u8, Pass> {
    let mut found = Found(0);
    for _ in 0..MAX_OPTIONS {
        at = frame.forget(at) & OFFSET_MASK;
        // Without this, the verifier of Linux 5.10 and 6.1 checks the rest of the loop once for each
        // combination of options found so far, and rejects the program.
        found = Found(frame.forget(found.0));
        if at >= end {
            return found.message_type(); // no END: a client that omits it is served too
        }
        let Some([code]) = frame.read::<1>(at) else { return Err(Pass::OptionsBound) };
        if code == option::PAD {
            at += 1;
            continue;
        }
        if code == option::END {
            return found.message_type();
        }
        let Some([length]) = frame.read::<1>(at + 1) else { return Err(Pass::OptionsBound) };
        let value = at + 2;
        at = value + length as usize;
        if at > end {
            return Err(Pass::OptionsBound);
        }
        match code {
            option::MESSAGE_TYPE if length >= 1 => {
                let Some([message_type]) = frame.read::<1>(value) else { return Err(Pass::OptionsBound) };
                found = found.with_message_type(message_type);
            }
            option::CLASS => found = found.with_class(is_network_boot(frame, value, length)),
            _ => continue,
        }
        if found.is_all() {
            return found.message_type();
        }
    }
    Err(Pass::OptionsBound)
}

/// What the walk has found so far, as one number, so that [`Frame::forget`] can hide it from the verifier.
#[derive(Clone, Copy)]
struct Found(usize);

impl Found {
    /// Mask of the bits that hold option 53; they are 0 if it was not found.
    const MESSAGE_TYPE: usize = 0xff;
    /// Bit that is set if option 60 is that of a network boot client.
    const CLASS: usize = 0x100;

    #[inline(always)]
    fn with_message_type(self, message_type: u8) -> Self {
        Self(self.0 & !Self::MESSAGE_TYPE | message_type as usize)
    }

    #[inline(always)]
    fn with_class(self, matches: bool) -> Self {
        Self(if matches { self.0 | Self::CLASS } else { self.0 & !Self::CLASS })
    }

    #[inline(always)]
    fn is_all(self) -> bool {
        self.0 & Self::CLASS != 0 && self.0 & Self::MESSAGE_TYPE != 0
    }

    #[inline(always)]
    fn message_type(self) -> Result<u8, Pass> {
        if self.0 & Self::CLASS == 0 {
            return Err(Pass::NotNetworkBoot);
        }
        Ok((self.0 & Self::MESSAGE_TYPE) as u8)
    }
}

/// Whether option 60 begins with `PXEClient` (PXE specification 2.1, section 2.2.1) or `HTTPClient` (UEFI
/// 2.10, section 24.7).
#[inline(always)]
fn is_network_boot<F: Frame>(frame: &F, at: usize, length: u8) -> bool {
    // The code compares integers, because a slice comparison would compile to a call of memcmp, which is a
    // loop in the kernel.
    let word = |bytes: [u8; 8]| u64::from_ne_bytes(bytes);
    // The code reads each string in one piece. For a separate read of the last byte, the compiler may shift a
    // register that holds a packet address, which the verifier forbids.
    let pxe = length >= 9
        && frame.read::<9>(at).is_some_and(|[a, b, c, d, e, f, g, h, i]| {
            word([a, b, c, d, e, f, g, h]) == word(*b"PXEClien") && i == b't'
        });
    let half = |bytes: [u8; 2]| u16::from_ne_bytes(bytes);
    pxe || length >= 10
        && frame.read::<10>(at).is_some_and(|[a, b, c, d, e, f, g, h, i, j]| {
            word([a, b, c, d, e, f, g, h]) == word(*b"HTTPClie") && half([i, j]) == half(*b"nt")
        })
}
