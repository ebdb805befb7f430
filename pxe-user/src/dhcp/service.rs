//! What one interface offers. Built and checked at start, read only afterwards.

use std::fmt;
use std::net::Ipv4Addr;

use arrayvec::ArrayString;

use super::arch::Arch;
use super::ignored::Ignored;
use super::request::Request;
use super::vendor;
use crate::mac::Mac;

/// A value that no client could use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Empty, longer than the field that carries it, or with a control character in it.
    #[error("`{text}`: must be 1 to {max} bytes long, without control characters")]
    Text {
        /// The refused text, its control characters escaped.
        text: String,
        /// The longest that the field holds, in bytes.
        max: usize,
    },
    /// Neither `http://` nor `https://`.
    #[error("`{0}`: an HTTP boot URL begins with http:// or https://")]
    Scheme(String),
    /// Two menu entries with one type: the client's choice would be ambiguous.
    #[error("boot menu: type {0} is used twice")]
    DuplicateItem(u16),
    /// Type 0 belongs to the local-boot entry (PXE 2.1 chapter 2).
    #[error(
        "boot menu: type 0 means local boot; give boot services types from 1 (0x8000 and above are free)"
    )]
    ItemTypeZero,
    /// No entry that leads to us.
    #[error("boot menu: needs at least one entry that boots something")]
    EmptyMenu,
    /// The entries' texts do not fit option 43.
    #[error("boot menu: its texts are too long together; all of option 43 has 255 bytes")]
    MenuTooLong,
}

/// A short text that fits an option: 1 to 255 bytes, no control characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(Box<str>);

impl Text {
    /// Checks the text.
    ///
    /// # Errors
    /// [`Invalid::Text`].
    pub fn new(text: &str) -> Result<Self, Invalid> {
        Self::limited(text, 255)
    }

    fn limited(text: &str, max: usize) -> Result<Self, Invalid> {
        if text.is_empty() || text.len() > max || text.chars().any(char::is_control) {
            return Err(Invalid::Text { text: text.escape_debug().to_string(), max });
        }
        Ok(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What stands in a name for the machine's own address, written as `52-54-00-99-00-10`.
pub const MAC_MARK: &str = "{mac}";
/// A machine's address in a name is longer than its mark by this, in bytes.
const MAC_MARK_GROWTH: usize = 17 - MAC_MARK.len();

/// Puts a machine's address into a name; what does not fit is cut, which names that were checked never need.
pub(super) fn expand(name: &Text, mac: Mac) -> ArrayString<255> {
    let mut out = ArrayString::new();
    for (index, part) in name.0.split(MAC_MARK).enumerate() {
        let separator = if index > 0 { mac.dashed() } else { ArrayString::new() };
        let _ = out.try_push_str(&separator);
        let _ = out.try_push_str(part);
    }
    out
}

/// The name of a boot file, as TFTP will be asked for it: at most 127 bytes, since the header's `file` field has 128
/// and ends with NUL (RFC 951). `{mac}` in it stands for the machine's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootFile(Text);

impl BootFile {
    /// Checks the name.
    ///
    /// # Errors
    /// [`Invalid::Text`].
    pub fn new(name: &str) -> Result<Self, Invalid> {
        let growth = name.matches(MAC_MARK).count() * MAC_MARK_GROWTH;
        Text::limited(name, 127usize.saturating_sub(growth)).map(Self)
    }

    /// The name for one machine.
    #[must_use]
    pub fn of(&self, mac: Mac) -> ArrayString<255> {
        expand(&self.0, mac)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// An HTTP boot URL: at most 254 bytes, since option 67 carries it with a NUL. `{mac}` in it stands for the machine's
/// address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(Text);

impl Url {
    /// Checks the URL's beginning and length, nothing else.
    ///
    /// # Errors
    /// [`Invalid::Text`] or [`Invalid::Scheme`].
    pub fn new(url: &str) -> Result<Self, Invalid> {
        let growth = url.matches(MAC_MARK).count() * MAC_MARK_GROWTH;
        let text = Text::limited(url, 254usize.saturating_sub(growth))?;
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            return Err(Invalid::Scheme(url.to_owned()));
        }
        Ok(Self(text))
    }

    /// The URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The URL for one machine.
    #[must_use]
    pub fn of(&self, mac: Mac) -> ArrayString<255> {
        expand(&self.0, mac)
    }
}

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
