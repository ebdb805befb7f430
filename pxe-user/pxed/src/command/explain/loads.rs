//! Finds the names of the files that a boot loader loads because of a text that pxed wrote or filled in.

use pxe_content::boot::LoaderKind;

/// The names in a text, as written and without duplicates. Names that the loader completes itself (`${...}`) are left out.
pub(in crate::command) fn names(reader: LoaderKind, text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let found: Vec<&str> = match reader {
            LoaderKind::Ipxe => line.split("||").flat_map(|part| part.split("&&")).filter_map(ipxe).collect(),
            LoaderKind::Pxelinux => pxelinux(line),
            LoaderKind::Grub => grub(line),
        };
        for name in found {
            if !name.is_empty() && !name.contains('$') && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    names
}

/// iPXE: the first word after a command that loads a file, without options and their values.
fn ipxe(command: &str) -> Option<&str> {
    let mut words = command.split_whitespace();
    let loads = ["kernel", "initrd", "chain", "imgfetch", "imgload", "module", "boot", "imgexec"];
    words.next().filter(|word| loads.contains(word))?;
    let mut words = words.peekable();
    while let Some(option) = words.next_if(|word| word.starts_with('-')) {
        if ["--name", "-n", "--timeout", "-t"].contains(&option) {
            words.next();
        }
    }
    words.next()
}

/// PXELINUX: keywords are in any case, and `initrd` may be a list.
fn pxelinux(line: &str) -> Vec<&str> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let first = rest.split_whitespace().next().unwrap_or_default();
    match word.to_ascii_lowercase().as_str() {
        "linux" | "kernel" | "com32" | "config" | "include" => vec![first],
        "initrd" => first.split(',').collect(),
        "append" => {
            let lists = rest.split_whitespace().filter_map(|word| word.strip_prefix("initrd="));
            lists.flat_map(|list| list.split(',')).collect()
        }
        _ => Vec::new(),
    }
}

/// GRUB: `initrd` may name several files.
fn grub(line: &str) -> Vec<&str> {
    let mut words = line.split_whitespace();
    match words.next() {
        Some("linux" | "linuxefi" | "linux16" | "chainloader" | "configfile" | "source") => {
            words.find(|word| !word.starts_with('-')).into_iter().collect()
        }
        Some("initrd" | "initrdefi" | "initrd16") => words.collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_where_loaders_find_them() {
        let script = "#!ipxe\n# kernel no\nkernel --name k /test/linux initrd=a.img x=1 || goto failed\n\
                      initrd /test/a.img || goto failed\nboot || goto failed\n:failed\nimgfetch ${base}/x\n\
                      iseq 1 1 && chain -a memtest.efi ||\nchain memtest.efi\n";
        assert_eq!(names(LoaderKind::Ipxe, script), ["/test/linux", "/test/a.img", "memtest.efi"]);
        let config =
            "default image\nlabel image\n  LINUX ::test/linux\n  initrd ::a,::b\n  append initrd=c quiet\n";
        assert_eq!(names(LoaderKind::Pxelinux, config), ["::test/linux", "::a", "::b", "c"]);
        assert_eq!(
            names(LoaderKind::Grub, "linux /test/linux args\ninitrd /a /b\nboot\n"),
            ["/test/linux", "/a", "/b"]
        );
        assert_eq!(names(LoaderKind::Grub, "linux\ninitrd\n"), [""; 0]);
        assert_eq!(names(LoaderKind::Ipxe, "kernel\nchain --name\n"), [""; 0]);
    }
}
