//! A mount: a directory tree or a table of installed files, and the first component of the names that lead
//! into it.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::error::CatalogueError;
use super::generated::{Content, Virtual};
use super::image_spec::Stored;
use super::names::FileName;
use super::refusal::Refusal;
use super::tree::{Links, Readers, ResolvedFile, Tree};

/// How a mount translates a name into a path below its tree's root.
#[derive(Debug)]
pub(super) enum Kind {
    /// The name is the path. The value is the root directory.
    Tree(PathBuf),
    /// A table translates names into paths and generated contents.
    Virtual(Virtual),
    /// A table translates names into paths in a cache. The files are loaded when a machine asks for them.
    Stored(Virtual),
}

/// One part of the names that pxed serves.
#[derive(Debug)]
pub(super) struct Mount {
    /// The first component of the names in this mount. Empty for the mount of all other names.
    prefix: String,
    pub(super) kind: Kind,
    pub(super) tree: Tree,
}

impl Mount {
    /// Serves the directory `root` as it is. The daemon changes its user after the start, and that user may
    /// have no access to a directory above `root`. Then this reuses the descriptor of the mount in `earlier`
    /// with the same root.
    pub(super) fn directory(
        prefix: &str,
        root: &Path,
        links: Links,
        earlier: &[Self],
    ) -> Result<Self, CatalogueError> {
        let readers = Readers::Everybody;
        let is_it = |mount: &&Self| matches!(&mount.kind, Kind::Tree(path) if path == root);
        let tree = match Tree::open(root, links, readers) {
            Err(Errno::ACCESS) => earlier.iter().find(is_it).map(|mount| mount.tree.again(links, readers)),
            opened => Some(opened.map_err(|errno| failed(root, errno))?),
        };
        let tree = tree.ok_or_else(|| failed(root, Errno::ACCESS))?;
        Ok(Self { prefix: prefix.to_owned(), kind: Kind::Tree(root.to_owned()), tree })
    }

    /// Serves the files below `system` that `table` finds.
    pub(super) fn installed(
        prefix: &str,
        system: &Path,
        table: impl FnOnce(&Tree) -> Virtual,
    ) -> Result<Self, CatalogueError> {
        let tree = Tree::open(system, Links::FollowAdministrators, Readers::Daemon)
            .map_err(|errno| failed(system, errno))?;
        Ok(Self { prefix: prefix.to_owned(), kind: Kind::Virtual(table(&tree)), tree })
    }

    /// Serves single files, each from its own path below `system`.
    pub(super) fn single(system: &Path, files: &[(FileName, String)]) -> Result<Self, CatalogueError> {
        let tree = Tree::open(system, Links::FollowAdministrators, Readers::Everybody)
            .map_err(|errno| failed(system, errno))?;
        Ok(Self { prefix: String::new(), kind: Kind::Virtual(Virtual::of(files)), tree })
    }

    /// Serves an image's files from a cache that only the daemon writes to.
    pub(super) fn stored(prefix: &str, stored: &Stored) -> Result<Self, CatalogueError> {
        // Without files the directory may not exist yet.
        let directory = if stored.files.is_empty() { Path::new("/") } else { &stored.directory };
        let tree = Tree::open(directory, Links::Stay, Readers::Daemon);
        let tree = tree.map_err(|errno| failed(directory, errno))?;
        Ok(Self { prefix: prefix.to_owned(), kind: Kind::Stored(Virtual::of(&stored.files)), tree })
    }

    /// The rest of a name in this mount, without the prefix. `None` if the name lies in another mount.
    pub(super) fn inside(&self, name: &FileName) -> Option<FileName> {
        if self.prefix.is_empty() {
            return Some(*name);
        }
        let rest = name.as_bytes().strip_prefix(self.prefix.as_bytes())?.strip_prefix(b"/")?;
        FileName::normalise(rest).ok()
    }

    /// The complete name of a file in this mount, with the prefix.
    pub(super) fn whole(&self, inside: &FileName) -> Result<FileName, Refusal> {
        FileName::normalise(&[self.prefix.as_bytes(), b"/", inside.as_bytes()].concat())
    }

    /// The first component of the names in this mount. Empty for the mount of all other names.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Follows a name in this mount to its file or directory. Generated contents have no file, so the result
    /// for them is [`Refusal::NotFound`].
    pub(super) fn find(&self, inside: &FileName) -> Result<ResolvedFile, Refusal> {
        let path = match &self.kind {
            Kind::Tree(_) => inside.as_bytes(),
            Kind::Virtual(table) | Kind::Stored(table) => match table.get(inside) {
                Some(Content::File(path)) => path.as_bytes(),
                _ => return Err(Refusal::NotFound),
            },
        };
        self.tree.find(path)
    }

    /// Checks whether pxed could serve a name in this mount now. Loads nothing.
    pub(super) fn probe(&self, inside: &FileName) -> Result<(), Refusal> {
        if let Kind::Virtual(table) = &self.kind
            && let Some(Content::Generated(_)) = table.get(inside)
        {
            return Ok(());
        }
        self.find(inside)?.open().map(drop)
    }
}

fn failed(root: &Path, errno: Errno) -> CatalogueError {
    CatalogueError::Root { root: root.to_owned(), reason: errno.to_string() }
}
