//! The kernel programs of the load generator. They are in an object of their own, because the daemon does not
//! ship them.
#![no_std]
#![no_main]

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::XskMap;
use aya_ebpf::programs::XdpContext;

#[map]
static XSKS: XskMap = XskMap::with_max_entries(1, 0);

/// Redirects each frame to the socket of its queue: the generator simulates all machines of the network.
#[xdp]
pub fn take_all(ctx: XdpContext) -> u32 {
    XSKS.redirect(ctx.rx_queue_index(), u64::from(xdp_action::XDP_PASS)).unwrap_or_else(|action| action)
}

/// Sends each frame back unchanged. This measures the upper limit of every datapath on the machine.
#[xdp]
pub fn reflect(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
