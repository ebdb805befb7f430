//! Images that a predecessor process loaded. After a hand-over, running transfers end with the bytes they
//! started with. The hand-over code (`pxed/src/server/handover`) calls this.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::catalogue::Catalogue;
use super::image::{Image, Origin, Role};
use super::names::FileName;
use super::sealed::Sealed;

/// The contents of an image that is handed over.
#[derive(Debug)]
pub enum Contents {
    /// The bytes themselves.
    Bytes(Vec<u8>),
    /// A sealed memfd that holds the bytes.
    Memory(OwnedFd),
}

impl Catalogue {
    /// Makes an image of these contents. The image is not published, so a look-up of its name does not find
    /// it. Its bytes count against the memory of all images.
    ///
    /// # Errors
    /// The system's error, or [`io::ErrorKind::InvalidData`] if the memory is not sealed.
    pub fn adopt(
        &self,
        name: FileName,
        origin: Origin,
        role: Role,
        contents: Contents,
    ) -> io::Result<Arc<Image>> {
        let bytes = match contents {
            Contents::Bytes(bytes) => Sealed::from_bytes(&bytes)?,
            Contents::Memory(memory) => Sealed::adopt(memory)?,
        };
        Ok(Arc::new(Image::of(name, origin, role, bytes, self.store.memory())))
    }
}
