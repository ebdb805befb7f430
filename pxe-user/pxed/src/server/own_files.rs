//! Which files and directories are pxed's own: those that it writes, and that its user must own. The preconditions look, and the
//! confinement makes them and hands them over.

use std::io::Read as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::config::Settings;
use pxe_content::inbox;
use pxe_proto::mac::Mac;

/// The most bytes of an event's line.
const EVENT_MAX: u64 = 64 * 1024;
/// The directories that only the daemon writes to.
pub(super) fn own_directories(settings: &Settings) -> Vec<PathBuf> {
    let inbox = settings.inbox.as_ref().map(|inbox| inbox.directory.clone());
    // The cache may lie in `state`, which comes first.
    settings.state.clone().into_iter().chain(inbox).chain(settings.cache_directory()).collect()
}

/// Makes a directory that only the daemon may enter. The missing directories above it are for all users.
pub(super) fn make(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory_of(directory))?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Whether the daemon may have made a path in one of its `own` directories.
pub(super) fn belongs(path: &Path, own: &[PathBuf]) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let is_made_here = ["pxed", inbox::HIDDEN].iter().any(|begin| name.starts_with(begin));
    is_made_here || name.parse::<Mac>().is_ok() || own.iter().any(|own| own == path)
}

/// Whether a file is empty, or begins with an event of the daemon: a line of JSON with the key `event`.
pub(super) fn is_of_events(path: &Path) -> bool {
    let Ok(file) = std::fs::File::open(path) else { return false };
    let mut start = Vec::new();
    let read = file.take(EVENT_MAX).read_to_end(&mut start);
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    read.is_ok()
        && (start.is_empty()
            || serde_json::from_slice::<serde_json::Value>(line)
                .is_ok_and(|line| line.get("event").is_some()))
}

/// The directory that contains a path.
pub(super) fn directory_of(path: &Path) -> PathBuf {
    path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}
