//! The generator as a program. Cargo builds programs for their own package's tests, so the suites find it beside them.

use std::process::Command;

#[test]
fn a_run_without_a_file_or_a_boot_is_refused() {
    let out = Command::new(env!("CARGO_BIN_EXE_load"))
        .args(["--interface", "lo", "--server", "10.50.0.1"])
        .output()
        .expect("the program");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && said.contains("--file"), "{}: {said}", out.status);
}
