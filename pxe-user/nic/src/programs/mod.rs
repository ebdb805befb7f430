//! The kernel side: loads the programs, attaches them, and gives access to their maps.
//!
//! Attached by a BPF link, never by netlink: the kernel detaches it when this process ends, however it ends.

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

use super::Queue;
use super::offload::files::Files;
use super::offload::progress::Progress;
pub use error::ProgramsError;
use error::{attach_error, load_error, map_error};
pub use maps::{Copies, Transfers};

/// The object of `pxe-ebpf`: `build.rs` says which.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/pxed.bpf.o"));

/// Above this MTU a program without `xdp.frags` is refused by most drivers (measured: 3498 works, 3600 does not).
const MTU_OF_ONE_BUFFER: u32 = 3498;

/// Whether the program must be one that takes frames of several buffers, for an interface with this MTU, in bytes.
///
/// In generic mode none need be: the kernel joins the buffers for a program that takes one, as at any MTU. For the other kind
/// it copies the frame (Linux 6.9) without the length of its Ethernet header, so that tcx programs, ours and those of
/// others, are shown the frame from its IP header on.
pub fn takes_several_buffers(mode: Mode, mtu: u32) -> bool {
    mode == Mode::Native && mtu > MTU_OF_ONE_BUFFER
}

/// Where the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before a socket buffer exists.
    Native,
    /// In the network stack, on socket buffers: works everywhere.
    Generic,
}

impl Mode {
    /// The word for it in logs and options.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// The loaded program and its maps.
pub struct Programs {
    ebpf: Ebpf,
    config: Array<MapData, Config>,
    counters: PerCpuArray<MapData, u64>,
    xsks: XskMap<MapData>,
    /// Holds the XDP program on its interface.
    xdp: Option<OwnedFd>,
    /// Holds the tcx program.
    tcx: Option<FdLink>,
    program: &'static str,
    slots: u32,
}

impl Programs {
    /// Loads the program for an interface with this many receive queues, with room for `transfers` transfers; for frames of
    /// several buffers (see [`takes_several_buffers`]) or of one. It does nothing until it is attached.
    ///
    /// # Errors
    /// [`ProgramsError`]: no rights, a kernel that is too old, or a build without the object.
    pub fn load(queues: u32, transfers: u32, several_buffers: bool) -> Result<Self, ProgramsError> {
        let program = if several_buffers { abi::PROGRAM_FRAGS } else { abi::PROGRAM };
        Self::load_with(program, queues, transfers, 1)
    }

    /// The same with the kernel offload, for `slots` transfers at a time over all workers.
    ///
    /// # Errors
    /// As [`Self::load`]; the offload needs Linux 5.18.
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
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(abi::MAP_XSKS, queues.max(1))
            .map_max_entries(abi::MAP_TRANSFERS, transfers.max(1))
            .map_max_entries(abi::MAP_PROGRESS, slots.max(1))
            .override_global(aya_log::LEVEL, &level, true)
            .load(OBJECT)
            .map_err(|error| ProgramsError::Load(Box::new(error)))?;
        self::program::<Xdp>(&mut ebpf, program)?.load().map_err(load_error)?;
        Ok(Self {
            config: take(&mut ebpf, abi::MAP_CONFIG)?,
            counters: take(&mut ebpf, abi::MAP_COUNTERS)?,
            xsks: take(&mut ebpf, abi::MAP_XSKS)?,
            ebpf,
            xdp: None,
            tcx: None,
            program,
            slots: slots.max(1),
        })
    }

    /// Attaches the program to an interface.
    ///
    /// # Errors
    /// [`ProgramsError::Busy`] when another program is there, [`ProgramsError::Attach`] when the driver cannot.
    pub fn attach(&mut self, interface: u32, mode: Mode) -> Result<(), ProgramsError> {
        let xdp: &mut Xdp = program(&mut self.ebpf, self.program)?;
        let made = link::create(xdp.fd()?.as_fd(), interface, mode);
        self.xdp = Some(made.map_err(|error| attach_error(mode, error))?);
        Ok(())
    }

    /// Puts the program in the place of the one that `link` holds: an interface in this mode is never without one.
    ///
    /// # Errors
    /// [`ProgramsError::Attach`]; the link is gone then, and its program with it.
    pub fn replace(&mut self, link: OwnedFd, mode: Mode) -> Result<(), ProgramsError> {
        let xdp: &mut Xdp = program(&mut self.ebpf, self.program)?;
        let updated = link::update(link.as_fd(), xdp.fd()?.as_fd());
        updated.map_err(|source| ProgramsError::Attach { mode, source })?;
        self.xdp = Some(link);
        Ok(())
    }

    /// The link that holds the XDP program: who has it keeps the program where it is.
    pub fn link(&self) -> Option<BorrowedFd<'_>> {
        self.xdp.as_ref().map(|link| link.as_fd())
    }

    /// Loads the offload's second half without attaching it.
    ///
    /// # Errors
    /// [`ProgramsError`].
    pub fn load_tcx(&mut self) -> Result<(), ProgramsError> {
        program::<SchedClassifier>(&mut self.ebpf, abi::PROGRAM_TCX)?.load().map_err(load_error)
    }

    /// Attaches the offload's second half, which is loaded, in front of other tcx programs of the interface called `name`.
    ///
    /// # Errors
    /// [`ProgramsError`]: tcx needs Linux 6.6.
    pub fn attach_tcx(&mut self, name: &str) -> Result<(), ProgramsError> {
        let tcx: &mut SchedClassifier = program(&mut self.ebpf, abi::PROGRAM_TCX)?;
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = tcx.attach_with_options(name, TcAttachType::Ingress, options)?;
        let link = tcx.take_link(id)?;
        self.tcx = Some(FdLink::try_from(link).map_err(|_| ProgramsError::NoLink)?);
        Ok(())
    }

    /// Tells the program about its interface.
    ///
    /// # Errors
    /// [`ProgramsError::Map`].
    pub fn configure(&mut self, config: &Config) -> Result<(), ProgramsError> {
        self.config.set(0, config, 0).map_err(map_error(abi::MAP_CONFIG))
    }

    /// Sends the frames of a queue to a socket.
    ///
    /// # Errors
    /// [`ProgramsError::Map`].
    pub fn connect(&mut self, queue: Queue, socket: &impl AsRawFd) -> Result<(), ProgramsError> {
        self.xsks.set(queue.0, socket.as_raw_fd(), 0).map_err(map_error(abi::MAP_XSKS))
    }

    /// A handle to the map of transfers; each worker has its own.
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

    /// How far the kernel is with each transfer.
    ///
    /// # Errors
    /// [`ProgramsError::Mapping`], [`ProgramsError::Absent`].
    pub fn progress(&self) -> Result<Progress, ProgramsError> {
        let Some(Map::Array(data)) = self.ebpf.map(abi::MAP_PROGRESS) else {
            return Err(ProgramsError::Absent(abi::MAP_PROGRESS));
        };
        Progress::map(data.fd(), self.slots).map_err(ProgramsError::Mapping)
    }

    /// The files that the kernel can send; there is one owner.
    ///
    /// # Errors
    /// [`ProgramsError::Map`], [`ProgramsError::Absent`] when it was taken already.
    pub fn files(&mut self) -> Result<Files, ProgramsError> {
        let outer: ArrayOfMaps<MapData> = take(&mut self.ebpf, abi::MAP_FILES)?;
        Files::new(outer).map_err(map_error(abi::MAP_FILES))
    }

    /// The ring buffer of copied requests; there is one reader.
    ///
    /// # Errors
    /// [`ProgramsError::Map`], [`ProgramsError::Absent`] when it was taken already.
    pub fn copies(&mut self) -> Result<Copies, ProgramsError> {
        Ok(Copies { ring: take(&mut self.ebpf, abi::MAP_COPIES)? })
    }

    /// The channel of the program's log records, for the `log` crate's logger.
    ///
    /// # Errors
    /// [`ProgramsError::Logger`].
    pub fn logger(&mut self) -> Result<EbpfLogger<&'static dyn log::Log>, ProgramsError> {
        Ok(EbpfLogger::init(&mut self.ebpf)?)
    }

    /// Every verdict's label and how often it was given, over all CPUs.
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

    /// Runs the XDP program once over `frame` in the kernel, without an interface; returns its action and what has
    /// become of the frame.
    ///
    /// # Errors
    /// [`ProgramsError::Program`].
    pub fn test_run(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>), ProgramsError> {
        test_run(program::<Xdp>(&mut self.ebpf, self.program)?, frame)
    }

    /// How long one run over `frame` takes, of so many in a row.
    ///
    /// # Errors
    /// [`ProgramsError::Program`].
    pub fn test_run_time(&mut self, frame: &[u8], runs: u32) -> Result<Duration, ProgramsError> {
        let options = TestRunOptions { data_in: Some(frame), repeat: runs, ..TestRunOptions::default() };
        Ok(program::<Xdp>(&mut self.ebpf, self.program)?.test_run(options)?.duration)
    }

    /// The same with the tcx program, which must be loaded.
    ///
    /// # Errors
    /// [`ProgramsError::Program`].
    pub fn test_run_tcx(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>), ProgramsError> {
        test_run(program::<SchedClassifier>(&mut self.ebpf, abi::PROGRAM_TCX)?, frame)
    }
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

/// A program of the object, by its name.
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

/// The most detailed level that anybody listens to: what is below it is not even written in the kernel.
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
