//! The cable between the responder's host and the machines', and which processor does whose work.
//!
//! ```text
//! responder's host                      client's host
//!   srv0 10.50.0.1  <---- cable ---->   load0: the generator, all machines in one process
//!   srv1 10.51.0.1  <---- cable ---->   load1 10.51.0.2: others, who only talk to this host
//! ```

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use pxe_kit::{Host, Lab};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The interface of the responder towards the machines.
pub(super) const SERVER: &str = "srv0";
/// Its address.
pub(super) const ADDRESS: &str = "10.50.0.1";
/// Its hardware address.
pub(super) const MAC: &str = "02:50:00:00:00:01";
/// The machines' interface.
pub(super) const CLIENT: &str = "load0";
/// The responder's interface where others talk to its host.
pub(super) const BESIDE: &str = "srv1";
/// Its address.
pub(super) const BESIDE_ADDRESS: &str = "10.51.0.1";
/// The others' interface.
pub(super) const BESIDE_CLIENT: &str = "load1";
/// Its address, which is also that of their relay.
pub(super) const BESIDE_CLIENT_ADDRESS: &str = "10.51.0.2";
/// The first of the addresses of HTTP clients, which are all of the others' host.
pub(super) const HTTP_CLIENTS: &str = "10.51.16.0";

/// How the two hosts share the processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Setup {
    /// A veth as it comes (T1): whoever sends does the receiver's work, too.
    Plain,
    /// Each side receives in a thread of its own, and is pinned with it to a processor (T2).
    TwoMachines,
}

impl Setup {
    /// For people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Plain => "plain veth (T1)",
            Self::TwoMachines => "two machines (T2)",
        }
    }
}

/// The lab with its cables.
#[derive(Debug)]
pub struct Cable {
    /// The hosts.
    pub lab: Lab,
    /// What was wanted, or what is possible.
    pub setup: Setup,
    /// Why it is not what was wanted.
    pub note: Option<String>,
    processors: [usize; 2],
}

/// So many frames find a place in a veth's ring of 256, whatever else is in it.
pub(super) const RING_SAFE: u32 = 200;

impl Cable {
    /// Lays the cables.
    ///
    /// # Errors
    /// Without root, or when a tool is missing.
    pub fn new(wanted: Setup) -> Result<Self> {
        let lab = Lab::builder().dhcp(false).start()?;
        let (server, client) = (lab.responder(), lab.client());
        for (end, other) in [(SERVER, CLIENT), (BESIDE, BESIDE_CLIENT)] {
            let link = ["link", "add", end, "type", "veth", "peer", "name", other, "netns"];
            server.output("ip", &[&link[..], &[client.namespace()]].concat())?;
        }
        server.output("ip", &["addr", "add", &format!("{ADDRESS}/16"), "dev", SERVER])?;
        // The generator answers no ARP: machines are a process, and peers shall not pay for asking.
        server.output("ip", &["link", "set", SERVER, "address", MAC, "arp", "off", "up"])?;
        client.output("ip", &["link", "set", CLIENT, "up"])?;
        // Others are an ordinary host with all that a veth offloads.
        for (host, end, address) in
            [(server, BESIDE, BESIDE_ADDRESS), (client, BESIDE_CLIENT, BESIDE_CLIENT_ADDRESS)]
        {
            host.output("ip", &["addr", "add", &format!("{address}/16"), "dev", end])?;
            host.output("ip", &["link", "set", end, "up"])?;
        }
        // The responder's host asks for one address only: its table of neighbours has room for a thousand.
        let clients = format!("{HTTP_CLIENTS}/20");
        client.output("ip", &["route", "add", "local", &clients, "dev", "lo"])?;
        server.output("ip", &["route", "add", &clients, "via", BESIDE_CLIENT_ADDRESS, "dev", BESIDE])?;
        let mut cable = Self { lab, setup: wanted, note: None, processors: [0, 0] };
        if wanted == Setup::TwoMachines
            && let Err(error) = cable.divide()
        {
            cable.fall_back(&format!("{error:#}"));
        }
        Ok(cable)
    }

    /// From here on a plain veth.
    pub fn fall_back(&mut self, why: &str) {
        for (host, end) in self.ends() {
            drop(thread_receiver(host, end, false));
            drop(host.output("tc", &["qdisc", "del", "dev", end, "root"]));
        }
        self.setup = Setup::Plain;
        self.note = Some(format!("a plain veth instead of two machines: {why}"));
    }

    fn ends(&self) -> [(&Host, &'static str); 2] {
        [(self.lab.responder(), SERVER), (self.lab.client(), CLIENT)]
    }

    /// Gives each side a receiving thread and a processor.
    fn divide(&mut self) -> Result<()> {
        let all = sched_getaffinity(None)?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|&processor| all.is_set(processor));
        let (first, second) = (usable.next(), usable.next());
        self.processors = [first, second]
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .and_then(|two| two.try_into().ok())
            .context("there is one processor only")?;
        for (host, end) in self.ends() {
            thread_receiver(host, end, true)
                .with_context(|| format!("the kernel gives {end} no receiving thread"))?;
        }
        self.pin()
    }

    /// The processor of the responder's side, and of the machines', where they have one of their own.
    #[must_use]
    pub fn processors(&self) -> Option<[usize; 2]> {
        (self.setup == Setup::TwoMachines).then_some(self.processors)
    }

    /// Pins the receiving threads. They may be new whenever an XDP program came or went.
    ///
    /// # Errors
    /// When an interface has none.
    pub fn pin(&self) -> Result<()> {
        let Some(processors) = self.processors() else { return Ok(()) };
        let threads = receivers();
        for (processor, end) in processors.into_iter().zip([SERVER, CLIENT]) {
            let mine = threads.get(end).with_context(|| format!("{end} has no thread napi/{end}-*"))?;
            for &thread in mine {
                pin_thread(thread, processor)?;
            }
        }
        Ok(())
    }

    /// Lays the cable for so many frames under way at a time.
    ///
    /// A veth's ring has 256 places, a card's thousands. Where they might not do, a queue before it makes a sender wait
    /// (Linux 6.16); without one the frame is lost. It costs each frame some time, so where they do there is none.
    ///
    /// # Errors
    /// When `tc` does not work.
    pub(super) fn carry(&self, frames: u32) -> Result<()> {
        if self.processors().is_none() {
            return Ok(());
        }
        let queue: &[&str] = if frames > RING_SAFE { &["pfifo", "limit", "10000"] } else { &["noqueue"] };
        for (host, end) in self.ends() {
            host.output("tc", &[&["qdisc", "replace", "dev", end, "root"], queue].concat())?;
        }
        Ok(())
    }

    /// Seconds that the responder's side spent in receiving, in its thread; none in a plain veth.
    #[must_use]
    pub fn softirq(&self) -> Option<f64> {
        self.receiving(SERVER)
    }

    /// The same on the generator's side, where the kernel may play the machines.
    #[must_use]
    pub(super) fn generator_softirq(&self) -> Option<f64> {
        self.receiving(CLIENT)
    }

    fn receiving(&self, end: &str) -> Option<f64> {
        self.processors()?;
        Some(receivers().get(end)?.iter().map(|&thread| run_time(thread)).sum())
    }
}

impl Cable {
    /// Frames that the cable itself lost so far, towards the server and towards the machines: a veth counts what finds no
    /// place in the other end's ring as dropped by its sender, also frames that a program redirected.
    pub(super) fn lost(&self) -> [f64; 2] {
        let dropped = |host: &Host, end: &str| {
            let file = format!("/sys/class/net/{end}/statistics/tx_dropped");
            let said = host.output("cat", &[&file]).unwrap_or_default();
            said.trim().parse().unwrap_or(0.0)
        };
        [dropped(self.lab.client(), CLIENT), dropped(self.lab.responder(), SERVER)]
    }
}

/// Pins all threads of a process to one processor.
///
/// # Errors
/// When the kernel does not allow it.
pub(super) fn pin_process(pid: u32, processor: usize) -> Result<()> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        // Threads end as they like.
        if let Some(task) = task.file_name().to_str().and_then(|name| name.parse().ok()) {
            drop(pin_thread(task, processor));
        }
    }
    Ok(())
}

fn pin_thread(thread: u32, processor: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(processor);
    let pid = Pid::from_raw(thread.cast_signed()).context("no such thread")?;
    Ok(sched_setaffinity(Some(pid), &only)?)
}

/// Whether an interface receives in a thread (NAPI threads, Linux 5.12). A veth has NAPI only where GRO is on or an XDP
/// program is attached to it, and uses it only for what comes from an interface without TSO (`veth_xmit`: with it there
/// is nothing for GRO to do).
fn thread_receiver(host: &Host, end: &str, yes: bool) -> Result<()> {
    let (word, number) = if yes { ("on", "1") } else { ("off", "0") };
    let offload = if yes { "off" } else { "on" };
    host.output("ethtool", &["-K", end, "gro", word, "tso", offload])?;
    // `ip netns exec` shows the namespace's own interfaces in /sys.
    host.output("sh", &["-ec", &format!("echo {number} > /sys/class/net/{end}/threaded")])?;
    Ok(())
}

/// Receiving threads by interface: `napi/srv0-388` and so on.
fn receivers() -> BTreeMap<String, Vec<u32>> {
    let mut found = BTreeMap::<String, Vec<u32>>::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        if let Some(interface) = receives_for(name.trim()) {
            found.entry(interface.to_owned()).or_default().push(pid);
        }
    }
    found
}

/// The interface in a receiving thread's name.
fn receives_for(name: &str) -> Option<&str> {
    Some(name.strip_prefix("napi/")?.rsplit_once('-')?.0)
}

/// How long a thread ran, in seconds: the first field of its schedstat is in nanoseconds.
fn run_time(thread: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{thread}/schedstat")).unwrap_or_default();
    text.split_whitespace().next().and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiving_thread_names_its_interface() {
        assert_eq!(receives_for("napi/srv0-388"), Some("srv0"));
        assert_eq!(receives_for("napi/eth-0-8193"), Some("eth-0"));
        assert_eq!(receives_for("ksoftirqd/0"), None);
        assert_eq!(receives_for("napi/"), None);
    }

    #[test]
    fn a_running_thread_has_a_run_time() {
        assert_eq!(run_time(u32::MAX), 0.0);
    }
}
