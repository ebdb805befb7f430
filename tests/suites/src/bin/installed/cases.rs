//! The cases of the installed package, in their order. Each one continues where the previous one ended.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};
use pxe_kit::command::output;
use pxe_kit::{clock, namespace, tree};
use pxe_tests::guest::{Case, ip, ip_says};
use pxe_tests::machine;
use serde_json::Value;

use crate::running;
use crate::service::{
    LIMIT, PACKAGE, begin, journal, main_pid, property, status, systemctl, wait_for_another,
};

/// All cases by name.
pub(crate) const ALL: &[(&str, Case)] = &[
    ("installs", installs),
    ("unconfigured", unconfigured),
    ("verifies", verifies),
    ("starts", starts),
    ("confined", confined),
    ("serves", || serve(SERVER)),
    ("restarts", restarts),
    ("restarts-running", running::over_a_restart),
    ("upgrades-running", running::over_an_upgrade),
    ("killed", killed),
    ("readdressed", readdressed),
    ("clock-set", running::while_the_clock_is_set),
    ("instance", instance),
    ("stops", stops),
    ("instance-stays", instance_stays),
    ("purges", purges),
];

pub(crate) const CONFIG: &str = "/etc/pxed/pxed.toml";
/// The daemon's address, its second address for `readdressed`, and the machine's, which replaces a lease of a DHCP server.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
pub(crate) const LATER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 3);
const MACHINE: &str = "10.99.0.100/24";
/// The file and the address of the second pxed, and the address of its client.
const INSTANCE_CONFIG: &str = "/etc/pxed/lab.toml";
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 2);
const SECOND_MACHINE: &str = "10.98.0.100/24";
/// The machine's network namespace, and its interface there.
pub(crate) const NAMESPACE: &str = "machine";
const INTERFACE: &str = "machine";
/// The DISCOVER of a real machine. tests/packets/dhcp/README.md names its source.
const DISCOVER: &[u8] = include_bytes!("../../../../packets/dhcp/ovmf-discover.bin");
const MAC: &str = "52:54:00:99:00:10";
const BOOT_FILE: &str = "bootx64.efi";
const BOOT_FILE_LEN: usize = 300_001;
/// The capabilities of the unit, as `/proc/PID/status` has them: NET_BIND_SERVICE, NET_ADMIN, NET_RAW, PERFMON, BPF
/// (linux/capability.h).
const BOUNDING: u64 = 1 << 10 | 1 << 12 | 1 << 13 | 1 << 38 | CAP_BPF;
const CAP_BPF: u64 = 1 << 39;

/// All paths of the system before the installation.
static BEFORE: OnceLock<BTreeSet<String>> = OnceLock::new();

/// The installation starts nothing and opens no port.
fn installs() -> Result<String> {
    // mmdebstrap leaves this file, which keeps packages from starting services. A real system does not have it.
    fs::remove_file("/usr/sbin/policy-rc.d")?;
    BEFORE.set(paths()?).ok().context("this case runs once")?;
    output(Command::new("dpkg").args(["--install", PACKAGE]))?;
    ensure!(property("UnitFileState")? == "disabled" && property("ActiveState")? == "inactive");
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let sockets = fs::read_to_string(format!("/proc/net/{table}"))?;
        ensure!(sockets.lines().count() == 1, "something listens: {sockets}");
    }
    let conffiles = output(Command::new("dpkg-query").args(["--show", "--showformat=${Conffiles}", "pxed"]))?;
    ensure!(conffiles.trim().starts_with(CONFIG), "{conffiles}");
    let user = output(Command::new("getent").args(["passwd", "pxed"]))?;
    ensure!(user.trim().ends_with("/nologin"), "{user}");
    Ok("ok".into())
}

/// A start without an interface fails, and the log names the key to set.
fn unconfigured() -> Result<String> {
    let refused = systemctl("start pxed").is_err();
    let said = journal()?;
    systemctl("stop pxed")?;
    ensure!(refused && said.contains("no interface is named"), "{said}");
    Ok("ok".into())
}

/// systemd accepts every line of the units. It also checks that the programs exist, so this runs after the installation.
fn verifies() -> Result<String> {
    for unit in ["pxed.service", "pxed@lab.service"] {
        let verify = Command::new("systemd-analyze").args(["verify", "--man=no", unit]).output()?;
        let said = String::from_utf8_lossy(&verify.stderr);
        let ours: Vec<_> = said.lines().filter(|line| line.contains("pxed")).collect();
        ensure!(verify.status.success() && ours.is_empty(), "{said}");
    }
    Ok("ok".into())
}

/// With an interface in the configuration, the service starts and attaches its program.
fn starts() -> Result<String> {
    ip(&format!("netns add {NAMESPACE}"))?;
    ip(&format!("link add server type veth peer name {INTERFACE} address {MAC} netns {NAMESPACE}"))?;
    ip(&format!("address add {SERVER}/24 dev server"))?;
    ip("link set server up")?;
    ip(&format!("-n {NAMESPACE} link set {INTERFACE} up"))?;
    let files = [(BOOT_FILE, BOOT_FILE_LEN), (running::FILE, running::FILE_LEN)];
    tree::with_files(Path::new("/srv"), &files.map(|(name, len)| (name, tree::bytes(len))))?;
    let config = fs::read_to_string(CONFIG)?;
    let config = config
        .replace("# interfaces = [\"eth0\"]", "interfaces = [\"server\"]")
        .replace("# root = \"/srv/tftp\"", "root = \"/srv/root\"");
    let more = "\n[http]\nport = 80\n[fleet]\nevents = \"/var/log/pxed/events.jsonl\"\n\
                [inbox]\ndirectory = \"/var/lib/pxed/inbox\"\n";
    fs::write(CONFIG, config + more)?;
    let checked = output(Command::new("pxed").args(["check", "--config", CONFIG]))?;
    begin("start").with_context(|| checked)?;
    let link = ip_says("link show server")?;
    ensure!(link.contains("xdpgeneric"), "no program is attached: {link}");
    Ok("ok".into())
}

/// The unit grants five capabilities, and the daemon keeps only CAP_BPF.
fn confined() -> Result<String> {
    for (name, wanted) in
        [("User", "pxed"), ("NoNewPrivileges", "yes"), ("Result", "success"), ("NRestarts", "0")]
    {
        let is = property(name)?;
        ensure!(is == wanted, "{name} is {is}");
    }
    let status = status(main_pid()?)?;
    let set = |name: &str| u64::from_str_radix(&status[name], 16).unwrap_or(u64::MAX);
    ensure!(set("CapBnd") == BOUNDING, "CapBnd {:x}", set("CapBnd"));
    for name in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        ensure!(set(name) & !CAP_BPF == 0, "{name} {:x}", set(name));
    }
    ensure!(!status["Uid"].split_whitespace().any(|id| id == "0"), "{status:?}");
    ensure!(status["NoNewPrivs"] == "1" && status["Seccomp"] == "2", "{status:?}");
    let said = journal()?;
    ensure!(said.contains("confined: ") && !said.contains("are not restricted"), "{said}");
    Ok("ok".into())
}

/// A machine boots, from DISCOVER to the last byte, curl loads the same file, and the daemon knows the machine.
fn serve(server: Ipv4Addr) -> Result<String> {
    let content = tree::bytes(BOOT_FILE_LEN);
    let booted = || -> Result<Vec<u8>> {
        namespace::enter(NAMESPACE)?;
        let offer = machine::discover(INTERFACE, DISCOVER)?;
        ensure!(offer.server == server && offer.file == BOOT_FILE, "{offer:?}");
        // In place of a lease from a DHCP server.
        ip(&format!("address replace {MACHINE} dev {INTERFACE}"))?;
        machine::load(offer.server, &offer.file)
    };
    let booted = std::thread::scope(|scope| scope.spawn(booted).join());
    let bytes = booted.map_err(|_| anyhow::anyhow!("the machine panicked"))?;
    ensure!(bytes.with_context(|| journal().unwrap_or_default())? == content, "the received file differs");
    for scheme in ["tftp", "http"] {
        let url = format!("{scheme}://{server}/{BOOT_FILE}");
        let curl = ["netns", "exec", NAMESPACE, "curl", "--silent", "--show-error", "--fail", &url];
        let got = Command::new("/bin/ip").args(curl).output()?;
        let error = String::from_utf8_lossy(&got.stderr);
        ensure!(got.stdout == content, "{url}: {} bytes: {error}", got.stdout.len());
    }
    check_known()?;
    Ok("ok".into())
}

/// `pxed status` reaches the daemon, and lists the machine.
fn check_known() -> Result<()> {
    let status = output(Command::new("pxed").args(["status", "--json"]))?;
    let status: Value = serde_json::from_str(&status)?;
    let mut machines = status["machines"].as_array().into_iter().flatten();
    ensure!(machines.any(|machine| machine["mac"] == MAC), "{status}");
    Ok(())
}

/// After `systemctl restart`, the daemon still knows the machine. After `systemctl reload`, it has read the configuration.
fn restarts() -> Result<String> {
    let before = main_pid()?;
    begin("restart")?;
    ensure!(main_pid()? != before, "the same process");
    check_known().context("after a restart")?;
    systemctl("reload pxed")?;
    clock::wait_until("the configuration is read again", LIMIT, || {
        Ok(journal()?.contains("applied the changed configuration"))
    })?;
    serve(SERVER)
}

/// systemd restarts the service after SIGKILL.
fn killed() -> Result<String> {
    let pid = main_pid()?;
    systemctl("kill --signal KILL pxed")?;
    wait_for_another(pid)?;
    ensure!(property("NRestarts")? == "1", "{}", journal()?);
    serve(SERVER)
}

/// The daemon ends when its interface gets another address, and systemd restarts it.
fn readdressed() -> Result<String> {
    let pid = main_pid()?;
    ip("address flush dev server")?;
    ip(&format!("address add {LATER}/24 dev server"))?;
    wait_for_another(pid)?;
    serve(LATER)
}

/// A second pxed serves another interface beside the first one, with a state, a socket and a log of its own.
fn instance() -> Result<String> {
    ip(&format!("link add second type veth peer name {INTERFACE}2 netns {NAMESPACE}"))?;
    ip(&format!("address add {SECOND}/24 dev second"))?;
    ip("link set second up")?;
    ip(&format!("-n {NAMESPACE} address add {SECOND_MACHINE} dev {INTERFACE}2"))?;
    ip(&format!("-n {NAMESPACE} link set {INTERFACE}2 up"))?;
    // The keys name the first pxed's state and socket, as in a copy of its file. The unit's options override them.
    let config = "interfaces = [\"second\"]\nroot = \"/srv/root\"\nstate = \"/var/lib/pxed\"\n\
                  socket = \"/run/pxed/pxed.sock\"\n";
    fs::write(INSTANCE_CONFIG, config)?;
    let log =
        || output(Command::new("journalctl").args(["--unit", "pxed@lab", "--no-pager", "--output", "cat"]));
    systemctl("start pxed@lab").with_context(|| log().unwrap_or_default())?;
    check_instance()?;
    let pxed: u32 = output(Command::new("id").args(["--user", "pxed"]))?.trim().parse()?;
    for (path, mode) in [("/var/lib/pxed@lab", 0o700), ("/var/log/pxed@lab", 0o750)] {
        let metadata = fs::metadata(path).context(path)?;
        let is = metadata.permissions().mode() & 0o7777;
        ensure!(metadata.uid() == pxed && is == mode, "{path}: {} {is:o}", metadata.uid());
    }
    ensure!(Path::new("/var/lib/pxed@lab/pxed.db").is_file(), "no history of its own");
    // The first one is not affected.
    serve(LATER)
}

/// The second pxed sends a file, and its socket answers.
fn check_instance() -> Result<()> {
    let url = format!("tftp://{SECOND}/{BOOT_FILE}");
    let got = Command::new("/bin/ip")
        .args(["netns", "exec", NAMESPACE, "curl", "--silent", "--show-error", &url])
        .output()?;
    let error = String::from_utf8_lossy(&got.stderr);
    ensure!(got.stdout == tree::bytes(BOOT_FILE_LEN), "{url}: {} bytes: {error}", got.stdout.len());
    output(Command::new("pxed").args(["status", "--json", "--socket", "/run/pxed@lab/pxed.sock"])).map(drop)
}

/// The second pxed serves after the first one has stopped, until it is stopped itself.
fn instance_stays() -> Result<String> {
    check_instance()?;
    systemctl("stop pxed@lab")?;
    ensure!(!Path::new("/run/pxed@lab").exists(), "the socket's folder still exists");
    fs::remove_file(INSTANCE_CONFIG)?;
    Ok("ok".into())
}

/// After a stop, nothing is attached, and the state files belong to pxed with the right modes.
fn stops() -> Result<String> {
    systemctl("stop pxed")?;
    ensure!(property("Result")? == "success", "{}", journal()?);
    // systemd releases the descriptors in its store only after the stop.
    let is_free = || Ok(!ip_says("link show server")?.contains("xdp"));
    clock::wait_until("no program is attached", LIMIT, is_free)?;
    let kept = property("NFileDescriptorStore")?;
    ensure!(kept == "0", "systemd still keeps {kept} descriptors");
    ensure!(!Path::new("/run/pxed").exists(), "the socket's folder still exists");
    let owner = fs::metadata(CONFIG)?.uid();
    ensure!(owner == 0, "the configuration belongs to {owner}");
    let pxed: u32 = output(Command::new("id").args(["--user", "pxed"]))?.trim().parse()?;
    for (path, mode) in [
        ("/var/lib/pxed", 0o700),
        ("/var/lib/pxed/inbox", 0o700),
        ("/var/log/pxed", 0o750),
        ("/var/log/pxed/events.jsonl", 0o640),
    ] {
        let metadata = fs::metadata(path).context(path)?;
        let is = metadata.permissions().mode() & 0o7777;
        ensure!(metadata.uid() == pxed && is == mode, "{path}: {} {is:o}", metadata.uid());
    }
    Ok("ok".into())
}

/// A purge removes everything but the user, whom Debian's policy keeps.
fn purges() -> Result<String> {
    fs::remove_dir_all("/srv/root")?;
    output(Command::new("dpkg").args(["--purge", "pxed"]))?;
    let before = BEFORE.get().context("the case `installs` did not record the paths")?;
    let after = paths()?;
    let differ: Vec<_> = after.symmetric_difference(before).collect();
    ensure!(differ.is_empty(), "{differ:?}");
    output(Command::new("getent").args(["passwd", "pxed"]))?;
    let unit = property("LoadState")?;
    ensure!(unit == "not-found", "the unit is still {unit}");
    Ok("ok".into())
}

/// All paths of the system, except those that the package manager, the user database, the journal and systemd change by
/// themselves.
fn paths() -> Result<BTreeSet<String>> {
    const OTHERS: [&str; 5] =
        ["/var/lib/dpkg/", "/var/log/journal/", "/var/log/dpkg.log", "/var/lib/systemd/", "/tmp/"];
    let all = output(Command::new("find").args(["/", "-xdev", "-path", "/proc", "-prune", "-o", "-print"]))?;
    let is_others = |path: &str| {
        let is_backup = path.starts_with("/etc/") && path.ends_with('-');
        is_backup || OTHERS.iter().any(|others| path.starts_with(others))
    };
    Ok(all.lines().filter(|path| !is_others(path)).map(str::to_owned).collect())
}
