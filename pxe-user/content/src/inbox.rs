//! Files that machines hand in: one directory for each, within bounds, never overwritten, never read back by clients.
//!
//! Bytes go to a hidden file first, which gets its name when it is complete and on the disk. What is broken off leaves
//! nothing, also if the daemon dies in between: hidden files are removed when the inbox is opened.

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use pxe_proto::mac::Mac;

/// The longest name, in bytes.
pub const NAME_MAX: usize = 100;
/// Uploads at a time.
pub const UPLOADS_MAX: usize = 64;
/// Uploads of one machine at a time: it cannot hold all places.
pub const UPLOADS_OF_ONE_MAX: usize = 4;
/// What the smallest file counts against the quotas, in bytes: so they bound the number of files, too.
pub const FILE_MIN: u64 = 64 * 1024;
/// How hidden files begin. No machine can give such a name.
pub const HIDDEN: &str = ".upload-";

/// Bounds, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Of one file.
    pub file: u64,
    /// Of one machine's files together.
    pub machine: u64,
    /// Of all files together.
    pub total: u64,
}

/// Why an upload is refused or broken off.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// The name is not one that is taken.
    #[error("a name has 1 to {NAME_MAX} of the characters A-Z a-z 0-9 . _ - and does not begin with a dot")]
    Name,
    /// A file of this name is there, or on its way.
    #[error("a file of this name exists already: pxed overwrites nothing")]
    Exists,
    /// It is too large for one file.
    #[error("a file may have at most {0} bytes")]
    TooLarge(u64),
    /// The machine's share, or all of the inbox, is full.
    #[error("the inbox is full{}", if *.0 { " for this machine" } else { "" })]
    Full(bool),
    /// Too many uploads at a time.
    #[error("too many uploads at a time: try again later")]
    Busy,
    /// Too many uploads of this machine at a time.
    #[error("this machine uploads {UPLOADS_OF_ONE_MAX} files already: try again later")]
    MachineBusy,
    /// The disk says no.
    #[error("the inbox cannot be written: {0}")]
    Disk(#[from] io::Error),
}

impl InboxError {
    /// The word for it in metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Exists => "exists",
            Self::TooLarge(_) => "too_large",
            Self::Full(_) => "full",
            Self::Busy => "busy",
            Self::MachineBusy => "machine_busy",
            Self::Disk(_) => "disk",
        }
    }
}

/// The inbox.
#[derive(Debug)]
pub struct Inbox {
    directory: PathBuf,
    quota: Quota,
    used: Mutex<Used>,
}

/// What is taken of the quotas, by files that are there and by uploads.
#[derive(Debug, Default)]
struct Used {
    machines: HashMap<Mac, u64>,
    total: u64,
    uploads: HashSet<(Mac, String)>,
    /// Bytes that uploads have reserved, by machine.
    reserved: HashMap<Mac, u64>,
    serial: u64,
}

impl Used {
    fn give(&mut self, mac: Mac, bytes: u64) {
        let reserved = self.reserved.entry(mac).or_default();
        *reserved = reserved.saturating_sub(bytes);
        if *reserved == 0 {
            self.reserved.remove(&mac);
        }
    }

    fn machine(&self, mac: Mac) -> u64 {
        let of = |map: &HashMap<Mac, u64>| map.get(&mac).copied().unwrap_or(0);
        of(&self.machines) + of(&self.reserved)
    }

    fn all(&self) -> u64 {
        self.total + self.reserved.values().sum::<u64>()
    }
}

impl Inbox {
    /// Opens the inbox in a directory, which is made if it is not there (mode 0700). Counts what is in it, and removes what
    /// a killed process has left unfinished.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(directory: &Path, quota: Quota) -> Result<Arc<Self>, InboxError> {
        make_directory(directory)?;
        let inbox = Self { directory: directory.to_owned(), quota, used: Mutex::default() };
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(HIDDEN) {
                fs::remove_file(entry.path())?;
            }
        }
        inbox.recount(&mut inbox.used())?;
        Ok(Arc::new(inbox))
    }

    /// Begins an upload. `size` is what the machine says that it will send, if it does.
    ///
    /// # Errors
    /// Why it is refused; nothing is left.
    pub fn begin(self: &Arc<Self>, mac: Mac, name: &str, size: Option<u64>) -> Result<Upload, InboxError> {
        check_name(name)?;
        if size.is_some_and(|size| size > self.quota.file) {
            return Err(InboxError::TooLarge(self.quota.file));
        }
        let target = self.directory.join(mac.to_string()).join(name);
        let mut used = self.used();
        if used.uploads.contains(&(mac, name.to_owned())) || fs::symlink_metadata(&target).is_ok() {
            return Err(InboxError::Exists);
        }
        if used.uploads.iter().filter(|(owner, _)| *owner == mac).count() >= UPLOADS_OF_ONE_MAX {
            return Err(InboxError::MachineBusy);
        }
        if used.uploads.len() >= UPLOADS_MAX {
            return Err(InboxError::Busy);
        }
        let wanted = size.unwrap_or(0).max(FILE_MIN);
        if self.room(&used, mac, wanted).is_err() {
            // Somebody may have taken files out.
            self.recount(&mut used)?;
            self.room(&used, mac, wanted)?;
        }
        used.serial += 1;
        let hidden = self.directory.join(format!("{HIDDEN}{}", used.serial));
        let file = File::options().write(true).create_new(true).mode(0o600).open(&hidden)?;
        used.uploads.insert((mac, name.to_owned()));
        *used.reserved.entry(mac).or_default() += FILE_MIN;
        drop(used);
        let inbox = Arc::clone(self);
        Ok(Upload {
            inbox,
            mac,
            name: name.to_owned(),
            hidden,
            target,
            file,
            size: 0,
            reserved: FILE_MIN,
            done: false,
        })
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        // Numbers only: a panic elsewhere leaves nothing half done here.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn room(&self, used: &Used, mac: Mac, more: u64) -> Result<(), InboxError> {
        if used.machine(mac).saturating_add(more) > self.quota.machine {
            return Err(InboxError::Full(true));
        }
        if used.all().saturating_add(more) > self.quota.total {
            return Err(InboxError::Full(false));
        }
        Ok(())
    }

    fn recount(&self, used: &mut Used) -> io::Result<()> {
        used.machines.clear();
        used.total = 0;
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let Some(mac) = entry.file_name().to_str().and_then(|name| name.parse::<Mac>().ok()) else {
                continue;
            };
            let mut bytes = 0;
            for file in fs::read_dir(entry.path())? {
                // A file that is taken out while we count counts nothing.
                bytes += file?.metadata().map_or(0, |metadata| metadata.len().max(FILE_MIN));
            }
            used.machines.insert(mac, bytes);
            used.total += bytes;
        }
        Ok(())
    }
}

/// A file on its way. Dropping it before [`Upload::finish`] removes it.
#[derive(Debug)]
pub struct Upload {
    inbox: Arc<Inbox>,
    mac: Mac,
    name: String,
    hidden: PathBuf,
    target: PathBuf,
    file: File,
    size: u64,
    reserved: u64,
    done: bool,
}

impl Upload {
    /// Adds bytes.
    ///
    /// # Errors
    /// When that is more than is allowed, or the disk is full: then drop this.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), InboxError> {
        let size = self.size.saturating_add(bytes.len() as u64);
        if size > self.inbox.quota.file {
            return Err(InboxError::TooLarge(self.inbox.quota.file));
        }
        let more = size.saturating_sub(self.reserved);
        if more > 0 {
            let mut used = self.inbox.used();
            self.inbox.room(&used, self.mac, more)?;
            *used.reserved.entry(self.mac).or_default() += more;
            self.reserved += more;
        }
        self.file.write_all(bytes)?;
        self.size = size;
        Ok(())
    }

    /// The file is complete: it is on the disk and has its name when this returns. Answers its size in bytes.
    ///
    /// # Errors
    /// When it cannot be kept; nothing is left.
    pub fn finish(mut self) -> Result<u64, InboxError> {
        self.file.sync_all()?;
        let directory = self.target.parent().unwrap_or(&self.inbox.directory);
        make_directory(directory)?;
        match renameat_with(CWD, &self.hidden, CWD, &self.target, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => return Err(InboxError::Exists),
            Err(error) => return Err(io::Error::from(error).into()),
        }
        self.done = true;
        File::open(directory)?.sync_all()?;
        File::open(&self.inbox.directory)?.sync_all()?;
        Ok(self.size)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut used = self.inbox.used();
        used.give(self.mac, self.reserved);
        used.uploads.remove(&(self.mac, std::mem::take(&mut self.name)));
        if self.done {
            *used.machines.entry(self.mac).or_default() += self.reserved;
            used.total += self.reserved;
        } else {
            // What cannot be removed now is removed when the inbox is opened the next time.
            let _ = fs::remove_file(&self.hidden);
        }
    }
}

fn check_name(name: &str) -> Result<(), InboxError> {
    let clean = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let fits = (1..=NAME_MAX).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(clean);
    if fits { Ok(()) } else { Err(InboxError::Name) }
}

/// For the daemon alone, in directories that others may pass through: it becomes another user later.
fn make_directory(directory: &Path) -> io::Result<()> {
    if let Some(above) = directory.parent().filter(|above| !above.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o755).create(above)?;
    }
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

#[cfg(test)]
mod tests;
