//! Debian's kernels in QEMU guests: the object loads, and a machine boots over AF_XDP and over sockets, on veth
//! interfaces and on virtio cards. `cargo xtask vm` runs the same cases and prints the results.

use std::path::PathBuf;

use pxe_guests::{Guest, Kernel, Programs, Report, fetch};
use pxe_kit::arch::Arch;

/// The results that are the same for every kernel.
const EVERYWHERE: &[(&str, &str)] = &[
    ("load", "ok"),
    ("veth-generic", "ok: xdp generic copy"),
    ("veth-native", "ok: xdp native copy"),
    ("veth-socket", "ok: socket"),
    ("killed-generic", "ok"),
    ("killed-native", "ok"),
    ("virtio-socket", "ok: socket"),
];

#[test]
fn kernel_5_10() {
    check(
        "5.10",
        &[
            ("load-frags", "ok: refused before Linux 5.18"),
            ("load-offload", "ok: no layer"),
            ("churn", "ok: without offload"),
            ("virtio-auto", "ok: xdp native copy"),
        ],
    );
}

#[test]
fn kernel_6_1() {
    check(
        "6.1",
        &[
            ("load-frags", "ok"),
            ("load-offload", "ok: xdp"),
            ("churn", "ok: answered in the kernel"),
            ("virtio-auto", "ok: xdp native copy, answered in xdp"),
        ],
    );
}

#[test]
fn kernel_6_12() {
    check(
        "6.12",
        &[
            ("load-frags", "ok"),
            ("load-offload", "ok: xdp and tcx"),
            ("churn", "ok: answered in the kernel"),
            ("virtio-auto", "ok: xdp native copy, answered in xdp and tcx"),
        ],
    );
}

#[test]
fn kernel_newest() {
    check(
        "newest",
        &[
            ("load-frags", "ok"),
            ("load-offload", "ok: xdp and tcx"),
            ("churn", "ok: answered in the kernel"),
            ("virtio-auto", "ok: xdp native zero-copy, answered in xdp and tcx"),
        ],
    );
}

/// Another architecture: the same kernel object, and a daemon that this host has cross-compiled.
#[test]
fn kernel_arm64() {
    check(
        "arm64",
        &[
            ("load-frags", "ok"),
            ("load-offload", "ok: xdp and tcx"),
            ("churn", "ok: answered in the kernel"),
            ("virtio-auto", "ok: xdp native copy, answered in xdp and tcx"),
        ],
    );
}

fn check(name: &str, here: &[(&str, &str)]) {
    let report = boot(name).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(report.done, "the guest did not complete its cases:\n{}", report.console);
    for (case, expected) in EVERYWHERE.iter().chain(here) {
        let said = report.cases.iter().find(|(other, _)| other == case).map(|(_, said)| said.as_str());
        // ACKs over a veth have partial checksums. One in 65536 is correct by chance, and then the offload answers.
        let said = said.map(|said| {
            if case.starts_with("veth") { said.split(", answered").next().unwrap_or(said) } else { said }
        });
        assert_eq!(said, Some(*expected), "{case} on {name}; the guest's console:\n{}", report.console);
    }
    assert_eq!(report.cases.len(), EVERYWHERE.len() + here.len(), "{:?}", report.cases);
}

fn boot(name: &str) -> anyhow::Result<Report> {
    let kernel = fetch(Kernel::named(name)?)?;
    let programs = if kernel.arch == Arch::HOST {
        let guest = PathBuf::from(env!("CARGO_BIN_EXE_guest"));
        Programs { arch: Arch::HOST, guest, pxed: pxe_kit::daemon::program() }
    } else {
        // `cargo xtask test` has built them before, so cargo has nothing to do here.
        Programs::build(kernel.arch)?
    };
    let folder = tempfile::tempdir()?;
    Guest { kernel: &kernel, programs: &programs, folder: folder.path() }.run()
}
