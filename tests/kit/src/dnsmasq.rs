//! dnsmasq in two roles: the network's ordinary DHCP server, and the responder that pxed replaces and is compared with.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::firmware;
use crate::network::{Host, Lab};
use crate::process::Process;

const STARTED: &str = "started, version";
const TIMEOUT: Duration = Duration::from_secs(10);

/// Starts the network's DHCP server, which sends addresses and no boot options.
pub(crate) fn addresses(lab: &Lab, router: bool) -> Result<Process> {
    let mut options = vec![
        "--dhcp-authoritative".to_owned(),
        // Without this, dnsmasq pings each address for 3 s before it offers it.
        "--no-ping".to_owned(),
        "--dhcp-range=10.99.0.100,10.99.0.199,255.255.255.0,1h".to_owned(),
        format!("--dhcp-leasefile={}", lab.folder().join("leases").display()),
    ];
    if router {
        options.extend(["--enable-ra".to_owned(), "--dhcp-range=fd99::,ra-only".to_owned()]);
    }
    start(lab, lab.dhcp(), "dhcp", &options)
}

fn start(lab: &Lab, host: &Host, name: &str, options: &[String]) -> Result<Process> {
    let mut command = host.command("dnsmasq");
    command
        // In the foreground and without a change of user: the kernel clears the parent-death signal of a process
        // that changes its user or capabilities.
        .args(["--no-daemon", "--conf-file=/dev/null", "--port=0", "--no-resolv"])
        .args(["--no-hosts", "--bind-interfaces", "--except-interface=lo", "--log-dhcp", "--log-facility=-"])
        .arg(format!("--interface={}", host.interface()))
        .args(options);
    let server = lab.spawn(name, command)?;
    server.wait_for(STARTED, TIMEOUT).with_context(|| format!("dnsmasq ({name}) does not serve"))?;
    Ok(server)
}

/// dnsmasq as proxyDHCP and TFTP server, set up by the usual recipe. Tests compare pxed with it.
#[derive(Debug)]
pub struct Reference {
    process: Process,
    root: PathBuf,
}

impl Reference {
    /// Serves memtest86+ to BIOS and x64 UEFI machines from the lab's responder host.
    ///
    /// # Errors
    /// If dnsmasq or a boot file is missing.
    pub fn start(lab: &Lab) -> Result<Self> {
        Self::start_on(lab, lab.responder())
    }

    /// Like [`start`](Self::start), on another host.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_on(lab: &Lab, host: &Host) -> Result<Self> {
        let root = lab.folder().join("tftp");
        make_root(&root)?;
        let options = [
            "--leasefile-ro".to_owned(),
            "--dhcp-range=10.99.0.0,proxy".to_owned(),
            "--dhcp-boot=pxelinux.0".to_owned(),
            "--pxe-service=x86PC,Network Boot,pxelinux".to_owned(),
            "--pxe-service=X86-64_EFI,Network Boot,memtest.efi".to_owned(),
            "--pxe-service=IA32_EFI,Network Boot,memtest32.efi".to_owned(),
            "--enable-tftp".to_owned(),
            format!("--tftp-root={}", root.display()),
        ];
        let process = start(lab, host, "dnsmasq", &options)?;
        Ok(Self { process, root })
    }

    /// The running dnsmasq.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The boot tree that dnsmasq serves.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Makes the recipe's boot tree: copies of the distribution's files, and a configuration for PXELINUX.
fn make_root(root: &Path) -> Result<()> {
    fs::create_dir_all(root.join("pxelinux.cfg"))?;
    let files = [
        ("PXELINUX", firmware::PXELINUX, "pxelinux.0"),
        ("PXELINUX's library", firmware::LDLINUX, "ldlinux.c32"),
        // Without `.bin`, because PXELINUX starts a file with that ending as a boot sector.
        ("memtest86+ for BIOS", firmware::MEMTEST_BIOS, "memtest"),
        ("memtest86+ for UEFI", firmware::MEMTEST_X64, "memtest.efi"),
    ];
    for (what, candidates, name) in files {
        fs::copy(firmware::require(what, candidates)?, root.join(name))?;
    }
    if let Some(file) = firmware::first(firmware::MEMTEST_IA32) {
        fs::copy(file, root.join("memtest32.efi"))?;
    }
    fs::write(root.join("pxelinux.cfg/default"), "default memtest\nlabel memtest\n  kernel /memtest\n")?;
    Ok(())
}
