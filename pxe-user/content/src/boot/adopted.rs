//! Images that another process of ours has loaded: transfers that were begun with them end with them.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::catalogue::Catalogue;
use super::image::{Image, Origin, Role};
use super::names::FileName;
use super::sealed::Sealed;

/// The bytes of an image.
#[derive(Debug)]
pub enum Contents {
    /// Copied.
    Bytes(Vec<u8>),
    /// In sealed memory.
    Memory(OwnedFd),
}

impl Catalogue {
    /// An image with these contents. Nobody who asks for the name gets it; its bytes count as those of others.
    ///
    /// # Errors
    /// The system's, or when the memory is not sealed.
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
