//! The archive: programs of this machine, drivers, and the scripts of `guest/`.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use super::initramfs::Initramfs;
use super::modules::Module;
use super::{Error, drivers, libraries, tools};

/// The first process.
const INIT: &str = include_str!("guest/init.sh");
/// What it reads in.
const SCRIPTS: [(&str, &str); 3] = [
    ("report.sh", include_str!("guest/report.sh")),
    ("show.sh", include_str!("guest/show.sh")),
    ("test.sh", include_str!("guest/test.sh")),
];

/// The whole archive, compressed.
pub(super) fn build(version: &str, modules: &[Module]) -> Result<Vec<u8>, Error> {
    let mut archive = Initramfs::default();
    archive.console();
    for folder in ["proc", "sys"] {
        archive.folder(folder);
    }
    archive.file("init", INIT.as_bytes());
    for (name, text) in SCRIPTS {
        archive.file(&format!("lib/pxed/{name}"), text.as_bytes());
    }
    let [busybox, tester] = [tools::find("busybox")?, tools::find("stressapptest")?];
    let programs: [(&Path, &str); 2] = [(&busybox, "bin/busybox"), (&tester, "bin/stressapptest")];
    libraries::add(&mut archive, &programs)?;
    drivers::add(&mut archive, version, modules)?;
    compressed(&archive.finish())
}

/// By zstd, which kernels unpack ten times faster than xz (Linux 5.9).
fn compressed(archive: &[u8]) -> Result<Vec<u8>, Error> {
    let mut zstd = Command::new("zstd")
        // One thread: with more, the result may depend on how many.
        .args(["-12", "--single-thread", "--quiet", "--stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|_| Error::NoProgram("zstd"))?;
    let failed = |reason: &str| Error::Program { program: "zstd", reason: reason.to_owned() };
    let (Some(mut input), Some(mut output)) = (zstd.stdin.take(), zstd.stdout.take()) else {
        return Err(failed("it has no input or output"));
    };
    let mut bytes = Vec::new();
    // Another thread feeds it: with both pipes full, one thread would wait for ever.
    let (written, read) = thread::scope(|scope| {
        let writer = scope.spawn(move || input.write_all(archive));
        let read = output.read_to_end(&mut bytes);
        (writer.join(), read)
    });
    let status = zstd.wait().map_err(Error::io("wait for zstd"))?;
    if !status.success() {
        return Err(failed(&status.to_string()));
    }
    read.map_err(Error::io("read from zstd"))?;
    written.map_err(|_| failed("the thread that feeds it failed"))?.map_err(Error::io("write to zstd"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
