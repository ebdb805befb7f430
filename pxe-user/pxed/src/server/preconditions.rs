//! The conditions for a start. They are looked at without changing or attaching anything. `pxed check` lists all that do not hold,
//! and `pxed serve` ends with them before it touches the host.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Error;
use pxe_common::wire;
use rustix::fs::{Access, access};

use super::own_files::{belongs, directory_of, is_of_events, own_directories};
use super::planning::{check_descriptors, plan};
use super::retry::patiently;
use crate::config::{SegmentSettings, Settings};
use crate::confine::{Account, ConfineError, Confinement};
use pxe_content::boot::needs_http;
use pxe_engine::plan::Plan;
use pxe_nic::interface::udp_listeners;
use pxe_nic::lock::{self, InterfaceLock, LockError};
use pxe_web::api::access::Token;
use pxe_web::api::listen::{self, SOCKET};

/// The pause between two looks at all conditions.
const PAUSE: Duration = Duration::from_millis(50);

/// A condition that does not hold.
#[derive(Debug)]
pub struct UnmetCondition {
    /// The key of the configuration that causes it, if one does.
    pub key: Option<&'static str>,
    /// The image that causes it, if one does.
    pub image: Option<String>,
    /// Whether only a change of the configuration or its files can help.
    pub is_lasting: bool,
    /// What is wrong, and the remedy.
    pub error: Error,
}

impl UnmetCondition {
    fn new(key: impl Into<Option<&'static str>>, error: impl Into<Error>) -> Self {
        Self { key: key.into(), image: None, is_lasting: true, error: error.into() }
    }

    /// A condition of the host that may hold at the next start.
    fn passing(key: impl Into<Option<&'static str>>, error: impl Into<Error>) -> Self {
        Self { is_lasting: false, ..Self::new(key, error) }
    }
}

/// Why the daemon does not start: one or more conditions that do not hold.
#[derive(Debug, thiserror::Error)]
#[error("{}", words(.0))]
pub struct UnmetConditions(Vec<UnmetCondition>);

impl UnmetConditions {
    /// Whether one of the conditions needs a change of the configuration or its files. Another start cannot help then.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        self.0.iter().any(|unmet| unmet.is_lasting)
    }
}

fn words(unmet: &[UnmetCondition]) -> String {
    unmet.iter().map(|unmet| format!("{:#}", unmet.error)).collect::<Vec<_>>().join("; ")
}

/// Why a condition does not hold, for conditions without an error type of their own.
#[derive(Debug, thiserror::Error)]
enum ConditionError {
    #[error(
        "another {what} server on this host uses UDP port {port} (see `ss -lunp 'sport = :{port}'`): stop it, or serve another \
         interface or address"
    )]
    PortTaken { what: &'static str, port: u16 },
    #[error("cannot serve HTTP on {at}: {error}. {}", listen_remedy(.error))]
    Http { at: SocketAddr, error: std::io::Error },
    #[error("cannot listen on {at} for the board: {error}. {}", listen_remedy(.error))]
    Board { at: SocketAddr, error: std::io::Error },
    #[error("cannot make the directory {}: {} {why}", .path.display(), .above.display())]
    Directory { path: PathBuf, above: PathBuf, why: &'static str },
    #[error("cannot write events to {}: it is a directory. Name a file in it", .0.display())]
    Events(PathBuf),
    #[error(
        "image `{image}` uses `{{{{ {variable} }}}}`, which is empty without HTTP: add `[http]` with a port, or give --http-port"
    )]
    NeedsHttp { image: String, variable: &'static str },
}

fn listen_remedy(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrNotAvailable => "Name an address of this host",
        std::io::ErrorKind::PermissionDenied => "Name a port above 1023, or start as root",
        _ => "Give another port, or stop the program that uses it (`ss -ltnp`)",
    }
}

/// Checks all conditions. Tries again for a moment, because what a process held that has just ended may be free a little later.
/// With a `predecessor`, its ports and sockets are no obstacle, because it hands them over.
///
/// # Errors
/// [`UnmetConditions`].
pub fn require(settings: &Settings, predecessor: bool) -> Result<(), UnmetConditions> {
    patiently(PAUSE, || look(settings, predecessor), |unmet| !unmet.is_lasting())
}

fn look(settings: &Settings, predecessor: bool) -> Result<(), UnmetConditions> {
    let mut unmet = of_configuration(settings);
    let mut in_use = predecessor;
    for name in &settings.interfaces {
        if !predecessor && is_served(settings, name) {
            // That pxed also holds the ports and sockets, so they are not reported again.
            unmet.push(UnmetCondition::passing(None, LockError::Taken(name.clone())));
            in_use = true;
            continue;
        }
        // Why an interface cannot be planned is reported elsewhere.
        if let Ok(plan) = plan(settings, name) {
            unmet.extend(of_interface(&plan, settings, predecessor));
        }
    }
    unmet.extend(of_listeners(settings, in_use));
    if unmet.is_empty() { Ok(()) } else { Err(UnmetConditions(unmet)) }
}

/// Whether a pxed serves an interface now.
#[must_use]
pub fn is_served(settings: &Settings, interface: &str) -> bool {
    let account = Account::find(settings.user.as_deref()).ok().flatten().map(|account| account.uid());
    InterfaceLock::is_served(interface, |uid| lock::is_ours(uid, account))
}

/// Checks what the configuration names on this host: user, directories, files, templates, this responder itself.
#[must_use]
pub fn of_configuration(settings: &Settings) -> Vec<UnmetCondition> {
    let mut unmet = Vec::new();
    if let Err(error) = check_descriptors(settings) {
        unmet.push(UnmetCondition::passing(None, error));
    }
    if let Some(Err(error)) = settings.segment.as_ref().map(SegmentSettings::require_own) {
        unmet.push(UnmetCondition::new("segment", error));
    }
    let account = match Account::find(settings.user.as_deref()) {
        Ok(account) => account,
        Err(error) => {
            // A directory service that does not answer now may answer at the next start.
            let is_lasting = matches!(error, ConfineError::NoUser(_));
            unmet.push(UnmetCondition { is_lasting, ..UnmetCondition::new("user", error) });
            None
        }
    };
    let (own, cache) = (own_directories(settings), settings.cache_directory());
    for (key, directory) in [
        ("state", settings.state.as_deref()),
        ("inbox", settings.inbox.as_ref().map(|inbox| inbox.directory.as_path())),
        ("upstream", cache.as_deref()),
    ] {
        let Some(directory) = directory else { continue };
        unmet.extend(can_be_made(directory).map_err(|error| UnmetCondition::passing(key, error)).err());
        let is_handed_over = settings.confinement != Confinement::Off;
        if let Some(account) = account.as_ref().filter(|_| is_handed_over)
            && let Err(error) = account.may_own(directory, &|path| belongs(path, &own))
        {
            unmet.push(UnmetCondition::new(key, error));
        }
    }
    if let Some(events) = &settings.events {
        let above = can_be_made(&directory_of(events));
        let made = if events.is_dir() { Err(ConditionError::Events(events.clone())) } else { above };
        unmet.extend(made.map_err(|error| UnmetCondition::new("fleet", error)).err());
        if let Some(account) = account.as_ref().filter(|_| settings.confinement != Confinement::Off) {
            let owned = account.may_own_file(events, &is_of_events);
            unmet.extend(owned.map_err(|error| UnmetCondition::new("fleet", error)).err());
        }
    }
    if let Some(token) = settings.board.as_ref().and_then(|board| board.token_file.as_ref())
        && let Err(error) = Token::read(token)
    {
        unmet.push(UnmetCondition::new("board", error));
    }
    if settings.http_port.is_none() {
        unmet.extend(empty_variables(settings));
    }
    unmet
}

/// Checks for variables of HTTP in templates while HTTP is off. A machine would run its test, and could not report the result.
fn empty_variables(settings: &Settings) -> impl Iterator<Item = UnmetCondition> {
    settings.images.iter().filter_map(|image_spec| {
        let texts = [
            Some(&image_spec.args),
            image_spec.ipxe.as_ref(),
            image_spec.pxelinux.as_ref(),
            image_spec.grub.as_ref(),
        ];
        let variable = texts.into_iter().flatten().find_map(|text| needs_http(text))?;
        let image = image_spec.name.to_string();
        let error = ConditionError::NeedsHttp { image: image.clone(), variable };
        Some(UnmetCondition { image: Some(image), ..UnmetCondition::new(None, error) })
    })
}

/// Checks the ports of one interface.
#[must_use]
pub fn of_interface(plan: &Plan, settings: &Settings, predecessor: bool) -> Vec<UnmetCondition> {
    let mut unmet = Vec::new();
    if predecessor {
        return unmet;
    }
    let address = plan.subnet.address;
    unmet.extend(taken_ports(address).map_err(|error| UnmetCondition::passing(None, error)).err());
    if let Some(port) = settings.http_port {
        let at = SocketAddr::from((address, port));
        let error =
            can_listen(at).map(|error| UnmetCondition::passing("http", ConditionError::Http { at, error }));
        unmet.extend(error);
    }
    unmet
}

/// Checks the API's sockets.
#[must_use]
pub fn of_listeners(settings: &Settings, predecessor: bool) -> Vec<UnmetCondition> {
    let mut unmet = Vec::new();
    if predecessor {
        return unmet;
    }
    // If the default path is taken, the start only warns.
    if (settings.socket.is_some() || settings.board.is_some())
        && let Err(error) = listen::can_bind(settings.socket.as_deref().unwrap_or(Path::new(SOCKET)))
    {
        unmet.push(UnmetCondition::passing("socket", error));
    }
    if let Some(at) = settings.board.as_ref().map(|board| board.listen)
        && let Some(error) = can_listen(at)
    {
        unmet.push(UnmetCondition::passing("board", ConditionError::Board { at, error }));
    }
    unmet
}

/// Checks that no other server has pxed's ports. XDP binds none, so such a server would lose its packets silently.
///
/// # Errors
/// The first port that is taken.
pub(super) fn taken_ports(address: Ipv4Addr) -> Result<(), Error> {
    for (port, what) in [(wire::PORT_TFTP, "TFTP"), (wire::PORT_PXE, "PXE boot")] {
        if udp_listeners(port).iter().any(|taken| taken.is_unspecified() || *taken == address) {
            return Err(ConditionError::PortTaken { what, port }.into());
        }
    }
    Ok(())
}

/// The error of listening there, if there is one. The listener is closed at once.
fn can_listen(at: SocketAddr) -> Option<std::io::Error> {
    TcpListener::bind(at).err()
}

/// Checks that a directory exists or can be made.
fn can_be_made(path: &Path) -> Result<(), ConditionError> {
    let mut above = path;
    loop {
        match std::fs::metadata(above) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(directory_error(path, above, "is not a directory"));
            }
            // It exists. Its owner is checked elsewhere.
            Ok(_) if above == path => return Ok(()),
            Ok(_) if access(above, Access::WRITE_OK | Access::EXEC_OK).is_ok() => return Ok(()),
            Ok(_) => return Err(directory_error(path, above, "cannot be written to")),
            Err(_) => {}
        }
        above = match above.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
    }
}

fn directory_error(path: &Path, above: &Path, why: &'static str) -> ConditionError {
    ConditionError::Directory { path: path.to_owned(), above: above.to_owned(), why }
}
