//! The needs of the commands: how to check each, and the names of its packages in each distribution.

use std::fs;

use pxe_kit::{command, firmware};

use super::manager::Manager;

/// A group of needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// For building the daemon.
    Build,
    /// For rebuilding the kernel objects.
    Ebpf,
    /// Boot files to serve.
    BootFiles,
    /// For the built-in lab: emulated machines, the switch, the DHCP server.
    Lab,
    /// Clients and tools of the tests.
    Tests,
    /// For downloading Debian's kernels and other packages, and booting the kernels.
    Kernels,
    /// Parts of the memory test that machines boot.
    Image,
    /// The browser for the fleet's board.
    Fleet,
    /// The database of a shared ledger.
    Database,
    /// Tools of the benchmark.
    Bench,
    /// Tools that build and check packages.
    Package,
    /// For building for another architecture, and booting the result.
    Cross,
}

impl Group {
    /// The name in messages.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Ebpf => "kernel objects",
            Self::BootFiles => "boot files",
            Self::Lab => "lab",
            Self::Tests => "tests",
            Self::Kernels => "other kernels",
            Self::Image => "memory test",
            Self::Fleet => "fleet",
            Self::Database => "database",
            Self::Bench => "benchmark",
            Self::Package => "package",
            Self::Cross => "other architectures",
        }
    }
}

/// A check whether a need is met.
#[derive(Clone, Copy, Debug)]
enum Probe {
    /// One of these programs exists.
    Program(&'static [&'static str]),
    /// One of these files exists.
    File(&'static [&'static str]),
    /// Both files of one of these pairs exist.
    Pair(&'static [[&'static str; 2]]),
    /// busybox is static, so that it runs in a guest without libraries.
    StaticBusybox,
    /// A PostgreSQL server, whose programs Debian keeps out of the path.
    Postgres,
}

/// Something that a command needs.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// The name in messages.
    pub what: &'static str,
    /// The group that the need belongs to.
    pub group: Group,
    probe: Probe,
    /// The packages for each [`Manager`], in its order. Empty if there is none, or its name is unknown.
    packages: [&'static str; 5],
}

impl Need {
    /// Whether the need is met.
    #[must_use]
    pub fn is_there(&self) -> bool {
        match self.probe {
            Probe::Program(any) => any.iter().any(|p| command::find(p).is_some()),
            Probe::File(any) => firmware::first(any).is_some(),
            Probe::Pair(any) => firmware::first_pair(any).is_some(),
            Probe::Postgres => pxe_kit::postgres::programs().is_ok(),
            Probe::StaticBusybox => command::find("busybox").is_some_and(|file| is_static(&file)),
        }
    }

    /// The packages and programs to unpack if they cannot be installed. For programs only, because files are needed at the
    /// paths of their packages.
    pub(super) fn unpacked(&self) -> Option<(&'static [&'static str], &'static [&'static str])> {
        UNPACKED
            .iter()
            .find(|(what, ..)| *what == self.what)
            .map(|(_, packages, programs)| (*packages, *programs))
    }

    /// The packages of the need for a package manager.
    pub fn packages(&self, manager: Manager) -> impl Iterator<Item = &'static str> + use<> {
        self.packages[manager as usize].split_whitespace()
    }
}

/// Whether a program is static: it does not name a dynamic loader (`ld-linux` or `ld-musl`).
fn is_static(file: &std::path::Path) -> bool {
    fs::read(file).is_ok_and(|bytes| {
        let head = &bytes[..bytes.len().min(4096)];
        bytes.starts_with(b"\x7fELF") && !head.windows(4).any(|w| w == b"/ld-")
    })
}

/// All needs, in the order of messages.
pub const NEEDS: &[Need] = &[
    need(
        "C++ compiler",
        Group::Ebpf,
        Probe::Program(&["c++", "g++"]),
        ["g++", "gcc-c++", "gcc", "gcc-c++", "g++"],
    ),
    need(
        "C compiler",
        Group::Build,
        Probe::Program(&["cc", "gcc"]),
        ["gcc libc6-dev", "gcc", "gcc", "gcc", "gcc musl-dev"],
    ),
    need(
        "PXELINUX",
        Group::BootFiles,
        Probe::File(firmware::PXELINUX),
        ["pxelinux", "syslinux-nonlinux", "syslinux", "syslinux", "syslinux"],
    ),
    need(
        "PXELINUX's library",
        Group::BootFiles,
        Probe::File(firmware::LDLINUX),
        ["syslinux-common", "syslinux-nonlinux", "syslinux", "syslinux", "syslinux"],
    ),
    need(
        "memtest86+ for BIOS",
        Group::BootFiles,
        Probe::File(firmware::MEMTEST_BIOS),
        ["memtest86+", "memtest86+", "memtest86+", "memtest86+", "memtest86+"],
    ),
    need(
        "memtest86+ for UEFI",
        Group::BootFiles,
        Probe::File(firmware::MEMTEST_X64),
        ["memtest86+", "memtest86+", "memtest86+-efi", "memtest86+", "memtest86+"],
    ),
    need(
        "QEMU",
        Group::Lab,
        Probe::Program(&["qemu-system-x86_64"]),
        ["qemu-system-x86", "qemu-system-x86-core", "qemu-system-x86", "qemu-x86", "qemu-system-x86_64"],
    ),
    need(
        "SeaBIOS",
        Group::Lab,
        Probe::File(firmware::SEABIOS),
        ["seabios", "seabios-bin", "seabios", "qemu-seabios", "seabios"],
    ),
    need(
        "iPXE network ROMs",
        Group::Lab,
        Probe::File(firmware::IPXE_ROM),
        ["ipxe-qemu", "ipxe-roms-qemu", "qemu-system-x86-firmware", "qemu-ipxe", "ipxe-qemu"],
    ),
    need(
        "OVMF x64",
        Group::Lab,
        Probe::Pair(firmware::OVMF_X64),
        ["ovmf", "edk2-ovmf", "edk2-ovmf", "qemu-ovmf-x86_64", "ovmf"],
    ),
    need(
        "dnsmasq",
        Group::Lab,
        Probe::Program(&["dnsmasq"]),
        ["dnsmasq-base", "dnsmasq", "dnsmasq", "dnsmasq", "dnsmasq"],
    ),
    need(
        "ip",
        Group::Lab,
        Probe::Program(&["ip"]),
        ["iproute2", "iproute", "iproute2", "iproute2", "iproute2"],
    ),
    need(
        "setpriv",
        Group::Lab,
        Probe::Program(&["setpriv"]),
        ["util-linux", "util-linux", "util-linux", "util-linux", "setpriv"],
    ),
    need(
        "ethtool",
        Group::Lab,
        Probe::Program(&["ethtool"]),
        ["ethtool", "ethtool", "ethtool", "ethtool", "ethtool"],
    ),
    need(
        "OVMF IA32",
        Group::Tests,
        Probe::Pair(firmware::OVMF_IA32),
        ["ovmf-ia32", "edk2-ovmf-ia32", "edk2-ovmf", "", ""],
    ),
    need(
        "tftp",
        Group::Tests,
        Probe::Program(&["tftp"]),
        ["tftp-hpa", "tftp", "tftp-hpa", "tftp", "tftp-hpa"],
    ),
    need("atftp", Group::Tests, Probe::Program(&["atftp"]), ["atftp", "", "atftp", "atftp", "atftp"]),
    need(
        "Chromium",
        Group::Fleet,
        Probe::Program(pxe_lab::fleet::BROWSERS),
        ["chromium", "chromium", "chromium", "chromium", "chromium"],
    ),
    need(
        "chromedriver",
        Group::Fleet,
        Probe::Program(pxe_lab::fleet::DRIVERS),
        ["chromium-driver", "chromedriver", "chromium", "chromedriver", "chromium-chromedriver"],
    ),
    need("curl", Group::Fleet, Probe::Program(&["curl"]), ["curl", "curl", "curl", "curl", "curl"]),
    need(
        "a static busybox",
        Group::Image,
        Probe::StaticBusybox,
        ["busybox-static", "busybox", "busybox", "busybox-static", "busybox-static"],
    ),
    need(
        "stressapptest",
        Group::Image,
        Probe::Program(&["stressapptest"]),
        ["stressapptest", "stressapptest", "", "stressapptest", "stressapptest"],
    ),
    need(
        "iPXE for machines",
        Group::Image,
        Probe::File(firmware::IPXE_LOADERS),
        ["ipxe", "ipxe-bootimgs-x86", "ipxe", "ipxe-bootimgs", "ipxe"],
    ),
    need("zstd", Group::Image, Probe::Program(&["zstd"]), ["zstd", "zstd", "zstd", "zstd", "zstd"]),
    need(
        "mmdebstrap",
        Group::Kernels,
        Probe::Program(&["mmdebstrap"]),
        ["mmdebstrap", "mmdebstrap", "", "", ""],
    ),
    need("cpio", Group::Kernels, Probe::Program(&["cpio"]), ["cpio"; 5]),
    need("mkfs.ext4", Group::Tests, Probe::Program(&["mkfs.ext4"]), ["e2fsprogs"; 5]),
    need(
        "PostgreSQL",
        Group::Database,
        Probe::Postgres,
        ["postgresql", "postgresql-server", "postgresql", "postgresql-server", "postgresql"],
    ),
    need(
        "faketime",
        Group::Database,
        Probe::Program(&["faketime"]),
        ["faketime", "libfaketime", "libfaketime", "libfaketime", "libfaketime"],
    ),
    need("podman", Group::Tests, Probe::Program(&["podman"]), ["podman"; 5]),
    // Podman's default runtime, crun, rejects hosts with both versions of cgroups.
    need("runc", Group::Tests, Probe::Program(&["runc"]), ["runc"; 5]),
    need(
        "systemd-analyze",
        Group::Tests,
        Probe::Program(&["systemd-analyze"]),
        ["systemd", "systemd", "systemd", "systemd", ""],
    ),
    need(
        "pip",
        Group::Tests,
        Probe::Program(&["pip3"]),
        ["python3-pip", "python3-pip", "python-pip", "python3-pip", "py3-pip"],
    ),
    need("valgrind", Group::Tests, Probe::Program(&["valgrind"]), ["valgrind"; 5]),
    need(
        "ping",
        Group::Tests,
        Probe::Program(&["ping"]),
        ["iputils-ping", "iputils", "iputils", "iputils", "iputils-ping"],
    ),
    need("apt", Group::Kernels, Probe::Program(&["apt-get"]), ["apt", "apt", "", "", "apt"]),
    need("dpkg", Group::Kernels, Probe::Program(&["dpkg-deb"]), ["dpkg", "dpkg", "dpkg", "dpkg", "dpkg"]),
    need(
        "the keys of Debian's archive",
        Group::Kernels,
        Probe::File(&[pxe_kit::apt::KEYRING]),
        ["debian-archive-keyring", "debian-keyring", "debian-archive-keyring", "", "debian-archive-keyring"],
    ),
    need("xz", Group::Kernels, Probe::Program(&["xz"]), ["xz-utils", "xz", "xz", "xz", "xz"]),
    need(
        "iperf3",
        Group::Bench,
        Probe::Program(&["iperf3"]),
        ["iperf3", "iperf3", "iperf3", "iperf", "iperf3"],
    ),
    need(
        "taskset",
        Group::Bench,
        Probe::Program(&["taskset"]),
        ["util-linux", "util-linux", "util-linux", "util-linux", "taskset"],
    ),
    need("lintian", Group::Package, Probe::Program(&["lintian"]), ["lintian", "lintian", "", "", ""]),
    need("rpmlint", Group::Package, Probe::Program(&["rpmlint"]), ["rpmlint", "rpmlint", "", "rpmlint", ""]),
    need("rpm", Group::Package, Probe::Program(&["rpm"]), ["rpm"; 5]),
    need(
        "rpm2cpio",
        Group::Package,
        Probe::Program(&["rpm2cpio"]),
        ["rpm2cpio", "rpm", "rpm-tools", "rpm", "rpm2cpio"],
    ),
    need("objcopy", Group::Package, Probe::Program(&["x86_64-linux-gnu-objcopy"]), ["binutils"; 5]),
    need(
        "C compiler for arm64",
        Group::Cross,
        Probe::Program(&["aarch64-linux-gnu-gcc"]),
        ["gcc-aarch64-linux-gnu", "gcc-aarch64-linux-gnu", "aarch64-linux-gnu-gcc", "", ""],
    ),
    need(
        "QEMU for arm64",
        Group::Cross,
        Probe::Program(&["qemu-system-aarch64"]),
        [
            "qemu-system-arm",
            "qemu-system-aarch64-core",
            "qemu-system-aarch64",
            "qemu-arm",
            "qemu-system-aarch64",
        ],
    ),
    need(
        "ldd",
        Group::Kernels,
        Probe::Program(&["ldd"]),
        ["libc-bin", "glibc-common", "glibc", "glibc", "musl-utils"],
    ),
];

/// Needs that can be unpacked instead of installed, by the name in [`NEEDS`]: packages besides libraries, and programs.
type Unpacked = (&'static str, &'static [&'static str], &'static [&'static str]);
const UNPACKED: &[Unpacked] = &[
    (
        "QEMU",
        // With the firmware, because QEMU looks for it beside itself.
        &["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios", "ipxe-qemu"],
        &["qemu-system-x86_64"],
    ),
    (
        "QEMU for arm64",
        &["qemu-system-arm", "qemu-system-common", "qemu-system-data"],
        &["qemu-system-aarch64"],
    ),
];

const fn need(what: &'static str, group: Group, probe: Probe, packages: [&'static str; 5]) -> Need {
    Need { what, group, probe, packages }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unpacked_is_a_need() {
        for (what, packages, programs) in UNPACKED {
            let need = NEEDS.iter().find(|need| need.what == *what).expect("a need of that name");
            assert_eq!(need.packages(Manager::Apt).next(), packages.first().copied());
            assert!(matches!(need.probe, Probe::Program(any) if any == *programs));
        }
    }

    #[test]
    fn debian_has_a_package_for_everything() {
        for need in NEEDS {
            assert!(need.packages(Manager::Apt).next().is_some(), "{}", need.what);
        }
    }
}
