//! Reads all lines of a configuration in the order in which dnsmasq reads them: the lines of an included file take the place of
//! the `conf-file` or `conf-dir` line.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::files::{Files, Kind};
use super::finding::{Disposition, Finding, Place};
use super::lines::{self, Line};

/// How deep files may include each other. dnsmasq's configurations do not nest this deep.
const DEPTH_MAX: usize = 32;
/// Suffixes of the files in /etc/dnsmasq.d that Debian's service ignores.
const DEBIAN_LEAVES_OUT: [&str; 3] = [".dpkg-dist", ".dpkg-old", ".dpkg-new"];

/// Reads configuration files and collects their lines.
pub(super) struct ConfigReader<'f> {
    files: &'f dyn Files,
    seen: HashSet<PathBuf>,
    /// Lines with content, in order. Lines that include other files are not among them.
    pub(super) lines: Vec<Line>,
    /// The findings for all other lines.
    pub(super) findings: Vec<Finding>,
    /// How many dnsmasq configuration files were read.
    pub(super) count: usize,
}

impl<'f> ConfigReader<'f> {
    pub(super) fn new(files: &'f dyn Files) -> Self {
        Self { files, seen: HashSet::new(), lines: Vec::new(), findings: Vec::new(), count: 0 }
    }

    /// Reads a file that the command line names.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn file(&mut self, path: &Path) -> std::io::Result<()> {
        self.read(path, 0)
    }

    /// Reads a directory that the command line names, and ignores the same files as Debian's service.
    ///
    /// # Errors
    /// The directory cannot be listed, or a file in it cannot be read.
    pub(super) fn directory(&mut self, path: &Path) -> std::io::Result<()> {
        let suffixes = DEBIAN_LEAVES_OUT.map(str::to_owned);
        for file in self.chosen(path, &suffixes)? {
            self.read(&file, 0)?;
        }
        Ok(())
    }

    fn read(&mut self, path: &Path, depth: usize) -> std::io::Result<()> {
        if !self.seen.insert(same(path)) {
            return Ok(());
        }
        let bytes = self.files.read(path)?;
        let file: std::sync::Arc<str> = path.display().to_string().into();
        if bytes.contains(&0) {
            let disposition =
                Disposition::NotSupported("it is no text, so no configuration of dnsmasq".to_owned());
            self.findings.push(Finding {
                place: Place { file, line: 1 },
                text: "the file".to_owned(),
                disposition,
            });
            return Ok(());
        }
        self.count += 1;
        for (index, raw) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let place = Place { file: file.clone(), line: index + 1 };
            let text = String::from_utf8_lossy(raw);
            match lines::split(text.trim_start_matches('\u{feff}')) {
                Ok(None) => {}
                Ok(Some((text, key, fields))) => {
                    let line = Line { place, text, key, fields };
                    if line.text.contains(char::REPLACEMENT_CHARACTER) {
                        let why = "it is not UTF-8, as pxed.toml must be; rename what it names, then write it in UTF-8";
                        self.find(&line, Disposition::NotSupported(why.to_owned()));
                    } else {
                        self.line(line, depth);
                    }
                }
                Err(why) => {
                    let text = text.trim().to_owned();
                    let disposition =
                        Disposition::NotSupported(format!("{why}, and dnsmasq refuses it; correct the line"));
                    self.findings.push(Finding { place, text, disposition });
                }
            }
        }
        Ok(())
    }

    fn line(&mut self, line: Line, depth: usize) {
        match (line.key.as_str(), line.field(0)) {
            ("conf-file", Some(path)) => {
                let path = PathBuf::from(path);
                self.include(&line, vec![path], depth);
            }
            ("conf-dir", Some(directory)) => {
                let directory = PathBuf::from(directory);
                let suffixes: Vec<String> = line.fields.iter().skip(1).cloned().collect();
                match self.chosen(&directory, &suffixes) {
                    Ok(files) => self.include(&line, files, depth),
                    Err(error) => self.find(&line, unreadable(&error)),
                }
            }
            ("dhcp-hostsfile", Some(path)) => {
                let path = PathBuf::from(path);
                self.hosts(&line, &path);
            }
            _ => self.lines.push(line),
        }
    }

    fn include(&mut self, line: &Line, files: Vec<PathBuf>, depth: usize) {
        if depth == DEPTH_MAX {
            let why = format!("files include each other more than {DEPTH_MAX} deep; remove the circle");
            return self.find(line, Disposition::NotSupported(why));
        }
        let mut names = Vec::new();
        let mut failed = None;
        let at = self.findings.len();
        for file in files {
            if self.seen.contains(&same(&file)) {
                names.push(format!("{} (read already)", file.display()));
                continue;
            }
            match self.read(&file, depth + 1) {
                Ok(()) => names.push(file.display().to_string()),
                Err(error) => failed = Some(error),
            }
        }
        let disposition = match failed {
            Some(error) => unreadable(&error),
            None if names.is_empty() => Disposition::NotNeeded("there is no file to read in it".to_owned()),
            None => Disposition::TakenOver(format!("read: {}", names.join(", "))),
        };
        let finding = Finding { place: line.place.clone(), text: line.text.clone(), disposition };
        self.findings.insert(at, finding);
    }

    /// Reads a `dhcp-hostsfile`. Each of its lines is the value of a `dhcp-host` option.
    fn hosts(&mut self, line: &Line, path: &Path) {
        let bytes = match self.files.read(path) {
            Ok(bytes) => bytes,
            Err(error) => return self.find(line, unreadable(&error)),
        };
        let file: std::sync::Arc<str> = path.display().to_string().into();
        for (index, raw) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let raw = String::from_utf8_lossy(raw);
            let whole = format!("dhcp-host={}", raw.split('#').next().unwrap_or_default().trim());
            if let Ok(Some((_, key, fields))) = lines::split(&whole)
                && fields.iter().any(|field| !field.is_empty())
            {
                let place = Place { file: file.clone(), line: index + 1 };
                self.lines.push(Line { place, text: whole, key, fields });
            }
        }
        self.find(line, Disposition::TakenOver(format!("read: {}", path.display())));
    }

    fn find(&mut self, line: &Line, disposition: Disposition) {
        self.findings.push(Finding { place: line.place.clone(), text: line.text.clone(), disposition });
    }

    /// The files of a directory that dnsmasq reads. With suffixes such as `*.conf` it reads only these files; it ignores files
    /// with suffixes such as `.bak`.
    fn chosen(&self, directory: &Path, suffixes: &[String]) -> std::io::Result<Vec<PathBuf>> {
        let suffixes: Vec<&str> =
            suffixes.iter().map(String::as_str).filter(|suffix| !suffix.is_empty()).collect();
        let wanted: Vec<&str> = suffixes.iter().filter_map(|suffix| suffix.strip_prefix('*')).collect();
        let is_read = |name: &String| {
            let is_leftover =
                name.ends_with('~') || name.starts_with('.') || name.starts_with('#') && name.ends_with('#');
            let is_unwanted =
                suffixes.iter().any(|suffix| !suffix.starts_with('*') && name.ends_with(suffix));
            let is_wanted = wanted.is_empty() || wanted.iter().any(|suffix| name.ends_with(suffix));
            !is_leftover && !is_unwanted && is_wanted
        };
        let names = self.files.list(directory)?;
        let paths = names.iter().filter(|name| is_read(name)).map(|name| directory.join(name));
        Ok(paths.filter(|path| self.files.kind(path) == Some(Kind::File)).collect())
    }
}

/// The path that identifies a file. Two paths to the same existing file, through links or `..`, give the same result.
fn same(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn unreadable(error: &std::io::Error) -> Disposition {
    Disposition::NotSupported(format!(
        "it cannot be read: {error}; run the import where it can be read, as root if need be"
    ))
}
