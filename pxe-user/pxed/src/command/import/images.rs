//! The images of the new configuration: boot files by architecture, and iPXE scripts that chain to a URL.

use std::collections::BTreeSet;
use std::path::Path;

use super::build::{Builder, REST, numbered};
use super::decide::{Block, Decision, Target};
use super::finding::shortened;
use super::new::{Files, Image, Noted};
use pxe_proto::dhcp::{Arch, BootFile, Url};

impl Builder<'_> {
    pub(super) fn image_of_files(&mut self, rule: &str, decisions: &[(Arch, Decision)]) -> String {
        let values = |files: &Files| -> Vec<(Arch, String)> {
            files.iter().map(|(arch, file)| (*arch, file.value.clone())).collect()
        };
        let draft = self.files_silently(decisions);
        let same = |image: &&Image| {
            image.root.is_none() && image.url.is_none() && values(&image.boot_files) == values(&draft)
        };
        let known = self.new.images.iter().find(same).map(|image| image.name.clone());
        let name = known.clone().unwrap_or_else(|| self.image_name(if rule == REST { "tree" } else { rule }));
        let boot_files = self.files(decisions, &format!("images.{name}.boot_files"));
        if known.is_none() {
            self.new.images.push(Image { name: name.clone(), root: None, boot_files, url: None });
        }
        name
    }

    pub(super) fn image_of_url(
        &mut self,
        rule: &str,
        url: &str,
        lines: &BTreeSet<usize>,
        block: Option<&Block>,
    ) -> String {
        let same = |image: &&Image| image.url.as_ref().is_some_and(|known| known.value == url);
        let known = self.new.images.iter().find(same).map(|image| image.name.clone());
        let name = known.clone().unwrap_or_else(|| self.image_name(rule));
        for at in lines {
            self.note(*at, format!("rule \"{rule}\": images.{name}.ipxe, a script that goes on with {url}"));
        }
        if known.is_none() {
            // Give the image the old root, because the boot files that start iPXE are there.
            let root = self.old.root.as_ref().map(|(_, root)| root.clone());
            let boot_files = match block.filter(|_| root.is_some()) {
                Some(block) => self.files_silently(&block.plain),
                None => Vec::new(),
            };
            let url = Noted { value: url.to_owned(), from: self.old.source(lines.iter().copied()) };
            self.new.images.push(Image { name: name.clone(), root, boot_files, url: Some(url) });
        }
        name
    }

    /// The boot files of these machines, by architecture. Notes for each line which entry of the table `key` it became.
    pub(super) fn files(&mut self, decisions: &[(Arch, Decision)], key: &str) -> Files {
        let files = self.files_silently(decisions);
        let mut by_line: Vec<(usize, String, Vec<String>)> = Vec::new();
        for (arch, decision) in decisions {
            let (Target::File(name), Some(at)) = (&decision.target, decision.at) else { continue };
            if let Err(error) = BootFile::new(name) {
                self.refused
                    .insert(at, format!("{}; give the file a shorter name", shortened(&error.to_string())));
            } else if let Some((arch, _)) = files
                .iter()
                .find(|(known, _)| known == arch)
                .or(files.iter().find(|(known, _)| *known == arch.canonical()))
            {
                let key = format!("{key}.{arch}");
                match by_line.iter_mut().find(|(line, file, _)| *line == at && file == name) {
                    Some((.., keys)) if keys.contains(&key) => {}
                    Some((.., keys)) => keys.push(key),
                    None => by_line.push((at, name.clone(), vec![key])),
                }
            }
        }
        for (at, name, keys) in by_line {
            self.note(at, format!("{} = \"{name}\"", keys.join(", ")));
        }
        files
    }

    fn files_silently(&self, decisions: &[(Arch, Decision)]) -> Files {
        let file = |arch: Arch| {
            let (_, decision) = decisions.iter().find(|(known, _)| *known == arch)?;
            match &decision.target {
                Target::File(name) if BootFile::new(name).is_ok() => {
                    Some(Noted { value: name.clone(), from: self.old.source(decision.at) })
                }
                _ => None,
            }
        };
        let arches = decisions.iter().map(|(arch, _)| *arch).filter(|arch| !arch.is_http());
        // pxed gives EFI byte code the file of x64, so list EFI byte code only if its file differs.
        let is_own = |arch: &Arch| match (file(*arch), file(arch.canonical())) {
            (Some(own), Some(other)) => *arch == arch.canonical() || own.value != other.value,
            (own, _) => own.is_some(),
        };
        arches.filter(is_own).filter_map(|arch| Some((arch, file(arch)?))).collect()
    }

    /// Adds the URLs for UEFI HTTP boot.
    pub(super) fn http_urls(&mut self, rest: &Block) {
        for (arch, decision) in rest.plain.iter().filter(|(arch, _)| arch.is_http()) {
            let (Target::Url(url), Some(at)) = (&decision.target, decision.at) else { continue };
            if let Err(error) = Url::new(url) {
                self.refused.insert(
                    at,
                    format!(
                        "{}; UEFI HTTP boot takes http:// and https:// only",
                        shortened(&error.to_string())
                    ),
                );
                continue;
            }
            self.note(at, format!("http_urls.{arch} = \"{url}\""));
            self.new.http_urls.push((*arch, Noted { value: url.clone(), from: self.old.source([at]) }));
        }
    }

    fn is_at_root(&self, name: &str) -> bool {
        self.old.root.as_ref().is_some_and(|(_, root)| (self.taken)(&Path::new(root).join(name)))
    }

    /// A name made from `wish` that no image has yet, that pxed does not reserve, and that no directory at the root has.
    pub(super) fn image_name(&self, wish: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let wish: String = wish.chars().take(24).map(plain).collect();
        let wish = wish.trim_matches('-');
        let wish = if wish.is_empty() { "image" } else { wish };
        let is_free = |name: &String| {
            !self.new.images.iter().any(|image| image.name == *name)
                && !["pxed", "loader", "inbox", "report"].contains(&name.as_str())
                && !self.is_at_root(name)
        };
        numbered(wish, "-").find(is_free).unwrap_or_default()
    }
}
