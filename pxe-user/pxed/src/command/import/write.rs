//! Writes the new configuration as TOML.

use std::fmt::Write as _;

use super::new::{Action, Conditions, Files, Image, New, Noted, Rule};
use pxe_proto::dhcp::Arch;

/// The text of the file. A comment before each part names the source lines that it comes from.
pub(super) fn text(new: &New, sources: &[String]) -> String {
    let mut out = Text(String::new());
    out.line(&format!("# Written by `pxed import` from {}.", sources.join(", ")));
    out.line("# `pxed check --config FILE` says what is missing, docs/pxed.toml shows every key.\n");
    if new.interfaces.is_empty() {
        out.line("# Name the interface in the machines' network, here or with --interface:");
        out.line("# interfaces = [\"eth0\"]");
    } else {
        out.notes(new.interfaces.iter().flat_map(|interface| &interface.from));
        let names: Vec<String> = new.interfaces.iter().map(|interface| interface.value.clone()).collect();
        out.line(&format!("interfaces = {}", list(&names)));
    }
    out.line("# What pxed knows of machines is kept here; without it, it goes with the daemon:");
    out.line("# state = \"/var/lib/pxed\"\n");
    if let Some(root) = &new.root {
        out.notes(&root.from);
        out.line(&format!("root = {}\n", quoted(&root.value)));
    }
    if let Some(transfers) = &new.transfers {
        out.notes(&transfers.from);
        out.line(&format!("transfers = {}\n", transfers.value));
    }
    if let Some(menu) = &new.menu {
        out.notes(&menu.from);
        out.line("style = \"menu\"");
        if let Some(prompt) = &menu.value.0 {
            out.line(&format!("menu_prompt = {}", quoted(prompt)));
        }
        out.line(&format!("menu_timeout = {}\n", menu.value.1));
    }
    if let Some(allow) = &new.allow {
        out.notes(&allow.from);
        out.line("[access]");
        out.line(&format!("allow = {}\n", list(&allow.value)));
    }
    out.files("boot_files", &new.boot_files);
    out.files("http_urls", &new.http_urls);
    for image in &new.images {
        out.image(image);
    }
    for rule in &new.rules {
        out.rule(rule);
    }
    let mut text = out.0.trim_end().to_owned();
    text.push('\n');
    text
}

struct Text(String);

impl Text {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    /// Writes a comment line for each source line, without duplicates.
    fn notes<'n>(&mut self, notes: impl IntoIterator<Item = &'n String>) {
        let mut seen = Vec::new();
        for note in notes {
            if !seen.contains(&note) {
                self.line(&format!("# {note}"));
                seen.push(note);
            }
        }
    }

    fn files(&mut self, table: &str, files: &Files) {
        if files.is_empty() {
            return;
        }
        self.line(&format!("[{table}]"));
        self.entries(files);
        self.line("");
    }

    fn entries(&mut self, files: &[(Arch, Noted<String>)]) {
        let mut before: &[String] = &[];
        for (arch, file) in files {
            if file.from != before {
                self.notes(&file.from);
                before = &file.from;
            }
            self.line(&format!("{arch} = {}", quoted(&file.value)));
        }
    }

    fn image(&mut self, image: &Image) {
        if let Some(url) = &image.url {
            self.notes(&url.from);
        }
        if image.root.is_none() && image.url.is_none() && !image.boot_files.is_empty() {
            return self.files(&format!("images.{}.boot_files", image.name), &image.boot_files);
        }
        self.line(&format!("[images.{}]", image.name));
        if let Some(root) = &image.root {
            self.line(&format!("root = {}", quoted(root)));
        }
        if let Some(url) = &image.url {
            let url = literal(&url.value);
            self.line(&format!("ipxe = {}", quoted(&format!("#!ipxe\nchain {url} || exit 1\n"))));
        }
        self.line("");
        self.files(&format!("images.{}.boot_files", image.name), &image.boot_files);
    }

    fn rule(&mut self, rule: &Rule) {
        self.notes(&rule.from);
        self.line("[[rules]]");
        self.line(&format!("name = {}", quoted(&rule.name)));
        let conditions = conditions(&rule.conditions);
        if !conditions.is_empty() {
            self.line(&format!("match = {{ {} }}", conditions.join(", ")));
        }
        match &rule.outcome {
            Action::Image(image) => self.line(&format!("image = {}", quoted(image))),
            Action::Local => self.line("action = \"local\""),
            Action::Ignore => self.line("action = \"ignore\""),
        }
        if let Some(style) = rule.style {
            self.line(&format!("style = \"{style}\""));
        }
        if let Some(server) = rule.boot_server {
            self.line(&format!("boot_server = \"{server}\""));
        }
        if let Some(blksize) = rule.blksize {
            self.line(&format!("blksize = {blksize}"));
        }
        self.line("");
    }
}

fn conditions(conditions: &Conditions) -> Vec<String> {
    let mut all = Vec::new();
    if !conditions.mac.is_empty() {
        all.push(format!("mac = {}", list(&conditions.mac)));
    }
    if !conditions.arch.is_empty() {
        // Write all codes as strings. A code without a name is a number, and the list has values of one type.
        let arches: Vec<String> = conditions.arch.iter().map(ToString::to_string).collect();
        all.push(format!("arch = {}", list(&arches)));
    }
    for (key, value) in [
        ("class", &conditions.class),
        ("user_class", &conditions.user_class),
        ("interface", &conditions.interface),
    ] {
        if let Some(value) = value {
            all.push(format!("{key} = {}", quoted(value)));
        }
    }
    all
}

fn list(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(", "))
}

/// The text as a quoted TOML string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                // Writing to a `String` cannot fail.
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A URL in a template: text that looks like template syntax stays as it is.
fn literal(text: &str) -> String {
    if ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark)) {
        format!("{{% raw %}}{text}{{% endraw %}}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn every_text_survives_its_quotes(text in "\\PC{0,20}|[\\x00-\\x7f]{0,20}") {
            let whole = format!("x = {}", quoted(&text));
            let table: toml::Table = toml::from_str(&whole).unwrap();
            proptest::prop_assert_eq!(table["x"].as_str(), Some(text.as_str()));
        }
    }
}
