//! The cases of the guest, in their order. Each one cleans up after itself, so that the next is independent.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pxe_kit::daemon::Daemon;
use pxe_nic::programs::{Mode, Programs, takes_several_buffers};
use pxe_tests::guest::{Case, ip, ip_says, say};
use pxe_tests::machine::{self, Offer};
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::daemon::{self, Serving};

/// All cases by name.
pub(crate) const ALL: &[(&str, Case)] = &[
    ("load", || load(1500)),
    ("load-frags", || load(9000)),
    ("load-offload", load_offload),
    ("veth-generic", || over_veth(|server, machine| boot(server, machine, GENERIC))),
    ("veth-native", || over_veth(|server, machine| boot(server, machine, NATIVE))),
    ("veth-socket", || over_veth(|server, machine| boot(server, machine, SOCKET))),
    ("killed-generic", || over_veth(|server, _| kill(server, GENERIC))),
    ("killed-native", || over_veth(|server, _| kill(server, NATIVE))),
    ("virtio-auto", || over_virtio(|server, machine| boot(server, machine, &[]))),
    ("virtio-socket", || over_virtio(|server, machine| boot(server, machine, SOCKET))),
    ("churn", || over_virtio(churn)),
];

const GENERIC: &[&str] = &["--datapath", "xdp", "--xdp-mode", "generic"];
const NATIVE: &[&str] = &["--datapath", "xdp", "--xdp-mode", "native"];
const SOCKET: &[&str] = &["--datapath", "socket"];

/// The daemon's address, and the machine's, which replaces a lease of a DHCP server.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const MACHINE: &str = "10.99.0.100/24";
/// The folder of the boot tree.
const TREE: &str = "/tmp/tree";
/// The network namespace with the machine's interface.
const NAMESPACE: &str = "machine";
/// The DISCOVER of a real machine. tests/packets/dhcp/README.md names its source.
const DISCOVER: &[u8] = include_bytes!("../../../../packets/dhcp/ovmf-discover.bin");
/// The boot file of an x64 machine: some hundred blocks, the last one shorter.
const BOOT_FILE: &str = "bootx64.efi";
const BOOT_FILE_LEN: usize = 300_001;

/// The kernel's verifier accepts the program for interfaces with this MTU.
fn load(mtu: u32) -> Result<String> {
    let before_frags = kernel_version()? < (5, 18);
    match Programs::load(1, 1024, takes_several_buffers(Mode::Native, mtu)) {
        Ok(_) => Ok("ok".into()),
        Err(error) if mtu > 3498 && before_frags => {
            // Older kernels do not know the flag for fragments, and reject the program before the verifier runs.
            ensure!(error.to_string().contains("Invalid argument"), "{error}");
            Ok("ok: refused before Linux 5.18".into())
        }
        Err(error) => Err(anyhow::Error::from(error)),
    }
}

/// Reports which layers of the offload this kernel accepts.
fn load_offload() -> Result<String> {
    let mut programs = match Programs::load_offload(1, 1024, false, 1024) {
        Ok(programs) => programs,
        Err(error) => {
            ensure!(kernel_version()? < (5, 18), "{error}");
            return Ok("ok: no layer".into());
        }
    };
    match over_veth(|server, _| {
        let attached = programs.load_tcx().and_then(|()| programs.attach_tcx(server));
        Ok(attached.map_or_else(|e| e.to_string(), |()| "tcx".into()))
    }) {
        Ok(said) if said == "tcx" => Ok("ok: xdp and tcx".into()),
        Ok(error) => {
            ensure!(kernel_version()? < (6, 6), "{error}");
            Ok("ok: xdp".into())
        }
        Err(error) => Err(error),
    }
}

fn kernel_version() -> Result<(u32, u32)> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(['.', '-']).map_while(|word| word.parse().ok());
    Ok((numbers.next().context("no version")?, numbers.next().context("no version")?))
}

/// Runs a case with the names of a new pair of veth interfaces.
fn over_veth(run: impl FnOnce(&str, &str) -> Result<String>) -> Result<String> {
    let _namespace = Namespace::new()?;
    ip(&format!("link add server type veth peer name machine netns {NAMESPACE}"))?;
    let result = bring_up("server", "machine").and_then(|()| run("server", "machine"));
    ip("link delete server")?;
    result
}

/// Runs a case with the names of the two virtio cards, which their Ethernet addresses identify.
fn over_virtio(run: impl FnOnce(&str, &str) -> Result<String>) -> Result<String> {
    let namespace = Namespace::new()?;
    let server = interface_of("52:54:00:99:01:01")?;
    let machine = interface_of("52:54:00:99:01:02")?;
    ip(&format!("link set {machine} netns {NAMESPACE}"))?;
    let result = bring_up(&server, &machine).and_then(|()| run(&server, &machine));
    ip(&format!("address flush dev {server}"))?;
    namespace.ip(&format!("link set {machine} netns 1"))?;
    result
}

fn bring_up(server: &str, machine: &str) -> Result<()> {
    ip(&format!("address add {SERVER}/24 dev {server}"))?;
    ip(&format!("link set {server} up"))?;
    ip(&format!("-n {NAMESPACE} link set {machine} up"))
}

/// Boots once, from DISCOVER to the last byte, and reports the datapath.
fn boot(server: &str, machine: &str, arguments: &[&str]) -> Result<String> {
    let content = boot_tree(Path::new(TREE))?;
    let daemon = daemon::start(server, TREE, arguments)?;
    let booted = daemon::serving(&daemon).and_then(|serving| {
        check_attached(server, &serving)?;
        let bytes = in_namespace(|| load_as_machine(machine))?;
        ensure!(bytes == content, "the received file differs");
        Ok(serving)
    });
    let log = daemon.stop();
    let serving = booted.inspect_err(|_| say(log.as_deref().unwrap_or("no log")))?;
    let log = log?;
    check_detached(server)?;
    // The layers that have answered ACKs.
    let layers = [("answer_xdp", "xdp"), ("answer_tcx", "tcx")];
    let answered = layers.iter().filter(|(label, _)| Daemon::count(&log, label) > 0);
    let answered: Vec<_> = answered.map(|(_, layer)| *layer).collect();
    if answered.is_empty() {
        Ok(format!("ok: {serving}"))
    } else {
        Ok(format!("ok: {serving}, answered in {}", answered.join(" and ")))
    }
}

/// Replaces a file again and again while the kernel sends it. The offload's inner maps are created and freed while the
/// program reads from them. Each transfer must deliver one whole version, and the kernel must log no error. The case
/// uses virtio cards, because ACKs over a veth have partial checksums, and the offload leaves those to the daemon.
fn churn(server: &str, machine: &str) -> Result<String> {
    let first = boot_tree(Path::new(TREE))?;
    let second: Vec<u8> = first.iter().map(|byte| !byte).collect();
    let versions = [first, second];
    let mut complaints = KernelLog::open()?;
    let daemon = daemon::start(server, TREE, &[])?;
    let is_over = AtomicBool::new(false);
    let churned = daemon::serving(&daemon).and_then(|_| {
        // pxed may refuse a file that changes during the first copy of it, and has an earlier copy later.
        let offer = in_namespace(|| first_load(machine))?;
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| replace(&versions, &is_over));
            let loaded = in_namespace(|| load_while_replaced(&offer, &versions));
            is_over.store(true, Ordering::Relaxed);
            let replaced = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
            loaded?;
            ensure!(replaced > CHURNED_LOADS, "the file was replaced {replaced} times only");
            Ok(())
        })
    });
    let log = daemon.stop();
    churned.inspect_err(|_| say(log.as_deref().unwrap_or("no log")))?;
    let complaints = complaints.new_lines()?;
    ensure!(complaints.is_empty(), "the kernel logged: {}", complaints.join("; "));
    let log = log?;
    let answered = ["answer_xdp", "answer_tcx"].iter().map(|label| Daemon::count(&log, label)).sum::<u64>();
    Ok(if answered > 0 { "ok: answered in the kernel".into() } else { "ok: without offload".into() })
}

/// The number of transfers while the file is replaced.
const CHURNED_LOADS: u32 = 12;

fn first_load(interface: &str) -> Result<Offer> {
    let offer = machine::discover(interface, DISCOVER)?;
    ip(&format!("address add {MACHINE} dev {interface}"))?;
    machine::load_in_lock_step(offer.server, &offer.file)?;
    Ok(offer)
}

fn load_while_replaced(offer: &Offer, versions: &[Vec<u8>; 2]) -> Result<()> {
    let mut seen = [false; 2];
    for _ in 0..CHURNED_LOADS {
        let bytes = machine::load_in_lock_step(offer.server, &offer.file)?;
        let version = versions.iter().position(|version| *version == bytes);
        seen[version.context("the received file is neither version")?] = true;
    }
    ensure!(seen == [true; 2], "only one of the versions was received");
    Ok(())
}

/// Replaces the file by one version after the other, and returns the number of times.
fn replace(versions: &[Vec<u8>; 2], is_over: &AtomicBool) -> Result<u32> {
    let root = Path::new(TREE);
    let mut replaced = 0;
    while !is_over.load(Ordering::Relaxed) {
        let next = root.join("next");
        fs::write(&next, &versions[(replaced as usize + 1) % 2])?;
        fs::rename(&next, root.join(BOOT_FILE))?;
        replaced += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(replaced)
}

/// The kernel's log, from the moment of opening.
struct KernelLog(fs::File);

impl KernelLog {
    fn open() -> Result<Self> {
        let mut log = OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
            .open("/dev/kmsg")?;
        log.seek(SeekFrom::End(0))?;
        Ok(Self(log))
    }

    /// The errors and warnings since the opening.
    fn new_lines(&mut self) -> Result<Vec<String>> {
        const SIGNS: [&str; 6] =
            ["BUG", "WARNING", "Oops", "general protection", "refcount", "use-after-free"];
        let mut complaints = Vec::new();
        let mut record = [0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(len) => {
                    let line = String::from_utf8_lossy(&record[..len]).trim().to_owned();
                    complaints.extend(Some(line).filter(|line| SIGNS.iter().any(|sign| line.contains(sign))));
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(complaints),
                // The kernel has overwritten records before they were read.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Kills the daemon by SIGKILL. Nothing may stay attached, although the daemon cannot clean up.
fn kill(server: &str, arguments: &[&str]) -> Result<String> {
    boot_tree(Path::new(TREE))?;
    let daemon = daemon::start(server, TREE, arguments)?;
    let attached = daemon::serving(&daemon).and_then(|serving| check_attached(server, &serving));
    daemon.signal(Signal::KILL)?;
    daemon.ended()?;
    attached?;
    check_detached(server)?;
    Ok("ok".into())
}

/// Checks that the datapath in the daemon's log is the one that the kernel shows.
fn check_attached(interface: &str, serving: &Serving) -> Result<()> {
    let link = ip_says(&format!("link show {interface}"))?;
    let shown = match (link.contains("xdpgeneric"), link.contains("xdp")) {
        (true, _) => "xdp generic",
        (false, true) => "xdp native",
        (false, false) => "socket",
    };
    ensure!(serving.to_string().starts_with(shown), "the daemon logged {serving}, the kernel shows {link}");
    Ok(())
}

fn check_detached(interface: &str) -> Result<()> {
    let link = ip_says(&format!("link show {interface}"))?;
    ensure!(!link.contains("xdp"), "a program is still attached: {link}");
    Ok(())
}

fn load_as_machine(interface: &str) -> Result<Vec<u8>> {
    let offer = machine::discover(interface, DISCOVER)?;
    ensure!(offer.server == SERVER && offer.file == BOOT_FILE, "{offer:?}");
    // In place of a lease from a DHCP server.
    ip(&format!("address add {MACHINE} dev {interface}"))?;
    let bytes = machine::load(offer.server, &offer.file)?;
    // Twice, because the file is not in the kernel yet at the first transfer.
    for _ in 0..2 {
        ensure!(
            machine::load_in_lock_step(offer.server, &offer.file)? == bytes,
            "the file received in lock-step differs"
        );
    }
    Ok(bytes)
}

/// Makes the boot tree, and returns the boot file's content.
fn boot_tree(root: &Path) -> Result<Vec<u8>> {
    // All blocks differ, so that a misplaced block shows.
    let byte = |at: usize| (at.wrapping_mul(0x9e37_79b1) >> 16) as u8;
    let content: Vec<u8> = (0..BOOT_FILE_LEN).map(byte).collect();
    fs::create_dir_all(root)?;
    for name in [BOOT_FILE, "pxelinux.0"] {
        fs::write(root.join(name), &content)?;
    }
    Ok(content)
}

/// The network namespace of the machine. Dropping it removes it, with the interfaces in it.
struct Namespace;

impl Namespace {
    fn new() -> Result<Self> {
        ip(&format!("netns add {NAMESPACE}"))?;
        Ok(Self)
    }

    fn ip(&self, words: &str) -> Result<()> {
        ip(&format!("-n {NAMESPACE} {words}"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&format!("netns delete {NAMESPACE}")) {
            say(&format!("{error:#}"));
        }
    }
}

/// Runs a function on a new thread in the machine's namespace.
fn in_namespace<T: Send>(run: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let enter = || -> Result<T> {
        let namespace = fs::File::open(Path::new("/run/netns").join(NAMESPACE))?;
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network))?;
        run()
    };
    std::thread::scope(|scope| scope.spawn(enter).join())
        .map_err(|_| anyhow::anyhow!("the machine panicked"))?
}

fn interface_of(mac: &str) -> Result<String> {
    for entry in fs::read_dir("/sys/class/net")? {
        let entry = entry?;
        let address = fs::read_to_string(entry.path().join("address")).unwrap_or_default();
        if address.trim() == mac {
            return Ok(entry.file_name().to_string_lossy().into_owned());
        }
    }
    anyhow::bail!("no interface has the address {mac}")
}
