//! What would keep the daemon from serving, found without opening, changing or attaching anything: `pxed check` lists all of it, and
//! `pxed serve` ends with it before it touches the host.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Error;
use pxe_common::wire;
use rustix::fs::{Access, access};

use super::confined::{belongs, directory_of, is_of_events, own_directories};
use super::open_interface::patiently;
use super::{Options, Setup, check_descriptors};
use crate::confine::{Account, ConfineError, Confinement};
use pxe_content::boot::needs_http;
use pxe_engine::plan::Plan;
use pxe_nic::interface::{InterfaceError, udp_listeners};
use pxe_nic::lock::{self, InterfaceLock, LockError};
use pxe_web::api::access::Token;
use pxe_web::api::listen::{self, SOCKET};

/// Between two looks at all conditions.
const PAUSE: Duration = Duration::from_millis(50);

/// A condition that does not hold.
#[derive(Debug)]
pub struct UnmetCondition {
    /// The key of the configuration that leads to it, if there is one.
    pub key: Option<&'static str>,
    /// The image that leads to it, if it is one.
    pub image: Option<String>,
    /// It stays until somebody changes the configuration or its files.
    pub is_lasting: bool,
    /// What is in the way, and the remedy.
    pub error: Error,
}

impl UnmetCondition {
    fn new(key: impl Into<Option<&'static str>>, error: impl Into<Error>) -> Self {
        Self { key: key.into(), image: None, is_lasting: true, error: error.into() }
    }

    /// Something on the host that may be another at the next start.
    fn passing(key: impl Into<Option<&'static str>>, error: impl Into<Error>) -> Self {
        Self { is_lasting: false, ..Self::new(key, error) }
    }
}

/// Why the daemon does not start: one or more conditions.
#[derive(Debug, thiserror::Error)]
#[error("{}", words(.0))]
pub struct UnmetConditions(Vec<UnmetCondition>);

impl UnmetConditions {
    /// Whether one of the reasons stays until somebody changes the configuration or its files: another start cannot help.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        self.0.iter().any(|unmet| unmet.is_lasting)
    }
}

fn words(unmet: &[UnmetCondition]) -> String {
    unmet.iter().map(|unmet| format!("{:#}", unmet.error)).collect::<Vec<_>>().join("; ")
}

/// Why a condition does not hold, where no other part has words for it.
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

/// Ends with everything that is in the way, after looking again for a moment: what a process held that has just ended may be free
/// a little later. With a `predecessor` its ports and sockets are no obstacle: they will be handed over.
///
/// # Errors
/// [`UnmetConditions`].
pub fn require(options: &Options, setup: &Setup, predecessor: bool) -> Result<(), UnmetConditions> {
    patiently(PAUSE, || look(options, setup, predecessor), |unmet| !unmet.is_lasting())
}

fn look(options: &Options, setup: &Setup, predecessor: bool) -> Result<(), UnmetConditions> {
    let mut unmet = of_configuration(options, setup);
    let mut in_use = predecessor;
    for name in &options.interfaces {
        if !predecessor && is_served(options, name) {
            // Its ports and sockets are taken, too, and by itself.
            unmet.push(UnmetCondition::passing(None, LockError::Taken(name.clone())));
            in_use = true;
            continue;
        }
        // An interface that cannot be planned has its own message.
        if let Ok(plan) = plan(options, name) {
            unmet.extend(of_interface(&plan, setup, predecessor));
        }
    }
    unmet.extend(of_listeners(options, in_use));
    if unmet.is_empty() { Ok(()) } else { Err(UnmetConditions(unmet)) }
}

/// Whether a pxed serves an interface at this moment.
#[must_use]
pub fn is_served(options: &Options, interface: &str) -> bool {
    let account = Account::find(options.user.as_deref()).ok().flatten().map(|account| account.uid());
    InterfaceLock::is_served(interface, |uid| lock::is_ours(uid, account))
}

/// What is planned for an interface.
///
/// # Errors
/// Why it cannot be served.
pub fn plan(options: &Options, name: &str) -> Result<Plan, InterfaceError> {
    let Options { address, datapath, mode, .. } = *options;
    Plan::decide(name, address, datapath, mode)
}

/// What the configuration names on this host: the user, directories, files, templates.
#[must_use]
pub fn of_configuration(options: &Options, setup: &Setup) -> Vec<UnmetCondition> {
    let mut unmet = Vec::new();
    if let Err(error) = check_descriptors(options) {
        unmet.push(UnmetCondition::passing(None, error));
    }
    let account = match Account::find(options.user.as_deref()) {
        Ok(account) => account,
        Err(error) => {
            // Where nobody can say whether the user is there, somebody may later.
            let is_lasting = matches!(error, ConfineError::NoUser(_));
            unmet.push(UnmetCondition { is_lasting, ..UnmetCondition::new("user", error) });
            None
        }
    };
    let own = own_directories(options);
    for (key, directory) in [
        ("state", options.state.as_deref()),
        ("inbox", options.inbox.as_ref().map(|inbox| inbox.directory.as_path())),
    ] {
        let Some(directory) = directory else { continue };
        unmet.extend(can_be_made(directory).map_err(|error| UnmetCondition::passing(key, error)).err());
        let is_handed_over = options.confinement != Confinement::Off;
        if let Some(account) = account.as_ref().filter(|_| is_handed_over)
            && let Err(error) = account.may_own(directory, &|path| belongs(path, &own))
        {
            unmet.push(UnmetCondition::new(key, error));
        }
    }
    if let Some(events) = &setup.fleet.events {
        let above = can_be_made(&directory_of(events));
        let made = if events.is_dir() { Err(ConditionError::Events(events.clone())) } else { above };
        unmet.extend(made.map_err(|error| UnmetCondition::new("fleet", error)).err());
        if let Some(account) = account.as_ref().filter(|_| options.confinement != Confinement::Off) {
            let owned = account.may_own_file(events, &is_of_events);
            unmet.extend(owned.map_err(|error| UnmetCondition::new("fleet", error)).err());
        }
    }
    if let Some(token) = options.board.as_ref().and_then(|board| board.token_file.as_ref())
        && let Err(error) = Token::read(token)
    {
        unmet.push(UnmetCondition::new("board", error));
    }
    if setup.offering.http.is_none() {
        unmet.extend(empty_variables(setup));
    }
    unmet
}

/// Variables of HTTP in templates, though HTTP is off. A machine would start its test, and nobody would hear of it.
fn empty_variables(setup: &Setup) -> impl Iterator<Item = UnmetCondition> {
    setup.files.image_specs.iter().filter_map(|image_spec| {
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

/// The ports of one interface.
#[must_use]
pub fn of_interface(plan: &Plan, setup: &Setup, predecessor: bool) -> Vec<UnmetCondition> {
    let mut unmet = Vec::new();
    if predecessor {
        return unmet;
    }
    let address = plan.subnet.address;
    unmet.extend(taken_ports(address).map_err(|error| UnmetCondition::passing(None, error)).err());
    if let Some(http) = setup.offering.http {
        let at = SocketAddr::from((address, http.port));
        let error =
            can_listen(at).map(|error| UnmetCondition::passing("http", ConditionError::Http { at, error }));
        unmet.extend(error);
    }
    unmet
}

/// The API's sockets.
#[must_use]
pub fn of_listeners(options: &Options, predecessor: bool) -> Vec<UnmetCondition> {
    let mut unmet = Vec::new();
    if predecessor {
        return unmet;
    }
    // The usual place may be taken: then there is a warning.
    if (options.socket.is_some() || options.board.is_some())
        && let Err(error) = listen::can_bind(options.socket.as_deref().unwrap_or(Path::new(SOCKET)))
    {
        unmet.push(UnmetCondition::passing("socket", error));
    }
    if let Some(at) = options.board.as_ref().map(|board| board.listen)
        && let Some(error) = can_listen(at)
    {
        unmet.push(UnmetCondition::passing("board", ConditionError::Board { at, error }));
    }
    unmet
}

/// With XDP nothing is bound, so a server that has our ports would be starved without a word.
///
/// # Errors
/// The first port that another server has.
pub(super) fn taken_ports(address: Ipv4Addr) -> Result<(), Error> {
    for (port, what) in [(wire::PORT_TFTP, "TFTP"), (wire::PORT_PXE, "PXE boot")] {
        if udp_listeners(port).iter().any(|taken| taken.is_unspecified() || *taken == address) {
            return Err(ConditionError::PortTaken { what, port }.into());
        }
    }
    Ok(())
}

/// Why nobody can listen there. The listener is closed at once, before anybody can connect to it unanswered.
fn can_listen(at: SocketAddr) -> Option<std::io::Error> {
    TcpListener::bind(at).err()
}

/// Whether a directory is there, or can be made.
fn can_be_made(path: &Path) -> Result<(), ConditionError> {
    let mut above = path;
    loop {
        match std::fs::metadata(above) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(directory_error(path, above, "is not a directory"));
            }
            // It is there: whose it is, is another question.
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
