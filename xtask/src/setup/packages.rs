//! What must be there, how to see that it is, and what each distribution calls it.

use std::fs;

use crate::command;
use crate::lab::firmware;

/// What something is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// To build the daemon and its kernel side.
    Build,
    /// To have something to boot.
    BootFiles,
    /// The built-in lab: machines, switch, DHCP server.
    Lab,
    /// The clients and tools of the tests.
    Tests,
    /// To fetch Debian's kernels and to boot them.
    Kernels,
    /// What the memory test that machines boot is made of.
    Image,
    /// What looks at a fleet's board.
    Fleet,
    /// What the benchmark measures with.
    Bench,
    /// What a package is built with.
    Package,
}

impl Group {
    /// A few words for messages.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::BootFiles => "boot files",
            Self::Lab => "lab",
            Self::Tests => "tests",
            Self::Kernels => "other kernels",
            Self::Image => "memory test",
            Self::Fleet => "fleet",
            Self::Bench => "benchmark",
            Self::Package => "package",
        }
    }
}

/// How to see that something is there.
#[derive(Clone, Copy, Debug)]
enum Probe {
    /// One of these programs.
    Program(&'static [&'static str]),
    /// One of these files.
    File(&'static [&'static str]),
    /// One of these pairs of files.
    Pair(&'static [[&'static str; 2]]),
    /// A busybox that runs in a guest which has no libraries.
    StaticBusybox,
}

/// One thing that must be there.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Its name in messages.
    pub what: &'static str,
    /// What it is needed for.
    pub group: Group,
    probe: Probe,
    /// Packages by [`Manager`], in its order; empty where there is none or its name is not known.
    packages: [&'static str; 4],
}

impl Need {
    /// Whether it is installed.
    #[must_use]
    pub fn is_there(&self) -> bool {
        match self.probe {
            Probe::Program(any) => any.iter().any(|p| command::find(p).is_some()),
            Probe::File(any) => firmware::first(any).is_some(),
            Probe::Pair(any) => firmware::first_pair(any).is_some(),
            Probe::StaticBusybox => command::find("busybox").is_some_and(|file| is_static(&file)),
        }
    }

    /// The packages that bring it.
    pub fn packages(&self, manager: Manager) -> impl Iterator<Item = &'static str> + use<> {
        self.packages[manager as usize].split_whitespace()
    }
}

/// A program that asks for no dynamic loader: no `ld-linux` or `ld-musl` is named in it.
fn is_static(file: &std::path::Path) -> bool {
    fs::read(file).is_ok_and(|bytes| {
        let head = &bytes[..bytes.len().min(4096)];
        bytes.starts_with(b"\x7fELF") && !head.windows(4).any(|w| w == b"/ld-")
    })
}

/// A distribution's package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// Debian, Ubuntu and their like: the one that is tried.
    Apt,
    /// Fedora and its like: untried.
    Dnf,
    /// Arch and its like: untried.
    Pacman,
    /// openSUSE: untried.
    Zypper,
}

impl Manager {
    /// The first that is on this machine.
    #[must_use]
    pub fn find() -> Option<Self> {
        [Self::Apt, Self::Dnf, Self::Pacman, Self::Zypper]
            .into_iter()
            .find(|manager| command::find(manager.program()).is_some())
    }

    /// The program's name.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Dnf => "dnf",
            Self::Pacman => "pacman",
            Self::Zypper => "zypper",
        }
    }

    /// The words that install packages without a question.
    #[must_use]
    pub fn install_words(self) -> &'static [&'static str] {
        match self {
            Self::Apt => &["install", "--quiet", "--yes", "--no-install-recommends"],
            Self::Dnf => &["install", "-y"],
            Self::Pacman => &["-S", "--needed", "--noconfirm"],
            Self::Zypper => &["--non-interactive", "install", "--no-recommends"],
        }
    }
}

/// Everything, in the order in which it is told.
pub const NEEDS: &[Need] = &[
    need("C++ compiler", Group::Build, Probe::Program(&["c++", "g++"]), ["g++", "gcc-c++", "gcc", "gcc-c++"]),
    need("C compiler", Group::Build, Probe::Program(&["cc", "gcc"]), ["gcc libc6-dev", "gcc", "gcc", "gcc"]),
    need(
        "PXELINUX",
        Group::BootFiles,
        Probe::File(firmware::PXELINUX),
        ["pxelinux", "syslinux-nonlinux", "syslinux", "syslinux"],
    ),
    need(
        "PXELINUX's library",
        Group::BootFiles,
        Probe::File(firmware::LDLINUX),
        ["syslinux-common", "syslinux-nonlinux", "syslinux", "syslinux"],
    ),
    need(
        "memtest86+ for BIOS",
        Group::BootFiles,
        Probe::File(firmware::MEMTEST_BIOS),
        ["memtest86+", "memtest86+", "memtest86+", "memtest86+"],
    ),
    need(
        "memtest86+ for UEFI",
        Group::BootFiles,
        Probe::File(firmware::MEMTEST_X64),
        ["memtest86+", "memtest86+", "memtest86+-efi", "memtest86+"],
    ),
    need(
        "QEMU",
        Group::Lab,
        Probe::Program(&["qemu-system-x86_64"]),
        ["qemu-system-x86", "qemu-system-x86-core", "qemu-system-x86", "qemu-x86"],
    ),
    need(
        "SeaBIOS",
        Group::Lab,
        Probe::File(firmware::SEABIOS),
        ["seabios", "seabios-bin", "seabios", "qemu-seabios"],
    ),
    need(
        "iPXE network ROMs",
        Group::Lab,
        Probe::File(firmware::IPXE_ROM),
        ["ipxe-qemu", "ipxe-roms-qemu", "qemu-system-x86-firmware", "qemu-ipxe"],
    ),
    need(
        "OVMF x64",
        Group::Lab,
        Probe::Pair(firmware::OVMF_X64),
        ["ovmf", "edk2-ovmf", "edk2-ovmf", "qemu-ovmf-x86_64"],
    ),
    need(
        "dnsmasq",
        Group::Lab,
        Probe::Program(&["dnsmasq"]),
        ["dnsmasq-base", "dnsmasq", "dnsmasq", "dnsmasq"],
    ),
    need("ip", Group::Lab, Probe::Program(&["ip"]), ["iproute2", "iproute", "iproute2", "iproute2"]),
    need(
        "setpriv",
        Group::Lab,
        Probe::Program(&["setpriv"]),
        ["util-linux", "util-linux", "util-linux", "util-linux"],
    ),
    need("ethtool", Group::Lab, Probe::Program(&["ethtool"]), ["ethtool", "ethtool", "ethtool", "ethtool"]),
    need(
        "OVMF IA32",
        Group::Tests,
        Probe::Pair(firmware::OVMF_IA32),
        ["ovmf-ia32", "edk2-ovmf-ia32", "edk2-ovmf", ""],
    ),
    need("tftp", Group::Tests, Probe::Program(&["tftp"]), ["tftp-hpa", "tftp", "tftp-hpa", "tftp"]),
    need("atftp", Group::Tests, Probe::Program(&["atftp"]), ["atftp", "", "atftp", "atftp"]),
    need(
        "Chromium",
        Group::Fleet,
        Probe::Program(crate::fleet::BROWSERS),
        ["chromium", "chromium", "chromium", "chromium"],
    ),
    need(
        "chromedriver",
        Group::Fleet,
        Probe::Program(crate::fleet::DRIVERS),
        ["chromium-driver", "chromedriver", "chromium", "chromedriver"],
    ),
    need("curl", Group::Fleet, Probe::Program(&["curl"]), ["curl", "curl", "curl", "curl"]),
    need(
        "a static busybox",
        Group::Image,
        Probe::StaticBusybox,
        ["busybox-static", "busybox", "busybox", "busybox-static"],
    ),
    need(
        "stressapptest",
        Group::Image,
        Probe::Program(&["stressapptest"]),
        ["stressapptest", "stressapptest", "", "stressapptest"],
    ),
    need(
        "iPXE for machines",
        Group::Image,
        Probe::File(firmware::IPXE_LOADERS),
        ["ipxe", "ipxe-bootimgs-x86", "ipxe", "ipxe-bootimgs"],
    ),
    need("zstd", Group::Image, Probe::Program(&["zstd"]), ["zstd", "zstd", "zstd", "zstd"]),
    need("mmdebstrap", Group::Kernels, Probe::Program(&["mmdebstrap"]), ["mmdebstrap", "mmdebstrap", "", ""]),
    need("cpio", Group::Kernels, Probe::Program(&["cpio"]), ["cpio"; 4]),
    need("podman", Group::Tests, Probe::Program(&["podman"]), ["podman"; 4]),
    // Podman's usual one, crun, refuses hosts with both versions of cgroups.
    need("runc", Group::Tests, Probe::Program(&["runc"]), ["runc"; 4]),
    need("systemd-analyze", Group::Tests, Probe::Program(&["systemd-analyze"]), ["systemd"; 4]),
    need("valgrind", Group::Tests, Probe::Program(&["valgrind"]), ["valgrind"; 4]),
    need("ping", Group::Tests, Probe::Program(&["ping"]), ["iputils-ping", "iputils", "iputils", "iputils"]),
    need("apt", Group::Kernels, Probe::Program(&["apt-get"]), ["apt", "apt", "", ""]),
    need("dpkg", Group::Kernels, Probe::Program(&["dpkg-deb"]), ["dpkg", "dpkg", "dpkg", "dpkg"]),
    need(
        "the keys of Debian's archive",
        Group::Kernels,
        Probe::File(&[crate::vm::DEBIAN_KEYS]),
        ["debian-archive-keyring", "debian-keyring", "debian-archive-keyring", ""],
    ),
    need("xz", Group::Kernels, Probe::Program(&["xz"]), ["xz-utils", "xz", "xz", "xz"]),
    need("iperf3", Group::Bench, Probe::Program(&["iperf3"]), ["iperf3", "iperf3", "iperf3", "iperf"]),
    need(
        "taskset",
        Group::Bench,
        Probe::Program(&["taskset"]),
        ["util-linux", "util-linux", "util-linux", "util-linux"],
    ),
    need(
        "dpkg-shlibdeps",
        Group::Package,
        Probe::Program(&["dpkg-shlibdeps"]),
        ["dpkg-dev", "dpkg-dev", "dpkg", "dpkg"],
    ),
    need("objcopy", Group::Package, Probe::Program(&["objcopy"]), ["binutils"; 4]),
    need("ldd", Group::Kernels, Probe::Program(&["ldd"]), ["libc-bin", "glibc-common", "glibc", "glibc"]),
];

const fn need(what: &'static str, group: Group, probe: Probe, packages: [&'static str; 4]) -> Need {
    Need { what, group, probe, packages }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_has_a_package_for_everything() {
        for need in NEEDS {
            assert!(need.packages(Manager::Apt).next().is_some(), "{}", need.what);
        }
    }
}
