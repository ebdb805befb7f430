//! Files that pxed writes for one machine: the names that mean such a file, and the texts. `images.rs` calls
//! this for each request; `template.rs` fills in the texts.

use super::facts::{FOLDER, ServedAt};
use super::image_spec::ImageSpec;
use super::names::FileName;
use super::template::{TemplateError, fill};
use crate::boot::MachineFacts;
use pxe_proto::mac::Mac;

/// The boot loader that reads a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoaderKind {
    /// iPXE.
    Ipxe,
    /// PXELINUX.
    Pxelinux,
    /// GRUB.
    Grub,
}

impl LoaderKind {
    /// The file name of the text in a machine's directory.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Ipxe => "boot.ipxe",
            Self::Pxelinux => "pxelinux.cfg",
            Self::Grub => "grub.cfg",
        }
    }

    /// The name of the text as pxed puts it into a DHCP reply. `{mac}` stands for the machine's Ethernet
    /// address.
    #[must_use]
    pub fn name(self) -> String {
        format!("{FOLDER}/{}/{}", pxe_proto::dhcp::MAC_MARK, self.file())
    }
}

/// A name that may mean a file for one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MachineFile {
    pub(super) reader: LoaderKind,
    /// The machine, if the name contains its address. `None`: the machine that sends the request.
    pub(super) mac: Option<Mac>,
    /// The name can mean nothing else, so pxed does not look for a real file first.
    pub(super) is_unambiguous: bool,
}

/// The meaning of a name that may be a file for one machine, in any directory in which a boot loader looks
/// for it. `None` if the name is not such a name.
///
/// `autoexec.ipxe` is not such a name. iPXE requests it before it has an address, so the files that the
/// script loads would time out. Without it iPXE asks by DHCP, and the reply names the script.
pub(super) fn machine_file(name: &FileName) -> Option<MachineFile> {
    let mut parts = name.as_bytes().rsplit(|byte| *byte == b'/');
    let (base, parent, folder) = (parts.next()?, parts.next(), parts.next());
    if folder == Some(FOLDER.as_bytes())
        && let Some(mac) = parent.and_then(Mac::from_dashed)
    {
        let reader = [LoaderKind::Ipxe, LoaderKind::Pxelinux, LoaderKind::Grub]
            .into_iter()
            .find(|reader| reader.file().as_bytes() == base)?;
        return Some(MachineFile { reader, mac: Some(mac), is_unambiguous: true });
    }
    // The hardware type 1, then the Ethernet address (docs/clients.md section 3).
    let of_address = |text: &[u8]| text.strip_prefix(b"01-").and_then(Mac::from_dashed);
    let maybe = |reader, mac| Some(MachineFile { reader, mac, is_unambiguous: false });
    if parent == Some(b"pxelinux.cfg") {
        return of_address(base).and_then(|mac| maybe(LoaderKind::Pxelinux, Some(mac)));
    }
    if let Some(rest) = base.strip_prefix(b"grub.cfg-") {
        return of_address(rest).and_then(|mac| maybe(LoaderKind::Grub, Some(mac)));
    }
    match base {
        b"grub.cfg" => maybe(LoaderKind::Grub, None),
        _ => None,
    }
}

/// Whether boot programs look for such a name without knowing whether the file exists (docs/clients.md
/// section 3). A missing file of such a name is therefore no error: PXELINUX and GRUB try up to a dozen names
/// before they find their file.
#[must_use]
pub fn is_looked_for(name: &str) -> bool {
    let base = name.rsplit('/').next().unwrap_or(name);
    let is_grubs =
        base.starts_with("grub.cfg") || [".lst", ".mo", ".gmo"].iter().any(|end| base.ends_with(end));
    let is_shims = base.starts_with("revocations") || base.starts_with("shim_certificate");
    name.contains("pxelinux.cfg/") || is_grubs || is_shims || base == "autoexec.ipxe"
}

/// The boot loader that looks for its configuration under this name last. Without that file it stops at its
/// prompt (docs/clients.md section 3). `None` for all other names.
#[must_use]
pub fn last_resort(name: &str) -> Option<&'static str> {
    if name == "pxelinux.cfg/default" || name.ends_with("/pxelinux.cfg/default") {
        return Some("PXELINUX");
    }
    (name.rsplit('/').next() == Some("grub.cfg")).then_some("GRUB")
}

/// The text for a machine that boots this image or, if [`MachineFacts::local`] is set, its own disk. `None`
/// if the image has no text for this boot loader.
///
/// # Errors
/// What is wrong with the template.
pub(super) fn render(
    reader: LoaderKind,
    image_spec: &ImageSpec,
    facts: &MachineFacts,
    here: ServedAt,
) -> Result<Option<String>, TemplateError> {
    if facts.local {
        return Ok(Some(local(reader).to_owned()));
    }
    let template = match reader {
        LoaderKind::Ipxe => image_spec.ipxe.clone(),
        LoaderKind::Pxelinux => image_spec.pxelinux.clone(),
        LoaderKind::Grub => image_spec.grub.clone(),
    };
    let Some(template) = template.or_else(|| usual(reader, image_spec)) else { return Ok(None) };
    fill(&template, image_spec, facts, here).map(Some)
}

fn local(reader: LoaderKind) -> &'static str {
    match reader {
        // Not 0: EDK2 takes 0 as a successful boot, and shows its menu.
        LoaderKind::Ipxe => "#!ipxe\necho pxed: booting from the local disk\nexit 1\n",
        LoaderKind::Pxelinux => "default local\nprompt 0\nlabel local\n  localboot 0\n",
        LoaderKind::Grub => "echo 'pxed: booting from the local disk'\nexit 1\n",
    }
}

/// The text that starts the image's kernel. `None` if the image has no kernel.
fn usual(reader: LoaderKind, image_spec: &ImageSpec) -> Option<String> {
    let kernel = image_spec.whole(image_spec.kernel.as_ref()?);
    let initrd: Vec<String> = image_spec.initrd.iter().map(|file| image_spec.whole(file)).collect();
    let base = |file: &String| file.rsplit('/').next().unwrap_or_default().to_owned();
    let args = &image_spec.args;
    Some(match reader {
        LoaderKind::Ipxe => {
            // The EFI stub of the kernel finds the initrds by these names. For a BIOS kernel, iPXE passes the
            // initrds itself, and the kernel ignores the names.
            let names: String = initrd.iter().map(|file| format!("initrd={} ", base(file))).collect();
            let loads: String =
                initrd.iter().map(|file| format!("initrd /{file} || goto failed\n")).collect();
            format!(
                "#!ipxe\nkernel /{kernel} {names}{args} || goto failed\n{loads}boot || goto failed\n:failed\n\
                 echo pxed: could not load or start {kernel}\nsleep 10\nexit 1\n"
            )
        }
        LoaderKind::Pxelinux => {
            // `::` is the server's root directory, whatever directory PXELINUX itself was loaded from.
            let list: Vec<_> = initrd.iter().map(|file| format!("::{file}")).collect();
            let initrd =
                if list.is_empty() { String::new() } else { format!("  initrd {}\n", list.join(",")) };
            format!("default image\nprompt 0\nlabel image\n  linux ::{kernel}\n{initrd}  append {args}\n")
        }
        LoaderKind::Grub => {
            let list: Vec<_> = initrd.iter().map(|file| format!("/{file}")).collect();
            let initrd = if list.is_empty() { String::new() } else { format!("initrd {}\n", list.join(" ")) };
            format!("linux /{kernel} {args}\n{initrd}boot\n")
        }
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const MAC: Mac = Mac([0x52, 0x54, 0, 0x99, 0, 0x10]);
    const HERE: ServedAt = ServedAt { server: Ipv4Addr::new(10, 99, 0, 2), http: Some(8080) };

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

    fn image_spec() -> ImageSpec {
        ImageSpec {
            name: "test".into(),
            root: Some(("/srv".into(), Default::default())),
            kernel: Some("linux".into()),
            initrd: vec!["a.img".into(), "sub/b.img".into()],
            args: "report={{ report_url }} mac={{ mac }} serial={{ serial }}".into(),
            ..ImageSpec::default()
        }
    }

    fn text(reader: LoaderKind, image_spec: &ImageSpec, facts: &MachineFacts) -> String {
        render(reader, image_spec, facts, HERE).unwrap().unwrap()
    }

    #[test]
    fn names_that_loaders_ask_for_mean_a_machines_files() {
        let of = |reader, mac, is_unambiguous| Some(MachineFile { reader, mac, is_unambiguous });
        for (name, expected) in [
            ("pxed/52-54-00-99-00-10/boot.ipxe", of(LoaderKind::Ipxe, Some(MAC), true)),
            ("loader/pxed/52-54-00-99-00-10/pxelinux.cfg", of(LoaderKind::Pxelinux, Some(MAC), true)),
            ("pxed/52-54-00-99-00-10/grub.cfg", of(LoaderKind::Grub, Some(MAC), true)),
            ("pxed/52-54-00-99-00-10/other", None),
            ("pxed/52-54-00-99-00/boot.ipxe", None),
            ("loader/pxelinux.cfg/01-52-54-00-99-00-10", of(LoaderKind::Pxelinux, Some(MAC), false)),
            ("pxelinux.cfg/default", None),
            ("pxelinux.cfg/C0A8025B", None),
            ("grub/grub.cfg-01-52-54-00-99-00-10", of(LoaderKind::Grub, Some(MAC), false)),
            ("grub/grub.cfg", of(LoaderKind::Grub, None, false)),
            ("autoexec.ipxe", None),
            ("pxelinux.0", None),
        ] {
            assert_eq!(machine_file(&name.parse().unwrap()), expected, "{name}");
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
        let script = text(LoaderKind::Ipxe, &image_spec(), &facts());
        let line =
            "kernel /test/linux initrd=a.img initrd=b.img report=http://10.99.0.2:8080 mac=52:54:00:99:00:10";
        assert!(script.starts_with("#!ipxe\n") && script.contains(line), "{script}");
        assert!(script.contains("initrd /test/sub/b.img || goto failed\n"), "{script}");
        let config = text(LoaderKind::Pxelinux, &image_spec(), &facts());
        assert!(
            config.contains("  linux ::test/linux\n  initrd ::test/a.img,::test/sub/b.img\n"),
            "{config}"
        );
        let config = text(LoaderKind::Grub, &image_spec(), &facts());
        assert!(config.starts_with("linux /test/linux report="), "{config}");
        assert!(config.contains("initrd /test/a.img /test/sub/b.img\nboot"), "{config}");
    }

    /// A reader that is not the machine gets the same text without the nonce.
    #[test]
    fn the_machine_itself_finds_its_nonce_where_it_reports() {
        let facts = MachineFacts { nonce: Some(crate::boot::Nonce::fixed([0x1b; 16])), ..facts() };
        let nonce = "1b".repeat(16);
        for reader in [LoaderKind::Ipxe, LoaderKind::Pxelinux, LoaderKind::Grub] {
            let text = text(reader, &image_spec(), &facts);
            assert!(text.contains(&format!("report=http://10.99.0.2:8080/pxed/{nonce} mac=")), "{text}");
        }
    }

    #[test]
    fn what_a_machine_says_of_itself_cannot_become_a_command() {
        let script = text(LoaderKind::Ipxe, &image_spec(), &facts());
        assert!(script.contains("serial=A1____shell "), "{script}");
    }

    #[test]
    fn a_machine_that_boots_its_disk_is_told_so_by_every_loader() {
        let facts = MachineFacts { local: true, ..facts() };
        assert!(text(LoaderKind::Ipxe, &image_spec(), &facts).contains("exit 1"));
        assert!(text(LoaderKind::Pxelinux, &image_spec(), &facts).contains("localboot 0"));
        assert!(text(LoaderKind::Grub, &image_spec(), &facts).contains("exit"));
    }

    #[test]
    fn own_texts_win_and_unknown_words_in_them_are_errors() {
        let own = ImageSpec { ipxe: Some("#!ipxe\nchain x?ip={{ ip }}\n".into()), ..image_spec() };
        assert_eq!(text(LoaderKind::Ipxe, &own, &facts()), "#!ipxe\nchain x?ip=10.99.0.116\n");
        let wrong = ImageSpec { ipxe: Some("{{ mca }}".into()), ..image_spec() };
        assert!(render(LoaderKind::Ipxe, &wrong, &facts(), HERE).is_err());
        assert_eq!(render(LoaderKind::Ipxe, &ImageSpec::default(), &facts(), HERE).unwrap(), None);
    }
}
