//! What one interface offers. Built and checked when the configuration is read, read only afterwards.

use std::net::Ipv4Addr;

use super::arch::Arch;
use super::ignored::Ignored;
use super::names::{BootFile, Invalid, Text, Url};
use super::request::Request;
use super::vendor;

/// A program that a machine starts from the network, with what it needs to know itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The file to load.
    pub file: BootFile,
    /// Option 209, PXELINUX's configuration file (RFC 5071 section 4): one look-up instead of up to eleven. `{mac}` in it
    /// stands for the machine's address.
    pub config: Option<Text>,
    /// Option 210, PXELINUX's path prefix (RFC 5071 section 5).
    pub path_prefix: Option<Text>,
}

impl From<BootFile> for Program {
    fn from(file: BootFile) -> Self {
        Self { file, config: None, path_prefix: None }
    }
}

/// Which machine starts what: by architecture, and iPXE apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programs {
    by_arch: Vec<(Arch, Program)>,
    ipxe: Option<Program>,
}

impl Programs {
    /// Sets the program of an architecture. EFI byte code (9) has its own only if given; else it gets x64's.
    pub fn set(&mut self, arch: Arch, program: Program) {
        self.by_arch.retain(|(known, _)| *known != arch);
        self.by_arch.push((arch, program));
    }

    /// Takes over the programs of architectures that have none yet.
    pub fn fill(&mut self, others: &Self) {
        for (arch, program) in &others.by_arch {
            if !self.by_arch.iter().any(|(known, _)| known == arch) {
                self.by_arch.push((*arch, program.clone()));
            }
        }
    }

    /// Changes every architecture's program.
    pub fn configure(&mut self, change: impl FnMut(&mut Program)) {
        self.by_arch.iter_mut().map(|(_, program)| program).for_each(change);
    }

    /// Every architecture that has a program.
    pub fn iter(&self) -> impl Iterator<Item = (Arch, &Program)> {
        self.by_arch.iter().map(|(arch, program)| (*arch, program))
    }

    /// What iPXE gets, if that is a script.
    #[must_use]
    pub fn ipxe(&self) -> Option<&Program> {
        self.ipxe.as_ref()
    }

    /// Sets what iPXE gets, whatever it runs on: a script. Without one it gets the program of its architecture.
    pub fn set_ipxe(&mut self, script: Program) {
        self.ipxe = Some(script);
    }

    /// The program of one architecture.
    #[must_use]
    pub fn get(&self, arch: Arch) -> Option<&Program> {
        by_arch(&self.by_arch, arch)
    }

    /// The program for this machine, and whether it is the one for iPXE.
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

/// The entry of the first architecture that the client names and the table knows.
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
    /// An entry that makes the machine go on with its next boot device (type 0).
    #[must_use]
    pub fn local(text: Text) -> Self {
        Self { boot_type: 0, text, programs: None }
    }

    /// An entry that boots `programs`, or what the service has for everybody.
    ///
    /// # Errors
    /// [`Invalid::ItemTypeZero`].
    pub fn boot(boot_type: u16, text: Text, programs: Option<Programs>) -> Result<Self, Invalid> {
        if boot_type == 0 {
            return Err(Invalid::ItemTypeZero);
        }
        Ok(Self { boot_type, text, programs })
    }

    /// Whether it is the way to the machine's next boot device.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.boot_type == 0
    }

    /// Its type, which the machine asks for on port 4011.
    #[must_use]
    pub fn boot_type(&self) -> u16 {
        self.boot_type
    }

    /// What the machine shows.
    #[must_use]
    pub fn text(&self) -> &Text {
        &self.text
    }
}

/// A boot menu that the firmware shows (PXE 2.1 chapter 2); the first entry is the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Menu {
    prompt: Text,
    timeout_s: u8,
    items: Vec<MenuItem>,
}

impl Menu {
    /// Makes a menu. `timeout_s` is how long the prompt waits for a key before the first entry is taken, in seconds;
    /// 0 takes it at once, 255 shows the menu at once and waits.
    ///
    /// # Errors
    /// Two entries of one type, nothing to boot, or too much text for option 43.
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
        match vendor::Vendor::menu(&menu, Ipv4Addr::UNSPECIFIED) {
            Ok(_) => Ok(menu),
            Err(vendor::TooLong) => Err(Invalid::MenuTooLong),
        }
    }

    /// A menu that has only the way to the machine's next boot device (type 0), taken at once.
    ///
    /// # Errors
    /// None in practice: the texts are our own.
    pub fn local() -> Result<Self, Invalid> {
        let prompt = Text::new("Booting from the local disk")?;
        Ok(Self { prompt, timeout_s: 0, items: vec![MenuItem::local(Text::new("Local disk")?)] })
    }

    pub(super) fn prompt(&self) -> &Text {
        &self.prompt
    }

    pub(super) fn timeout_s(&self) -> u8 {
        self.timeout_s
    }

    /// The entries, the default first.
    #[must_use]
    pub fn items(&self) -> &[MenuItem] {
        &self.items
    }
}

/// What is offered on one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Our own address there: option 54, and siaddr and the menu's boot server unless that is another machine.
    pub server: Ipv4Addr,
    /// The machine that has the files, where it is not this one.
    pub boot_server: Option<Ipv4Addr>,
    /// What machines start.
    pub programs: Programs,
    /// What UEFI HTTP boot loads, by its own architecture codes (15 to 20). Empty: such clients are left alone.
    pub http: Vec<(Arch, Url)>,
    /// The boot menu of [`Style::Menu`](super::Style::Menu).
    pub menu: Option<Menu>,
    /// Machines shall boot their own disks: this menu says so to firmware, the script of [`Self::programs`] to iPXE.
    pub local: Option<Menu>,
    /// Whether iPXE takes our file even where the DHCP server names one (option 175.1 = 1).
    pub ipxe_priority: bool,
}

impl Service {
    /// A service with nothing to offer yet.
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

    /// Where files are loaded from.
    pub(super) fn files_at(&self) -> Ipv4Addr {
        self.boot_server.unwrap_or(self.server)
    }

    pub(super) fn url(&self, request: &Request<'_>) -> Result<&Url, Ignored> {
        if self.http.is_empty() {
            return Err(Ignored::HttpNotConfigured);
        }
        find(&self.http, request)
    }

    /// The menu, for a machine for which at least one of its entries has a program.
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

    /// The programs behind a boot item (43.71): the menu's, or everybody's where there is no menu.
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
