//! Files in the kernel: each an array map of blocks that are ready to be sent.
#![expect(unsafe_code, reason = "blocks are written through a mapping of their map")]

use std::io;
use std::os::fd::AsFd as _;

use aya::maps::{ArrayOfMaps, MapData, MapError};
use memmap2::{MmapOptions, MmapRaw};
use pxe_common::abi::{self, Block};

/// `BPF_MAP_TYPE_ARRAY`.
const ARRAY: u32 = 2;
/// May be mapped (Linux 5.5); may have as many entries as it likes inside another map (Linux 5.10).
const FLAGS: u32 = 1 << 10 | 1 << 12;

/// The kernel's places for files.
pub struct Files {
    outer: ArrayOfMaps<MapData>,
    /// Stands in a place without a file.
    empty: MapData,
    /// A mapping of each place's map, which keeps that map alive: see [`Self::hold`].
    held: Vec<Option<MmapRaw>>,
}

/// Why a file is not in the kernel.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// There is no memory, or no right to it.
    #[error("a map for a file: {0}")]
    Map(#[from] MapError),
    /// The map cannot be mapped.
    #[error("mapping a file's map: {0}")]
    Mapping(#[from] io::Error),
}

impl Files {
    /// The places of the outer map.
    ///
    /// # Errors
    /// The system's, when there is no memory for the empty one.
    pub(crate) fn new(outer: ArrayOfMaps<MapData>) -> Result<Self, MapError> {
        let held = (0..abi::FILES_MAX).map(|_| None).collect();
        Ok(Self { outer, empty: blocks(1)?, held })
    }

    /// Puts a file of `count` blocks into a place; `fill` writes each of them, which are zero before.
    ///
    /// # Errors
    /// [`FilesError`]; then the place is as it was.
    pub fn put(
        &mut self,
        place: u32,
        count: u32,
        mut fill: impl FnMut(u32, &mut Block),
    ) -> Result<(), FilesError> {
        let map = blocks(count)?;
        let len = count as usize * size_of::<Block>();
        // SAFETY: the map was made above and nobody else knows it, so nobody else writes there while it is mapped; the
        // kernel never shrinks it.
        let mut memory = unsafe { MmapOptions::new().len(len).map_mut(&map.fd().as_fd())? };
        // SAFETY: the mapping is aligned to a page and has room for `count` blocks, which are made of integers only,
        // for which any bits are valid; it is borrowed mutably.
        let blocks = unsafe { std::slice::from_raw_parts_mut(memory.as_mut_ptr().cast(), count as usize) };
        for (index, block) in (0..).zip(blocks) {
            fill(index, block);
        }
        drop(memory);
        // One block of it, a page, is enough.
        let hold = MmapOptions::new().len(size_of::<Block>()).map_raw(&map.fd().as_fd())?;
        self.outer.set(place, &map, 0)?;
        self.hold(place, Some(hold));
        Ok(())
    }

    /// Empties a place; its memory is free when the kernel's programs that use it have ended.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn clear(&mut self, place: u32) -> Result<(), FilesError> {
        self.outer.set(place, &self.empty, 0)?;
        self.hold(place, None);
        Ok(())
    }

    /// Lets go of the map that stood in a place, now that the outer map's update has returned, and refers to its successor.
    ///
    /// Kernels before the mend of CVE-2023-52447 (6.1.75, 6.6.14, 6.7.2) free an inner map as soon as nobody refers to it, also
    /// under a program that reads from it. But on all of them the update returns only when every program has ended that may
    /// have found the old map. So a mapping refers to it until then; a descriptor would do as well, of which there are fewer.
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
