//! The loader's part of the catalogue: it copies files into memory, watches the directories on their paths,
//! and copies files again that change. A catalogue has one [`FileLoader`], behind the lock
//! `Catalogue::loader`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Catalogue, Changes};
use crate::boot::image::{Image, Stamp};
use crate::boot::names::FileName;
use crate::boot::refusal::Refusal;
use crate::boot::tree::{LookupStep, ResolvedFile};
use crate::boot::watch::{Event, WatchId};

/// The pauses before further attempts to copy a file that changed during the copy.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(2), Duration::from_millis(10), Duration::from_millis(40)];

/// The directory entries on the path to a file, each with the watch of its directory.
type Trail = Vec<(WatchId, Vec<u8>)>;

/// The most often that one [`FileLoader::changed`] copies the files that changed meanwhile. Other requests to
/// the loader wait for it.
const ROUNDS: usize = 4;

/// The state of the loader. Only names of loaded files are in it.
#[derive(Debug, Default)]
pub(super) struct FileLoader {
    /// The watched path of each loaded file.
    trails: HashMap<FileName, Trail>,
    /// Files that changed since they were copied, or during every attempt to copy them.
    stale: HashSet<FileName>,
    /// Files that a program has begun to write and has not closed yet. Half of such a file looks complete
    /// while its writer pauses.
    writing: HashSet<FileName>,
    /// All watches that exist.
    watched: HashSet<WatchId>,
    /// New versions that the last [`Self::recheck`] saw for the first time.
    suspects: HashMap<FileName, Stamp>,
}

impl FileLoader {
    /// See [`Catalogue::load`].
    pub(super) fn load(&mut self, catalogue: &Catalogue, name: &FileName) -> Result<Arc<Image>, Refusal> {
        let loaded = catalogue.store.get(name);
        if let Some(image) = &loaded
            && (self.writing.contains(name) || catalogue.is_current(image))
        {
            return Ok(Arc::clone(image));
        }
        let copy = self.copy(catalogue, name);
        match (self.publish(catalogue, name, copy), loaded) {
            (Err(Refusal::Changing), Some(image)) => Ok(image),
            (result, _) => result,
        }
    }

    /// See [`Catalogue::changed`].
    pub(super) fn changed(&mut self, catalogue: &Catalogue) -> Changes {
        let mut changes = Changes::default();
        self.follow(catalogue, &mut changes);
        self.finish(catalogue, changes)
    }

    /// Copies what inotify reports as changed.
    fn follow(&mut self, catalogue: &Catalogue, changes: &mut Changes) {
        for _ in 0..ROUNDS {
            changes.entries |= self.drain(catalogue);
            // A file that is still written gets an event when it is closed.
            let ready = self.stale.extract_if(|name| !self.writing.contains(name)).collect::<Vec<_>>();
            if ready.is_empty() {
                break;
            }
            self.reload_all(catalogue, ready, changes);
        }
    }

    /// See [`Catalogue::recheck`]. A file may be half written, so a new version counts only if two calls in a
    /// row see the same times and size.
    pub(super) fn recheck(&mut self, catalogue: &Catalogue) -> Changes {
        let mut changes = Changes::default();
        self.follow(catalogue, &mut changes);
        let mut ready = Vec::new();
        let before = std::mem::take(&mut self.suspects);
        for image in catalogue.store.files() {
            let name = *image.name();
            match catalogue.stamp(&name) {
                // The file was touched and is as before, or inotify missed its end.
                Ok(stamp) if Some(stamp) == image.stamp() => drop(self.writing.remove(&name)),
                Ok(stamp) if before.get(&name) != Some(&stamp) => {
                    self.suspects.insert(name, stamp);
                }
                _ => {
                    // A writer that pauses so long counts as ready.
                    self.writing.remove(&name);
                    ready.push(name);
                }
            }
        }
        self.reload_all(catalogue, ready, &mut changes);
        self.finish(catalogue, changes)
    }

    /// Reads what inotify has, and notes which files changed and which are written at the moment. Returns
    /// whether entries of watched directories changed. Only the loader thread may call it, because inotify
    /// does not report an event twice.
    ///
    /// A changed file is copied again even if its times and size are the same: two changes within one tick of
    /// the file system's clock do not change them.
    fn drain(&mut self, catalogue: &Catalogue) -> bool {
        let Some(watcher) = &catalogue.watcher else { return false };
        let mut entries = false;
        for event in watcher.drain() {
            entries |= !matches!(event, Event::Writing(..));
            if event == Event::Lost {
                tracing::debug!("inotify lost events: reading all files again");
                self.writing.clear();
                self.stale.extend(catalogue.store.files().iter().map(|image| *image.name()));
            }
            self.trails.retain(|file, trail| {
                let effect = effect(trail, &event);
                match effect {
                    Effect::None => return true,
                    Effect::Written => {
                        self.writing.insert(*file);
                        return true;
                    }
                    Effect::Touched => {}
                    Effect::Replaced | Effect::Moved => drop(self.writing.remove(file)),
                }
                self.stale.insert(*file);
                // Later events on the old path are about another file.
                !matches!(effect, Effect::Moved)
            });
        }
        entries
    }

    fn reload_all(&mut self, catalogue: &Catalogue, names: Vec<FileName>, changes: &mut Changes) {
        for name in names {
            let mut copy = self.copy(catalogue, &name);
            // A program may have begun to write the file since it was looked up. It may pause now, so that
            // the file's times and size stayed the same during the copy.
            changes.entries |= self.drain(catalogue);
            if self.writing.contains(&name) {
                copy = copy.and(Err(Refusal::Changing));
            }
            // The last result counts if one call copies a file twice.
            changes.forget(&name);
            match self.publish(catalogue, &name, copy) {
                Ok(_) => changes.updated.push(name),
                Err(Refusal::Changing) if catalogue.store.get(&name).is_some() => {
                    changes.unsettled.push(name)
                }
                Err(refusal) => changes.removed.push((name, refusal)),
            }
        }
    }

    fn finish(&mut self, catalogue: &Catalogue, changes: Changes) -> Changes {
        self.stale.extend(&changes.unsettled);
        self.forget_unused_watches(catalogue);
        changes
    }

    /// Publishes a copy of a file. If pxed cannot serve the file any more, its old copy is removed. If the
    /// file changed during every attempt to copy it, the last complete copy stays.
    fn publish(
        &mut self,
        catalogue: &Catalogue,
        name: &FileName,
        copy: Result<Image, Refusal>,
    ) -> Result<Arc<Image>, Refusal> {
        match copy {
            Ok(image) => {
                let image = Arc::new(image);
                catalogue.store.insert(Arc::clone(&image));
                Ok(image)
            }
            Err(refusal) => {
                if refusal != Refusal::Changing || catalogue.store.get(name).is_none() {
                    catalogue.store.remove(&[*name]);
                    self.forget(name);
                }
                Err(refusal)
            }
        }
    }

    fn forget(&mut self, name: &FileName) {
        let Self { trails, stale, writing, watched: _, suspects } = self;
        trails.remove(name);
        stale.remove(name);
        writing.remove(name);
        suspects.remove(name);
    }

    /// Copies a file. Tries again for a moment if it changes during the copy.
    fn copy(&mut self, catalogue: &Catalogue, name: &FileName) -> Result<Image, Refusal> {
        let mut result = self.attempt(catalogue, name);
        for pause in PAUSES {
            if result.as_ref().err() != Some(&Refusal::Changing) {
                break;
            }
            std::thread::sleep(pause);
            result = self.attempt(catalogue, name);
        }
        result
    }

    fn attempt(&mut self, catalogue: &Catalogue, name: &FileName) -> Result<Image, Refusal> {
        let found = self.find_watched(catalogue, name)?;
        let (file, stat) = found.open()?;
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        for dropped in catalogue.store.make_room(size, name)? {
            tracing::debug!(name = %dropped, "dropped to make room");
            if dropped != *name {
                self.forget(&dropped);
            }
        }
        Image::copy(*name, &file, &stat, found.path(), catalogue.role(name), catalogue.store.memory())
    }

    /// Finds a file, and watches all directory entries on its path from before they were looked up.
    fn find_watched(&mut self, catalogue: &Catalogue, name: &FileName) -> Result<ResolvedFile, Refusal> {
        let found = catalogue.find(name)?;
        let trail = watch(catalogue, &found.trail);
        self.watched.extend(trail.iter().map(|(id, _)| *id));
        // If the path was watched already, no change went unnoticed. Otherwise walk the path again, now that
        // it is watched.
        if self.trails.get(name) == Some(&trail) {
            return Ok(found);
        }
        let again = catalogue.find(name)?;
        if !same_path(&found.trail, &again.trail) {
            return Err(Refusal::Changing);
        }
        self.trails.insert(*name, trail);
        Ok(again)
    }

    /// Removes watches that lead to no loaded file, because each costs kernel memory.
    fn forget_unused_watches(&mut self, catalogue: &Catalogue) {
        let Some(watcher) = &catalogue.watcher else { return };
        let used: HashSet<_> = self.trails.values().flatten().map(|(id, _)| *id).collect();
        for id in self.watched.difference(&used) {
            watcher.remove(*id);
        }
        self.watched = used;
    }
}

fn watch(catalogue: &Catalogue, steps: &[LookupStep]) -> Trail {
    let Some(watcher) = &catalogue.watcher else { return Trail::new() };
    let last = steps.len().saturating_sub(1);
    let mut trail = Trail::with_capacity(steps.len());
    for (i, step) in steps.iter().enumerate() {
        match watcher.add(&step.dir, i == last) {
            Ok(id) => trail.push((id, step.name.clone())),
            Err(error) => tracing::warn!(
                %error,
                "cannot watch a directory for changes: raise fs.inotify.max_user_watches. Until then pxed notices changes a few seconds later"
            ),
        }
    }
    trail
}

fn same_path(a: &[LookupStep], b: &[LookupStep]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.dir.id() == b.dir.id() && a.name == b.name)
}

/// What an event means for a loaded file.
enum Effect {
    None,
    /// A program writes to the file.
    Written,
    /// The attributes of the file changed, and so perhaps the right to read it.
    Touched,
    /// The file is complete, or there is another one under its last name.
    Replaced,
    /// The path leads elsewhere: a directory or a link on it changed.
    Moved,
}

fn effect(trail: &Trail, event: &Event) -> Effect {
    let is_on_path =
        |id: &WatchId, name: &Vec<u8>| trail.iter().any(|(watched, entry)| watched == id && entry == name);
    let is_file = |id: &WatchId, name: &Vec<u8>| {
        trail.last().is_some_and(|(watched, entry)| watched == id && entry == name)
    };
    match event {
        Event::Writing(id, name) if is_file(id, name) => Effect::Written,
        Event::Attributes(id, name) if is_on_path(id, name) => Effect::Touched,
        Event::Entry(id, name) if is_file(id, name) => Effect::Replaced,
        Event::Entry(id, name) if is_on_path(id, name) => Effect::Moved,
        Event::Directory(id) if trail.iter().any(|(watched, _)| watched == id) => Effect::Moved,
        Event::Writing(..) | Event::Attributes(..) | Event::Entry(..) | Event::Directory(_) | Event::Lost => {
            Effect::None
        }
    }
}

impl Catalogue {
    /// Follows a name to its file or directory.
    pub(in crate::boot) fn find(&self, name: &FileName) -> Result<ResolvedFile, Refusal> {
        let (mount, inside) = self.place(name);
        mount.find(&inside)
    }

    /// The current version of the file behind a name.
    fn stamp(&self, name: &FileName) -> Result<Stamp, Refusal> {
        let (_, stat) = self.find(name)?.open()?;
        Ok(Stamp::from(&stat))
    }

    fn is_current(&self, image: &Image) -> bool {
        image.stamp().is_none_or(|stamp| self.stamp(image.name()) == Ok(stamp))
    }
}
