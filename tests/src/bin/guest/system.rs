//! What a first process has to do itself: file systems, modules, interfaces, the power switch.

use std::fs;
use std::io::{self, Write as _};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, init_module, reboot};

/// Mounts, loads modules, and starts the loopback interface.
pub(crate) fn set_up() -> Result<()> {
    for (what, place) in
        [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run"), ("tmpfs", "/tmp")]
    {
        mount(what, place, what, MountFlags::empty(), None).with_context(|| format!("mounting {place}"))?;
    }
    load_modules()?;
    ip("link set lo up")
}

/// All modules in the order of their names, which begin with numbers.
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

/// Runs `ip` with these words.
pub(crate) fn ip(words: &str) -> Result<()> {
    ip_says(words).map(drop)
}

/// What `ip` with these words prints.
pub(crate) fn ip_says(words: &str) -> Result<String> {
    let out = Command::new("/bin/ip").args(words.split(' ')).output().context("/bin/ip")?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "ip {words}: {}", said.trim());
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Writes a line to the console.
pub(crate) fn say(line: &str) {
    // Nobody is left to tell when this fails.
    drop(writeln!(io::stdout(), "{}", line.trim_end()));
}

/// Switches the guest off.
pub(crate) fn power_off() -> ! {
    if let Err(error) = reboot(RebootCommand::PowerOff) {
        say(&format!("guest: cannot power off: {error}"));
    }
    // A first process that ends makes the kernel panic; with `panic=-1` and `-no-reboot` that ends QEMU, too.
    std::process::exit(1)
}
