//! What the kernel programs cost: nanoseconds for a frame, by BPF test-run and by the kernel's own statistics.
//!
//! Two builds can be compared: each test program embeds the programs that it was built with, so run the
//! program of each commit in turn. Nothing here asserts a time.
#![expect(clippy::disallowed_methods, reason = "the cable must take its frames within a time")]

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, ProgramArray};
use aya::programs::{
    ProgramFd, ProgramInfo, SchedClassifier, TestRun as _, TestRunOptions, Xdp, loaded_programs,
};
use aya::sys::{Stats, enable_stats};
use aya::{Ebpf, EbpfLoader};
use pxe_common::abi::{Config, Transfer, TransferKey, offload};
use pxe_content::boot::{Catalogue, Config as Files, Image, Links, Source};
use pxe_engine::worker::offload_cache::{CacheLookup, KernelFile, OffloadCache};
use pxe_kit::namespace;
use pxe_nic::Queue;
use pxe_nic::offload::progress::Progress;
use pxe_nic::programs::{Mode, Programs, Transfers};
use pxe_nic::xsk::{Sizes, Tx, Xsk};
use pxe_properties::frames::{OWN, TID, config, udp, with};

/// Built from `pxe-ebpf/src/bin/timing.rs` by `cargo xtask ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../ebpf/timing.bpf.o");

const ROUNDS: usize = 5;
const RUNS: u32 = 1_000_000;
/// Frames of each kind on a cable in a round.
const FRAMES: u32 = 256_000;
/// As many as the programs of the object play.
const MACHINES: u32 = 128;
const BLKSIZE: u16 = 1468;
/// More blocks than a machine asks for in a round.
const BLOCKS: u32 = 10_000;
const CLIENT_PORT: u16 = 2070;
const GENERATION: u32 = 1;
/// Length of a DATA packet with [`BLKSIZE`] bytes.
const DATA_LEN: usize = 1514;

/// The programs of pxed in the kernel, and a transfer for each machine.
struct Kernel {
    programs: Programs,
    transfers: Transfers,
    progress: Progress,
    image: Arc<Image>,
    file: KernelFile,
    _cache: OffloadCache,
    _catalogue: Catalogue,
    _folder: tempfile::TempDir,
}

impl Kernel {
    fn new() -> Result<Self> {
        let mut programs = Programs::load_offload(1, 4 * MACHINES, false, MACHINES)?;
        programs.load_tcx()?;
        let folder = tempfile::tempdir()?;
        let bytes: Vec<u8> = (0..u64::from(BLOCKS) * u64::from(BLKSIZE)).map(|n| (n * 7) as u8).collect();
        std::fs::write(folder.path().join("pxelinux.0"), bytes)?;
        let source = Source::Tree { root: folder.path().into(), links: Links::Stay };
        let catalogue = Catalogue::open(Files { source, memory: Some(64 << 20), ..Files::default() })?;
        let image = catalogue.load(&"pxelinux.0".parse()?)?;
        let cache = OffloadCache::new(programs.files()?, 128 << 20);
        cache.put(&image, BLKSIZE);
        let CacheLookup::Cached(file) = cache.find(&image, BLKSIZE) else {
            anyhow::bail!("the kernel has no room for the file");
        };
        let (transfers, progress) = (programs.transfers()?, programs.progress()?);
        Ok(Self {
            programs,
            transfers,
            progress,
            image,
            file,
            _cache: cache,
            _catalogue: catalogue,
            _folder: folder,
        })
    }

    fn configure(&mut self, offload: u32, ifindex: u32) -> Result<()> {
        Ok(self.programs.configure(&Config { offload, ifindex, ..config() })?)
    }

    /// Gives the transfers to the kernel, with nothing sent yet.
    fn give(&mut self) -> Result<()> {
        let last = u32::try_from(self.image.len() / u64::from(BLKSIZE) + 1)?;
        for slot in 0..MACHINES {
            let KernelFile { index: file, tag } = self.file;
            let transfer = Transfer { generation: GENERATION, file, last, windowsize: 1 };
            let (address, tid) = machine(slot);
            let key = TransferKey {
                client_addr: address.octets(),
                client_port: CLIENT_PORT.to_be_bytes(),
                server_port: tid.to_be_bytes(),
            };
            self.transfers.insert(key, slot)?;
            self.progress.name(slot, &key, &transfer, tag);
            self.progress.offload(slot, GENERATION, 1);
        }
        Ok(())
    }

    /// The blocks that the kernel has sent since [`Self::give`].
    fn sent(&self) -> u32 {
        let sent = (0..MACHINES).filter_map(|slot| self.progress.offload_progress(slot, GENERATION));
        sent.map(|reached| reached.sent - 1).sum()
    }
}

/// The address of a machine, and our TID for its transfer.
fn machine(number: u32) -> (Ipv4Addr, u16) {
    let [.., low] = number.to_be_bytes();
    (Ipv4Addr::new(10, 99, 1, low), TID + (number * 389 % 1000) as u16)
}

fn ack(number: u32, block: u16) -> Vec<u8> {
    let (address, tid) = machine(number);
    let [high, low] = block.to_be_bytes();
    let mut frame = udp((address, CLIENT_PORT), (OWN, tid), &[0, 4, high, low]);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// Frames that are none of pxed's business, as they arrive on any network.
fn foreign() -> [(&'static str, Vec<u8>); 3] {
    let frame = udp((Ipv4Addr::new(10, 99, 0, 77), 443), (OWN, 40_000), &[0; 1400]);
    let mut arp = vec![0; 60];
    arp[..6].fill(0xff);
    arp[12..14].copy_from_slice(&[8, 6]);
    [("TCP", with(&frame, 23, 6)), ("UDP", frame), ("ARP", arp)]
}

/// The object with the programs that write ACKs.
struct Timing {
    ebpf: Ebpf,
}

impl Timing {
    fn new() -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load(OBJECT)?;
        for name in ["ack", "nothing", "least"] {
            xdp(&mut ebpf, name)?.load()?;
        }
        for name in ["ack_tc", "nothing_tc"] {
            tc(&mut ebpf, name)?.load()?;
        }
        Ok(Self { ebpf })
    }

    /// Chooses what comes after the ACK, and starts each machine anew.
    fn prepare(&mut self, array: &str, program: &ProgramFd) -> Result<()> {
        let map = self.ebpf.map_mut(array).context("no program array")?;
        ProgramArray::try_from(map)?.set(0, program, 0)?;
        let map = self.ebpf.map_mut("ACKS").context("no ACKS")?;
        let mut acks: Array<_, [u8; 64]> = Array::try_from(map)?;
        for number in 0..MACHINES {
            let mut bytes = [0; 64];
            bytes[..60].copy_from_slice(&ack(number, 0));
            acks.set(number, bytes, 0)?;
        }
        Ok(())
    }

    fn run(&mut self, name: &str) -> Result<f64> {
        let (frame, options) = (ack(0, 0), TestRunOptions { repeat: RUNS, ..TestRunOptions::default() });
        let options = TestRunOptions { data_in: Some(&frame), ..options };
        let result = match name {
            "ack_tc" | "nothing_tc" => tc(&mut self.ebpf, name)?.test_run(options)?,
            _ => xdp(&mut self.ebpf, name)?.test_run(options)?,
        };
        Ok(result.duration.as_nanos() as f64)
    }
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
}

fn tc<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    Ok(ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
}

/// The program with this number.
fn by_id(id: u32) -> Result<ProgramInfo> {
    let mut programs = loaded_programs().filter_map(Result::ok);
    programs.find(|program| program.id() == id).with_context(|| format!("no program {id} in the kernel"))
}

/// The program of this name that was loaded last: this test's, unless another test starts at this moment.
fn latest(name: &str) -> Result<ProgramInfo> {
    let programs = loaded_programs().filter_map(Result::ok);
    let ours = programs.filter(|program| program.name_as_str() == Some(name)).last();
    ours.with_context(|| format!("no program {name} in the kernel"))
}

/// The samples of each row.
#[derive(Default)]
struct Rows(Vec<(String, Vec<f64>)>);

impl Rows {
    fn add(&mut self, name: &str, sample: f64) {
        match self.0.iter_mut().find(|(row, _)| row == name) {
            Some((_, samples)) => samples.push(sample),
            None => self.0.push((name.to_owned(), vec![sample])),
        }
    }

    fn print(mut self) {
        println!("{:44}{:>8}{:>8}{:>8}", "ns for a frame", "min", "median", "max");
        for (name, samples) in &mut self.0 {
            samples.sort_unstable_by(f64::total_cmp);
            let [min, median, max] = [0, samples.len() / 2, samples.len() - 1].map(|at| samples[at]);
            println!("{name:44}{min:>8.1}{median:>8.1}{max:>8.1}");
        }
    }
}

/// An answer is measured behind a program that writes an ACK. That program's own time is measured with one
/// behind it that does nothing, in the same round, and subtracted.
#[test]
#[ignore = "a measurement: cargo test -p pxe-tests --test timing -- --ignored --nocapture test_run"]
fn what_a_frame_costs_by_test_run() -> Result<()> {
    namespace::enter_new()?;
    let mut kernel = Kernel::new()?;
    let (ours, ours_tc) = (latest("pxed_offload")?.fd()?, latest("pxed_tcx")?.fd()?);
    let mut timing = Timing::new()?;
    let nothing = xdp(&mut timing.ebpf, "nothing")?.fd()?.try_clone()?;
    let least = xdp(&mut timing.ebpf, "least")?.fd()?.try_clone()?;
    let nothing_tc = tc(&mut timing.ebpf, "nothing_tc")?.fd()?.try_clone()?;
    let mut rows = Rows::default();
    for _ in 0..ROUNDS {
        rows.add("a program that does nothing", timing.run("nothing")?);
        kernel.configure(offload::XDP, 1)?;
        timing.prepare("NEXT", &nothing)?;
        let own = timing.run("ack")?;
        for (name, offload) in [("XDP answer", offload::XDP), ("XDP, to tcx", offload::TCX)] {
            kernel.configure(offload, 1)?;
            kernel.give()?;
            timing.prepare("NEXT", &ours)?;
            rows.add(name, timing.run("ack")? - own);
            let wanted = if offload == offload::XDP { RUNS } else { 0 };
            ensure!(kernel.sent() == wanted, "{} blocks were sent, not {wanted}", kernel.sent());
        }
        timing.prepare("NEXT", &least)?;
        rows.add("XDP answer without checks (the least)", timing.run("ack")? - own);
        kernel.configure(offload::XDP | offload::TCX, 1)?;
        timing.prepare("NEXT_TC", &nothing_tc)?;
        let own = timing.run("ack_tc")?;
        kernel.give()?;
        timing.prepare("NEXT_TC", &ours_tc)?;
        rows.add("tcx answer, in a buffer with room", timing.run("ack_tc")? - own);
        ensure!(kernel.sent() == RUNS, "{} blocks were sent, not {RUNS}", kernel.sent());
        for (name, frame) in foreign() {
            let time = kernel.programs.test_run_time(&frame, RUNS)?;
            rows.add(&format!("XDP, foreign {name}"), time.as_nanos() as f64);
            let time = kernel.programs.test_run_tcx_time(&frame, RUNS)?;
            rows.add(&format!("tcx, foreign {name}"), time.as_nanos() as f64);
        }
    }
    rows.print();
    Ok(())
}

/// A cable between two interfaces, with pxed's programs at one end and a sender at the other. Both ends are
/// in this namespace, which has no addresses.
struct Cable {
    kernel: Kernel,
    tx: Tx,
    near: u32,
    /// The numbers of the XDP program and of the tcx program.
    programs: [u32; 2],
    _rx: pxe_nic::xsk::Rx,
}

impl Cable {
    fn new() -> Result<Self> {
        namespace::enter_new()?;
        for line in
            ["link add timing0 type veth peer name timing1", "link set timing0 up", "link set timing1 up"]
        {
            let status = Command::new("ip").args(line.split(' ')).status()?;
            ensure!(status.success(), "ip {line} failed");
        }
        let index = |name: &str| -> Result<u32> {
            Ok(std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex"))?.trim().parse()?)
        };
        let (near, far) = (index("timing0")?, index("timing1")?);
        let mut kernel = Kernel::new()?;
        let programs = [latest("pxed_offload")?.id(), latest("pxed_tcx")?.id()];
        kernel.programs.attach(near, Mode::Generic)?;
        kernel.programs.attach_tcx("timing0")?;
        let socket = Xsk::open(far, Queue(0), Mode::Generic, Sizes { rx: 64, tx: 64, chunk: 2048 })?;
        Ok(Self { kernel, tx: socket.tx, near, programs, _rx: socket.rx })
    }

    /// Sends frames until the programs have seen [`FRAMES`] of them. Returns each program's time for a frame.
    fn run(&mut self, offload: u32, mut frame: impl FnMut(u32) -> Vec<u8>) -> Result<[f64; 2]> {
        self.kernel.configure(offload, self.near)?;
        self.kernel.give()?;
        let seen = |id| -> Result<(f64, f64)> {
            let info = by_id(id)?;
            Ok((info.run_time().as_nanos() as f64, info.run_count() as f64))
        };
        let before = self.programs.map(seen);
        let end = Instant::now() + Duration::from_secs(20);
        for number in 0..FRAMES {
            let frame = frame(number);
            let write = |chunk: &mut [u8]| {
                chunk[..frame.len()].copy_from_slice(&frame);
                frame.len()
            };
            while !self.tx.push(write) {
                ensure!(Instant::now() < end, "the cable takes no more frames");
                self.tx.flush();
            }
            // As few as a veth's ring has room for.
            if number % 32 == 31 {
                self.tx.flush();
            }
        }
        while self.tx.has_pending() && Instant::now() < end {
            self.tx.flush();
        }
        let after = self.programs.map(seen);
        let mut times = [0.0; 2];
        for (time, (before, after)) in times.iter_mut().zip(before.into_iter().zip(after)) {
            let ((time_before, count_before), (time_after, count_after)) = (before?, after?);
            *time = (time_after - time_before) / (count_after - count_before).max(1.0);
        }
        Ok(times)
    }
}

/// Frames over a veth in generic mode, where a buffer has no room and must be replaced. The kernel's clock
/// adds some 20 ns to each program.
#[test]
#[ignore = "a measurement: cargo test -p pxe-tests --test timing -- --ignored --nocapture cable"]
fn what_a_frame_costs_on_a_cable() -> Result<()> {
    let mut cable = Cable::new()?;
    let _statistics = enable_stats(Stats::RunTime)?;
    let acks: Vec<Vec<u8>> = (0..MACHINES).map(|number| ack(number, 0)).collect();
    let next = |number: u32, len: usize| {
        let mut frame = acks[(number % MACHINES) as usize].clone();
        frame[44..46].copy_from_slice(&((number / MACHINES + 1) as u16).to_be_bytes());
        // The sum of an ACK of 0, and of what was added to it (RFC 1624, equation 3).
        let sum = u32::from(!u16::from_be_bytes([frame[40], frame[41]])) + number / MACHINES + 1;
        frame[40..42].copy_from_slice(&(!((sum >> 16) + sum) as u16).to_be_bytes());
        frame.resize(len, 0);
        frame
    };
    let mut rows = Rows::default();
    for _ in 0..ROUNDS {
        let [xdp, _] = cable.run(offload::XDP, |number| next(number, DATA_LEN))?;
        ensure!(cable.kernel.sent() == FRAMES, "{} of {FRAMES} ACKs were answered", cable.kernel.sent());
        rows.add("XDP answer, padded ACK", xdp);
        let [xdp, tcx] = cable.run(offload::XDP | offload::TCX, |number| next(number, 60))?;
        ensure!(cable.kernel.sent() == FRAMES, "{} of {FRAMES} ACKs were answered", cable.kernel.sent());
        rows.add("XDP + tcx answer: XDP", xdp);
        rows.add("XDP + tcx answer: tcx", tcx);
        rows.add("XDP + tcx answer: both", xdp + tcx);
        for (name, frame) in foreign() {
            let [xdp, tcx] = cable.run(offload::XDP | offload::TCX, |_| frame.clone())?;
            rows.add(&format!("foreign {name}: XDP"), xdp);
            rows.add(&format!("foreign {name}: tcx"), tcx);
        }
    }
    rows.print();
    Ok(())
}
