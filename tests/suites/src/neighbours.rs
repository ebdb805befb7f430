//! Others on the network, and machines with real firmware that have to get along with them and us.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use pxe_kit::daemon::Daemon;
use pxe_kit::{Host, Lab, Process};
use pxe_lab::{BootOutcome, Firmware, MachineSpec};

/// Generous: these machines are emulated, and share two cores with others.
const LIMIT: Duration = Duration::from_secs(300);

/// A machine at a port of the switch.
pub fn machine(name: &str, firmware: Firmware, port: usize) -> MachineSpec {
    MachineSpec { timeout: LIMIT, ..MachineSpec::new(name, firmware, port) }
}

/// Switches all machines on at once and waits until each runs memtest86+ or will not any more.
///
/// # Errors
/// When the lab is at fault.
pub fn boot(lab: &Lab, machines: &[MachineSpec]) -> Result<Vec<BootOutcome>> {
    thread::scope(|scope| {
        let start = |machine| scope.spawn(move || pxe_lab::boot(lab, machine, |_| {}));
        let threads: Vec<_> = machines.iter().map(start).collect();
        let end = |thread: thread::ScopedJoinHandle<'_, Result<BootOutcome>>| {
            thread.join().unwrap_or_else(|_| anyhow::bail!("a machine's thread panicked"))
        };
        threads.into_iter().map(end).collect()
    })
}

/// All must run memtest86+.
///
/// # Errors
/// When one does not; with its screen and the daemon's log.
pub fn all_run(lab: &Lab, daemon: &Daemon, machines: &[MachineSpec]) -> Result<()> {
    for (machine, outcome) in machines.iter().zip(boot(lab, machines)?) {
        let BootOutcome { reason, screen, .. } = &outcome;
        ensure!(outcome.booted, "{}: {reason}\n{screen}\n{}", machine.name, daemon.log());
        ensure!(screen.contains("Memtest86+"), "{}: {screen}", machine.name);
    }
    Ok(())
}

/// A DHCP server on a host of the lab that gives addresses to all, and has nothing to boot.
///
/// # Errors
/// When it does not start.
pub fn dhcp_server(lab: &Lab, host: &Host) -> Result<Process> {
    let mut command = host.command("dnsmasq");
    command.args(["--conf-file=/dev/null", "--no-daemon", "--port=0", "--no-ping", "--no-resolv"]);
    command.args(["--no-hosts", "--except-interface=lo", "--dhcp-authoritative"]);
    command.args(["--dhcp-range=10.99.0.100,10.99.0.199,255.255.255.0,1h"]);
    command.arg(format!("--interface={}", host.interface()));
    command.arg(format!("--dhcp-leasefile={}", lab.folder().join("own-leases").display()));
    let server = lab.spawn("own-dhcp", command)?;
    server.wait_for("DHCP, IP range", Duration::from_secs(20))?;
    Ok(server)
}
