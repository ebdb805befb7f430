//! [`Site`]: a network with a foreign DHCP server, three hosts with responders, and the database of their ledger.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pxe_kit::daemon::Daemon;
use pxe_kit::{Host, Lab, clock, command, faketime};
use pxe_proto::mac::Mac;
use rustix::process::Signal;

use super::database::{Database, Promotion};
use super::schedule::{Act, RESPONDERS, Sign};

/// The responders' names.
pub const NAMES: [&str; RESPONDERS] = ["a", "b", "c"];
/// The responders' weights.
pub const WEIGHTS: [u32; RESPONDERS] = [2, 1, 1];
/// The file that all machines load.
pub const FILE: &str = "boot.img";
/// The longest that responders may take to find one another: a lease's end, and the time that a newcomer waits.
const SHARED_MAX: Duration = Duration::from_secs(60);
/// The segment. Its addresses have room for machines, which the lab's own have not.
const PREFIX: [u8; 3] = [10, 50, 0];

/// The network, the database and the responders.
#[derive(Debug)]
pub struct Site {
    // Responders end before their hosts.
    daemons: [Option<Daemon>; RESPONDERS],
    datapath: String,
    /// By how many seconds the responders' clocks are ahead.
    clocks: [i32; RESPONDERS],
    pub(super) database: Database,
    /// The promotion of the schedule that is played, if there was one.
    pub(super) promotion: Option<Promotion>,
    lab: Lab,
}

impl Site {
    /// Starts everything.
    ///
    /// # Errors
    /// If something does not start.
    pub(super) fn start(datapath: &str) -> Result<Self> {
        let lab = Lab::builder().responders(RESPONDERS).router_advertisements(false).start()?;
        let root = lab.folder().join("root");
        fs::create_dir(&root)?;
        fs::write(root.join(FILE), file())?;
        let mut site = Self {
            daemons: [None, None, None],
            datapath: datapath.into(),
            clocks: [0; RESPONDERS],
            database: Database::start(&lab)?,
            promotion: None,
            lab,
        };
        for index in 0..RESPONDERS {
            let host = site.host(index)?;
            let interface = host.interface();
            host.output("ip", &["address", "flush", "dev", interface])?;
            host.output("ip", &["address", "add", &format!("{}/16", address(index)), "dev", interface])?;
            fs::write(site.config(index), site.configuration(index))?;
        }
        for index in 0..RESPONDERS {
            site.carry_out(Act::Start(index))?;
        }
        Ok(site)
    }

    fn host(&self, index: usize) -> Result<&Host> {
        self.lab.responders().nth(index).context("the lab has too few hosts")
    }

    fn config(&self, index: usize) -> PathBuf {
        self.lab.folder().join(format!("{}.toml", NAMES[index]))
    }

    fn configuration(&self, index: usize) -> String {
        let (folder, name, ledger) = (self.lab.folder(), NAMES[index], self.database.table());
        let weight = WEIGHTS[index];
        format!(
            "root = {:?}\nstate = {:?}\nboot_files = {{ bios = \"{FILE}\", x64 = \"{FILE}\" }}\n\
             {ledger}responder = \"{name}\"\n\
             [segment]\nname = \"lab\"\nweight = {weight}\n",
            folder.join("root"),
            folder.join(format!("state-{name}")),
        )
    }

    /// Starts the responders anew whose clocks are to differ from now on.
    ///
    /// # Errors
    /// If one does not end, or does not start.
    pub(super) fn set_clocks(&mut self, clocks: [i32; RESPONDERS]) -> Result<()> {
        for (index, ahead) in clocks.into_iter().enumerate() {
            if std::mem::replace(&mut self.clocks[index], ahead) != ahead {
                self.carry_out(Act::Stop(index))?;
                self.carry_out(Act::Start(index))?;
            }
        }
        Ok(())
    }

    /// Waits until all responders have found one another: each says that it shares the segment by the same table, with all.
    ///
    /// # Errors
    /// If they do not.
    pub(super) fn wait_shared(&self) -> Result<()> {
        clock::wait_until("the responders have found one another", SHARED_MAX, || Ok(self.is_shared()))
    }

    fn is_shared(&self) -> bool {
        let table = |daemon: &Daemon| {
            let last = daemon.events("segment").pop()?;
            let owns = |name: &&str| last.contains(&format!("{name} ")) && !last.contains(&nothing(name));
            let number = last.split("table ").nth(1)?.get(..8)?.to_owned();
            NAMES.iter().all(owns).then_some(number)
        };
        let tables: Vec<_> = self.daemons.iter().map(|daemon| daemon.as_ref().and_then(table)).collect();
        tables.iter().all(|table| table.is_some() && *table == tables[0])
    }

    /// Does something to the site.
    ///
    /// # Errors
    /// If it cannot be done.
    pub(super) fn carry_out(&mut self, act: Act) -> Result<()> {
        match act {
            Act::Start(index) => self.daemons[index] = Some(self.launch(index, &[])?),
            Act::Stop(index) => drop(self.running(index)?.stop()?),
            Act::Kill(index) => {
                let daemon = self.running(index)?;
                daemon.signal(Signal::KILL)?;
                daemon.ended()?;
            }
            Act::TakeOver(index) => {
                let successor = self.launch(index, &["--take-over"])?;
                let before = self.daemons[index].replace(successor).context("the responder does not run")?;
                let (status, log) = (before.ended()?, before.log());
                ensure!(status.success(), "the responder that was taken over ended with {status}:\n{log}");
                let successor = self.daemons[index].as_ref();
                let resumed = successor.is_some_and(|daemon| !daemon.events("took_over").is_empty());
                ensure!(resumed, "the new responder has taken nothing over");
            }
            Act::CutLedger(index) => {
                self.database.connect(&self.lab, index, false)?;
                ensure!(!self.database.is_reachable(self.host(index)?), "the responder reaches the database");
            }
            Act::MendLedger(index) => self.database.connect(&self.lab, index, true)?,
            Act::Unplug(index) => self.set_port(index, &["down"])?,
            Act::Isolate(index) => self.set_port(index, &["nomaster"])?,
            Act::Replug(index) => self.set_port(index, &["master", "br0", "up"])?,
            Act::KillDatabase => self.database.kill()?,
            Act::FreezeDatabase => self.database.freeze()?,
            Act::RestoreDatabase => self.database.restore()?,
            Act::Promote => self.promotion = Some(self.database.promote()?),
            Act::Await(sign) => {
                let what = format!("{sign:?} can be seen");
                clock::wait_until(&what, SHARED_MAX, || self.can_see(sign))?;
            }
        }
        Ok(())
    }

    fn launch(&self, index: usize, more: &[&str]) -> Result<Daemon> {
        let config = self.config(index).display().to_string();
        let host = self.host(index)?;
        let arguments = [&["--config", &config, "--datapath", &self.datapath], more].concat();
        let variables = match self.clocks[index] {
            0 => Vec::new(),
            ahead => faketime::ahead(ahead)?,
        };
        Daemon::start_with(&self.lab, host, host.interface(), &arguments, &variables)
    }

    /// Takes the responder, which must run.
    fn running(&mut self, index: usize) -> Result<Daemon> {
        self.daemons[index].take().context("the responder does not run")
    }

    /// Changes a responder's port of the switch.
    fn set_port(&self, index: usize, to: &[&str]) -> Result<()> {
        let port = self.host(index)?.port();
        let mut ip = self.lab.switch_command("ip");
        command::output(ip.args(["link", "set", &port]).args(to)).map(drop)
    }

    fn can_see(&self, sign: Sign) -> Result<bool> {
        let problem = |index: usize| {
            let daemon = self.daemons[index].as_ref().context("the responder does not run")?;
            anyhow::Ok(daemon.summary()?["segment"]["problem"].as_str().unwrap_or_default().to_owned())
        };
        Ok(match sign {
            Sign::SaysNoLedger(index) => !problem(index)?.is_empty(),
            Sign::SaysNoLink(index) => problem(index)?.contains("no link"),
            Sign::TakenOver(index) => {
                let mut others = self.daemons.iter().enumerate().filter(|(other, _)| *other != index);
                others.all(|(_, daemon)| {
                    let last = daemon.as_ref().and_then(|daemon| daemon.events("segment").pop());
                    last.is_some_and(|last| last.contains(&nothing(NAMES[index])))
                })
            }
            Sign::Shared(index) => self.is_shared() && problem(index)?.is_empty(),
        })
    }

    /// Mends whatever is cut, and starts whatever is down, except for a primary that was replaced.
    ///
    /// # Errors
    /// If something does not start.
    pub(super) fn restore(&mut self) -> Result<()> {
        self.database.restore()?;
        for index in 0..RESPONDERS {
            self.carry_out(Act::MendLedger(index))?;
            self.carry_out(Act::Replug(index))?;
            if self.daemons[index].is_none() {
                self.carry_out(Act::Start(index))?;
            }
        }
        Ok(())
    }

    /// Stops all responders in order.
    ///
    /// # Errors
    /// If one does not end well.
    pub(super) fn stop(mut self) -> Result<()> {
        for daemon in self.daemons.iter_mut().filter_map(Option::take) {
            daemon.stop()?;
        }
        Ok(())
    }

    /// The ends of all logs.
    pub(super) fn logs(&self) -> String {
        let end = |(name, daemon): (&&str, &Option<Daemon>)| {
            let log = daemon.as_ref().map(Daemon::log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains("\"DEBUG\"")).collect();
            format!("{name}:\n{}\n", lines[lines.len().saturating_sub(12)..].join("\n"))
        };
        NAMES.iter().zip(&self.daemons).map(end).collect()
    }

    /// The namespace of the machines, and the index of the interface there.
    ///
    /// # Errors
    /// If the interface is not there.
    pub(super) fn machines(&self) -> Result<(String, u32)> {
        let host = self.lab.client();
        let path = format!("/sys/class/net/{}/ifindex", host.interface());
        let index = host.output("cat", &[&path])?.trim().parse().context(path)?;
        Ok((host.namespace().to_owned(), index))
    }

    /// The responders' addresses, with their Ethernet addresses.
    ///
    /// # Errors
    /// If the lab's are no addresses.
    pub(super) fn servers(&self) -> Result<(Vec<Ipv4Addr>, Vec<Mac>)> {
        let mac = |host: &Host| {
            let mac = pxe_kit::load::mac(&host.mac()).map_err(anyhow::Error::msg);
            mac.map(Mac).context("an Ethernet address")
        };
        let macs: Result<Vec<Mac>> = self.lab.responders().map(mac).collect();
        Ok(((0..RESPONDERS).map(address).collect(), macs?))
    }
}

/// How the log says that a responder of this name owns no machine.
fn nothing(name: &str) -> String {
    format!("{name} 0")
}

/// The address of a responder.
fn address(index: usize) -> Ipv4Addr {
    let [a, b, c] = PREFIX;
    Ipv4Addr::new(a, b, c, index as u8 + 1)
}

/// The file's bytes: some blocks, so that a responder can be killed amid them.
pub(super) fn file() -> Vec<u8> {
    pxe_kit::tree::bytes(100_000)
}
