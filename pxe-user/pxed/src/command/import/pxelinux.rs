//! Checks a tree with `pxelinux.cfg`. pxed serves such a tree as `root` without a change, so the import only checks whether the
//! files exist that its configuration names.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::files::{Files, Kind};
use super::finding::{Disposition, Finding, Place};
use pxe_proto::mac::Mac;

/// PXELINUX's configuration directory, beside its boot file.
pub(super) const FOLDER: &str = "pxelinux.cfg";
/// The suffixes that PXELINUX tries after a kernel's name.
const SUFFIXES: [&str; 8] = ["", ".c32", ".0", ".bin", ".com", ".cbt", ".bss", ".img"];
const TRIED: &str = "PXELINUX tries the UUID, 01-MAC, the IPv4 address in hexadecimal, and default";
/// The most configuration files that the import reads in one tree. Some labs have one file for each machine.
const FILES_MAX: usize = 4096;

/// Checks the configuration at the root, and in the directories of the boot files.
pub(super) fn check(files: &dyn Files, root: &Path, boot_files: &[String]) -> Vec<Finding> {
    let mut places = vec![root.to_owned()];
    for file in boot_files {
        let place = root.join(file.trim_start_matches('/'));
        if let Some(place) = place.parent().map(Path::to_owned)
            && !places.contains(&place)
        {
            places.push(place);
        }
    }
    let mut check = Check { files, root, findings: Vec::new(), seen: HashSet::new() };
    if files.kind(root) != Some(Kind::Directory) {
        let what = "there is no such directory on this host; run the import where it is, or name the one that is meant";
        check.whole(root, "the root", Disposition::Missing(what.to_owned()));
        return check.findings;
    }
    for place in places {
        let folder = place.join(FOLDER);
        let starts_here = |file: &&String| {
            file.ends_with("pxelinux.0")
                && root.join(file.trim_start_matches('/')).parent() == Some(place.as_path())
        };
        if files.kind(&folder) == Some(Kind::Directory) {
            check.folder(&place, &folder);
        } else if let Some(file) = boot_files.iter().find(starts_here) {
            let what = format!("there is no such directory beside {file}. {TRIED}; write the last of these");
            check.whole(&folder, "the configuration", Disposition::Missing(what));
        }
    }
    check.findings
}

struct Check<'f> {
    files: &'f dyn Files,
    root: &'f Path,
    findings: Vec<Finding>,
    seen: HashSet<PathBuf>,
}

impl Check<'_> {
    /// Checks one configuration directory. Relative names in it start at `base`.
    fn folder(&mut self, base: &Path, folder: &Path) {
        let names = match self.files.list(folder) {
            Ok(names) => names,
            Err(error) => {
                let what = format!("it cannot be listed: {error}; run the import where it can");
                return self.whole(folder, "all configuration", Disposition::NotSupported(what));
            }
        };
        let is_file = |name: &&String| self.files.kind(&folder.join(name)) == Some(Kind::File);
        let names: Vec<&String> = names.iter().filter(is_file).take(FILES_MAX).collect();
        for name in &names {
            let path = folder.join(name);
            if let Some(mac) = name.strip_prefix("01-").and_then(|rest| Mac::from_dashed(rest.as_bytes())) {
                let text = format!("the machine {mac}");
                self.whole(
                    &path,
                    &text,
                    Disposition::Unchanged("PXELINUX finds its own file as before".to_owned()),
                );
            }
            self.file(base, &path);
        }
        if !names.iter().any(|name| *name == "default") {
            let text = "machines without a file of their own".to_owned();
            self.whole(
                &folder.join("default"),
                &text,
                Disposition::Missing(format!("{TRIED}; write this file")),
            );
        }
    }

    fn file(&mut self, base: &Path, path: &Path) {
        if self.seen.len() == FILES_MAX || !self.seen.insert(path.to_owned()) {
            return;
        }
        let bytes = match self.files.read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let what = format!("it cannot be read: {error}; pxed serves files that everybody may read");
                return self.whole(path, "the file", Disposition::NotSupported(what));
            }
        };
        let file: std::sync::Arc<str> = path.display().to_string().into();
        for (index, raw) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let text = String::from_utf8_lossy(raw).trim().to_owned();
            let place = Place { file: file.clone(), line: index + 1 };
            for name in names(&text) {
                self.named(base, &place, &text, &name);
            }
        }
    }

    fn named(&mut self, base: &Path, place: &Place, text: &str, name: &Name) {
        let Some(path) = self.resolve(base, &name.file) else { return };
        let suffixes = if name.is_program { &SUFFIXES[..] } else { &SUFFIXES[..1] };
        let found = suffixes.iter().map(|suffix| {
            let mut whole = path.clone().into_os_string();
            whole.push(suffix);
            PathBuf::from(whole)
        });
        let found = found.into_iter().find(|path| self.files.kind(path).is_some());
        match found {
            Some(found) if name.is_config => self.file(base, &found),
            Some(_) => {}
            None => {
                let what = format!("there is no {}; copy it there", path.display());
                let disposition = Disposition::Missing(what);
                self.findings.push(Finding { place: place.clone(), text: text.to_owned(), disposition });
            }
        }
    }

    /// The path of a name. `None` if another server has the file.
    fn resolve(&self, base: &Path, name: &str) -> Option<PathBuf> {
        if name.contains("://") {
            return None;
        }
        let below_root = |name: &str| self.root.join(name.trim_start_matches('/'));
        match name.split_once("::") {
            Some(("", name)) => Some(below_root(name)),
            Some(_) => None,
            None if name.starts_with('/') => Some(below_root(name)),
            None => Some(base.join(name)),
        }
    }

    fn whole(&mut self, path: &Path, text: &str, disposition: Disposition) {
        let place = Place { file: path.display().to_string().into(), line: 0 };
        self.findings.push(Finding { place, text: text.to_owned(), disposition });
    }
}

/// A file that a line names.
#[derive(Debug, PartialEq, Eq)]
struct Name {
    file: String,
    /// Whether PXELINUX tries [`SUFFIXES`] after the name.
    is_program: bool,
    /// Whether the file is also configuration, which names more files.
    is_config: bool,
}

/// The files that a line names.
fn names(line: &str) -> Vec<Name> {
    let mut words = line.split_whitespace();
    let keyword = words.next().unwrap_or_default().to_ascii_lowercase();
    let (keyword, rest) = match keyword.as_str() {
        "menu" => match words.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "include" => ("include", words),
            "background" => ("background", words),
            _ => return Vec::new(),
        },
        keyword => (
            match keyword {
                "kernel" | "linux" | "com32" | "boot" | "bss" | "pxe" | "comboot" | "ui" => "program",
                "default" => "default",
                "config" | "include" => "include",
                "initrd" => "initrd",
                "append" => "append",
                "fdt" | "font" | "display" | "kbdmap" => "background",
                _ => return Vec::new(),
            },
            words,
        ),
    };
    let mut rest = rest;
    let name = |file: &str, is_program, is_config| Name { file: file.to_owned(), is_program, is_config };
    let list = |files: &str| {
        files.split(',').filter(|file| !file.is_empty()).map(|file| name(file, false, false)).collect()
    };
    match (keyword, rest.next()) {
        ("append", first) => {
            let mut words = first.into_iter().chain(rest);
            words.find_map(|word| word.strip_prefix("initrd=")).map_or_else(Vec::new, list)
        }
        (_, None) => Vec::new(),
        ("program", Some(file)) => vec![name(file, true, false)],
        // `default` names a label, unless the value is a module.
        ("default", Some(file)) if file.ends_with(".c32") => vec![name(file, true, false)],
        ("include", Some(file)) => vec![name(file, false, true)],
        ("initrd", Some(files)) => list(files),
        // A value that begins with `#` is a colour and not a file.
        ("background", Some(file)) if !file.starts_with('#') => vec![name(file, false, false)],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_files() {
        let files = |line: &str| names(line).into_iter().map(|name| name.file).collect::<Vec<_>>();
        for (line, expected) in [
            ("kernel /memtest/memtest86+-5.01", &["/memtest/memtest86+-5.01"][..]),
            ("  LINUX ::vmlinuz quiet", &["::vmlinuz"]),
            ("append root=/dev/nfs initrd=a.img,b.img quiet", &["a.img", "b.img"]),
            ("append initrd=a.img", &["a.img"]),
            ("MENU INCLUDE graphics.cfg Graphics", &["graphics.cfg"]),
            ("menu background #ff00ff", &[]),
            ("default vesamenu.c32", &["vesamenu.c32"]),
            ("default linux", &[]),
            ("menu label kernel x", &[]),
            ("# kernel x", &[]),
            ("kernel", &[]),
            ("", &[]),
        ] {
            assert_eq!(files(line), expected, "{line}");
        }
    }
}
