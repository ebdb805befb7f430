//! The machines, and the configuration with a rule for each.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use pxe_kit::Lab;

use super::disk;
use crate::{Expect, Firmware, MachineSpec};

/// The address of the board, on the loopback interface of the responder's host.
pub const BOARD: &str = "127.0.0.1:7467";
/// The HTTP port for machines.
pub const HTTP_PORT: u16 = 8080;
/// The number of machines.
pub(super) const MACHINES: usize = 5;
/// The rules of the first four machines, in their order.
pub(super) const RULES: [&str; 4] = ["bios machines", "uefi machines", "http boot", "once"];

/// The limit for a machine. Generous, because the machines are emulated on a host that may be busy.
const LIMIT: Duration = Duration::from_secs(420);

/// The machines, in the order of their boots.
pub(super) struct Machines {
    /// The machines that boot at the same time.
    pub(super) first: Vec<MachineSpec>,
    /// The fourth machine, at its second boot.
    pub(super) once_again: MachineSpec,
    /// The machine in whose memory bits are flipped.
    pub(super) bad: MachineSpec,
}

pub(super) fn machines(lab: &Lab, out: &Path) -> Result<Machines> {
    let machine = |name: &str, firmware, port| MachineSpec {
        timeout: LIMIT,
        pictures: Some(out.join(name)),
        ..MachineSpec::new(name, firmware, port)
    };
    let disk = Some(disk::bios(lab.folder())?);
    let once = MachineSpec { disk, ..machine("once", Firmware::Bios, 3) };
    let once_again = MachineSpec {
        name: "once-again".to_owned(),
        expect: Expect::Screen(disk::WORDS.to_owned()),
        pictures: Some(out.join("once-again")),
        ..once.clone()
    };
    let bad = MachineSpec {
        memory: 384,
        memory_file: Some(lab.folder().join("bad.memory")),
        expect: Expect::Serial("VERDICT: FAIL".to_owned()),
        ..machine("bad", Firmware::Bios, 4)
    };
    let first = vec![
        machine("bios", Firmware::Bios, 0),
        machine("uefi", Firmware::Uefi, 1),
        machine("http", Firmware::UefiHttp, 2),
        once,
    ];
    Ok(Machines { first, once_again, bad })
}

/// The path of the daemon's Unix socket.
pub(super) fn socket(lab: &Lab) -> String {
    lab.folder().join("pxed.sock").display().to_string()
}

pub(super) fn config(lab: &Lab, image: &Path) -> String {
    let mac = |port: usize| MachineSpec::new("", Firmware::Bios, port).mac();
    let (once, bad) = (mac(3), mac(4));
    let (bios, uefi, http, named) = (RULES[0], RULES[1], RULES[2], RULES[3]);
    let interface = lab.responder().interface();
    // A string in JSON is also a string in TOML.
    let quoted = |path: &Path| serde_json::Value::from(path.to_string_lossy()).to_string();
    let (state, root) = (quoted(&lab.folder().join("state")), quoted(image));
    let socket = quoted(Path::new(&socket(lab)));
    format!(
        r#"
interfaces = ["{interface}"]
state = {state}
socket = {socket}

[http]
port = {HTTP_PORT}

[board]
listen = "{BOARD}"

[images.memtest]

[images.memory-test]
root = {root}
kernel = "{kernel}"
initrd = ["{initrd}"]
args = "console=tty0 console=ttyS0,115200 pxed.report={{{{ report_url }}}} pxed.mac={{{{ mac }}}} pxed.seconds=60"

[[rules]]
name = "{named}"
match = {{ mac = "{once}" }}
image = "memtest"
once = true

[[rules]]
name = "suspects"
match = {{ mac = "{bad}" }}
image = "memory-test"

[[rules]]
name = "{bios}"
match = {{ arch = "bios" }}
image = "memtest"

[[rules]]
name = "{http}"
match = {{ arch = "x64-http" }}
image = "memtest"

[[rules]]
name = "{uefi}"
match = {{ arch = ["x64", "ia32"] }}
image = "memtest"
"#,
        kernel = pxe_memtest::KERNEL,
        initrd = pxe_memtest::INITRD,
    )
}
