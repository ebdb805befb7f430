//! One interface with everything open that takes rights to open, and nobody at work on it yet.

use anyhow::{Result, bail};
use pxe_common::abi;
use pxe_common::wire;

use super::Options;
use super::interface::slots_each;
use crate::confine::Kept;
use crate::nic::Queue;
use crate::nic::interface::udp_listeners;
use crate::nic::lock::InterfaceLock;
use crate::nic::programs::{Mode, Programs, ProgramsError};
use crate::nic::xsk::Xsk;
use crate::plan::{DhcpPath, OffloadChoice, Plan};
use crate::worker::sockets::SocketPath;

/// The open interface. Dropping it detaches and closes everything.
pub(super) struct Opened {
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

impl Opened {
    /// Opens an interface as planned, or falls back to sockets if the plan allows that.
    ///
    /// # Errors
    /// What is in the way, with the remedy; nothing stays attached.
    pub(super) fn open(plan: Plan, options: &Options) -> Result<Self> {
        let lock = InterfaceLock::take(&plan.interface.name)?;
        refuse_taken_ports(&plan)?;
        let path = match any_xdp(&plan, options)? {
            Some(xdp) => Path::Xdp(Box::new(xdp)),
            None => {
                let sockets = SocketPath::open(&plan.interface, plan.subnet.address, plan.tids)?;
                Path::Sockets(Box::new(sockets))
            }
        };
        Ok(Self { dhcp: DhcpPath::decide(&plan.interface), plan, path, lock })
    }

    /// The capabilities that its workers need.
    pub(super) fn kept(&self) -> Vec<Kept> {
        match &self.path {
            Path::Xdp(xdp) => Kept::for_xdp(xdp.offload != 0),
            Path::Sockets(_) => Vec::new(),
        }
    }
}

/// Tries the planned modes in turn. `None` means plain sockets, by plan or after all have failed.
fn any_xdp(plan: &Plan, options: &Options) -> Result<Option<Xdp>> {
    let mut failures = Vec::new();
    for &mode in &plan.modes {
        match open_xdp(plan, mode, options) {
            Ok(xdp) => return Ok(Some(xdp)),
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    if !failures.is_empty() {
        let reason = failures.join("; ");
        if !plan.may_fall_back {
            bail!("{reason}");
        }
        tracing::warn!(
            interface = plan.interface.name,
            "no XDP here, so plain sockets serve instead: {reason}"
        );
    }
    Ok(None)
}

fn open_xdp(plan: &Plan, mode: Mode, options: &Options) -> Result<Xdp> {
    let interface = &plan.interface;
    let wanted = options.offload.layers(mode, interface.driver.is_some());
    let (mut programs, mut offload) = load(plan, options, wanted)?;
    programs.attach(interface.index, mode)?;
    if offload & abi::offload::TCX != 0
        && let Err(error) = programs.attach_tcx(&interface.name)
    {
        say_missing(options, &interface.name, "tcx (it needs Linux 6.6)", &error);
        offload &= !abi::offload::TCX;
    }
    let open = |queue| Xsk::open(interface.index, Queue(queue), mode, plan.sizes);
    let sockets = (0..interface.queues).map(open).collect::<Result<Vec<_>, _>>()?;
    Ok(Xdp { programs, sockets, mode, offload })
}

/// Loads the program, with the kernel offload where that may be and the kernel takes it.
fn load(plan: &Plan, options: &Options, wanted: u32) -> Result<(Programs, u32)> {
    let interface = &plan.interface;
    // Ended transfers keep their entries for a moment: see `tftp::table`.
    let entries = u32::try_from(options.transfers * 4).unwrap_or(u32::MAX);
    let (queues, mtu) = (interface.queues, interface.mtu);
    if wanted != 0 {
        let workers = queues as usize;
        let slots = u32::try_from(workers * slots_each(options.transfers, workers)).unwrap_or(u32::MAX);
        match Programs::load_offload(queues, entries, mtu, slots) {
            Ok(programs) => return Ok((programs, wanted)),
            Err(error) => {
                say_missing(options, &interface.name, "the kernel offload (it needs Linux 5.18)", &error);
            }
        }
    }
    Ok((Programs::load(queues, entries, mtu)?, 0))
}

/// Older kernels lack it, which nobody needs to hear who did not ask for it.
fn say_missing(options: &Options, interface: &str, what: &str, error: &ProgramsError) {
    if options.offload == OffloadChoice::Auto {
        tracing::debug!(interface, "without {what}: {error}");
    } else {
        tracing::warn!(interface, "without {what}, so the daemon sends: {error}");
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

/// With XDP nothing is bound, so a server that has our ports would be starved without a word.
fn refuse_taken_ports(plan: &Plan) -> Result<()> {
    for (port, what) in [(wire::PORT_TFTP, "TFTP"), (wire::PORT_PXE, "PXE boot")] {
        let address = plan.subnet.address;
        if udp_listeners(port).iter().any(|taken| taken.is_unspecified() || *taken == address) {
            bail!(
                "another {what} server on this host uses UDP port {port} (see `ss -lunp 'sport = :{port}'`): \
                 stop it, or serve another interface or address"
            );
        }
    }
    Ok(())
}
