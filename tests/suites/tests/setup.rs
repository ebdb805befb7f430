//! `cargo xtask setup` in clean Debian systems: with old package lists, and with a package that conflicts with a needed one. It
//! installs what is missing, removes nothing, and does nothing the second time.
//!
//! The ignored tests run the README's commands there, from a clean clone until machines boot: `cargo xtask test --long
//! setup`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use pxe_kit::command::{find, output, workspace};
use pxe_tests::root::Root;

/// The installed packages of a system, with their versions.
type Packages = BTreeMap<String, String>;

/// The path of the program `xtask` of this build.
fn xtask() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let found = this.ancestors().map(|folder| folder.join("xtask")).find(|file| file.is_file());
    found.expect("there is no xtask beside the tests: run them by `cargo xtask test`")
}

/// Unpacks a system, adds `xtask` and the security updates of this host's mirror, and downloads the package lists.
fn system(suite: &'static str, folder: &Path) -> Root {
    let root = Root::unpack(suite, folder).unwrap_or_else(|error| panic!("{error:#}"));
    fs::copy(xtask(), root.path("xtask")).unwrap();
    add_security_updates(&root, suite).unwrap_or_else(|error| panic!("{error:#}"));
    root.run(&["apt-get", "update", "--quiet"]).unwrap_or_else(|error| panic!("{error:#}"));
    root
}

/// Adds the security updates, which every Debian installation has.
fn add_security_updates(root: &Root, suite: &str) -> Result<()> {
    let known = output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(LABEL) $(REPO_URI)",
        "Created-By: Packages",
    ]))?;
    let address = known.lines().find_map(|line| line.strip_prefix("Debian-Security "));
    let address = address.context("this host has no source of Debian's security updates")?;
    let file = root.path("etc/apt/sources.list.d/security.list");
    fs::write(file, format!("deb {address} {suite}-security main\n"))?;
    Ok(())
}

fn packages(root: &Root) -> Packages {
    let listed =
        root.run(&["dpkg-query", "--show", "--showformat", "${Package} ${Version} ${db:Status-Status}\n"]);
    let listed = listed.unwrap();
    let installed = listed.lines().filter_map(|line| line.strip_suffix(" installed")?.split_once(' '));
    installed.map(|(name, version)| (name.to_owned(), version.to_owned())).collect()
}

/// Runs set-up, checks that all packages and their versions stay, and returns the output.
fn set_up(root: &Root, purpose: &str) -> String {
    let before = packages(root);
    let said = root.run(&["/xtask", "setup", "--for", purpose]).unwrap_or_else(|error| panic!("{error:#}"));
    let after = packages(root);
    for (name, version) in before {
        assert_eq!(after.get(&name), Some(&version), "{name} was changed or removed:\n{said}");
    }
    assert!(!root.path("root/.rustup").exists(), "a toolchain was installed");
    said
}

/// Runs set-up again, and checks that it does nothing.
fn is_done(root: &Root, purpose: &str) {
    let before = packages(root);
    let said = set_up(root, purpose);
    assert_eq!(packages(root), before, "{said}");
    assert!(said.lines().all(|line| line.ends_with(": nothing to do")), "{said}");
}

/// Changes the checksums and the date in a file with the checksums of lists. apt downloads lists only if their
/// checksums differ from the archive's.
fn age_release(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let is_list = |line: &str| line.starts_with(' ') && line.contains("/Packages");
    let other =
        |line: &str| if is_list(line) { line.replace(['0', '1', '2', '3'], "4") } else { line.to_owned() };
    fs::write(path, text.lines().map(other).collect::<Vec<_>>().join("\n") + "\n").unwrap();
    output(Command::new("touch").args(["--date", "2020-01-01"]).arg(path)).unwrap();
}

/// Makes the package lists old: they lack the packages `unknown`, and have versions of `gone` that the archive no
/// longer has.
fn age_lists(root: &Root, unknown: &[&str], gone: &[&str]) {
    let mut aged = 0;
    for entry in fs::read_dir(root.path("var/lib/apt/lists")).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().ends_with("_InRelease") {
            age_release(&path);
        }
        if !path.to_string_lossy().ends_with("_Packages") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let is_of = |stanza: &str, names: &[&str]| {
            names.iter().any(|name| stanza.starts_with(&format!("Package: {name}\n")))
        };
        let stanzas = text.split("\n\n").filter(|stanza| !is_of(stanza, unknown)).map(|stanza| {
            if is_of(stanza, gone) {
                aged += 1;
                stanza.replace("\nFilename: pool/", "\nFilename: pool/of-an-old-day/")
            } else {
                stanza.to_owned()
            }
        });
        let text = stanzas.collect::<Vec<_>>().join("\n\n");
        fs::write(&path, text).unwrap();
    }
    assert!(aged >= gone.len(), "the lists are not as expected: {aged} aged");
    // Remove apt's caches of the original lists.
    for cache in ["pkgcache.bin", "srcpkgcache.bin"] {
        drop(fs::remove_file(root.path("var/cache/apt").join(cache)));
    }
}

#[test]
fn debian_12_with_lists_that_name_what_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let root = system("bookworm", folder.path());
    age_lists(&root, &[], &["memtest86+", "pxelinux"]);
    let said = set_up(&root, "serve");
    assert!(said.contains("once more, with new package lists"), "{said}");
    assert!(said.contains("; nothing is removed"), "{said}");
    is_done(&root, "serve");
    // `--for serve` must not install an emulator.
    assert!(!root.path("usr/bin/qemu-system-x86_64").exists(), "{said}");
    // Now with lists that lack a package.
    age_lists(&root, &["ethtool"], &["ovmf"]);
    let said = set_up(&root, "lab");
    assert!(said.contains("apt-get reads the package lists"), "{said}");
    assert!(root.path("usr/bin/qemu-system-x86_64").exists(), "{said}");
    is_done(&root, "lab");
}

#[test]
fn debian_13_with_a_package_that_does_not_go_together_with_ours() {
    let folder = tempfile::tempdir().unwrap();
    let root = system("trixie", folder.path());
    let control = "Package: own-emulator\nVersion: 1\nArchitecture: all\nMaintainer: somebody <somebody@localhost>\n\
                   Conflicts: qemu-system-common\nDescription: what the user has\n";
    let tree = folder.path().join("own");
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    output(Command::new("dpkg-deb").arg("--build").arg(&tree).arg(root.path("own.deb"))).unwrap();
    root.run(&["dpkg", "--install", "/own.deb"]).unwrap();
    let said = set_up(&root, "lab");
    assert!(packages(&root).contains_key("own-emulator"));
    assert!(said.contains("is unpacked into the cache, and not installed"), "{said}");
    let emulator = "/root/.cache/pxed/unpacked/qemu-system-x86/bin/qemu-system-x86_64";
    let machines = root.run(&[emulator, "-machine", "help"]).unwrap();
    assert!(machines.contains("q35"), "{machines}");
    is_done(&root, "lab");
}

#[test]
fn debian_testing() {
    let folder = tempfile::tempdir().unwrap();
    let root = system("testing", folder.path());
    set_up(&root, "serve");
    is_done(&root, "serve");
}

/// Clones the repository into the system.
fn clone(root: &Root) -> Result<()> {
    output(Command::new("git").arg("clone").arg("--quiet").arg(workspace()).arg(root.path("root/pxed")))?;
    // cargo in the system uses this host's registry and certificates.
    let certificates = root.path("etc/ssl/certs");
    fs::create_dir_all(&certificates)?;
    fs::copy("/etc/ssl/certs/ca-certificates.crt", certificates.join("ca-certificates.crt"))?;
    Ok(())
}

/// Runs a shell command in the clone, and returns its output.
fn in_clone(root: &Root, compiler: &str, line: &str) -> Result<String> {
    let script = format!("cd /root/pxed && export PATH={compiler}:$PATH && {line}");
    let mut command = root.command(&["sh", "-c", &script]);
    output(command.env("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
}

/// Copies this host's compiler into a system whose own one is too old.
fn lend_compiler(root: &Root) -> Result<&'static str> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let to = root.path("opt/rust");
    output(Command::new("cp").arg("--recursive").arg("--no-dereference").arg(sysroot.trim()).arg(&to))?;
    ensure!(find("git").is_some(), "git is missing");
    Ok("/opt/rust/bin")
}

fn boots_the_lab(root: &Root, compiler: &str) {
    let said = in_clone(root, compiler, "cargo xtask run").unwrap_or_else(|error| panic!("{error:#}"));
    println!("{said}");
    let table: Vec<_> = said.lines().filter(|line| line.contains("52:54:00:99:00:1")).collect();
    assert!(said.contains("memtest86+ after") && table.len() >= 2, "{said}");
}

#[test]
#[ignore = "ten minutes: builds everything. cargo xtask test --long setup"]
fn the_readmes_first_command_boots_machines_on_debian_12() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let root = system("bookworm", folder.path());
    clone(&root).unwrap();
    let compiler = lend_compiler(&root).unwrap();
    root.run(&["apt-get", "install", "--yes", "--no-install-recommends", "gcc", "libc6-dev"]).unwrap();
    age_lists(&root, &[], &["memtest86+", "pxelinux"]);
    let before = packages(&root);
    boots_the_lab(&root, compiler);
    let after = packages(&root);
    assert!(before.iter().all(|(name, version)| after.get(name) == Some(version)));
}

#[test]
#[ignore = "ten minutes: builds everything. cargo xtask test --long setup"]
fn the_readmes_first_command_boots_machines_on_debian_13() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let root = system("trixie", folder.path());
    clone(&root).unwrap();
    // The packages that the documentation names for Debian 13.
    root.run(&["apt-get", "install", "--yes", "--no-install-recommends", "rustc-web", "cargo-web", "git"])
        .unwrap();
    boots_the_lab(&root, "/usr/bin");
}

#[test]
#[ignore = "ten minutes: builds everything. cargo xtask test --long setup"]
fn testing_builds_pxed_and_checks_what_it_would_serve() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let root = system("testing", folder.path());
    clone(&root).unwrap();
    root.run(&["apt-get", "install", "--yes", "--no-install-recommends", "cargo", "rustc", "git"]).unwrap();
    let line = "cargo xtask setup --for serve && cargo build --release --bin pxed && target/release/pxed check --no-host";
    let said = in_clone(&root, "/usr/bin", line).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(said.contains("x64: memtest86+x64.efi"), "{said}");
}
