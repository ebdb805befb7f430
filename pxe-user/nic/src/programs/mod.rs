//! Loads the kernel programs, attaches them to interfaces, and gives access to their maps.
//!
//! A BPF link attaches each program, never netlink: the kernel detaches the program when this process ends
//! for any reason.

mod error;
mod link;
mod maps;

use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use aya::maps::{Array, ArrayOfMaps, HashMap, Map, MapData, MapError, PerCpuArray, XskMap};
use aya::programs::links::{FdLink, LinkOrder};
use aya::programs::tc::TcAttachOptions;
use aya::programs::{
    Program, ProgramError, SchedClassifier, TcAttachType, TestRun, TestRunOptions, TestRunResult, Xdp,
};
use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use pxe_common::COUNTERS;
use pxe_common::abi::{self, Config};
use pxe_common::segment::Ranks;

use super::Queue;
use super::offload::files::Files;
use super::offload::progress::Progress;
pub use error::ProgramsError;
use error::{attach_error, load_error, map_error};
pub use maps::{Copies, Transfers};

/// The object with the programs of `pxe-ebpf`, which `build.rs` has copied.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/pxed.bpf.o"));

/// Largest MTU for frames in one buffer. Above it most drivers reject a program without `xdp.frags`
/// (measured: 3498 works, 3600 does not).
const MTU_OF_ONE_BUFFER: u32 = 3498;

/// Whether an interface with this MTU (in bytes) needs the program that takes frames of several buffers.
///
/// In generic mode this is never so: at any MTU, the kernel joins the buffers for a program that takes one.
/// For a program that takes several buffers, the kernel copies the frame (Linux 6.9) without the length of
/// its Ethernet header. Then tcx programs, pxed's and others, see the frame from its IP header on.
pub fn takes_several_buffers(mode: Mode, mtu: u32) -> bool {
    mode == Mode::Native && mtu > MTU_OF_ONE_BUFFER
}

/// Where the XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before a socket buffer exists.
    Native,
    /// In the network stack, on socket buffers. This works on all interfaces.
    Generic,
}

impl Mode {
    /// Returns the mode's name for logs and options.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// The loaded programs of one interface, and their maps.
pub struct Programs {
    ebpf: Ebpf,
    config: Array<MapData, Config>,
    ranks: Array<MapData, Ranks>,
    counters: PerCpuArray<MapData, u64>,
    xsks: XskMap<MapData>,
    /// The link that keeps the XDP program on its interface; `None` while it is not attached.
    xdp: Option<OwnedFd>,
    /// The link that keeps the tcx program on its interface; `None` while it is not attached.
    tcx: Option<FdLink>,
    program: &'static str,
    slots: u32,
}

impl Programs {
    /// Loads the XDP program for an interface with `queues` receive queues, with room for `transfers`
    /// transfers. `several_buffers` selects the program for frames of several buffers (see
    /// [`takes_several_buffers`]). The program does nothing until it is attached.
    ///
    /// # Errors
    /// [`ProgramsError`]: a right is missing, the kernel is too old, or the build has no object.
    pub fn load(queues: u32, transfers: u32, several_buffers: bool) -> Result<Self, ProgramsError> {
        let program = if several_buffers { abi::PROGRAM_FRAGS } else { abi::PROGRAM };
        Self::load_with(program, queues, transfers, 1)
    }

    /// Loads the XDP program with the kernel offload, for at most `slots` offloaded transfers at a time over
    /// all workers.
    ///
    /// # Errors
    /// As [`Self::load`]. The offload needs Linux 5.18.
    pub fn load_offload(
        queues: u32,
        transfers: u32,
        several_buffers: bool,
        slots: u32,
    ) -> Result<Self, ProgramsError> {
        let program = if several_buffers { abi::PROGRAM_OFFLOAD_FRAGS } else { abi::PROGRAM_OFFLOAD };
        Self::load_with(program, queues, transfers, slots)
    }

    fn load_with(
        program: &'static str,
        queues: u32,
        transfers: u32,
        slots: u32,
    ) -> Result<Self, ProgramsError> {
        let level = log_level();
        let hints = hints(slots);
        let mask = hints - 1;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(abi::MAP_XSKS, queues.max(1))
            .map_max_entries(abi::MAP_TRANSFERS, transfers.max(1))
            .map_max_entries(abi::MAP_PROGRESS, slots.max(1))
            .map_max_entries(abi::MAP_HINTS, hints)
            .override_global(abi::HINTS_MASK, &mask, true)
            .override_global(aya_log::LEVEL, &level, true)
            .load(OBJECT)
            .map_err(|error| ProgramsError::Load(Box::new(error)))?;
        self::program::<Xdp>(&mut ebpf, program)?.load().map_err(load_error)?;
        Ok(Self {
            config: take(&mut ebpf, abi::MAP_CONFIG)?,
            ranks: take(&mut ebpf, abi::MAP_RANKS)?,
            counters: take(&mut ebpf, abi::MAP_COUNTERS)?,
            xsks: take(&mut ebpf, abi::MAP_XSKS)?,
            ebpf,
            xdp: None,
            tcx: None,
            program,
            slots: slots.max(1),
        })
    }

    /// Attaches the XDP program to the interface with this index.
    ///
    /// # Errors
    /// [`ProgramsError::Busy`] when another program is attached, [`ProgramsError::Attach`] when the driver
    /// cannot run the program.
    pub fn attach(&mut self, interface: u32, mode: Mode) -> Result<(), ProgramsError> {
        let xdp: &mut Xdp = program(&mut self.ebpf, self.program)?;
        let made = link::create(xdp.fd()?.as_fd(), interface, mode);
        self.xdp = Some(made.map_err(|error| attach_error(mode, error))?);
        Ok(())
    }

    /// Replaces the program that `link` holds by this one. The interface, in the same mode, always has one of
    /// the two programs.
    ///
    /// # Errors
    /// [`ProgramsError::Attach`]. The link is then closed, and the program that it held is detached unless
    /// another process holds the link too.
    pub fn replace(&mut self, link: OwnedFd, mode: Mode) -> Result<(), ProgramsError> {
        let xdp: &mut Xdp = program(&mut self.ebpf, self.program)?;
        let updated = link::update(link.as_fd(), xdp.fd()?.as_fd());
        updated.map_err(|source| ProgramsError::Attach { mode, source })?;
        self.xdp = Some(link);
        Ok(())
    }

    /// The link of the XDP program; `None` while it is not attached. The program stays attached for as long
    /// as a process has the link open.
    pub fn link(&self) -> Option<BorrowedFd<'_>> {
        self.xdp.as_ref().map(|link| link.as_fd())
    }

    /// Loads the second half of the offload, the tcx program, without attaching it.
    ///
    /// # Errors
    /// [`ProgramsError`].
    pub fn load_tcx(&mut self) -> Result<(), ProgramsError> {
        program::<SchedClassifier>(&mut self.ebpf, abi::PROGRAM_TCX)?.load().map_err(load_error)
    }

    /// Attaches the tcx program, which must be loaded, before all other tcx programs of the interface called
    /// `name`.
    ///
    /// # Errors
    /// [`ProgramsError`]. tcx needs Linux 6.6.
    pub fn attach_tcx(&mut self, name: &str) -> Result<(), ProgramsError> {
        let tcx: &mut SchedClassifier = program(&mut self.ebpf, abi::PROGRAM_TCX)?;
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = tcx.attach_with_options(name, TcAttachType::Ingress, options)?;
        let link = tcx.take_link(id)?;
        self.tcx = Some(FdLink::try_from(link).map_err(|_| ProgramsError::NoLink)?);
        Ok(())
    }

    /// Writes the configuration for the interface, which the programs read for each packet.
    ///
    /// # Errors
    /// [`ProgramsError::Map`].
    pub fn configure(&mut self, config: &Config) -> Result<(), ProgramsError> {
        self.config.set(0, config, 0).map_err(map_error(abi::MAP_CONFIG))
    }

    /// Writes which machines of the segment are ours. The programs look at it only if [`Config::shared`] is 1.
    ///
    /// A program that runs meanwhile may see some buckets as before and some as after, which is as if the packets
    /// had come in another order.
    ///
    /// # Errors
    /// [`ProgramsError::Map`].
    pub fn set_ranks(&mut self, ranks: &Ranks) -> Result<(), ProgramsError> {
        self.ranks.set(0, ranks, 0).map_err(map_error(abi::MAP_RANKS))
    }

    /// Connects a receive queue to its AF_XDP socket: the program redirects the queue's frames to it.
    ///
    /// # Errors
    /// [`ProgramsError::Map`].
    pub fn connect(&mut self, queue: Queue, socket: &impl AsRawFd) -> Result<(), ProgramsError> {
        self.xsks.set(queue.0, socket.as_raw_fd(), 0).map_err(map_error(abi::MAP_XSKS))
    }

    /// Returns a handle to the map of transfers. Each worker has its own handle.
    ///
    /// # Errors
    /// [`ProgramsError::Map`], [`ProgramsError::Absent`].
    pub fn transfers(&self) -> Result<Transfers, ProgramsError> {
        let Some(Map::HashMap(data)) = self.ebpf.map(abi::MAP_TRANSFERS) else {
            return Err(ProgramsError::Absent(abi::MAP_TRANSFERS));
        };
        let copy = |data: &MapData| -> Result<MapData, MapError> {
            let fd: OwnedFd = data.fd().as_fd().try_clone_to_owned().map_err(MapError::IoError)?;
            MapData::from_fd(fd)
        };
        let data = copy(data).map_err(map_error(abi::MAP_TRANSFERS))?;
        let map = HashMap::try_from(Map::HashMap(data)).map_err(map_error(abi::MAP_TRANSFERS))?;
        Ok(Transfers { map })
    }

    /// Maps the kernel's progress with each transfer.
    ///
    /// # Errors
    /// [`ProgramsError::Mapping`], [`ProgramsError::Absent`].
    pub fn progress(&self) -> Result<Progress, ProgramsError> {
        let fd = |name| match self.ebpf.map(name) {
            Some(Map::Array(data)) => Ok(data.fd()),
            _ => Err(ProgramsError::Absent(name)),
        };
        let (progress, hints) =
            ((fd(abi::MAP_PROGRESS)?, self.slots), (fd(abi::MAP_HINTS)?, hints(self.slots)));
        Progress::map(progress, hints).map_err(ProgramsError::Mapping)
    }

    /// Returns the map of the files that the kernel can send. It has one owner.
    ///
    /// # Errors
    /// [`ProgramsError::Map`]; [`ProgramsError::Absent`] when the map was taken before.
    pub fn files(&mut self) -> Result<Files, ProgramsError> {
        let outer: ArrayOfMaps<MapData> = take(&mut self.ebpf, abi::MAP_FILES)?;
        Files::new(outer).map_err(map_error(abi::MAP_FILES))
    }

    /// Returns the ring buffer of copied requests. It has one reader.
    ///
    /// # Errors
    /// [`ProgramsError::Map`]; [`ProgramsError::Absent`] when the ring buffer was taken before.
    pub fn copies(&mut self) -> Result<Copies, ProgramsError> {
        Ok(Copies { ring: take(&mut self.ebpf, abi::MAP_COPIES)? })
    }

    /// Returns the logger that forwards the kernel programs' log records to the `log` crate.
    ///
    /// # Errors
    /// [`ProgramsError::Logger`].
    pub fn logger(&mut self) -> Result<EbpfLogger<&'static dyn log::Log>, ProgramsError> {
        Ok(EbpfLogger::init(&mut self.ebpf)?)
    }

    /// Returns each verdict's label and how often it occurred, summed over all CPUs.
    ///
    /// # Errors
    /// [`ProgramsError::Map`].
    pub fn counters(&self) -> Result<Vec<(&'static str, u64)>, ProgramsError> {
        let count = |(verdict, label): &(pxe_common::Verdict, &'static str)| {
            let per_cpu = self.counters.get(&verdict.index(), 0).map_err(map_error(abi::MAP_COUNTERS))?;
            Ok((*label, per_cpu.iter().sum()))
        };
        COUNTERS.iter().map(count).collect()
    }

    /// Runs the XDP program once over `frame` in the kernel, without an interface. Returns the program's
    /// action and the frame after the run.
    ///
    /// # Errors
    /// [`ProgramsError::Program`].
    pub fn test_run(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>), ProgramsError> {
        test_run(program::<Xdp>(&mut self.ebpf, self.program)?, frame)
    }

    /// Returns how long one run over `frame` takes, as the mean of `runs` runs in a row.
    ///
    /// # Errors
    /// [`ProgramsError::Program`].
    pub fn test_run_time(&mut self, frame: &[u8], runs: u32) -> Result<Duration, ProgramsError> {
        test_run_time(program::<Xdp>(&mut self.ebpf, self.program)?, frame, runs)
    }

    /// Runs the tcx program, which must be loaded, once over `frame`: see [`Self::test_run`].
    ///
    /// # Errors
    /// [`ProgramsError::Program`].
    pub fn test_run_tcx(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>), ProgramsError> {
        test_run(program::<SchedClassifier>(&mut self.ebpf, abi::PROGRAM_TCX)?, frame)
    }

    /// Returns how long one run of the tcx program over `frame` takes: see [`Self::test_run_time`].
    ///
    /// # Errors
    /// [`ProgramsError::Program`].
    pub fn test_run_tcx_time(&mut self, frame: &[u8], runs: u32) -> Result<Duration, ProgramsError> {
        test_run_time(program::<SchedClassifier>(&mut self.ebpf, abi::PROGRAM_TCX)?, frame, runs)
    }
}

fn test_run_time<P>(program: &P, frame: &[u8], runs: u32) -> Result<Duration, ProgramsError>
where
    P: for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = TestRunResult>,
{
    let options = TestRunOptions { data_in: Some(frame), repeat: runs, ..TestRunOptions::default() };
    Ok(program.test_run(options)?.duration)
}

/// The number of hints for this many slots: a power of two, and at least four times as many, so that few
/// transfers share a hint.
fn hints(slots: u32) -> u32 {
    slots.max(1).saturating_mul(4).checked_next_power_of_two().unwrap_or(1 << 31)
}

fn test_run<P>(program: &P, frame: &[u8]) -> Result<(u32, Vec<u8>), ProgramsError>
where
    P: for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = TestRunResult>,
{
    let mut out = vec![0; frame.len() + 2048];
    let options =
        TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
    let result = program.test_run(options)?;
    out.truncate(result.data_size_out as usize);
    Ok((result.return_value, out))
}

/// Returns a program of the object by its name.
fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, ProgramsError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    Ok(ebpf.program_mut(name).ok_or(ProgramsError::Absent(name))?.try_into()?)
}

fn take<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, ProgramsError> {
    let map = ebpf.take_map(name).ok_or(ProgramsError::Absent(name))?;
    T::try_from(map).map_err(map_error(name))
}

/// Returns the most detailed log level that is enabled. The kernel programs do not even write records below
/// it.
fn log_level() -> u8 {
    use tracing::level_filters::LevelFilter;
    let level = match LevelFilter::current() {
        LevelFilter::TRACE => aya_log::Level::Trace,
        LevelFilter::DEBUG => aya_log::Level::Debug,
        LevelFilter::INFO => aya_log::Level::Info,
        LevelFilter::WARN => aya_log::Level::Warn,
        _ => aya_log::Level::Error,
    };
    level as u8
}
