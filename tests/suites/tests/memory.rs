//! The memory test that reports over the network: the image boots, tests the memory, and reports. `fleet.rs` tests that
//! a report names the address of a bad bit.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use pxe_guests::image;
use pxe_kit::daemon::Daemon;
use pxe_kit::{Lab, clock};
use pxe_lab::{BootOutcome, Expect, Firmware, MachineSpec, boot};
use pxe_memtest::{INITRD, KERNEL};
use serde_json::Value;

/// The limit for a machine. Generous, because machines are emulated on a host that may be busy.
const LIMIT: Duration = Duration::from_secs(420);

/// One rule boots BIOS machines by PXELINUX or iPXE, and UEFI machines by iPXE. Both report to the daemon.
#[test]
fn one_rule_boots_bios_and_uefi_machines_into_the_test() {
    let lab = Lab::builder().machines(2).start().unwrap();
    let config = lab.folder().join("pxed.toml");
    let folder = pxe_kit::command::target_dir().join("memory-test");
    image::build(&folder).unwrap();
    let folder = folder.display();
    let text = format!(
        r#"
http = {{ port = 8080, ipxe = true }}
[images.memory-test]
root = "{folder}"
kernel = "{KERNEL}"
initrd = ["{INITRD}"]
args = "console=tty0 console=ttyS0,115200 pxed.report={{{{ report_url }}}} pxed.mac={{{{ mac }}}} pxed.seconds=15"
[[rules]]
image = "memory-test"
"#
    );
    std::fs::write(&config, text).unwrap();
    let daemon = Daemon::start(&lab, &["--config", config.to_str().unwrap()]).unwrap();
    let spec = |name: &str, firmware, port, memory| MachineSpec {
        memory,
        expect: Expect::Serial("VERDICT: PASS".to_owned()),
        timeout: LIMIT,
        ..MachineSpec::new(name, firmware, port)
    };
    let bios = MachineSpec { processors: 2, ..spec("bios", Firmware::Bios, 0, 384) };
    let machines = [bios, spec("uefi", Firmware::Uefi, 1, 512)];
    let outcomes: Vec<BootOutcome> = thread::scope(|scope| {
        let threads = machines.each_ref().map(|spec| scope.spawn(|| boot(&lab, spec, |_| {}).unwrap()));
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (machine, outcome) in machines.iter().zip(&outcomes) {
        let said = format!("{}: {}\n{}", machine.name, outcome.reason, outcome.serial);
        assert!(outcome.booted, "{said}\n{}\n{}", outcome.screen, daemon.log());
    }
    let fetched = |events: &[String], machine: &MachineSpec, file: &str| {
        events
            .iter()
            .any(|line| line.contains(&machine.mac()) && line.contains(&format!("\"file\":\"{file}\"")))
    };
    assert!(fetched(&daemon.events("fetched"), &machines[1], "loader/snponly.efi"), "{}", daemon.log());
    // A machine may start its kernel without the last ACK. The daemon then counts the file half a minute later.
    let all_have_the_last = || {
        let events = daemon.events("fetched");
        Ok(machines.iter().all(|machine| fetched(&events, machine, "memory-test/memtest-initrd")))
    };
    clock::wait_until("each machine's last file is counted", Duration::from_secs(90), all_have_the_last)
        .unwrap_or_else(|error| panic!("{error}\n{}", daemon.log()));
    let passed = |status: &Value| machines.iter().all(|machine| of(status, machine)["state"] == "passed");
    let status = daemon.wait_status("both machines have passed", passed).unwrap();
    for spec in &machines {
        good(of(&status, spec), spec);
    }
    daemon.stop().unwrap();
}

fn of<'s>(status: &'s Value, spec: &MachineSpec) -> &'s Value {
    let mut machines = status["machines"].as_array().into_iter().flatten();
    machines.find(|machine| machine["mac"] == spec.mac()).unwrap_or(&Value::Null)
}

/// Checks the report of a machine with good memory.
fn good(machine: &Value, spec: &MachineSpec) {
    let verdict = &machine["verdict"];
    assert_eq!((&verdict["outcome"], &verdict["errors"]), (&"pass".into(), &0.into()), "{machine}");
    assert_eq!(verdict["first_errors"], Value::Array(Vec::new()), "{machine}");
    // The test must cover most of the memory. The kernel uses the rest.
    let tested = verdict["memory"].as_u64().unwrap_or_default();
    assert!(tested > (u64::from(spec.memory) * 6 / 10) << 20, "{machine}");
    assert_eq!(machine["uuid"], spec.uuid(), "{machine}");
    let size = u64::from(spec.memory) << 20;
    assert_eq!(
        (&machine["dimms"][0]["slot"], &machine["dimms"][0]["size"]),
        (&"DIMM 0".into(), &size.into())
    );
}

/// `pxed image build` builds the same image as the lab, bit for bit. Without a kernel, its message names the remedy.
#[test]
fn pxed_builds_the_same_image() {
    let folder = tempfile::tempdir().unwrap();
    let [ours, users] = ["ours", "users"].map(|name| folder.path().join(name));
    image::build(&ours).unwrap();
    let build = |system: &Path| {
        let mut pxed = Command::new(pxe_kit::daemon::program());
        pxed.args(["image", "build", "--out"]).arg(&users).arg("--system").arg(system).output().unwrap()
    };
    let built = build(&image::kernel().unwrap().tree);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    for file in [KERNEL, INITRD] {
        let same = std::fs::read(ours.join(file)).unwrap() == std::fs::read(users.join(file)).unwrap();
        assert!(same, "{file} differs");
    }
    // The printed table is valid in pxed.toml as it is.
    let printed = String::from_utf8(built.stdout).unwrap();
    let config = folder.path().join("pxed.toml");
    let rest = "http = { port = 8080, ipxe = true }\ninterfaces = [\"lab0\"]\n";
    std::fs::write(&config, format!("{rest}{printed}\n[[rules]]\nimage = \"memory-test\"\n")).unwrap();
    let checked = Command::new(pxe_kit::daemon::program())
        .args(["check", "--no-host", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let refused = build(folder.path());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("no kernel below"), "{said}");
}
