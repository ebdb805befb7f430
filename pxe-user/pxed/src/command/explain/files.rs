//! Lists the files that a machine asks for, in its order, and what pxed has for each of them now.

use std::net::Ipv4Addr;

use super::loads;
use crate::command::loaders;
use crate::command::status::text::escape;
use pxe_content::boot::MachineFacts;
use pxe_content::boot::{Catalogue, FileName, LoaderKind, Preview, Refusal, ServedAt};
use pxe_proto::dhcp::{Answer, MessageView};

/// A row of the list.
#[derive(Debug)]
pub(super) enum Row {
    /// A file that the machine needs.
    Needed(String, Result<Preview, Refusal>),
    /// A name that the machine tries. A missing file does no harm.
    Tried(String, Result<Preview, Refusal>),
    /// A file that another machine serves.
    Elsewhere(String),
    /// A remark.
    Note(String),
}

/// All files of one boot program.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// In the order in which the machine asks for them.
    pub(super) rows: Vec<Row>,
    /// What keeps the machine from booting.
    pub(super) missing: Vec<String>,
    /// The program is iPXE, which then asks for an offer of its own.
    pub(super) starts_ipxe: bool,
}

/// Boot programs that load more files. Their usual names identify them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loader {
    Pxelinux,
    Ipxe,
    Shim,
    Grub,
}

fn loader(base: &str) -> Option<Loader> {
    let base = base.to_ascii_lowercase();
    let starts = |names: &[&str]| names.iter().any(|name| base.starts_with(name));
    let ends = |names: &[&str]| names.iter().any(|name| base.ends_with(name));
    if matches!(base.as_str(), "pxelinux.0" | "lpxelinux.0") {
        Some(Loader::Pxelinux)
    } else if starts(&["ipxe", "snponly", "undionly"]) || ends(&[".kpxe", ".kkpxe"]) {
        Some(Loader::Ipxe)
    } else if starts(&["shim"]) {
        Some(Loader::Shim)
    } else if starts(&["grub"]) || matches!(base.as_str(), "core.0" | "core.efi") {
        Some(Loader::Grub)
    } else {
        None
    }
}

/// Follows a reply, file by file.
pub(super) struct Walk<'a> {
    catalogue: &'a Catalogue,
    here: ServedAt,
    facts: &'a MachineFacts,
    files: Files,
}

impl<'a> Walk<'a> {
    pub(super) fn new(catalogue: &'a Catalogue, here: ServedAt, facts: &'a MachineFacts) -> Self {
        Self { catalogue, here, facts, files: Files::default() }
    }

    /// The files that a machine loads after a reply. `elsewhere` is another machine that has the files.
    pub(super) fn follow(
        mut self,
        answer: Answer<'_>,
        reply: &MessageView<'_>,
        elsewhere: Option<Ipv4Addr>,
    ) -> Files {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let url = reply.option(67).map(|value| text(value.strip_suffix(&[0]).unwrap_or(value)));
        let file = url.unwrap_or_else(|| text(reply.file()));
        match (answer, elsewhere) {
            (Answer::Menu(_) | Answer::Local(_), _) => {}
            (_, Some(address)) => {
                self.note(format!("the files are on another machine, {address}, and are not checked"));
            }
            (Answer::Script(_), None) => self.script(&file),
            (Answer::Program(_) | Answer::Url(_), None) => self.program(&file, reply),
        }
        self.files
    }

    fn script(&mut self, told: &str) {
        let Some(name) = self.resolve(told, "") else { return self.elsewhere(told) };
        let seen = self.needed(&name);
        self.loads(LoaderKind::Ipxe, &name, seen);
    }

    fn program(&mut self, told: &str, reply: &MessageView<'_>) {
        let Some(name) = self.resolve(told, "") else { return self.elsewhere(told) };
        if self.needed(&name).is_none() {
            return;
        }
        let (directory, base) = split(&name);
        match loader(base) {
            Some(Loader::Pxelinux) => self.pxelinux(&name, reply),
            Some(Loader::Ipxe) => {
                self.files.starts_ipxe = true;
                // iPXE builds of 2022 and later try these before DHCP: first beside the program, then at the root.
                if base.ends_with(".efi") && self.tried(&format!("{directory}autoexec.ipxe")).is_none() {
                    self.tried("autoexec.ipxe");
                }
            }
            Some(Loader::Shim) => {
                let grub = base.to_ascii_lowercase().replacen("shim", "grub", 1);
                self.needed(&format!("{directory}{grub}"));
                self.grub(directory);
            }
            Some(Loader::Grub) => self.grub(directory),
            None => {}
        }
    }

    /// PXELINUX's files (clients.md section 3).
    fn pxelinux(&mut self, name: &str, reply: &MessageView<'_>) {
        let (beside, _) = split(name);
        let module = format!("{beside}ldlinux.c32");
        match self.version(name) {
            Some(5..) => drop(self.needed(&module)),
            Some(_) => {}
            None => drop(self.tried(&module)),
        }
        let option = |code| reply.option(code).map(|value| String::from_utf8_lossy(value).into_owned());
        let directory = option(210).unwrap_or_else(|| beside.to_owned());
        let found = match option(209) {
            Some(config) => {
                let Some(config) = self.resolve(&config, &directory) else { return self.elsewhere(&config) };
                self.needed(&config).map(|seen| (config, seen))
            }
            None => {
                let mac = format!("01-{}", self.facts.mac.dashed());
                let own = self.facts.uuid.iter().map(ToString::to_string).chain([mac]);
                let names =
                    own.chain(["default".to_owned()]).map(|name| format!("{directory}pxelinux.cfg/{name}"));
                self.first(&names.collect::<Vec<_>>(), "PXELINUX's configuration")
            }
        };
        if let Some((config, seen)) = found {
            // Names in the configuration are relative to PXELINUX's directory, not to the configuration's.
            match seen {
                Preview::File(..) => self.absolute(LoaderKind::Pxelinux, &config),
                written => {
                    self.loads(
                        LoaderKind::Pxelinux,
                        &format!("{directory}{}", split(&config).1),
                        Some(written),
                    );
                }
            }
        }
    }

    /// The first digit of PXELINUX's version, from the file's content. Version 5 and later need the module `ldlinux.c32`.
    fn version(&self, name: &str) -> Option<u8> {
        const MARK: &[u8] = b"PXELINUX ";
        let image = self.catalogue.load(&name.parse().ok()?).ok()?;
        let at = image.bytes().windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
        image.bytes().get(at)?.checked_sub(b'0').filter(|digit| *digit < 10)
    }

    /// GRUB's files (clients.md section 3). GRUB looks beside itself or below `grub`; this was decided when GRUB was built.
    fn grub(&mut self, directory: &str) {
        let mut names = Vec::new();
        for folder in [directory, "grub/", "boot/grub/"] {
            let own = self.facts.uuid.map(|uuid| format!("{folder}grub.cfg-{uuid}"));
            names.extend(own);
            names.push(format!("{folder}grub.cfg-01-{}", self.facts.mac.dashed()));
            names.push(format!("{folder}grub.cfg"));
        }
        if let Some((config, seen)) = self.first(&names, "GRUB's configuration") {
            self.loads(LoaderKind::Grub, &config, Some(seen));
        }
    }

    /// Tries several names, and returns the first that exists.
    fn first(&mut self, names: &[String], what: &str) -> Option<(String, Preview)> {
        for name in names {
            if let Some(seen) = self.tried(name) {
                return Some((name.clone(), seen));
            }
        }
        self.note("it also tries its IP address in hexadecimal, which is unknown here".to_owned());
        let image = self.facts.image.as_deref().unwrap_or_default();
        let moved = names.iter().map(|name| format!("{image}/{name}"));
        let moved = moved.filter(|name| name.parse().is_ok_and(|name| self.catalogue.probe(&name).is_ok()));
        let hint = moved.take(1).map(|name| {
            format!("; the image has {name}, which is found only if its tree is served as `root`")
        });
        let hint: String = hint.collect();
        self.files.missing.push(format!("{what}: none of the tried names exists{hint}"));
        None
    }

    /// Lists the files that a text of pxed makes the loader load. A text of another author is not followed.
    fn loads(&mut self, reader: LoaderKind, name: &str, seen: Option<Preview>) {
        let text = match seen {
            Some(Preview::Written(text)) => text,
            Some(Preview::File(..)) => return self.absolute(reader, name),
            None => return,
        };
        let directory = split(name).0.to_owned();
        for told in loads::names(reader, &String::from_utf8_lossy(text.bytes())) {
            match self.resolve(&told, &directory) {
                Some(name) => drop(self.needed(&name)),
                None => self.elsewhere(&told),
            }
        }
    }

    /// Checks a configuration that pxed did not write. Its names are not followed. But the tree of an image is not the root of
    /// the server, so absolute names in the configuration do not lead into that tree.
    fn absolute(&mut self, reader: LoaderKind, name: &str) {
        if let Some(image) =
            self.facts.image.as_deref().filter(|image| name.starts_with(&format!("{image}/")))
        {
            self.files.missing.extend(loaders::lost_in(self.catalogue, image, reader, name));
        }
    }

    /// The name on this server that a text or a reply leads to. `None` if the file is on another server.
    fn resolve(&self, told: &str, directory: &str) -> Option<String> {
        let root = |rest: &str| Some(rest.trim_start_matches('/').to_owned());
        if told.contains("://") {
            let server = self.here.server;
            let http = self.here.http.map(|port| format!("http://{server}:{port}/"));
            let own = http.into_iter().chain([format!("tftp://{server}/")]);
            return own.into_iter().find_map(|prefix| told.strip_prefix(&prefix)).and_then(root);
        }
        match told.split_once("::") {
            Some(("", rest)) => return root(rest),
            Some(_) => return None,
            None => {}
        }
        match told.strip_prefix("(tftp)") {
            Some(rest) => root(rest),
            None if told.starts_with('(') => None,
            None if told.starts_with('/') => root(told),
            None => Some(format!("{directory}{told}")),
        }
    }

    fn see(&self, name: &str) -> Result<Preview, Refusal> {
        let name: FileName = name.parse()?;
        let facts = self.facts;
        let known = |mac: Option<_>| mac.is_none_or(|mac| mac == facts.mac).then(|| facts.clone());
        self.catalogue.preview_for(&name, self.here, known)
    }

    fn needed(&mut self, name: &str) -> Option<Preview> {
        if self.files.rows.iter().any(|row| matches!(row, Row::Needed(known, _) if known == name)) {
            return None;
        }
        let seen = self.see(name);
        if let Err(refusal) = &seen {
            self.files.missing.push(format!("{}: {refusal}", escape(name)));
        }
        self.files.rows.push(Row::Needed(name.to_owned(), seen.clone()));
        seen.ok()
    }

    fn tried(&mut self, name: &str) -> Option<Preview> {
        let seen = self.see(name);
        self.files.rows.push(Row::Tried(name.to_owned(), seen.clone()));
        seen.ok()
    }

    fn elsewhere(&mut self, told: &str) {
        self.files.rows.push(Row::Elsewhere(told.to_owned()));
    }

    fn note(&mut self, text: String) {
        self.files.rows.push(Row::Note(text));
    }
}

/// Splits a name into its directory, with the final `/`, and its last part.
fn split(name: &str) -> (&str, &str) {
    name.split_at(name.rfind('/').map_or(0, |slash| slash + 1))
}
