//! The archive: programs of this machine, drivers, and the scripts of `guest/`.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};
use pxe_kit::command;

use super::drivers;
use crate::initramfs::Initramfs;
use crate::modules::Module;
use crate::programs;

/// The first process.
const INIT: &str = include_str!("guest/init.sh");
/// What it reads in.
const SCRIPTS: [(&str, &str); 3] = [
    ("report.sh", include_str!("guest/report.sh")),
    ("show.sh", include_str!("guest/show.sh")),
    ("test.sh", include_str!("guest/test.sh")),
];

/// The whole archive, compressed.
pub(super) fn build(version: &str, modules: &[Module]) -> Result<Vec<u8>> {
    let mut archive = Initramfs::default();
    archive.console();
    for folder in ["proc", "sys"] {
        archive.folder(folder);
    }
    archive.file("init", INIT.as_bytes());
    for (name, text) in SCRIPTS {
        archive.file(&format!("lib/pxed/{name}"), text.as_bytes());
    }
    let [busybox, tester] = [program("busybox")?, program("stressapptest")?];
    let programs: [(&Path, &str); 2] = [(&busybox, "bin/busybox"), (&tester, "bin/stressapptest")];
    programs::add(&mut archive, &programs)?;
    drivers::add(&mut archive, version, modules)?;
    compressed(&archive.finish())
}

fn program(name: &str) -> Result<std::path::PathBuf> {
    command::find(name).with_context(|| format!("there is no `{name}` here: run `cargo xtask setup`"))
}

/// By zstd, which kernels unpack ten times faster than xz (Linux 5.9).
fn compressed(archive: &[u8]) -> Result<Vec<u8>> {
    let mut zstd = Command::new("zstd")
        // One thread: with more, the result may depend on how many.
        .args(["-12", "--single-thread", "--quiet", "--stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start `zstd`: run `cargo xtask setup`")?;
    let (mut input, mut output) =
        (zstd.stdin.take().context("zstd has no input")?, zstd.stdout.take().context("zstd has no output")?);
    let mut bytes = Vec::new();
    let (written, read) = thread::scope(|scope| {
        let writer = scope.spawn(move || input.write_all(archive));
        let read = output.read_to_end(&mut bytes);
        (writer.join(), read)
    });
    let status = zstd.wait()?;
    ensure!(status.success(), "zstd ended with {status}");
    read.context("cannot read from zstd")?;
    written
        .map_err(|_| anyhow::anyhow!("the thread that feeds zstd failed"))?
        .context("cannot write to zstd")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
