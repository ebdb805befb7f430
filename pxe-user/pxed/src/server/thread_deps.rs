//! What threads of the lower layers get from the daemon: a sign of life, and the kernel's table of neighbours.

use std::net::Ipv4Addr;

use pxe_engine::clock::Clock;
use pxe_engine::heartbeat::{Heartbeats, Waits};
use pxe_nic::neighbours;
use pxe_proto::mac::Mac;

/// The sign of life of a thread of this name. The thread calls it, and needs no clock of its own.
pub(super) fn beats(
    heartbeats: &Heartbeats,
    thread: &str,
    waits: Waits,
    clock: Clock,
) -> impl Fn() + Send + use<> {
    let heartbeat = heartbeats.add(thread, waits, clock.now());
    move || heartbeat.beat(clock.now())
}

/// The Ethernet address of a neighbour, from the kernel's table.
pub(super) fn neighbour(address: Ipv4Addr) -> Option<Mac> {
    neighbours::ethernet_address(address).map(Mac)
}
