//! `pxed check`: what would be served where, and why. Starts nothing; the kernel program is loaded and let go again.

use std::io::Write as _;

use anyhow::Result;

use super::serve::Serve;
use crate::boot::Catalogue;
use crate::dhcp::Arch;
use crate::nic::programs::Programs;
use crate::plan::{DhcpPath, Plan};
use crate::tftp::terms::Limits;

/// The architectures that machines in labs have.
const COMMON: [Arch; 6] = [Arch(0), Arch(6), Arch(7), Arch(9), Arch(10), Arch(11)];

pub(super) fn run(serve: &Serve) -> Result<()> {
    let file = serve.read()?;
    let options = serve.options(&file)?;
    let plans = options.plans()?;
    let catalogue = Catalogue::open(serve.setup(&file)?.files)?;
    let mut out = std::io::stdout().lock();
    for plan in &plans {
        interface(&mut out, plan, options.windowsize)?;
    }
    programs(&mut out, &catalogue)?;
    for missing in catalogue.missing() {
        writeln!(out, "missing: {missing}")?;
    }
    Ok(())
}

fn interface(out: &mut impl std::io::Write, plan: &Plan, windowsize: u16) -> Result<()> {
    let interface = &plan.interface;
    writeln!(
        out,
        "{} ({}), address {}, MTU {}",
        interface.name, interface.mac, plan.subnet.address, interface.mtu
    )?;
    let xdp = match plan.modes.as_slice() {
        [] => false,
        _ => match Programs::load(interface.queues, 16, interface.mtu) {
            Ok(_) => true,
            Err(error) => {
                let then =
                    if plan.may_fall_back { "plain sockets would serve" } else { "pxed would not start" };
                writeln!(out, "  XDP is not possible: {error}; {then}")?;
                false
            }
        },
    };
    let datapath = if xdp { "xdp" } else { "socket" };
    writeln!(out, "  datapath: {datapath}; {}", plan.why)?;
    if xdp {
        writeln!(out, "  receive queues: {}, one worker each", interface.queues)?;
        writeln!(
            out,
            "  DHCP: broadcasts are copied and passed on, requests to our address are {}",
            DhcpPath::decide(interface).explain()
        )?;
    }
    let limits = Limits::for_mtu(plan.path_mtu(xdp), windowsize);
    writeln!(out, "  TFTP: blksize up to {}, windowsize up to {}", limits.blksize, limits.windowsize)?;
    Ok(())
}

fn programs(out: &mut impl std::io::Write, catalogue: &Catalogue) -> Result<()> {
    let programs = catalogue.programs();
    for arch in COMMON {
        match programs.get(arch) {
            Some(program) => writeln!(out, "{arch}: {}", program.file.as_str())?,
            None => writeln!(out, "{arch}: nothing")?,
        }
    }
    Ok(())
}
