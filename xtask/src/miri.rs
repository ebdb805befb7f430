//! Miri on the unsafe code that it can run: the memory that AF_XDP's frames lie in.
//!
//! The rest of our `unsafe` is system calls and memory that is shared with the kernel (rings, BPF maps, sealed files), which
//! Miri does not know. docs/testing.md says what looks at those.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use pxe_kit::command;

/// Tests by the beginnings of their names.
const TESTS: &[(&str, &[&str])] =
    &[("pxe-common", &[]), ("pxe-nic", &["umem::"]), ("pxe-proto", &["datagram::tests::both", "checksum::"])];

/// Runs them.
///
/// # Errors
/// Without a nightly toolchain that has Miri, and when a test fails.
pub fn run() -> Result<()> {
    let version = Command::new("cargo").args(["+nightly", "miri", "--version"]).stdin(Stdio::null()).output();
    ensure!(
        version.is_ok_and(|out| out.status.success()),
        "there is no Miri here. It comes with rustup only, for nightly toolchains:\n    \
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
        // The kernel's program is of no use there; property tests read the clock and keep files.
        cargo.args(*names).env("MIRIFLAGS", "-Zmiri-disable-isolation").env("PROPTEST_CASES", "4");
        command::run(&mut cargo)?;
    }
    Ok(())
}
