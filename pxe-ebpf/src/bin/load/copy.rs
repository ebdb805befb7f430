//! The least that a TFTP server in the kernel can do: it turns the ACK of block N into block N + 1 of an
//! array, and a request into the OACK for blocks of 1468 bytes.
//!
//! It knows no clients, no transfers and no second file, does not check what it does not need, and writes no
//! UDP checksum. So the throughput of these programs is the limit for pxed's offload at the same hook.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{
    bpf_redirect, bpf_skb_change_tail, bpf_skb_store_bytes, bpf_xdp_adjust_tail, bpf_xdp_store_bytes,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use aya_ebpf::programs::{TcContext, XdpContext};
use pxe_common::load::{BLKSIZE_MAX, Block};

use crate::headers::{self, ACK, DATA, RRQ};

/// Bytes of the file, which user space sets: how long the last block is.
#[map]
static FILE_LEN: Array<u64> = Array::with_max_entries(1, 0);

/// The OACK behind its opcode. It grants no other option, which a client must accept (RFC 2347).
const OACK: [u8; 13] = *b"blksize\x001468\0";
const OACK_OPCODE: [u8; 2] = [0, 6];

/// What a request is turned into.
enum Answer {
    /// The OACK, which fits into the frame.
    Oack,
    /// The headers of a block. Its bytes must be written behind them.
    Data(&'static Block, u16),
}

/// Changes the headers of a frame into those of its answer.
#[inline(always)]
fn answer(data: usize, data_end: usize) -> Option<Answer> {
    let headers = headers::of(data, data_end)?;
    if !headers.is_udp() {
        return None;
    }
    if headers.opcode == RRQ {
        let at = data + headers::LEN - 2;
        if at + OACK.len() > data_end {
            return None;
        }
        headers.turn_round(OACK.len() as u16 - 2);
        headers.opcode = OACK_OPCODE;
        // SAFETY: the bytes lie between `data` and `data_end`.
        unsafe { (at as *mut [u8; OACK.len()]).write_unaligned(OACK) };
        return Some(Answer::Oack);
    }
    if headers.opcode != ACK {
        return None;
    }
    let acknowledged = headers.block();
    let block = crate::BLOCKS.get(acknowledged.into())?;
    let left = *FILE_LEN.get(0)? - u64::from(acknowledged) * BLKSIZE_MAX as u64;
    let len = if left < BLKSIZE_MAX as u64 { left as u16 } else { BLKSIZE_MAX as u16 };
    headers.turn_round(len);
    headers.opcode = DATA;
    headers.block = acknowledged.wrapping_add(1).to_be_bytes();
    Some(Answer::Data(block, len))
}

/// The length less one, with bounds that the verifier knows: helpers accept no 0.
#[inline(always)]
fn in_bounds(len: u16) -> Option<u32> {
    let less = core::hint::black_box(u64::from(len).wrapping_sub(1));
    if less < BLKSIZE_MAX as u64 { Some(less as u32 + 1) } else { None }
}

/// Turns the frame into its answer; the caller sends it.
#[inline(always)]
pub fn xdp(ctx: &XdpContext) -> Option<()> {
    let (data, data_end) = (ctx.data(), ctx.data_end());
    let Answer::Data(block, len) = answer(data, data_end)? else { return Some(()) };
    let more = (headers::LEN + len as usize) as i32 - (data_end - data) as i32;
    // SAFETY: the helpers get this program's own context, `block` has as many bytes, and no pointer into the
    // frame is used behind them.
    unsafe {
        if more != 0 && bpf_xdp_adjust_tail(ctx.ctx, more) != 0 {
            return None;
        }
        let Some(len) = in_bounds(len) else { return Some(()) };
        let bytes = (&raw const *block).cast_mut().cast();
        (bpf_xdp_store_bytes(ctx.ctx, headers::LEN as u32, bytes, len) == 0).then_some(())
    }
}

/// Turns the socket buffer into its answer, and sends it.
#[inline(always)]
pub fn tcx(ctx: &TcContext) -> Option<i32> {
    let skb = ctx.as_ptr().cast();
    if let Answer::Data(block, len) = answer(ctx.data(), ctx.data_end())? {
        // SAFETY: as in `xdp`.
        unsafe {
            if bpf_skb_change_tail(skb, (headers::LEN + len as usize) as u32, 0) != 0 {
                return None;
            }
            if let Some(len) = in_bounds(len) {
                let bytes = (&raw const *block).cast_mut().cast();
                if bpf_skb_store_bytes(skb, headers::LEN as u32, bytes, len, 0) != 0 {
                    return None;
                }
            }
        }
    }
    // SAFETY: the helper takes no pointers; the pointer to the context is valid.
    Some(unsafe { bpf_redirect((*ctx.skb.skb).ifindex, 0) as i32 })
}
