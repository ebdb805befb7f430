//! Other DHCP servers beside pxed, and machines with real firmware that boot in such networks.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use pxe_kit::daemon::Daemon;
use pxe_kit::{Host, Lab, Process};
use pxe_lab::{BootOutcome, Firmware, MachineSpec};

/// The limit for a boot. Generous, because the machines are emulated and share two cores.
const LIMIT: Duration = Duration::from_secs(300);

/// The description of a machine at a port of the switch.
pub fn machine(name: &str, firmware: Firmware, port: usize) -> MachineSpec {
    MachineSpec { timeout: LIMIT, ..MachineSpec::new(name, firmware, port) }
}

/// Switches all machines on at once, and waits until each runs memtest86+ or has failed.
///
/// # Errors
/// If the lab fails.
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

/// Boots the machines, and checks that all run memtest86+.
///
/// # Errors
/// If one does not. The error contains its screen and the daemon's log.
pub fn all_run(lab: &Lab, daemon: &Daemon, machines: &[MachineSpec]) -> Result<()> {
    for (machine, outcome) in machines.iter().zip(boot(lab, machines)?) {
        let BootOutcome { reason, screen, .. } = &outcome;
        ensure!(outcome.booted, "{}: {reason}\n{screen}\n{}", machine.name, daemon.log());
        ensure!(screen.contains("Memtest86+"), "{}: {screen}", machine.name);
    }
    Ok(())
}

/// Starts a DHCP server on a host of the lab, which sends addresses and no boot options.
///
/// # Errors
/// If it does not start.
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
