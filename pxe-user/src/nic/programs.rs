//! The kernel side: loads the XDP program, attaches it, and gives access to its maps.
//!
//! Attached by a BPF link, never by netlink: the kernel detaches it when this process ends, however it ends.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf, XskMap};
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, TestRun as _, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfError, EbpfLoader};
use aya_log::EbpfLogger;
use pxe_common::COUNTERS;
use pxe_common::abi::{self, Config, Transfer, TransferKey};

use super::Queue;

/// The object, built from `pxe-ebpf` by `build.rs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/pxe-ebpf"));

/// Above this MTU a program without `xdp.frags` is refused by most drivers (measured: 3498 works, 3600 does not).
const MTU_OF_ONE_BUFFER: u32 = 3498;

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

/// Why the kernel side is not there.
#[derive(Debug, thiserror::Error)]
pub enum ProgramsError {
    /// Built with `AYA_BUILD_SKIP=1`.
    #[error("this pxed was built without its kernel program: use --datapath socket, or build it again")]
    NotBuilt,
    /// The kernel would not take the object.
    #[error(
        "the kernel refused the XDP program (it needs Linux 5.10 and CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or root): {0}"
    )]
    Load(#[source] Box<EbpfError>),
    /// The verifier said no, or the rights are missing.
    #[error(
        "the kernel refused the XDP program (it needs Linux 5.10 and CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or root): {reason}{}",
        said(.verifier)
    )]
    Refused {
        /// The system's reason. Not a `source`: the sentence has it already.
        reason: std::io::Error,
        /// The verifier's last words; the log before them may have megabytes.
        verifier: String,
    },
    /// Something else went wrong with the program.
    #[error("the XDP program: {0}")]
    Program(#[from] ProgramError),
    /// The object lacks a map or program, or a map would not take a value.
    #[error("map {name}: {source}")]
    Map {
        /// The map's name.
        name: &'static str,
        /// aya's reason.
        source: MapError,
    },
    /// The object does not have what the ABI names.
    #[error("the object has no `{0}`: pxed and its kernel program were built from different sources")]
    Absent(&'static str),
    /// Something else is attached already.
    #[error(
        "another XDP program is attached to this interface (see `ip link show`): detach it, or use --datapath socket"
    )]
    Busy,
    /// The driver has no native XDP, or not at this MTU.
    #[error("{0} XDP does not work on this interface: {1}", .mode.as_str(), .source)]
    Attach {
        /// What was tried.
        mode: Mode,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The kernel has no BPF links for XDP (before Linux 5.9).
    #[error(
        "this kernel cannot attach XDP by link (Linux 5.9), so a crash would leave it attached: use --datapath socket"
    )]
    NoLink,
    /// The kernel's log channel could not be opened.
    #[error("the kernel program's log cannot be read: {0}")]
    Logger(#[from] aya_log::Error),
}

/// The loaded program and its maps.
pub struct Programs {
    ebpf: Ebpf,
    config: Array<MapData, Config>,
    counters: PerCpuArray<MapData, u64>,
    xsks: XskMap<MapData>,
    link: Option<FdLink>,
    program: &'static str,
}

impl Programs {
    /// Loads the program for an interface with this many receive queues and this MTU (bytes), with room for
    /// `transfers` transfers. It does nothing until it is attached.
    ///
    /// # Errors
    /// [`ProgramsError`]: no rights, a kernel that is too old, or a build without the object.
    pub fn load(queues: u32, transfers: u32, mtu: u32) -> Result<Self, ProgramsError> {
        let program = if mtu > MTU_OF_ONE_BUFFER { abi::PROGRAM_FRAGS } else { abi::PROGRAM };
        Self::load_program(program, queues, transfers)
    }

    /// Loads another program of the object, by its name in [`abi`].
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_program(program: &'static str, queues: u32, transfers: u32) -> Result<Self, ProgramsError> {
        if OBJECT.is_empty() {
            return Err(ProgramsError::NotBuilt);
        }
        let level = log_level();
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(abi::MAP_XSKS, queues.max(1))
            .map_max_entries(abi::MAP_TRANSFERS, transfers.max(1))
            .override_global(aya_log::LEVEL, &level, true)
            .load(OBJECT)
            .map_err(|error| ProgramsError::Load(Box::new(error)))?;
        xdp(&mut ebpf, program)?.load().map_err(load_error)?;
        Ok(Self {
            config: take(&mut ebpf, abi::MAP_CONFIG)?,
            counters: take(&mut ebpf, abi::MAP_COUNTERS)?,
            xsks: take(&mut ebpf, abi::MAP_XSKS)?,
            ebpf,
            link: None,
            program,
        })
    }

    /// Attaches the program to an interface.
    ///
    /// # Errors
    /// [`ProgramsError::Busy`] when another program is there, [`ProgramsError::Attach`] when the driver cannot.
    pub fn attach(&mut self, interface: u32, mode: Mode) -> Result<(), ProgramsError> {
        let flags = match mode {
            Mode::Native => XdpMode::Driver,
            Mode::Generic => XdpMode::Skb,
        };
        let xdp = xdp(&mut self.ebpf, self.program)?;
        let id = match xdp.attach_to_if_index(interface, flags) {
            Ok(id) => id,
            Err(error) => return Err(attach_error(mode, error)),
        };
        // aya falls back to netlink on old kernels; such a program would outlive us.
        let link = xdp.take_link(id)?;
        self.link = Some(FdLink::try_from(link).map_err(|_| ProgramsError::NoLink)?);
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

    /// Runs the program once over `frame` in the kernel, without an interface, and returns the XDP action.
    ///
    /// # Errors
    /// [`ProgramsError::Program`].
    pub fn test_run(&mut self, frame: &[u8]) -> Result<u32, ProgramsError> {
        let mut out = vec![0; frame.len() + 256];
        let options =
            TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
        Ok(xdp(&mut self.ebpf, self.program)?.test_run(options)?.return_value)
    }
}

/// The kernel's list of our transfers.
pub struct Transfers {
    map: HashMap<MapData, TransferKey, Transfer>,
}

impl Transfers {
    /// From now on packets of this transfer come to us.
    ///
    /// # Errors
    /// [`ProgramsError::Map`] when the map is full.
    pub fn insert(&mut self, key: TransferKey, slot: u32) -> Result<(), ProgramsError> {
        self.map.insert(key, Transfer { slot }, 0).map_err(map_error(abi::MAP_TRANSFERS))
    }

    /// From now on they go to the host. A key that is not there is no error.
    pub fn remove(&mut self, key: &TransferKey) {
        let _ = self.map.remove(key);
    }
}

/// Requests that the program copied for us.
pub struct Copies {
    ring: RingBuf<MapData>,
}

impl Copies {
    /// The next copied frame.
    pub fn next(&mut self, mut take: impl FnMut(&[u8])) -> bool {
        let Some(item) = self.ring.next() else { return false };
        // A record is `abi::Copied`: length, queue, bytes. Read by offset, since the ring gives plain bytes.
        let header = std::mem::offset_of!(abi::Copied, bytes);
        if let Some(len) = item.first_chunk::<4>() {
            let len = u32::from_ne_bytes(*len) as usize;
            if let Some(frame) = item.get(header..header.saturating_add(len)) {
                take(frame);
            }
        }
        true
    }
}

impl AsFd for Copies {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, ProgramsError> {
    let program = ebpf.program_mut(name).ok_or(ProgramsError::Absent(name))?;
    Ok(program.try_into()?)
}

fn take<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, ProgramsError> {
    let map = ebpf.take_map(name).ok_or(ProgramsError::Absent(name))?;
    T::try_from(map).map_err(map_error(name))
}

fn map_error(name: &'static str) -> impl Fn(MapError) -> ProgramsError {
    move |source| ProgramsError::Map { name, source }
}

/// Keeps the end of the verifier's log, and gives all of it to whoever listens to `trace`.
fn load_error(error: ProgramError) -> ProgramsError {
    let ProgramError::LoadError { io_error, verifier_log } = error else { return error.into() };
    let log = verifier_log.to_string();
    tracing::trace!("the verifier's log:\n{log}");
    ProgramsError::Refused { reason: io_error, verifier: last_words(&log) }
}

/// The last lines of the verifier's log in one: what was wrong, then how much it had looked at.
fn last_words(log: &str) -> String {
    const LINES: usize = 4;
    let lines: Vec<_> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join("; ")
}

fn said(verifier: &str) -> String {
    if verifier.is_empty() { String::new() } else { format!("; the verifier: {verifier}") }
}

fn attach_error(mode: Mode, error: ProgramError) -> ProgramsError {
    let ProgramError::SyscallError(call) = error else { return ProgramsError::Program(error) };
    match call.io_error.raw_os_error() {
        // EEXIST: a program of the other mode; EBUSY: one of the same mode.
        Some(libc::EBUSY | libc::EEXIST) => ProgramsError::Busy,
        _ => ProgramsError::Attach { mode, source: call.io_error },
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_the_verifiers_log_is_told() {
        let log = "0: (b7) r0 = 0\n".repeat(9999) + "\ninvalid read from stack\nprocessed 3159 insns\n\n";
        let error = ProgramsError::Refused {
            reason: std::io::Error::from_raw_os_error(libc::EACCES),
            verifier: last_words(&log),
        };
        let told = error.to_string();
        assert!(told.contains("invalid read from stack; processed 3159 insns"), "{told}");
        assert!(told.len() < 400, "{told}");
    }

    #[test]
    fn without_a_log_nothing_is_said_of_it() {
        let reason = std::io::Error::from_raw_os_error(libc::EPERM);
        let told = ProgramsError::Refused { reason, verifier: last_words("") }.to_string();
        assert!(told.ends_with("(os error 1)"), "{told}");
    }
}
