//! [`Events`]: the file of events, with one line of JSON for each step. If another program moves the file
//! away, the next batch creates a new one, so any log rotation works.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use crate::board::Step;

/// At this size in bytes the file is renamed: `.1` is appended to its name, and an older file of that name is
/// replaced.
const BYTES_MAX: u64 = 256 << 20;

pub(super) struct Events {
    path: PathBuf,
    file: Option<File>,
    /// Number of the last step in the file. If a batch fails in the database, its steps come again, and must
    /// not be written twice.
    last: u64,
    /// The last write failed, so the file may end in the middle of a line.
    torn: bool,
    most: u64,
}

impl Events {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None, last: 0, torn: false, most: BYTES_MAX }
    }

    /// Appends the steps that are not in the file yet.
    ///
    /// # Errors
    /// A sentence that says why the file cannot be written.
    pub(super) fn append(&mut self, steps: &[Step]) -> Result<(), String> {
        let mut lines = Vec::new();
        for step in steps.iter().filter(|step| step.id > self.last) {
            serde_json::to_writer(&mut lines, step).map_err(|error| self.sentence(&error.into()))?;
            lines.push(b'\n');
        }
        if lines.is_empty() && self.file.is_some() && !self.torn {
            return Ok(());
        }
        self.write(&lines).map_err(|error| self.sentence(&error))?;
        self.last = steps.last().map_or(self.last, |step| self.last.max(step.id));
        Ok(())
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let torn = std::mem::take(&mut self.torn);
        let mut file = self.open()?;
        if file.metadata()?.len() >= self.most {
            let mut aside = self.path.clone().into_os_string();
            aside.push(".1");
            std::fs::rename(&self.path, aside)?;
            file = self.open()?;
        }
        let whole = if torn { [b"\n", lines].concat() } else { lines.to_vec() };
        let written = file.write_all(&whole);
        self.torn = torn || written.is_err();
        if written.is_ok() {
            self.torn = false;
        }
        self.file = Some(file);
        written
    }

    /// Returns the open file, if its path still leads to it. Otherwise opens or creates the file at the path.
    fn open(&mut self) -> io::Result<File> {
        if let Some(file) = self.file.take() {
            let (ours, there) = (file.metadata()?, self.path.metadata());
            if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
                return Ok(file);
            }
        }
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let mut options = OpenOptions::new();
        let file =
            options.append(true).create(true).mode(0o640).custom_flags(nonblocking).open(&self.path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        Ok(file)
    }

    fn sentence(&self, error: &io::Error) -> String {
        format!("events are not written to {}: {error}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::UnixMs;

    #[test]
    fn a_long_file_is_moved_once_and_a_new_one_begun() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("events.jsonl");
        let mut events = Events { most: 1, ..Events::new(path.clone()) };
        for id in 1..=3 {
            let (mac, event, text) = Default::default();
            let step = Step { id, at: UnixMs(1), mac, event, text, facts: serde_json::Map::new() };
            events.append(&[step]).unwrap();
        }
        for (name, id) in [("events.jsonl", 3), ("events.jsonl.1", 2)] {
            let text = std::fs::read_to_string(place.path().join(name)).unwrap();
            assert_eq!(serde_json::from_str::<Step>(&text).unwrap().id, id);
        }
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 2);
    }
}
