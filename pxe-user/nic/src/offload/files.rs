//! Files in the kernel. Each file is an array map of blocks that are ready to be sent.
#![expect(unsafe_code, reason = "blocks are written through a mapping of their map")]

use std::io;
use std::os::fd::AsFd as _;

use aya::maps::{ArrayOfMaps, MapData, MapError};
use memmap2::{MmapOptions, MmapRaw};
use pxe_common::abi::{self, Block};

/// Map type `BPF_MAP_TYPE_ARRAY` (linux/bpf.h).
const ARRAY: u32 = 2;
/// `BPF_F_MMAPABLE` (Linux 5.5), and `BPF_F_INNER_MAP` (Linux 5.10): the maps inside another map may have any
/// number of entries.
const FLAGS: u32 = 1 << 10 | 1 << 12;

/// The map of files, [`MAP_FILES`](abi::MAP_FILES).
pub struct Files {
    outer: ArrayOfMaps<MapData>,
    /// The inner map at each index without a file.
    empty: MapData,
    /// A mapping of the inner map at each index, which keeps that map alive: see [`Self::hold`].
    held: Vec<Option<MmapRaw>>,
}

/// Why a file could not be put into the kernel, or removed from it.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A map could not be created or replaced: no memory, or no right.
    #[error("a map for a file: {0}")]
    Map(#[from] MapError),
    /// The map could not be mapped.
    #[error("mapping a file's map: {0}")]
    Mapping(#[from] io::Error),
}

impl Files {
    /// Takes over the outer map.
    ///
    /// # Errors
    /// The system's error, when there is no memory for the empty inner map.
    pub(crate) fn new(outer: ArrayOfMaps<MapData>) -> Result<Self, MapError> {
        let held = (0..abi::FILES_MAX).map(|_| None).collect();
        Ok(Self { outer, empty: blocks(1)?, held })
    }

    /// Puts a file of `count` blocks at the index `place`. `fill` writes each block; all bytes of a block are
    /// 0 before.
    ///
    /// # Errors
    /// [`FilesError`]; the index then holds what it held before.
    pub fn put(
        &mut self,
        place: u32,
        count: u32,
        mut fill: impl FnMut(u32, &mut Block),
    ) -> Result<(), FilesError> {
        let map = blocks(count)?;
        let len = count as usize * size_of::<Block>();
        // SAFETY: the map was created above and nothing else refers to it, so nothing else writes to it while
        // it is mapped. The kernel never shrinks it.
        let mut memory = unsafe { MmapOptions::new().len(len).map_mut(&map.fd().as_fd())? };
        // SAFETY: the mapping is aligned to a page and has room for `count` blocks. Blocks consist of
        // integers only, for which any bits are valid. The mapping is borrowed mutably.
        let blocks = unsafe { std::slice::from_raw_parts_mut(memory.as_mut_ptr().cast(), count as usize) };
        for (index, block) in (0..).zip(blocks) {
            fill(index, block);
        }
        drop(memory);
        // A mapping of one block, which takes one page, is enough to keep the map alive.
        let hold = MmapOptions::new().len(size_of::<Block>()).map_raw(&map.fd().as_fd())?;
        self.outer.set(place, &map, 0)?;
        self.hold(place, Some(hold));
        Ok(())
    }

    /// Removes the file at the index `place`. Its memory is freed when the kernel programs that use it have
    /// ended.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn clear(&mut self, place: u32) -> Result<(), FilesError> {
        self.outer.set(place, &self.empty, 0)?;
        self.hold(place, None);
        Ok(())
    }

    /// Releases the inner map that was at the index `place`, and refers to its successor instead. It must be
    /// called after the outer map's update has returned.
    ///
    /// Kernels without the fix for CVE-2023-52447 (6.1.75, 6.6.14, 6.7.2) free an inner map as soon as
    /// nothing refers to it, even while a program reads from it. But on all kernels the update of the outer
    /// map returns only when each program that may have found the old map has ended. Therefore a mapping
    /// refers to the old map until then. A descriptor would have the same effect, but the number of
    /// descriptors is more limited.
    fn hold(&mut self, place: u32, map: Option<MmapRaw>) {
        if let Some(held) = self.held.get_mut(place as usize) {
            *held = map;
        }
    }
}

fn blocks(count: u32) -> Result<MapData, MapError> {
    let value = size_of::<Block>() as u32;
    let map = aya_obj::Map::new_from_params(ARRAY, size_of::<u32>() as u32, value, count.max(1), FLAGS);
    MapData::create(map, abi::MAP_FILES, None)
}
