//! The text of `pxed.toml` and the messages of `pxed init`, for given facts. Pure functions.

use super::facts::{Facts, Seen};
use super::holders::Holder;
use crate::command::import::write::quoted;
use pxe_content::boot::discover::{INSTALL_MEMTEST, INSTALL_PXELINUX};

const HEAD: &str = "\
# Written by `pxed init` for this host. `pxed check --config FILE` says what would be done and what is missing; docs/pxed.toml
# shows every key.
";

const REST: &str = r#"
# What pxed knows of machines is kept here.
state = "/var/lib/pxed"

# The same files over HTTP, for UEFI HTTP boot, iPXE and GRUB; memory tests report there.
# [http]
# port = 8080

# The web page, for this host only.
# [board]
# listen = "127.0.0.1:7467"

# Without rules every machine boots the same. With rules the first that matches wins, for example:
# [images.memtest]
#
# [[rules]]
# name = "one machine"
# match = { mac = "52:54:00:12:34:56" }
# image = "memtest"
#
# [[rules]]
# name = "everything else"
# action = "local"
"#;

/// The text of `pxed.toml`.
pub(super) fn text(facts: &Facts) -> String {
    let mut text = HEAD.to_owned();
    for holder in &facts.holders {
        text.push_str(&format!("#\n# {}\n", taken(holder, facts)));
    }
    text.push_str("\n# The interfaces in the machines' network.\ninterfaces = [\n");
    for seen in &facts.interfaces {
        text.push_str(&interface(seen));
    }
    text.push_str("]\n\n");
    text.push_str(&files(facts));
    // Tables come last, because keys after a table's header would belong to the table.
    text.push_str(REST);
    text
}

fn interface(seen: &Seen) -> String {
    let addresses = seen.addresses.join(", ");
    let name = quoted(&seen.name);
    match &seen.reason {
        None => format!("    {name}, # {}\n", plain(&addresses)),
        Some(reason) if addresses.is_empty() => format!("    # {name}, # {}\n", plain(reason)),
        Some(reason) => format!("    # {name}, # {}; {}\n", plain(&addresses), plain(reason)),
    }
}

/// The part about the files that machines boot.
fn files(facts: &Facts) -> String {
    let mut text = String::new();
    if facts.memtest.is_empty() {
        text.push_str(&format!("# No memtest86+ is installed here. Install it: {INSTALL_MEMTEST}\n"));
        text.push_str(&format!("# and {INSTALL_PXELINUX},\n# or serve a directory with `root`.\n"));
    } else {
        text.push_str("# Without `root` machines boot the memtest86+ that is installed here:\n");
        text.push_str(&format!("# {}\n", plain(&facts.memtest.join(", "))));
    }
    if facts.trees.is_empty() {
        text.push_str("# A directory of boot files is served as it stands:\n# root = \"/srv/tftp\"\n");
    }
    for tree in &facts.trees {
        let programs = match tree.programs.as_slice() {
            [] => "it has no boot program under a usual name: add `boot_files`".to_owned(),
            programs => programs.join(", "),
        };
        let path = quoted(&tree.path);
        text.push_str(&format!(
            "# This directory is served as it stands, with: {}\n# root = {path}\n",
            plain(&programs)
        ));
    }
    if !facts.loaders.is_empty() {
        let loaders = facts.loaders.join(", ");
        text.push_str(&format!(
            "# Installed boot loaders, which start the kernels of images: {}\n",
            plain(&loaders)
        ));
    }
    text
}

/// A sentence about a port in use: the program that holds it, and what to do.
fn taken(holder: &Holder, facts: &Facts) -> String {
    let Holder { port, program } = holder;
    let name = program.as_deref().unwrap_or("another program");
    let what = match (port, name) {
        (_, "pxed") => "a pxed that runs already; start another with --take-over".to_owned(),
        (_, "dnsmasq") => {
            let file = facts.dnsmasq.as_deref().unwrap_or("its configuration");
            format!(
                "pxed takes the place of its boot part: `pxed import {file}` writes a configuration that does the same"
            )
        }
        (67, _) => {
            "pxed serves beside a DHCP server on this host; another proxyDHCP server must stop".to_owned()
        }
        _ => "pxed needs it: stop that program, which `sudo ss -lunp` shows".to_owned(),
    };
    plain(&format!("UDP {port} is held by {name}: {what}."))
}

/// The messages after the file was written: ports in use, and the next steps.
pub(super) fn next(facts: &Facts, config: &str, is_written: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if is_written {
        lines.push(format!("wrote {config}"));
    }
    lines.extend(facts.holders.iter().map(|holder| taken(holder, facts)));
    let mut steps = Vec::new();
    if !is_written {
        steps.push(format!("save the text as {config}"));
    }
    let served = facts.interfaces.iter().filter(|seen| seen.reason.is_none()).count();
    match served {
        0 => steps.push(format!("name the interface in the machines' network in {config}")),
        1 => {}
        _ => steps.push(format!("leave only the interfaces in the machines' network in {config}")),
    }
    if facts.memtest.is_empty() {
        steps.push(format!("install memtest86+, or name a directory with `root` in {config}"));
    }
    steps.push(format!("sudo pxed check --config {config}"));
    steps.push(format!("sudo pxed serve --config {config}"));
    lines.push("next:".to_owned());
    lines.extend(steps.into_iter().enumerate().map(|(index, step)| format!("  {}. {step}", index + 1)));
    lines
}

/// Replaces control characters by spaces, so that the text cannot leave its line and its comment.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::init::facts::Tree;
    use crate::config::Config;

    fn seen(name: &str, address: Option<&str>, reason: Option<&str>) -> Seen {
        Seen {
            name: name.to_owned(),
            addresses: address.into_iter().map(str::to_owned).collect(),
            reason: reason.map(str::to_owned),
        }
    }

    fn lab() -> Facts {
        Facts {
            interfaces: vec![
                seen("docker0", Some("172.17.0.1/16"), Some("virtual: no network card is behind it")),
                seen("eth0", Some("10.0.0.5/24"), None),
                seen("we\"ird", None, Some("down: ip link set we\"ird up")),
                seen("wlan0", None, Some("no IPv4 address")),
            ],
            memtest: vec!["bios pxelinux.0".into(), "x64 memtest86+x64.efi".into()],
            loaders: vec!["pxelinux.0".into(), "snponly.efi".into()],
            trees: vec![
                Tree { path: "/srv/tftp".into(), programs: vec!["bios pxelinux.0".into()] },
                Tree { path: "/tftpboot".into(), programs: Vec::new() },
            ],
            holders: vec![
                Holder { port: 67, program: Some("dnsmasq".into()) },
                Holder { port: 69, program: Some("in.tftpd".into()) },
                Holder { port: 4011, program: None },
            ],
            dnsmasq: Some("/etc/dnsmasq.conf".into()),
        }
    }

    /// Removes `# ` from lines that are keys or tables.
    fn switched_on(text: &str) -> String {
        let is_toml = |line: &str| {
            let key = line.split(" = ").next().unwrap_or_default();
            line.starts_with('[')
                || line.contains(" = ") && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        let line = |line: &str| {
            line.strip_prefix("# ").filter(|rest| is_toml(rest)).unwrap_or(line).to_owned() + "\n"
        };
        text.lines().map(line).collect()
    }

    #[test]
    fn what_is_written_is_read_without_a_word() {
        for facts in [
            lab(),
            Facts::default(),
            Facts { trees: Vec::new(), memtest: Vec::new(), ..lab() },
            Facts::gather(),
        ] {
            let text = text(&facts);
            let (config, problems) = Config::parse(&text);
            let config = config.unwrap_or_else(|| panic!("{problems:?}\n{text}"));
            assert_eq!(problems, [], "{text}");
            let served = facts.interfaces.iter().filter(|seen| seen.reason.is_none());
            assert_eq!(config.interfaces, served.map(|seen| seen.name.clone()).collect::<Vec<_>>());
            assert!(!config.interfaces.iter().any(|name| name == "lo"));
            assert!(config.state.is_some() && config.rules.is_empty() && config.root.is_none());
            assert_eq!(text, super::text(&facts), "the same facts give the same text");
            assert!(text.lines().all(|line| line.len() < 220), "{text}");
        }
    }

    #[test]
    fn what_is_commented_out_is_right_when_it_is_switched_on() {
        let facts = Facts { trees: lab().trees[..1].to_vec(), ..lab() };
        let text = switched_on(&text(&facts));
        let (config, problems) = Config::parse(&text);
        assert_eq!(problems, [], "{text}");
        let config = config.unwrap();
        assert_eq!((config.rules.len(), config.image_specs.len()), (2, 1));
        assert!(config.http.is_some() && config.board.is_some() && config.root.is_some());
    }

    #[test]
    fn reasons_and_remedies_are_there() {
        let text = text(&lab());
        for part in [
            "    \"eth0\", # 10.0.0.5/24\n",
            "    # \"docker0\", # 172.17.0.1/16; virtual",
            "# root = \"/srv/tftp\"",
            "UDP 67 is held by dnsmasq: pxed takes the place of its boot part: `pxed import /etc/dnsmasq.conf`",
            "UDP 69 is held by in.tftpd: pxed needs it",
            "UDP 4011 is held by another program",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let next = next(&lab(), "x.toml", true);
        assert!(next.first().is_some_and(|line| line == "wrote x.toml"), "{next:?}");
        assert!(next.last().is_some_and(|line| line == "  2. sudo pxed serve --config x.toml"), "{next:?}");
        let bare = super::next(&Facts::default(), "pxed.toml", false).join("\n");
        assert!(bare.contains("name the interface") && bare.contains("install memtest86+"), "{bare}");
    }
}
