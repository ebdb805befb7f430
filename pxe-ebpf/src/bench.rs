//! Programs of the load generator. The daemon never attaches them.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

use crate::maps;

/// Every frame to the socket of its queue: the generator is all machines of the network.
#[xdp]
pub fn take_all(ctx: XdpContext) -> u32 {
    maps::XSKS.redirect(ctx.rx_queue_index(), u64::from(xdp_action::XDP_PASS)).unwrap_or_else(|action| action)
}

/// Sends each frame back as it is: what this machine can do without any work, the limit of every datapath.
#[xdp]
pub fn reflect(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_TX
}
