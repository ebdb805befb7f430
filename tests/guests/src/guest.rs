//! A guest: QEMU with a kernel and an archive, and what comes out of its serial ports.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pxe_kit::arch::Arch;
use pxe_kit::{Process, clean_on_signals, command};

use super::kernel::Fetched;
use super::programs::Programs;
use pxe_memtest::Initramfs;

/// How long a guest may take. Generous: it is emulated, on a machine that does other things as well.
const LIMIT: Duration = Duration::from_secs(600);
/// Memory of a guest that has its programs and nothing else, in MiB.
const MEMORY: u32 = 1024;
/// Lines of the console that are told when something went wrong.
const LAST_LINES: usize = 60;

/// Two virtio cards on one wire: the daemon's, with what zero-copy needs, and the machine's.
const CARDS: &[&str] = &[
    "-netdev",
    "hubport,id=server,hubid=0",
    "-netdev",
    "hubport,id=machine,hubid=0",
    "-device",
    "virtio-net-pci,netdev=server,mac=52:54:00:99:01:01,romfile=,iommu_platform=on,disable-legacy=on",
    "-device",
    // Writes whole checksums, as every machine on a wire does: the kernel answers no others by itself.
    "virtio-net-pci,netdev=machine,mac=52:54:00:99:01:02,romfile=,csum=off",
];

/// What QEMU is for an architecture.
struct Machine {
    program: &'static str,
    machine: &'static [&'static str],
    /// The console's device; the first serial port.
    console: &'static str,
    /// The device that results go to; the second serial port. The kernel hands the name on to the first process.
    results: &'static str,
    /// What connects QEMU's `results` to that device.
    port: &'static [&'static str],
}

/// The host's libraries may be built for newer processors than QEMU's default one.
const X86: Machine = Machine {
    program: "qemu-system-x86_64",
    machine: &["-machine", "q35", "-cpu", "max"],
    console: "ttyS0",
    results: "ttyS1",
    port: &["-serial", "chardev:results"],
};
/// QEMU's virtual machine has one serial port of its own; the second is a card. `max` would do as well, but its pointer
/// authentication is slow to emulate.
const ARM: Machine = Machine {
    program: "qemu-system-aarch64",
    machine: &["-machine", "virt", "-cpu", "cortex-a72"],
    console: "ttyAMA0",
    results: "ttyS0",
    port: &["-device", "pci-serial,chardev=results"],
};

impl Machine {
    fn of(arch: Arch) -> &'static Self {
        match arch {
            Arch::Amd64 => &X86,
            Arch::Arm64 => &ARM,
        }
    }

    /// This host's processor can run its guests.
    fn is_native(&self) -> bool {
        self.program.ends_with(std::env::consts::ARCH)
    }
}

/// A guest that can be booted.
#[derive(Debug)]
pub struct Guest<'a> {
    /// Its kernel.
    pub kernel: &'a Fetched,
    /// What runs in it.
    pub programs: &'a Programs,
    /// Where its archive and the texts of its serial ports go.
    pub folder: &'a Path,
}

/// What a guest reported.
#[derive(Clone, Debug)]
pub struct Report {
    /// The cases in the order in which they ran, each with `ok` or what went wrong.
    pub cases: Vec<(String, String)>,
    /// Whether the guest came to its end by itself.
    pub done: bool,
    /// The last lines of its console, for a person.
    pub console: String,
}

impl Report {
    /// Whether a case ran and went well: it says `ok`, or `ok: ` and what it saw.
    #[must_use]
    pub fn is_ok(&self, case: &str) -> bool {
        self.cases.iter().any(|(name, said)| name == case && (said == "ok" || said.starts_with("ok: ")))
    }

    fn parse(results: &str, console: &str) -> Self {
        let case = |line: &str| line.split_once(": ").map(|(name, said)| (name.to_owned(), said.to_owned()));
        let lines: Vec<_> = console.lines().collect();
        Self {
            cases: results.lines().filter_map(case).collect(),
            done: results.lines().any(|line| line == "done"),
            console: lines[lines.len().saturating_sub(LAST_LINES)..].join("\n"),
        }
    }
}

impl Guest<'_> {
    /// Boots the guest, and waits until it has powered itself off.
    ///
    /// # Errors
    /// When it cannot be started or does not come to its end in time; with the last lines of its console.
    pub fn run(&self) -> Result<Report> {
        fs::create_dir_all(self.folder).with_context(|| format!("cannot make {}", self.folder.display()))?;
        let archive = self.folder.join("initramfs.cpio");
        fs::write(&archive, self.archive()?)
            .with_context(|| format!("cannot write {}", archive.display()))?;
        let boot = Boot {
            kernel: self.kernel,
            archive: &archive,
            options: "",
            memory: MEMORY,
            cards: CARDS,
            limit: LIMIT,
            folder: self.folder,
        };
        let report = boot.run();
        fs::remove_file(&archive)?;
        report
    }

    fn archive(&self) -> Result<Vec<u8>> {
        let mut archive = Initramfs::default();
        archive.console();
        for folder in ["proc", "sys", "tmp", "run"] {
            archive.folder(folder);
        }
        // The daemon becomes somebody else than root.
        archive.file("etc/passwd", b"root:x:0:0::/:/\nnobody:x:65534:65534::/:/\n");
        self.programs.add_to(&mut archive)?;
        add_modules(&mut archive, self.kernel)?;
        Ok(archive.finish())
    }
}

/// Puts the kernel's modules into `/modules`, with names in the order in which they are to be loaded.
pub(super) fn add_modules(archive: &mut Initramfs, kernel: &Fetched) -> Result<()> {
    for module in &kernel.modules {
        let name = module.file_name().and_then(|name| name.to_str()).context("a module's name")?;
        archive.copy(module, &format!("modules/{name}"))?;
    }
    Ok(())
}

/// What QEMU starts.
pub(super) struct Boot<'a> {
    pub(super) kernel: &'a Fetched,
    /// What the kernel starts from.
    pub(super) archive: &'a Path,
    /// More words for the kernel.
    pub(super) options: &'a str,
    /// In MiB.
    pub(super) memory: u32,
    pub(super) cards: &'a [&'a str],
    pub(super) limit: Duration,
    /// Where the texts of the serial ports go: the console's, and the results'.
    pub(super) folder: &'a Path,
}

impl Boot<'_> {
    /// Waits until the guest has powered itself off.
    pub(super) fn run(&self) -> Result<Report> {
        clean_on_signals();
        let [console, results] = ["console.log", "results.log"].map(|name| self.folder.join(name));
        let qemu = Process::start("qemu", self.command(&console, &results)?, self.folder)?;
        let ended = qemu.wait(self.limit);
        drop(qemu);
        let text = |path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).replace('\r', "");
        let report = Report::parse(&text(&results), &text(&console));
        match ended {
            Ok(status) if status.success() => Ok(report),
            Ok(status) => bail!("QEMU ended with {status}:\n{}", report.console),
            Err(error) => Err(error.context(format!("the guest's console ends with:\n{}", report.console))),
        }
    }

    fn command(&self, console: &Path, results: &Path) -> Result<Command> {
        let machine = Machine::of(self.kernel.arch);
        let qemu = command::find(machine.program)
            .with_context(|| format!("there is no `{}` here: run `cargo xtask setup`", machine.program))?;
        // As in the lab: KVM only when a person says that it works.
        let accelerator = std::env::var("PXED_LAB_ACCEL").ok().filter(|_| machine.is_native());
        let (console_device, results_device) = (machine.console, machine.results);
        let options = format!(
            "console={console_device} loglevel=5 panic=-1 pxed.results={results_device} {}",
            self.options
        );
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(qemu);
        command
            .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
            .args(["-accel", accelerator.as_deref().unwrap_or("tcg")])
            .args(machine.machine)
            .args(["-smp", "1", "-m", &self.memory.to_string()])
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(self.archive)
            .args(["-append", &options])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .arg("-chardev")
            .arg(format!("file,id=results,path={}", results.display()))
            .args(machine.port)
            .args(self.cards);
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_case_that_says_ok_is_ok() {
        let report = Report::parse(
            "load: ok\nvirtio-auto: ok: socket\nveth-native: FAILED: no OFFER: none came\ndone\n",
            "a\nb\n",
        );
        assert!(report.done && report.is_ok("load") && report.is_ok("virtio-auto"));
        assert!(!report.is_ok("veth-native") && !report.is_ok("veth-socket"));
        assert_eq!(report.cases[2].1, "FAILED: no OFFER: none came");
        assert!(!Report::parse("load: ok\n", "").done);
    }
}
