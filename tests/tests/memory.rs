//! The memory test that reports over the network (issue 4): the image boots, tests, and says what it found; a bit that goes
//! bad in a machine's memory while it is tested is named by its address.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use pxe_tests::receiver::{Received, Receiver};
use pxe_user::fleet::report::{Report, Stage};
use xtask::image::{self, Image};
use xtask::lab::{Direct, Expect, Firmware, Lab, MachineSpec, Outcome, SharedMemory};

/// Generous: the machines are emulated, on a host that does other things as well.
const LIMIT: Duration = Duration::from_secs(420);
/// Bits that are flipped at most. stressapptest overwrites two pages in five without having looked at them again.
const FLIPS_MAX: usize = 40;

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

#[test]
fn a_bit_that_goes_bad_is_reported_with_its_address() {
    let lab = Lab::builder().machines(1).router_advertisements(false).start().unwrap();
    let receiver = Receiver::start(lab.responder()).unwrap();
    let file = lab.folder().join("bad.memory");
    let spec = MachineSpec { memory_file: Some(file.clone()), ..machine("bad", &receiver, 60, "FAIL") };
    let (outcome, flips) = thread::scope(|scope| {
        let boot = scope.spawn(|| lab.boot(&spec, |_| {}).unwrap());
        let flips = flip_until_reported(&receiver, &file, || boot.is_finished());
        (boot.join().unwrap(), flips)
    });
    let reports = receiver.reports();
    let shown = format!("flipped: {flips:#x?}\n{}", describe(&outcome, &reports));
    assert!(outcome.booted, "{shown}");
    let [done] = of_stage(&reports, Stage::Done)[..] else { panic!("no end: {shown}") };
    assert_eq!(done.pass, Some(false), "{shown}");
    assert!(done.error_count >= Some(1), "{shown}");
    let errors: Vec<_> = reports.iter().flat_map(|(_, report)| &report.errors).collect();
    assert!(!errors.is_empty(), "{shown}");
    for error in errors {
        let flip = flips.iter().find(|flip| error.address == Some(format!("{:#x}", flip.address)));
        let flip = flip.unwrap_or_else(|| panic!("{error:?} is no place where a bit was flipped\n{shown}"));
        // The eight bytes differ in that one bit.
        let number = |text: &Option<String>| {
            u64::from_str_radix(text.as_deref().unwrap_or_default().trim_start_matches("0x"), 16).unwrap()
        };
        let bits = number(&error.expected) ^ number(&error.actual);
        assert_eq!(bits, 1 << (8 * (flip.address % 8) + u64::from(flip.bit)), "{error:?}\n{shown}");
    }
    assert!(!of_stage(&reports, Stage::Error).is_empty(), "errors are reported when they are found: {shown}");
}

/// A bit that was flipped.
#[derive(Clone, Copy, Debug)]
struct Flip {
    address: u64,
    bit: u8,
}

/// Flips one bit after the other in pages under test, until one of them is reported.
#[expect(clippy::disallowed_methods, reason = "a limit for waiting, not an assertion")]
fn flip_until_reported(receiver: &Receiver, file: &std::path::Path, ended: impl Fn() -> bool) -> Vec<Flip> {
    let mut flips: Vec<Flip> = Vec::new();
    let is_reported = || receiver.reports().iter().any(|(_, report)| !report.errors.is_empty());
    let tests = || of_stage(&receiver.reports(), Stage::Start).len() == 1;
    while !ended() && !is_reported() && flips.len() < FLIPS_MAX {
        thread::sleep(Duration::from_millis(500));
        if !tests() {
            continue;
        }
        let memory = SharedMemory::open(file).unwrap();
        let pages = memory.pages_under_test().unwrap();
        let Some(page) = pages.get(pages.len() / 2) else { continue };
        let flip = Flip { address: page + 0x5a3, bit: (flips.len() % 8) as u8 };
        let bad = memory.flip(flip.address, flip.bit).unwrap();
        flips.push(flip);
        // The byte changes when the test has seen it and put it right, or has overwritten it.
        let flipped = Instant::now();
        while !ended() && !is_reported() && flipped.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(200));
            if memory.byte(flip.address).unwrap() != bad {
                // The report of it is on its way, if there is one.
                thread::sleep(Duration::from_secs(2));
                break;
            }
        }
    }
    flips
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
