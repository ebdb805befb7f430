//! The archive that a kernel starts from: cpio in its `newc` format (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::Error;

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive that grows.
#[derive(Debug, Default)]
pub struct Initramfs {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    count: u32,
}

impl Initramfs {
    /// Puts a file of this machine there, as a program.
    pub fn copy(&mut self, from: &Path, to: &str) -> Result<(), Error> {
        let bytes = fs::read(from).map_err(Error::io(format!("read {}", from.display())))?;
        self.file(to, &bytes);
        Ok(())
    }

    /// Adds a file, and the folders above it.
    pub fn file(&mut self, path: &str, bytes: &[u8]) {
        let path = path.trim_start_matches('/');
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder);
        }
        self.entry(path, PROGRAM, (0, 0), bytes);
    }

    /// Adds a folder, and those above it.
    pub fn folder(&mut self, path: &str) {
        if let Some((above, _)) = path.rsplit_once('/') {
            self.folder(above);
        }
        if self.folders.insert(path.to_owned()) {
            self.entry(path, FOLDER, (0, 0), &[]);
        }
    }

    /// The kernel opens this for the first process before anything could be mounted.
    pub fn console(&mut self) {
        self.folder("dev");
        self.entry("dev/console", CHARACTER_DEVICE, (5, 1), &[]);
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), bytes: &[u8]) {
        self.count += 1;
        let len = u32::try_from(bytes.len()).expect("files of 4 GiB have no place in an initramfs");
        let name_len = u32::try_from(path.len() + 1).expect("paths are short");
        let (ino, links) = (self.count, 1);
        let fields = [ino, mode, 0, 0, links, 0, len, 0, 0, device.0, device.1, name_len, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(bytes);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another's reader, which set-up installs for the tests: busybox.
    #[test]
    fn busybox_lists_what_was_put_in() {
        use std::io::Write as _;
        let mut archive = Initramfs::default();
        archive.file("/a/b/odd", b"123");
        archive.file("a/b/even", b"1234");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let mut cpio = std::process::Command::new("busybox")
            .args(["cpio", "-t"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("busybox is there: `cargo xtask setup` installs it");
        cpio.stdin.take().expect("a pipe").write_all(&bytes).expect("it reads");
        let out = cpio.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&out.stdout), "a\na/b\na/b/odd\na/b/even\n");
    }
}
