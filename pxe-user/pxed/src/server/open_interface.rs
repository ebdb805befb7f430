//! An interface with all privileged resources open and no workers yet. [`PreparedInterface`] does what a predecessor does not
//! notice, to shorten the gap of a take-over. [`OpenInterface`] has the rest.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Result, bail};
use pxe_common::abi::{self, Config};

use super::foreign_proxies::OfferListener;
use super::handover::InterfaceState;
use super::kernel_config::{config, slots_each};
use super::preconditions;
use super::retry::patiently;
use crate::config::Settings;
use crate::confine::{Account, RetainedCapability};
use pxe_engine::plan::{DhcpPath, OffloadChoice, Plan};
use pxe_engine::responder::TransferSnapshot;
use pxe_engine::worker::offload::key;
use pxe_engine::worker::sockets::SocketPath;
use pxe_nic::Queue;
use pxe_nic::lock::{self, InterfaceLock, LockError};
use pxe_nic::programs::{Mode, Programs, ProgramsError, takes_several_buffers};
use pxe_nic::xsk::{Xsk, XskError};

/// An open interface. Dropping it detaches and closes everything.
pub(super) struct OpenInterface {
    pub(super) plan: Plan,
    pub(super) dhcp: DhcpPath,
    pub(super) path: Path,
    /// `None` if the host refuses it.
    pub(super) offers: Option<OfferListener>,
    pub(super) lock: InterfaceLock,
}

/// The datapath.
pub(super) enum Path {
    Xdp(Box<Xdp>),
    Sockets(Box<SocketPath>),
}

/// The attached programs, which do not redirect yet, and a socket for each queue.
pub(super) struct Xdp {
    pub(super) programs: Programs,
    pub(super) sockets: Vec<Xsk>,
    pub(super) mode: Mode,
    pub(super) offload: u32,
}

/// The programs, and the layers of the offload that the kernel accepts: bits of `abi::offload`.
type Loaded = (Programs, u32);

/// An interface whose programs are loaded and not attached.
pub(super) struct PreparedInterface {
    pub(super) plan: Plan,
    /// The programs for the first of the planned modes. An error counts only if no other mode works.
    loaded: Option<Result<Loaded, ProgramsError>>,
}

impl PreparedInterface {
    /// Loads the programs that the plan needs.
    ///
    /// # Errors
    /// When the kernel refuses the only mode of the plan. A predecessor still serves then.
    pub(super) fn new(plan: Plan, settings: &Settings) -> Result<Self> {
        let loaded = plan.modes.first().map(|mode| load(&plan, settings, *mode));
        match loaded {
            Some(Err(error)) if plan.modes.len() == 1 && !plan.may_fall_back => Err(error.into()),
            loaded => Ok(Self { plan, loaded }),
        }
    }

    /// Opens an interface as planned, or falls back to sockets if the plan allows that. Reuses the program and the sockets of a
    /// predecessor, as far as they fit.
    ///
    /// # Errors
    /// What prevents it, with the remedy. Nothing stays attached.
    pub(super) fn open(
        mut self,
        settings: &Settings,
        interface_state: &mut InterfaceState,
    ) -> Result<OpenInterface> {
        let interface = &self.plan.interface;
        let account = Account::find(settings.user.as_deref())?.map(|account| account.uid());
        let lock = patiently(
            PAUSE,
            || InterfaceLock::take(&interface.name, interface.index, |uid| lock::is_ours(uid, account)),
            |error| matches!(error, LockError::Taken(_)),
        )?;
        if let Some(stranger) = lock.stranger() {
            let name = &interface.name;
            tracing::warn!(
                event = "lock_held_by_a_stranger",
                interface = name,
                "a process of {stranger} holds the abstract socket @pxed/{name} (`ss -lxp` shows it): pxed \
                 serves without it, but no other pxed can take over until both processes are restarted"
            );
        }
        if interface_state.is_of_another(self.plan.interface.index) {
            tracing::warn!(
                interface = self.plan.interface.name,
                "the previous pxed served another interface with this name: cannot reuse its program and sockets"
            );
            (interface_state.link, interface_state.sockets) = (None, Vec::new());
        }
        let dhcp = DhcpPath::decide(&self.plan.interface);
        let path = match self.any_xdp(settings, dhcp, interface_state)? {
            Some(xdp) => Path::Xdp(Box::new(xdp)),
            None => Path::Sockets(Box::new(open_sockets(
                &self.plan,
                std::mem::take(&mut interface_state.sockets),
            )?)),
        };
        let offers = OfferListener::open(&self.plan.interface);
        Ok(OpenInterface { dhcp, plan: self.plan, path, offers, lock })
    }

    /// Tries the planned modes in turn. `None` means plain sockets, by plan or after all have failed.
    fn any_xdp(
        &mut self,
        settings: &Settings,
        dhcp: DhcpPath,
        interface_state: &mut InterfaceState,
    ) -> Result<Option<Xdp>> {
        // If a predecessor handed its sockets over, they hold the ports.
        if interface_state.sockets.is_empty() {
            preconditions::taken_ports(self.plan.subnet.address)?;
        }
        let (mut loaded, mut failures) = (self.loaded.take(), Vec::new());
        let mut modes = self.plan.modes.clone();
        if let Some((theirs, _)) = &interface_state.link
            && let Some(place) = modes.iter().position(|mode| mode == theirs)
        {
            // The mode of the predecessor works. Another mode would leave the interface without a program meanwhile.
            modes[..=place].rotate_right(1);
        }
        for &mode in &modes {
            let prepared = loaded.take_if(|_| self.plan.modes.first() == Some(&mode));
            let loaded = prepared.unwrap_or_else(|| load(&self.plan, settings, mode));
            match loaded
                .map_err(Into::into)
                .and_then(|loaded| self.open_xdp(mode, dhcp, settings, loaded, interface_state))
            {
                Ok(xdp) => {
                    if !failures.is_empty() {
                        let (mode, reason) = (mode.as_str(), failures.join("; "));
                        self.plan.why =
                            format!("{mode} XDP, since the mode before it is not possible here ({reason})");
                    }
                    return Ok(Some(xdp));
                }
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        if !failures.is_empty() {
            let reason = failures.join("; ");
            if !self.plan.may_fall_back {
                bail!("{reason}");
            }
            tracing::warn!(
                interface = self.plan.interface.name,
                "XDP is not possible here, so pxed falls back to plain sockets: {reason}"
            );
        }
        Ok(None)
    }

    fn open_xdp(
        &self,
        mode: Mode,
        dhcp: DhcpPath,
        settings: &Settings,
        loaded: Loaded,
        interface_state: &mut InterfaceState,
    ) -> Result<Xdp> {
        let (interface, sizes) = (&self.plan.interface, self.plan.sizes);
        let (mut programs, mut offload) = loaded;
        // A link of another mode is dropped, because the kernel allows one program only.
        match interface_state.link.take().filter(|(theirs, _)| *theirs == mode) {
            Some((_, link)) => {
                hold(
                    &mut programs,
                    &Config { hold: 1, ..config(&self.plan, dhcp) },
                    &interface_state.snapshots,
                )?;
                programs.replace(link, mode)?;
            }
            None => patiently(
                PAUSE,
                || programs.attach(interface.index, mode),
                |error| matches!(error, ProgramsError::Busy),
            )?,
        }
        if offload & abi::offload::TCX != 0
            && let Err(error) = programs.attach_tcx(&interface.name)
        {
            say_missing(settings, &interface.name, "tcx (it needs Linux 6.6)", &error);
            offload &= !abi::offload::TCX;
        }
        let open = |queue| {
            let open = || Xsk::open(interface.index, Queue(queue), mode, sizes);
            patiently(PAUSE, open, XskError::is_busy)
        };
        let sockets = (0..interface.queues).map(open).collect::<Result<Vec<_>, _>>()?;
        Ok(Xdp { programs, sockets, mode, offload })
    }
}

impl OpenInterface {
    /// The capabilities that the workers need.
    pub(super) fn kept(&self) -> Vec<RetainedCapability> {
        match &self.path {
            Path::Xdp(xdp) => RetainedCapability::for_xdp(xdp.offload != 0),
            Path::Sockets(_) => Vec::new(),
        }
    }
}

/// The sockets of a predecessor, or new ones.
fn open_sockets(plan: &Plan, theirs: Vec<OwnedFd>) -> Result<SocketPath> {
    if !theirs.is_empty() {
        match SocketPath::adopt(&plan.interface, plan.subnet.address, theirs) {
            Ok(path) => return Ok(path),
            Err(error) => tracing::warn!("cannot reuse the previous pxed's sockets: {error}"),
        }
    }
    Ok(SocketPath::open(&plan.interface, plan.subnet.address, plan.tids)?)
}

/// Makes a program drop what it would redirect, before it replaces the predecessor's and until there are sockets. Packets of a
/// transfer that it does not know would go to the host, which would report a closed port to the client.
fn hold(
    programs: &mut Programs,
    config: &Config,
    snapshots: &[TransferSnapshot],
) -> Result<(), ProgramsError> {
    let mut transfers = programs.transfers()?;
    for snapshot in snapshots {
        // A full map is reported when a worker resumes the transfer.
        // The slot follows then. The kernel answers nothing by slot 0, which has another key or none.
        let _ = transfers.insert(key(snapshot.client, snapshot.port), 0);
    }
    programs.configure(config)
}

/// The pause between two attempts. It is short, because no request is answered meanwhile.
const PAUSE: Duration = Duration::from_millis(2);

/// Loads the program, with the offload if the settings allow it and the kernel accepts it.
fn load(plan: &Plan, settings: &Settings, mode: Mode) -> Result<Loaded, ProgramsError> {
    let interface = &plan.interface;
    let wanted = settings.offload.layers(mode, interface.driver.is_some());
    // Transfers that have ended keep their entries for some time: see `tftp::table`.
    let entries = u32::try_from(settings.transfers * 4).unwrap_or(u32::MAX);
    let (queues, several) = (interface.queues, takes_several_buffers(mode, interface.mtu));
    if wanted != 0 {
        let workers = queues as usize;
        let slots = u32::try_from(workers * slots_each(settings.transfers, workers)).unwrap_or(u32::MAX);
        match Programs::load_offload(queues, entries, several, slots) {
            Ok(programs) => return Ok(with_tcx(programs, settings, &interface.name, wanted)),
            Err(error) => {
                say_missing(settings, &interface.name, "the kernel offload (it needs Linux 5.18)", &error);
            }
        }
    }
    Ok((Programs::load(queues, entries, several)?, 0))
}

/// Loads the tcx program, too, if it is among the layers `wanted`. If the kernel refuses it, the layers are returned without it.
fn with_tcx(mut programs: Programs, settings: &Settings, interface: &str, wanted: u32) -> Loaded {
    if wanted & abi::offload::TCX == 0 {
        return (programs, wanted);
    }
    match programs.load_tcx() {
        Ok(()) => (programs, wanted),
        Err(error) => {
            say_missing(settings, interface, "tcx (it needs Linux 6.6)", &error);
            (programs, wanted & !abi::offload::TCX)
        }
    }
}

/// Reports a part of the offload that this kernel lacks: as a warning only if the settings ask for the offload.
fn say_missing(settings: &Settings, interface: &str, what: &str, error: &ProgramsError) {
    if settings.offload == OffloadChoice::Auto {
        tracing::debug!(interface, "{what} is not available: {error}");
    } else {
        tracing::warn!(interface, "{what} is not available, so the daemon sends: {error}");
    }
}
