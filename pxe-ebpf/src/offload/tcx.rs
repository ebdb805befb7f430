//! The offload at tcx ingress. It works on socket buffers, where each frame can grow and can be sent several
//! times.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::helpers::generated::{
    bpf_clone_redirect, bpf_redirect, bpf_skb_change_tail, bpf_skb_store_bytes,
};
use aya_ebpf::programs::TcContext;
use pxe_common::abi::{Config, WINDOWSIZE_MAX, offload};
use pxe_common::reply::{Ack, HEADER_WORDS, HEADERS_LEN};
use pxe_common::wire::{ETH_LEN, ETH_TYPE};
use pxe_common::{Drop, Frame as _, Layer, TransferPacket, Verdict, transfer_packet};

use super::{Offloaded, Step, in_bounds, payload_len};
use crate::maps;
use crate::packet::Packet;

/// Length of all headers in front of the payload, in bytes. This program does not send frames with VLAN tags.
const ALL_HEADERS_LEN: usize = ETH_LEN + HEADERS_LEN;
/// Bytes in front of an Ethernet header that align the headers behind it to 32-bit words.
const PADDING: usize = 2;
/// Number of words in all headers with the padding.
const ALL_WORDS: usize = (PADDING + ALL_HEADERS_LEN) / 4;

/// Answers the ACKs that the XDP program has left to this program, and passes everything else unchanged.
#[inline(always)]
pub fn run(ctx: &TcContext) -> i32 {
    let Some(config) = maps::CONFIG.get(0) else { return TC_ACT_UNSPEC };
    if config.offload & offload::TCX == 0 {
        return TC_ACT_UNSPEC;
    }
    let packet = Packet::of(ctx.data(), ctx.data_end(), ctx.len() as usize);
    let Some(found) = transfer_packet(&packet, config) else { return TC_ACT_UNSPEC };
    let (true, offloaded) = Offloaded::find(found.word()) else { return TC_ACT_UNSPEC };
    // The host does not know pxed's transfers, and would reply that the port is closed. So from here on the
    // program answers the packet or drops it.
    match offloaded.and_then(|offloaded| answer(ctx, config, &offloaded, &packet, &found)) {
        Some(action) => {
            maps::count(Verdict::Answer(Layer::Tcx));
            action
        }
        None => {
            maps::count(Verdict::Drop(Drop::NotAnswered));
            TC_ACT_SHOT
        }
    }
}

#[inline(always)]
fn answer(
    ctx: &TcContext,
    config: &Config,
    offloaded: &Offloaded,
    packet: &Packet,
    found: &TransferPacket,
) -> Option<i32> {
    if found.ip != ETH_LEN {
        return None;
    }
    let [a, b, c] = packet.words(0)?;
    let [t0, t1] = packet.read(ETH_TYPE)?;
    let ack = Ack(packet.words(ETH_LEN)?);
    let step = Step::of(offloaded, &ack)?;
    let (first, count) = (step.window.first, step.window.count);
    if count > WINDOWSIZE_MAX || !step.take() {
        return None;
    }
    let [d0, d1, d2, d3] = a.to_ne_bytes();
    let [d4, d5, s0, s1] = b.to_ne_bytes();
    let [s2, s3, s4, s5] = c.to_ne_bytes();
    let swapped = [[0, 0, s0, s1], [s2, s3, s4, s5], [d0, d1, d2, d3], [d4, d5, t0, t1]];
    let ethernet = swapped.map(u32::from_ne_bytes);
    for index in 0..WINDOWSIZE_MAX {
        if index >= count {
            break;
        }
        write(ctx, (step.file, step.tag), &ack, &ethernet, first + index)?;
        if index + 1 < count {
            // SAFETY: the helper gets this program's own context. If a clone is not sent, a packet is lost,
            // and the window is retransmitted.
            unsafe { bpf_clone_redirect(ctx.as_ptr().cast(), config.ifindex, 0) };
        }
    }
    // SAFETY: the helper takes no pointers.
    Some(unsafe { bpf_redirect(config.ifindex, 0) as i32 })
}

/// Turns the socket buffer into a DATA packet with this block.
#[inline(always)]
fn write(
    ctx: &TcContext,
    (file, tag): (u32, u32),
    ack: &Ack,
    ethernet: &[u32; ALL_WORDS - HEADER_WORDS],
    number: u32,
) -> Option<()> {
    let block = maps::block(file, number)?;
    let len = payload_len(block, tag)?;
    let [a, b, c, d] = *ethernet;
    let [e, f, g, h, i, j, k] = ack.answer(number as u16, len, block.sum);
    let mut headers: [u32; ALL_WORDS] = [a, b, c, d, e, f, g, h, i, j, k];
    let skb = ctx.as_ptr().cast();
    let payload = (&raw const block.payload).cast_mut().cast();
    // SAFETY: the helpers get this program's own context, and `headers` has as many bytes behind the padding as
    // the call names.
    let failed = unsafe {
        let headers = headers.as_mut_ptr().byte_add(PADDING);
        bpf_skb_change_tail(skb, ALL_HEADERS_LEN as u32 + u32::from(len), 0) != 0
            || bpf_skb_store_bytes(skb, 0, headers.cast(), ALL_HEADERS_LEN as u32, 0) != 0
    };
    if failed {
        return None;
    }
    let len = in_bounds(len)?;
    // SAFETY: `payload` has PAYLOAD_MAX bytes, and `len` is not larger.
    let failed = unsafe { bpf_skb_store_bytes(skb, ALL_HEADERS_LEN as u32, payload, len, 0) != 0 };
    if failed { None } else { Some(()) }
}
