//! A veth pair in a network namespace of the test's own thread: the daemon at one end, simulated machines at the other.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use pxe_kit::daemon::{Daemon, program};
use pxe_kit::{clock, namespace};
use pxe_proto::mac::Mac;

use crate::fleet::{self, Plan};
use crate::manners::Kind;
use crate::noise::Noise;
use crate::report::Report;
use crate::script::{Crew, Dhcp, Script};
use crate::strangers::Crowd;

/// The daemon's end.
pub const INTERFACE: &str = "pxe0";
/// The machines' end.
pub const PEER: &str = "peer0";
/// The daemon's address.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 1);
/// Its Ethernet address.
pub const MAC: Mac = Mac([2, 0x50, 0, 0, 0, 1]);
/// How long anything may take: a guard against hanging, no assertion.
const LIMIT: Duration = Duration::from_secs(60);

/// The pair with what is served.
#[derive(Debug)]
pub struct Pair {
    folder: tempfile::TempDir,
}

impl Pair {
    /// Moves this thread into a namespace with a pair that has so many receive queues at each end.
    ///
    /// # Errors
    /// Without root, or when a tool is missing.
    pub fn new(queues: u32) -> Result<Self> {
        namespace::enter_new()?;
        let each = format!("numrxqueues {queues} numtxqueues {queues}");
        ip(&format!("link add {INTERFACE} {each} type veth peer name {PEER} {each}"))?;
        // Machines answer no ARP: they are one process.
        ip(&format!("link set {INTERFACE} address {MAC} arp off up"))?;
        ip(&format!("addr add {ADDRESS}/16 dev {INTERFACE}"))?;
        ip(&format!("link set {PEER} up"))?;
        // As a wire carries them: else the kernel answers no ACK.
        run("ethtool", &["-K", PEER, "tx", "off"])?;
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("root"))?;
        open_to_all(folder.path())?;
        Ok(Self { folder })
    }

    /// A folder that goes with the pair.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What is served.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Serves a file of this name.
    ///
    /// # Errors
    /// The system's.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        Ok(std::fs::write(self.root().join(name), bytes)?)
    }

    /// A command for the daemon, which serves the root; BIOS machines are told `boot.img`, which is made if it is not there.
    ///
    /// # Errors
    /// The system's.
    pub fn command(&self, arguments: &[&str]) -> Result<Vec<String>> {
        if !self.root().join("boot.img").exists() {
            self.put("boot.img", b"boot")?;
        }
        let root = self.root().display().to_string();
        let socket = self.folder.path().join("pxed.sock").display().to_string();
        let program = program().display().to_string();
        let fixed = ["serve", "--interface", INTERFACE, "--root", &root, "--socket", &socket];
        let boot = ["--boot-file", "bios=boot.img", "--boot-file", "x64=boot.img"];
        let words = fixed.iter().chain(&boot).chain(arguments).map(|word| (*word).to_owned());
        Ok(std::iter::once(program).chain(words).collect())
    }

    /// Starts the daemon and waits until it serves.
    ///
    /// # Errors
    /// When it does not.
    pub fn serve(&self, arguments: &[&str]) -> Result<Daemon> {
        Daemon::start_here(&self.command(arguments)?)
    }

    /// What `machines` load: this file, from the first port `port`.
    pub fn plan(&self, machines: u32, (name, bytes): (&str, &[u8]), port: u16) -> Plan {
        let script = Script::new(ADDRESS, Dhcp::Skip, Crew::All(Kind::Plain), 1468, 1);
        let mut script = script.loading(vec![(name.into(), bytes.to_vec())], 0);
        script.port = port;
        Plan {
            interface: index(PEER).unwrap_or_default(),
            machines,
            first: 0,
            power_on: Duration::ZERO,
            noise: Noise::default(),
            noise_back: Noise::default(),
            seed: 1,
            limit: LIMIT,
            peers: vec![MAC],
            pad: 0,
            script,
            crowd: Crowd::default(),
            kernel: None,
            stop_after: None,
        }
    }

    /// Some machines load a file; all must have it, whole.
    ///
    /// # Errors
    /// When they have not.
    pub fn load(&self, file: (&str, &[u8]), port: u16) -> Result<()> {
        all_done(&fleet::run(&self.plan(16, file, port))?)
    }
}

/// All machines have the right bytes.
///
/// # Errors
/// When some have not.
pub fn all_done(report: &Report) -> Result<()> {
    ensure!(report.failed == 0 && report.wrong == 0 && report.done > 0, "{}", report.to_json());
    Ok(())
}

/// Runs `ip` with these words.
///
/// # Errors
/// When it fails; with what it said.
pub fn ip(words: &str) -> Result<String> {
    run("ip", &words.split(' ').collect::<Vec<_>>())
}

/// Runs a program in this thread's namespace.
///
/// # Errors
/// When it fails; with what it said.
pub fn run(program: &str, words: &[&str]) -> Result<String> {
    pxe_kit::command::output(Command::new(program).args(words))
}

/// Lets everybody enter a folder: the daemon gives up root's rights.
///
/// # Errors
/// The system's.
fn open_to_all(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?)
}

fn index(interface: &str) -> Result<u32> {
    let text = std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))?;
    Ok(text.trim().parse()?)
}

/// What is attached to an interface, by its name: XDP programs, and tcx programs.
///
/// # Errors
/// When the kernel does not say.
pub fn attached(interface: &str) -> Result<usize> {
    let xdp = usize::from(ip(&format!("link show dev {interface}"))?.contains("xdp"));
    let tcx = aya::programs::SchedClassifier::query_tcx(interface, aya::programs::TcAttachType::Ingress)?;
    Ok(xdp + tcx.1.len())
}

/// Waits until nothing is attached: the kernel takes programs away when their last descriptor is gone, soon, not at once.
///
/// # Errors
/// When something stays.
pub fn wait_detached(interface: &str) -> Result<()> {
    clock::wait_until("nothing is attached", LIMIT, || Ok(attached(interface)? == 0))
}
