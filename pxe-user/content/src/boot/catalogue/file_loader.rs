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
use crate::boot::tree::{ResolvedFile, Step};
use crate::boot::watch::{Event, WatchId};

/// The pauses before further attempts to copy a file that changed during the copy.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(2), Duration::from_millis(10), Duration::from_millis(40)];

/// The directory entries on the path to a file, each with the watch of its directory.
type Trail = Vec<(WatchId, Vec<u8>)>;

/// The state of the loader.
#[derive(Debug, Default)]
pub(super) struct FileLoader {
    /// The watched path of each loaded file.
    trails: HashMap<FileName, Trail>,
    /// Files that changed during every attempt to copy them. The next check tries them again.
    unsettled: HashSet<FileName>,
    /// Files that a program has begun to write and has not closed yet. Half of such a file looks complete
    /// while its writer pauses.
    writing: HashSet<FileName>,
    /// Events that a copy has read from inotify, for the next [`Self::changed`].
    events: Vec<Event>,
    /// All watches that exist.
    watched: HashSet<WatchId>,
    /// New versions that the last [`Self::recheck`] saw for the first time.
    suspects: HashMap<FileName, Stamp>,
}

impl FileLoader {
    /// See [`Catalogue::load`].
    pub(super) fn load(&mut self, catalogue: &Catalogue, name: &FileName) -> Result<Arc<Image>, Refusal> {
        match catalogue.store.get(name) {
            Some(image) if catalogue.is_current(&image) => Ok(image),
            _ => self.reload(catalogue, name),
        }
    }

    /// See [`Catalogue::changed`].
    pub(super) fn changed(&mut self, catalogue: &Catalogue) -> Changes {
        self.drain(catalogue);
        let mut changes = Changes::default();
        // A copy may read further events. inotify would not wake this thread for them again.
        while !self.events.is_empty() || !self.unsettled.is_empty() {
            let events = std::mem::take(&mut self.events);
            let mut stale = std::mem::take(&mut self.unsettled);
            if events.contains(&Event::Lost) {
                tracing::debug!("inotify lost events: reading all files again");
                self.writing.clear();
                stale.extend(catalogue.store.files().iter().map(|image| *image.name()));
            }
            // Many events about one file become one name in the set. The file is copied again even if its
            // times and size are the same: two changes within one tick of the file system's clock do not
            // change them.
            let hit = self.trails.iter().filter(|(_, trail)| is_affected(trail, &events));
            stale.extend(hit.map(|(name, _)| *name));
            // A file that is still written gets an event when it is closed.
            stale.retain(|name| !self.writing.contains(name));
            let more = self.reload_all(catalogue, stale);
            changes.extend(more);
            if self.events.is_empty() {
                break;
            }
        }
        changes
    }

    /// Reads what inotify has, and notes which files are written at the moment.
    fn drain(&mut self, catalogue: &Catalogue) {
        let Some(watcher) = &catalogue.watcher else { return };
        for event in watcher.drain() {
            let (at, is_written) = match &event {
                Event::Writing(id, name) => ((id, name), true),
                Event::Entry(id, name) => ((id, name), false),
                Event::Directory(_) | Event::Lost => {
                    self.events.push(event);
                    continue;
                }
            };
            let files = self.trails.iter();
            let files = files.filter(|(_, trail)| trail.last().is_some_and(|(id, name)| (id, name) == at));
            for (file, _) in files {
                if is_written {
                    self.writing.insert(*file);
                } else {
                    self.writing.remove(file);
                }
            }
            if !is_written {
                self.events.push(event);
            }
        }
    }

    /// See [`Catalogue::recheck`]. A file may be half written, so a new version counts only if two calls in a
    /// row see the same times and size.
    pub(super) fn recheck(&mut self, catalogue: &Catalogue) -> Changes {
        let mut stale = std::mem::take(&mut self.unsettled);
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
                    stale.insert(name);
                }
            }
        }
        self.reload_all(catalogue, stale)
    }

    fn reload_all(&mut self, catalogue: &Catalogue, names: HashSet<FileName>) -> Changes {
        let mut changes = Changes::default();
        for name in names {
            match self.reload(catalogue, &name) {
                Ok(_) => changes.updated.push(name),
                Err(Refusal::Changing) => changes.unsettled.push(name),
                Err(refusal) => changes.removed.push((name, refusal)),
            }
        }
        self.forget_unused_watches(catalogue);
        changes
    }

    /// Copies the file and publishes the copy. If pxed cannot serve the file any more, the old copy is
    /// removed. If the file changes during every attempt, the last complete copy stays.
    fn reload(&mut self, catalogue: &Catalogue, name: &FileName) -> Result<Arc<Image>, Refusal> {
        let mut result = self.attempt(catalogue, name);
        for pause in PAUSES {
            if result.as_ref().err() != Some(&Refusal::Changing) {
                break;
            }
            std::thread::sleep(pause);
            result = self.attempt(catalogue, name);
        }
        match &result {
            Ok(image) => catalogue.store.insert(Arc::clone(image)),
            Err(Refusal::Changing) if catalogue.store.get(name).is_some() => {
                self.unsettled.insert(*name);
            }
            Err(_) => {
                catalogue.store.remove(&[*name]);
                self.trails.remove(name);
            }
        }
        result
    }

    fn attempt(&mut self, catalogue: &Catalogue, name: &FileName) -> Result<Arc<Image>, Refusal> {
        let found = self.find_watched(catalogue, name)?;
        let (file, stat) = found.open()?;
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        for dropped in catalogue.store.make_room(size, name)? {
            tracing::debug!(name = %dropped, "dropped to make room");
            if dropped != *name {
                self.trails.remove(&dropped);
            }
        }
        let copy =
            Image::copy(*name, &file, &stat, found.path(), catalogue.role(name), catalogue.store.memory())?;
        // A program may have begun to write the file since it was looked up. It may pause now, so that the
        // file's times and size stayed the same during the copy.
        self.drain(catalogue);
        if self.writing.contains(name) {
            return Err(Refusal::Changing);
        }
        Ok(Arc::new(copy))
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

fn watch(catalogue: &Catalogue, steps: &[Step]) -> Trail {
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

fn same_path(a: &[Step], b: &[Step]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.dir.id() == b.dir.id() && a.name == b.name)
}

fn is_affected(trail: &Trail, events: &[Event]) -> bool {
    events.iter().any(|event| match event {
        Event::Entry(id, name) => trail.iter().any(|(watched, entry)| watched == id && entry == name),
        Event::Directory(id) => trail.iter().any(|(watched, _)| watched == id),
        Event::Writing(..) => false,
        Event::Lost => true,
    })
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
