//! The responder's proxyDHCP half: ports 67 and 4011.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use pxe_common::Service;
use pxe_common::rate_limit::Source;

use super::{Host, Responder, Route};
use crate::counters::Counter;
use pxe_content::rules::{Decision, RequestFacts};
use pxe_fleet::event::{Client, Event, Origin, Requester, Telling, Unanswered, brief};
use pxe_fleet::firmware_quirks::StyleDefaults;
use pxe_proto::datagram::Datagram;
use pxe_proto::dhcp::{self, Arch, Class, Ignored, Message, Printable, ServerPort, Style};
use pxe_proto::mac::Mac;
use pxe_proto::time::Timestamp;

impl Responder {
    pub(super) fn on_dhcp(
        &mut self,
        now: Timestamp,
        datagram: &Datagram<'_>,
        via: ServerPort,
        host: &mut impl Host,
    ) {
        if !self.settings.is_for_us(datagram.to) {
            return self.counters.count(Counter::OtherAddress);
        }
        let service = match via {
            ServerPort::Port67 => Service::Dhcp,
            ServerPort::Port4011 => Service::BootServer,
        };
        if !self.settings.is_client(service, datagram) {
            return self.counters.count(Ignored::BadSource);
        }
        let request = match dhcp::Request::parse(datagram.payload) {
            Ok(request) => request,
            Err(malformed) => return self.counters.count(Ignored::from(malformed)),
        };
        let admitted = match dhcp::admit(self.settings.address, &request, via) {
            Ok(admitted) => admitted,
            Err(ignored) => {
                if ignored == Ignored::RequestOnPort67 {
                    self.leased(now, datagram, &request, host);
                }
                return self.counters.count(ignored);
            }
        };
        if !self.may_ask(now, datagram, &request, via) {
            return self.counters.count(Ignored::Rate);
        }
        let origin = self.origin(datagram, admitted.mac, &request, host);
        if self.is_foreign(datagram, origin, &request) {
            return self.counters.count(Ignored::ForeignChaddr);
        }
        let (from, own) = (*datagram.from.ip(), self.settings.address);
        if !self.sources.access.load().allows_request(&request, admitted.mac, from, own) {
            return self.counters.count(Ignored::NotAllowed);
        }
        let policy = self.sources.policy.load();
        let interface = Arc::clone(&self.settings.interface);
        let facts = RequestFacts::of(admitted.mac, &request, datagram.link.vlan(), &interface);
        let decision = self.sources.decide(&policy, &facts);
        let requester = self.requester(&request, (admitted.mac, origin), datagram, &decision);
        let Some(service) = decision.service else {
            self.counters.count(Ignored::Rule);
            return host.record(Event::Unanswered { requester, why: Unanswered::Rule });
        };
        let before = self.sources.before(&self.settings, &decision, admitted.mac);
        let style = self.style(now, &request, via, (admitted.mac, origin), before, host);
        let mut out = [0; dhcp::MAX_REPLY];
        match dhcp::reply(service, &request, via, datagram.from, style, &mut out) {
            Ok(reply) => {
                let from = SocketAddrV4::new(self.settings.address, reply.from_port);
                host.control(&Route { link: datagram.link, from, to: reply.to }, &out[..reply.len]);
                self.counters.count(if reply.told.ack { Counter::Acks } else { Counter::Offers });
                host.record(told(requester, &reply.told, decision.is_local));
            }
            Err(ignored) => {
                if let Ignored::NoImageForArch(arch) = ignored {
                    let requester = Box::new(Requester { arch, ..*requester });
                    host.record(Event::Unanswered { requester, why: Unanswered::NoImage });
                }
                self.counters.count(ignored);
            }
        }
    }

    /// How a request came: see [`Origin`].
    fn origin(
        &self,
        datagram: &Datagram<'_>,
        mac: Mac,
        request: &dhcp::Request<'_>,
        host: &mut impl Host,
    ) -> Origin {
        let frame = datagram.link.neighbour();
        if !request.giaddr().is_unspecified() {
            return Origin::Through(frame);
        }
        let is_hidden_broadcast = frame.is_none() && self.settings.is_to_many(datagram.to);
        match frame.or_else(|| host.neighbour(*datagram.from.ip())) {
            _ if is_hidden_broadcast => Origin::Link,
            Some(source) if source == mac => Origin::Link,
            other => Origin::Through(other),
        }
    }

    /// Whether somebody on our link asks in another's name. Behind a router (4011) the frame is the router's.
    fn is_foreign(&self, datagram: &Datagram<'_>, origin: Origin, request: &dhcp::Request<'_>) -> bool {
        let is_direct = request.giaddr().is_unspecified() && self.settings.is_near(*datagram.from.ip());
        matches!(origin, Origin::Through(Some(_))) && is_direct && !self.settings.foreign_chaddr
    }

    /// A machine takes its lease from the DHCP server: that is answered by nobody here, and shows where the machine is.
    fn leased(
        &mut self,
        now: Timestamp,
        datagram: &Datagram<'_>,
        request: &dhcp::Request<'_>,
        host: &mut impl Host,
    ) {
        let (Some(mac), Some(address)) = (request.mac(), request.lease()) else { return };
        let origin = self.origin(datagram, mac, request, host);
        if self.may_ask(now, datagram, request, ServerPort::Port67)
            && !self.is_foreign(datagram, origin, request)
        {
            host.record(Event::Leased { mac, origin, address });
        }
    }

    /// Whether who asks keeps to its rate; known by the same as in the kernel (`pxe_common::classify`).
    fn may_ask(
        &mut self,
        now: Timestamp,
        datagram: &Datagram<'_>,
        request: &dhcp::Request<'_>,
        via: ServerPort,
    ) -> bool {
        let chaddr = request.mac().unwrap_or_default().0;
        let (mac, relayed) = (datagram.link.peer.0, (request.giaddr().octets(), chaddr));
        let source = match via {
            ServerPort::Port67 => Source::of_dhcp(mac, relayed),
            ServerPort::Port4011 => Source::of_boot_server(mac, relayed, datagram.from.ip().octets()),
        };
        self.rate_limiter.admits(now, &self.sources.rates.load().dhcp, &source)
    }

    /// How this machine is told: a DISCOVER may teach us something, the request that follows it must find the same.
    fn style(
        &mut self,
        now: Timestamp,
        request: &dhcp::Request<'_>,
        via: ServerPort,
        (mac, origin): (Mac, Origin),
        before: StyleDefaults,
        host: &mut impl Host,
    ) -> Style {
        let discover = via == ServerPort::Port67
            && request.message() == Some(Message::Discover)
            && request.class() == Class::Pxe
            && !request.is_ipxe()
            // Behind a relay all machines have the router's address when they ask for their files.
            && origin == Origin::Link
            && self.settings.learns;
        if !discover {
            return self.quirks.style(mac, before);
        }
        let verdict = self.quirks.discovered(now, mac, before);
        if let Some(style) = verdict.news {
            host.record(Event::Learnt { mac, style });
        }
        verdict.style
    }

    /// What the request shows of who asks.
    fn requester(
        &self,
        request: &dhcp::Request<'_>,
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
            interface: Arc::clone(&self.settings.interface),
            rule: decision.rule.map(|rule| Arc::clone(&rule.name)),
            image: decision.rule.and_then(|rule| rule.image.clone()),
        })
    }
}

fn told(requester: Box<Requester>, told: &dhcp::ReplySummary<'_>, is_local: bool) -> Event {
    let what = match told.answer {
        _ if is_local => Telling::Local,
        dhcp::Answer::Menu(_) => Telling::Menu,
        _ => Telling::Boot,
    };
    Event::Told {
        requester,
        what,
        file: brief(&told.answer.name(told.mac)),
        style: told.style,
        ack: told.ack,
    }
}
