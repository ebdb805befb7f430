//! The parts of a machine, and QEMU's command line for them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use pxe_kit::{Lab, firmware};

use super::verdict::Expect;

/// The firmware of a machine, with its way to boot from the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS. The ROM of the network card (iPXE) boots.
    Bios,
    /// OVMF for x64, with PXE over IPv4.
    Uefi,
    /// OVMF for IA32, with PXE over IPv4.
    Uefi32,
    /// OVMF for x64, with HTTP boot over IPv4.
    UefiHttp,
}

impl Firmware {
    /// The name in output.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Bios => "BIOS (SeaBIOS, iPXE ROM)",
            Self::Uefi => "UEFI x64 (OVMF)",
            Self::Uefi32 => "UEFI IA32 (OVMF)",
            Self::UefiHttp => "UEFI x64 (OVMF), HTTP",
        }
    }

    fn is_bios(self) -> bool {
        self == Self::Bios
    }
}

/// A machine's network card. QEMU loads a ROM with iPXE's driver for each card. UEFI has its own driver for virtio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Card {
    /// The paravirtual card of QEMU.
    Virtio,
    /// Intel's old 1 Gb/s card (82540EM).
    E1000,
    /// Intel's later 1 Gb/s card (82574L).
    E1000e,
    /// Realtek's 100 Mb/s card.
    Rtl8139,
    /// VMware's paravirtual card.
    Vmxnet3,
    /// AMD's 10 Mb/s card (Am79C970A).
    Pcnet,
}

impl Card {
    /// The name of the device in QEMU.
    #[must_use]
    pub fn model(self) -> &'static str {
        match self {
            Self::Virtio => "virtio-net-pci",
            Self::E1000 => "e1000",
            Self::E1000e => "e1000e",
            Self::Rtl8139 => "rtl8139",
            Self::Vmxnet3 => "vmxnet3",
            Self::Pcnet => "pcnet",
        }
    }
}

/// The description of a machine to boot.
#[derive(Clone, Debug)]
pub struct MachineSpec {
    /// The name in messages and in the names of files.
    pub name: String,
    /// The machine's firmware.
    pub firmware: Firmware,
    /// The machine's network card.
    pub card: Card,
    /// Whether the firmware starts only programs that Microsoft has signed (UEFI x64).
    pub secure_boot: bool,
    /// The number of processors.
    pub processors: u32,
    /// The memory in MiB.
    pub memory: u32,
    /// The file for the memory, so that [`SharedMemory`](super::SharedMemory) can access it. QEMU makes it, or uses an
    /// existing file. Without it, the memory is private.
    pub memory_file: Option<PathBuf>,
    /// The local disk, a raw image. The machine boots it if the network boot selects the local disk.
    pub disk: Option<PathBuf>,
    /// The port of the lab's switch, from 0. Each port takes one machine at a time.
    pub port: usize,
    /// What the machine must show.
    pub expect: Expect,
    /// The limit for the boot.
    pub timeout: Duration,
    /// The time that the machine runs after that, so that the last picture shows it at work.
    pub linger: Duration,
    /// The folder for pictures: one for each change of the screen, at most one every three seconds. Without it, there
    /// is only the text in the [`BootOutcome`](super::BootOutcome).
    pub pictures: Option<PathBuf>,
}

impl MachineSpec {
    /// A machine with a virtio card that must boot memtest86+ within three minutes.
    #[must_use]
    pub fn new(name: &str, firmware: Firmware, port: usize) -> Self {
        Self {
            name: name.to_owned(),
            firmware,
            card: Card::Virtio,
            secure_boot: false,
            processors: 1,
            memory: if firmware.is_bios() { 128 } else { 256 },
            memory_file: None,
            disk: None,
            port,
            expect: Expect::Memtest,
            timeout: Duration::from_secs(180),
            linger: Duration::ZERO,
            pictures: None,
        }
    }

    /// The Ethernet address, which depends on the port only.
    #[must_use]
    pub fn mac(&self) -> String {
        format!("52:54:00:99:00:{:02x}", self.port + 16)
    }

    /// The UUID, which depends on the port only.
    #[must_use]
    pub fn uuid(&self) -> String {
        format!("c0ffee00-0099-4000-8000-{:012x}", self.port + 16)
    }

    /// QEMU's command line. The machine is stopped before the first instruction, and the monitor is on standard input and
    /// output.
    pub(super) fn command(&self, lab: &Lab, serial: &Path) -> Result<Command> {
        let program = pxe_kit::command::find("qemu-system-x86_64")
            .context("QEMU is not installed: run `cargo xtask setup`")?;
        let mut qemu = lab.switch_command(program.to_str().context("QEMU's path is not UTF-8")?);
        qemu.args(["-name", &self.name, "-uuid", &self.uuid(), "-nodefaults", "-no-user-config", "-S"])
            .args(["-smp", &self.processors.to_string(), "-vga", "std", "-display", "none"])
            .args(["-m", &self.memory.to_string()])
            // KVM only on request: under nested virtualisation, it is often present and does not work.
            .args(["-accel", &std::env::var("PXED_LAB_ACCEL").unwrap_or_else(|_| "tcg".to_owned())])
            .args(["-chardev", "stdio,id=monitor,signal=off", "-mon", "chardev=monitor,mode=control"])
            .arg("-serial")
            .arg(format!("file:{}", serial.display()))
            .args(["-boot", "strict=on,reboot-timeout=-1"])
            .arg("-netdev")
            .arg(format!("tap,id=net,ifname=m{},script=no,downscript=no", self.port))
            .args(["-device", &self.card_device()]);
        self.add_memory(&mut qemu);
        if let Some(disk) = &self.disk {
            qemu.arg("-drive").arg(format!("if=none,id=disk,format=raw,file={}", disk.display()));
            qemu.args(["-device", "virtio-blk-pci,drive=disk,bootindex=2"]);
        }
        if !self.firmware.is_bios() {
            self.add_ovmf(&mut qemu, lab)?;
        }
        Ok(qemu)
    }

    fn board(&self) -> &'static str {
        match self.firmware {
            Firmware::Bios => "pc",
            _ if self.has_management_mode() => "q35,smm=on",
            _ => "q35",
        }
    }

    /// Whether system management mode protects the firmware's variables. Secure Boot is not effective without that.
    fn has_management_mode(&self) -> bool {
        self.secure_boot || self.firmware == Firmware::Uefi32
    }

    /// Adds the board, with private memory or memory in a file.
    fn add_memory(&self, qemu: &mut Command) {
        let board = self.board();
        let Some(file) = &self.memory_file else {
            qemu.args(["-machine", board]);
            return;
        };
        qemu.args(["-machine", &format!("{board},memory-backend=memory")]).arg("-object").arg(format!(
            "memory-backend-file,id=memory,size={}M,mem-path={},share=on",
            self.memory,
            file.display()
        ));
    }

    fn card_device(&self) -> String {
        let model = self.card.model();
        // OVMF has its own driver for virtio, so no ROM is loaded.
        let rom = if self.card == Card::Virtio && !self.firmware.is_bios() { ",romfile=" } else { "" };
        format!("{model},netdev=net,mac={},bootindex=1{rom}", self.mac())
    }

    fn add_ovmf(&self, qemu: &mut Command, lab: &Lab) -> Result<()> {
        let candidates = match self.firmware {
            Firmware::Uefi32 => firmware::OVMF_IA32,
            _ if self.secure_boot => firmware::OVMF_SECURE,
            _ => firmware::OVMF_X64,
        };
        let [code, template] = firmware::first_pair(candidates).with_context(|| {
            format!("{} is not installed: run `cargo xtask setup`", self.firmware.title())
        })?;
        let variables = lab.folder().join(format!("{}.vars", self.name));
        fs::copy(template, &variables)?;
        if self.has_management_mode() {
            qemu.args(["-global", "driver=cfi.pflash01,property=secure,value=on"]);
        }
        let pxe = if self.firmware == Firmware::UefiHttp { "n" } else { "y" };
        qemu.arg("-drive")
            .arg(format!("if=pflash,format=raw,unit=0,readonly=on,file={}", code.display()))
            .arg("-drive")
            .arg(format!("if=pflash,format=raw,unit=1,file={}", variables.display()))
            .args(["-device", "virtio-rng-pci"])
            .arg("-fw_cfg")
            .arg(format!("name=opt/org.tianocore/IPv4PXESupport,string={pxe}"))
            .args(["-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n"]);
        Ok(())
    }
}
