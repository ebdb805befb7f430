//! How each interface is to be served, and the descriptors that this takes. Nothing is opened here.

use anyhow::{Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Settings;
use pxe_engine::plan::Plan;
use pxe_nic::interface::InterfaceError;

/// The plan for an interface.
///
/// # Errors
/// Why it cannot be served.
pub fn plan(settings: &Settings, name: &str) -> Result<Plan, InterfaceError> {
    Plan::decide(name, settings.address, settings.datapath, settings.xdp_mode)
}

/// The plan for each interface.
///
/// # Errors
/// The first interface that cannot be served, with the remedy.
pub fn plans(settings: &Settings) -> Result<Vec<Plan>> {
    settings.interfaces.iter().map(|name| Ok(plan(settings, name)?)).collect()
}

/// Descriptors of the daemon itself: listeners, the database, watches, files that are being read.
const DESCRIPTORS: u64 = 64;
/// Descriptors of an interface, and of each queue: programs, maps, sockets, eventfds.
const DESCRIPTORS_INTERFACE: u64 = 32;
const DESCRIPTORS_QUEUE: u64 = 8;

/// Raises the limit of open descriptors to the hard limit. The default of 1024 is less than a fleet's connections.
pub(super) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // If the system refuses, the limit stays as it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Checks whether the process may open as many descriptors as the interfaces need. Otherwise the start would fail in one of many
/// places, with an error that does not name the reason.
///
/// # Errors
/// When the hard limit is too low.
pub(super) fn check_descriptors(settings: &Settings) -> Result<()> {
    // Why an interface cannot be planned is reported elsewhere.
    let plans: Vec<Plan> = settings.interfaces.iter().filter_map(|name| plan(settings, name).ok()).collect();
    let needed = |plan: &Plan| DESCRIPTORS_INTERFACE + DESCRIPTORS_QUEUE * u64::from(plan.interface.queues);
    let needed = DESCRIPTORS + plans.iter().map(needed).sum::<u64>();
    match getrlimit(Resource::Nofile).maximum {
        Some(most) if most < needed => {
            bail!("{most} open files are not enough: {needed} are needed (ulimit -n, LimitNOFILE=)")
        }
        _ => Ok(()),
    }
}
