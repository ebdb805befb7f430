//! One directory tree, or table of installed files, and the first component of the names that lead into it.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::catalogue::CatalogueError;
use super::generated::{Content, Virtual};
use super::names::FileName;
use super::refusal::Refusal;
use super::tree::{Links, Readers, ResolvedFile, Tree};

/// How a name becomes a path below the tree's root.
#[derive(Debug)]
pub(super) enum Kind {
    /// It is one.
    Tree(PathBuf),
    /// By a table.
    Virtual(Virtual),
}

/// A part of the names that are served.
#[derive(Debug)]
pub(super) struct Mount {
    /// The first component of its names; empty for the part that has all other names.
    prefix: String,
    pub(super) kind: Kind,
    pub(super) tree: Tree,
}

impl Mount {
    /// A directory, served as it stands; as one of `earlier` has it open, if its path leads through what is closed to the user
    /// that we are by now.
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

    /// What is installed below `system`, as far as `table` knows it.
    pub(super) fn installed(
        prefix: &str,
        system: &Path,
        table: impl FnOnce(&Tree) -> Virtual,
    ) -> Result<Self, CatalogueError> {
        let tree = Tree::open(system, Links::FollowAdministrators, Readers::Us)
            .map_err(|errno| failed(system, errno))?;
        Ok(Self { prefix: prefix.to_owned(), kind: Kind::Virtual(table(&tree)), tree })
    }

    /// Single files, from wherever they are below `system`.
    pub(super) fn single(system: &Path, files: &[(FileName, String)]) -> Result<Self, CatalogueError> {
        let tree = Tree::open(system, Links::FollowAdministrators, Readers::Everybody)
            .map_err(|errno| failed(system, errno))?;
        Ok(Self { prefix: String::new(), kind: Kind::Virtual(Virtual::of(files)), tree })
    }

    /// What is left of a name inside of this part, if it lies there.
    pub(super) fn inside(&self, name: &FileName) -> Option<FileName> {
        if self.prefix.is_empty() {
            return Some(*name);
        }
        let rest = name.as_bytes().strip_prefix(self.prefix.as_bytes())?.strip_prefix(b"/")?;
        FileName::normalise(rest).ok()
    }

    /// The whole name of something inside.
    pub(super) fn whole(&self, inside: &FileName) -> Result<FileName, Refusal> {
        FileName::normalise(&[self.prefix.as_bytes(), b"/", inside.as_bytes()].concat())
    }

    /// The first component of its names; empty for the part that has all other names.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Follows a name inside to its file.
    pub(super) fn find(&self, inside: &FileName) -> Result<ResolvedFile, Refusal> {
        let path = match &self.kind {
            Kind::Tree(_) => inside.as_bytes(),
            Kind::Virtual(table) => match table.get(inside) {
                Some(Content::File(path)) => path.as_bytes(),
                _ => return Err(Refusal::NotFound),
            },
        };
        self.tree.find(path)
    }

    /// Whether a name inside could be served now; loads nothing.
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
