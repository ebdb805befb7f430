//! How many connections a listener has at the same time, and how addresses share them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The limits of one listener. Further connections are closed and counted.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// From all addresses together.
    pub all: usize,
    /// From one address, whatever the others have.
    pub each: usize,
    /// Beyond [`Self::each`], from all addresses together. A router with NAT needs them: all its machines have one
    /// address.
    pub beyond: usize,
}

impl ConnectionLimits {
    /// `all` connections, without a limit for one address.
    #[must_use]
    pub fn of_all(all: usize) -> Self {
        Self { all, each: all, beyond: 0 }
    }
}

/// The open connections from each address.
#[derive(Clone, Debug)]
pub(super) struct Peers(Arc<Mutex<Counts>>);

#[derive(Debug)]
struct Counts {
    limits: ConnectionLimits,
    of: HashMap<IpAddr, usize>,
    /// How many connections are beyond the limit for one address.
    beyond: usize,
}

/// One of a peer's connections. Dropping it makes room for another one.
pub(super) struct PeerConnection(Option<(Peers, IpAddr)>);

impl PeerConnection {
    /// A connection without an address, which no limit counts (a Unix socket).
    pub(super) fn uncounted() -> Self {
        Self(None)
    }
}

impl Peers {
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        Self(Arc::new(Mutex::new(Counts { limits, of: HashMap::new(), beyond: 0 })))
    }

    /// Counts one more connection of a peer; `None` if it must wait until another one ends.
    pub(super) fn admit(&self, peer: Option<IpAddr>) -> Option<PeerConnection> {
        let Some(peer) = peer else { return Some(PeerConnection::uncounted()) };
        let mut guard = self.lock();
        let Counts { limits, of, beyond } = &mut *guard;
        let count = of.get(&peer).copied().unwrap_or_default();
        if count >= limits.each {
            if *beyond >= limits.beyond {
                return None;
            }
            *beyond += 1;
        }
        of.insert(peer, count + 1);
        drop(guard);
        Some(PeerConnection(Some((self.clone(), peer))))
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // The lock guards numbers only, and no code leaves them half changed, so a poisoned lock is usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PeerConnection {
    fn drop(&mut self) {
        let Some((peers, peer)) = self.0.take() else { return };
        let mut guard = peers.lock();
        let Counts { limits, of, beyond } = &mut *guard;
        let Some(count) = of.get_mut(&peer) else { return };
        if *count > limits.each {
            *beyond -= 1;
        }
        *count -= 1;
        if *count == 0 {
            of.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits { all: 100, each: 2, beyond: 3 };

    fn peer(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, n]))
    }

    fn admit(peers: &Peers, n: u8, count: usize) -> Vec<PeerConnection> {
        (0..count).map_while(|_| peers.admit(peer(n))).collect()
    }

    #[test]
    fn one_address_gets_what_is_left_for_all_and_leaves_each_other_its_own() {
        let peers = Peers::new(LIMITS);
        let behind_nat = admit(&peers, 1, 9);
        assert_eq!(behind_nat.len(), 2 + 3);
        let other = admit(&peers, 2, 9);
        assert_eq!(other.len(), 2, "the first one has all that is beyond");
        drop(behind_nat);
        let more = admit(&peers, 2, 9);
        assert_eq!(more.len(), 3);
        drop((other, more));
        let counts = peers.lock();
        assert!(counts.of.is_empty() && counts.beyond == 0, "{counts:?}");
    }

    /// Whichever connection of an address ends, the next one takes its place.
    #[test]
    fn a_connection_that_ends_makes_room() {
        let peers = Peers::new(LIMITS);
        let mut connections = admit(&peers, 1, 5);
        for index in [0, 4, 2, 0] {
            assert!(peers.admit(peer(1)).is_none());
            drop(connections.remove(index));
            connections.push(peers.admit(peer(1)).expect("room"));
        }
    }

    #[test]
    fn without_an_address_nothing_is_counted() {
        let peers = Peers::new(ConnectionLimits { all: 1, each: 0, beyond: 0 });
        assert!(peers.admit(None).is_some() && peers.admit(None).is_some());
        assert!(peers.admit(peer(1)).is_none());
    }
}
