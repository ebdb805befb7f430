//! Boots a guest: QEMU with a kernel and an initramfs. Reads its report from the second serial port.

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

/// The limit for a guest. Generous, because the guest is emulated on a host that may be busy.
const LIMIT: Duration = Duration::from_secs(600);
/// Memory of a guest with only the programs of [`Programs`], in MiB.
const MEMORY: u32 = 1024;
/// The number of the console's last lines in an error.
const LAST_LINES: usize = 60;

/// Two connected virtio cards: the daemon's, with the features that zero-copy needs, and the machine's.
const CARDS: &[&str] = &[
    "-netdev",
    "hubport,id=server,hubid=0",
    "-netdev",
    "hubport,id=machine,hubid=0",
    "-device",
    "virtio-net-pci,netdev=server,mac=52:54:00:99:01:01,romfile=,iommu_platform=on,disable-legacy=on",
    "-device",
    // With complete checksums, as from any machine on a cable: the offload does not answer frames with partial ones.
    "virtio-net-pci,netdev=machine,mac=52:54:00:99:01:02,romfile=,csum=off",
];

/// QEMU's program and options for an architecture.
struct Machine {
    program: &'static str,
    machine: &'static [&'static str],
    /// The device of the console, the first serial port.
    console: &'static str,
    /// The device for results, the second serial port. The kernel passes its name to the first process.
    results: &'static str,
    /// The options that connect QEMU's `results` to that device.
    port: &'static [&'static str],
}

/// `-cpu max`, because the host's libraries may need a newer processor than QEMU's default.
const X86: Machine = Machine {
    program: "qemu-system-x86_64",
    machine: &["-machine", "q35", "-cpu", "max"],
    console: "ttyS0",
    results: "ttyS1",
    port: &["-serial", "chardev:results"],
};
/// The machine `virt` has only one serial port, so the second one is a card. Not `-cpu max`, because its pointer
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

    /// Whether this host's processor can run the guest without emulation.
    fn is_native(&self) -> bool {
        self.program.ends_with(std::env::consts::ARCH)
    }
}

/// The parts of a guest.
#[derive(Debug)]
pub struct Guest<'a> {
    /// The kernel to boot.
    pub kernel: &'a Fetched,
    /// The programs that run in the guest.
    pub programs: &'a Programs,
    /// The folder for the initramfs and the output of the serial ports.
    pub folder: &'a Path,
}

/// The report of a guest.
#[derive(Clone, Debug)]
pub struct Report {
    /// The cases in the order in which they ran, each with `ok` or an error.
    pub cases: Vec<(String, String)>,
    /// Whether the guest completed all cases.
    pub done: bool,
    /// The last lines of the console, for error messages.
    pub console: String,
}

impl Report {
    /// Whether a case ran and passed: its line is `ok`, or `ok: ` with a remark.
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
    /// Boots the guest, and waits until it powers itself off.
    ///
    /// # Errors
    /// If QEMU does not start, or the guest does not end in time. The error contains the end of the console.
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
        // The daemon changes to the user nobody.
        archive.file("etc/passwd", b"root:x:0:0::/:/\nnobody:x:65534:65534::/:/\n");
        self.programs.add_to(&mut archive)?;
        add_modules(&mut archive, self.kernel)?;
        Ok(archive.finish())
    }
}

/// Puts the kernel's modules into `/modules`, with names that sort in the order of loading.
pub(super) fn add_modules(archive: &mut Initramfs, kernel: &Fetched) -> Result<()> {
    for module in &kernel.modules {
        let name = module.file_name().and_then(|name| name.to_str()).context("a module's name")?;
        archive.copy(module, &format!("modules/{name}"))?;
    }
    Ok(())
}

/// A system that QEMU boots.
pub(super) struct Boot<'a> {
    pub(super) kernel: &'a Fetched,
    /// The initramfs.
    pub(super) archive: &'a Path,
    /// More kernel arguments.
    pub(super) options: &'a str,
    /// The guest's memory in MiB.
    pub(super) memory: u32,
    pub(super) cards: &'a [&'a str],
    pub(super) limit: Duration,
    /// The folder for `console.log` and `results.log`.
    pub(super) folder: &'a Path,
}

impl Boot<'_> {
    /// Boots the system, and waits until it powers itself off.
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
            .with_context(|| format!("`{}` is not installed: run `cargo xtask setup`", machine.program))?;
        // As in the lab, use KVM only on request: it may be present and not work.
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
