//! The machines, as far as they are in the kernel: checks a DATA packet and turns it into its ACK.
//!
//! Only the block that a machine expects is acknowledged here, and only if it has the right TIDs, number and
//! length. Of some blocks (by default one of 16, of each machine others) every byte is compared with the file.
//! Everything else goes to the socket: the OACK, the last block, what is lost, repeated or wrong. There
//! `pxe-clients` judges it with all its bytes, and hands the transfer to the kernel again.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::bpf_xdp_adjust_tail;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use aya_ebpf::programs::XdpContext;
use pxe_common::load::{BLKSIZE_MAX, Block, FIRST, Progress, Transfer};

use crate::headers::{self, ACK, DATA};

/// User space sets the size to the number of machines.
#[map]
static TRANSFERS: Array<Transfer> = Array::with_max_entries(1, 0);

/// User space sets the size to the number of machines.
#[map]
static PROGRESS: Array<Progress> = Array::with_max_entries(1, 0);

/// Acknowledges a block. Returns `None` if user space must handle the packet.
#[inline(always)]
pub fn acknowledge(ctx: &XdpContext) -> Option<u32> {
    let (data, data_end) = (ctx.data(), ctx.data_end());
    let headers = headers::of(data, data_end)?;
    if !headers.is_udp() || headers.opcode != DATA {
        return None;
    }
    let index = u32::from_be_bytes(headers.to).wrapping_sub(u32::from_be_bytes(FIRST));
    let transfer = TRANSFERS.get(index)?;
    if headers.to_port != transfer.client_port || headers.from_port != transfer.server_port {
        return None;
    }
    let progress = PROGRESS.get_ptr_mut(index)?;
    // SAFETY: the pointer is to a whole element of the map. One queue's programs run one after the other, and
    // user space writes the element only while `last` is 0.
    let progress = unsafe { &mut *progress };
    if progress.returned != 0 {
        return None;
    }
    let next = progress.have + 1;
    let blksize = transfer.blksize as usize;
    let is_right = next < transfer.last
        && headers.block() == next as u16
        && headers.data_len() == blksize
        && data + headers::LEN + (blksize & 0x7ff) <= data_end;
    if !is_right {
        progress.returned = 1;
        return None;
    }
    if next.wrapping_add(index) & transfer.mask == 0 {
        if !has_bytes_of(data, data_end, progress.have, blksize) {
            progress.returned = 1;
            return None;
        }
        progress.compared += 1;
    }
    progress.have = next;
    progress.in_window += 1;
    if progress.in_window < transfer.windowsize as u32 {
        return Some(xdp_action::XDP_DROP);
    }
    progress.in_window = 0;
    headers.turn_round(0);
    headers.opcode = ACK;
    headers.write_udp_sum();
    let more = transfer.frame_len as i32 - (data_end - data) as i32;
    // SAFETY: the helper gets this program's own context. No pointer into the frame is used behind it.
    if more < 0 && unsafe { bpf_xdp_adjust_tail(ctx.ctx, more) } != 0 {
        return Some(xdp_action::XDP_ABORTED);
    }
    Some(crate::back(ctx))
}

/// Whether the DATA packet has the bytes of a block, which is counted from 0.
#[inline(always)]
fn has_bytes_of(data: usize, data_end: usize, block: u32, blksize: usize) -> bool {
    let Some(block) = crate::BLOCKS.get(block) else { return false };
    let start = data + headers::LEN;
    let words = blksize / 8;
    for word in 0..Block::LEN / 8 {
        if word >= words {
            break;
        }
        if !has_word(start + word * 8, data_end, block, word * 8) {
            return false;
        }
    }
    // The last bytes, with some that were compared already: a block has 8 bytes at least (RFC 2348).
    let last = core::hint::black_box(blksize.wrapping_sub(8));
    last <= BLKSIZE_MAX - 8 && has_word(start + last, data_end, block, last)
}

#[inline(always)]
fn has_word(at: usize, data_end: usize, block: &Block, offset: usize) -> bool {
    if at + 8 > data_end || offset > Block::LEN - 8 {
        return false;
    }
    // SAFETY: both words lie within the bounds that were just checked.
    unsafe {
        (at as *const u64).read_unaligned()
            == (&raw const *block).cast::<u8>().add(offset).cast::<u64>().read_unaligned()
    }
}
