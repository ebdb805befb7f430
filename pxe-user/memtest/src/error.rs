//! Why the image cannot be built. Each text says what to do.

use std::io;
use std::path::PathBuf;

/// Why the image cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No kernel can be used.
    #[error(
        "no kernel below {0} can be read and has its modules: install one (Debian: `apt-get install linux-image-amd64`), run \
         this as root (Ubuntu lets only root read its kernels), or name the root of another system with --system"
    )]
    NoKernel(PathBuf),
    /// A program is missing.
    #[error(
        "`{0}` is not installed: install it (Debian: `apt-get install busybox-static stressapptest zstd xz-utils`)"
    )]
    NoProgram(&'static str),
    /// A program failed.
    #[error("{program}: {reason}")]
    Program {
        /// The program.
        program: &'static str,
        /// What it printed, or how it ended.
        reason: String,
    },
    /// A driver needs a module that the kernel does not have.
    #[error("the kernel has no module {0}: reinstall its package, or name another system with --system")]
    NoModule(String),
    /// The system refused something.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried: `read FILE`.
        what: String,
        /// The system's error.
        source: io::Error,
    },
}

impl Error {
    /// Says what was tried when the system refused it.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
