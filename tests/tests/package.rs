//! The Debian package (issue 5): in a Debian system with systemd it installs, serves a machine out of its sandbox, comes back
//! when it has ended, and is removed without a trace. Its unit leaves as little open as the README says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pxe_tests::daemon;
use xtask::command::{output, workspace};
use xtask::package;
use xtask::vm::{Kernel, System, fetch};

/// The cases of the program `installed`, in their order.
const CASES: [&str; 11] = [
    "installs",
    "unconfigured",
    "verifies",
    "starts",
    "confined",
    "serves",
    "restarts",
    "killed",
    "readdressed",
    "stops",
    "purges",
];

/// What each version of systemd makes of the unit differs by some tenths; the README's figure is of Debian 12's and 13's.
#[test]
fn the_unit_leaves_no_more_open_than_the_readme_says() {
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let stated = readme.split("exposure level ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let stated: f64 = stated.expect("the README states a level").parse().unwrap();
    let threshold = format!("--threshold={:.0}", stated * 10.0);
    let unit = workspace().join("packaging/pxed.service");
    let mut analyze = Command::new("systemd-analyze");
    let said = output(analyze.args(["security", "--offline=true", "--no-pager", &threshold]).arg(unit));
    // Above the threshold it fails.
    let said = said.unwrap();
    assert!(said.contains(&format!("exposure level for pxed.service: {stated:.1} ")), "{said}");
}

#[test]
fn the_package_serves_under_systemd_and_is_purged_without_a_trace() {
    let folder = tempfile::tempdir().unwrap();
    let deb = folder.path().join("pxed.deb");
    package::of_program(&daemon::program(), &deb).unwrap();
    let kernel = fetch(Kernel::named("6.12").unwrap()).unwrap();
    let cases = PathBuf::from(env!("CARGO_BIN_EXE_installed"));
    let files: &[(&Path, &str)] = &[(&deb, "cases/pxed.deb")];
    let system = System { kernel: &kernel, cases: &cases, files, folder: folder.path() };
    let report = system.run().unwrap_or_else(|error| panic!("{error:#}"));
    let names: Vec<_> = report.cases.iter().map(|(name, _)| name.as_str()).collect();
    assert!(report.done && names == CASES, "{:?}\n{}", report.cases, report.console);
    let failed: Vec<_> = report.cases.iter().filter(|(name, _)| !report.is_ok(name)).collect();
    assert!(failed.is_empty(), "{failed:#?}\nthe guest's console:\n{}", report.console);
}
