//! The search for a file below a root directory. Only the administrator can make it lead elsewhere.
//!
//! The walk opens each component by itself, with `O_PATH | O_NOFOLLOW`, below the directory that it opened
//! before. It then checks what it opened with `fstat`, and reads links from their own descriptor. So there is
//! no time between a check and a use. `..` in a link goes back through the directories that the walk opened,
//! not to where they may have been moved since. Above the first of them, the walk opens the parent directory.
//!
//! `openat2` with `RESOLVE_BENEATH` could open most files in one call. But it does not tell which directories
//! it passed, and pxed must watch these for changes. It would be a second way to the same result.
//!
//! # Whose links are followed
//! The walk follows links of the administrator, that is, links that belong to root or to the owner of the
//! root directory. It follows them out of the tree as well: the usual set-up links `pxelinux.0` to the
//! distribution's directory. The walk refuses all other links, inside and outside of the tree.
//!
//! The owner of a directory on the path may put any file there, but links of that owner are refused. So the
//! owner decides only which of the owner's files pxed serves under a name that the administrator pointed at
//! the directory. Therefore the walk does not check the owners of directories.
//!
//! A hard link could do what a refused link cannot. But Linux's `fs.protected_hardlinks`, which distributions
//! switch on, permits users hard links only to files that they own or may read and write. Also, pxed serves
//! only files that everybody on this host may read.
//!
//! Links of /proc and similar ones that name no path ("magic links") are read as text as well, so they lead
//! nowhere.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;

use super::refusal::Refusal;

/// The most links on a path, as in the kernel (path_resolution(7)).
const LINKS_MAX: u32 = 40;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What happens to symbolic links that lead out of the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// The administrator's links are followed.
    #[default]
    FollowAdministrators,
    /// A path that ends outside is refused. The administrator's links that stay inside are followed
    /// (`--no-links`).
    Stay,
}

/// Who must be able to read a file, so that pxed serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// Everybody, as in tftpd-hpa: whatever pxed serves, everybody on the network can read.
    Everybody,
    /// Only pxed's own user, for files that pxed itself chose by name.
    Daemon,
}

/// An open directory, with its device and inode.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    id: (u64, u64),
}

impl Dir {
    fn new(fd: OwnedFd, stat: &Stat) -> Arc<Self> {
        Arc::new(Self { fd, id: id(stat) })
    }

    fn open(at: BorrowedFd<'_>, path: &Path) -> Result<(Arc<Self>, Stat), Errno> {
        let fd = openat(at, path, DIRECTORY, Mode::empty())?;
        let stat = fstat(&fd)?;
        Ok((Self::new(fd, &stat), stat))
    }

    pub(super) fn id(&self) -> (u64, u64) {
        self.id
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[expect(clippy::unnecessary_cast, reason = "the fields' types differ between architectures")]
fn id(stat: &Stat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}

/// An open root directory, and the rules for the files below it.
#[derive(Debug)]
pub(super) struct Tree {
    root: Arc<Dir>,
    owner: u32,
    links: Links,
    readers: Readers,
}

/// A directory in which the walk looked up a name. If that directory entry changes, the name may lead to
/// another file.
#[derive(Clone, Debug)]
pub(super) struct LookupStep {
    pub(super) dir: Arc<Dir>,
    pub(super) name: Vec<u8>,
}

/// The file or directory to which a name leads.
#[derive(Debug)]
pub(super) struct ResolvedFile {
    fd: OwnedFd,
    stat: Stat,
    pub(super) trail: Vec<LookupStep>,
    readers: Readers,
}

impl Tree {
    /// Opens the root directory. Links in the path `root` itself are followed regardless of their owner,
    /// because the administrator wrote this path.
    ///
    /// # Errors
    /// The system's error, also if `root` is not a directory.
    pub(super) fn open(root: &Path, links: Links, readers: Readers) -> Result<Self, Errno> {
        let (root, stat) = Dir::open(CWD, root)?;
        Ok(Self { root, owner: stat.st_uid, links, readers })
    }

    /// Follows `path`, which is relative like a normalised name, to the file or directory that it names.
    ///
    /// # Errors
    /// Why the path leads to nothing that pxed serves.
    pub(super) fn find(&self, path: &[u8]) -> Result<ResolvedFile, Refusal> {
        let stack = vec![Arc::clone(&self.root)];
        let mut walk =
            Walk { tree: self, stack, todo: Vec::new(), links: 0, behind_link: None, trail: Vec::new() };
        walk.push(path);
        let (fd, stat) = walk.run()?;
        if self.links == Links::Stay && !walk.is_inside() {
            return Err(Refusal::LinkLeaves);
        }
        Ok(ResolvedFile { fd, stat, trail: walk.trail, readers: self.readers })
    }

    /// The same root, opened earlier, for a daemon whose user cannot open it by its path any more.
    pub(super) fn again(&self, links: Links, readers: Readers) -> Self {
        Self { root: Arc::clone(&self.root), owner: self.owner, links, readers }
    }

    /// Whether the daemon's current user can list the root directory and enter it.
    pub(super) fn is_open_to_us(&self) -> bool {
        use rustix::fs::{Access, AtFlags, accessat};
        accessat(&*self.root, ".", Access::READ_OK | Access::EXEC_OK, AtFlags::empty()).is_ok()
    }

    /// The root directory, for listing it.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The device and inode of the root directory.
    pub(super) fn root_id(&self) -> (u64, u64) {
        self.root.id
    }
}

struct Walk<'t> {
    tree: &'t Tree,
    /// The directories that the walk is in, outermost first. Never empty.
    stack: Vec<Arc<Dir>>,
    /// The components that the walk has still to look up, the next one last.
    todo: Vec<Vec<u8>>,
    links: u32,
    /// While the walk follows the target of a link: the length of [`Self::todo`] behind the link.
    behind_link: Option<usize>,
    trail: Vec<LookupStep>,
}

impl Walk<'_> {
    fn push(&mut self, path: &[u8]) {
        let components = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
        self.todo.extend(components.rev().map(<[u8]>::to_vec));
    }

    fn here(&self) -> &Arc<Dir> {
        self.stack.last().unwrap_or(&self.tree.root)
    }

    fn run(&mut self) -> Result<(OwnedFd, Stat), Refusal> {
        while let Some(name) = self.todo.pop() {
            if name == b".." {
                self.up()?;
                continue;
            }
            self.behind_link = self.behind_link.filter(|behind| self.todo.len() >= *behind);
            let dir = Arc::clone(self.here());
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = match openat(&*dir, name.as_slice(), flags, Mode::empty()) {
                Err(Errno::NOENT) if self.behind_link.is_some() => return Err(Refusal::LinkDangles),
                Err(Errno::ACCESS) => return Err(Refusal::DirectoryClosed),
                opened => opened?,
            };
            let stat = fstat(&fd)?;
            self.trail.push(LookupStep { dir, name });
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => self.follow(&fd, &stat)?,
                FileType::Directory => self.stack.push(Dir::new(fd, &stat)),
                _ if self.todo.is_empty() => return Ok((fd, stat)),
                _ => return Err(Refusal::NotFound),
            }
        }
        let fd = self.here().fd.try_clone().map_err(Refusal::from)?;
        let stat = fstat(&fd)?;
        Ok((fd, stat))
    }

    fn up(&mut self) -> Result<(), Errno> {
        if self.stack.len() > 1 {
            self.stack.pop();
            return Ok(());
        }
        let (parent, _) = Dir::open(self.here().as_fd(), Path::new(".."))?;
        self.stack = vec![parent];
        Ok(())
    }

    fn follow(&mut self, link: &OwnedFd, stat: &Stat) -> Result<(), Refusal> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Refusal::LinkLoop);
        }
        if stat.st_uid != 0 && stat.st_uid != self.tree.owner {
            return Err(Refusal::LinkOwner);
        }
        // The empty path means the opened link itself (readlinkat(2), since Linux 2.6.39).
        let target = readlinkat(link, "", Vec::new())?;
        let target = target.as_bytes();
        if target.first() == Some(&b'/') {
            let (top, _) = Dir::open(CWD, Path::new("/"))?;
            self.stack = vec![top];
        }
        // Keep the value of the outermost link: all links behind it are part of its target.
        self.behind_link.get_or_insert(self.todo.len());
        self.push(target);
        Ok(())
    }

    fn is_inside(&self) -> bool {
        self.stack.iter().any(|dir| dir.id == self.tree.root.id)
    }
}

impl ResolvedFile {
    /// The type of the file.
    pub(super) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// The device and inode.
    pub(super) fn id(&self) -> (u64, u64) {
        id(&self.stat)
    }

    /// Opens the file for reading, if it is a regular file that pxed may serve.
    ///
    /// # Errors
    /// Why pxed must not serve the file. [`Refusal::Changing`] if the name leads to something else by now.
    pub(super) fn open(&self) -> Result<(File, Stat), Refusal> {
        if self.file_type() != FileType::RegularFile {
            return Err(Refusal::NotAFile);
        }
        let everybody = Mode::from_raw_mode(self.stat.st_mode).contains(Mode::ROTH);
        if self.readers == Readers::Everybody && !everybody {
            return Err(Refusal::NotReadable);
        }
        let step = self.trail.last().ok_or(Refusal::NotAFile)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match openat(&*step.dir, step.name.as_slice(), flags, Mode::empty()) {
            Err(Errno::LOOP | Errno::NXIO) => return Err(Refusal::Changing),
            result => result?,
        };
        let stat = fstat(&fd)?;
        if id(&stat) != id(&self.stat) {
            return Err(Refusal::Changing);
        }
        Ok((fd.into(), stat))
    }

    /// The true path as the kernel knows it, for people.
    pub(super) fn path(&self) -> PathBuf {
        use std::os::fd::AsRawFd as _;
        std::fs::read_link(format!("/proc/self/fd/{}", self.fd.as_raw_fd())).unwrap_or_else(|_| {
            let names = self.trail.last().map(|step| step.name.clone()).unwrap_or_default();
            PathBuf::from(OsString::from_vec(names))
        })
    }

    /// The names in this directory. Fails if it is not a directory.
    pub(super) fn names(&self) -> Result<Vec<Vec<u8>>, Errno> {
        names(self.fd.as_fd())
    }
}

/// The names in a directory, sorted, without `.` and `..`.
pub(super) fn names(dir: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = openat(dir, ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(fd)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if !matches!(name.as_slice(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests;
