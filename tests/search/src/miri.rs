//! Runs the tests of unsafe code that Miri supports: the memory of AF_XDP frames.
//!
//! All other `unsafe` code makes system calls, or uses memory that is shared with the kernel (rings, BPF maps, sealed
//! files), which Miri does not support. docs/testing.md names the checks of that code.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use pxe_kit::command;

/// Packages, with the starts of the names of their tests.
const TESTS: &[(&str, &[&str])] =
    &[("pxe-common", &[]), ("pxe-nic", &["umem::"]), ("pxe-proto", &["datagram::tests::both", "checksum::"])];

/// Runs the tests.
///
/// # Errors
/// If there is no nightly toolchain with Miri, or a test fails.
pub fn run() -> Result<()> {
    let version = Command::new("cargo").args(["+nightly", "miri", "--version"]).stdin(Stdio::null()).output();
    ensure!(
        version.is_ok_and(|out| out.status.success()),
        "Miri is not installed. Only rustup's nightly toolchains have it:\n    \
         rustup toolchain install nightly --component miri --component rust-src"
    );
    for (package, names) in TESTS {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(command::workspace()).args([
            "+nightly",
            "miri",
            "test",
            "--lib",
            "--package",
            package,
            "--",
        ]);
        // Without isolation, because property tests read the clock and write files. Few cases, because Miri is slow.
        cargo.args(*names).env("MIRIFLAGS", "-Zmiri-disable-isolation").env("PROPTEST_CASES", "4");
        command::run(&mut cargo)?;
    }
    Ok(())
}
