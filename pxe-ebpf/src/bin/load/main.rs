//! The kernel programs of the load generator. They are in an object of their own, because the daemon does not
//! ship them.
//!
//! | file | programs |
//! |---|---|
//! | here | `take_all` and `reflect` |
//! | [`machines`] | `machines`: acknowledges the blocks of transfers in their steady state |
//! | [`copy`] | `copy_tx`, `copy_redirect`, `copy_tcx`: the least that a TFTP server in the kernel can do |
//! | [`headers`] | the headers of a TFTP packet, changed where they are |
#![no_std]
#![no_main]

mod copy;
mod headers;
mod machines;

use aya_ebpf::bindings::{TC_ACT_SHOT, xdp_action};
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::{Array, XskMap};
use aya_ebpf::programs::{TcContext, XdpContext};
use pxe_common::load::Block;

#[map]
static XSKS: XskMap = XskMap::with_max_entries(1, 0);

/// The file. User space sets the size to the number of its blocks.
#[map]
static BLOCKS: Array<Block> = Array::with_max_entries(1, 0);

/// Redirects each frame to the socket of its queue: the generator simulates all machines of the network.
#[xdp]
pub fn take_all(ctx: XdpContext) -> u32 {
    to_socket(&ctx)
}

/// Acknowledges what it knows to be right, and redirects every other frame to the socket.
#[xdp]
pub fn machines(ctx: XdpContext) -> u32 {
    machines::acknowledge(&ctx).unwrap_or_else(|| to_socket(&ctx))
}

/// Sends each frame back unchanged. This measures the upper limit of every datapath on the machine.
#[xdp]
pub fn reflect(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// Answers each ACK with the next block, by `XDP_TX`.
#[xdp]
pub fn copy_tx(ctx: XdpContext) -> u32 {
    if copy::xdp(&ctx).is_some() { xdp_action::XDP_TX } else { xdp_action::XDP_DROP }
}

/// Answers each ACK with the next block, by a redirect to the interface.
#[xdp]
pub fn copy_redirect(ctx: XdpContext) -> u32 {
    if copy::xdp(&ctx).is_some() { back(&ctx) } else { xdp_action::XDP_DROP }
}

/// Answers each ACK with the next block, at tcx ingress.
#[classifier]
pub fn copy_tcx(ctx: TcContext) -> i32 {
    copy::tcx(&ctx).unwrap_or(TC_ACT_SHOT)
}

#[inline(always)]
fn to_socket(ctx: &XdpContext) -> u32 {
    XSKS.redirect(ctx.rx_queue_index(), u64::from(xdp_action::XDP_PASS)).unwrap_or_else(|action| action)
}

/// Sends a frame out of the interface on which it arrived. On a veth this reaches the other end wherever that
/// receives by NAPI; `XDP_TX` needs an XDP program there.
#[inline(always)]
fn back(ctx: &XdpContext) -> u32 {
    // SAFETY: the helper takes no pointers.
    unsafe { aya_ebpf::helpers::generated::bpf_redirect(ctx.ingress_ifindex() as u32, 0) as u32 }
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
