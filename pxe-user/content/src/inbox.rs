//! The inbox: storage for files that machines upload over HTTP or TFTP.
//!
//! Each machine has a directory of its own, named by its Ethernet address. The inbox enforces quotas, never
//! overwrites a file, and offers no way for clients to read a file back.
//!
//! An upload writes to a hidden file first. [`Upload::finish`] syncs the hidden file to the disk and renames
//! it to its final name. An aborted upload leaves no file. If the daemon dies during an upload,
//! [`Inbox::open`] removes the hidden file at the next start.
//!
//! The calls access the disk and may block, so workers must not make them. The `pxed-inbox` thread calls them
//! for TFTP, a blocking task of the web thread for HTTP.

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use pxe_proto::mac::Mac;

/// The longest name of an upload, in bytes.
pub const NAME_MAX: usize = 100;
/// The most uploads of all machines that may run at the same time.
pub const UPLOADS_MAX: usize = 64;
/// The most uploads of one machine that may run at the same time, so that one machine cannot use all of
/// [`UPLOADS_MAX`].
pub const UPLOADS_OF_ONE_MAX: usize = 4;
/// The least that one file counts against the quotas, in bytes. So the quotas also bound the number of files.
pub const FILE_MIN: u64 = 64 * 1024;
/// The prefix of the names of hidden files. A name from a machine cannot start with it, because names that
/// start with a dot are rejected.
pub const HIDDEN: &str = ".upload-";

/// Limits of the inbox, in bytes. A file counts with its size, but at least with [`FILE_MIN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The largest size of one file.
    pub file: u64,
    /// The most that all files of one machine may take together.
    pub machine: u64,
    /// The most that the files of all machines may take together.
    pub total: u64,
}

/// Why the inbox rejects or aborts an upload.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// The name is empty, too long, starts with a dot, or has a character that is not allowed.
    #[error("a name has 1 to {NAME_MAX} of the characters A-Z a-z 0-9 . _ - and does not begin with a dot")]
    Name,
    /// The machine already has a file of this name, or is uploading one.
    #[error("a file of this name exists already: pxed overwrites nothing")]
    Exists,
    /// The file is larger than [`Quota::file`], which is the value here.
    #[error("a file may have at most {0} bytes")]
    TooLarge(u64),
    /// The upload does not fit: into [`Quota::machine`] if the value is `true`, into [`Quota::total`]
    /// otherwise.
    #[error("the inbox is full{}", if *.0 { " for this machine" } else { "" })]
    Full(bool),
    /// [`UPLOADS_MAX`] uploads are running.
    #[error("too many uploads at a time: try again later")]
    Busy,
    /// [`UPLOADS_OF_ONE_MAX`] uploads of this machine are running.
    #[error("this machine uploads {UPLOADS_OF_ONE_MAX} files already: try again later")]
    MachineBusy,
    /// The system failed to write or read the inbox's directory.
    #[error("the inbox cannot be written: {0}")]
    Disk(#[from] io::Error),
}

impl InboxError {
    /// The label of this error in metrics.
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

/// An open inbox. All threads share one through an [`Arc`].
#[derive(Debug)]
pub struct Inbox {
    directory: PathBuf,
    quota: Quota,
    used: Mutex<Used>,
}

/// What files and running uploads take of the quotas. Byte counts include the minimum of [`FILE_MIN`] for
/// each file.
#[derive(Debug, Default)]
struct Used {
    machines: HashMap<Mac, u64>,
    total: u64,
    uploads: HashSet<(Mac, String)>,
    /// Bytes that running uploads have reserved, by machine.
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
    /// Opens the inbox in `directory`, and creates the directory with mode 0700 if it does not exist. Counts
    /// the files that are in the inbox, and removes hidden files of uploads that a killed process did not
    /// finish.
    ///
    /// # Errors
    /// [`InboxError::Disk`] if the directory cannot be created or read, or a hidden file cannot be removed.
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

    /// Starts an upload. `size` is the size in bytes that the machine announces, `None` if it announces none.
    ///
    /// The inbox checks that the announced size fits, but reserves only [`FILE_MIN`]. [`Upload::write`]
    /// reserves the rest as bytes arrive.
    ///
    /// # Errors
    /// An [`InboxError`] if the upload is rejected. Then no file is left.
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
            // An administrator may have removed files since the last count.
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
        // Ignore a poisoned lock: the state is counters and a set of names, and a panic in another thread
        // does not leave a change of them half done.
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
                // A file that an administrator removes during the count has no metadata any more, and counts
                // 0.
                bytes += file?.metadata().map_or(0, |metadata| metadata.len().max(FILE_MIN));
            }
            used.machines.insert(mac, bytes);
            used.total += bytes;
        }
        Ok(())
    }
}

/// A running upload. Dropping it before [`Upload::finish`] succeeds removes its hidden file and releases its
/// share of the quotas.
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
    /// Appends bytes to the file.
    ///
    /// # Errors
    /// An [`InboxError`] if the bytes exceed a quota or the disk is full. The caller must then drop the
    /// upload.
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

    /// Completes the upload. On success the file is on the disk under its final name, and the result is its
    /// size in bytes.
    ///
    /// # Errors
    /// [`InboxError::Exists`] if the name was taken meanwhile, or [`InboxError::Disk`]. The file is removed
    /// then. There is one exception: if only the sync of the directories fails, the file is already renamed
    /// and stays.
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
            // If the removal fails, the next [`Inbox::open`] removes the file.
            let _ = fs::remove_file(&self.hidden);
        }
    }
}

fn check_name(name: &str) -> Result<(), InboxError> {
    let clean = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let fits = (1..=NAME_MAX).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(clean);
    if fits { Ok(()) } else { Err(InboxError::Name) }
}

/// Creates a directory with mode 0700, because only the daemon reads it. Missing directories above it get
/// mode 0755: the daemon changes its user later, and must still be able to pass through them.
fn make_directory(directory: &Path) -> io::Result<()> {
    if let Some(above) = directory.parent().filter(|above| !above.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o755).create(above)?;
    }
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

#[cfg(test)]
mod tests;
