//! The boot program of each architecture: given by `--boot-file` or `boot_files`, taken from a mount's table,
//! or found by its usual name in a directory.

use std::collections::BTreeMap;
use std::path::Path;

use pxe_proto::dhcp::{Arch, BootFile, Invalid, Program, Programs, Text};

use super::image::Role;
use super::machine_files::LoaderKind;
use super::mount::{Kind, Mount};
use super::names::FileName;

/// The usual names of boot programs in a directory, by architecture. The first name that exists counts. Boot
/// loaders with a configuration of their own come before programs that boot one thing. The first three rows
/// are the most common architectures, which messages mention.
const USUAL: &[(Arch, &[&str])] = &[
    (
        Arch::BIOS,
        &[
            "pxelinux.0",
            "lpxelinux.0",
            "undionly.kpxe",
            "ipxe.pxe",
            "undionly.kkpxe",
            "boot/grub/i386-pc/core.0",
        ],
    ),
    (
        Arch::X64,
        &[
            "bootx64.efi",
            "BOOTX64.EFI",
            "EFI/BOOT/BOOTX64.EFI",
            "shimx64.efi",
            "grubx64.efi",
            "grubnetx64.efi",
            "boot/grub/x86_64-efi/core.efi",
            "syslinux.efi",
            "snponly.efi",
            "ipxe.efi",
            "memtest86+x64.efi",
            "memtest.efi",
        ],
    ),
    (
        Arch::IA32,
        &[
            "bootia32.efi",
            "BOOTIA32.EFI",
            "EFI/BOOT/BOOTIA32.EFI",
            "shimia32.efi",
            "grubia32.efi",
            "boot/grub/i386-efi/core.efi",
            "memtest86+ia32.efi",
        ],
    ),
    (
        Arch::ARM64,
        &[
            "bootaa64.efi",
            "BOOTAA64.EFI",
            "EFI/BOOT/BOOTAA64.EFI",
            "shimaa64.efi",
            "grubaa64.efi",
            "grubnetaa64.efi",
            "boot/grub/arm64-efi/core.efi",
            "ipxe-arm64.efi",
        ],
    ),
    (Arch::ARM32, &["bootarm.efi", "BOOTARM.EFI", "EFI/BOOT/BOOTARM.EFI", "grubarm.efi"]),
    (Arch(27), &["bootriscv64.efi", "BOOTRISCV64.EFI", "EFI/BOOT/BOOTRISCV64.EFI", "grubriscv64.efi"]),
    (Arch(39), &["bootloongarch64.efi", "BOOTLOONGARCH64.EFI", "EFI/BOOT/BOOTLOONGARCH64.EFI"]),
    (Arch::RPI, &["bootcode.bin"]),
];

/// Which programs under usual names count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All programs.
    Any,
    /// Boot loaders only, because only they read the texts that pxed writes for an image's kernel.
    Loaders,
}

impl Wanted {
    fn has(self, name: &FileName) -> bool {
        self == Self::Any || role(name) == Role::Loader
    }
}

/// Names of scripts for iPXE on all architectures, best first.
const SCRIPTS: [&str; 2] = ["boot.ipxe", "autoexec.ipxe"];

const CONFIG: &str = "pxelinux.cfg/default";

/// The first choice for each of the most common architectures, for an error message.
pub(super) fn some_names() -> String {
    let names: Vec<_> = USUAL.iter().take(3).filter_map(|(_, names)| names.first().copied()).collect();
    names.join(", ")
}

/// The boot program with this file name, without further settings.
pub(super) fn program(name: FileName) -> Result<Program, Invalid> {
    // A DHCP reply could carry a name that is not UTF-8 only with its bytes escaped. The client would then
    // request a different name, so reject the name here.
    let text = name.as_str().ok_or_else(|| Invalid::Text { text: name.to_string(), max: 127 })?;
    BootFile::new(text).map(Program::from)
}

/// The boot program of each architecture. A program in `given` replaces the usual one.
pub(super) fn choose(mount: &Mount, given: &[(Arch, FileName)], wanted: Wanted) -> BTreeMap<Arch, FileName> {
    let is_there =
        |name: &&str| name.parse().is_ok_and(|name| wanted.has(&name) && mount.probe(&name).is_ok());
    let usual: Vec<(Arch, &str)> = match &mount.kind {
        Kind::Virtual(table) => table.programs().collect(),
        Kind::Tree(_) | Kind::Stored(_) => USUAL
            .iter()
            .filter_map(|(arch, names)| Some((*arch, names.iter().copied().find(is_there)?)))
            .collect(),
    };
    let usual = usual.into_iter().filter_map(|(arch, name)| Some((arch, name.parse().ok()?)));
    usual.chain(given.iter().copied()).collect()
}

/// The same programs as DHCP offers them: with complete names, with the configuration of PXELINUX, and with a
/// script for iPXE if there is one.
pub(super) fn programs(mount: &Mount, given: &[(Arch, FileName)], wanted: Wanted) -> Programs {
    let mut programs = Programs::default();
    let whole = |inside: FileName| mount.whole(&inside).ok().and_then(|name| program(name).ok());
    for (arch, name) in choose(mount, given, wanted) {
        if let Some(mut program) = whole(name) {
            program.config = config_of(mount, &name);
            programs.set(arch, program);
        }
    }
    let script = SCRIPTS.iter().filter_map(|name| name.parse().ok()).find(|name| mount.probe(name).is_ok());
    if let Some(script) = script.and_then(whole) {
        programs.set_ipxe(script);
    }
    programs
}

/// Points PXELINUX and iPXE to the texts that pxed writes for each machine. GRUB looks for its text by
/// itself.
pub(super) fn set_written(programs: &mut Programs) {
    let config = Text::new(&LoaderKind::Pxelinux.name()).ok();
    programs.configure(|program| {
        let base = program.file.as_str().rsplit('/').next().unwrap_or_default();
        if matches!(base, "pxelinux.0" | "lpxelinux.0") {
            program.config.clone_from(&config);
        }
    });
    if let Ok(script) = BootFile::new(&LoaderKind::Ipxe.name()) {
        programs.set_ipxe(script.into());
    }
}

/// Option 209 for PXELINUX: the name of its configuration, relative to the boot file's directory. The option
/// saves PXELINUX ten look-ups (docs/clients.md section 3). But PXELINUX then does not look for a file for
/// its machine, so there is no option 209 if the directory has such files.
fn config_of(mount: &Mount, name: &FileName) -> Option<Text> {
    if !matches!(name.base(), b"pxelinux.0" | b"lpxelinux.0") {
        return None;
    }
    mount.probe(&name.sibling(CONFIG).ok()?).ok()?;
    if let Kind::Tree(_) = &mount.kind {
        let directory = mount.find(&name.sibling("pxelinux.cfg").ok()?).ok()?;
        if directory.names().ok()?.iter().any(|name| is_of_one_machine(name)) {
            return None;
        }
    }
    Text::new(CONFIG).ok()
}

/// Whether PXELINUX reads a file of this name for some machines only: named by UUID, by hardware type and
/// Ethernet address, or by the first digits of the IPv4 address in upper-case hexadecimal.
fn is_of_one_machine(name: &[u8]) -> bool {
    let upper_hex = |byte: &u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(byte);
    let dashed_hex = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b'-';
    (1..=8).contains(&name.len()) && name.iter().all(upper_hex)
        || matches!(name.len(), 20 | 36) && name.iter().all(dashed_hex)
}

/// One sentence for each of the most common architectures that has no boot program in this directory.
pub(super) fn missing(mount: &Mount, root: &Path, given: &[(Arch, FileName)]) -> Vec<String> {
    let chosen = choose(mount, given, Wanted::Any);
    let common = USUAL.iter().take(3).filter(|(arch, _)| !chosen.contains_key(arch));
    common
        .map(|(arch, names)| {
            let some = names.get(..3).unwrap_or(names).join(", ");
            format!(
                "{arch} machines: {} has no boot program (such as {some}): name one with --boot-file {arch}=NAME",
                root.display()
            )
        })
        .collect()
}

/// The role of a file in a boot, by its name. The names of boot loaders and of their configuration files are
/// well known.
pub(super) fn role(name: &FileName) -> Role {
    let base = name.base().to_ascii_lowercase();
    let ends = |end: &str| base.ends_with(end.as_bytes());
    let starts = |start: &str| base.starts_with(start.as_bytes());
    let is = |names: &[&str]| names.iter().any(|name| base == name.as_bytes());
    if is(&["pxelinux.0", "lpxelinux.0", "core.0", "core.efi", "syslinux.efi", "bootcode.bin"])
        || ["grub", "shim", "ipxe", "snponly", "undionly"].iter().any(|start| starts(start)) && !ends(".cfg")
        || starts("boot") && ends(".efi")
        || [".kpxe", ".kkpxe", ".pxe"].iter().any(|end| ends(end))
    {
        Role::Loader
    } else if [".cfg", ".ipxe", ".conf", ".menu"].iter().any(|end| ends(end))
        || name.as_bytes().windows(13).any(|part| part == b"pxelinux.cfg/")
    {
        Role::Config
    } else if starts("memtest") {
        Role::Payload
    } else {
        Role::Other
    }
}
