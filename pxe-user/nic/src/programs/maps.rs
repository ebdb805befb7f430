//! Handles to maps of the loaded program.

use std::os::fd::AsFd;

use aya::maps::{HashMap, MapData, RingBuf};
use pxe_common::abi::{self, Transfer, TransferKey};

use super::ProgramsError;
use super::error::map_error;

/// The kernel's list of our transfers.
pub struct Transfers {
    pub(super) map: HashMap<MapData, TransferKey, Transfer>,
}

impl Transfers {
    /// From now on packets of this transfer come to us, or are answered by the kernel when it is given the transfer.
    ///
    /// # Errors
    /// [`ProgramsError::Map`] when the map is full.
    pub fn insert(&mut self, key: TransferKey, transfer: Transfer) -> Result<(), ProgramsError> {
        self.map.insert(key, transfer, 0).map_err(map_error(abi::MAP_TRANSFERS))
    }

    /// From now on they go to the host. A key that is not there is no error.
    pub fn remove(&mut self, key: &TransferKey) {
        let _ = self.map.remove(key);
    }
}

/// Requests that the program copied for us.
pub struct Copies {
    pub(super) ring: RingBuf<MapData>,
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
