//! The maps, by the names of `pxe_common::abi` (checked by user space when it takes them).

use aya_ebpf::bindings::{BPF_F_INNER_MAP, BPF_F_MMAPABLE};
use aya_ebpf::btf_maps::{Array as BtfArray, ArrayOfMaps};
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf, XskMap};
use aya_ebpf::programs::XdpContext;
use pxe_common::abi::{self, COPIED_MAX, Config, Copied, Progress, Transfer, TransferKey};
use pxe_common::rate_limit::{Rate, Source};
use pxe_common::{COUNTERS as VERDICTS, Frame, Verdict};

use crate::packet::Packet;

#[map]
pub static CONFIG: Array<Config> = Array::with_max_entries(1, 0);

#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(VERDICTS.len() as u32, 0);

/// Size set by user space to its transfer limit.
#[map]
static TRANSFERS: HashMap<TransferKey, Transfer> = HashMap::with_max_entries(8192, 0);

/// Size set by user space to the number of receive queues.
#[map]
pub static XSKS: XskMap = XskMap::with_max_entries(64, 0);

#[map]
static SOURCES: LruHashMap<Source, u64> = LruHashMap::with_max_entries(abi::SOURCES_MAX, 0);

/// 2700 DHCP requests: a whole lab that is switched on at once, until the daemon wakes up.
#[map]
static COPIES: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// Size set by user space to the number of its slots.
#[map]
pub static PROGRESS: Array<Progress> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// A file, cut into blocks of one size. User space makes these maps, with as many entries as there are blocks.
///
/// The value is an [`abi::Block`], as plain words: Linux 6.1 takes a map without BTF, as user space makes it, for another
/// kind than one whose value is a structure.
type File = BtfArray<[u64; size_of::<abi::Block>() / 8], 1, { (BPF_F_MMAPABLE | BPF_F_INNER_MAP) as usize }>;

/// Files that the kernel can send from; what is not there is user space's.
#[btf_map]
static FILES: ArrayOfMaps<File, { abi::FILES_MAX as usize }> = ArrayOfMaps::new();

/// The transfer of a packet, if it is ours.
#[inline(always)]
pub fn transfer(key: &TransferKey) -> Option<&'static Transfer> {
    // SAFETY: the memory stays the map's and any bits are valid. An entry that is replaced or removed meanwhile may become
    // another transfer's while we read: so what is in it counts only if the slot that it names says the same key and
    // the same file (`offload::Step::of`).
    TRANSFERS.get_ptr(key).map(|entry| unsafe { &*entry })
}

/// A block of a file, by its number from 1 on.
#[inline(always)]
pub fn block(file: u32, number: u32) -> Option<&'static abi::Block> {
    FILES.get_value(file, &(number - 1)).map(|words| {
        let block: *const abi::Block = words.as_ptr().cast();
        // SAFETY: a value has the size and alignment of a block, all of whose bits are valid; the inner map is freed only after
        // all programs that may have looked it up have ended: user space refers to it until the outer map's update, which
        // waits for them, has returned (`pxe-user/nic/src/offload/files.rs`). Not all kernels see to that by themselves.
        unsafe { &*block }
    })
}

/// Whether a source keeps to its rate; takes a token if it does.
#[inline(always)]
pub fn admits(rate: &Rate, source: &Source) -> bool {
    if rate.is_off() {
        return true;
    }
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let Some(full) = SOURCES.get_ptr_mut(source) else {
        // Where there is no room even for this one, there is no limit.
        let _ = SOURCES.insert(source, now + rate.interval, 0);
        return true;
    };
    // SAFETY: the memory stays the map's and any bits are valid. There is no lock: two processors may admit one more
    // together, and where the entry becomes another source's meanwhile, that one gets or loses a token.
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

#[inline(always)]
pub fn count(verdict: Verdict) {
    if let Some(counter) = COUNTERS.get_ptr_mut(verdict.index()) {
        // SAFETY: the slot is this CPU's own. Where XDP and tcx can interrupt each other, a count may be lost, no more.
        unsafe { *counter += 1 };
    }
}

/// Copies the frame into the ring buffer; false if there was no room.
///
/// The frame's bounds are read afresh, behind LLVM's back: what the verifier learnt of them on one of the many ways
/// through the classifier would else make it walk the copying loop once for each way.
#[inline(always)]
pub fn copy(ctx: &XdpContext, queue: u32) -> bool {
    let packet = Packet::new(&XdpContext::new(core::hint::black_box(ctx.ctx)));
    let Some(mut entry) = COPIES.reserve::<Copied>(0) else { return false };
    let record = entry.as_mut_ptr();
    let mut len = 0;
    // SAFETY: `record` points to a whole reserved `Copied`; every index below is smaller than COPIED_MAX.
    unsafe {
        let bytes = (&raw mut (*record).bytes).cast::<u8>();
        // Words first: `bpf_xdp_load_bytes` would do it at once, but needs Linux 5.18.
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
