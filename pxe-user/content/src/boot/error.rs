//! Why a catalogue cannot be opened.

use std::path::PathBuf;

use super::refusal::Refusal;
use pxe_proto::dhcp::Arch;

/// Why the catalogue cannot be opened. The text names the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// The root directory cannot be opened.
    #[error("cannot serve {}: {reason}. Give an existing, readable directory with --root", root.display())]
    Root {
        /// The root directory as given.
        root: PathBuf,
        /// The system's error.
        reason: String,
    },
    /// The root directory has no boot program under a usual name, and no boot program is given.
    #[error(
        "{} has no boot program under a usual name ({usual}): put one there, or name one with --boot-file ARCH=NAME",
        root.display()
    )]
    NoBootProgram {
        /// The root directory.
        root: PathBuf,
        /// Some of the usual names.
        usual: String,
    },
    /// The root directory of an image cannot be opened.
    #[error(
        "image `{image}`: cannot serve {}: {reason}. Give its `root` an existing, readable directory \
         (`pxed image build` makes that of a memory test)", root.display()
    )]
    ImageRoot {
        /// The name of the image.
        image: String,
        /// The root directory as given.
        root: PathBuf,
        /// The system's error.
        reason: String,
    },
    /// A file that `--boot-file` or `boot_files` names cannot be served.
    #[error("boot file {arch}={name} (--boot-file, `boot_files`): {reason}")]
    BootFile {
        /// The architecture that should start with the file.
        arch: Arch,
        /// The name as given.
        name: String,
        /// Why the file cannot be served.
        reason: String,
    },
    /// The host has no installed file that could be booted.
    #[error(
        "no memtest86+ is installed here, nor anything else to boot: install it (`apt-get install memtest86+ pxelinux \
         syslinux-common`, `dnf install memtest86+ syslinux-nonlinux`, `pacman -S memtest86+ memtest86+-efi syslinux`) or give \
         a directory of your own with --root"
    )]
    NothingInstalled,
    /// The system failed to generate a boot file in memory.
    #[error("cannot prepare the boot files: {0}")]
    System(Refusal),
}

impl CatalogueError {
    /// The same error about the root of an image.
    pub(super) fn of_image(self, image: &str) -> Self {
        match self {
            Self::Root { root, reason } => Self::ImageRoot { image: image.to_owned(), root, reason },
            other => other,
        }
    }
}
