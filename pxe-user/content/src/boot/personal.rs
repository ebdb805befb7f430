//! Files that are written for one machine: names that mean them, and their texts.

use std::net::Ipv4Addr;

use super::names::FileName;
use super::recipe::Recipe;
use super::template::{TemplateError, fill};
use crate::boot::MachineFacts;
use pxe_proto::mac::Mac;

/// The directory of all such files, below it one for each machine.
pub(super) const FOLDER: &str = "pxed";

/// Who reads such a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// iPXE.
    Ipxe,
    /// PXELINUX.
    Pxelinux,
    /// GRUB.
    Grub,
}

impl Reader {
    /// The name of its file in a machine's directory.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Ipxe => "boot.ipxe",
            Self::Pxelinux => "pxelinux.cfg",
            Self::Grub => "grub.cfg",
        }
    }

    /// What a machine is told: `{mac}` stands for its address.
    #[must_use]
    pub fn name(self) -> String {
        format!("{FOLDER}/{}/{}", pxe_proto::dhcp::MAC_MARK, self.file())
    }
}

/// A name that may mean such a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Personal {
    pub(super) reader: Reader,
    /// Whose file, if the name says so; else it is the one who asks.
    pub(super) mac: Option<Mac>,
    /// It can be nothing else, so no directory is asked.
    pub(super) is_sure: bool,
}

/// Whether a name means a file for one machine, in whichever directory a loader looks for it.
///
/// `autoexec.ipxe` does not: iPXE fetches it before it has an address, so the script would end in time-outs. Without it
/// iPXE asks by DHCP, and is told the script's own name.
pub(super) fn personal(name: &FileName) -> Option<Personal> {
    let mut parts = name.as_bytes().rsplit(|byte| *byte == b'/');
    let (base, parent, folder) = (parts.next()?, parts.next(), parts.next());
    if folder == Some(FOLDER.as_bytes())
        && let Some(mac) = parent.and_then(Mac::from_dashed)
    {
        let reader = [Reader::Ipxe, Reader::Pxelinux, Reader::Grub]
            .into_iter()
            .find(|reader| reader.file().as_bytes() == base)?;
        return Some(Personal { reader, mac: Some(mac), is_sure: true });
    }
    // clients.md section 3: hardware type 1, then the address.
    let of_address = |text: &[u8]| text.strip_prefix(b"01-").and_then(Mac::from_dashed);
    let maybe = |reader, mac| Some(Personal { reader, mac, is_sure: false });
    if parent == Some(b"pxelinux.cfg") {
        return of_address(base).and_then(|mac| maybe(Reader::Pxelinux, Some(mac)));
    }
    if let Some(rest) = base.strip_prefix(b"grub.cfg-") {
        return of_address(rest).and_then(|mac| maybe(Reader::Grub, Some(mac)));
    }
    match base {
        b"grub.cfg" => maybe(Reader::Grub, None),
        _ => None,
    }
}

/// Whether boot programs look for such a name without knowing that it is there (docs/clients.md section 3): that it is not says
/// nothing. PXELINUX and GRUB have up to a dozen before they find theirs.
#[must_use]
pub fn is_looked_for(name: &str) -> bool {
    let base = name.rsplit('/').next().unwrap_or(name);
    let is_grubs =
        base.starts_with("grub.cfg") || [".lst", ".mo", ".gmo"].iter().any(|end| base.ends_with(end));
    let is_shims = base.starts_with("revocations") || base.starts_with("shim_certificate");
    name.contains("pxelinux.cfg/") || is_grubs || is_shims || base == "autoexec.ipxe"
}

/// The boot loader that looks for its configuration under this name last, and stops at its prompt without it (docs/clients.md
/// section 3).
#[must_use]
pub fn last_resort(name: &str) -> Option<&'static str> {
    if name == "pxelinux.cfg/default" || name.ends_with("/pxelinux.cfg/default") {
        return Some("PXELINUX");
    }
    (name.rsplit('/').next() == Some("grub.cfg")).then_some("GRUB")
}

/// Where a machine reaches us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Here {
    /// The address that it used.
    pub server: Ipv4Addr,
    /// Our HTTP port, if there is one.
    pub http: Option<u16>,
}

/// A text for a machine that boots this image, or its own disk.
///
/// # Errors
/// What is wrong with the template.
pub(super) fn render(
    reader: Reader,
    recipe: &Recipe,
    facts: &MachineFacts,
    here: Here,
) -> Result<Option<String>, TemplateError> {
    if facts.local {
        return Ok(Some(local(reader).to_owned()));
    }
    let template = match reader {
        Reader::Ipxe => recipe.ipxe.clone(),
        Reader::Pxelinux => recipe.pxelinux.clone(),
        Reader::Grub => recipe.grub.clone(),
    };
    let Some(template) = template.or_else(|| usual(reader, recipe)) else { return Ok(None) };
    fill(&template, recipe, facts, here).map(Some)
}

fn local(reader: Reader) -> &'static str {
    match reader {
        // Not 0: EDK2 takes that for a boot that went well, and shows its menu.
        Reader::Ipxe => "#!ipxe\necho pxed: booting from the local disk\nexit 1\n",
        Reader::Pxelinux => "default local\nprompt 0\nlabel local\n  localboot 0\n",
        Reader::Grub => "echo 'pxed: booting from the local disk'\nexit 1\n",
    }
}

/// The text for a kernel.
fn usual(reader: Reader, recipe: &Recipe) -> Option<String> {
    let kernel = recipe.whole(recipe.kernel.as_ref()?);
    let initrd: Vec<String> = recipe.initrd.iter().map(|file| recipe.whole(file)).collect();
    let base = |file: &String| file.rsplit('/').next().unwrap_or_default().to_owned();
    let args = &recipe.args;
    Some(match reader {
        Reader::Ipxe => {
            // The kernel's EFI stub finds them by name; the BIOS' kernel is handed them, and passes over the names.
            let names: String = initrd.iter().map(|file| format!("initrd={} ", base(file))).collect();
            let loads: String =
                initrd.iter().map(|file| format!("initrd /{file} || goto failed\n")).collect();
            format!(
                "#!ipxe\nkernel /{kernel} {names}{args} || goto failed\n{loads}boot || goto failed\n:failed\n\
                 echo pxed: could not load or start {kernel}\nsleep 10\nexit 1\n"
            )
        }
        Reader::Pxelinux => {
            // `::` is the root of the server, whatever directory PXELINUX itself came from.
            let list: Vec<_> = initrd.iter().map(|file| format!("::{file}")).collect();
            let initrd =
                if list.is_empty() { String::new() } else { format!("  initrd {}\n", list.join(",")) };
            format!("default image\nprompt 0\nlabel image\n  linux ::{kernel}\n{initrd}  append {args}\n")
        }
        Reader::Grub => {
            let list: Vec<_> = initrd.iter().map(|file| format!("/{file}")).collect();
            let initrd = if list.is_empty() { String::new() } else { format!("initrd {}\n", list.join(" ")) };
            format!("linux /{kernel} {args}\n{initrd}boot\n")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([0x52, 0x54, 0, 0x99, 0, 0x10]);
    const HERE: Here = Here { server: Ipv4Addr::new(10, 99, 0, 2), http: Some(8080) };

    fn facts() -> MachineFacts {
        MachineFacts {
            mac: MAC,
            uuid: None,
            address: Some([10, 99, 0, 116].into()),
            arch: Some(pxe_proto::dhcp::Arch::X64),
            serial: Some("A1 && shell".into()),
            name: None,
            rule: Some("all".into()),
            image: Some("test".into()),
            local: false,
            nonce: None,
        }
    }

    fn recipe() -> Recipe {
        Recipe {
            name: "test".into(),
            root: Some(("/srv".into(), Default::default())),
            kernel: Some("linux".into()),
            initrd: vec!["a.img".into(), "sub/b.img".into()],
            args: "report={{ report_url }} mac={{ mac }} serial={{ serial }}".into(),
            ..Recipe::default()
        }
    }

    fn text(reader: Reader, recipe: &Recipe, facts: &MachineFacts) -> String {
        render(reader, recipe, facts, HERE).unwrap().unwrap()
    }

    #[test]
    fn names_that_loaders_ask_for_mean_a_machines_files() {
        let of = |reader, mac, is_sure| Some(Personal { reader, mac, is_sure });
        for (name, expected) in [
            ("pxed/52-54-00-99-00-10/boot.ipxe", of(Reader::Ipxe, Some(MAC), true)),
            ("loader/pxed/52-54-00-99-00-10/pxelinux.cfg", of(Reader::Pxelinux, Some(MAC), true)),
            ("pxed/52-54-00-99-00-10/grub.cfg", of(Reader::Grub, Some(MAC), true)),
            ("pxed/52-54-00-99-00-10/other", None),
            ("pxed/52-54-00-99-00/boot.ipxe", None),
            ("loader/pxelinux.cfg/01-52-54-00-99-00-10", of(Reader::Pxelinux, Some(MAC), false)),
            ("pxelinux.cfg/default", None),
            ("pxelinux.cfg/C0A8025B", None),
            ("grub/grub.cfg-01-52-54-00-99-00-10", of(Reader::Grub, Some(MAC), false)),
            ("grub/grub.cfg", of(Reader::Grub, None, false)),
            ("autoexec.ipxe", None),
            ("pxelinux.0", None),
        ] {
            assert_eq!(personal(&name.parse().unwrap()), expected, "{name}");
        }
    }

    #[test]
    fn what_loaders_look_for_is_told_from_what_they_were_told() {
        for name in [
            "pxelinux.cfg/default",
            "loader/pxelinux.cfg/C0A8",
            "grub/x86_64-efi/fs.lst",
            "grub/grub.cfg-01-52-54-00-99-00-10",
            "grub.cfg",
            "EFI/revocations_sku.efi",
            "autoexec.ipxe",
        ] {
            assert!(is_looked_for(name), "{name}");
        }
        for name in ["pxelinux.0", "memtest86+x64.efi", "lab/linux", "grubx64.efi", "pxelinux.cfg", ""] {
            assert!(!is_looked_for(name), "{name}");
        }
    }

    #[test]
    fn a_kernel_is_started_by_every_loader_with_what_it_needs() {
        let script = text(Reader::Ipxe, &recipe(), &facts());
        let line =
            "kernel /test/linux initrd=a.img initrd=b.img report=http://10.99.0.2:8080 mac=52:54:00:99:00:10";
        assert!(script.starts_with("#!ipxe\n") && script.contains(line), "{script}");
        assert!(script.contains("initrd /test/sub/b.img || goto failed\n"), "{script}");
        let config = text(Reader::Pxelinux, &recipe(), &facts());
        assert!(
            config.contains("  linux ::test/linux\n  initrd ::test/a.img,::test/sub/b.img\n"),
            "{config}"
        );
        let config = text(Reader::Grub, &recipe(), &facts());
        assert!(config.starts_with("linux /test/linux report="), "{config}");
        assert!(config.contains("initrd /test/a.img /test/sub/b.img\nboot"), "{config}");
    }

    /// Who only looks gets the same text, without the nonce.
    #[test]
    fn the_machine_itself_finds_its_nonce_where_it_reports() {
        let facts = MachineFacts { nonce: Some(crate::boot::Nonce::fixed([0x1b; 16])), ..facts() };
        let nonce = "1b".repeat(16);
        for reader in [Reader::Ipxe, Reader::Pxelinux, Reader::Grub] {
            let text = text(reader, &recipe(), &facts);
            assert!(text.contains(&format!("report=http://10.99.0.2:8080/pxed/{nonce} mac=")), "{text}");
        }
    }

    #[test]
    fn what_a_machine_says_of_itself_cannot_become_a_command() {
        let script = text(Reader::Ipxe, &recipe(), &facts());
        assert!(script.contains("serial=A1____shell "), "{script}");
    }

    #[test]
    fn a_machine_that_boots_its_disk_is_told_so_by_every_loader() {
        let facts = MachineFacts { local: true, ..facts() };
        assert!(text(Reader::Ipxe, &recipe(), &facts).contains("exit 1"));
        assert!(text(Reader::Pxelinux, &recipe(), &facts).contains("localboot 0"));
        assert!(text(Reader::Grub, &recipe(), &facts).contains("exit"));
    }

    #[test]
    fn own_texts_win_and_unknown_words_in_them_are_errors() {
        let own = Recipe { ipxe: Some("#!ipxe\nchain x?ip={{ ip }}\n".into()), ..recipe() };
        assert_eq!(text(Reader::Ipxe, &own, &facts()), "#!ipxe\nchain x?ip=10.99.0.116\n");
        let wrong = Recipe { ipxe: Some("{{ mca }}".into()), ..recipe() };
        assert!(render(Reader::Ipxe, &wrong, &facts(), HERE).is_err());
        assert_eq!(render(Reader::Ipxe, &Recipe::default(), &facts(), HERE).unwrap(), None);
    }
}
