//! The catalogue: names, the files behind them, and what each architecture starts with.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pxe_proto::dhcp::{Arch, Programs};

use super::file_loader::FileLoader;
use super::generated::Virtual;
use super::image::{Digest, Image, Origin, Role};
use super::image_spec::ImageSpec;
use super::memory::Memory;
use super::mount::{Kind, Mount};
use super::names::FileName;
use super::refusal::Refusal;
use super::store::Store;
use super::tree::Links;
use super::usual::{self, Wanted};
use super::watch::Watcher;
use crate::suggest::nearest;

/// The first component of the names of installed boot loaders.
pub const LOADERS: &str = "loader";

/// Where the files come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory, served as it stands (`--root`).
    Tree {
        /// The directory.
        root: PathBuf,
        /// What becomes of links that leave it.
        links: Links,
    },
    /// Single files under names of their own (`--kernel`): each with its path below the host's root directory, without links.
    Single(Vec<(FileName, String)>),
    /// What is installed on this host, with configuration files of our own.
    Virtual {
        /// The host's own root directory, `/` but for tests.
        system: PathBuf,
    },
}

/// What to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the files come from.
    pub source: Source,
    /// What architectures start with, where it is not the usual (`--boot-file`).
    pub boot_files: Vec<(Arch, String)>,
    /// The images that rules name.
    pub image_specs: Vec<ImageSpec>,
    /// Where distributions' boot loaders are looked for, `/` but for tests.
    pub system: PathBuf,
    /// Memory for all snapshots together, in bytes; by default half of what is available now.
    pub memory: Option<u64>,
}

impl Default for Config {
    /// What is installed on this host.
    fn default() -> Self {
        let source = Source::Virtual { system: "/".into() };
        Self { source, boot_files: Vec::new(), image_specs: Vec::new(), system: "/".into(), memory: None }
    }
}

/// Why there is nothing to serve. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// The root cannot be opened.
    #[error("cannot serve {}: {reason}. Give an existing, readable directory with --root", root.display())]
    Root {
        /// The directory that was asked for.
        root: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// No usual boot program at the root, and none given.
    #[error(
        "{} has no boot program under a usual name ({usual}): put one there, or name one with --boot-file ARCH=NAME",
        root.display()
    )]
    NoBootProgram {
        /// The directory.
        root: PathBuf,
        /// Some of the names that were looked for.
        usual: String,
    },
    /// The root of an image cannot be opened.
    #[error(
        "image `{image}`: cannot serve {}: {reason}. Give its `root` an existing, readable directory (`cargo xtask image` makes \
         that of a memory test)", root.display()
    )]
    ImageRoot {
        /// The image.
        image: String,
        /// The directory that was asked for.
        root: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// A file given with `--boot-file` or `boot_files` cannot be served.
    #[error("boot file {arch}={name} (--boot-file, `boot_files`): {reason}")]
    BootFile {
        /// The architecture.
        arch: Arch,
        /// The name as given.
        name: String,
        /// Why not.
        reason: String,
    },
    /// Nothing that could be booted is installed.
    #[error(
        "no memtest86+ is installed here, nor anything else to boot: install it (`apt-get install memtest86+ pxelinux \
         syslinux-common`, `dnf install memtest86+ syslinux-nonlinux`, `pacman -S memtest86+ memtest86+-efi syslinux`) or give \
         a directory of your own with --root"
    )]
    NothingInstalled,
    /// The system refused something that is needed.
    #[error("cannot prepare the boot files: {0}")]
    System(Refusal),
}

impl CatalogueError {
    /// The same as said of an image.
    fn of_image(self, image: &str) -> Self {
        match self {
            Self::Root { root, reason } => Self::ImageRoot { image: image.to_owned(), root, reason },
            other => other,
        }
    }
}

/// What is known of a name without waiting.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// It is loaded.
    Ready(Arc<Image>),
    /// Ask [`Catalogue::load`], on the loader's thread.
    Absent,
    /// There is certainly no such file.
    Refused(Refusal),
}

/// What [`Catalogue::changed`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Names that have new contents.
    pub updated: Vec<FileName>,
    /// Names that have none any more, and why.
    pub removed: Vec<(FileName, Refusal)>,
    /// Names whose file changed while it was copied: the old contents stay until the next attempt.
    pub unsettled: Vec<FileName>,
}

/// A line of `pxed images`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name that it is served under.
    pub name: FileName,
    /// Where it comes from.
    pub origin: Origin,
    /// Size and hash, or why it is not served.
    pub content: Result<(u64, Digest), Refusal>,
}

/// Everything that is served. Shared by all threads; see [`Self::lookup`] and [`Self::load`] for who calls what.
#[derive(Debug)]
pub struct Catalogue {
    /// The parts of the names; the first has all names that are in no other.
    pub(super) mounts: Vec<Mount>,
    pub(super) store: Store,
    pub(super) watcher: Option<Watcher>,
    loader: Mutex<FileLoader>,
    pub(super) boot_files: Vec<(Arch, FileName)>,
    pub(super) image_specs: Vec<ImageSpec>,
    /// What files are in a boot, where their names do not say it.
    pub(super) roles: HashMap<FileName, Role>,
}

impl Catalogue {
    /// Prepares everything: looks for the files and, for a virtual tree, loads them.
    ///
    /// # Errors
    /// Why nothing could be served, with the remedy.
    pub fn open(config: Config) -> Result<Self, CatalogueError> {
        Self::prepare(config, &[])
    }

    /// The same for a configuration that takes this one's place: directories that it names as well stay open, also if the
    /// user that the daemon has become could not get to them by their paths.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn reopen(&self, config: Config) -> Result<Self, CatalogueError> {
        Self::prepare(config, &self.mounts)
    }

    fn prepare(config: Config, earlier: &[Mount]) -> Result<Self, CatalogueError> {
        let store = Store::new(config.memory.unwrap_or_else(Memory::default_limit));
        let mut mounts = vec![match config.source {
            Source::Tree { root, links } => Mount::directory("", &root, links, earlier)?,
            Source::Single(files) => Mount::single(&config.system, &files)?,
            Source::Virtual { system } => Mount::installed("", &system, Virtual::discover)?,
        }];
        for image_spec in &config.image_specs {
            if let Some((root, links)) = &image_spec.root {
                let mount = Mount::directory(&image_spec.name, root, *links, earlier);
                mounts.push(mount.map_err(|error| error.of_image(&image_spec.name))?);
            }
        }
        if config.image_specs.iter().any(ImageSpec::is_written) {
            mounts.push(Mount::installed(LOADERS, &config.system, Virtual::loaders)?);
        }
        let watcher = Watcher::new()
            .inspect_err(
                |error| tracing::warn!(%error, "no inotify: pxed notices changes of boot files a few seconds later"),
            )
            .ok();
        let mut catalogue = Self {
            mounts,
            store,
            watcher,
            loader: Mutex::default(),
            boot_files: Vec::new(),
            image_specs: config.image_specs,
            roles: HashMap::new(),
        };
        catalogue.set_boot_files(config.boot_files)?;
        catalogue.check()?;
        catalogue.set_roles();
        catalogue.preload()?;
        Ok(catalogue)
    }

    fn set_boot_files(&mut self, given: Vec<(Arch, String)>) -> Result<(), CatalogueError> {
        for (arch, text) in given {
            let refused = |reason: String| CatalogueError::BootFile { arch, name: text.clone(), reason };
            let name: FileName = text.parse().map_err(|refusal: Refusal| refused(refusal.to_string()))?;
            usual::program(name).map_err(|invalid| refused(invalid.to_string()))?;
            self.probe(&name).map_err(|refusal| refused(format!("{refusal}{}", self.near(&name))))?;
            self.boot_files.push((arch, name));
        }
        Ok(())
    }

    fn check(&self) -> Result<(), CatalogueError> {
        match &self.top().kind {
            // Rules may do without what everybody gets.
            _ if !self.image_specs.is_empty() => Ok(()),
            Kind::Tree(root) if usual::choose(self.top(), &self.boot_files, Wanted::Any).is_empty() => {
                Err(CatalogueError::NoBootProgram { root: root.clone(), usual: usual::some_names() })
            }
            Kind::Virtual(table) if table.is_empty() => Err(CatalogueError::NothingInstalled),
            _ => Ok(()),
        }
    }

    fn preload(&self) -> Result<(), CatalogueError> {
        for mount in &self.mounts {
            let Kind::Virtual(table) = &mount.kind else { continue };
            for (inside, bytes) in table.generated() {
                let name = mount.whole(&inside).map_err(CatalogueError::System)?;
                let image = Image::generated(name, bytes, self.store.memory())
                    .map_err(|error| CatalogueError::System(error.into()))?;
                self.store.insert(Arc::new(image));
            }
            for name in table.files().filter_map(|inside| mount.whole(&inside).ok()) {
                if let Err(refusal) = self.load(&name) {
                    tracing::warn!(%name, %refusal, "cannot read a boot file now");
                }
            }
        }
        Ok(())
    }

    /// Bytes of all snapshots in memory.
    #[must_use]
    pub fn memory_used(&self) -> u64 {
        self.store.memory().used()
    }

    /// The directories that who runs now cannot list: everything in them would be refused to machines.
    pub fn unlisted(&self) -> impl Iterator<Item = &Path> {
        let closed = self.mounts.iter().filter(|mount| !mount.tree.is_open_to_us());
        closed.filter_map(|mount| match &mount.kind {
            Kind::Tree(root) => Some(root.as_path()),
            Kind::Virtual(_) => None,
        })
    }

    /// What is known of a name: takes no lock, reads no file; for every thread.
    #[must_use]
    pub fn lookup(&self, name: &FileName) -> Lookup {
        if let Some(image) = self.store.get(name) {
            return Lookup::Ready(image);
        }
        let is_written = self.personal(name).is_some();
        let (mount, inside) = self.place(name);
        match &mount.kind {
            Kind::Virtual(table) if !is_written && !table.contains(&inside) => {
                Lookup::Refused(Refusal::NotFound)
            }
            _ => Lookup::Absent,
        }
    }

    /// Loads a file unless it is loaded as it is now. Reads files and may wait: for the loader's thread only.
    ///
    /// A file that somebody is still writing, but not at this moment, looks whole: the first who asks gets what is
    /// there, later ones the rest, once it is closed. Who replaces a file by renaming avoids that.
    ///
    /// # Errors
    /// Why it is not served. Nothing is remembered: the next call looks again.
    pub fn load(&self, name: &FileName) -> Result<Arc<Image>, Refusal> {
        self.loader().load(self, name)
    }

    /// Readable when [`Self::changed`] has something to do. `None` where there is no inotify: then only
    /// [`Self::recheck`] notices changes.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watcher.as_ref().map(|watcher| watcher.as_fd())
    }

    /// Loads again what changed, as far as inotify said so, and what did not hold still last time. For the loader's
    /// thread.
    pub fn changed(&self) -> Changes {
        self.loader().changed(self)
    }

    /// Looks at all loaded files again, by their times and sizes: for changes that inotify does not report, as on network
    /// file systems and through mappings. What changed is loaded when it looks the same twice in a row. Cheap; for the loader's thread, every few seconds.
    pub fn recheck(&self) -> Changes {
        self.loader().recheck(self)
    }

    /// What each architecture starts with, as things are now: a tree's may change, so ask again after a while.
    #[must_use]
    pub fn programs(&self) -> Programs {
        usual::programs(self.top(), &self.boot_files, Wanted::Any)
    }

    fn loader(&self) -> MutexGuard<'_, FileLoader> {
        // A panic while loading leaves at worst a file that is loaded again.
        self.loader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Catalogue {
    /// The part that has all names that are in no other.
    pub(super) fn top(&self) -> &Mount {
        // There is always one: see [`Self::open`].
        &self.mounts[0]
    }

    /// Where a name lies, and what is left of it there.
    pub(super) fn place(&self, name: &FileName) -> (&Mount, FileName) {
        let others = self.mounts.iter().skip(1);
        let found = others.filter_map(|mount| Some((mount, mount.inside(name)?))).next();
        found.unwrap_or((self.top(), *name))
    }

    /// Whether that name could be served now; loads nothing.
    pub fn probe(&self, name: &FileName) -> Result<(), Refusal> {
        let (mount, inside) = self.place(name);
        mount.probe(&inside)
    }

    /// Whether a directory of that name is served.
    #[must_use]
    pub fn is_directory(&self, name: &str) -> bool {
        let Ok(name) = name.parse() else { return false };
        let (mount, inside) = self.place(&name);
        mount.find(&inside).is_ok_and(|found| found.names().is_ok())
    }

    /// `; did you mean NAME?`, if a file beside a name that is not there is like it.
    pub(super) fn near(&self, name: &FileName) -> String {
        let (mount, inside) = self.place(name);
        let (directory, base) = match inside.as_bytes().iter().rposition(|byte| *byte == b'/') {
            Some(slash) => inside.as_bytes().split_at(slash + 1),
            None => (&[][..], inside.as_bytes()),
        };
        let listed = match FileName::normalise(directory) {
            Ok(directory) => mount.find(&directory).ok().and_then(|found| found.names().ok()),
            Err(_) => super::tree::names(mount.tree.root()).ok(),
        };
        let listed: Vec<String> =
            listed.unwrap_or_default().into_iter().filter_map(|name| String::from_utf8(name).ok()).collect();
        let base = String::from_utf8_lossy(base);
        match nearest(&base, listed.iter().map(String::as_str)) {
            Some(near) => format!("; did you mean `{}{near}`?", String::from_utf8_lossy(directory)),
            None => String::new(),
        }
    }

    /// What cannot be booted and how to change that: a sentence each, for the log at start.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        if !self.image_specs.is_empty() {
            return self
                .image_specs
                .iter()
                .flat_map(|image_spec| {
                    [
                        self.missing_of(image_spec),
                        self.overruled_of(image_spec),
                        self.unreached_of(image_spec),
                    ]
                    .concat()
                })
                .collect();
        }
        match &self.top().kind {
            Kind::Virtual(table) => table.missing(),
            Kind::Tree(root) => usual::missing(self.top(), root, &self.boot_files),
        }
    }
}

#[cfg(test)]
mod tests;
