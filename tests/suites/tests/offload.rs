//! The kernel offload in the kernel, by BPF test-run: byte for byte the frames that user space would have sent.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use pxe_common::abi::{self, Config, Transfer, TransferKey, offload};
use pxe_common::{Drop, Layer, Pass, Service, Verdict};
use pxe_content::boot::{Catalogue, Config as Files, FileName, Image, Links, Source};
use pxe_engine::worker::offload_cache::{CacheLookup, KernelFile, OffloadCache};
use pxe_kit::namespace;
use pxe_nic::Queue;
use pxe_nic::offload::progress::Progress;
use pxe_nic::programs::{Mode, Programs, Transfers};
use pxe_nic::xsk::{Sizes, Xsk};
use pxe_properties::frames::{CLIENT, OWN, TID, config, tagged, udp};
use pxe_proto::datagram::{Link, write_frame};
use pxe_proto::mac::Mac;
use pxe_proto::tftp::Block;
use pxe_proto::tftp::packet::data_header;

const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;
const TC_ACT_UNSPEC: u32 = u32::MAX;
const TC_ACT_SHOT: u32 = 2;
const TC_ACT_REDIRECT: u32 = 7;
const CLIENT_PORT: u16 = 2070;
const CLIENT_MAC: Mac = Mac([0x52, 0x54, 0, 0x99, 0, 0x10]);
const OWN_MAC: Mac = Mac([0x52, 0x54, 0, 0x99, 0xfe, 2]);
const SLOT: u32 = 3;
const GENERATION: u32 = 9;

/// The programs in the kernel with one transfer.
struct Kernel {
    programs: Programs,
    transfers: Transfers,
    progress: Progress,
    cache: OffloadCache,
    catalogue: Catalogue,
    folder: tempfile::TempDir,
    _socket: Xsk,
}

impl Kernel {
    fn new() -> Self {
        namespace::enter_new().unwrap();
        let mut programs = Programs::load_offload(1, 16, false, 8).unwrap();
        programs.load_tcx().unwrap();
        let socket = Xsk::open(1, Queue(0), Mode::Generic, Sizes { rx: 64, tx: 64, chunk: 2048 }).unwrap();
        programs.connect(Queue(0), &socket).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pxelinux.0"), b"boot").unwrap();
        let source = Source::Tree { root: folder.path().into(), links: Links::Stay };
        let catalogue =
            Catalogue::open(Files { source, memory: Some(64 << 20), ..Files::default() }).unwrap();
        let mut kernel = Self {
            transfers: programs.transfers().unwrap(),
            progress: programs.progress().unwrap(),
            cache: OffloadCache::new(programs.files().unwrap(), 128 << 20),
            programs,
            catalogue,
            folder,
            _socket: socket,
        };
        kernel.configure(offload::XDP);
        kernel
    }

    fn configure(&mut self, offload: u32) {
        self.programs.configure(&Config { offload, ..config() }).unwrap();
    }

    /// A file of that size, on the cache in blocks of that size.
    fn file(&mut self, size: usize, blksize: u16) -> (Arc<Image>, KernelFile) {
        let name = format!("file-{size}");
        let bytes: Vec<u8> =
            (0..size as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
        std::fs::write(self.folder.path().join(&name), bytes).unwrap();
        let name: FileName = name.parse().unwrap();
        let image = self.catalogue.load(&name).unwrap();
        assert_eq!(self.cache.find(&image, blksize), CacheLookup::Absent);
        self.cache.put(&image, blksize);
        match self.cache.find(&image, blksize) {
            CacheLookup::Cached(place) => (image, place),
            other => panic!("{other:?}"),
        }
    }

    /// The kernel has the transfer of this file, with every block up to `sent` on its way.
    fn give(&mut self, place: KernelFile, image: &Image, blksize: u16, windowsize: u32, sent: u32) {
        let last = u32::try_from(image.len() / u64::from(blksize) + 1).unwrap();
        let KernelFile { index: file, tag } = place;
        let transfer = Transfer { generation: GENERATION, file, last, windowsize };
        let key = TransferKey {
            client_addr: CLIENT.octets(),
            client_port: CLIENT_PORT.to_be_bytes(),
            server_port: TID.to_be_bytes(),
        };
        self.transfers.insert(key, SLOT).unwrap();
        self.progress.name(SLOT, &key, &transfer, tag);
        self.progress.offload(SLOT, GENERATION, sent);
    }

    fn sent(&self) -> Option<u32> {
        self.progress.offload_progress(SLOT, GENERATION).map(|reached| reached.sent)
    }

    /// Runs one of the programs; what was counted, its action, and the frame as it is then.
    fn run(&mut self, frame: &[u8], layer: Layer) -> (Verdict, u32, Vec<u8>) {
        let before = self.programs.counters().unwrap();
        let (action, frame) = match layer {
            Layer::Xdp => self.programs.test_run(frame).unwrap(),
            Layer::Tcx => self.programs.test_run_tcx(frame).unwrap(),
        };
        let after = self.programs.counters().unwrap();
        let moved = (0..after.len()).find(|&row| after[row].1 != before[row].1);
        (moved.map_or(Verdict::Pass(Pass::OtherPort), |row| pxe_common::COUNTERS[row].0), action, frame)
    }
}

/// An ACK as a machine sends it, to our own Ethernet address, padded as cards do.
fn ack(block: u16) -> Vec<u8> {
    let [high, low] = block.to_be_bytes();
    let mut frame = udp((CLIENT, CLIENT_PORT), (OWN, TID), &[0, 4, high, low]);
    frame[..6].copy_from_slice(&OWN_MAC.0);
    frame[6..12].copy_from_slice(&CLIENT_MAC.0);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// The frame that user space sends for a block.
fn data(image: &Image, blksize: u16, number: u32) -> Vec<u8> {
    let block = Block(u64::from(number));
    let start = (block.offset(blksize) as usize).min(image.bytes().len());
    let end = (start + usize::from(blksize)).min(image.bytes().len());
    let address = |(address, port): (Ipv4Addr, u16)| SocketAddrV4::new(address, port);
    let mut frame = vec![0; 2048];
    let (from, to) = (address((OWN, TID)), address((CLIENT, CLIENT_PORT)));
    let link = Link::untagged(CLIENT_MAC);
    let len =
        write_frame(&mut frame, OWN_MAC, &link, from, to, &data_header(block), &image.bytes()[start..end]);
    frame.truncate(len);
    frame
}

#[test]
fn each_block_is_the_same_to_the_byte_in_both_layers() {
    let mut kernel = Kernel::new();
    let sizes = |blksize: usize| [blksize * 3, blksize * 3 + 1, blksize * 4 - 1];
    for blksize in [8u16, 9, 511, 512, 1024, 1407, 1408, 1432, 1467, 1468] {
        for size in sizes(usize::from(blksize)) {
            let (image, place) = kernel.file(size, blksize);
            for layer in [Layer::Xdp, Layer::Tcx] {
                kernel.configure(offload::XDP | offload::TCX);
                kernel.give(place, &image, blksize, 1, 1);
                for number in 2..=4 {
                    let case = format!("{layer:?}, {size} bytes in blocks of {blksize}, block {number}");
                    let (verdict, action, frame) = kernel.run(&ack(number as u16 - 1), layer);
                    assert_eq!(verdict, Verdict::Answer(layer), "{case}");
                    assert_eq!(action, if layer == Layer::Xdp { XDP_TX } else { TC_ACT_REDIRECT }, "{case}");
                    let expected = data(&image, blksize, number);
                    assert!(frame == expected, "{case}:\n{frame:02x?}\n{expected:02x?}");
                    assert_eq!(kernel.sent(), Some(number), "{case}");
                }
                // The last ACK is user space's, and so is a repeat of an earlier one.
                for block in [4, 3] {
                    let (verdict, action, frame) = kernel.run(&ack(block), Layer::Xdp);
                    assert_eq!((verdict, action), (Verdict::Redirect(Service::TftpTransfer), XDP_REDIRECT));
                    assert_eq!(frame, ack(block));
                }
            }
        }
    }
}

#[test]
fn block_numbers_wrap() {
    let mut kernel = Kernel::new();
    let (image, place) = kernel.file(8 * 65_540, 8);
    for layer in [Layer::Xdp, Layer::Tcx] {
        kernel.configure(offload::XDP | offload::TCX);
        kernel.give(place, &image, 8, 1, 65_534);
        for number in 65_535..65_541u32 {
            let (verdict, _, frame) = kernel.run(&ack((number - 1) as u16), layer);
            assert_eq!(verdict, Verdict::Answer(layer), "{layer:?}, block {number}");
            assert!(frame == data(&image, 8, number), "{layer:?}, block {number}");
        }
    }
}

#[test]
fn a_tagged_frame_is_answered_with_its_tags() {
    let mut kernel = Kernel::new();
    let (image, place) = kernel.file(5000, 1400);
    kernel.give(place, &image, 1400, 1, 1);
    let tag = |frame: &[u8]| tagged(&tagged(frame, 0x8100, 42), 0x88a8, 7);
    let (verdict, _, frame) = kernel.run(&tag(&ack(1)), Layer::Xdp);
    assert_eq!(verdict, Verdict::Answer(Layer::Xdp));
    assert!(frame == tag(&data(&image, 1400, 2)));
}

/// Two transfers with one hash share a hint, which leads to the later one. The kernel finds the other by the
/// map of transfers, and each gets its own blocks only.
#[test]
fn transfers_with_the_same_hash_are_both_answered() {
    let mut kernel = Kernel::new();
    kernel.configure(offload::XDP | offload::TCX);
    let (image, place) = kernel.file(5000, 1400);
    let key = |port: u16| TransferKey {
        client_addr: CLIENT.octets(),
        client_port: port.to_be_bytes(),
        server_port: TID.to_be_bytes(),
    };
    // Eight slots have 32 hints.
    let hint = |port| TransferKey::hash(key(port).to_word()) & 31;
    let other = (CLIENT_PORT + 1..).find(|port| hint(*port) == hint(CLIENT_PORT)).unwrap();
    for layer in [Layer::Xdp, Layer::Tcx] {
        kernel.give(place, &image, 1400, 1, 1);
        let transfer = Transfer { generation: GENERATION, file: place.index, last: 4, windowsize: 1 };
        kernel.transfers.insert(key(other), SLOT + 1).unwrap();
        kernel.progress.name(SLOT + 1, &key(other), &transfer, place.tag);
        kernel.progress.offload(SLOT + 1, GENERATION, 2);
        let (verdict, _, frame) = kernel.run(&ack(1), layer);
        assert_eq!((verdict, kernel.sent()), (Verdict::Answer(layer), Some(2)));
        assert!(frame == data(&image, 1400, 2));
        let ack_of_other = udp((CLIENT, other), (OWN, TID), &[0, 4, 0, 2]);
        assert_eq!(kernel.run(&ack_of_other, layer).0, Verdict::Answer(layer));
        // An ACK of one transfer does not move the other.
        assert_eq!(kernel.sent(), Some(2));
        // A hint that outlives its transfer makes nothing known.
        kernel.transfers.remove(&key(other));
        kernel.progress.reclaim(SLOT + 1, GENERATION).unwrap();
        let (verdict, action, _) = kernel.run(&ack_of_other, Layer::Xdp);
        assert_eq!((verdict, action), (Verdict::Pass(Pass::UnknownTransfer), XDP_PASS));
    }
}

/// What the XDP program must leave to the tcx program, and what to user space.
#[test]
fn a_window_goes_on_to_tcx_if_there_is_one() {
    let mut kernel = Kernel::new();
    let (image, place) = kernel.file(20_000, 1024);
    kernel.give(place, &image, 1024, 4, 4);
    let (verdict, action, _) = kernel.run(&ack(4), Layer::Xdp);
    assert_eq!((verdict, action), (Verdict::Redirect(Service::TftpTransfer), XDP_REDIRECT));
    assert_eq!(kernel.sent(), Some(4), "nothing was taken");
    kernel.configure(offload::XDP | offload::TCX);
    let (verdict, action, _) = kernel.run(&ack(4), Layer::Xdp);
    assert_eq!((verdict, action), (Verdict::Pass(Pass::ToTcx), XDP_PASS));
    assert_eq!(kernel.sent(), Some(4), "nothing was taken");
    // A tagged one cannot be sent there: user space has it.
    let (verdict, ..) = kernel.run(&tagged(&ack(4), 0x8100, 42), Layer::Xdp);
    assert_eq!(verdict, Verdict::Redirect(Service::TftpTransfer));
}

/// The host must never see a packet of ours that arrives at tcx: it would answer that nobody is there.
#[test]
fn tcx_answers_or_drops_what_is_ours_and_touches_nothing_else() {
    let mut kernel = Kernel::new();
    kernel.configure(offload::XDP | offload::TCX);
    let (image, place) = kernel.file(5000, 1400);
    kernel.give(place, &image, 1400, 1, 1);
    let (verdict, action, _) = kernel.run(&ack(7), Layer::Tcx);
    assert_eq!((verdict, action), (Verdict::Drop(Drop::NotAnswered), TC_ACT_SHOT));
    let stranger = udp((CLIENT, CLIENT_PORT + 1), (OWN, TID), &[0, 4, 0, 1]);
    let other = udp((CLIENT, CLIENT_PORT), (OWN, 5353), &[0, 4, 0, 1]);
    for frame in [stranger, other] {
        let (verdict, action, after) = kernel.run(&frame, Layer::Tcx);
        assert_eq!((verdict, action), (Verdict::Pass(Pass::OtherPort), TC_ACT_UNSPEC), "nothing counted");
        assert_eq!(after, frame);
    }
    kernel.configure(offload::XDP);
    let (_, action, _) = kernel.run(&ack(1), Layer::Tcx);
    assert_eq!(action, TC_ACT_UNSPEC, "switched off");
}

/// Each of these is user space's, and leaves the transfer as it was.
#[test]
fn what_is_not_quite_an_ack_of_the_steady_state_is_user_spaces() {
    let mut kernel = Kernel::new();
    let (image, place) = kernel.file(5000, 1400);
    let redirected = Verdict::Redirect(Service::TftpTransfer);
    let from_client = |payload: &[u8]| udp((CLIENT, CLIENT_PORT), (OWN, TID), payload);
    let mut half_checksum = ack(1);
    half_checksum[40] ^= 0x55;
    let frames = [
        ("an ERROR", from_client(b"\0\x05\0\0abandoned\0")),
        ("a longer ACK", from_client(&[0, 4, 0, 1, 0])),
        ("an ACK that is cut", from_client(&[0, 4, 0])),
        ("a block that was not sent", ack(2)),
        ("a checksum that is half done", half_checksum),
    ];
    for (what, frame) in frames {
        kernel.give(place, &image, 1400, 1, 1);
        let (verdict, action, _) = kernel.run(&frame, Layer::Xdp);
        assert_eq!((verdict, action, kernel.sent()), (redirected, XDP_REDIRECT, Some(1)), "{what}");
    }
    // No checksum at all is a whole one (RFC 768).
    let mut none = ack(1);
    none[40..42].fill(0);
    kernel.give(place, &image, 1400, 1, 1);
    assert_eq!(kernel.run(&none, Layer::Xdp).0, Verdict::Answer(Layer::Xdp));
    // Taken back.
    kernel.give(place, &image, 1400, 1, 1);
    assert_eq!(kernel.progress.reclaim(SLOT, GENERATION).map(|reached| reached.sent), Some(1));
    assert_eq!(kernel.run(&ack(1), Layer::Xdp).0, redirected);
    // The entry in the kernel's list has become another transfer's while it was being read.
    kernel.give(place, &image, 1400, 1, 1);
    let other =
        TransferKey { client_addr: [10, 99, 0, 77], client_port: [8, 22], server_port: TID.to_be_bytes() };
    let transfer = Transfer { generation: GENERATION, file: place.index, last: 4, windowsize: 1 };
    kernel.progress.name(SLOT, &other, &transfer, place.tag);
    kernel.progress.offload(SLOT, GENERATION, 1);
    assert_eq!(kernel.run(&ack(1), Layer::Xdp).0, redirected);
    // Another transfer has the slot by now.
    kernel.progress.offload(SLOT, GENERATION + 1, 1);
    assert_eq!(kernel.run(&ack(1), Layer::Xdp).0, redirected);
    // Another file stands there by now, or none.
    kernel.give(KernelFile { tag: place.tag + 1, ..place }, &image, 1400, 1, 1);
    assert_eq!(kernel.run(&ack(1), Layer::Xdp).0, redirected);
    kernel.give(KernelFile { index: place.index + 1, ..place }, &image, 1400, 1, 1);
    assert_eq!(kernel.run(&ack(1), Layer::Xdp).0, redirected);
    kernel.give(KernelFile { index: abi::FILES_MAX + 1, ..place }, &image, 1400, 1, 1);
    assert_eq!(kernel.run(&ack(1), Layer::Xdp).0, redirected);
    // Switched off.
    kernel.give(place, &image, 1400, 1, 1);
    kernel.configure(0);
    assert_eq!(kernel.run(&ack(1), Layer::Xdp).0, redirected);
}

/// Memory is bounded; what nobody uses gives way, and what is in use does not.
#[test]
fn idle_files_give_way_and_others_do_not() {
    let mut kernel = Kernel::new();
    let per_block = size_of::<abi::Block>() as u64;
    kernel.cache = {
        // Another set of maps, for a cache with room for 30 blocks.
        let mut programs = Programs::load_offload(1, 16, false, 8).unwrap();
        OffloadCache::new(programs.files().unwrap(), 30 * per_block)
    };
    let (first, _) = kernel.file(1024 * 9, 1024);
    let (second, _) = kernel.file(1024 * 9 + 1, 1024);
    assert!(matches!(kernel.cache.find(&first, 1024), CacheLookup::Cached(_)), "used last");
    drop(second);
    let (third, _) = kernel.file(1024 * 14, 1024);
    assert!(matches!(kernel.cache.find(&first, 1024), CacheLookup::Cached(_)), "it is in use");
    // 10 + 15 blocks: no room for as many again while both are in use.
    kernel.cache.put(&first, 512);
    assert_eq!(kernel.cache.find(&first, 512), CacheLookup::NoRoom);
    drop(third);
    kernel.cache.tidy();
    assert_eq!(kernel.cache.find(&first, 512), CacheLookup::Absent, "another attempt is due");
    kernel.cache.put(&first, 512);
    assert!(matches!(kernel.cache.find(&first, 512), CacheLookup::Cached(_)));
}

/// Kernels before the mend of CVE-2023-52447 free an inner map as soon as nobody refers to it, though a program may still read
/// from it: something of ours must refer to it until the outer map has let go of it for good.
#[test]
fn a_files_map_is_held_until_another_has_its_place() {
    let mut kernel = Kernel::new();
    let held = || {
        let maps = std::fs::read_to_string("/proc/thread-self/maps").unwrap();
        maps.lines().filter(|line| line.contains("bpf-map")).count()
    };
    let before = held();
    let (first, _) = kernel.file(5000, 512);
    assert_eq!(held(), before + 1, "while it stands there");
    kernel.cache.put(&first, 1024);
    assert_eq!(held(), before + 2);
    drop(first);
    std::fs::write(kernel.folder.path().join("file-5000"), b"another").unwrap();
    kernel.catalogue.recheck();
    kernel.catalogue.recheck();
    kernel.cache.tidy();
    assert_eq!((held(), kernel.cache.used()), (before, 0));
}

/// Whoever asks for a file in a thousand block sizes has it cut a handful of times.
#[test]
fn a_file_is_cut_in_a_few_sizes_only() {
    let mut kernel = Kernel::new();
    let (image, _) = kernel.file(5000, 512);
    for blksize in 600..700 {
        kernel.cache.put(&image, blksize);
    }
    let found = (600..700).map(|blksize| kernel.cache.find(&image, blksize));
    let (cut, others) = found.partition::<Vec<_>, _>(|found| matches!(found, CacheLookup::Cached(_)));
    assert_eq!(cut.len(), 7);
    // Nobody asks again for what will not come.
    assert!(others.iter().all(|found| *found == CacheLookup::NoRoom), "{others:?}");
    assert_eq!(kernel.cache.find(&image, 700), CacheLookup::NoRoom);
}
