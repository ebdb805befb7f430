//! Listings for people: all files that pxed serves, and what one name leads to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;

use super::catalogue::{Catalogue, Entry};
use super::facts::ServedAt;
use super::generated::Content;
use super::image::{Digest, Image, Origin};
use super::mount::{Kind, Mount};
use super::names::FileName;
use super::refusal::Refusal;
use super::tree::ResolvedFile;
use crate::boot::MachineFacts;
use pxe_proto::mac::Mac;

/// The number of directory levels that a listing enters. It is more than any boot tree has, and it ends links
/// that lead in a circle.
const DEPTH_MAX: usize = 16;
/// The most files of one tree that [`Catalogue::targets`] looks at.
const TARGETS_OF_MAX: usize = 50_000;

/// What a name leads to now.
#[derive(Clone, Debug)]
pub enum Preview {
    /// A file: its size in bytes, and its true path after all links.
    File(u64, PathBuf),
    /// A text that pxed generates.
    Written(Arc<Image>),
}

impl Catalogue {
    /// What a request for a name would get now. The result is the same as that of [`Self::load_for`], but the
    /// file is not read.
    ///
    /// # Errors
    /// Why pxed would not serve the name.
    pub fn preview_for(
        &self,
        name: &FileName,
        here: ServedAt,
        facts: impl FnOnce(Option<Mac>) -> Option<MachineFacts>,
    ) -> Result<Preview, Refusal> {
        self.written_or(name, here, facts, |name| self.see(name), Preview::Written)
    }

    fn see(&self, name: &FileName) -> Result<Preview, Refusal> {
        if let Some(written) = self.store.get(name).filter(|image| *image.origin() == Origin::Generated) {
            return Ok(Preview::Written(written));
        }
        let found = self.find(name)?;
        let (_, stat) = found.open()?;
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        if size > self.store.memory().limit() {
            return Err(Refusal::TooLarge);
        }
        Ok(Preview::File(size, found.path()))
    }

    /// All files by name, each with its size and hash, or with the reason why pxed refuses it. This reads
    /// every file of the trees, so only `pxed images` uses it, not the daemon.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.mounts.iter().flat_map(Mount::entries).collect()
    }

    /// The directories outside of the roots that hold the targets of links inside, as the links are now. The
    /// confinement permits reading them. Only a limited number of files is looked at, so that the start does
    /// not take long.
    #[must_use]
    pub fn targets(&self) -> Vec<PathBuf> {
        let mut targets = BTreeSet::new();
        for mount in &self.mounts {
            let Kind::Tree(root) = &mount.kind else { continue };
            let root = root.canonicalize().unwrap_or_else(|_| root.clone());
            let mut left = TARGETS_OF_MAX;
            mount.walk(&mut |_, found| {
                let path = found.ok().map(|found| found.path());
                targets.extend(path.and_then(|path| path.parent().map(Path::to_owned)));
                left -= 1;
                left > 0
            });
            targets.retain(|path| !path.starts_with(&root));
        }
        targets.into_iter().collect()
    }
}

impl Mount {
    fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        match &self.kind {
            Kind::Virtual(table) | Kind::Stored(table) => {
                entries.extend(table.iter().map(|(name, content)| match content {
                    Content::Generated(bytes) => {
                        let content = Digest::of(bytes.as_slice()).map_err(Refusal::from);
                        Entry { name: *name, origin: Origin::Generated, content }
                    }
                    Content::File(path) => {
                        entry(*name, self.find(name), Path::new("/").join(&**path).as_path())
                    }
                }))
            }
            Kind::Tree(root) => self.walk(&mut |name, found| {
                entries.push(entry(name, found, &root.join(name.to_string())));
                true
            }),
        }
        for entry in &mut entries {
            if let Ok(name) = self.whole(&entry.name) {
                entry.name = name;
            }
        }
        entries
    }

    /// Calls `visit` for each file of a tree until `visit` returns `false`.
    fn walk(&self, visit: Visit<'_>) {
        let top = super::tree::names(self.tree.root()).unwrap_or_default();
        self.walk_in(&[], top, &mut vec![self.tree.root_id()], visit);
    }

    fn walk_in(
        &self,
        directory: &[u8],
        names: Vec<Vec<u8>>,
        parents: &mut Vec<(u64, u64)>,
        visit: Visit<'_>,
    ) -> bool {
        for name in names {
            let path = if directory.is_empty() { name } else { [directory, b"/", &name].concat() };
            // Skip a name that no client can request, such as one with a backslash in it.
            let Some(name) = FileName::normalise(&path).ok().filter(|name| name.as_bytes() == path) else {
                continue;
            };
            let goes_on = match self.find(&name) {
                Ok(found) if found.file_type() == FileType::Directory => {
                    if parents.len() == DEPTH_MAX || parents.contains(&found.id()) {
                        continue;
                    }
                    parents.push(found.id());
                    let goes_on = self.walk_in(&path, found.names().unwrap_or_default(), parents, visit);
                    parents.pop();
                    goes_on
                }
                found => visit(name, found),
            };
            if !goes_on {
                return false;
            }
        }
        true
    }
}

/// Receives a name and what it leads to. Returns whether the walk continues.
type Visit<'a> = &'a mut dyn FnMut(FileName, Result<ResolvedFile, Refusal>) -> bool;

fn entry(name: FileName, found: Result<ResolvedFile, Refusal>, path: &Path) -> Entry {
    let origin = Origin::File(found.as_ref().map_or_else(|_| path.to_owned(), ResolvedFile::path));
    let content = found.and_then(|found| {
        let (file, _) = found.open()?;
        Ok(Digest::of(file)?)
    });
    Entry { name, origin, content }
}
