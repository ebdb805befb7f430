//! One interface with everything open that takes rights to open, and nobody at work on it yet: first what nobody notices, so
//! that little is left to do between a predecessor's end and our beginning.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Result, bail};
use pxe_common::abi::{self, Config, Transfer};

use super::Options;
use super::handover::InterfaceState;
use super::preconditions;
use super::served_interface::{config, slots_each};
use crate::confine::{Account, RetainedCapability};
use pxe_engine::plan::{DhcpPath, OffloadChoice, Plan};
use pxe_engine::responder::TransferSnapshot;
use pxe_engine::worker::offload::key;
use pxe_engine::worker::sockets::SocketPath;
use pxe_nic::Queue;
use pxe_nic::lock::{self, InterfaceLock, LockError};
use pxe_nic::programs::{Mode, Programs, ProgramsError, takes_several_buffers};
use pxe_nic::xsk::{Xsk, XskError};

/// The open interface. Dropping it detaches and closes everything.
pub(super) struct OpenInterface {
    pub(super) plan: Plan,
    pub(super) dhcp: DhcpPath,
    pub(super) path: Path,
    pub(super) lock: InterfaceLock,
}

/// How packets come and go.
pub(super) enum Path {
    Xdp(Box<Xdp>),
    Sockets(Box<SocketPath>),
}

/// The kernel side with a socket on each queue, not yet redirecting anything.
pub(super) struct Xdp {
    pub(super) programs: Programs,
    pub(super) sockets: Vec<Xsk>,
    pub(super) mode: Mode,
    pub(super) offload: u32,
}

/// The programs, and the layers of the offload that they may use.
type Loaded = (Programs, u32);

/// An interface whose programs are in the kernel, attached to nothing.
pub(super) struct PreparedInterface {
    pub(super) plan: Plan,
    /// For the first of the planned modes. An error is said when it counts.
    loaded: Option<Result<Loaded, ProgramsError>>,
}

impl PreparedInterface {
    /// Loads what the plan needs.
    ///
    /// # Errors
    /// When nothing else is planned than what the kernel refuses: before a predecessor ends for nothing.
    pub(super) fn new(plan: Plan, options: &Options) -> Result<Self> {
        let loaded = plan.modes.first().map(|mode| load(&plan, options, *mode));
        match loaded {
            Some(Err(error)) if plan.modes.len() == 1 && !plan.may_fall_back => Err(error.into()),
            loaded => Ok(Self { plan, loaded }),
        }
    }

    /// Opens an interface as planned, or falls back to sockets if the plan allows that. Goes on with what a predecessor has left
    /// of it, as far as that is of use.
    ///
    /// # Errors
    /// What is in the way, with the remedy; nothing stays attached.
    pub(super) fn open(
        mut self,
        options: &Options,
        interface_state: &mut InterfaceState,
    ) -> Result<OpenInterface> {
        let interface = &self.plan.interface;
        let account = Account::find(options.user.as_deref())?.map(|account| account.uid());
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
        let path = match self.any_xdp(options, dhcp, interface_state)? {
            Some(xdp) => Path::Xdp(Box::new(xdp)),
            None => Path::Sockets(Box::new(open_sockets(
                &self.plan,
                std::mem::take(&mut interface_state.sockets),
            )?)),
        };
        Ok(OpenInterface { dhcp, plan: self.plan, path, lock })
    }

    /// Tries the planned modes in turn. `None` means plain sockets, by plan or after all have failed.
    fn any_xdp(
        &mut self,
        options: &Options,
        dhcp: DhcpPath,
        interface_state: &mut InterfaceState,
    ) -> Result<Option<Xdp>> {
        // A predecessor's sockets are no reason to refuse: they are ours now.
        if interface_state.sockets.is_empty() {
            preconditions::taken_ports(self.plan.subnet.address)?;
        }
        let (mut loaded, mut failures) = (self.loaded.take(), Vec::new());
        let mut modes = self.plan.modes.clone();
        if let Some((theirs, _)) = &interface_state.link
            && let Some(place) = modes.iter().position(|mode| mode == theirs)
        {
            // What a predecessor found to work: no other is tried meanwhile, without a program on the interface.
            modes[..=place].rotate_right(1);
        }
        for &mode in &modes {
            let prepared = loaded.take_if(|_| self.plan.modes.first() == Some(&mode));
            let loaded = prepared.unwrap_or_else(|| load(&self.plan, options, mode));
            match loaded
                .map_err(Into::into)
                .and_then(|loaded| self.open_xdp(mode, dhcp, options, loaded, interface_state))
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
        options: &Options,
        loaded: Loaded,
        interface_state: &mut InterfaceState,
    ) -> Result<Xdp> {
        let (interface, sizes) = (&self.plan.interface, self.plan.sizes);
        let (mut programs, mut offload) = loaded;
        // One of another mode goes here, since it would be in the way.
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
            say_missing(options, &interface.name, "tcx (it needs Linux 6.6)", &error);
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
    /// The capabilities that its workers need.
    pub(super) fn kept(&self) -> Vec<RetainedCapability> {
        match &self.path {
            Path::Xdp(xdp) => RetainedCapability::for_xdp(xdp.offload != 0),
            Path::Sockets(_) => Vec::new(),
        }
    }
}

/// A predecessor's sockets, or new ones.
fn open_sockets(plan: &Plan, theirs: Vec<OwnedFd>) -> Result<SocketPath> {
    if !theirs.is_empty() {
        match SocketPath::adopt(&plan.interface, plan.subnet.address, theirs) {
            Ok(path) => return Ok(path),
            Err(error) => tracing::warn!("cannot reuse the previous pxed's sockets: {error}"),
        }
    }
    Ok(SocketPath::open(&plan.interface, plan.subnet.address, plan.tids)?)
}

/// Makes a program, before it takes a predecessor's place, drop what is sent to us until there are sockets: a transfer that it
/// does not know would go on to the host, which would tell the client that the port is closed.
fn hold(
    programs: &mut Programs,
    config: &Config,
    snapshots: &[TransferSnapshot],
) -> Result<(), ProgramsError> {
    let mut transfers = programs.transfers()?;
    for snapshot in snapshots {
        // A map that is full is said when the transfer is resumed.
        let _ = transfers.insert(key(snapshot.client, snapshot.port), Transfer::default());
    }
    programs.configure(config)
}

/// How long what another process held may take to be free after its end: the kernel takes some of it down later.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two attempts, where every moment is one without an answer.
const PAUSE: Duration = Duration::from_millis(2);

/// Tries again for a moment, with a `pause` between two attempts, while `is_busy`.
pub(super) fn patiently<T, E>(
    pause: Duration,
    mut attempt: impl FnMut() -> Result<T, E>,
    is_busy: impl Fn(&E) -> bool,
) -> Result<T, E> {
    for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
        match attempt() {
            Err(error) if is_busy(&error) => std::thread::sleep(pause),
            result => return result,
        }
    }
    attempt()
}

/// Loads the program, with the kernel offload where that may be and the kernel takes it.
fn load(plan: &Plan, options: &Options, mode: Mode) -> Result<Loaded, ProgramsError> {
    let interface = &plan.interface;
    let wanted = options.offload.layers(mode, interface.driver.is_some());
    // Ended transfers keep their entries for a moment: see `tftp::table`.
    let entries = u32::try_from(options.transfers * 4).unwrap_or(u32::MAX);
    let (queues, several) = (interface.queues, takes_several_buffers(mode, interface.mtu));
    if wanted != 0 {
        let workers = queues as usize;
        let slots = u32::try_from(workers * slots_each(options.transfers, workers)).unwrap_or(u32::MAX);
        match Programs::load_offload(queues, entries, several, slots) {
            Ok(programs) => return Ok(with_tcx(programs, options, &interface.name, wanted)),
            Err(error) => {
                say_missing(options, &interface.name, "the kernel offload (it needs Linux 5.18)", &error);
            }
        }
    }
    Ok((Programs::load(queues, entries, several)?, 0))
}

/// Loads the tcx program, too, if that is wanted: what the kernel does not take is not among the layers any more.
fn with_tcx(mut programs: Programs, options: &Options, interface: &str, wanted: u32) -> Loaded {
    if wanted & abi::offload::TCX == 0 {
        return (programs, wanted);
    }
    match programs.load_tcx() {
        Ok(()) => (programs, wanted),
        Err(error) => {
            say_missing(options, interface, "tcx (it needs Linux 6.6)", &error);
            (programs, wanted & !abi::offload::TCX)
        }
    }
}

/// Older kernels lack it, which nobody needs to hear who did not ask for it.
fn say_missing(options: &Options, interface: &str, what: &str, error: &ProgramsError) {
    if options.offload == OffloadChoice::Auto {
        tracing::debug!(interface, "{what} is not available: {error}");
    } else {
        tracing::warn!(interface, "{what} is not available, so the daemon sends: {error}");
    }
}

/// For people.
pub(super) fn offload_words(offload: u32) -> &'static str {
    match offload {
        0 => "off",
        bits if bits & abi::offload::TCX == 0 => "xdp",
        bits if bits & abi::offload::XDP == 0 => "tcx",
        _ => "xdp, tcx",
    }
}
