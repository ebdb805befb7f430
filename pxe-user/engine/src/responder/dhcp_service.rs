//! The proxyDHCP service: requests on ports 67 and 4011.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use pxe_common::Service;
use pxe_common::rate_limit::{Rates, Source};
use pxe_common::segment;

use super::core::Core;
use super::decide::{Checks, Rulebook};
use super::rate_limiter::RateLimiter;
use super::{Events, ResponderSettings, Route, Transmit};
use crate::counters::Counter;
use pxe_content::rules::Decision;
use pxe_fleet::event::{Client, Event, OfferKind, Origin, Requester, Unanswered, brief};
use pxe_fleet::firmware_quirks::{FirmwareQuirks, StyleDefaults};
use pxe_fleet::handle::BootRecords;
use pxe_proto::datagram::Datagram;
use pxe_proto::dhcp::{self, Arch, Class, Ignored, Message, Printable, Request, ServerPort, Style};
use pxe_proto::mac::Mac;
use pxe_proto::time::Timestamp;

/// The shortest time between two offers that are broadcast.
const BROADCAST_EVERY: Duration = Duration::from_secs(60);

/// Answers DHCP requests. Its state is what it has learnt about the machines' firmware.
#[derive(Debug, Default)]
pub(super) struct DhcpService {
    quirks: FirmwareQuirks,
    /// When an offer was last broadcast.
    broadcast: Option<Timestamp>,
}

impl DhcpService {
    /// Handles a datagram to port 67 or 4011.
    pub(super) fn handle(
        &mut self,
        core: &mut Core,
        now: Timestamp,
        datagram: &Datagram<'_>,
        port: ServerPort,
        host: &mut (impl Transmit + Events),
    ) {
        if let Err(ignored) = self.answer(core, now, datagram, port, host) {
            core.counters.count(ignored);
        }
    }

    /// Records that this machine has asked for a file, and so has understood its offer.
    pub(super) fn file_requested(&mut self, mac: Mac) {
        self.quirks.file_requested(mac);
    }

    fn answer(
        &mut self,
        core: &mut Core,
        now: Timestamp,
        datagram: &Datagram<'_>,
        port: ServerPort,
        host: &mut (impl Transmit + Events),
    ) -> Result<(), Ignored> {
        let Core { settings, sources, rate_limiter, others, counters } = core;
        if !settings.is_for_us(datagram.to) {
            counters.count(Counter::OtherAddress);
            return Ok(());
        }
        let service = match port {
            ServerPort::Port67 => Service::Dhcp,
            ServerPort::Port4011 => Service::BootServer,
        };
        if !settings.is_client(service, datagram) {
            return Err(Ignored::BadSource);
        }
        let request = Request::parse(datagram.payload)?;
        if let (Some(ranks), Some(broadcast)) =
            (sources.ranks.load().as_deref(), broadcast(settings, &request, datagram.to, port))
            && !others.is_mine(now, ranks, &broadcast)
        {
            return Err(Ignored::OtherResponder);
        }
        let (access, policy) = (sources.access.load(), sources.policy.load());
        let interface = Arc::clone(&settings.interface);
        let rulebook =
            Rulebook { server: settings.address, interface: &interface, access: &access, policy: &policy };
        let mut checks = FrameChecks {
            settings,
            rates: &sources.rates,
            boot_records: sources.boot_records.load(),
            rate_limiter,
            now,
            datagram,
            port,
            origin: Origin::Link,
            host: &mut *host,
        };
        let (from, vlan) = (*datagram.from.ip(), datagram.link.vlan());
        let decided = rulebook.decide(&request, port, from, vlan, &mut checks);
        if let Err(Ignored::RequestOnPort67) = decided {
            checks.record_lease(&request);
        }
        let (decided, origin) = (decided?, checks.origin);
        let (mac, decision) = (decided.facts.mac, &decided.decision);
        let requester = requester(settings, &request, (mac, origin), datagram, decision);
        if decision.service.is_none() {
            host.record(Event::Unanswered { requester, why: Unanswered::Rule });
            return Err(Ignored::Rule);
        }
        let defaults = sources.style_defaults(decision, mac);
        let style = match port {
            ServerPort::Port67 if can_teach_style(settings, &request, origin) => {
                self.learn(now, mac, defaults, host)
            }
            _ => self.quirks.style(mac, defaults),
        };
        let mut out = [0; dhcp::MAX_REPLY];
        match decided.reply(&request, port, datagram.from, style, &mut out) {
            Ok(reply) => {
                let from = SocketAddrV4::new(settings.address, reply.from_port);
                let may_be_broadcast = reply.broadcast && !reply.summary.ack && origin == Origin::Link;
                let link = match datagram.link.neighbour() {
                    Some(_) if may_be_broadcast && self.is_broadcast_due(now) => datagram.link.to_all(),
                    _ => datagram.link,
                };
                host.control(&Route { link, from, to: reply.to }, &out[..reply.len]);
                counters.count(if reply.summary.ack { Counter::Acks } else { Counter::Offers });
                host.record(replied(requester, &reply.summary, decision.is_local));
                Ok(())
            }
            Err(ignored) => {
                if let Ignored::NoImageForArch(arch) = ignored {
                    let requester = Box::new(Requester { arch, ..*requester });
                    host.record(Event::Unanswered { requester, why: Unanswered::NoImage });
                }
                Err(ignored)
            }
        }
    }

    /// Whether it is time for an offer that everybody in the network sees, to a machine that asks for one (RFC 2131, section
    /// 4.1). All others go to the machine alone: but then nobody would see that there is a second proxyDHCP server.
    fn is_broadcast_due(&mut self, now: Timestamp) -> bool {
        let is_due = self.broadcast.is_none_or(|last| now.since(last) >= BROADCAST_EVERY);
        if is_due {
            self.broadcast = Some(now);
        }
        is_due
    }

    /// Returns the style for a machine, after learning from this DISCOVER whether its firmware understood the
    /// last offer.
    fn learn(&mut self, now: Timestamp, mac: Mac, defaults: StyleDefaults, host: &mut impl Events) -> Style {
        let decision = self.quirks.discovered(now, mac, defaults);
        if let Some(style) = decision.news {
            host.record(Event::StyleLearnt { mac, style });
        }
        decision.style
    }
}

/// Whether this request shows if the firmware has understood the last offer. Only a DISCOVER may change the
/// style, because the request that follows it must find the same style. Behind a relay nothing can be learnt
/// about a single machine: when the machines ask for their files, all frames have the router's address.
fn can_teach_style(settings: &ResponderSettings, request: &Request<'_>, origin: Origin) -> bool {
    request.message() == Some(Message::Discover)
        && request.class() == Class::Pxe
        && !request.is_ipxe()
        && origin == Origin::Link
        && settings.sees_ethernet
}

/// The daemon's implementation of [`Checks`]: the rate limit, and whether the frame comes from the machine
/// itself.
struct FrameChecks<'a, 'd, H> {
    settings: &'a ResponderSettings,
    rates: &'a ArcSwap<Rates>,
    boot_records: Guard<Arc<BootRecords>>,
    rate_limiter: &'a mut RateLimiter,
    now: Timestamp,
    datagram: &'a Datagram<'d>,
    port: ServerPort,
    /// How the request reached pxed. Valid after [`Checks::admit`].
    origin: Origin,
    host: &'a mut H,
}

impl<H: Transmit + Events> Checks for FrameChecks<'_, '_, H> {
    fn admit(&mut self, request: &Request<'_>, mac: Mac) -> Result<(), Ignored> {
        if !self.is_within_rate(request) {
            return Err(Ignored::Rate);
        }
        self.origin = self.origin(request, mac);
        if self.is_foreign(request) { Err(Ignored::ForeignChaddr) } else { Ok(()) }
    }

    fn boots(&self, mac: Mac, rule: &str) -> u32 {
        self.boot_records.get(&mac).map_or(0, |record| record.boots_by(rule))
    }
}

impl<H: Transmit + Events> FrameChecks<'_, '_, H> {
    /// Whether the client is within its rate limit. The key is the same as in the kernel
    /// (`pxe_common::classify`).
    fn is_within_rate(&mut self, request: &Request<'_>) -> bool {
        let chaddr = request.mac().unwrap_or_default().0;
        let (mac, relayed) = (self.datagram.link.peer.0, (request.giaddr().octets(), chaddr));
        let source = match self.port {
            ServerPort::Port67 => Source::of_dhcp(mac, relayed),
            ServerPort::Port4011 => Source::of_boot_server(mac, relayed, self.datagram.from.ip().octets()),
        };
        self.rate_limiter.admits(self.now, &self.rates.load().dhcp, &source)
    }

    /// How a request reached pxed: see [`Origin`].
    fn origin(&mut self, request: &Request<'_>, mac: Mac) -> Origin {
        let frame = self.datagram.link.neighbour();
        if !request.giaddr().is_unspecified() {
            return Origin::Through(frame);
        }
        if frame.is_none() && self.settings.is_to_many(self.datagram.to) {
            return Origin::Link;
        }
        match frame.or_else(|| self.host.neighbour(*self.datagram.from.ip())) {
            Some(source) if source == mac => Origin::Link,
            other => Origin::Through(other),
        }
    }

    /// Whether a host on our link sends a request with another machine's Ethernet address. A request through
    /// a router (on port 4011) is not foreign, although its frame has the router's address.
    fn is_foreign(&self, request: &Request<'_>) -> bool {
        let is_direct = request.giaddr().is_unspecified() && self.settings.is_near(*self.datagram.from.ip());
        matches!(self.origin, Origin::Through(Some(_))) && is_direct && !self.settings.foreign_chaddr
    }

    /// Reports the address that a machine requests from the DHCP server. pxed does not answer this request,
    /// but it shows which address the machine has.
    fn record_lease(&mut self, request: &Request<'_>) {
        let (Some(mac), Some(address)) = (request.mac(), request.lease()) else { return };
        if self.admit(request, mac).is_ok() {
            self.host.record(Event::Leased { mac, origin: self.origin, address });
        }
    }
}

/// What decides which responder of a segment answers a request, if it is a broadcast that all of them receive. The
/// kernel program applies the same rule (`pxe_common::classify`).
fn broadcast(
    settings: &ResponderSettings,
    request: &Request<'_>,
    to: SocketAddrV4,
    port: ServerPort,
) -> Option<segment::Broadcast> {
    let is_ours = *to.ip() == settings.address;
    let is_boot_client = request.is_boot_request() && matches!(request.class(), Class::Pxe | Class::Http);
    if is_ours || port != ServerPort::Port67 || !is_boot_client {
        return None;
    }
    let message = match request.message()? {
        Message::Discover => segment::Message::Discover { secs: request.secs() },
        Message::Request => segment::Message::Request,
        Message::Other(_) => return None,
    };
    Some(segment::Broadcast { mac: request.mac()?.0, message })
}

/// Collects what the request shows about the machine, for the fleet.
fn requester(
    settings: &ResponderSettings,
    request: &Request<'_>,
    (mac, origin): (Mac, Origin),
    datagram: &Datagram<'_>,
    decision: &Decision<'_>,
) -> Box<Requester> {
    let known = |address: &Ipv4Addr| !address.is_unspecified();
    Box::new(Requester {
        mac,
        origin,
        arch: request.arches().next().unwrap_or(Arch(0)),
        client: match request.class() {
            Class::Http => Client::Http,
            _ if request.is_ipxe() => Client::Ipxe,
            _ => Client::Pxe,
        },
        firmware: brief(&Printable(request.vendor_class()).to_string()),
        uuid: request.uuid(),
        address: Some(request.ciaddr()).filter(known),
        relay: Some(request.giaddr()).filter(known),
        vlan: datagram.link.vlan(),
        interface: Arc::clone(&settings.interface),
        rule: decision.rule.map(|rule| Arc::clone(&rule.name)),
        image: decision.rule.and_then(|rule| rule.image.clone()),
    })
}

fn replied(requester: Box<Requester>, summary: &dhcp::ReplySummary<'_>, is_local: bool) -> Event {
    let what = match summary.answer {
        _ if is_local => OfferKind::Local,
        dhcp::Answer::Menu(_) => OfferKind::Menu,
        _ => OfferKind::Boot,
    };
    Event::Offered {
        requester,
        what,
        file: brief(&summary.answer.name(summary.mac)),
        style: summary.style,
        ack: summary.ack,
    }
}
