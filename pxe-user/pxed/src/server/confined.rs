//! The confinement: which privileges the daemon keeps, and the permission to start threads that it gives.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;

use super::own_files::{belongs, directory_of, is_of_events, make, own_directories};
use crate::config::Settings;
use crate::confine::{
    self, Account, ConfineError, ConfineRequest, Confinement, Outbound, Paths, RetainedCapability,
};
use pxe_content::boot::{self, Catalogue, Source};
use pxe_content::inbox::Inbox;
use pxe_engine::worker::upload_writer::Uploads;
use pxe_fleet::handle::{FleetHandle, Message};
use pxe_fleet::thread::{FleetConfig, FleetDeps};
use pxe_web::api::listen::SOCKET;

/// The directories for installed files. pxed serves files from there, and links in boot trees often lead there.
const INSTALLED: [&str; 2] = ["/usr", "/boot"];

/// The permission to start threads. Only [`enter`] gives it, because a thread keeps the privileges that the process had when the
/// thread started. All threads of the daemon start through it: clippy rejects the other ways in this crate (`clippy.toml`).
#[derive(Clone, Copy, Debug)]
pub(super) struct ThreadPermit(());

#[expect(clippy::disallowed_methods, reason = "the permit shows that the privileges are given up")]
impl ThreadPermit {
    /// Starts a thread with this name.
    pub(super) fn spawn<T: Send + 'static>(
        self,
        name: &str,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>> {
        std::thread::Builder::new().name(name.to_owned()).spawn(run).context("cannot start a thread")
    }

    /// Makes a runtime, which starts threads of its own.
    pub(super) fn runtime(self, builder: &mut tokio::runtime::Builder) -> std::io::Result<Runtime> {
        builder.build()
    }

    /// Starts the threads of the fleet and its store.
    pub(super) fn start_fleet(
        self,
        config: FleetConfig,
        messages: Receiver<Message>,
        fleet: FleetHandle,
        deps: FleetDeps,
    ) -> Result<JoinHandle<()>> {
        pxe_fleet::thread::spawn(config, messages, fleet, deps).context("cannot start a thread")
    }

    /// Starts the thread that writes uploads. The limit of uploads follows from `transfers`.
    pub(super) fn start_uploads(
        self,
        inbox: Arc<Inbox>,
        transfers: usize,
        fleet: FleetHandle,
        alive: impl Fn() + Send + 'static,
    ) -> Result<Uploads> {
        Uploads::start(inbox, transfers, fleet, alive).context("cannot start a thread")
    }
}

/// Gives up all privileges but the capabilities `kept`, the connections `outbound`, and the paths of the settings. Warns about what could not be given up, and
/// about what the daemon's user cannot read. With [`Confinement::Off`], the daemon keeps everything.
///
/// # Errors
/// When a step fails, with the remedy. Some privileges may be gone then.
pub(super) fn enter(
    settings: &Settings,
    config: Option<&Path>,
    catalogue: &Catalogue,
    (mut kept, outbound): (Vec<RetainedCapability>, Outbound),
) -> Result<ThreadPermit> {
    if settings.confinement == Confinement::Off {
        tracing::warn!("--confinement off: pxed keeps all its privileges");
        return Ok(ThreadPermit(()));
    }
    kept.dedup();
    let account = Account::find(settings.user.as_deref())?;
    let mut paths = paths(settings, config);
    paths.read.extend(catalogue.targets());
    let own = own_directories(settings);
    for directory in &own {
        make(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    // The file of events may lie in a directory with other programs' files. So only a new directory becomes the daemon's.
    let new = settings.events.as_deref().map(directory_of).filter(|directory| !directory.exists());
    if let Some(directory) = &new {
        make(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        account.as_ref().map_or(Ok(()), |account| account.hand_over(directory, &|_| false))?;
    }
    if let Some(account) = &account {
        hand_over(account, settings, &own)?;
    }
    let account_is_root = account.is_none() && rustix::process::geteuid().is_root();
    let confinement = settings.confinement;
    let report = confine::enter(&ConfineRequest { confinement, account, kept, paths, outbound })?;
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
    Ok(ThreadPermit(()))
}

/// The directories with the files that machines load.
fn roots(files: &boot::Config) -> Vec<PathBuf> {
    let own = match &files.source {
        Source::Tree { root, .. } => vec![root.clone()],
        // A new version of a file replaces it by a rename, so its directory must be readable.
        Source::Single(files) => {
            files.iter().map(|(_, path)| directory_of(&Path::new("/").join(path))).collect()
        }
        Source::Virtual { .. } => Vec::new(),
    };
    let of_images =
        files.image_specs.iter().filter_map(|image_spec| Some(image_spec.root.as_ref()?.0.clone()));
    own.into_iter().chain(of_images).collect()
}

fn hand_over(account: &Account, settings: &Settings, own: &[PathBuf]) -> Result<(), ConfineError> {
    // The directory of another socket may belong to another program.
    let socket = settings.socket.is_none().then(|| directory_of(Path::new(SOCKET)));
    for directory in own.iter().chain(&socket.filter(|path| path.exists())) {
        account.hand_over(directory, &|path| belongs(path, own))?;
    }
    settings.events.as_deref().map_or(Ok(()), |events| account.hand_over_file(events, &is_of_events))
}

fn paths(settings: &Settings, config: Option<&Path>) -> Paths {
    let mut read = roots(&settings.files());
    read.extend(INSTALLED.map(PathBuf::from));
    // Editors replace the file by a rename, so its directory must be readable.
    read.extend(config.map(directory_of));
    let mut write = own_directories(settings);
    // If another program moves the file away, the daemon creates a new one.
    write.extend(settings.events.as_deref().map(directory_of));
    let socket = settings.socket.as_deref().unwrap_or(Path::new(SOCKET));
    Paths { read, write, remove: vec![directory_of(socket)], moves: settings.inbox.is_some() }
}
