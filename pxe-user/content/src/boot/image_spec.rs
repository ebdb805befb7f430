//! An image as the configuration describes it: boot programs for each architecture, or a kernel with its
//! arguments, and the texts that boot loaders read.

use std::path::PathBuf;
use std::sync::Arc;

use super::names::FileName;
use super::tree::Links;
use pxe_proto::dhcp::Arch;

/// An image: something that machines boot. The names of its files are relative to its own root, if it has
/// one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageSpec {
    /// The name of the image. It is also the first component of the names of its own files.
    pub name: Arc<str>,
    /// The directory of the image's own files. `None`: its files are among those for all machines.
    pub root: Option<(PathBuf, Links)>,
    /// The files of a store elsewhere, as far as this host has them. `None`: the image comes from this host.
    pub stored: Option<Stored>,
    /// The boot programs, by architecture, as the configuration names them.
    pub boot_files: Vec<(Arch, String)>,
    /// The kernel, which every boot loader can start.
    pub kernel: Option<String>,
    /// The initial file systems of the kernel, in the order in which they are loaded.
    pub initrd: Vec<String>,
    /// The command line of the kernel: a template.
    pub args: String,
    /// The script for iPXE: a template. `None`: pxed writes one if there is a `kernel`.
    pub ipxe: Option<String>,
    /// The configuration for PXELINUX: a template. `None`: pxed writes one if there is a `kernel`.
    pub pxelinux: Option<String>,
    /// The configuration for GRUB: a template. `None`: pxed writes one if there is a `kernel`.
    pub grub: Option<String>,
    /// The last file that a boot needs. `None`: it is the last initrd, else the kernel, else the boot program
    /// itself.
    pub payload: Option<String>,
}

/// The files of an image in a cache, which pxed fetches from elsewhere. A new version replaces all of them at
/// once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The directory of the cache.
    pub directory: PathBuf,
    /// The name of each file, and its path below the directory. Empty: nothing is there yet.
    pub files: Vec<(FileName, String)>,
}

impl ImageSpec {
    /// Whether the image's files are its own, so that their names begin with the image's name.
    #[must_use]
    pub fn has_own_files(&self) -> bool {
        self.root.is_some() || self.stored.is_some()
    }

    /// Whether the image comes from a store elsewhere, and none of its files is here yet.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.stored.as_ref().is_some_and(|stored| stored.files.is_empty())
    }

    /// Whether pxed writes a text for boot loaders.
    pub(super) fn is_written(&self) -> bool {
        self.kernel.is_some() || self.ipxe.is_some() || self.pxelinux.is_some() || self.grub.is_some()
    }

    /// The complete name of one of the image's files.
    pub(super) fn whole(&self, file: &str) -> String {
        let file = file.trim_start_matches('/');
        if self.has_own_files() { format!("{}/{file}", self.name) } else { file.to_owned() }
    }

    /// The complete name of the last file that a boot needs, as far as the configuration determines it.
    pub(super) fn payload(&self) -> Option<String> {
        let last = self.payload.as_ref().or(self.initrd.last()).or(self.kernel.as_ref());
        last.map(|file| self.whole(file))
    }

    /// Whether pxed can recognise a complete boot. A rule that counts boots needs that.
    #[must_use]
    pub fn has_payload(&self) -> bool {
        self.payload().is_some() || !self.has_own_files() && !self.is_written() && self.boot_files.is_empty()
    }
}
