//! Checks what keeps the daemon on this host from serving, and how it would serve each interface.

use anyhow::Error;
use rustix::process::geteuid;

use super::report::{InterfacePlan, Report};
use crate::config::Config;
use crate::server::preconditions::{self, UnmetCondition};
use crate::server::{Options, Setup};
use pxe_engine::plan::{DhcpPath, Plan};
use pxe_nic::programs::{Programs, takes_several_buffers};
use pxe_proto::mac::Mac;
use pxe_proto::tftp::negotiation::OptionLimits;

pub(super) fn examine(report: &mut Report, file: &Config, options: &Options, setup: &Setup) {
    let mut unmet = preconditions::of_configuration(options, setup);
    let mut is_served = false;
    for name in &options.interfaces {
        let plan = match preconditions::plan(options, name) {
            Ok(plan) => plan,
            Err(error) => {
                let for_another = "; to check a file for another host, give --no-host";
                let hint = if file.interfaces.contains(name) { for_another } else { "" };
                report.error(None, format!("{error}{hint}"));
                continue;
            }
        };
        // The pxed that serves the interface holds its ports and sockets. A successor takes over from it, so they do not block
        // the successor.
        let is_served_now = preconditions::is_served(options, name);
        is_served |= is_served_now;
        unmet.extend(preconditions::of_interface(&plan, setup, is_served_now));
        let row = interface(&plan, options, is_served_now);
        if let Some(error) = row.no_xdp.as_ref().filter(|_| !plan.may_fall_back) {
            report.error(None, format!("{name}: XDP is not possible: {error}. Leave `datapath` to `auto`"));
        }
        report.interfaces.push(row);
    }
    unmet.extend(preconditions::of_listeners(options, is_served));
    for UnmetCondition { key, image, error, .. } in unmet {
        let of_image = image.and_then(|name| file.line_of_image(&name));
        let line = of_image.or(key.and_then(|key| file.line_of_key(key)));
        // Only root can try these, and the service starts as root, so a missing permission is a warning.
        if !geteuid().is_root() && is_denied(&error) {
            report.warning(
                line,
                format!("{error:#} (seen as this user; as root it may work: run this with sudo)"),
            );
        } else {
            report.error(line, format!("{error:#}"));
        }
    }
}

/// Whether the reason is a missing permission.
fn is_denied(error: &Error) -> bool {
    let denied = |error: &(dyn std::error::Error + 'static)| {
        let io = error.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::PermissionDenied)
    };
    error.chain().any(denied) || error.to_string().contains("Permission denied")
}

fn interface(plan: &Plan, options: &Options, is_served_now: bool) -> InterfacePlan {
    let interface = &plan.interface;
    let (datapath, no_xdp) = match plan.modes.as_slice() {
        [] => (Some("socket"), None),
        [mode, ..] => match Programs::load(interface.queues, 16, takes_several_buffers(*mode, interface.mtu))
        {
            Ok(_) => (Some("xdp"), None),
            Err(_) if !geteuid().is_root() => (None, None),
            Err(error) => (Some("socket"), Some(error.to_string())),
        },
    };
    let is_xdp = datapath == Some("xdp");
    let limits = OptionLimits::for_mtu(plan.path_mtu(is_xdp), options.windowsize);
    let own = plan.subnet.address;
    InterfacePlan {
        name: interface.name.clone(),
        mac: Mac(interface.mac).to_string(),
        address: own,
        other_addresses: interface
            .addresses
            .iter()
            .map(|subnet| subnet.address)
            .filter(|other| *other != own)
            .collect(),
        mtu: interface.mtu,
        queues: interface.queues,
        datapath,
        why: plan.why.clone(),
        no_xdp,
        dhcp: is_xdp.then(|| DhcpPath::decide(interface).explain()),
        blksize_max: limits.blksize,
        windowsize_max: limits.windowsize,
        is_served_now,
    }
}
