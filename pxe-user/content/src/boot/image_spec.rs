//! An image as the configuration describes it: files for each architecture, or a kernel with what it needs, and the
//! texts that boot loaders read.

use std::path::PathBuf;
use std::sync::Arc;

use super::tree::Links;
use pxe_proto::dhcp::Arch;

/// An image: something that machines boot. Names of files are relative to its own root, if it has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageSpec {
    /// Its name, and the first component of the names of its own files.
    pub name: Arc<str>,
    /// Its own directory; without one its files are those that everybody gets.
    pub root: Option<(PathBuf, Links)>,
    /// What architectures start with.
    pub boot_files: Vec<(Arch, String)>,
    /// A kernel that every loader can start.
    pub kernel: Option<String>,
    /// Its initial file systems, in order.
    pub initrd: Vec<String>,
    /// Its command line: a template.
    pub args: String,
    /// The script for iPXE: a template.
    pub ipxe: Option<String>,
    /// The configuration for PXELINUX: a template.
    pub pxelinux: Option<String>,
    /// The configuration for GRUB: a template.
    pub grub: Option<String>,
    /// The last file that a boot needs, where it is not the last initrd, the kernel or the boot program itself.
    pub payload: Option<String>,
}

impl ImageSpec {
    /// Whether loaders find a text of ours.
    pub(super) fn is_written(&self) -> bool {
        self.kernel.is_some() || self.ipxe.is_some() || self.pxelinux.is_some() || self.grub.is_some()
    }

    /// The whole name of one of its files.
    pub(super) fn whole(&self, file: &str) -> String {
        let file = file.trim_start_matches('/');
        if self.root.is_some() { format!("{}/{file}", self.name) } else { file.to_owned() }
    }

    /// The whole name of the last file that a boot needs, if that is known.
    pub(super) fn payload(&self) -> Option<String> {
        let last = self.payload.as_ref().or(self.initrd.last()).or(self.kernel.as_ref());
        last.map(|file| self.whole(file))
    }

    /// Whether it is known when a boot is complete: a count of boots needs that.
    #[must_use]
    pub fn has_payload(&self) -> bool {
        self.payload().is_some() || self.root.is_none() && !self.is_written() && self.boot_files.is_empty()
    }
}
