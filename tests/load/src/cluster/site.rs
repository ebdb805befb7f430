//! [`Site`]: a network with a foreign DHCP server, three hosts with responders, and a PostgreSQL server that they reach by
//! its Unix socket.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use pxe_kit::daemon::Daemon;
use pxe_kit::postgres::Postgres;
use pxe_kit::{Host, Lab, clock};
use pxe_proto::mac::Mac;
use rustix::process::Signal;

use super::compare::Fetched;
use super::schedule::{Act, RESPONDERS};

/// The responders' names.
pub const NAMES: [&str; RESPONDERS] = ["a", "b", "c"];
/// The responders' weights.
pub const WEIGHTS: [u32; RESPONDERS] = [2, 1, 1];
/// The file that all machines load.
pub const FILE: &str = "boot.img";
/// The longest that responders may take to find one another: a lease's end, and the time that a newcomer waits.
const SHARED_MAX: Duration = Duration::from_secs(60);
/// The database of the ledger.
const DATABASE: &str = "postgres";
/// The segment. Its addresses have room for machines, which the lab's own have not.
const PREFIX: [u8; 3] = [10, 50, 0];

/// The network, the database and the responders.
#[derive(Debug)]
pub struct Site {
    // Responders end before their hosts.
    daemons: [Option<Daemon>; RESPONDERS],
    datapath: String,
    database: Postgres,
    is_database_frozen: bool,
    is_database_dead: bool,
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
            database: Postgres::start()?,
            is_database_frozen: false,
            is_database_dead: false,
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
        let (folder, name, url) = (self.lab.folder(), NAMES[index], self.database.url(DATABASE));
        let weight = WEIGHTS[index];
        format!(
            "root = {:?}\nstate = {:?}\nboot_files = {{ bios = \"{FILE}\", x64 = \"{FILE}\" }}\n\
             [ledger]\nurl = \"{url}\"\nresponder = \"{name}\"\n\
             [segment]\nname = \"lab\"\nweight = {weight}\n",
            folder.join("root"),
            folder.join(format!("state-{name}")),
        )
    }

    /// Waits until all responders have found one another: each says that it shares the segment by the same table, with all.
    ///
    /// # Errors
    /// If they do not.
    pub(super) fn wait_shared(&self) -> Result<()> {
        let table = |daemon: &Daemon| {
            let last = daemon.events("segment").pop()?;
            let has_all = NAMES.iter().all(|name| last.contains(&format!("{name} ")));
            let number = last.split("table ").nth(1)?.get(..8)?.to_owned();
            has_all.then_some(number)
        };
        let is_shared = || {
            let tables: Vec<_> = self.daemons.iter().map(|daemon| daemon.as_ref().and_then(table)).collect();
            Ok(tables.iter().all(|table| table.is_some() && *table == tables[0]))
        };
        clock::wait_until("the responders have found one another", SHARED_MAX, is_shared)
    }

    /// Does something to the site.
    ///
    /// # Errors
    /// If it cannot be done.
    pub(super) fn carry_out(&mut self, act: Act) -> Result<()> {
        match act {
            Act::Start(index) => {
                let config = self.config(index).display().to_string();
                let host = self.host(index)?;
                let arguments = ["--config", &config, "--datapath", &self.datapath];
                let daemon = Daemon::start_on(&self.lab, host, host.interface(), &arguments)?;
                self.daemons[index] = Some(daemon);
            }
            Act::Stop(index) => {
                self.daemons[index].take().context("the responder does not run")?.stop()?;
            }
            Act::Kill(index) => {
                let daemon = self.daemons[index].take().context("the responder does not run")?;
                daemon.signal(Signal::KILL)?;
                daemon.ended()?;
            }
            Act::KillDatabase => {
                self.database.kill()?;
                self.is_database_dead = true;
            }
            Act::FreezeDatabase => {
                self.database.freeze()?;
                self.is_database_frozen = true;
            }
            Act::RestoreDatabase => self.restore_database()?,
        }
        Ok(())
    }

    fn restore_database(&mut self) -> Result<()> {
        if std::mem::take(&mut self.is_database_frozen) {
            self.database.thaw()?;
        }
        if std::mem::take(&mut self.is_database_dead) {
            self.database.launch()?;
        }
        Ok(())
    }

    /// Starts whatever is down.
    ///
    /// # Errors
    /// If something does not start.
    pub(super) fn restore(&mut self) -> Result<()> {
        self.restore_database()?;
        for index in 0..RESPONDERS {
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

    /// What the ledger says that machines have loaded.
    ///
    /// # Errors
    /// If the database does not answer.
    pub(super) fn fetched(&self) -> Result<Fetched> {
        let sql = "SELECT mac, responder, count(*) FROM pxed.steps WHERE json->>'event' = 'fetched' GROUP BY mac, responder";
        let text = self.database.sql(DATABASE, sql)?;
        let entry = |line: &str| {
            let mut values = line.split('|');
            let (mac, responder) = (values.next()?.to_owned(), values.next()?.to_owned());
            Some(((mac, responder), values.next()?.parse().ok()?))
        };
        text.lines().map(|line| entry(line).with_context(|| format!("psql printed {line}"))).collect()
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

/// The address of a responder.
fn address(index: usize) -> Ipv4Addr {
    let [a, b, c] = PREFIX;
    Ipv4Addr::new(a, b, c, index as u8 + 1)
}

/// The file's bytes: some blocks, so that a responder can be killed amid them.
pub(super) fn file() -> Vec<u8> {
    pxe_kit::tree::bytes(100_000)
}
