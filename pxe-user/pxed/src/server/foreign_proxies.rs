//! Other proxyDHCP servers on the network. A machine boots from whoever answers first, so a forgotten dnsmasq, or a second pxed
//! that does not share the segment, makes machines boot by chance. Their offers say that they are there.
//!
//! Only offers that are broadcast arrive here. A server that sends each offer to the machine's own address stays unseen.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use pxe_nic::interface::Interface;
use pxe_nic::packet::PacketSocket;
use pxe_proto::datagram::Datagram;
use pxe_proto::dhcp::{MessageView, PORT_CLIENT};
use pxe_proto::time::Timestamp;

/// Frames that one look reads. A flood must not keep the supervisor busy.
const FRAMES_MAX: usize = 64;
/// How long a server counts as there after its last offer.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Servers that are remembered. Anybody can invent offers.
const SERVERS_MAX: usize = 8;

/// Listens for the offers of others on one interface.
pub(super) struct OfferListener(PacketSocket);

impl OfferListener {
    /// Opens a socket. `None` if the host refuses it: nothing but the notice depends on it.
    pub(super) fn open(interface: &Interface) -> Option<Self> {
        let socket = PacketSocket::open(interface.index, PORT_CLIENT);
        let socket = socket.inspect_err(|error| {
            tracing::debug!(interface = interface.name, "cannot listen for other proxyDHCP servers: {error}");
        });
        socket.ok().map(Self)
    }

    /// The senders of proxy offers that have arrived since the last look.
    fn senders(&mut self) -> impl Iterator<Item = Ipv4Addr> {
        (0..FRAMES_MAX).map_while(|_| Some(sender(self.0.receive()?))).flatten()
    }
}

/// The sender of a frame, if it is a proxy offer.
fn sender(frame: &[u8]) -> Option<Ipv4Addr> {
    let datagram = Datagram::parse(frame).ok()?;
    let message = MessageView::parse(datagram.payload).ok()?;
    message.is_proxy_offer().then(|| *datagram.from.ip())
}

/// The servers that were seen.
#[derive(Clone, Debug, Default)]
pub(super) struct ForeignProxies(BTreeMap<Ipv4Addr, Timestamp>);

impl ForeignProxies {
    /// Notes whose offers have arrived at a listener. Those of this host, at `own`, do not count: it may have two interfaces in
    /// one network.
    pub(super) fn look(&mut self, now: Timestamp, listener: &mut OfferListener, own: &[Ipv4Addr]) {
        for sender in listener.senders() {
            self.note(now, sender, own);
        }
    }

    fn note(&mut self, now: Timestamp, sender: Ipv4Addr, own: &[Ipv4Addr]) {
        let has_room = self.0.len() < SERVERS_MAX || self.0.contains_key(&sender);
        if !own.contains(&sender) && has_room {
            self.0.insert(sender, now);
        }
    }

    /// What the board says, with the remedy. `sharing` is the number of other responders that share the segment: so many
    /// servers are as it should be. `None` if it is not known yet how many there are.
    pub(super) fn problem(&mut self, now: Timestamp, sharing: Option<usize>) -> Option<String> {
        self.0.retain(|_, seen| now.since(*seen) < REMEMBERED);
        let sharing = sharing?;
        if self.0.len() <= sharing {
            return None;
        }
        let addresses: Vec<_> = self.0.keys().map(Ipv4Addr::to_string).collect();
        let addresses = addresses.join(", ");
        let shared = match sharing {
            0 => String::new(),
            _ => format!(" Only {sharing} of them can belong to this segment's responders."),
        };
        Some(format!(
            "another proxyDHCP server offers boot files to machines here: {addresses}.{shared} A machine boots from whoever \
             answers first. Stop the other server, or, if it is a pxed, let both share the segment ([segment])"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn more_servers_than_share_the_segment_are_a_problem_for_some_time() {
        let mut seen = ForeignProxies::default();
        assert_eq!(seen.problem(at(0), Some(0)), None);
        seen.note(at(0), OWN, &[OWN]);
        assert_eq!(seen.problem(at(0), Some(0)), None, "this host");
        seen.note(at(0), Ipv4Addr::new(10, 0, 0, 2), &[OWN]);
        assert!(seen.problem(at(599), Some(0)).is_some_and(|words| words.contains("10.0.0.2")));
        assert_eq!(seen.problem(at(599), Some(1)), None, "it may be the one that shares the segment");
        assert_eq!(seen.problem(at(599), None), None, "nobody knows how many share it");
        seen.note(at(599), Ipv4Addr::new(10, 0, 0, 3), &[OWN]);
        assert!(seen.problem(at(599), Some(1)).is_some_and(|words| words.contains("10.0.0.2, 10.0.0.3")));
        assert_eq!(seen.problem(at(600), Some(1)), None, "the first one is gone");
    }

    #[test]
    fn invented_servers_do_not_use_up_memory() {
        let mut seen = ForeignProxies::default();
        for n in 0..10_000 {
            seen.note(at(n), Ipv4Addr::from_bits(u32::try_from(n).unwrap()), &[]);
        }
        assert_eq!(seen.0.len(), SERVERS_MAX);
    }
}
