//! The responder's proxyDHCP half: ports 67 and 4011.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use super::{Host, Responder, Route};
use crate::datagram::Datagram;
use crate::dhcp::{self, Arch, Class, Ignored, Message, Printable, Style, Via};
use crate::fleet::event::{Asker, Client, Event, Telling, Unanswered, brief};
use crate::mac::Mac;
use crate::tally::Other;
use crate::time::Timestamp;

impl Responder {
    pub(super) fn on_dhcp(
        &mut self,
        now: Timestamp,
        datagram: &Datagram<'_>,
        via: Via,
        host: &mut impl Host,
    ) {
        if !self.settings.is_for_us(datagram.to) {
            return self.tally.count(Other::OtherAddress);
        }
        let request = match dhcp::Request::parse(datagram.payload) {
            Ok(request) => request,
            Err(malformed) => return self.tally.count(Ignored::from(malformed)),
        };
        let style = self.style(now, &request, via);
        let mut out = [0; dhcp::MAX_REPLY];
        let service = self.service.load();
        match dhcp::reply(&service, &request, via, datagram.from, style, &mut out) {
            Ok(reply) => {
                let from = SocketAddrV4::new(self.settings.address, reply.from_port);
                host.control(&Route { link: datagram.link, from, to: reply.to }, &out[..reply.len]);
                self.tally.count(if reply.told.ack { Other::Acks } else { Other::Offers });
                let asker = self.asker(&request, reply.told.mac, datagram);
                host.record(told(asker, &reply.told));
            }
            Err(ignored) => {
                if let (Ignored::NoImageForArch(arch), Some(mac)) = (ignored, request.mac()) {
                    let asker = Box::new(Asker { arch, ..*self.asker(&request, mac, datagram) });
                    host.record(Event::Unanswered { asker, why: Unanswered::NoImage });
                }
                self.tally.count(ignored);
            }
        }
    }

    /// How this machine is told: a DISCOVER may teach us something, the request that follows it must find the same.
    fn style(&mut self, now: Timestamp, request: &dhcp::Request<'_>, via: Via) -> Style {
        let Some(mac) = request.mac() else { return self.settings.style };
        let discover = via == Via::Port67
            && request.message() == Some(Message::Discover)
            && request.class() == Class::Pxe
            && !request.is_ipxe()
            // Behind a relay all machines have the router's address when they ask for their files.
            && request.giaddr().is_unspecified()
            && self.settings.learns;
        if discover { self.habits.discovered(now, mac) } else { self.habits.style(mac) }
    }

    /// What the request shows of who asks.
    fn asker(&self, request: &dhcp::Request<'_>, mac: Mac, datagram: &Datagram<'_>) -> Box<Asker> {
        let known = |address: &Ipv4Addr| !address.is_unspecified();
        Box::new(Asker {
            mac,
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
            rule: None,
            image: None,
        })
    }
}

fn told(asker: Box<Asker>, told: &dhcp::Told<'_>) -> Event {
    let what = if let dhcp::Answer::Menu(_) = told.answer { Telling::Menu } else { Telling::Boot };
    Event::Told { asker, what, file: brief(told.answer.as_str()), style: told.style, ack: told.ack }
}
