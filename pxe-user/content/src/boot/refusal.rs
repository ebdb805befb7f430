//! Why pxed does not serve a file. Each reason has a name, which is the label of its counter.

use rustix::io::Errno;

use pxe_proto::tftp::packet::ErrorCode;

/// Why pxed does not serve a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// There is no such file.
    NotFound,
    /// The name is longer than 255 bytes, the longest that [`FileName`](super::FileName) holds.
    TooLong,
    /// The name has a `..` component.
    DotDot,
    /// The name has a NUL byte.
    Nul,
    /// A link on the path belongs neither to root nor to the owner of the root directory.
    LinkOwner,
    /// A link leads out of the root, and `--no-links` forbids that.
    LinkLeaves,
    /// The path has more than 40 links, the kernel's own limit. Usually they form a loop.
    LinkLoop,
    /// A link on the path leads to nothing.
    LinkDangles,
    /// The user that pxed runs as cannot enter a directory on the path.
    DirectoryClosed,
    /// The file is not readable for everybody, or not for the user that pxed runs as.
    NotReadable,
    /// The name leads to a directory, a device, a FIFO or a socket.
    NotAFile,
    /// The file, or the path to it, changed during each attempt to copy it.
    Changing,
    /// The file alone is larger than the memory for boot files.
    TooLarge,
    /// The memory for boot files is full of files in running transfers, or the system has no memory left.
    OutOfMemory,
    /// The template of a file for one machine cannot be filled in.
    Template,
    /// The system failed to read the file.
    Io(Errno),
}

impl Refusal {
    /// The number of reasons: the length of a table of counters.
    pub const COUNT: usize = Self::ALL.len();

    /// Every reason once, in the order of [`Self::index`]. Values of variants are placeholders.
    pub const ALL: [Self; 16] = [
        Self::NotFound,
        Self::TooLong,
        Self::DotDot,
        Self::Nul,
        Self::LinkOwner,
        Self::LinkLeaves,
        Self::LinkLoop,
        Self::NotReadable,
        Self::NotAFile,
        Self::Changing,
        Self::TooLarge,
        Self::OutOfMemory,
        Self::Template,
        Self::Io(Errno::IO),
        Self::LinkDangles,
        Self::DirectoryClosed,
    ];

    /// The name of this reason, for the label of a metric. It never changes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.entry().1
    }

    /// The position of this reason in [`Self::ALL`], below [`Self::COUNT`].
    #[must_use]
    pub fn index(self) -> usize {
        self.entry().0
    }

    /// The error code for TFTP (docs/clients.md section 6 line 30). A permanent failure is code 1 or 2. Only
    /// a failure that may pass is code 0, because U-Boot starts again on every code other than 1 and 2
    /// (docs/clients.md section 2).
    #[must_use]
    pub fn code(self) -> ErrorCode {
        match self {
            Self::NotFound | Self::TooLong | Self::LinkDangles => ErrorCode::NOT_FOUND,
            Self::DotDot
            | Self::Nul
            | Self::LinkOwner
            | Self::LinkLeaves
            | Self::LinkLoop
            | Self::NotReadable
            | Self::DirectoryClosed
            | Self::NotAFile
            | Self::TooLarge => ErrorCode::DENIED,
            Self::Changing | Self::OutOfMemory | Self::Template | Self::Io(_) => ErrorCode::UNDEFINED,
        }
    }

    /// The text for the client. It is short, and shows none of the server's paths.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self.code() {
            ErrorCode::NOT_FOUND => "file not found",
            ErrorCode::DENIED => "access denied",
            _ if self == Self::Changing => "file is being changed, try again",
            _ => "server cannot read the file now",
        }
    }

    /// The text for the administrator, with the remedy.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NotFound => "no such file below the root",
            Self::TooLong => "the name is longer than 255 bytes",
            Self::DotDot => "the name contains `..`, which pxed never serves",
            Self::Nul => "the name contains a NUL byte, which pxed never serves",
            Self::LinkOwner => {
                "a symbolic link on the way belongs neither to root nor to the owner of the root directory: \
                 `chown -h root` it, or copy the file"
            }
            Self::LinkLeaves => {
                "a symbolic link leads out of the root: copy the file into the root, or start without --no-links"
            }
            Self::LinkLoop => "more than 40 symbolic links on the way: they lead in a circle",
            Self::LinkDangles => {
                "a symbolic link on the way leads to nothing: install or copy what it should lead to, or remove it"
            }
            Self::DirectoryClosed => {
                "a directory on the way is closed to the user pxed runs as: `chmod o+x` it if the network may have its files"
            }
            Self::NotReadable => {
                "not every user may read the file: `chmod o+r` it if the network may have it"
            }
            Self::NotAFile => "not a regular file: pxed serves regular files only",
            Self::Changing => "the file keeps changing: write it under another name first, then rename it",
            Self::TooLarge => "the file is larger than the memory for boot files: raise --memory",
            Self::OutOfMemory => {
                "the memory for boot files is full of files that are being sent: raise --memory"
            }
            Self::Template => "the image's template cannot be filled in: `pxed check --config` says why",
            Self::Io(_) => "the system cannot read the file: check the disk or the mount",
        }
    }

    fn entry(self) -> (usize, &'static str) {
        match self {
            Self::NotFound => (0, "not_found"),
            Self::TooLong => (1, "name_too_long"),
            Self::DotDot => (2, "dot_dot"),
            Self::Nul => (3, "nul"),
            Self::LinkOwner => (4, "link_owner"),
            Self::LinkLeaves => (5, "link_leaves"),
            Self::LinkLoop => (6, "link_loop"),
            Self::NotReadable => (7, "not_readable"),
            Self::NotAFile => (8, "not_a_file"),
            Self::Changing => (9, "changing"),
            Self::TooLarge => (10, "too_large"),
            Self::OutOfMemory => (11, "out_of_memory"),
            Self::Template => (12, "template"),
            Self::Io(_) => (13, "io"),
            Self::LinkDangles => (14, "link_dangles"),
            Self::DirectoryClosed => (15, "directory_closed"),
        }
    }
}

/// For logs: the remedy, with the system's error if there is one.
impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(errno) => write!(f, "{}: {errno}", self.remedy()),
            _ => f.write_str(self.remedy()),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        match errno {
            // `NOTDIR`: there is a file in place of a directory, so the name does not exist.
            Errno::NOENT | Errno::NOTDIR => Self::NotFound,
            Errno::ACCESS | Errno::PERM => Self::NotReadable,
            Errno::NAMETOOLONG => Self::TooLong,
            Errno::LOOP => Self::LinkLoop,
            // The result of opening a socket, or a device without a driver.
            Errno::NXIO | Errno::NODEV | Errno::ISDIR => Self::NotAFile,
            Errno::NOMEM | Errno::NOSPC => Self::OutOfMemory,
            other => Self::Io(other),
        }
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Errno::from_io_error(&error).unwrap_or(Errno::IO).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_in_the_order_of_index_and_labels_are_unique() {
        for (i, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal.index(), i, "{refusal:?}");
            assert!(Refusal::ALL[i + 1..].iter().all(|other| other.as_str() != refusal.as_str()));
            assert!(refusal.text().len() < 60);
        }
    }

    /// Codes from docs/clients.md section 6 line 30: 1 for a missing file, 2 for a denied one.
    #[test]
    fn codes_are_those_of_the_protocol() {
        assert_eq!(Refusal::NotFound.code(), ErrorCode(1));
        assert_eq!(Refusal::from(Errno::NOTDIR).code(), ErrorCode(1));
        for refusal in [Refusal::DotDot, Refusal::LinkOwner, Refusal::LinkLeaves, Refusal::NotReadable] {
            assert_eq!(refusal.code(), ErrorCode(2), "{refusal:?}");
        }
        assert_eq!(Refusal::Changing.code(), ErrorCode(0));
        assert_eq!(Refusal::from(Errno::MFILE).code(), ErrorCode(0));
    }
}
