//! What one interface offers. It is built and checked when the configuration is read, and does not change
//! afterwards.

use std::net::Ipv4Addr;

use super::arch::Arch;
use super::ignored::Ignored;
use super::names::{BootFile, Invalid, Text, Url};
use super::request::Request;
use super::vendor::{self, Vendor};

/// A program that a machine loads from the network, with the options that the program reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The file to load.
    pub file: BootFile,
    /// Option 209, PXELINUX's configuration file (RFC 5071 section 4): with it PXELINUX needs one look-up
    /// instead of up to eleven. `{mac}` in it stands for the machine's address. `None` for no such option.
    pub config: Option<Text>,
    /// Option 210, PXELINUX's path prefix (RFC 5071 section 5); `None` for no such option.
    pub path_prefix: Option<Text>,
}

impl From<BootFile> for Program {
    fn from(file: BootFile) -> Self {
        Self { file, config: None, path_prefix: None }
    }
}

/// Which machine loads which program: by architecture, with a separate program for iPXE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programs {
    by_arch: Vec<(Arch, Program)>,
    ipxe: Option<Program>,
}

impl Programs {
    /// Sets the program of an architecture, and replaces an earlier one. If EFI byte code (9) has no program
    /// of its own, it gets that of x64.
    pub fn set(&mut self, arch: Arch, program: Program) {
        self.by_arch.retain(|(known, _)| *known != arch);
        self.by_arch.push((arch, program));
    }

    /// Adds the programs of `others` for architectures that have none yet.
    pub fn fill(&mut self, others: &Self) {
        for (arch, program) in &others.by_arch {
            if !self.by_arch.iter().any(|(known, _)| known == arch) {
                self.by_arch.push((*arch, program.clone()));
            }
        }
    }

    /// Changes the program of each architecture.
    pub fn configure(&mut self, change: impl FnMut(&mut Program)) {
        self.by_arch.iter_mut().map(|(_, program)| program).for_each(change);
    }

    /// Returns each architecture that has a program, with the program.
    pub fn iter(&self) -> impl Iterator<Item = (Arch, &Program)> {
        self.by_arch.iter().map(|(arch, program)| (*arch, program))
    }

    /// The script for iPXE; `None` if it gets the program of its architecture.
    #[must_use]
    pub fn ipxe(&self) -> Option<&Program> {
        self.ipxe.as_ref()
    }

    /// Sets the script for iPXE on all architectures. Without a script, iPXE gets the program of its
    /// architecture.
    pub fn set_ipxe(&mut self, script: Program) {
        self.ipxe = Some(script);
    }

    /// The program of one architecture; `None` if it has none.
    #[must_use]
    pub fn get(&self, arch: Arch) -> Option<&Program> {
        by_arch(&self.by_arch, arch)
    }

    /// Returns the program for this machine, and whether it is the script for iPXE.
    pub(super) fn find(&self, request: &Request<'_>) -> Result<(&Program, bool), Ignored> {
        match &self.ipxe {
            // clients.md line 17: without this, iPXE would load itself again and again.
            Some(script) if request.is_ipxe() => Ok((script, true)),
            _ if request.is_raspberry_pi() => {
                self.get(Arch::RPI).map(|program| (program, false)).ok_or(Ignored::NoImageForArch(Arch::RPI))
            }
            _ => find(&self.by_arch, request).map(|program| (program, false)),
        }
    }
}

/// Returns the entry of the first architecture that the client names and that is in the table.
fn find<'t, T>(table: &'t [(Arch, T)], request: &Request<'_>) -> Result<&'t T, Ignored> {
    let first = request.arches().next().ok_or(Ignored::NoArch)?;
    request.arches().find_map(|arch| by_arch(table, arch)).ok_or(Ignored::NoImageForArch(first))
}

fn by_arch<T>(table: &[(Arch, T)], arch: Arch) -> Option<&T> {
    let exact = |wanted: Arch| table.iter().find(|(known, _)| *known == wanted).map(|(_, entry)| entry);
    exact(arch).or_else(|| exact(arch.canonical()))
}

/// One entry of a boot menu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MenuItem {
    boot_type: u16,
    text: Text,
    programs: Option<Programs>,
}

impl MenuItem {
    /// An entry with which the machine continues with its next boot device (type 0).
    #[must_use]
    pub fn local(text: Text) -> Self {
        Self { boot_type: 0, text, programs: None }
    }

    /// An entry that boots `programs`; if that is `None`, the service's own programs.
    ///
    /// # Errors
    /// [`Invalid::ItemTypeZero`] if `boot_type` is 0.
    pub fn boot(boot_type: u16, text: Text, programs: Option<Programs>) -> Result<Self, Invalid> {
        if boot_type == 0 {
            return Err(Invalid::ItemTypeZero);
        }
        Ok(Self { boot_type, text, programs })
    }

    /// Whether this entry continues with the machine's next boot device.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.boot_type == 0
    }

    /// Its boot server type, for which the machine asks on port 4011; 0 for the local entry.
    #[must_use]
    pub fn boot_type(&self) -> u16 {
        self.boot_type
    }

    /// The text that the machine shows.
    #[must_use]
    pub fn text(&self) -> &Text {
        &self.text
    }
}

/// A boot menu that the firmware shows (PXE 2.1 chapter 2). The first entry is the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Menu {
    prompt: Text,
    timeout_s: u8,
    items: Vec<MenuItem>,
}

impl Menu {
    /// Option 43 with this menu, and `server` as the boot server of each entry.
    pub(super) fn vendor(&self, server: Ipv4Addr) -> Result<Vendor, vendor::TooLong> {
        let entries = self.items.iter().map(|item| (item.boot_type, &item.text));
        Vendor::menu((&self.prompt, self.timeout_s), entries, server)
    }

    /// Makes a menu. `timeout_s` is the time in seconds for which the prompt waits for a key before the first
    /// entry is chosen. 0 chooses it at once; 255 shows the menu at once and waits without limit.
    ///
    /// # Errors
    /// When two entries have the same type, when no entry boots from the network, or when the texts do not
    /// fit into option 43.
    pub fn new(prompt: Text, timeout_s: u8, items: Vec<MenuItem>) -> Result<Self, Invalid> {
        for (i, item) in items.iter().enumerate() {
            if items.iter().skip(i + 1).any(|other| other.boot_type == item.boot_type) {
                return Err(Invalid::DuplicateItem(item.boot_type));
            }
        }
        if items.iter().all(MenuItem::is_local) {
            return Err(Invalid::EmptyMenu);
        }
        let menu = Self { prompt, timeout_s, items };
        match menu.vendor(Ipv4Addr::UNSPECIFIED) {
            Ok(_) => Ok(menu),
            Err(vendor::TooLong) => Err(Invalid::MenuTooLong),
        }
    }

    /// A menu with only one entry, the machine's next boot device (type 0), which is chosen at once.
    ///
    /// # Errors
    /// None in practice, because the texts are constants that are valid.
    pub fn local() -> Result<Self, Invalid> {
        let prompt = Text::new("Booting from the local disk")?;
        Ok(Self { prompt, timeout_s: 0, items: vec![MenuItem::local(Text::new("Local disk")?)] })
    }

    /// The entries. The first one is the default.
    #[must_use]
    pub fn items(&self) -> &[MenuItem] {
        &self.items
    }
}

/// What pxed offers on one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootService {
    /// pxed's own address on the interface: option 54. It is also siaddr and the menu's boot server, unless
    /// `boot_server` is set.
    pub server: Ipv4Addr,
    /// The machine that has the files; `None` if it is this one.
    pub boot_server: Option<Ipv4Addr>,
    /// The programs that machines load.
    pub programs: Programs,
    /// The URLs for UEFI HTTP boot, by the architecture codes of HTTP boot (such as 15 to 20). If it is
    /// empty, such clients get no reply.
    pub http: Vec<(Arch, Url)>,
    /// The boot menu of [`Style::Menu`](super::Style::Menu); `None` for no menu.
    pub menu: Option<Menu>,
    /// Set if machines should boot from their own disks: firmware gets this menu, and iPXE gets the script in
    /// [`Self::programs`].
    pub local: Option<Menu>,
    /// Whether iPXE uses pxed's file even if the DHCP server names one (option 175.1 = 1).
    pub ipxe_priority: bool,
}

impl BootService {
    /// A service that offers nothing yet.
    #[must_use]
    pub fn new(server: Ipv4Addr) -> Self {
        Self {
            server,
            boot_server: None,
            programs: Programs::default(),
            http: Vec::new(),
            menu: None,
            local: None,
            ipxe_priority: false,
        }
    }

    /// The address of the server that has the files.
    pub(super) fn files_at(&self) -> Ipv4Addr {
        self.boot_server.unwrap_or(self.server)
    }

    pub(super) fn url(&self, request: &Request<'_>) -> Result<&Url, Ignored> {
        if self.http.is_empty() {
            return Err(Ignored::HttpNotConfigured);
        }
        find(&self.http, request)
    }

    /// Checks that at least one entry of the menu has a program for this machine.
    pub(super) fn menu_for(&self, request: &Request<'_>, menu: &Menu) -> Result<(), Ignored> {
        let mut result = Err(Ignored::NoArch);
        for item in menu.items.iter().filter(|item| !item.is_local()) {
            result = self.programs_of(item).find(request).map(|_| ());
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// Returns the programs for a boot item (43.71): those of the menu's entry, or the service's own if there
    /// is no menu.
    pub(super) fn programs_for(&self, boot_type: u16) -> Result<&Programs, Ignored> {
        let Some(menu) = &self.menu else { return Ok(&self.programs) };
        let item = menu.items.iter().find(|item| item.boot_type == boot_type);
        match item {
            Some(item) if item.is_local() => Err(Ignored::LocalBoot),
            Some(item) => Ok(self.programs_of(item)),
            None => Err(Ignored::UnknownBootItem(boot_type)),
        }
    }

    fn programs_of<'s>(&'s self, item: &'s MenuItem) -> &'s Programs {
        item.programs.as_ref().unwrap_or(&self.programs)
    }
}
