//! The duties of a first process: mounting, loading modules, the loopback interface, power off.

use std::fs;
use std::io;

use anyhow::{Context as _, Result};
use pxe_tests::guest::{ip, say};
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, init_module, reboot};

/// Mounts file systems, loads modules, and starts the loopback interface.
pub(crate) fn set_up() -> Result<()> {
    for (what, place) in
        [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run"), ("tmpfs", "/tmp")]
    {
        mount(what, place, what, MountFlags::empty(), None).with_context(|| format!("mounting {place}"))?;
    }
    load_modules()?;
    ip("link set lo up")
}

/// Loads all modules in the order of their names, which start with numbers.
fn load_modules() -> Result<()> {
    let entries = fs::read_dir("/modules").context("no modules in the archive")?;
    let mut modules = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    modules.sort_unstable();
    for module in modules {
        let image = fs::read(&module)?;
        init_module(&image, c"").with_context(|| format!("loading {}", module.display()))?;
    }
    Ok(())
}

/// Switches the guest off.
pub(crate) fn power_off() -> ! {
    if let Err(error) = reboot(RebootCommand::PowerOff) {
        say(&format!("guest: cannot power off: {error}"));
    }
    // The end of the first process makes the kernel panic. With `panic=-1` and `-no-reboot`, QEMU then ends.
    std::process::exit(1)
}
