//! Which rights the daemon keeps: what its interfaces need, and the paths that its configuration names.

use std::io::Read as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::open_interface::OpenInterface;
use super::{Options, Setup};
use crate::confine::{self, Account, ConfineError, ConfineRequest, Confinement, Paths, RetainedCapability};
use pxe_content::boot::{self, Catalogue, Source};
use pxe_content::inbox;
use pxe_proto::mac::Mac;
use pxe_web::api::listen::SOCKET;

/// No line of events is longer.
const EVENT_MAX: u64 = 64 * 1024;
/// Where distributions put what is installed and served, and what links in a boot tree usually lead to.
const INSTALLED: [&str; 2] = ["/usr", "/boot"];

/// Gives up everything else; says what could not be given up, and what cannot be read any more.
pub(super) fn enter(
    options: &Options,
    setup: &Setup,
    config: Option<&Path>,
    catalogue: &Catalogue,
    opened: &[OpenInterface],
) -> Result<()> {
    if options.confinement == Confinement::Off {
        tracing::warn!("--confinement off: pxed keeps all its privileges");
        return Ok(());
    }
    let mut kept: Vec<RetainedCapability> = opened.iter().flat_map(OpenInterface::kept).collect();
    kept.dedup();
    let account = Account::find(options.user.as_deref())?;
    let mut paths = paths(options, setup, config);
    paths.read.extend(catalogue.targets());
    let own = own_directories(options);
    for directory in &own {
        make(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    // The file of events may lie among those of others: only a directory that is not there yet becomes the daemon's.
    let new = setup.fleet.events.as_deref().map(directory_of).filter(|directory| !directory.exists());
    if let Some(directory) = &new {
        make(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        account.as_ref().map_or(Ok(()), |account| account.hand_over(directory, &|_| false))?;
    }
    if let Some(account) = &account {
        hand_over(account, options, setup, &own)?;
    }
    let account_is_root = account.is_none() && rustix::process::geteuid().is_root();
    let report = confine::enter(&ConfineRequest { confinement: options.confinement, account, kept, paths })?;
    tracing::info!(
        user = report.user,
        capabilities = report.capabilities.join(" "),
        "confined: dropped the privileges that only the start needs"
    );
    if account_is_root {
        tracing::warn!("pxed stays root: name another user with --user");
    }
    for missing in report.missing {
        tracing::warn!("{missing}");
    }
    for root in catalogue.inaccessible_roots() {
        tracing::warn!(
            root = %root.display(),
            "user {} cannot list this directory, so machines get nothing from it: make it readable (chmod o+rx), \
             or start with its owner as --user", report.user
        );
    }
    if let Some(config) = config.filter(|path| std::fs::File::open(path).is_err()) {
        tracing::warn!(
            config = %config.display(),
            "user {} cannot read the configuration, so changes apply at the next start only: make the file \
             readable by that user, and the directories above accessible", report.user
        );
    }
    Ok(())
}

/// The directories whose files machines get.
fn roots(files: &boot::Config) -> Vec<PathBuf> {
    let own = match &files.source {
        Source::Tree { root, .. } => vec![root.clone()],
        // A file is replaced by a rename in its directory.
        Source::Single(files) => {
            files.iter().map(|(_, path)| directory_of(&Path::new("/").join(path))).collect()
        }
        Source::Virtual { .. } => Vec::new(),
    };
    let of_images =
        files.image_specs.iter().filter_map(|image_spec| Some(image_spec.root.as_ref()?.0.clone()));
    own.into_iter().chain(of_images).collect()
}

/// The directories that are the daemon's own.
pub(super) fn own_directories(options: &Options) -> Vec<PathBuf> {
    let inbox = options.inbox.as_ref().map(|inbox| inbox.directory.clone());
    options.state.clone().into_iter().chain(inbox).collect()
}

/// Makes a directory for the daemon alone, in directories for everybody.
fn make(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory_of(directory))?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Whether a path in one of the daemon's `own` directories is of its own making.
pub(super) fn belongs(path: &Path, own: &[PathBuf]) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let is_made_here = ["pxed", inbox::HIDDEN].iter().any(|begin| name.starts_with(begin));
    is_made_here || name.parse::<Mac>().is_ok() || own.iter().any(|own| own == path)
}

/// Whether a file is empty, or begins as the daemon writes events: a line of JSON that names one.
pub(super) fn is_of_events(path: &Path) -> bool {
    let Ok(file) = std::fs::File::open(path) else { return false };
    let mut start = Vec::new();
    let read = file.take(EVENT_MAX).read_to_end(&mut start);
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    read.is_ok()
        && (start.is_empty()
            || serde_json::from_slice::<serde_json::Value>(line)
                .is_ok_and(|line| line.get("event").is_some()))
}

fn hand_over(
    account: &Account,
    options: &Options,
    setup: &Setup,
    own: &[PathBuf],
) -> Result<(), ConfineError> {
    // A socket elsewhere lies in somebody else's directory.
    let socket = options.socket.is_none().then(|| directory_of(Path::new(SOCKET)));
    for directory in own.iter().chain(&socket.filter(|path| path.exists())) {
        account.hand_over(directory, &|path| belongs(path, own))?;
    }
    setup.fleet.events.as_deref().map_or(Ok(()), |events| account.hand_over_file(events, &is_of_events))
}

fn paths(options: &Options, setup: &Setup, config: Option<&Path>) -> Paths {
    let mut read = roots(&setup.files);
    read.extend(INSTALLED.map(PathBuf::from));
    // Who writes the file puts another in its place: so it is the directory that must be readable.
    read.extend(config.map(directory_of));
    let mut write = own_directories(options);
    // A file that is moved away is begun anew.
    write.extend(setup.fleet.events.as_deref().map(directory_of));
    let socket = options.socket.as_deref().unwrap_or(Path::new(SOCKET));
    Paths { read, write, remove: vec![directory_of(socket)], moves: options.inbox.is_some() }
}

pub(super) fn directory_of(path: &Path) -> PathBuf {
    path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}
