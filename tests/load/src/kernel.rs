//! The machines' steady state in the kernel: a transfer is handed over when the next packet must be the first block of a
//! window, and taken back with the first packet that reaches the socket, or when its time is out.
//!
//! What is there is the least that a machine must do: check a block's number and length, of some blocks every byte,
//! and acknowledge it (`pxe-ebpf/src/bin/load/machines.rs`). So a machine costs next to nothing, and the server is what is
//! measured. All that takes a decision stays in `pxe-clients`: the request, its options, the last block of a file with all
//! its bytes, a loss, an error.
//!
//! The program may run between any two lines of this file. So a hand-over writes the progress before the transfer, and taking
//! back zeroes the transfer before it reads the progress. An ACK that falls in between costs a time-out at most.

use anyhow::{Result, ensure};
use aya::maps::{Array, MapData};
use pxe_common::load::{BLKSIZE_MAX, MAP_PROGRESS, MAP_TRANSFERS, Progress, Transfer};
use pxe_proto::tftp::Block;
use pxe_proto::time::Timestamp;

use super::machine::Machine;
use super::programs::Attached;
use super::script::{Item, Script};

/// The shortest frame that Ethernet knows, without its checksum.
const FRAME_MIN: usize = 60;

/// The part of the machines that is in the kernel.
pub struct Kernel {
    transfers: Array<MapData, Transfer>,
    progress: Array<MapData, Progress>,
    /// Which machines' transfers the kernel has.
    handed: Vec<bool>,
    mask: u32,
    frame_len: u32,
    /// Blocks that it acknowledged, and those of them whose bytes were all compared.
    counts: [u64; 2],
}

/// Loads the programs with the only file of a script.
///
/// # Errors
/// When the script has several files, or blocks that are too large for the kernel.
pub fn load(script: &Script, machines: u32, blksize: u16) -> Result<Attached> {
    let mut files = script.items.iter().map(|item| match item {
        Item::File { versions, .. } if versions.len() == 1 => versions.first(),
        _ => None,
    });
    let first = files.next().flatten();
    let Some(file) = first.filter(|_| files.all(|file| file == first)) else {
        anyhow::bail!("machines in the kernel load one file, and nothing else")
    };
    ensure!(usize::from(blksize) <= BLKSIZE_MAX, "a block in the kernel has {BLKSIZE_MAX} bytes at most");
    Attached::load_with(machines, file, blksize)
}

impl Kernel {
    /// Nothing is handed over yet. Every byte of one of `compare` blocks is compared; frames are at least `pad` bytes long.
    ///
    /// # Errors
    /// When the kernel has other maps.
    pub fn new(attached: &mut Attached, machines: u32, compare: u32, pad: usize) -> Result<Self> {
        ensure!(compare.is_power_of_two(), "{compare} is no power of two");
        Ok(Self {
            transfers: attached.take_array(MAP_TRANSFERS)?,
            progress: attached.take_array(MAP_PROGRESS)?,
            handed: vec![false; machines as usize],
            mask: compare - 1,
            frame_len: pad.max(FRAME_MIN) as u32,
            counts: [0; 2],
        })
    }

    /// Hands a machine's transfer to the kernel, if it is in its steady state and not near its end.
    ///
    /// # Errors
    /// When a map cannot be written.
    pub fn hand_over(&mut self, index: u32, machine: &Machine, script: &Script) -> Result<()> {
        let Some((port, len, steady)) = machine.steady(script) else { return Ok(()) };
        let (have, last) = (steady.have.0, len as u64 / u64::from(steady.blksize) + 1);
        if have + 1 >= last || self.handed[index as usize] {
            return Ok(());
        }
        let progress = Progress { have: u32::try_from(have)?, ..Progress::default() };
        let transfer = Transfer {
            client_port: port.to_be_bytes(),
            server_port: steady.server_port.to_be_bytes(),
            last: u32::try_from(last)?,
            blksize: steady.blksize,
            windowsize: steady.windowsize,
            mask: self.mask,
            frame_len: self.frame_len,
            reserved: 0,
        };
        self.progress.set(index, progress, 0)?;
        self.transfers.set(index, transfer, 0)?;
        self.handed[index as usize] = true;
        Ok(())
    }

    /// Takes a machine's transfer back, if the kernel has it.
    ///
    /// # Errors
    /// When a map cannot be read or written.
    pub fn take_back(
        &mut self,
        now: Timestamp,
        index: u32,
        machine: &mut Machine,
        script: &Script,
    ) -> Result<()> {
        let Some(handed) = self.handed.get_mut(index as usize).filter(|handed| **handed) else {
            return Ok(());
        };
        *handed = false;
        self.transfers.set(index, Transfer::default(), 0)?;
        let progress = self.resume(now, index, machine, script)?;
        self.counts[1] += u64::from(progress.compared);
        Ok(())
    }

    /// Tells a machine how far the kernel has come with its transfer, which stays there.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn look(&mut self, now: Timestamp, index: u32, machine: &mut Machine, script: &Script) -> Result<()> {
        if self.handed[index as usize] {
            self.resume(now, index, machine, script)?;
        }
        Ok(())
    }

    fn resume(
        &mut self,
        now: Timestamp,
        index: u32,
        machine: &mut Machine,
        script: &Script,
    ) -> Result<Progress> {
        let progress = self.progress.get(&index, 0)?;
        let before = machine.counters.data_frames;
        machine.resume(now, script, Block(progress.have.into()), progress.in_window as u16);
        self.counts[0] += machine.counters.data_frames - before;
        Ok(progress)
    }

    /// Blocks that the kernel acknowledged, and those of them whose bytes were all compared.
    pub fn counts(&self) -> [u64; 2] {
        self.counts
    }
}
