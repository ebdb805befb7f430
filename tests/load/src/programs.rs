//! The generator's own kernel programs, from an object of their own.

use std::os::fd::AsRawFd;

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData, XskMap};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, Pod};
use pxe_common::load::{BLKSIZE_MAX, Block, MAP_BLOCKS, MAP_PROGRESS, MAP_TRANSFERS};
use pxe_nic::Queue;
use pxe_nic::programs::Mode;

/// Built from `pxe-ebpf/src/bin/load` by `cargo xtask ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../ebpf/load.bpf.o");

/// A program of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Redirects every frame to the socket of its queue.
    TakeAll,
    /// Acknowledges blocks in the steady state, and redirects all else to the socket of its queue.
    Machines,
    /// Sends every frame back.
    Reflect,
    /// Turns an ACK into the next block, by `XDP_TX`.
    CopyTx,
    /// The same, by a redirect to the interface.
    CopyRedirect,
    /// The same, at tcx ingress.
    CopyTcx,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::TakeAll => "take_all",
            Self::Machines => "machines",
            Self::Reflect => "reflect",
            Self::CopyTx => "copy_tx",
            Self::CopyRedirect => "copy_redirect",
            Self::CopyTcx => "copy_tcx",
        }
    }
}

/// The object in the kernel. A program stays on its interface as long as this lives.
pub struct Attached {
    ebpf: Ebpf,
}

impl Attached {
    /// Loads the object, with room for so many machines, and a program that sends no file.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn load(machines: u32) -> Result<Self> {
        Self::load_for(machines, 1)
    }

    fn load_for(machines: u32, blocks: u32) -> Result<Self> {
        let mut loader = EbpfLoader::new();
        for map in [MAP_TRANSFERS, MAP_PROGRESS] {
            loader.map_max_entries(map, machines.max(1));
        }
        loader.map_max_entries(MAP_BLOCKS, blocks.max(1));
        Ok(Self { ebpf: loader.load(OBJECT).context("loading the generator's programs")? })
    }

    /// The same with a file, in blocks of `blksize` bytes.
    ///
    /// # Errors
    /// As [`Self::load`], or when the file has too many blocks.
    pub fn load_with(machines: u32, file: &[u8], blksize: u16) -> Result<Self> {
        let blocks = u32::try_from(file.len().div_ceil(blksize.into()))?;
        let mut loaded = Self::load_for(machines, blocks)?;
        let mut map: Array<_, Block> =
            Array::try_from(loaded.ebpf.map_mut(MAP_BLOCKS).context("no blocks")?)?;
        for (index, bytes) in (0..).zip(file.chunks(blksize.into())) {
            let mut block = Block([0; Block::LEN]);
            let place = block.0.get_mut(..bytes.len());
            place.with_context(|| format!("a block has {BLKSIZE_MAX} bytes at most"))?.copy_from_slice(bytes);
            map.set(index, block, 0)?;
        }
        let mut len: Array<_, u64> = Array::try_from(loaded.ebpf.map_mut("FILE_LEN").context("no length")?)?;
        len.set(0, file.len() as u64, 0)?;
        Ok(loaded)
    }

    /// Attaches a program to an interface, by its index.
    ///
    /// # Errors
    /// When the kernel or the driver refuses it.
    pub fn attach(&mut self, program: Program, interface: u32, mode: Mode) -> Result<()> {
        let name = program.name();
        let found = self.ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
        if program == Program::CopyTcx {
            let tcx: &mut SchedClassifier = found.try_into().map_err(|error: ProgramError| error)?;
            tcx.load().with_context(|| format!("loading {name}"))?;
            let interface = rustix::net::netdevice::index_to_name(
                rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?,
                interface,
            )?;
            tcx.attach(&interface, TcAttachType::Ingress).with_context(|| format!("attaching {name}"))?;
            return Ok(());
        }
        let xdp: &mut Xdp = found.try_into().map_err(|error: ProgramError| error)?;
        xdp.load().with_context(|| format!("loading {name}"))?;
        let flags = match mode {
            Mode::Native => XdpMode::Driver,
            Mode::Generic => XdpMode::Skb,
        };
        xdp.attach_to_if_index(interface, flags).with_context(|| format!("attaching {name}"))?;
        Ok(())
    }

    /// Sends the frames of a queue to a socket.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn connect(&mut self, queue: Queue, socket: &impl AsRawFd) -> Result<()> {
        let map = self.ebpf.map_mut("XSKS").context("no map XSKS")?;
        let mut sockets = XskMap::try_from(map)?;
        Ok(sockets.set(queue.0, socket.as_raw_fd(), 0)?)
    }

    /// Takes an array out of the object. It can be taken once.
    ///
    /// # Errors
    /// When there is none, or it has other elements.
    pub fn take_array<T: Pod>(&mut self, name: &str) -> Result<Array<MapData, T>> {
        let map = self.ebpf.take_map(name).with_context(|| format!("no map {name}"))?;
        Ok(Array::try_from(map)?)
    }
}
