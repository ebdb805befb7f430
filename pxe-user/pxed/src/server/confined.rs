//! Which rights the daemon keeps: what its interfaces need, and the paths that its configuration names.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::open_interface::OpenInterface;
use super::own_files::{belongs, directory_of, is_of_events, make, own_directories};
use crate::config::Settings;
use crate::confine::{self, Account, ConfineError, ConfineRequest, Confinement, Paths, RetainedCapability};
use pxe_content::boot::{self, Catalogue, Source};
use pxe_web::api::listen::SOCKET;

/// Where distributions put what is installed and served, and what links in a boot tree usually lead to.
const INSTALLED: [&str; 2] = ["/usr", "/boot"];

/// Gives up everything else; says what could not be given up, and what cannot be read any more.
pub(super) fn enter(
    settings: &Settings,
    config: Option<&Path>,
    catalogue: &Catalogue,
    opened: &[OpenInterface],
) -> Result<()> {
    if settings.confinement == Confinement::Off {
        tracing::warn!("--confinement off: pxed keeps all its privileges");
        return Ok(());
    }
    let mut kept: Vec<RetainedCapability> = opened.iter().flat_map(OpenInterface::kept).collect();
    kept.dedup();
    let account = Account::find(settings.user.as_deref())?;
    let mut paths = paths(settings, config);
    paths.read.extend(catalogue.targets());
    let own = own_directories(settings);
    for directory in &own {
        make(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    // The file of events may lie among those of others: only a directory that is not there yet becomes the daemon's.
    let new = settings.events.as_deref().map(directory_of).filter(|directory| !directory.exists());
    if let Some(directory) = &new {
        make(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        account.as_ref().map_or(Ok(()), |account| account.hand_over(directory, &|_| false))?;
    }
    if let Some(account) = &account {
        hand_over(account, settings, &own)?;
    }
    let account_is_root = account.is_none() && rustix::process::geteuid().is_root();
    let report = confine::enter(&ConfineRequest { confinement: settings.confinement, account, kept, paths })?;
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
    for root in catalogue.unlisted() {
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

fn hand_over(account: &Account, settings: &Settings, own: &[PathBuf]) -> Result<(), ConfineError> {
    // A socket elsewhere lies in somebody else's directory.
    let socket = settings.socket.is_none().then(|| directory_of(Path::new(SOCKET)));
    for directory in own.iter().chain(&socket.filter(|path| path.exists())) {
        account.hand_over(directory, &|path| belongs(path, own))?;
    }
    settings.events.as_deref().map_or(Ok(()), |events| account.hand_over_file(events, &is_of_events))
}

fn paths(settings: &Settings, config: Option<&Path>) -> Paths {
    let mut read = roots(&settings.files());
    read.extend(INSTALLED.map(PathBuf::from));
    // Who writes the file puts another in its place: so it is the directory that must be readable.
    read.extend(config.map(directory_of));
    let mut write = own_directories(settings);
    // A file that is moved away is begun anew.
    write.extend(settings.events.as_deref().map(directory_of));
    let socket = settings.socket.as_deref().unwrap_or(Path::new(SOCKET));
    Paths { read, write, remove: vec![directory_of(socket)], moves: settings.inbox.is_some() }
}
