//! The memory test that reports over the network (issue 4): the image boots, tests, and says what it found. That a bit which
//! goes bad is named by its address is shown in `fleet.rs`.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use pxe_tests::daemon::Daemon;
use pxe_tests::receiver::{Received, Receiver};
use pxe_user::fleet::report::{Report, Stage};
use xtask::image::{self, INITRD, Image, KERNEL};
use xtask::lab::{Direct, Expect, Firmware, Lab, MachineSpec, Outcome};

/// Generous: the machines are emulated, on a host that does other things as well.
const LIMIT: Duration = Duration::from_secs(420);

/// The image, made once.
fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| image::build(&xtask::command::target_dir().join("memory-test")).unwrap())
}

/// A machine that boots the image and reports to `receiver`, and shall end with a verdict.
fn machine(name: &str, receiver: &Receiver, seconds: u32, verdict: &str) -> MachineSpec {
    let spec = MachineSpec::new(name, Firmware::Bios, 0);
    // iPXE on UEFI begins with the kernel's own name; the kernel hands such words to its first process.
    let arguments = format!(
        "memtest-kernel console=tty0 console=ttyS0,115200 pxed.report={} pxed.mac={} pxed.seconds={seconds}",
        receiver.url(),
        spec.mac()
    );
    let direct = Direct { kernel: image().kernel.clone(), initrd: image().initrd.clone(), arguments };
    MachineSpec {
        memory: 384,
        direct: Some(direct),
        expect: Expect::Serial(format!("VERDICT: {verdict}")),
        timeout: LIMIT,
        ..spec
    }
}

fn describe(outcome: &Outcome, reports: &[Received]) -> String {
    format!("{}\n{}\n{reports:#?}", outcome.reason, outcome.serial)
}

fn of_stage(reports: &[Received], stage: Stage) -> Vec<&Report> {
    reports.iter().map(|(_, report)| report).filter(|report| report.stage == stage).collect()
}

#[test]
fn good_memory_is_tested_and_reported_as_such() {
    let lab = Lab::builder().machines(1).router_advertisements(false).start().unwrap();
    let receiver = Receiver::start(lab.responder()).unwrap();
    let spec = MachineSpec { processors: 2, ..machine("good", &receiver, 20, "PASS") };
    let outcome = lab.boot(&spec, |_| {}).unwrap();
    let reports = receiver.reports();
    let shown = describe(&outcome, &reports);
    assert!(outcome.booted, "{shown}");
    assert!(reports.iter().all(|(mac, _)| *mac == spec.mac()), "{shown}");

    let first = &reports.first().expect("reports").1;
    assert_eq!(first.stage, Stage::Start, "{shown}");
    assert_eq!(first.uuid.as_deref(), Some(spec.uuid().as_str()), "{shown}");
    assert_eq!(first.cpus, Some(2), "{shown}");
    // Most of the machine's memory; the rest is the kernel's.
    assert!(first.memory.is_some_and(|memory| memory > 200 << 20), "{shown}");
    let table = decoded(first.smbios.as_deref().expect("the SMBIOS table"));
    assert!(table.windows(6).any(|words| words == b"DIMM 0"), "QEMU's one DIMM is in the table");

    let progress = of_stage(&reports, Stage::Progress);
    assert!(progress.iter().any(|report| report.percent.is_some_and(|p| (1..100).contains(&p))), "{shown}");
    let [done] = of_stage(&reports, Stage::Done)[..] else { panic!("no end: {shown}") };
    assert_eq!((done.pass, done.error_count), (Some(true), Some(0)), "{shown}");
    assert!(reports.iter().all(|(_, report)| report.errors.is_empty()), "{shown}");
}

/// One rule for both kinds: PXELINUX or iPXE on BIOS, iPXE on UEFI, each with what it needs, and reports to the daemon.
#[test]
fn one_rule_boots_bios_and_uefi_machines_into_the_test() {
    let lab = Lab::builder().machines(2).start().unwrap();
    let config = lab.folder().join("pxed.toml");
    let folder = image().kernel.parent().unwrap().display();
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
    let machines = [spec("bios", Firmware::Bios, 0, 384), spec("uefi", Firmware::Uefi, 1, 512)];
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let threads = machines.each_ref().map(|spec| scope.spawn(|| lab.boot(spec, |_| {}).unwrap()));
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (machine, outcome) in machines.iter().zip(&outcomes) {
        let said = format!("{}: {}\n{}", machine.name, outcome.reason, outcome.serial);
        assert!(outcome.booted, "{said}\n{}\n{}", outcome.screen, daemon.log());
    }
    let events = daemon.events("fetched");
    let fetched = |machine: &MachineSpec, file: &str| {
        events
            .iter()
            .any(|line| line.contains(&machine.mac()) && line.contains(&format!("\"file\":\"{file}\"")))
    };
    assert!(fetched(&machines[1], "loader/snponly.efi"), "{events:#?}");
    assert!(machines.iter().all(|machine| fetched(machine, "memory-test/memtest-initrd")), "{events:#?}");
    daemon.stop().unwrap();
}

/// Base64, by busybox.
fn decoded(text: &str) -> Vec<u8> {
    let mut busybox = Command::new("busybox")
        .args(["base64", "-d"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("busybox is there: run `cargo xtask setup`");
    busybox.stdin.take().expect("a pipe").write_all(text.as_bytes()).unwrap();
    busybox.wait_with_output().unwrap().stdout
}
