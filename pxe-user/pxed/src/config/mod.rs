//! `pxed.toml`: what the daemon serves where, and which machine gets what. Reading it needs no privileges and opens no other
//! file.
//!
//! ```text
//! text --> Raw, with every mistake (parse) --> SettingsLayer, and problems with their lines (check) --> Settings
//! ```
//! `settings` is the list of all settings, with defaults.
//! `docs/pxed.toml` is an example with every key; a test reads it. `docs/pxed.schema.json` is for editors; a test generates it
//! from the types and comments of `raw`.

mod bounds;
mod check;
mod diagnostics;
mod limits;
mod parse;
mod problem;
mod raw;
mod rule;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod schema_types;
mod segment;
mod settings;
mod upstream;
pub(crate) mod words;

use std::path::{Path, PathBuf};

use pxe_content::boot::ImageSpec;

pub use problem::{Problem, Severity};
pub use segment::{NotInSegment, Responders, SegmentSettings, share};
pub use settings::{
    Board, Difference, Effect, InboxSettings, LedgerSettings, RuleAction, RuleSpec, Settings, SettingsLayer,
};
pub use upstream::UpstreamSettings;

/// The JSON schema of `pxed.toml`, for editors.
pub const SCHEMA: &str = include_str!("../../../../docs/pxed.schema.json");

/// Why pxed cannot use the file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}{}", path.display(), remedy(error))]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// The file has errors.
    #[error("{} is rejected: {}", path.display(), list(problems))]
    Invalid {
        /// The path of the file.
        path: PathBuf,
        /// All problems of the file, warnings included.
        problems: Vec<Problem>,
    },
}

fn remedy(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "; make it readable by the user pxed runs as (chmod o+r, or its group)"
        }
        _ => "",
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The whole file, with all values parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The settings that the file gives.
    pub settings: SettingsLayer,
    /// The line where each image begins, from 1, in the order of [`Self::images`].
    pub image_lines: Vec<usize>,
    /// The line of each key and table at the top level of the file, from 1.
    pub key_lines: Vec<(String, usize)>,
}

impl Config {
    /// Reads and checks a file. The second value is its warnings.
    ///
    /// # Errors
    /// [`ConfigError`] if the file cannot be read or has an error. It has all problems with their lines.
    pub fn read(path: &Path) -> Result<(Self, Vec<Problem>), ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        if text.trim().is_empty() {
            let problems = vec![Problem::empty_file()];
            return Err(ConfigError::Invalid { path: path.to_owned(), problems });
        }
        let (config, problems) = Self::parse(&text);
        match config {
            Some(config) if problems.iter().all(|problem| problem.severity < Severity::Error) => {
                Ok((config, problems))
            }
            _ => Err(ConfigError::Invalid { path: path.to_owned(), problems }),
        }
    }

    /// The line of a key or table at the top level of the file, from 1. `None` if the file does not have it.
    #[must_use]
    pub fn line_of_key(&self, key: &str) -> Option<usize> {
        self.key_lines.iter().find(|(known, _)| known == key).map(|(_, line)| *line)
    }

    /// The line where an image begins, from 1. `None` if there is no such image.
    #[must_use]
    pub fn line_of_image(&self, name: &str) -> Option<usize> {
        let at = self.images().iter().position(|image_spec| *image_spec.name == *name)?;
        self.image_lines.get(at).copied()
    }

    /// The images, sorted by name.
    #[must_use]
    pub fn images(&self) -> &[ImageSpec] {
        self.settings.images.as_deref().unwrap_or_default()
    }

    /// The rules in the order of the file.
    #[must_use]
    pub fn rules(&self) -> &[RuleSpec] {
        self.settings.rules.as_deref().unwrap_or_default()
    }

    /// Whether the file names this interface among those that pxed serves.
    #[must_use]
    pub fn has_interface(&self, name: &str) -> bool {
        self.settings.interfaces.iter().flatten().any(|known| known == name)
    }

    /// Parses a text. Returns the configuration as far as it can be understood, and all problems in the order of their lines. The
    /// configuration is `None` if the syntax is wrong, if there are too many mistakes, or if a mistake cannot be removed.
    #[must_use]
    pub fn parse(text: &str) -> (Option<Self>, Vec<Problem>) {
        let mut parsed = parse::parse(text);
        let config = parsed.raw.take().map(|raw| {
            let (settings, image_lines, mut problems) = check::check(text, raw, parsed.is_whole);
            if !parsed.is_whole {
                // Drop problems that only follow from a mistake that is reported already. Only errors remain whose line is not
                // the first line of a table from which something was removed.
                let is_own = |line: usize| !parsed.incomplete.contains(&line);
                problems.retain(|problem| {
                    problem.severity == Severity::Error && problem.line.is_some_and(is_own)
                });
            }
            parsed.problems.extend(problems);
            Self { settings, image_lines, key_lines: std::mem::take(&mut parsed.key_lines) }
        });
        parsed.problems.sort_by_key(|problem| problem.line);
        (config, parsed.problems)
    }
}

#[cfg(test)]
mod tests;
