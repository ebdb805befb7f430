//! The catalogue: the names that pxed serves, the files behind them, and the boot program of each
//! architecture.
//!
//! The daemon opens a [`Catalogue`] at its start, and opens a new one when a reload changes the files
//! ([`Catalogue::reopen`]). All threads share it. Workers call only [`Catalogue::lookup`], which takes no
//! lock. `images.rs`, `entries.rs`, `adopted.rs` and `file_loader.rs` add further methods.

mod file_loader;

use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pxe_proto::dhcp::{Arch, Programs};

use super::error::CatalogueError;
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
use file_loader::FileLoader;

/// The first component of the names of installed boot loaders.
pub const LOADERS: &str = "loader";

/// Where boot files come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory, served as it is (`--root`).
    Tree {
        /// The path of the directory.
        root: PathBuf,
        /// What happens to links that lead out of the directory.
        links: Links,
    },
    /// Single files (`--kernel`): the name of each, and its path below the host's root directory. The paths
    /// contain no links.
    Single(Vec<(FileName, String)>),
    /// What is installed on this host, with configuration files that pxed generates.
    Virtual {
        /// The host's root directory: `/`, or another directory in tests.
        system: PathBuf,
    },
}

/// What to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where boot files for all machines come from.
    pub source: Source,
    /// The boot programs of architectures that do not start with the usual one (`--boot-file`).
    pub boot_files: Vec<(Arch, String)>,
    /// The images that rules name.
    pub image_specs: Vec<ImageSpec>,
    /// The host's root directory, below which distributions install boot loaders: `/`, or another directory
    /// in tests.
    pub system: PathBuf,
    /// The limit of memory for all snapshots together, in bytes. `None`: half of what is available now, see
    /// `Memory::default_limit`.
    pub memory: Option<u64>,
}

impl Default for Config {
    /// Serves what is installed on this host.
    fn default() -> Self {
        let source = Source::Virtual { system: "/".into() };
        Self { source, boot_files: Vec::new(), image_specs: Vec::new(), system: "/".into(), memory: None }
    }
}

/// The result of a look-up that does not wait.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// The file is loaded.
    Ready(Arc<Image>),
    /// The file is not loaded. Call [`Catalogue::load_for`] on a thread that may block.
    NotLoaded,
    /// The name is certainly not served: its mount is a table, and the table does not have it.
    Refused(Refusal),
}

/// What [`Catalogue::changed`] or [`Catalogue::recheck`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Names with new contents.
    pub updated: Vec<FileName>,
    /// Names that pxed does not serve any more, each with the reason.
    pub removed: Vec<(FileName, Refusal)>,
    /// Names whose file changed during every attempt to copy it. The old contents stay until the next
    /// attempt.
    pub unsettled: Vec<FileName>,
    /// Whether entries of watched directories changed: files may have been added or removed. False if programs
    /// only went on to write to files.
    pub entries: bool,
}

impl Changes {
    fn forget(&mut self, name: &FileName) {
        self.updated.retain(|other| other != name);
        self.removed.retain(|(other, _)| other != name);
        self.unsettled.retain(|other| other != name);
    }
}

/// A line of `pxed images`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name under which pxed serves the file.
    pub name: FileName,
    /// Where the contents come from.
    pub origin: Origin,
    /// The size in bytes and the hash, or the reason why pxed does not serve the file.
    pub content: Result<(u64, Digest), Refusal>,
}

/// All files that pxed serves. All threads share it. [`Self::lookup`] is for every thread. [`Self::load`] and
/// the other calls that read files may block, so workers must not make them.
#[derive(Debug)]
pub struct Catalogue {
    /// The parts of the names. The first mount has all names that lie in no other mount.
    pub(super) mounts: Vec<Mount>,
    pub(super) store: Store,
    pub(super) watcher: Option<Watcher>,
    loader: Mutex<FileLoader>,
    pub(super) boot_files: Vec<(Arch, FileName)>,
    pub(super) image_specs: Vec<ImageSpec>,
    /// The roles of files in a boot, for files whose names do not show it.
    pub(super) roles: HashMap<FileName, Role>,
}

impl Catalogue {
    /// Opens the directories, and loads the files of a table (installed or single files). Files of a
    /// directory are loaded at the first request.
    ///
    /// # Errors
    /// Why pxed could serve nothing, with the remedy.
    pub fn open(config: Config) -> Result<Self, CatalogueError> {
        Self::prepare(config, &[])
    }

    /// Opens a catalogue for a new configuration, which replaces this one. Directories that both
    /// configurations name stay usable, even if the daemon's user cannot open them by their paths any more.
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
            } else if let Some(stored) = &image_spec.stored {
                mounts.push(Mount::stored(&image_spec.name, stored)?);
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
            // With images, rules decide what machines boot, so files for all machines are not necessary.
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

    /// The size of all snapshots in memory, in bytes.
    #[must_use]
    pub fn memory_used(&self) -> u64 {
        self.store.memory().used()
    }

    /// The served directories that the daemon's current user cannot list and enter. pxed refuses all files in
    /// them.
    pub fn inaccessible_roots(&self) -> impl Iterator<Item = &Path> {
        let closed = self.mounts.iter().filter(|mount| !mount.tree.is_open_to_us());
        closed.filter_map(|mount| match &mount.kind {
            Kind::Tree(root) => Some(root.as_path()),
            Kind::Virtual(_) | Kind::Stored(_) => None,
        })
    }

    /// Looks a name up among the loaded files. Takes no lock and reads no file, so every thread may call it.
    #[must_use]
    pub fn lookup(&self, name: &FileName) -> Lookup {
        if let Some(image) = self.store.get(name) {
            return Lookup::Ready(image);
        }
        let is_written = self.machine_file(name).is_some();
        let (mount, inside) = self.place(name);
        match &mount.kind {
            Kind::Virtual(table) | Kind::Stored(table) if !is_written && !table.contains(&inside) => {
                Lookup::Refused(Refusal::NotFound)
            }
            _ => Lookup::NotLoaded,
        }
    }

    /// Returns the file as it is now: the loaded snapshot if the file is unchanged, else a new one. This
    /// reads files and takes a lock, so it may block: never call it on a worker.
    ///
    /// A file that another program writes in several steps looks complete between two writes. An early client
    /// then gets a partial file, and later clients get the complete file once the writer has closed it. To
    /// avoid that, replace files by rename.
    ///
    /// # Errors
    /// Why pxed does not serve the file. Errors are not cached: the next call looks again.
    pub fn load(&self, name: &FileName) -> Result<Arc<Image>, Refusal> {
        self.loader().load(self, name)
    }

    /// A descriptor that is readable when [`Self::changed`] has something to do. `None` if inotify is not
    /// available: then only [`Self::recheck`] notices changes.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watcher.as_ref().map(|watcher| watcher.as_fd())
    }

    /// Loads files again that inotify reported as changed, and files that changed during the last copy. May
    /// block: for the loader thread.
    pub fn changed(&self) -> Changes {
        self.loader().changed(self)
    }

    /// Compares the times and sizes of all loaded files. This notices changes that inotify does not report,
    /// on network file systems and through memory mappings. A changed file is loaded again once two calls in
    /// a row see the same times and size. A file that is gone is removed at once. The call is cheap. The
    /// loader thread makes it every few seconds.
    pub fn recheck(&self) -> Changes {
        self.loader().recheck(self)
    }

    /// The boot program of each architecture for all machines. The files of a directory may change, so ask
    /// again after a change.
    #[must_use]
    pub fn programs(&self) -> Programs {
        usual::programs(self.top(), &self.boot_files, Wanted::Any)
    }

    fn loader(&self) -> MutexGuard<'_, FileLoader> {
        // Ignore a poisoned lock: after a panic while loading, the worst case is that a file is loaded again.
        self.loader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Catalogue {
    /// The mount of all names that lie in no other mount.
    pub(super) fn top(&self) -> &Mount {
        // [`Self::prepare`] puts one mount there at least.
        &self.mounts[0]
    }

    /// The mount of a name, and the rest of the name in that mount.
    pub(super) fn place(&self, name: &FileName) -> (&Mount, FileName) {
        let others = self.mounts.iter().skip(1);
        let found = others.filter_map(|mount| Some((mount, mount.inside(name)?))).next();
        found.unwrap_or((self.top(), *name))
    }

    /// Checks whether pxed could serve this name now. Loads nothing.
    ///
    /// # Errors
    /// Why pxed would not serve it.
    pub fn probe(&self, name: &FileName) -> Result<(), Refusal> {
        let (mount, inside) = self.place(name);
        mount.probe(&inside)
    }

    /// Whether a directory of this name exists in the served trees.
    #[must_use]
    pub fn is_directory(&self, name: &str) -> bool {
        let Ok(name) = name.parse() else { return false };
        let (mount, inside) = self.place(&name);
        mount.find(&inside).is_ok_and(|found| found.names().is_ok())
    }

    /// The text `; did you mean NAME?` if the directory of a missing file has a similar name, else an empty
    /// string.
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

    /// One sentence for each thing that cannot be booted, with the remedy. The daemon logs them at the start.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        if !self.image_specs.is_empty() {
            return self
                .image_specs
                .iter()
                .flat_map(|image_spec| {
                    [
                        self.missing_of(image_spec),
                        self.conflicts_of(image_spec),
                        self.unsupported_of(image_spec),
                    ]
                    .concat()
                })
                .collect();
        }
        match &self.top().kind {
            Kind::Virtual(table) | Kind::Stored(table) => table.missing(),
            Kind::Tree(root) => usual::missing(self.top(), root, &self.boot_files),
        }
    }
}

#[cfg(test)]
mod tests;
