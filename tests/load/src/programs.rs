//! The generator's own kernel programs, from an object of their own.

use std::os::fd::AsRawFd;

use anyhow::{Context as _, Result};
use aya::maps::XskMap;
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use pxe_nic::Queue;
use pxe_nic::programs::Mode;

/// Built from `pxe-ebpf/src/bin/load.rs` by `cargo xtask ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../ebpf/load.bpf.o");

/// A program of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Redirects every frame to the socket of its queue.
    TakeAll,
    /// Sends every frame back.
    Reflect,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::TakeAll => "take_all",
            Self::Reflect => "reflect",
        }
    }
}

/// A program on its interface, as long as this lives.
pub struct Attached {
    ebpf: Ebpf,
}

impl Attached {
    /// Loads a program and attaches it to an interface, by its index.
    ///
    /// # Errors
    /// When the kernel or the driver refuses it.
    pub fn new(program: Program, interface: u32, mode: Mode) -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load(OBJECT).context("loading the generator's programs")?;
        let name = program.name();
        let found = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
        let xdp: &mut Xdp = found.try_into().map_err(|error: ProgramError| error)?;
        xdp.load().with_context(|| format!("loading {name}"))?;
        let flags = match mode {
            Mode::Native => XdpMode::Driver,
            Mode::Generic => XdpMode::Skb,
        };
        xdp.attach_to_if_index(interface, flags).with_context(|| format!("attaching {name}"))?;
        Ok(Self { ebpf })
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
}
