//! The BPF maps, with the names from `pxe_common::abi`. User space checks the names when it takes the maps.

use aya_ebpf::Global;
use aya_ebpf::bindings::{BPF_F_INNER_MAP, BPF_F_MMAPABLE};
use aya_ebpf::btf_maps::{Array as BtfArray, ArrayOfMaps};
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf, XskMap};
use aya_ebpf::programs::XdpContext;
use pxe_common::abi::{self, COPIED_MAX, Config, Copied, Progress, TransferKey};
use pxe_common::rate_limit::{Rate, Source};
use pxe_common::segment::{Asked, Broadcast, Ranks};
use pxe_common::{COUNTERS as VERDICTS, Frame, Verdict};

use crate::packet::Packet;

#[map]
pub static CONFIG: Array<Config> = Array::with_max_entries(1, 0);

#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(VERDICTS.len() as u32, 0);

/// User space sets the size to its limit of transfers. The key is [`TransferKey::to_word`].
#[map]
static TRANSFERS: HashMap<u64, u32> = HashMap::with_max_entries(8192, 0);

/// User space sets the size to the number of receive queues.
#[map]
pub static XSKS: XskMap = XskMap::with_max_entries(64, 0);

#[map]
static SOURCES: LruHashMap<Source, u64> = LruHashMap::with_max_entries(abi::SOURCES_MAX, 0);

#[map]
static RANKS: Array<Ranks> = Array::with_max_entries(1, 0);

/// The value is an [`Asked`].
#[map]
static ASKED: LruHashMap<u64, u64> = LruHashMap::with_max_entries(abi::ASKED_MAX, 0);

/// 4 MiB have room for about 2700 DHCP requests: those of a whole lab that is switched on at once, until the
/// daemon wakes up.
#[map]
static COPIES: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// User space sets the size to the number of its slots.
#[map]
pub static PROGRESS: Array<Progress> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// User space sets the size to [`HINTS_MASK`] and one.
#[map]
static HINTS: Array<u32> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// [`abi::HINTS_MASK`]. User space sets it before it loads the programs.
#[unsafe(no_mangle)]
static HINTS_MASK: Global<u32> = Global::new(0);

/// What this CPU remembers until the next timer interrupt.
#[repr(C)]
struct Tick {
    /// The kernel's count of timer interrupts at the last look at the clock.
    jiffies: u64,
    /// The time then, by `CLOCK_MONOTONIC_COARSE` in ns.
    time: u64,
    /// The count of timer interrupts when a frame last had no room for an answer.
    no_room_at: u64,
    /// The number of bytes by which that frame could not grow. A smaller block may fit all the same.
    no_room_for: i64,
}

#[map]
static TICK: PerCpuArray<Tick> = PerCpuArray::with_max_entries(1, 0);

/// A file, cut into blocks of one size. User space creates these maps, with one entry for each block.
///
/// The value is an [`abi::Block`] in the form of plain integers. If the value were a structure, Linux 6.1
/// would treat the map as another kind than the map that user space creates, which has no BTF.
type File = BtfArray<[u64; size_of::<abi::Block>() / 8], 1, { (BPF_F_MMAPABLE | BPF_F_INNER_MAP) as usize }>;

/// The files from which the kernel can send. User space sends all others.
#[btf_map]
static FILES: ArrayOfMaps<File, { abi::FILES_MAX as usize }> = ArrayOfMaps::new();

/// Returns the slot of the transfer with this key, if it is one of pxed's. If user space removes the transfer
/// at the same time, the slot may be that of another transfer.
#[inline(always)]
pub fn slot(key: u64) -> Option<u32> {
    // SAFETY: the memory belongs to the map for as long as the program runs, and any bits are valid.
    TRANSFERS.get_ptr(&key).map(|slot| unsafe { slot.read_volatile() })
}

/// Returns the slot that the transfer with this key probably has. Any answer is possible: see
/// [`abi::MAP_HINTS`].
#[inline(always)]
pub fn hint(key: u64) -> Option<u32> {
    let hint = HINTS.get_ptr(TransferKey::hash(key) & HINTS_MASK.load())?;
    // SAFETY: the pointer is to a whole element of the map, and any bits are valid. User space writes it
    // atomically.
    Some(unsafe { hint.read_volatile() })
}

/// Returns a block of a file by its number; the first block is 1.
#[inline(always)]
pub fn block(file: u32, number: u32) -> Option<&'static abi::Block> {
    FILES.get_value(file, &(number - 1)).map(|words| {
        let block: *const abi::Block = words.as_ptr().cast();
        // SAFETY: a value has the size and alignment of a block, and any bits are valid for a block. The
        // inner map is freed only after all programs that may have looked it up have ended: user space refers
        // to the inner map until the outer map's update has returned, and the update waits for these programs
        // (`pxe-user/nic/src/offload/files.rs`). User space must do this because not all kernels do it by
        // themselves.
        unsafe { &*block }
    })
}

/// Whether a source is within its rate limit. If so, this takes a token from its bucket.
#[inline(always)]
pub fn admits(rate: &Rate, source: &Source) -> bool {
    if rate.is_off() {
        return true;
    }
    // SAFETY: the helper takes no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let Some(full) = SOURCES.get_ptr_mut(source) else {
        // If the map has no room for this source, the source has no limit.
        let _ = SOURCES.insert(source, now + rate.interval, 0);
        return true;
    };
    // SAFETY: the memory belongs to the map for as long as the program runs, and any bits are valid. There is
    // no lock. Two processors at once may admit one request too many. If the entry becomes that of another
    // source meanwhile, that source gets or loses a token.
    unsafe {
        match rate.take(full.read_volatile(), now) {
            Some(next) => {
                full.write_volatile(next);
                true
            }
            None => false,
        }
    }
}

/// Whether this responder answers a broadcast. It remembers the machines of others, and needs one lookup for its own.
#[inline(always)]
pub fn is_mine(broadcast: &Broadcast) -> bool {
    let Some(ranks) = RANKS.get(0) else { return true };
    let rank = ranks.of(broadcast.mac);
    if rank == 0 {
        return true;
    }
    // SAFETY: the helper takes no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let key = abi::asked_key(broadcast.mac);
    let entry = ASKED.get_ptr_mut(&key);
    // SAFETY: the memory belongs to the map for as long as the program runs, and any bits are valid. There is no
    // lock. Two processors at once, or an entry that becomes another machine's meanwhile, may count one too few.
    let before = entry.map_or(Asked::default(), |asked| Asked(unsafe { asked.read_volatile() }));
    let (after, is_taken) = before.take(rank, broadcast.message, now);
    match entry {
        // SAFETY: as above.
        Some(entry) => unsafe { entry.write_volatile(after.0) },
        // If the map has no room for this machine, it counts as one that has not asked.
        None if after.count() > 0 => {
            let _ = ASKED.insert(key, after.0, 0);
        }
        None => {}
    }
    is_taken
}

/// Returns the time by `CLOCK_MONOTONIC_COARSE` in ns, at most two timer interrupts late: the count of
/// interrupts may advance before the clock does, on another CPU.
///
/// That clock advances with each timer interrupt, so the program asks for it once in each. To ask for it for
/// each packet took a tenth of the time of an answer. The kernel replaces the call of `bpf_jiffies64` by one
/// load.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper takes no arguments.
    let coarse = || unsafe { bpf_ktime_get_coarse_ns() };
    let Some(tick) = TICK.get_ptr_mut(0) else { return coarse() };
    // SAFETY: the helper takes no arguments. The slot belongs to this CPU alone. Where XDP and tcx can
    // interrupt each other, the time may be that of the interrupt before, and nothing else.
    unsafe {
        let jiffies = bpf_jiffies64();
        if (*tick).jiffies != jiffies {
            (*tick).time = coarse();
            (*tick).jiffies = jiffies;
        }
        (*tick).time
    }
}

/// Whether a frame on this CPU could not grow by `grow` bytes, or by fewer, since the last timer interrupt. Then
/// the next frame hardly can, and the attempt is not worth its time.
#[inline(always)]
pub fn had_no_room(grow: i32) -> bool {
    // SAFETY: as in `now`.
    TICK.get_ptr(0).is_some_and(|tick| unsafe {
        (*tick).no_room_at == bpf_jiffies64() && i64::from(grow) >= (*tick).no_room_for
    })
}

/// Records that a frame could not grow by `grow` bytes.
#[inline(always)]
pub fn set_no_room(grow: i32) {
    if let Some(tick) = TICK.get_ptr_mut(0) {
        // SAFETY: as in `now`.
        unsafe {
            (*tick).no_room_at = bpf_jiffies64();
            (*tick).no_room_for = i64::from(grow);
        }
    }
}

#[inline(always)]
pub fn count(verdict: Verdict) {
    if let Some(counter) = COUNTERS.get_ptr_mut(verdict.index()) {
        // SAFETY: the slot belongs to this CPU alone. Where XDP and tcx can interrupt each other, one count
        // may be lost, and nothing else.
        unsafe { *counter += 1 };
    }
}

/// Copies the frame into the ring buffer. Returns false if the ring buffer has no room.
///
/// The function reads the frame's bounds again, hidden from LLVM. Otherwise the verifier would check the
/// copying loop once for each path through the classifier, because it has learnt different bounds on each
/// path.
#[inline(always)]
pub fn copy(ctx: &XdpContext, queue: u32) -> bool {
    let packet = Packet::new(&XdpContext::new(core::hint::black_box(ctx.ctx)));
    let Some(mut entry) = COPIES.reserve::<Copied>(0) else { return false };
    let record = entry.as_mut_ptr();
    let mut len = 0;
    // SAFETY: `record` points to a whole `Copied` that is reserved; each index below is smaller than
    // COPIED_MAX.
    unsafe {
        let bytes = (&raw mut (*record).bytes).cast::<u8>();
        // The loop copies words first and then bytes. `bpf_xdp_load_bytes` would copy everything in one call,
        // but needs Linux 5.18.
        while len + 8 <= COPIED_MAX {
            let Some(word) = packet.read::<8>(len) else { break };
            bytes.add(len).cast::<[u8; 8]>().write_unaligned(word);
            len += 8;
        }
        for _ in 0..7 {
            let Some([byte]) = packet.read::<1>(len) else { break };
            if len >= COPIED_MAX {
                break;
            }
            bytes.add(len).write(byte);
            len += 1;
        }
        (&raw mut (*record).len).write(len as u32);
        (&raw mut (*record).queue).write(queue);
    }
    entry.submit(0);
    true
}
