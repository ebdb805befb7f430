//! What the kernel program is configured with, and the sizes of tables that it shares with the workers. The start and the running
//! interface use the same values.

use pxe_common::abi::{self, Config};
use pxe_engine::plan::{DhcpPath, Plan};
use pxe_proto::tftp::table::Table;

/// The configuration of the kernel program for an interface, without the offload and the rates.
pub(super) fn config(plan: &Plan, dhcp: DhcpPath) -> Config {
    let ports = plan.tids;
    Config {
        address: plan.subnet.address.octets(),
        broadcast: plan.subnet.broadcast().octets(),
        dhcp_mode: dhcp.abi(),
        tftp: 1,
        tid_first: ports.first,
        tid_last: ports.first + (ports.count - 1),
        ifindex: plan.interface.index,
        ..Config::default()
    }
}

/// The transfers of one worker: twice the even share, because network cards spread machines unevenly.
pub(super) fn transfers_each(all: usize, workers: usize) -> usize {
    (all * 2 / workers.max(1)).min(all).max(1)
}

/// The slots of a worker's table.
pub(super) fn slots_each(all: usize, workers: usize) -> usize {
    Table::<()>::slots(transfers_each(all, workers))
}

/// The layers of the offload in words, for logs and metrics.
pub(super) fn offload_words(offload: u32) -> &'static str {
    match offload {
        0 => "off",
        bits if bits & abi::offload::TCX == 0 => "xdp",
        bits if bits & abi::offload::XDP == 0 => "tcx",
        _ => "xdp, tcx",
    }
}
