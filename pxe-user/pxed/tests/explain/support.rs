//! A lab in a directory: a configuration, boot files, and the commands that run `pxed` on them.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// The configuration for all tests. `ROOT` stands for the lab's directory.
pub(crate) const CONFIG: &str = r#"interfaces = ["eth0"]
address = "10.99.0.2"
root = "ROOT/top"

[http]
port = 8080

[images.plain]
boot_files = { bios = "pxelinux.0", x64 = "memtest.efi" }

[images.test]
root = "ROOT/test"
boot_files = { bios = "pxelinux.0", x64 = "snponly.efi" }
kernel = "linux"
initrd = ["initrd.img"]
args = "quiet report={{ report_url }} mac={{ mac }}"

[images.elsewhere]
boot_files = { bios = "pxelinux.0" }

[[rules]]
name = "not ours"
match = { mac = "aa:bb:cc" }
action = "ignore"

[[rules]]
name = "production"
match = { relay = "10.20.0.0/16" }
action = "local"

[[rules]]
name = "menu"
match = { vlan = 7 }
image = "plain"
style = "menu"

[[rules]]
name = "binl"
match = { vlan = 8 }
image = "plain"
style = "binl"

[[rules]]
name = "moved"
match = { vlan = 9 }
image = "elsewhere"
boot_server = "10.99.0.9"

[[rules]]
name = "broken"
match = { vlan = 10, arch = "bios" }
image = "elsewhere"

[[rules]]
name = "once"
match = { mac = "52:54:00:99:00:10" }
image = "test"
once = true
"#;

const FILES: [(&str, &str); 7] = [
    ("top/pxelinux.0", "PXELINUX 6.04"),
    ("top/memtest.efi", "memtest"),
    ("top/ldlinux.c32", "module"),
    ("test/pxelinux.0", "PXELINUX 6.04"),
    ("test/snponly.efi", "iPXE"),
    ("test/ldlinux.c32", "module"),
    ("test/linux", "a kernel"),
];

/// A temporary directory, removed with the test.
pub(crate) struct Lab(TempDir);

/// The output of a run, with the directory written as `ROOT`.
pub(crate) struct Run {
    pub(crate) out: String,
    pub(crate) error: String,
    pub(crate) code: Option<i32>,
}

impl Lab {
    /// Writes all files except the initrd, and the configuration.
    pub(crate) fn new() -> Self {
        let lab = Self(tempfile::tempdir().unwrap());
        for (name, contents) in FILES {
            lab.write(name, contents);
        }
        lab.write("pxed.toml", CONFIG);
        lab
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file. `ROOT` in its content becomes the directory.
    pub(crate) fn write(&self, name: &str, contents: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let root = self.path().display().to_string();
        std::fs::write(path, contents.replace("ROOT", &root)).unwrap();
    }

    /// Runs a command of `pxed` with the configuration and these arguments.
    pub(crate) fn run(&self, command: &str, words: &str) -> Run {
        let mut pxed = Command::new(env!("CARGO_BIN_EXE_pxed"));
        pxed.arg(command).arg("--config").arg(self.path().join("pxed.toml"));
        let output = pxed.args(words.split_whitespace()).env_remove("RUST_LOG").output().unwrap();
        let root = self.path().display().to_string();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&root, "ROOT");
        Run { out: text(output.stdout), error: text(output.stderr), code: output.status.code() }
    }

    pub(crate) fn explain(&self, words: &str) -> Run {
        self.run("explain", words)
    }

    /// Runs `pxed explain` on one of the captures.
    pub(crate) fn capture(&self, name: &str) -> Run {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/explain/captures/{name}.pcap"));
        self.explain(&format!("--pcap {}", path.display()))
    }
}

/// Compares two texts, and prints both if they differ.
#[track_caller]
pub(crate) fn assert_text(actual: &str, expected: &str) {
    assert!(actual == expected, "--- printed\n{actual}\n--- expected\n{expected}");
}
