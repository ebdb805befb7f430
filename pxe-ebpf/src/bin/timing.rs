//! Programs that measure the daemon's programs by BPF test-run (`tests/suites/tests/timing.rs`). They are in an
//! object of their own, because the daemon does not ship them.
//!
//! A test-run repeats a program over one frame, and the daemon's program turns that frame into a DATA packet
//! at the first run. So [`ack`] and [`ack_tc`] write the next ACK into the frame, and continue with the
//! program in [`NEXT`]. The difference to a run with [`nothing`] there is that program's time.
#![no_std]
#![no_main]

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::helpers::generated::{
    bpf_skb_change_tail, bpf_skb_store_bytes, bpf_xdp_adjust_tail, bpf_xdp_store_bytes,
};
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::{Array, ProgramArray};
use aya_ebpf::programs::{TcContext, XdpContext};

/// Machines that send in turn. A power of two.
const MACHINES: u32 = 128;
/// Length of an ACK, padded as firmware sends it, in bytes.
const ACK_LEN: usize = 60;
/// Offset of the block number in an ACK.
const NUMBER: usize = 44;
/// Offset of the UDP checksum.
const CHECKSUM: usize = 40;
/// Payload of a DATA packet with 1468 bytes of data, and all its headers, in bytes.
const PAYLOAD_LEN: usize = 1472;
const HEADERS_LEN: usize = 42;

/// An ACK in the first [`ACK_LEN`] bytes, and padding.
type Ack = [u8; 64];

/// The last ACK of each machine.
#[map]
static ACKS: Array<Ack> = Array::with_max_entries(MACHINES, 0);

/// The number of runs.
#[map]
static TURN: Array<u64> = Array::with_max_entries(1, 0);

/// The program that runs after [`ack`].
#[map]
static NEXT: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The program that runs after [`ack_tc`]. A program array holds programs of one kind.
#[map]
static NEXT_TC: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// What [`least`] sends.
#[map]
static BLOCKS: Array<[u64; PAYLOAD_LEN / 8]> = Array::with_max_entries(MACHINES, 0);

/// Returns the next machine's next ACK.
#[inline(always)]
fn next() -> Option<*mut Ack> {
    let turn = TURN.get_ptr_mut(0)?;
    // SAFETY: the memory belongs to the map, and only one test-run at a time uses it.
    unsafe {
        let index = *turn as u32 & (MACHINES - 1);
        *turn += 1;
        let ack = ACKS.get_ptr_mut(index)?;
        let at = |offset: usize| ack.cast::<u8>().add(offset).cast::<[u8; 2]>();
        at(NUMBER).write((u16::from_be_bytes(at(NUMBER).read()).wrapping_add(1)).to_be_bytes());
        // RFC 1624, equation 3.
        let sum = u32::from(!u16::from_be_bytes(at(CHECKSUM).read())) + 1;
        at(CHECKSUM).write((!((sum >> 16) + sum) as u16).to_be_bytes());
        Some(ack)
    }
}

/// Writes an ACK into the frame, and continues with the program in [`NEXT`].
#[xdp]
pub fn ack(ctx: XdpContext) -> u32 {
    let Some(ack) = next() else { return xdp_action::XDP_ABORTED };
    let len = ctx.data_end() as i64 - ctx.data() as i64;
    // SAFETY: the helper gets this program's own context.
    if unsafe { bpf_xdp_adjust_tail(ctx.ctx, ACK_LEN as i32 - len as i32) } != 0 {
        return xdp_action::XDP_ABORTED;
    }
    let (data, end) = (ctx.data(), ctx.data_end());
    if data + ACK_LEN > end {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: the frame has 60 bytes (checked above), an ACK has 64. A test-run's frame is aligned.
    unsafe {
        for word in 0..ACK_LEN / 4 {
            (data as *mut u32).add(word).write(ack.cast::<u32>().add(word).read());
        }
        NEXT.tail_call(&ctx, 0);
    }
    xdp_action::XDP_ABORTED
}

/// The same at tcx. The buffer stays as large as the first answer has made it.
#[classifier]
pub fn ack_tc(ctx: TcContext) -> i32 {
    let Some(ack) = next() else { return TC_ACT_SHOT };
    let skb = ctx.as_ptr().cast();
    // SAFETY: the helpers get this program's own context, and an ACK has more bytes than the call names.
    unsafe {
        if bpf_skb_change_tail(skb, ACK_LEN as u32, 0) != 0
            || bpf_skb_store_bytes(skb, 0, ack.cast(), ACK_LEN as u32, 0) != 0
        {
            return TC_ACT_SHOT;
        }
        NEXT_TC.tail_call(&ctx, 0);
    }
    TC_ACT_SHOT
}

/// Does nothing.
#[xdp]
pub fn nothing(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Does nothing, at tcx.
#[classifier]
pub fn nothing_tc(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// The least that an answer in XDP can be: the frame grows, its headers change, and a block is copied.
/// Nothing is checked, found or counted.
#[xdp]
pub fn least(ctx: XdpContext) -> u32 {
    let Some(turn) = TURN.get(0) else { return xdp_action::XDP_ABORTED };
    let Some(block) = BLOCKS.get(*turn as u32 & (MACHINES - 1)) else { return xdp_action::XDP_ABORTED };
    let len = ctx.data_end() as i64 - ctx.data() as i64;
    // SAFETY: the helper gets this program's own context.
    if unsafe { bpf_xdp_adjust_tail(ctx.ctx, (HEADERS_LEN + PAYLOAD_LEN) as i32 - len as i32) } != 0 {
        return xdp_action::XDP_ABORTED;
    }
    let (data, end) = (ctx.data(), ctx.data_end());
    if data + HEADERS_LEN > end {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: the frame has 42 bytes (checked above), and a test-run's frame is aligned. A block has as many
    // bytes as the call names.
    let failed = unsafe {
        for word in 0..HEADERS_LEN / 4 {
            let word = (data as *mut u32).add(word);
            word.write_volatile(word.read_volatile().swap_bytes());
        }
        let block = core::ptr::from_ref(block).cast_mut().cast();
        bpf_xdp_store_bytes(ctx.ctx, HEADERS_LEN as u32, block, PAYLOAD_LEN as u32) != 0
    };
    if failed { xdp_action::XDP_ABORTED } else { xdp_action::XDP_TX }
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
