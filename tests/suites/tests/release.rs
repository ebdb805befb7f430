//! Installs the files of a release, and serves a machine with them: the Debian package in clean Debian 12 and 13, the
//! RPM package and the archive in Debian 12, and those for arm64 in a guest.
//!
//! A release takes minutes to build, so these are packages of the tests' own program, made in the same way. The variable
//! `PXED_RELEASE` selects a folder with a real release instead.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pxe_guests::{Guest, Kernel, Programs, fetch, fetch_root};
use pxe_kit::arch::Arch;
use pxe_kit::command::output;
use pxe_kit::{Lab, Process, daemon, namespace, tree};
use pxe_packaging::{Packages, VERSION};
use pxe_properties::frames;
use pxe_tests::machine;

/// The folder of boot files in the root in which pxed is installed.
const SERVED: &str = "srv/boot";
const FILE: &str = "bootx64.efi";
const FILE_LEN: usize = 30_000;
/// The limit for the daemon's start. Generous, because no test asserts a time.
const START: Duration = Duration::from_secs(60);

/// The packages for an architecture: those of `PXED_RELEASE`, or new ones in `folder`.
fn packages(arch: Arch, program: &Path, folder: &Path) -> Packages {
    let packages = match std::env::var_os("PXED_RELEASE") {
        Some(release) => Packages::in_folder(Path::new(&release), arch),
        None => Packages::of(program, &daemon::program(), arch, folder),
    };
    packages.unwrap_or_else(|error| panic!("{error:#}"))
}

/// Unpacks a Debian system with a boot file into a folder.
fn unpack_root(suite: &'static str, folder: &Path) -> Result<PathBuf> {
    let root = folder.join(suite);
    fs::create_dir(&root)?;
    output(
        Command::new("tar")
            .arg("--extract")
            .arg("--file")
            .arg(fetch_root(suite)?)
            .arg("--directory")
            .arg(&root),
    )?;
    let served = root.join(SERVED);
    fs::create_dir_all(&served)?;
    fs::write(served.join(FILE), tree::bytes(FILE_LEN))?;
    Ok(root)
}

/// Unpacks an RPM package into a root, without its scripts.
fn unpack_rpm(rpm: &Path, root: &Path) -> Result<()> {
    let mut payload = Command::new("rpm2cpio").arg(rpm).stdout(Stdio::piped()).spawn().context("rpm2cpio")?;
    let payload = Stdio::from(payload.stdout.take().context("a pipe")?);
    let mut cpio = Command::new("cpio");
    cpio.args(["--extract", "--make-directories", "--quiet", "--no-absolute-filenames"]).current_dir(root);
    let done = cpio.stdin(payload).output().context("cpio")?;
    ensure!(done.status.success(), "cpio: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// Runs a program in a root, and returns its output. It has no network, because packages must not need downloads.
fn run(root: &Path, words: &[&str]) -> Result<String> {
    output(
        Command::new("unshare")
            .args(["--net", "chroot"])
            .arg(root)
            .args(words)
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// Checks that the program in a root has the release's version, lists the boot files, and serves a machine over sockets.
fn works(lab: &Lab, root: &Path, program: &str) -> Result<()> {
    let version = run(root, &[program, "--version"])?;
    ensure!(version.trim().ends_with(VERSION), "`{version}` is not {VERSION}");
    let images = run(root, &[program, "images", "--root", &format!("/{SERVED}")])?;
    ensure!(images.contains(FILE), "{images}");
    let daemon = serve(lab, root, program)?;
    daemon.wait_for("ready: serving", START)?;
    let (host, packet) = (lab.client().namespace().to_owned(), frames::golden("ovmf-discover"));
    let interface = lab.client().interface().to_owned();
    let boot = move || {
        namespace::enter(&host)?;
        let offer = machine::discover(&interface, &packet)?;
        machine::load(offer.server, &offer.file)
    };
    let bytes = std::thread::spawn(boot).join().map_err(|_| anyhow::anyhow!("the machine panicked"))?;
    let bytes = bytes.with_context(|| daemon.stderr())?;
    ensure!(bytes == tree::bytes(FILE_LEN), "the received file differs");
    let status = daemon.stop()?;
    ensure!(status.success(), "pxed ended with {status}: {}", daemon.stderr());
    Ok(())
}

/// Starts the daemon in a root, with the usual file systems mounted in its own mount namespace.
fn serve(lab: &Lab, root: &Path, program: &str) -> Result<Process> {
    const MOUNT: &str = "mount -t proc proc \"$0/proc\" && mount -t sysfs sysfs \"$0/sys\" && \
                         mount --bind /dev \"$0/dev\" && exec chroot \"$0\" \"$@\"";
    let mut command = lab.responder().command("unshare");
    command.args(["--mount", "sh", "-c", MOUNT]).arg(root).arg(program);
    command.args(["serve", "--interface", lab.responder().interface(), "--datapath", "socket"]);
    command.args(["--root", &format!("/{SERVED}"), "--socket", "/run/pxed.sock"]);
    lab.spawn(&format!("pxed-{}", root.file_name().unwrap_or_default().display()), command)
}

#[test]
fn the_debian_package_serves_in_clean_debian_12_and_13() {
    let lab = Lab::builder().dhcp(false).start().unwrap();
    let deb = packages(Arch::Amd64, &daemon::program(), lab.folder()).deb;
    for suite in ["bookworm", "trixie"] {
        let root = unpack_root(suite, lab.folder()).unwrap_or_else(|error| panic!("{error:#}"));
        fs::copy(&deb, root.join("pxed.deb")).unwrap();
        let install = ["apt-get", "install", "--yes", "--no-install-recommends", "/pxed.deb"];
        let said = run(&root, &install).unwrap_or_else(|error| panic!("{suite}: {error:#}"));
        let passwd = fs::read_to_string(root.join("etc/passwd")).unwrap();
        assert!(passwd.lines().any(|line| line.starts_with("pxed:")), "{suite}: no user: {said}");
        works(&lab, &root, "/usr/bin/pxed").unwrap_or_else(|error| panic!("{suite}: {error:#}"));
        run(&root, &["dpkg", "--purge", "pxed"]).unwrap_or_else(|error| panic!("{suite}: {error:#}"));
        for left in ["usr/bin/pxed", "etc/pxed", "usr/share/doc/pxed", "var/lib/pxed"] {
            assert!(!root.join(left).exists(), "{suite}: {left} still exists after the purge");
        }
    }
}

#[test]
fn the_rpm_package_and_the_archive_serve_with_an_old_c_library() {
    let lab = Lab::builder().dhcp(false).start().unwrap();
    let packages = packages(Arch::Amd64, &daemon::program(), lab.folder());
    let root = unpack_root("bookworm", lab.folder()).unwrap_or_else(|error| panic!("{error:#}"));
    unpack_rpm(&packages.rpm, &root).unwrap();
    works(&lab, &root, "/usr/bin/pxed").unwrap_or_else(|error| panic!("RPM: {error:#}"));
    fs::remove_file(root.join("usr/bin/pxed")).unwrap();
    let program = unpack_archive(&packages.archive, &root.join("opt"), Arch::Amd64).unwrap();
    let program = program.strip_prefix(&root).unwrap();
    works(&lab, &root, &format!("/{}", program.display()))
        .unwrap_or_else(|error| panic!("archive: {error:#}"));
}

/// Unpacks an archive, and returns the path of its program.
fn unpack_archive(archive: &Path, folder: &Path, arch: Arch) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    output(Command::new("tar").arg("--extract").arg("--file").arg(archive).arg("--directory").arg(folder))?;
    Ok(folder.join(Packages::archive_name(arch)).join("bin/pxed"))
}

/// All three packages contain the same program, which passes the cases of `kernels.rs` in a guest.
#[test]
fn the_packages_for_arm64_serve_in_a_guest() {
    let folder = tempfile::tempdir().unwrap();
    let programs = Programs::build(Arch::Arm64).unwrap_or_else(|error| panic!("{error:#}"));
    let packages = packages(Arch::Arm64, &programs.pxed, folder.path());
    let [deb, rpm, archive] = ["deb", "rpm", "archive"].map(|name| folder.path().join(name));
    fs::create_dir(&rpm).unwrap();
    output(Command::new("dpkg-deb").arg("--extract").arg(&packages.deb).arg(&deb)).unwrap();
    unpack_rpm(&packages.rpm, &rpm).unwrap();
    let program = deb.join("usr/bin/pxed");
    let same = [rpm.join("usr/bin/pxed"), unpack_archive(&packages.archive, &archive, Arch::Arm64).unwrap()];
    let bytes = fs::read(&program).unwrap();
    for other in same {
        assert!(fs::read(&other).unwrap() == bytes, "{} is another program", other.display());
    }
    let kernel = fetch(Kernel::named("arm64").unwrap()).unwrap();
    assert_ne!(kernel.arch, Arch::HOST);
    let programs = Programs { pxed: program, ..programs };
    let guest = Guest { kernel: &kernel, programs: &programs, folder: &folder.path().join("guest") };
    let report = guest.run().unwrap_or_else(|error| panic!("{error:#}"));
    let failed: Vec<_> = report.cases.iter().filter(|(name, _)| !report.is_ok(name)).collect();
    assert!(report.done && failed.is_empty(), "{failed:#?}\nthe guest's console:\n{}", report.console);
    assert!(report.cases.len() >= 10, "{:?}", report.cases);
}

/// The checksums are correct, and every file has one.
#[test]
#[ignore = "asks for a release: PXED_RELEASE=FOLDER cargo xtask test --long release"]
fn sums_are_of_every_file() {
    let release = std::env::var_os("PXED_RELEASE").expect("PXED_RELEASE names the folder of a release");
    output(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&release))
        .unwrap();
    let sums = fs::read_to_string(Path::new(&release).join("SHA256SUMS")).unwrap();
    for entry in fs::read_dir(&release).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(name == "SHA256SUMS" || sums.contains(&format!("  {name}\n")), "{name} has no sum");
    }
}
