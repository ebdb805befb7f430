//! The file of events: one line of JSON for each step. Moving it away begins a new one, so any log rotation will do.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use crate::fleet::board::Step;

/// The file.
pub(super) struct Events {
    path: PathBuf,
    file: Option<File>,
    /// The last step that was written: a batch that failed in the database comes again.
    last: u64,
    /// A line may have been cut.
    torn: bool,
}

impl Events {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None, last: 0, torn: false }
    }

    /// Appends steps that are not there yet; why not, if that fails.
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
        let whole = if torn { [b"\n", lines].concat() } else { lines.to_vec() };
        let written = file.write_all(&whole);
        self.torn = torn || written.is_err();
        if written.is_ok() {
            self.torn = false;
        }
        self.file = Some(file);
        written
    }

    /// The open file, if it is still the one of that name, or a new one.
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
