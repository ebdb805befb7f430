//! The kernel programs of `pxed`. This file has the entry points only; parsing and verdicts are in
//! `pxe-common`.
//!
//! The object's license is Dual MIT/GPL, because the kernel offers some helpers to GPL-compatible programs
//! only.
#![no_std]
#![no_main]
// `offload` needs one instruction that `core` does not offer. The builder allows this feature.
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

use crate::offload::Offloaded;
use crate::packet::Packet;

/// The XDP program for frames in one buffer: for each driver with XDP, and each kernel since 5.8.
#[xdp]
pub fn pxed(ctx: XdpContext) -> u32 {
    run(&ctx)
}

/// The same program for interfaces whose MTU needs frames of several buffers (Linux 5.18). All that the
/// program reads is in the first buffer.
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

/// The second half of the offload: the tcx program, for frames that cannot grow in XDP (Linux 6.6).
#[classifier]
pub fn pxed_tcx(ctx: TcContext) -> i32 {
    offload::tcx::run(&ctx)
}

#[inline(always)]
fn run(ctx: &XdpContext) -> u32 {
    let Some(config) = maps::CONFIG.get(0) else { return xdp_action::XDP_PASS };
    let packet = Packet::new(ctx);
    let verdict =
        classify(&packet, config, |packet| maps::slot(packet.word()).is_some(), maps::admits, maps::is_mine);
    let (verdict, action) = carry_out(ctx, config, verdict);
    maps::count(verdict);
    action
}

#[inline(always)]
fn run_with_offload(ctx: &XdpContext) -> u32 {
    let Some(config) = maps::CONFIG.get(0) else { return xdp_action::XDP_PASS };
    let packet = Packet::new(ctx);
    let mut found = None;
    let known = |packet: &TransferPacket| {
        let (known, offloaded) = Offloaded::find(packet.word());
        found = offloaded.map(|offloaded| (offloaded, *packet));
        known
    };
    let verdict = classify(&packet, config, known, maps::admits, maps::is_mine);
    let answered = match found {
        Some((offloaded, packet)) => offload::xdp::answer(ctx, config, &offloaded, &packet),
        None => None,
    };
    let (verdict, action) = match answered {
        Some(answer) => answer,
        None => carry_out(ctx, config, verdict),
    };
    maps::count(verdict);
    action
}

/// Carries out a verdict. Returns the verdict to be counted and the XDP action.
#[inline(always)]
fn carry_out(ctx: &XdpContext, config: &Config, verdict: Verdict) -> (Verdict, u32) {
    match verdict {
        Verdict::Redirect(service) => {
            let queue = ctx.rx_queue_index();
            // The action if the queue has no socket: pass, or drop during a hand-over. `XDP_DROP` is the
            // number before `XDP_PASS`.
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
        // The classifier never returns `Answer`; the offload does.
        Verdict::Drop(_) | Verdict::Answer(_) => (verdict, xdp_action::XDP_DROP),
    }
}

/// Logs requests only, of which a machine sends a handful in each boot. The packets of a transfer are not
/// logged.
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
