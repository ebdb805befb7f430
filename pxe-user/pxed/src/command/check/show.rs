//! Writes the report as text: what pxed would serve where.

use std::io::{self, Write};

use super::report::{InterfacePlan, Report};

pub(super) fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    for image in &report.images {
        let all: Vec<_> = image.programs.iter().map(|(arch, file)| format!("{arch} {file}")).collect();
        let all = if all.is_empty() { "nothing".to_owned() } else { all.join(", ") };
        writeln!(out, "image {}: {all}", image.name)?;
    }
    for (arch, file) in &report.programs {
        writeln!(out, "{arch}: {}", file.as_deref().unwrap_or("nothing"))?;
    }
    for missing in &report.missing {
        writeln!(out, "missing: {missing}")?;
    }
    for interface in &report.interfaces {
        self::interface(out, interface)?;
    }
    for (name, value) in report.settings.iter().flat_map(super::report::SettingsReport::lines) {
        writeln!(out, "{name}: {value}")?;
    }
    if let Some(ledger) = &report.ledger {
        writeln!(out, "shared ledger found: {ledger}")?;
    }
    Ok(())
}

fn interface(out: &mut impl Write, plan: &InterfacePlan) -> io::Result<()> {
    writeln!(out, "{} ({}), address {}, MTU {}", plan.name, plan.mac, plan.address, plan.mtu)?;
    if plan.is_served_now {
        writeln!(out, "  a pxed serves this interface now, so its ports were not tried")?;
    }
    if !plan.other_addresses.is_empty() {
        let others: Vec<_> = plan.other_addresses.iter().map(ToString::to_string).collect();
        writeln!(
            out,
            "  {} only is served: machines load from there, and requests to {} are left to this host. Choose another one with \
             `address` or --address",
            plan.address,
            others.join(", ")
        )?;
    }
    let Some(datapath) = plan.datapath else {
        return writeln!(out, "  datapath: only root can see it, so run this with sudo");
    };
    if let Some(error) = &plan.no_xdp {
        writeln!(out, "  XDP is not possible: {error}")?;
    }
    writeln!(out, "  datapath: {datapath}; {}", plan.why)?;
    if let Some(dhcp) = plan.dhcp {
        writeln!(out, "  receive queues: {}, one worker each", plan.queues)?;
        writeln!(out, "  DHCP: broadcasts are copied and passed on, requests to our address are {dhcp}")?;
    }
    writeln!(out, "  TFTP: blksize up to {}, windowsize up to {}", plan.blksize_max, plan.windowsize_max)
}
