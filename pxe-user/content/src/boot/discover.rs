//! The paths at which distributions install the files that pxed serves. Comments name the distributions.
//!
//! The paths for Debian 12 were checked against installed packages. The paths for Arch (archiso) and Gentoo
//! were read in the distributions' own scripts. All others are from memory: a path that does not exist costs
//! one failed look-up.

use pxe_proto::dhcp::Arch;

/// A file that pxed serves, and the paths where it may be. The first path that exists counts.
#[derive(Debug)]
pub struct Part {
    /// The name under which pxed serves the file. It has no `.bin` ending, because PXELINUX takes such a file
    /// for a boot sector (docs/clients.md section 3).
    pub name: &'static str,
    /// The paths, below the host's root directory.
    pub places: &'static [&'static str],
}

/// memtest86+ as a UEFI program, 64 bits.
pub const MEMTEST_X64_EFI: Part = Part {
    name: "memtest86+x64.efi",
    places: &[
        "boot/memtest86+x64.efi",                 // Debian, Ubuntu, Fedora
        "boot/memtest86+/memtest.efi",            // Arch (memtest86+-efi), Void
        "boot/memtest86plus/memtest.efi64",       // Gentoo
        "boot/efi/EFI/memtest/memtest.efi",       // Fedora
        "boot/efi/EFI/memtest86+/memtest.efi",    // installed by hand
        "usr/lib/memtest86+/memtest86+x64.efi",   // openSUSE
        "usr/share/memtest86+/memtest86+x64.efi", // Fedora
        "usr/share/memtest86+/memtest.efi",       // Alpine
        "boot/memtest.efi",                       // Alpine
        "boot/mt86+x64",                          // Debian since memtest86+ 8.0: one file for UEFI and BIOS
    ],
};

/// memtest86+ as a UEFI program, 32 bits.
pub const MEMTEST_IA32_EFI: Part = Part {
    name: "memtest86+ia32.efi",
    places: &[
        "boot/memtest86+ia32.efi",
        "boot/memtest86plus/memtest.efi32",
        "usr/lib/memtest86+/memtest86+ia32.efi",
        "usr/share/memtest86+/memtest86+ia32.efi",
        "boot/mt86+ia32",
    ],
};

/// memtest86+ as a Linux-style kernel for BIOS machines, 64 bits.
pub const MEMTEST_X64: Part = Part {
    name: "memtest86+x64",
    places: &[
        "boot/memtest86+x64.bin",
        "boot/memtest86+/memtest.bin",
        "boot/memtest86plus/memtest64.bios",
        "usr/lib/memtest86+/memtest86+x64.bin",
        "usr/share/memtest86+/memtest86+x64.bin",
        "usr/share/memtest86+/memtest64.bin",
        "boot/mt86+x64",
    ],
};

/// memtest86+ as a Linux-style kernel for BIOS machines, 32 bits.
pub const MEMTEST_IA32: Part = Part {
    name: "memtest86+ia32",
    places: &[
        "boot/memtest86+ia32.bin",
        "boot/memtest86plus/memtest32.bios",
        "usr/lib/memtest86+/memtest86+ia32.bin",
        "usr/share/memtest86+/memtest86+ia32.bin",
        "usr/share/memtest86+/memtest32.bin",
        "boot/mt86+ia32",
    ],
};

/// Older releases of memtest86+, which have one file for all BIOS machines, and paths that do not show which
/// kind of file they hold.
pub const MEMTEST_ANY: Part = Part {
    name: "memtest86+",
    places: &[
        "boot/memtest86+.bin",        // Debian 11, Ubuntu 22.04 and before
        "boot/memtest.bin",           // Fedora, OpenMandriva, Alpine
        "boot/memtest86plus/memtest", // Gentoo before 6.0
    ],
};

/// PXELINUX, and the module that it needs since version 5. Both must be of the same version, so one row names
/// both.
pub const PXELINUX: &[(&str, Option<&str>)] = &[
    ("usr/lib/PXELINUX/pxelinux.0", Some("usr/lib/syslinux/modules/bios/ldlinux.c32")), // Debian, Ubuntu
    ("usr/share/syslinux/pxelinux.0", Some("usr/share/syslinux/ldlinux.c32")), // Fedora, openSUSE, Alpine, Gentoo
    ("usr/lib/syslinux/bios/pxelinux.0", Some("usr/lib/syslinux/bios/ldlinux.c32")), // Arch
    ("tftpboot/pxelinux.0", Some("tftpboot/ldlinux.c32")),                     // Fedora (syslinux-tftpboot)
    ("usr/share/syslinux/pxelinux.0", None),                                   // PXELINUX 4 and before
    ("usr/lib/syslinux/pxelinux.0", None),
];

/// Boot loaders that start a kernel with its command line, by architecture, the best first. PXELINUX is not
/// here, because it needs a module: see [`PXELINUX`]. If PXELINUX is not installed, iPXE starts BIOS
/// machines.
pub const LOADERS: &[(Arch, Part)] = &[
    (
        Arch::BIOS,
        Part {
            name: "undionly.kpxe",
            places: &[
                "usr/lib/ipxe/undionly.kpxe",          // Debian, Ubuntu
                "usr/share/ipxe/undionly.kpxe",        // Fedora, openSUSE
                "usr/share/ipxe/x86_64/undionly.kpxe", // Arch
            ],
        },
    ),
    (
        Arch::X64,
        Part {
            name: "snponly.efi",
            places: &[
                "usr/lib/ipxe/snponly.efi",
                "usr/share/ipxe/ipxe-snponly-x86_64.efi", // Fedora
                "usr/share/ipxe/snponly-x86_64.efi",      // openSUSE
                "usr/share/ipxe/x86_64/snponly.efi",
            ],
        },
    ),
    (
        Arch::X64,
        Part {
            name: "ipxe.efi",
            places: &[
                "usr/lib/ipxe/ipxe.efi",
                "usr/share/ipxe/ipxe-x86_64.efi",
                "usr/share/ipxe/x86_64/ipxe.efi",
            ],
        },
    ),
    (
        Arch::X64,
        Part {
            name: "grubnetx64.efi",
            places: &["usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed"], // Debian, Ubuntu
        },
    ),
    (
        Arch::ARM64,
        Part {
            name: "snponly-arm64.efi",
            places: &["usr/lib/ipxe/arm64/snponly.efi", "usr/share/ipxe/arm64-efi/snponly.efi"],
        },
    ),
];

/// How to install memtest86+, for messages.
pub const INSTALL_MEMTEST: &str =
    "`apt-get install memtest86+`, `dnf install memtest86+` or `pacman -S memtest86+ memtest86+-efi`";

/// How to install iPXE, for messages.
pub const INSTALL_IPXE: &str = "`apt-get install ipxe`, `dnf install ipxe-bootimgs-x86` or `pacman -S ipxe`";

/// How to install PXELINUX, for messages.
pub const INSTALL_PXELINUX: &str =
    "`apt-get install pxelinux syslinux-common`, `dnf install syslinux-nonlinux` or `pacman -S syslinux`";
