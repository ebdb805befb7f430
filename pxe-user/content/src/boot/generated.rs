//! The virtual tree: installed files under fixed names, and the configuration files that pxed generates for
//! them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use pxe_proto::dhcp::Arch;

use super::discover::{self, INSTALL_MEMTEST, INSTALL_PXELINUX, PXELINUX, Part};
use super::names::FileName;
use super::tree::Tree;

/// The name of PXELINUX in the virtual tree.
pub(super) const BIOS_LOADER: &str = "pxelinux.0";
const LDLINUX: &str = "ldlinux.c32";
const PXELINUX_CONFIG: &str = "pxelinux.cfg/default";
/// The name of the script for iPXE. The tree has no `autoexec.ipxe`: iPXE of 2022 and later requests that
/// file before it has an address, and the files that such a script loads do not arrive (docs/clients.md
/// section 3). Without it iPXE asks by DHCP, and the reply names this script.
const SCRIPT: &str = "boot.ipxe";

const PARTS: [&Part; 5] = [
    &discover::MEMTEST_X64_EFI,
    &discover::MEMTEST_IA32_EFI,
    &discover::MEMTEST_X64,
    &discover::MEMTEST_IA32,
    &discover::MEMTEST_ANY,
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Generated(Vec<u8>),
    /// A path below the host's root directory.
    File(Cow<'static, str>),
}

/// The table of the virtual tree: the content of each name.
#[derive(Debug, Default)]
pub(super) struct Virtual(BTreeMap<FileName, Content>);

impl Virtual {
    /// Looks for memtest86+, and for PXELINUX to start it, where distributions install them. Generates the
    /// configuration files. The table is empty if no memtest86+ is installed.
    pub(super) fn discover(system: &Tree) -> Self {
        let is_there = |path: &str| system.find(path.as_bytes()).and_then(|found| found.open()).is_ok();
        let mut table = Self::default();
        for part in PARTS {
            if let Some(place) = part.places.iter().find(|place| is_there(place)) {
                table.insert(part.name, Content::File(Cow::Borrowed(place)));
            }
        }
        if table.0.is_empty() {
            return table;
        }
        let pair = PXELINUX.iter().find(|(loader, module)| is_there(loader) && module.is_none_or(is_there));
        if let (Some((loader, module)), Some(kernel)) = (pair, table.kernel64()) {
            table.insert(BIOS_LOADER, Content::File(Cow::Borrowed(loader)));
            if let Some(module) = module {
                table.insert(LDLINUX, Content::File(Cow::Borrowed(module)));
            }
            let config = pxelinux_config(kernel, table.kernel32());
            table.insert(PXELINUX_CONFIG, Content::Generated(config.into_bytes()));
        }
        let script = table.ipxe_script();
        table.insert(SCRIPT, Content::Generated(script.into_bytes()));
        table
    }

    /// A table of single files. Each has a name and a path below the host's root directory.
    pub(super) fn of(files: &[(FileName, String)]) -> Self {
        Self(files.iter().map(|(name, path)| (*name, Content::File(Cow::Owned(path.clone())))).collect())
    }

    fn insert(&mut self, name: &str, content: Content) {
        // Parsing cannot fail: the names are constants of this file and of `discover`, and a test parses them
        // all.
        if let Ok(name) = name.parse() {
            self.0.insert(name, content);
        }
    }

    fn has(&self, name: &str) -> bool {
        name.parse().is_ok_and(|name| self.contains(&name))
    }

    fn first(&self, parts: [&Part; 3]) -> Option<&'static str> {
        parts.into_iter().map(|part| part.name).find(|name| self.has(name))
    }

    /// The kernel for BIOS machines with a 64-bit processor. A 32-bit kernel runs there as well.
    fn kernel64(&self) -> Option<&'static str> {
        self.first([&discover::MEMTEST_X64, &discover::MEMTEST_ANY, &discover::MEMTEST_IA32])
    }

    fn kernel32(&self) -> Option<&'static str> {
        self.first([&discover::MEMTEST_IA32, &discover::MEMTEST_ANY, &discover::MEMTEST_ANY])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, name: &FileName) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn get(&self, name: &FileName) -> Option<&Content> {
        self.0.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&FileName, &Content)> {
        self.0.iter()
    }

    pub(super) fn generated(&self) -> impl Iterator<Item = (FileName, &[u8])> {
        self.0.iter().filter_map(|(name, content)| match content {
            Content::Generated(bytes) => Some((*name, bytes.as_slice())),
            Content::File(_) => None,
        })
    }

    pub(super) fn files(&self) -> impl Iterator<Item = FileName> {
        self.0.iter().filter(|(_, content)| matches!(content, Content::File(_))).map(|(name, _)| *name)
    }

    /// Looks for boot loaders where distributions install them.
    pub(super) fn loaders(system: &Tree) -> Self {
        let is_there = |path: &str| system.find(path.as_bytes()).and_then(|found| found.open()).is_ok();
        let mut table = Self::default();
        let pair = PXELINUX.iter().find(|(loader, module)| is_there(loader) && module.is_none_or(is_there));
        if let Some((loader, module)) = pair {
            table.insert(BIOS_LOADER, Content::File(Cow::Borrowed(loader)));
            if let Some(module) = module {
                table.insert(LDLINUX, Content::File(Cow::Borrowed(module)));
            }
        }
        for (_, part) in discover::LOADERS {
            if let Some(place) = part.places.iter().find(|place| is_there(place)) {
                table.insert(part.name, Content::File(Cow::Borrowed(place)));
            }
        }
        table
    }

    /// The boot program of each architecture.
    pub(super) fn programs(&self) -> impl Iterator<Item = (Arch, &'static str)> {
        let programs = [
            (Arch::BIOS, BIOS_LOADER),
            (Arch::IA32, discover::MEMTEST_IA32_EFI.name),
            (Arch::X64, discover::MEMTEST_X64_EFI.name),
        ];
        let loaders = discover::LOADERS.iter().map(|(arch, part)| (*arch, part.name));
        // A table has either memory tests or boot loaders. Of several loaders for one architecture the first
        // counts.
        let there = programs.into_iter().chain(loaders).filter(|(_, name)| self.has(name));
        let mut first: Vec<(Arch, &'static str)> = Vec::new();
        for (arch, name) in there {
            if !first.iter().any(|(known, _)| *known == arch) {
                first.push((arch, name));
            }
        }
        first.into_iter()
    }

    /// One sentence for each kind of machine that cannot boot, with the remedy.
    pub(super) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.kernel64().is_none() {
            missing.push(format!("BIOS machines: no memtest86+ for BIOS is installed: {INSTALL_MEMTEST}"));
        } else if !self.has(BIOS_LOADER) {
            missing.push(format!("BIOS machines: PXELINUX is not installed: {INSTALL_PXELINUX}"));
        }
        for (what, part) in [("64-bit", &discover::MEMTEST_X64_EFI), ("32-bit", &discover::MEMTEST_IA32_EFI)]
        {
            if !self.has(part.name) {
                missing
                    .push(format!("{what} UEFI machines: no {} is installed: {INSTALL_MEMTEST}", part.name));
            }
        }
        missing
    }

    /// One script for iPXE on all platforms. `cpuid` detects a 64-bit processor (bit 29 of the extended
    /// features' EDX), and `buildarch` is the architecture of the UEFI firmware. Names are relative to the
    /// script's own path.
    fn ipxe_script(&self) -> String {
        let mut script = String::from(
            "#!ipxe\n\
             # Written by pxed: boots memtest86+.\n\
             iseq ${platform} efi && goto efi ||\n\
             cpuid --ext 29 && goto bios64 ||\n\
             goto bios32\n",
        );
        let efi = |part: &Part| self.has(part.name).then(|| format!("chain {}", part.name));
        let bios = |kernel: Option<&str>| kernel.map(|kernel| format!("kernel {kernel} && boot"));
        let mut section = |label: &str, command: Option<String>| {
            let command = command.map(|command| format!("{command} ||\n")).unwrap_or_default();
            // Writing to a string cannot fail.
            let _ = write!(script, ":{label}\n{command}goto failed\n");
        };
        section("bios64", bios(self.kernel64()));
        section("bios32", bios(self.kernel32()));
        section(
            "efi",
            Some("iseq ${buildarch} x86_64 && goto efi64 ||\niseq ${buildarch} i386 && goto efi32".into()),
        );
        section("efi64", efi(&discover::MEMTEST_X64_EFI));
        section("efi32", efi(&discover::MEMTEST_IA32_EFI));
        script.push_str(
            ":failed\n\
             echo pxed: no memtest86+ for ${platform} ${buildarch}, or it could not be started\n\
             sleep 10\n\
             exit 1\n",
        );
        script
    }
}

/// A configuration that boots without a prompt. PXELINUX cannot detect the kind of processor, so a user can
/// choose the 32-bit kernel at the prompt (Shift or Alt held).
fn pxelinux_config(kernel: &str, kernel32: Option<&str>) -> String {
    let mut config = format!(
        "# Written by pxed: boots memtest86+.\n\
         default memtest\n\
         prompt 0\n\
         label memtest\n  linux {kernel}\n"
    );
    if let Some(kernel32) = kernel32.filter(|name| *name != kernel) {
        let _ = write!(config, "label memtest32\n  linux {kernel32}\n");
    }
    config
}
