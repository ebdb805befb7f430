//! Runs the distributions' checkers on packages. Errors fail, warnings are printed. Intended exceptions have an
//! override with a reason, in `packaging/debian/lintian-overrides` and `packaging/rpm/rpmlint.toml`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use pxe_kit::command;

/// Checks the Debian package by lintian.
pub(super) fn deb(file: &Path) -> Result<()> {
    let mut lintian = Command::new(command::find("lintian").context("`lintian` is not installed")?);
    // Without `--allow-root`, lintian warns if it runs as root.
    lintian.args(["--allow-root", "--fail-on", "error", "--tag-display-limit", "0"]).arg(file);
    told("lintian", &mut lintian)
}

/// Checks the RPM package: its checksums by rpm, then rpmlint.
pub(super) fn rpm(file: &Path) -> Result<()> {
    let said = command::output(Command::new("rpm").args(["--checksig", "--nosignature"]).arg(file))?;
    ensure!(said.contains("digests OK"), "{}", said.trim());
    let mut rpmlint = Command::new(command::find("rpmlint").context("`rpmlint` is not installed")?);
    rpmlint.arg("--config").arg(command::workspace().join("packaging/rpm/rpmlint.toml")).arg(file);
    told("rpmlint", &mut rpmlint)
}

/// Runs a checker, and prints its findings.
fn told(name: &str, checker: &mut Command) -> Result<()> {
    let out = checker.output().with_context(|| format!("cannot start `{name}`"))?;
    let said = String::from_utf8_lossy(&out.stdout);
    for line in said.lines().filter(|line| is_finding(line)) {
        println!("release: {name}: {line}");
    }
    let errors = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{name} ended with {}: {said}{errors}", out.status);
    Ok(())
}

/// Whether a line is a finding: `W: pxed: TAG` of lintian, or `pxed.x86_64: W: TAG` of rpmlint.
fn is_finding(line: &str) -> bool {
    ["E: ", "W: "].iter().any(|kind| line.starts_with(kind) || line.contains(&format!(": {kind}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_errors_and_warnings_of_both() {
        assert!(is_finding("W: pxed: no-manual-page [usr/bin/pxed]"));
        assert!(is_finding("pxed.x86_64: E: no-binary"));
        assert!(!is_finding("N: 1 tag overridden"));
        assert!(!is_finding(" 1 packages and 0 specfiles checked; 0 errors, 0 warnings"));
    }
}
