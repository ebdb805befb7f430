//! The offload in XDP: the frame of the ACK grows and goes back to the client.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::{bpf_redirect, bpf_xdp_adjust_tail, bpf_xdp_store_bytes};
use aya_ebpf::programs::XdpContext;
use pxe_common::abi::{Config, offload};
use pxe_common::reply::{Ack, HEADER_WORDS, HEADERS_LEN};
use pxe_common::wire::{self, ETH_LEN};
use pxe_common::{Drop, Frame as _, Layer, Pass, TransferPacket, Verdict};

use super::{Offloaded, Step, in_bounds, payload_len};
use crate::maps;
use crate::packet::{Packet, store};

/// Largest offset at which the classifier can find an IPv4 header: behind two VLAN tags.
const IP_OFFSET_MAX: usize = ETH_LEN + wire::MAX_VLAN_TAGS * wire::VLAN_LEN;

/// Answers an ACK of a known transfer. Returns `None` if user space must handle the packet.
#[inline(always)]
pub fn answer(
    ctx: &XdpContext,
    config: &Config,
    offloaded: &Offloaded,
    found: &TransferPacket,
) -> Option<(Verdict, u32)> {
    let ip = found.ip;
    if config.offload == 0 || ip > IP_OFFSET_MAX {
        return None;
    }
    let packet = Packet::new(ctx);
    let ack = Ack(packet.words(ip)?);
    let step = Step::of(offloaded, &ack)?;
    let block = maps::block(step.file, step.window.first)?;
    let len = payload_len(block, step.tag)?;
    let by_tcx = config.offload & offload::TCX != 0 && ip == ETH_LEN;
    let grow = (ip + HEADERS_LEN + len as usize) as i32 - packet.len() as i32;
    let may = config.offload & offload::XDP != 0 && step.window.count == 1;
    // SAFETY: the helper gets this program's own context. All pointers into the frame are computed again
    // below.
    let may = may && !(by_tcx && maps::had_no_room(grow));
    if !may || unsafe { bpf_xdp_adjust_tail(ctx.ctx, grow) } != 0 {
        // Only for frames that tcx can answer: the mark concerns no others.
        if may && by_tcx {
            maps::set_no_room(grow);
        }
        return if by_tcx { Some((Verdict::Pass(Pass::ToTcx), xdp_action::XDP_PASS)) } else { None };
    }
    // A frame that has grown is the same ACK with more padding, so user space can still handle it.
    if !step.take() {
        return None;
    }
    let headers = ack.answer(step.window.first as u16, len, block.sum);
    let written = turn_round(ctx, ip, &headers) && {
        let offset = (ip + HEADERS_LEN) as u32;
        let payload = (&raw const block.payload).cast_mut().cast();
        // SAFETY: `payload` has PAYLOAD_MAX bytes, and the length is not larger.
        in_bounds(len).is_some_and(|len| unsafe { bpf_xdp_store_bytes(ctx.ctx, offset, payload, len) == 0 })
    };
    if !written {
        return Some((Verdict::Drop(Drop::NotAnswered), xdp_action::XDP_DROP));
    }
    let action = if config.offload & offload::BY_REDIRECT == 0 {
        xdp_action::XDP_TX
    } else {
        // SAFETY: the helper takes no pointers.
        unsafe { bpf_redirect(config.ifindex, 0) as u32 }
    };
    Some((Verdict::Answer(Layer::Xdp), action))
}

/// Swaps the Ethernet addresses and writes `headers` at `ip`. Returns false if the frame is too short.
#[inline(always)]
fn turn_round(ctx: &XdpContext, ip: usize, headers: &[u32; HEADER_WORDS]) -> bool {
    let packet = Packet::new(ctx);
    let ip = ip & 0x1f;
    let Some([a, b, c]) = packet.words::<3>(0) else { return false };
    let (data, end) = (ctx.data(), ctx.data_end());
    if data + ip + HEADERS_LEN > end || data + ETH_LEN > end {
        return false;
    }
    let [d0, d1, d2, d3] = a.to_ne_bytes();
    let [d4, d5, s0, s1] = b.to_ne_bytes();
    let [s2, s3, s4, s5] = c.to_ne_bytes();
    let swapped = [[s0, s1, s2, s3], [s4, s5, d0, d1], [d2, d3, d4, d5]];
    for (index, word) in swapped.into_iter().enumerate() {
        // SAFETY: the frame has an Ethernet header (checked above).
        unsafe { store(data + 4 * index, u32::from_ne_bytes(word)) };
    }
    for (index, word) in headers.iter().enumerate() {
        // SAFETY: the frame has HEADERS_LEN bytes behind `ip` (checked above).
        unsafe { store(data + ip + 4 * index, *word) };
    }
    true
}
