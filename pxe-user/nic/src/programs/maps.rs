//! Handles to maps of the loaded programs.

use std::os::fd::AsFd;

use aya::maps::{HashMap, MapData, RingBuf};
use pxe_common::abi::{self, TransferKey};

use super::ProgramsError;
use super::error::map_error;

/// The map of transfers: the transfers whose packets the kernel programs recognise.
pub struct Transfers {
    pub(super) map: HashMap<MapData, TransferKey, u32>,
}

impl Transfers {
    /// Adds a transfer with its slot. From now on the program redirects its packets to the daemon, or answers
    /// them once the transfer is offloaded.
    ///
    /// # Errors
    /// [`ProgramsError::Map`] when the map is full.
    pub fn insert(&mut self, key: TransferKey, slot: u32) -> Result<(), ProgramsError> {
        self.map.insert(key, slot, 0).map_err(map_error(abi::MAP_TRANSFERS))
    }

    /// Removes a transfer. From now on its packets go to the host. It is not an error if the key does not
    /// exist.
    pub fn remove(&mut self, key: &TransferKey) {
        let _ = self.map.remove(key);
    }
}

/// The ring buffer of requests that the XDP program has copied.
pub struct Copies {
    pub(super) ring: RingBuf<MapData>,
}

impl Copies {
    /// Passes the next copied frame to `take`. Returns false if there is none.
    pub fn next(&mut self, mut take: impl FnMut(&[u8])) -> bool {
        let Some(item) = self.ring.next() else { return false };
        // A record is an `abi::Copied`: length, queue, bytes. The code reads it by offset, because the ring
        // buffer returns plain bytes.
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
