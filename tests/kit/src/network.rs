//! Makes the network of a lab: the switch and its hosts. The head of the crate draws it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::dnsmasq;
use crate::owner;
use crate::process::Process;

/// The options of a lab.
#[derive(Clone, Debug)]
pub struct Builder {
    machines: usize,
    dhcp: bool,
    router: bool,
    responders: usize,
    offload: bool,
    logs: Option<PathBuf>,
}

impl Builder {
    /// The number of ports for emulated machines. Default: none.
    #[must_use]
    pub fn machines(mut self, count: usize) -> Self {
        self.machines = count;
        self
    }

    /// Whether the network has a DHCP server, for addresses only. Default: yes.
    #[must_use]
    pub fn dhcp(mut self, yes: bool) -> Self {
        self.dhcp = yes;
        self
    }

    /// Whether an IPv6 router sends advertisements. Default: yes. Without them, iPXE waits 16 s before it boots.
    #[must_use]
    pub fn router_advertisements(mut self, yes: bool) -> Self {
        self.router = yes;
        self
    }

    /// The number of hosts for responders, 1 to 3. Default: one.
    #[must_use]
    pub fn responders(mut self, count: usize) -> Self {
        self.responders = count;
        self
    }

    /// Whether the veths have checksum and segmentation offload. Default: no. On a real cable, checksums are complete and
    /// segments small. With offload, raw sockets and XDP programs on a veth see partial checksums and segments of 64 KiB.
    #[must_use]
    pub fn offload(mut self, yes: bool) -> Self {
        self.offload = yes;
        self
    }

    /// The folder for the logs of the lab's programs, which stays. Default: a folder that is removed with the lab.
    #[must_use]
    pub fn logs(mut self, folder: &Path) -> Self {
        self.logs = Some(folder.to_owned());
        self
    }

    /// Makes the network and starts its DHCP server.
    ///
    /// # Errors
    /// If this process is not root, or a tool is missing. Then everything is removed again.
    pub fn start(self) -> Result<Lab> {
        ensure!(command::is_root(), "the lab makes network namespaces: run this as root");
        owner::clean_on_signals();
        owner::sweep();
        let name = owner::unique_name()?;
        let folder = owner::folder_of(&name);
        owner::registry()?.add_folder(folder.clone())?;
        let logs = self.logs.clone().unwrap_or_else(|| folder.clone());
        // From here on, dropping the lab removes what exists.
        let mut lab = Lab {
            dhcp_server: None,
            switch: Namespace { name: format!("{name}-switch") },
            hosts: Vec::new(),
            machines: self.machines,
            folder: Folder(folder),
            logs,
        };
        fs::create_dir_all(&lab.logs)?;
        lab.switch.create()?;
        let mut bridge = String::from(
            "link set lo up\n\
             link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set br0 up\n",
        );
        for machine in 0..self.machines {
            bridge += &format!("tuntap add m{machine} mode tap\nlink set m{machine} master br0 up\n");
        }
        lab.switch.ip(&bridge)?;
        let more = [(4, "pxb"), (5, "pxc")].into_iter().take(self.responders.saturating_sub(1));
        for (number, role) in [(1, "dhcp"), (2, "pxe"), (3, "cli")].into_iter().chain(more) {
            let host = Host::new(&name, role, number);
            host.connect(&lab.switch, &self)?;
            lab.hosts.push(host);
        }
        if self.dhcp {
            lab.dhcp_server = Some(dnsmasq::addresses(&lab, self.router)?);
        }
        Ok(lab)
    }
}

/// A running network. Dropping it removes it, with everything in it.
#[derive(Debug)]
pub struct Lab {
    // Rust drops fields in this order: programs, then the namespaces that they are in, then the files.
    dhcp_server: Option<Process>,
    hosts: Vec<Host>,
    switch: Namespace,
    machines: usize,
    folder: Folder,
    logs: PathBuf,
}

impl Lab {
    /// The default options: a DHCP server, and no ports for machines.
    #[must_use]
    pub fn builder() -> Builder {
        Builder { machines: 0, dhcp: true, router: true, responders: 1, offload: false, logs: None }
    }

    /// The host with the network's DHCP server, 10.99.0.1 on `dhcp0`.
    #[must_use]
    pub fn dhcp(&self) -> &Host {
        &self.hosts[0]
    }

    /// The host for the responder, 10.99.0.2 on `pxe0`.
    #[must_use]
    pub fn responder(&self) -> &Host {
        &self.hosts[1]
    }

    /// All hosts for responders: [`Self::responder`], then 10.99.0.4 on `pxb0` and 10.99.0.5 on `pxc0`, if the lab has
    /// them.
    pub fn responders(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().skip(1).take(1).chain(self.hosts.iter().skip(3))
    }

    /// The host for client programs, 10.99.0.3 on `cli0`.
    #[must_use]
    pub fn client(&self) -> &Host {
        &self.hosts[2]
    }

    /// The running DHCP server, if there is one.
    #[must_use]
    pub fn dhcp_server(&self) -> Option<&Process> {
        self.dhcp_server.as_ref()
    }

    /// The namespace of the switch, with the bridge `br0`, the ports `to-dhcp`, `to-pxe` and `to-cli`, and the taps `m0`...
    #[must_use]
    pub fn switch(&self) -> &str {
        &self.switch.name
    }

    /// A command that runs in the namespace of the switch.
    #[must_use]
    pub fn switch_command(&self, program: &str) -> Command {
        self.switch.command(program)
    }

    /// A folder that is removed with the lab.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// The folder with the logs of the lab's programs.
    #[must_use]
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// The number of ports for machines.
    #[must_use]
    pub fn machines(&self) -> usize {
        self.machines
    }

    /// Starts a command of [`Host::command`], with its output in `NAME.out` and `NAME.err` of [`Lab::logs`]. The program is
    /// in its own process group, and ends when [`Process`] is dropped or this process ends.
    ///
    /// # Errors
    /// If it does not start.
    pub fn spawn(&self, name: &str, command: Command) -> Result<Process> {
        Process::start(name, command, &self.logs)
    }

    /// Like [`spawn`](Self::spawn), with a standard input. A pipe stays open as long as the program runs.
    ///
    /// # Errors
    /// If it does not start.
    pub fn spawn_from(&self, name: &str, command: Command, stdin: Stdio) -> Result<Process> {
        Process::start_from(name, command, stdin, &self.logs)
    }
}

/// One host of the lab: a namespace with one interface.
#[derive(Debug)]
pub struct Host {
    namespace: Namespace,
    role: &'static str,
    number: u8,
    interface: String,
}

impl Host {
    fn new(lab: &str, role: &'static str, number: u8) -> Self {
        let namespace = Namespace { name: format!("{lab}-{role}") };
        Self { namespace, role, number, interface: format!("{role}0") }
    }

    fn connect(&self, switch: &Namespace, plan: &Builder) -> Result<()> {
        let (name, port, own, number) =
            (&self.namespace.name, format!("to-{}", self.role), &self.interface, self.number);
        self.namespace.create()?;
        switch.ip(&format!(
            "link add {port} type veth peer name {own} netns {name}\nlink set {port} master br0 up\n"
        ))?;
        let mut addresses = format!("addr add {}/24 dev {own}\n", self.address());
        if plan.router {
            self.namespace.allow_ipv6(own)?;
            addresses = format!("addr add fd99::{number}/64 dev {own} nodad\n{addresses}");
        }
        self.namespace.ip(&format!(
            "link set lo up\nlink set {own} address {}\nlink set {own} up\n{addresses}",
            self.mac()
        ))?;
        if !plan.offload {
            switch.like_a_wire(&port)?;
            self.namespace.like_a_wire(own)?;
        }
        Ok(())
    }

    /// The namespace's name in `ip netns`.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace.name
    }

    /// The name of the host's interface.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The host's port of the switch, an interface in the namespace [`Lab::switch`].
    #[must_use]
    pub fn port(&self) -> String {
        format!("to-{}", self.role)
    }

    /// The host's IPv4 address.
    #[must_use]
    pub fn address(&self) -> String {
        format!("10.99.0.{}", self.number)
    }

    /// The host's Ethernet address.
    #[must_use]
    pub fn mac(&self) -> String {
        format!("52:54:00:99:fe:{:02x}", self.number)
    }

    /// A command that runs on this host.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        self.namespace.command(program)
    }

    /// Runs a program on this host until it ends, and returns its standard output.
    ///
    /// # Errors
    /// If it fails. The error contains its standard error.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        command::output(self.command(program).args(arguments))
    }
}

#[derive(Debug)]
struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes the namespace without IPv6, so that the lab's own ports send no packets by themselves.
    fn create(&self) -> Result<()> {
        owner::registry()?.add_namespace(&self.name)?;
        self.shell("for f in all default; do echo 1 > /proc/sys/net/ipv6/conf/$f/disable_ipv6; done")
    }

    fn allow_ipv6(&self, interface: &str) -> Result<()> {
        self.shell(&format!(
            "for f in all default {interface}; do echo 0 > /proc/sys/net/ipv6/conf/$f/disable_ipv6; done; \
             echo 0 > /proc/sys/net/ipv6/conf/{interface}/accept_dad"
        ))
    }

    fn shell(&self, script: &str) -> Result<()> {
        command::output(self.command("sh").args(["-ec", script])).map(drop)
    }

    /// A command whose process ends with this one (`--pdeathsig`), does not receive the terminal's Ctrl-C (a process
    /// group of its own), and keeps its process ID: each of these programs executes the next one.
    fn command(&self, program: &str) -> Command {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "ip", "netns", "exec", &self.name, program]).process_group(0);
        command
    }

    /// Runs lines of `ip -batch` in the namespace.
    fn ip(&self, lines: &str) -> Result<()> {
        let mut ip = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start `ip`: run `cargo xtask setup`")?;
        let written = ip.stdin.take().context("no pipe")?.write_all(lines.as_bytes());
        let out = ip.wait_with_output()?;
        written.context("cannot write to `ip`")?;
        ensure!(
            out.status.success(),
            "`ip` in {}: {}",
            self.name,
            String::from_utf8_lossy(&out.stderr).trim()
        );
        Ok(())
    }

    /// Turns off offload, so that checksums are complete and no segment exceeds the MTU, as on a cable.
    fn like_a_wire(&self, interface: &str) -> Result<()> {
        let off = ["tx", "rx", "tso", "gso", "gro"].map(|what| [what, "off"]);
        command::output(self.command("ethtool").args(["-K", interface]).args(off.as_flattened()))
            .context("cannot switch offload off")?;
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        owner::remove_namespace(&self.name);
    }
}

#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        owner::remove_folder(&self.0);
    }
}
