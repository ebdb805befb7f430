//! [`Database`]: a primary PostgreSQL server, a synchronous standby, and a network of their own that connects them with the
//! responders. So a responder can lose the database and keep the machines, and the other way round.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use pxe_kit::postgres::{PASSWORD, Postgres, USER};
use pxe_kit::{Host, Lab, command, namespace};

use super::compare::Fetched;

/// The database of the ledger.
const NAME: &str = "postgres";
/// The names by which each server knows the other one.
const STANDBYS: [&str; 2] = ["one", "two"];
/// The servers' address. Both have it, on different ports.
const ADDRESS: &str = "10.51.0.254";

/// The rows of steps, each as one line. A row that the ledger has confirmed never changes.
pub(super) type Steps = BTreeSet<String>;

/// The servers and their network.
#[derive(Debug)]
pub(super) struct Database {
    servers: [Postgres; 2],
    primary: usize,
    /// The other server follows the primary.
    has_standby: bool,
    is_frozen: bool,
    is_dead: bool,
    switch: String,
    password: PathBuf,
}

/// What came of a promotion.
#[derive(Debug)]
pub(super) struct Promotion {
    /// The primary's timeline, before and after.
    pub(super) timelines: [u32; 2],
    /// The rows that the old primary showed before it was killed.
    pub(super) before: Steps,
    /// The rows that the new primary has.
    pub(super) after: Steps,
}

impl Database {
    /// Makes the network and starts both servers in the switch's namespace.
    ///
    /// # Errors
    /// If something does not start.
    pub(super) fn start(lab: &Lab) -> Result<Self> {
        let ip = |line: &str| command::output(lab.switch_command("ip").args(line.split(' '))).map(drop);
        ip("link add ledger type bridge stp_state 0 forward_delay 0 mcast_snooping 0")?;
        ip(&format!("address add {ADDRESS}/24 dev ledger"))?;
        ip("link set ledger up")?;
        for (index, host) in lab.responders().enumerate() {
            let port = port(index);
            ip(&format!("link add {port} type veth peer name ledger0 netns {}", host.namespace()))?;
            ip(&format!("link set {port} master ledger up"))?;
            let address = format!("10.51.0.{}/24", index + 1);
            host.output("ip", &["address", "add", &address, "dev", "ledger0"])?;
            host.output("ip", &["link", "set", "ledger0", "up"])?;
        }
        let password = lab.folder().join("ledger-password");
        fs::write(&password, PASSWORD)?;
        let switch = lab.switch().to_owned();
        let servers = in_namespace(&switch, || {
            let primary = Postgres::start_with(&settings(), admit)?;
            let standby = Postgres::standby_of(&primary, STANDBYS[1], &settings())?;
            primary.confirm_by(STANDBYS[1])?;
            Ok([primary, standby])
        })?;
        let mut database = Self {
            servers,
            primary: 0,
            has_standby: true,
            is_frozen: false,
            is_dead: false,
            switch,
            password,
        };
        database.pair()?;
        Ok(database)
    }

    /// The table `[ledger]` of a responder, without its name.
    pub(super) fn table(&self) -> String {
        let [one, two] = [0, 1].map(|index| self.servers[index].port());
        format!(
            "[ledger]\nurl = \"postgres://{USER}@{ADDRESS}:{one},{ADDRESS}:{two}/{NAME}?sslmode=disable\"\n\
             password_file = {:?}\n",
            self.password
        )
    }

    /// Cuts a responder off from the servers, or connects it again.
    ///
    /// # Errors
    /// If its port cannot be switched.
    pub(super) fn connect(&self, lab: &Lab, index: usize, is_connected: bool) -> Result<()> {
        let state = if is_connected { "up" } else { "down" };
        command::output(lab.switch_command("ip").args(["link", "set", &port(index), state])).map(drop)
    }

    /// Whether a responder's host can open a connection to the primary.
    pub(super) fn is_reachable(&self, host: &Host) -> bool {
        let open = format!("exec 3<>/dev/tcp/{ADDRESS}/{}", self.primary().port());
        host.output("timeout", &["1", "bash", "-c", &open]).is_ok()
    }

    fn primary(&self) -> &Postgres {
        &self.servers[self.primary]
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        self.primary().kill()?;
        self.is_dead = true;
        Ok(())
    }

    pub(super) fn freeze(&mut self) -> Result<()> {
        self.primary().freeze()?;
        self.is_frozen = true;
        Ok(())
    }

    /// Starts or continues the primary.
    pub(super) fn restore(&mut self) -> Result<()> {
        if std::mem::take(&mut self.is_frozen) {
            self.primary().thaw()?;
        }
        if std::mem::take(&mut self.is_dead) {
            in_namespace(&self.switch, || self.primary().launch())?;
        }
        Ok(())
    }

    /// Kills the primary and promotes its standby.
    ///
    /// # Errors
    /// If there is no standby, or it does not become a primary.
    pub(super) fn promote(&mut self) -> Result<Promotion> {
        ensure!(self.has_standby, "the standby was promoted before");
        let (timeline, before) = (self.primary().timeline()?, self.steps()?);
        self.primary().kill()?;
        (self.primary, self.has_standby) = (1 - self.primary, false);
        self.primary().promote()?;
        Ok(Promotion { timelines: [timeline, self.primary().timeline()?], before, after: self.steps()? })
    }

    /// Gives a primary without a standby one: the server that was the primary before.
    ///
    /// # Errors
    /// If it does not follow.
    pub(super) fn pair(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.has_standby, true) {
            let (standby, name) = (&self.servers[1 - self.primary], STANDBYS[1 - self.primary]);
            in_namespace(&self.switch, || {
                standby.follow(self.primary(), name, &settings())?;
                self.primary().confirm_by(name)
            })?;
        }
        Ok(())
    }

    /// What the ledger says that machines have loaded.
    ///
    /// # Errors
    /// If the database does not answer.
    pub(super) fn fetched(&self) -> Result<Fetched> {
        let sql = "SELECT mac, responder, count(*) FROM pxed.steps WHERE json->>'event' = 'fetched' GROUP BY mac, responder";
        let entry =
            |[mac, responder, count]: [&str; 3]| Ok(((mac.to_owned(), responder.to_owned()), count.parse()?));
        self.rows(sql)?.iter().map(|row| entry(values(row)?)).collect()
    }

    /// All rows of steps.
    fn steps(&self) -> Result<Steps> {
        let sql = "SELECT responder, id, at, mac, md5(json::text) FROM pxed.steps";
        Ok(self.rows(sql)?.into_iter().collect())
    }

    /// The server's time of day in milliseconds.
    ///
    /// # Errors
    /// If the database does not answer.
    pub(super) fn now(&self) -> Result<i64> {
        let text = self.primary().sql(NAME, "SELECT (extract(epoch FROM now()) * 1000)::bigint")?;
        text.parse().with_context(|| format!("psql printed {text}"))
    }

    /// When each responder wrote its first and last step of the machines with these Ethernet addresses, by its own clock, in
    /// milliseconds.
    ///
    /// # Errors
    /// If the database does not answer.
    pub(super) fn written(&self, macs: [&str; 2]) -> Result<BTreeMap<String, [i64; 2]>> {
        let [first, last] = macs;
        let sql = format!(
            "SELECT responder, min(at), max(at) FROM pxed.steps WHERE mac BETWEEN '{first}' AND '{last}' GROUP BY responder"
        );
        let entry =
            |[responder, first, last]: [&str; 3]| Ok((responder.to_owned(), [first.parse()?, last.parse()?]));
        self.rows(&sql)?.iter().map(|row| entry(values(row)?)).collect()
    }

    /// Steps of one machine and responder that are older than the step before.
    ///
    /// # Errors
    /// If the database does not answer.
    pub(super) fn disordered(&self) -> Result<u64> {
        let sql = "SELECT count(*) FROM (SELECT at, lag(at) OVER (PARTITION BY responder, mac ORDER BY id) AS before \
                   FROM pxed.steps) AS steps WHERE at < before";
        let text = self.primary().sql(NAME, sql)?;
        text.parse().with_context(|| format!("psql printed {text}"))
    }

    fn rows(&self, sql: &str) -> Result<Vec<String>> {
        Ok(self.primary().sql(NAME, sql)?.lines().map(str::to_owned).collect())
    }
}

/// The switch's port of a responder in the servers' network.
fn port(index: usize) -> String {
    format!("ledger-{index}")
}

fn settings() -> String {
    format!("listen_addresses = '127.0.0.1, {ADDRESS}'")
}

/// Lets the responders in, by the password.
fn admit(data: &Path) -> Result<()> {
    let file = data.join("pg_hba.conf");
    let text = fs::read_to_string(&file)? + "host all all 10.51.0.0/24 scram-sha-256\n";
    Ok(fs::write(file, text)?)
}

/// The values of a line of psql.
fn values<const COUNT: usize>(row: &str) -> Result<[&str; COUNT]> {
    let values: Vec<&str> = row.split('|').collect();
    <[&str; COUNT]>::try_from(values).map_err(|_| anyhow!("psql printed {row}"))
}

/// Runs something in a thread of its own in a network namespace, in which the programs that it starts stay.
fn in_namespace<T: Send>(name: &str, run: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let entered = || {
        namespace::enter(name)?;
        run()
    };
    thread::scope(|scope| scope.spawn(entered).join().map_err(|_| anyhow!("a thread panicked"))?)
}
