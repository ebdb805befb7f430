//! Drops root: changes the user, drops capabilities, and gives the daemon's user the files that it writes.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::{Gid, Uid, User, setgroups, setresgid, setresuid};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid as RawGid, Mode, OFlags, Stat, Uid as RawUid, chownat, fstat, openat,
};
use rustix::io::Errno;

use super::ConfineError;

/// Users that the daemon becomes without `--user`: the first that exists.
const USUAL: [&str; 2] = ["pxed", "nobody"];

/// A capability that the running daemon still needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetainedCapability {
    /// `CAP_BPF`. The offload creates a map for each file that machines request. Before Linux 5.19, every access to a
    /// map also needs it where `kernel.unprivileged_bpf_disabled` is set. Without `CAP_NET_ADMIN` and `CAP_PERFMON` it
    /// cannot load a program that sees packets or the kernel's memory.
    Bpf,
}

impl RetainedCapability {
    /// The capability's name, as in capabilities(7).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bpf => "CAP_BPF",
        }
    }

    fn capability(self) -> Capability {
        match self {
            Self::Bpf => Capability::CAP_BPF,
        }
    }

    /// The capabilities that the XDP datapath needs while it runs. `offload`: the kernel also sends files by itself.
    #[must_use]
    pub fn for_xdp(offload: bool) -> Vec<Self> {
        if offload || !maps_are_free() { vec![Self::Bpf] } else { Vec::new() }
    }
}

/// Whether open maps can be read and written without `CAP_BPF`, whatever `kernel.unprivileged_bpf_disabled` says: since
/// Linux 5.19 (commit c8644cd0efe7). The present value of the setting does not help, because it may be set while the
/// daemon runs.
fn maps_are_free() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    is_since(&release, (5, 19))
}

/// Whether a kernel's release, such as `6.1.0-44-amd64`, is this version or a later one.
fn is_since(release: &str, version: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= version
}

/// The user that the daemon becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user's name.
    pub name: String,
    uid: Uid,
    gid: Gid,
}

impl Account {
    /// The user's number.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid.as_raw()
    }

    /// The named user, or else the first of the default users. `None` if the process keeps its user: it is not root and
    /// no user is named, or it already is that user.
    ///
    /// # Errors
    /// When no such user exists, the look-up fails, or a process that is not root names another user.
    pub fn find(named: Option<&str>) -> Result<Option<Self>, ConfineError> {
        let look = |name: &str| {
            User::from_name(name)
                .map_err(|error| ConfineError::Users { name: name.into(), error: error.into() })
        };
        let is_root = Uid::effective().is_root();
        let user = match named {
            Some(name) => look(name)?.ok_or_else(|| ConfineError::NoUser(name.into()))?,
            None if !is_root => return Ok(None),
            None => {
                // A default user that exists is enough, even if the look-up of the other one fails.
                let mut looks = USUAL.map(look);
                looks.sort_by_key(|look| !matches!(look, Ok(Some(_))));
                let [first, ..] = looks;
                first?.ok_or_else(|| ConfineError::NoUser(USUAL[0].into()))?
            }
        };
        match (is_root, user.uid == Uid::effective()) {
            (_, true) => Ok(None),
            (false, false) => Err(ConfineError::NotRoot(user.name)),
            (true, false) => Ok(Some(Self { name: user.name, uid: user.uid, gid: user.gid })),
        }
    }

    /// Makes the daemon's user the owner of a directory that the daemon writes, and of what earlier runs as root left
    /// in it. Links, files with several names, and what another user owns keep their owner. `belongs` tells whether a
    /// path in the directory may be pxed's.
    ///
    /// # Errors
    /// When the directory contains a path that is not pxed's, which must not change its owner, or the system refuses.
    pub fn hand_over(&self, directory: &Path, belongs: &dyn Fn(&Path) -> bool) -> Result<(), ConfineError> {
        let failed = |error| self.hand_over_error(directory, error);
        let Some(opened) = self.look(directory, belongs)? else { return Ok(()) };
        // Two levels, because the inbox has a folder for each machine.
        self.give(&opened, 2).map_err(failed)
    }

    /// Checks whether [`Self::hand_over`] would accept the directory, without changing anything.
    ///
    /// # Errors
    /// Those of [`Self::hand_over`], except for the change itself.
    pub fn may_own(&self, directory: &Path, belongs: &dyn Fn(&Path) -> bool) -> Result<(), ConfineError> {
        self.look(directory, belongs).map(drop)
    }

    /// Opens the directory; `None` if it does not exist or is none. Fails if it contains a path that is not pxed's.
    fn look(
        &self,
        directory: &Path,
        belongs: &dyn Fn(&Path) -> bool,
    ) -> Result<Option<HandedFile>, ConfineError> {
        let failed = |error| self.hand_over_error(directory, error);
        let opened = HandedFile::existing(CWD, directory).map_err(failed)?;
        let Some(opened) = opened.filter(HandedFile::is_directory) else { return Ok(None) };
        for name in opened.names().map_err(failed)? {
            let path = directory.join(&name);
            if !belongs(&path) {
                let text = format!(
                    "it contains {}, which is not pxed's: give pxed a directory of its own",
                    path.display()
                );
                return Err(failed(io::Error::other(text)));
            }
        }
        Ok(Some(opened))
    }

    /// Checks whether [`Self::hand_over_file`] would accept the file. A file that `belongs` does not recognise is not
    /// pxed's and must not change its owner.
    ///
    /// # Errors
    /// When the file is not pxed's.
    pub fn may_own_file(&self, path: &Path, belongs: &dyn Fn(&Path) -> bool) -> Result<(), ConfineError> {
        if path.is_file() && !belongs(path) {
            let text = "it holds something else than pxed's events: name a file of its own";
            return Err(self.hand_over_error(path, io::Error::other(text)));
        }
        Ok(())
    }

    /// Makes the daemon's user the owner of a file, if root owns it. Creates the file if it does not exist. A path that
    /// is no regular file is left alone.
    ///
    /// # Errors
    /// When the file is not pxed's, or the system refuses.
    pub fn hand_over_file(&self, path: &Path, belongs: &dyn Fn(&Path) -> bool) -> Result<(), ConfineError> {
        let failed = |error| self.hand_over_error(path, error);
        self.may_own_file(path, belongs)?;
        let existing = HandedFile::existing(CWD, path).map_err(failed)?;
        let opened = existing.map_or_else(|| HandedFile::new_file(path), Ok).map_err(failed)?;
        // A directory in the file's place is a mistake in the configuration. It must not become the daemon's.
        if opened.is_directory() { Ok(()) } else { self.give(&opened, 0).map_err(failed) }
    }

    fn hand_over_error(&self, path: &Path, error: io::Error) -> ConfineError {
        ConfineError::HandOver { path: path.to_owned(), user: self.name.clone(), error }
    }

    fn give(&self, opened: &HandedFile, levels: u32) -> io::Result<()> {
        if !opened.is_roots_and_plain() {
            return Ok(());
        }
        if levels > 0 && opened.is_directory() {
            for name in opened.names()? {
                let below = HandedFile::existing(opened.file.as_fd(), Path::new(&name))?;
                below.map_or(Ok(()), |below| self.give(&below, levels - 1))?;
            }
        }
        let (uid, gid) = (RawUid::from_raw(self.uid.as_raw()), RawGid::from_raw(self.gid.as_raw()));
        Ok(chownat(&opened.file, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?)
    }
}

/// A file or directory that gets a new owner. It is checked and changed through one descriptor. By path it could be
/// replaced between both, if another user owns a directory above it.
struct HandedFile {
    file: OwnedFd,
    stat: Stat,
}

impl HandedFile {
    /// Opens what exists at a path, without following a link. `None` if nothing exists.
    fn existing(above: BorrowedFd<'_>, path: &Path) -> io::Result<Option<Self>> {
        // `O_PATH` is enough to change the owner, and does not wait for the other end of a pipe.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(above, path, flags, Mode::empty()) {
            Ok(file) => Self::of(file).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates a file; fails if the name exists, even as a link.
    fn new_file(path: &Path) -> io::Result<Self> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        Self::of(openat(CWD, path, flags, Mode::from_raw_mode(0o640))?)
    }

    fn of(file: OwnedFd) -> io::Result<Self> {
        let stat = fstat(&file)?;
        Ok(Self { file, stat })
    }

    fn is_directory(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::Directory
    }

    /// Whether root owns it and it has no second name: a directory, or a regular file with one link.
    fn is_roots_and_plain(&self) -> bool {
        let is_file = FileType::from_raw_mode(self.stat.st_mode) == FileType::RegularFile;
        self.stat.st_uid == 0 && (self.is_directory() || is_file && self.stat.st_nlink == 1)
    }

    /// The names in the directory.
    fn names(&self) -> io::Result<Vec<OsString>> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let mut names = Vec::new();
        for entry in Dir::read_from(openat(&self.file, ".", flags, Mode::empty())?)? {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }
}

/// Changes to `account`'s user and keeps only the capabilities `kept`; none can come back. Returns the user's name or
/// number.
pub(super) fn give_up(
    account: Option<&Account>,
    kept: &[RetainedCapability],
) -> Result<String, ConfineError> {
    let refused = ConfineError::refused("capabilities");
    let wanted: CapsHashSet = kept.iter().map(|kept| kept.capability()).collect();
    let bounding = caps::read(None, CapSet::Bounding).map_err(|error| refused(&error))?;
    // Without CAP_SETPCAP the bounding set cannot shrink. no_new_privs makes it irrelevant anyway.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(false) {
        for capability in bounding.difference(&wanted) {
            caps::drop(None, CapSet::Bounding, *capability).map_err(|error| refused(&error))?;
        }
    }
    let user = match account {
        Some(account) => become_user(account)?,
        None => Uid::effective().to_string(),
    };
    // Only capabilities that the process has can be kept. A start without root has already reported which ones it
    // lacks.
    let permitted = caps::read(None, CapSet::Permitted).map_err(|error| refused(&error))?;
    let left: CapsHashSet = wanted.intersection(&permitted).copied().collect();
    // Ambient and inheritable capabilities matter only for programs that would be started.
    let _ = caps::clear(None, CapSet::Ambient);
    caps::clear(None, CapSet::Inheritable).map_err(|error| refused(&error))?;
    caps::set(None, CapSet::Effective, &left).map_err(|error| refused(&error))?;
    caps::set(None, CapSet::Permitted, &left).map_err(|error| refused(&error))?;
    rustix::thread::set_no_new_privs(true).map_err(|error| refused(&error))?;
    Ok(user)
}

fn become_user(account: &Account) -> Result<String, ConfineError> {
    let refused = ConfineError::refused("root");
    // Without keepcaps the change of the user drops all capabilities, including those to keep.
    caps::securebits::set_keepcaps(true).map_err(|error| refused(&error))?;
    setgroups(&[account.gid]).map_err(|error| refused(&error))?;
    setresgid(account.gid, account.gid, account.gid).map_err(|error| refused(&error))?;
    setresuid(account.uid, account.uid, account.uid).map_err(|error| refused(&error))?;
    caps::securebits::set_keepcaps(false).map_err(|error| refused(&error))?;
    Ok(account.name.clone())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, lchown, symlink};

    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        for (release, since) in [
            ("5.10.0-33-amd64", false),
            ("5.19.0", true),
            ("6.1.0-44-amd64", true),
            ("10.0", true),
            ("", false),
        ] {
            assert_eq!(is_since(release, (5, 19)), since, "{release}");
        }
    }

    #[test]
    fn an_unknown_account_is_named() {
        let error = Account::find(Some("no-such-user")).unwrap_err().to_string();
        assert!(error.contains("no-such-user") && error.contains("--user"), "{error}");
    }

    /// Run this as root, as CI does: without root, the daemon cannot change its user.
    #[test]
    fn only_what_is_roots_and_plain_is_handed_over() {
        let Some(account) = Account::find(Some("nobody")).unwrap() else { panic!("run this as root") };
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("machine")).unwrap();
        for name in ["pxed.db", "machine/log", "hard", "strangers"] {
            fs::write(path(name), "x").unwrap();
        }
        fs::hard_link(path("hard"), path("other-name")).unwrap();
        symlink("/etc/passwd", path("link")).unwrap();
        rustix::fs::mknodat(CWD, path("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        lchown(path("strangers"), Some(12345), None).unwrap();
        let error = account.hand_over(directory.path(), &|path| !path.ends_with("link")).unwrap_err();
        assert!(error.to_string().contains("link, which is not pxed's"), "{error}");
        account.hand_over(directory.path(), &|_| true).unwrap();
        account.hand_over_file(&path("events"), &|_| true).unwrap();
        account.hand_over_file(&path("pipe"), &|_| true).unwrap();
        let roots = tempfile::tempdir().unwrap();
        account.hand_over_file(roots.path(), &|_| true).unwrap();
        assert_eq!(fs::metadata(roots.path()).unwrap().uid(), 0, "a directory in a file's place");
        let owner = |name: &str| fs::symlink_metadata(path(name)).unwrap().uid();
        let given = account.uid.as_raw();
        assert_eq!(["", "pxed.db", "machine", "machine/log", "events"].map(owner), [given; 5]);
        assert_eq!(["hard", "link", "pipe", "strangers"].map(owner), [0, 0, 0, 12345]);
    }

    /// The owner of the directory above can replace what root named by a link.
    #[test]
    fn no_link_is_followed_to_what_is_handed_over() {
        let Some(account) = Account::find(Some("nobody")).unwrap() else { panic!("run this as root") };
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("roots")).unwrap();
        fs::write(path("roots/pxed.db"), "x").unwrap();
        for (name, target) in [("state", "roots"), ("events", "roots/pxed.db"), ("new", "roots/new")] {
            symlink(path(target), path(name)).unwrap();
        }
        account.hand_over(&path("state"), &|_| true).unwrap();
        account.hand_over_file(&path("events"), &|_| true).unwrap();
        account.hand_over_file(&path("new"), &|_| true).unwrap();
        let owner = |name: &str| fs::metadata(path(name)).unwrap().uid();
        assert_eq!(["roots", "roots/pxed.db"].map(owner), [0; 2]);
        assert!(!path("roots/new").exists(), "nothing is made through a link");
    }
}
