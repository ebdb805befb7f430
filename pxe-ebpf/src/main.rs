//! The kernel programs of `pxed`. Entry points only: parsing and verdicts are in `pxe-common`.
//!
//! License of the object: Dual MIT/GPL, since some helpers are for GPL-compatible programs only.
#![no_std]
#![no_main]
// For one instruction that `core` does not offer (`offload`). The builder allows it.
#![feature(asm_experimental_arch)]

mod maps;
mod offload;
mod packet;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use aya_log_ebpf::debug;
use pxe_common::abi::Config;
use pxe_common::{Drop, Pass, Service, TransferPacket, Verdict, classify};

use crate::packet::Packet;

/// For frames in one buffer: every driver with XDP, every kernel since 5.8.
#[xdp]
pub fn pxed(ctx: XdpContext) -> u32 {
    run(&ctx)
}

/// The same for interfaces whose MTU makes frames of several buffers (Linux 5.18). Ours fit into the first.
#[xdp(frags)]
pub fn pxed_frags(ctx: XdpContext) -> u32 {
    run(&ctx)
}

/// [`pxed`] with the kernel offload (Linux 5.18).
#[xdp]
pub fn pxed_offload(ctx: XdpContext) -> u32 {
    run_with_offload(&ctx)
}

/// [`pxed_frags`] with the kernel offload.
#[xdp(frags)]
pub fn pxed_offload_frags(ctx: XdpContext) -> u32 {
    run_with_offload(&ctx)
}

/// The offload's second half, where frames cannot grow in XDP (Linux 6.6).
#[classifier]
pub fn pxed_tcx(ctx: TcContext) -> i32 {
    offload::tcx::run(&ctx)
}

#[inline(always)]
fn run(ctx: &XdpContext) -> u32 {
    let Some(config) = maps::CONFIG.get(0) else { return xdp_action::XDP_PASS };
    let packet = Packet::new(ctx);
    let verdict = classify(&packet, config, |packet| maps::transfer(&packet.key).is_some(), maps::admits);
    let (verdict, action) = carry_out(ctx, config, verdict);
    maps::count(verdict);
    action
}

#[inline(always)]
fn run_with_offload(ctx: &XdpContext) -> u32 {
    let Some(config) = maps::CONFIG.get(0) else { return xdp_action::XDP_PASS };
    let packet = Packet::new(ctx);
    let mut of = None;
    let known = |packet: &TransferPacket| {
        of = maps::transfer(&packet.key).map(|transfer| (transfer, *packet));
        of.is_some()
    };
    let verdict = classify(&packet, config, known, maps::admits);
    let answered = match of {
        Some((transfer, packet)) => offload::xdp::answer(ctx, config, transfer, &packet),
        None => None,
    };
    let (verdict, action) = match answered {
        Some(answer) => answer,
        None => carry_out(ctx, config, verdict),
    };
    maps::count(verdict);
    action
}

/// Turns a verdict into an action, and says which verdict that was in the end.
#[inline(always)]
fn carry_out(ctx: &XdpContext, config: &Config, verdict: Verdict) -> (Verdict, u32) {
    match verdict {
        Verdict::Redirect(service) => {
            let queue = ctx.rx_queue_index();
            // Where there is no socket: passed, or dropped (the action before that) between two daemons.
            let otherwise = xdp_action::XDP_PASS - (config.hold & 1);
            match maps::XSKS.redirect(queue, u64::from(otherwise)) {
                Ok(action) => {
                    log(ctx, service, queue);
                    (verdict, action)
                }
                Err(action) => (Verdict::Pass(Pass::NoSocket), action),
            }
        }
        Verdict::Copy(service) => {
            let queue = ctx.rx_queue_index();
            log(ctx, service, queue);
            let copied = maps::copy(ctx, queue);
            (if copied { verdict } else { Verdict::Drop(Drop::CopyLost) }, xdp_action::XDP_PASS)
        }
        Verdict::Pass(_) => (verdict, xdp_action::XDP_PASS),
        // Answers are made elsewhere: the classifier gives none.
        Verdict::Drop(_) | Verdict::Answer(_) => (verdict, xdp_action::XDP_DROP),
    }
}

/// Rare packets only: a machine sends a handful of these in a boot. Nothing is logged for a transfer's packets.
#[inline(always)]
fn log(ctx: &XdpContext, service: Service, queue: u32) {
    match service {
        Service::Dhcp => debug!(ctx, "DHCP request of a network boot client on queue {}", queue),
        Service::BootServer => debug!(ctx, "boot-server request on queue {}", queue),
        Service::TftpRequest => debug!(ctx, "TFTP request on queue {}", queue),
        Service::TftpTransfer => {}
    }
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
