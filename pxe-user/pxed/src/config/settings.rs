//! All settings of pxed, each with its key, its default, and what it takes to apply a change.
//!
//! ```text
//! pxed.toml    --> SettingsLayer --+
//!                                  +-- over --> Settings::new: defaults for the rest --> Settings
//! command line --> SettingsLayer --+
//! ```
//! The list below [`settings!`] is the only place that names each setting. [`Settings::difference`] compares the settings in
//! force with those of a changed file, and [`Settings::applied`] keeps what only a restart can change. Nothing here reads a file
//! or looks at the host.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::segment::SegmentSettings;
use super::upstream::UpstreamSettings;
use crate::confine::Confinement;
use pxe_content::boot::{self, FileName, ImageSpec, Links};
use pxe_content::rules::{Access, Matcher, RuleLimits};
use pxe_engine::plan::{DatapathChoice, ModeChoice, OffloadChoice};
use pxe_engine::responder::{RateLimit, RateLimits};
use pxe_ledger::postgres;
use pxe_proto::dhcp::{Arch, Style, Url};
use pxe_upstream::cache::Cache;
use pxe_upstream::source::Source;

/// What it takes to apply a change of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A restart of pxed.
    Restart,
    /// A reload that opens all boot files anew.
    Files,
    /// A reload.
    Reload,
}

/// The keys whose settings differ, in the order of the list of settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference(Vec<(&'static str, Effect)>);

impl Difference {
    /// The keys with this effect.
    pub fn keys(&self, effect: Effect) -> impl Iterator<Item = &'static str> {
        self.0.iter().filter(move |(_, known)| *known == effect).map(|(key, _)| *key)
    }

    /// Whether a key with this effect differs.
    #[must_use]
    pub fn has(&self, effect: Effect) -> bool {
        self.keys(effect).next().is_some()
    }
}

/// Defines [`Settings`] and [`SettingsLayer`] from one list. A line is `name: type = default, key => effect;`. Without a default,
/// the setting is an `Option`. Several settings of one table have its name as their key.
macro_rules! settings {
    (@type $type:ty) => { Option<$type> };
    (@type $type:ty, $default:expr) => { $type };
    (@value $value:expr) => { $value };
    (@value $value:expr, $default:expr) => { $value.unwrap_or_else(|| $default) };
    ($($(#[$doc:meta])* $name:ident: $type:ty $(= $default:expr)?, $key:literal => $effect:ident;)+) => {
        /// The settings of a daemon.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Settings {
            $($(#[$doc])* pub $name: settings!(@type $type $(, $default)?),)+
        }

        /// The settings that one source gives: the file, or the command line. `None` if it does not give one.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct SettingsLayer {
            $($(#[$doc])* pub $name: Option<$type>,)+
        }

        impl Settings {
            /// The key of each setting in `pxed.toml`, and what a change of it takes.
            pub const KEYS: &[(&str, Effect)] = &[$(($key, Effect::$effect),)+];

            /// The values of a layer, and the defaults of what it does not give.
            fn with_defaults(layer: SettingsLayer) -> Self {
                Self { $($name: settings!(@value layer.$name $(, $default)?),)+ }
            }

            /// The keys that differ in `new`.
            #[must_use]
            pub fn difference(&self, new: &Self) -> Difference {
                let mut keys = Vec::new();
                $(if self.$name != new.$name { keys.push(($key, Effect::$effect)); })+
                keys.dedup();
                Difference(keys)
            }

            /// The settings in force after a reload of `new`: those that need a restart stay.
            #[must_use]
            pub fn applied(&self, mut new: Self) -> Self {
                $(if Effect::$effect == Effect::Restart { new.$name.clone_from(&self.$name); })+
                new
            }
        }

        impl SettingsLayer {
            /// What this layer gives, else what `below` gives.
            fn or(self, below: Self) -> Self {
                Self { $($name: self.$name.or(below.$name),)+ }
            }
        }
    };
}

settings! {
    /// The names of the interfaces that pxed serves, sorted, each once.
    interfaces: Vec<String> = Vec::new(), "interfaces" => Restart;
    /// The address that machines load files from. `None` for the interface's first address.
    address: Ipv4Addr, "address" => Restart;
    /// How packets reach the daemon.
    datapath: DatapathChoice = DatapathChoice::default(), "datapath" => Restart;
    /// Where the XDP program runs: in the driver or in the network stack.
    xdp_mode: ModeChoice = ModeChoice::default(), "xdp_mode" => Restart;
    /// Where the kernel answers ACKs by itself.
    offload: OffloadChoice = OffloadChoice::default(), "offload" => Restart;
    /// Memory for files that the kernel sends by itself, in bytes per interface.
    offload_memory: u64 = 256 << 20, "offload_memory_mib" => Restart;
    /// The most transfers at a time. Further requests wait.
    transfers: usize = 4096, "transfers" => Restart;
    /// The most blocks in a TFTP window.
    windowsize: u16 = 64, "windowsize" => Restart;
    /// Whether pxed serves machines whose frames have a source address other than `chaddr`.
    foreign_chaddr: bool = false, "foreign_chaddr" => Restart;
    /// The directory for what pxed knows of machines. `None` for memory only.
    state: PathBuf, "state" => Restart;
    /// The path of the API's Unix socket. `None` for the default path, if it is free.
    socket: PathBuf, "socket" => Restart;
    /// The web page, the API and the metrics over TCP. `None` for off.
    board: Board, "board" => Restart;
    /// Uploads of machines. `None` for off.
    inbox: InboxSettings, "inbox" => Restart;
    /// The user that the daemon becomes when root starts it. `None` for the default users.
    user: String, "user" => Restart;
    /// Whether the daemon gives up the privileges that only its start needs.
    confinement: Confinement = Confinement::default(), "confinement" => Restart;
    /// The TCP port for HTTP on the machines' network, on the address of every interface. `None` for no HTTP there.
    http_port: u16, "http" => Restart;
    /// Whether iPXE loads its script, and so everything else, over HTTP.
    http_ipxe: bool = false, "http" => Restart;
    /// How long pxed keeps steps and boots.
    retention: Duration = Duration::from_secs(30 * DAY), "fleet" => Restart;
    /// The time without a report after which a test counts as silent.
    silence: Duration = Duration::from_secs(60), "fleet" => Restart;
    /// The file to which pxed appends every step as a line of JSON. `None` for no such file.
    events: PathBuf, "fleet" => Restart;
    /// The database that several responders share. `None` for this host's alone.
    ledger: LedgerSettings, "ledger" => Restart;
    /// What the sources of images share.
    upstream: UpstreamSettings = UpstreamSettings::default(), "upstream" => Restart;
    /// The boot tree for every machine without an image of its own, and what pxed does with links that lead out of it. `None` for
    /// what is installed on this host.
    root: (PathBuf, Links), "root" => Files;
    /// The single files that `--kernel` serves in place of a boot tree. Empty without this option.
    kernel_files: Vec<(FileName, String)> = Vec::new(), "--kernel" => Files;
    /// The file that each architecture starts with.
    boot_files: Vec<(Arch, String)> = Vec::new(), "boot_files" => Files;
    /// Memory for boot files, in bytes. `None` for half of what is available.
    memory: u64, "memory_mib" => Files;
    /// The images, sorted by name.
    images: Vec<ImageSpec> = Vec::new(), "images" => Files;
    /// Where images that come from elsewhere have their files, sorted by the image's name.
    sources: Vec<Source> = Vec::new(), "images" => Files;
    /// How pxed offers boot files, unless a rule has its own style. `None`: direct, unless a machine needs another.
    style: Style, "style" => Reload;
    /// The text of the boot menu's prompt.
    menu_prompt: String = "Press F8 for the boot menu".to_owned(), "menu_prompt" => Reload;
    /// Seconds until the menu takes its first entry.
    menu_timeout: u8 = 5, "menu_timeout" => Reload;
    /// The URL for UEFI HTTP boot, by architecture.
    http_urls: Vec<(Arch, Url)> = Vec::new(), "http_urls" => Reload;
    /// Whether iPXE may prefer a boot file that the network's DHCP server names.
    yield_ipxe: bool = false, "yield_ipxe" => Reload;
    /// The machines that pxed serves.
    access: Access = Access::default(), "access" => Reload;
    /// DHCP requests of one machine a second, in the long run. 0 for no limit.
    dhcp_rate: u32 = RateLimits::default().dhcp.rate, "limits" => Reload;
    /// DHCP requests of one machine at once.
    dhcp_burst: u32 = RateLimits::default().dhcp.burst, "limits" => Reload;
    /// Requests for files from one IPv4 address a second, in the long run. 0 for no limit.
    tftp_rate: u32 = RateLimits::default().tftp.rate, "limits" => Reload;
    /// Requests for files from one IPv4 address at once.
    tftp_burst: u32 = RateLimits::default().tftp.burst, "limits" => Reload;
    /// With whom this responder shares the segment. `None` if it is alone.
    segment: SegmentSettings, "segment" => Reload;
    /// The rules in the order of the file. The first rule that matches wins. Without any, all machines get the same.
    rules: Vec<RuleSpec> = Vec::new(), "rules" => Reload;
}

/// Seconds.
const DAY: u64 = 24 * 3600;

impl Settings {
    /// The settings that a layer gives, and the defaults.
    #[must_use]
    pub fn new(layer: SettingsLayer) -> Self {
        let mut settings = Self::with_defaults(layer);
        settings.interfaces.sort();
        settings.interfaces.dedup();
        settings
    }

    /// The files to serve.
    #[must_use]
    pub fn files(&self) -> boot::Config {
        let source = match &self.root {
            _ if !self.kernel_files.is_empty() => boot::Source::Single(self.kernel_files.clone()),
            Some((root, links)) => boot::Source::Tree { root: root.clone(), links: *links },
            None => boot::Source::Virtual { system: "/".into() },
        };
        boot::Config {
            source,
            boot_files: self.boot_files.clone(),
            image_specs: self.images.clone(),
            memory: self.memory,
            ..boot::Config::default()
        }
    }

    /// The directory of the cache. `None` if no image comes from elsewhere.
    #[must_use]
    pub fn cache_directory(&self) -> Option<PathBuf> {
        (!self.sources.is_empty()).then(|| self.upstream.cache_directory(self.state.as_deref()))
    }

    /// The cache, if an image comes from elsewhere.
    #[must_use]
    pub fn cache(&self) -> Option<Cache> {
        self.cache_directory().map(|directory| Cache::new(directory, self.upstream.cache_max))
    }

    /// The rate limits for requests of one source.
    #[must_use]
    pub fn rate_limits(&self) -> RateLimits {
        RateLimits {
            dhcp: RateLimit { rate: self.dhcp_rate, burst: self.dhcp_burst },
            tftp: RateLimit { rate: self.tftp_rate, burst: self.tftp_burst },
        }
    }
}

impl SettingsLayer {
    /// This layer over another one. Each setting of this layer wins; tables by architecture are merged entry by entry.
    #[must_use]
    pub fn over(mut self, below: Self) -> Self {
        self.boot_files = merged(self.boot_files, below.boot_files.as_deref());
        self.http_urls = merged(self.http_urls, below.http_urls.as_deref());
        self.or(below)
    }
}

/// The entries of `own`, and those of `below` for other architectures.
fn merged<T: Clone>(own: Option<Vec<(Arch, T)>>, below: Option<&[(Arch, T)]>) -> Option<Vec<(Arch, T)>> {
    let mut all = own?;
    let named: Vec<Arch> = all.iter().map(|(arch, _)| *arch).collect();
    all.extend(below.unwrap_or_default().iter().filter(|(arch, _)| !named.contains(arch)).cloned());
    Some(all)
}

/// The web page, the API and the metrics (`[board]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// The address and port to listen on.
    pub listen: SocketAddr,
    /// The file with the token. `None` is an error unless `listen` is a loopback address.
    pub token_file: Option<PathBuf>,
}

/// The files that machines upload (`[inbox]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxSettings {
    /// The directory for the files, with a directory in it for each machine.
    pub directory: PathBuf,
    /// The largest size of one file, in bytes.
    pub file: u64,
    /// The largest size of all files of one machine, in bytes.
    pub machine: u64,
    /// The largest size of all files of all machines, in bytes.
    pub total: u64,
}

impl InboxSettings {
    /// An inbox with the default sizes.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, file: 16 << 20, machine: 64 << 20, total: 1024 << 20 }
    }
}

/// The database that several responders share (`[ledger]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerSettings {
    /// The database. It contains no password.
    pub url: postgres::Url,
    /// The file with the password. `None` for systemd's credential, if there is one.
    pub password_file: Option<PathBuf>,
    /// The file with the authorities of the database's certificate. `None` for those of the system.
    pub ca_file: Option<PathBuf>,
    /// The responder's name. `None` for the host's name.
    pub responder: Option<String>,
    /// The largest size of what waits for the database, in bytes.
    pub spool: u64,
}

/// What a rule does. Images are given by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// The machine boots the image of this name.
    Image(Arc<str>),
    /// The machine boots its own disk.
    Local,
    /// pxed does not answer the machine.
    Ignore,
}

/// A rule of the file, with all values parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec {
    /// The rule's name as given, or `rule N` with N from 1. Boots are counted under this name.
    pub name: Arc<str>,
    /// The line where the rule begins, from 1.
    pub line: usize,
    /// The conditions for the machines that the rule matches.
    pub matcher: Matcher,
    /// What the rule does.
    pub outcome: RuleAction,
    /// How pxed offers the boot file. `None` for the style of the whole file.
    pub style: Option<Style>,
    /// Another machine that has the files. `None` for this host.
    pub boot_server: Option<Ipv4Addr>,
    /// How many times a machine boots the image before it boots its own disk. `None` for no limit.
    pub boots: Option<u32>,
    /// Upper limits of the TFTP options that pxed grants to these machines.
    pub limits: RuleLimits,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(change: impl FnOnce(&mut SettingsLayer)) -> Settings {
        let mut layer = SettingsLayer::default();
        change(&mut layer);
        Settings::new(layer)
    }

    #[test]
    fn the_upper_layer_wins_and_defaults_fill_the_rest() {
        let file = SettingsLayer {
            interfaces: Some(vec!["b".into(), "a".into(), "b".into()]),
            windowsize: Some(8),
            dhcp_rate: Some(1),
            dhcp_burst: Some(2),
            boot_files: Some(vec![(Arch::BIOS, "file".into()), (Arch::ARM64, "file".into())]),
            ..SettingsLayer::default()
        };
        let options = SettingsLayer {
            windowsize: Some(4),
            dhcp_rate: Some(3),
            boot_files: Some(vec![(Arch::BIOS, "option".into())]),
            ..SettingsLayer::default()
        };
        let settings = Settings::new(options.over(file));
        assert_eq!((settings.windowsize, settings.transfers), (4, 4096));
        assert_eq!(settings.interfaces, ["a", "b"]);
        assert_eq!(settings.rate_limits().dhcp, RateLimit { rate: 3, burst: 2 });
        let files = [(Arch::BIOS, "option".to_owned()), (Arch::ARM64, "file".to_owned())];
        assert_eq!(settings.boot_files, files);
    }

    #[test]
    fn a_difference_tells_what_a_reload_applies() {
        let running = settings(|_| ());
        assert_eq!(running.difference(&running), Difference::default());
        let new = settings(|layer| {
            layer.offload_memory = Some(1 << 20);
            layer.http_port = Some(80);
            layer.http_ipxe = Some(true);
            layer.root = Some(("/srv".into(), Links::Stay));
            layer.tftp_rate = Some(1);
        });
        let difference = running.difference(&new);
        let keys = |effect| difference.keys(effect).collect::<Vec<_>>();
        assert_eq!(keys(Effect::Restart), ["offload_memory_mib", "http"], "a table once");
        assert_eq!((keys(Effect::Files), keys(Effect::Reload)), (vec!["root"], vec!["limits"]));
        let applied = running.applied(new.clone());
        assert_eq!(running.difference(&applied).keys(Effect::Restart).count(), 0);
        assert_eq!((applied.root, applied.tftp_rate, applied.http_port), (new.root, 1, None));
    }
}
