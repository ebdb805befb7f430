//! One sample: starts a responder, loads it, looks at what it cost, stops it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pxe_kit::load::Options;
use pxe_kit::{Host, Process, clock};
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use super::account::{Account, Children};
use super::cable::{self, Cable, Setup};
use super::cases::{Case, File, Play};
use super::faults::Fault;
use super::generator;
use super::peers::{Peer, Peers};
use super::programs::Counting;
use super::responders::{Kind, Place, Ready, Responder, Who};
use super::stream;

/// How long a responder may take until it serves: a debug build on a busy machine, too.
const START: Duration = Duration::from_secs(60);
/// Seconds in which a server may make itself ready to send the largest file over HTTP.
const FIRST_LOAD: u32 = 4;
/// Files at a time, where the system allows as many: a transfer has one or two, and there are up to 2000. Services have
/// 1024 by default.
pub(super) const FILES: u64 = 65_536;

/// Where everything happens.
#[derive(Debug)]
pub(super) struct Ground {
    /// The hosts and their cable.
    pub cable: Cable,
    /// What is served.
    pub root: PathBuf,
    /// The folder with pxed and the generator.
    pub programs: PathBuf,
    /// What was fetched.
    pub peers: Peers,
}

impl Ground {
    /// Measures once.
    ///
    /// # Errors
    /// When a program does not start or ends before its time.
    pub(super) fn sample(&self, case: &Case, who: Who) -> Result<Value> {
        let responder = who.responder();
        if let Play::Stream { udp, seconds } = case.play {
            let process = self.start(case, responder, cable::BESIDE)?;
            let report = stream::run(&self.cable, udp, seconds)?;
            process.map_or(Ok(()), |process| stop(&process))?;
            return Ok(report);
        }
        if matches!(case.play, Play::Http { .. } | Play::HttpBoots { .. }) {
            return self.http(case, responder);
        }
        self.cable.carry(if case.ring_loses { 0 } else { case.under_way() })?;
        let began = clock::now();
        let mut process = self.start(case, responder, cable::SERVER)?.context("nobody answers")?;
        let start = began.elapsed().as_secs_f64();
        if let Some([processor, _]) = self.cable.processors() {
            // What pins itself is pinned again: a program cannot know which processor is whose.
            cable::pin_process(process.pid(), processor)?;
            self.cable.pin()?;
        }
        let account = Account::open(process.pid());
        if let Play::Boots { known: 1.., .. } = case.play {
            settle(&account);
        }
        let mut report = match case.fault {
            Fault::None | Fault::Flooded(_) => self.load(case, responder, &account)?,
            _ => self.suffer(case, responder, &mut process, &account)?,
        };
        if !process.is_running() {
            bail!("{} ended under load: {}", responder.title, process.last_words());
        }
        report["start"] = json!(start);
        stop(&process)?;
        drop(account);
        Ok(report)
    }

    fn load(&self, case: &Case, who: &Responder, account: &Account) -> Result<Value> {
        if let Play::Waiting { machines } = case.play {
            return self.waiting(case, machines, who, account);
        }
        match case.play {
            Play::Programs { seconds } => return self.programs(case, seconds, who, account),
            Play::Idle { seconds } => return Ok(idle(seconds, account)),
            _ => {}
        }
        let children = Children::default();
        let (before, softirq, lost) = (account.time(), self.cable.softirq(), self.cable.lost());
        let receiving = self.cable.generator_softirq();
        let said = account.watch(&children, || self.generate(case, who, 0))?;
        let after = account.time();
        let mut report = generator::report(&said)?;
        report["server_user"] = json!(after.user - before.user);
        report["server_system"] = json!(after.system - before.system);
        if let (Some(before), Some(after)) = (softirq, self.cable.softirq()) {
            report["server_softirq"] = json!(after - before);
        }
        let receiving = self.cable.generator_softirq().zip(receiving).map(|(after, before)| after - before);
        if let Some(share) = generator::share(&report, receiving) {
            report["generator_share"] = json!(share);
        }
        let [to_server, to_machines] = self.cable.lost();
        report["lost_to_server"] = json!(to_server - lost[0]);
        report["lost_to_machines"] = json!(to_machines - lost[1]);
        report["server_memory"] = json!(account.memory(&children).peak);
        report["server_tasks"] = json!(children.tasks());
        for (name, value) in account.rights().facts() {
            report[name] = json!(value);
        }
        report["server_account_complete"] = json!(account.is_complete());
        Ok(report)
    }

    /// Over the cable of others, with a processor for either side where there are two.
    fn http(&self, case: &Case, who: &Responder) -> Result<Value> {
        let process = self.start(case, who, cable::BESIDE)?.context("nobody answers")?;
        let account = Account::open(process.pid());
        let children = Children::default();
        if let Some([processor, _]) = self.cable.processors() {
            cable::pin_process(process.pid(), processor)?;
        }
        if let Play::Http { file: file @ (File::Large | File::Huge), .. } = case.play {
            // What a server does with a large file when it is first asked for would be a great part of the run.
            let first = Play::Http { connections: 1, file, from_one: true, seconds: FIRST_LOAD };
            self.generate(&Case { play: first, ..case.clone() }, who, 0)?;
        }
        let before = account.time();
        let said = account.watch(&children, || self.generate(case, who, 0))?;
        let after = account.time();
        let mut report = generator::report(&said)?;
        report["server_user"] = json!(after.user - before.user);
        report["server_system"] = json!(after.system - before.system);
        report["server_memory"] = json!(account.memory(&children).peak);
        if let Some(share) = generator::share(&report, None) {
            report["generator_share"] = json!(share);
        }
        if !process.is_running() {
            bail!("{} ended under load: {}", who.title, process.last_words());
        }
        stop(&process)?;
        drop(account);
        Ok(report)
    }

    /// Memory with transfers that wait, and with next to none. What all of them share has been touched before: the buffers
    /// of received frames, which are used in turn, by DISCOVERs, and the rest by the first transfer.
    fn waiting(&self, case: &Case, machines: u32, who: &Responder, account: &Account) -> Result<Value> {
        let none = Children::default();
        let offers = Play::Offers { machines: 100, each: 200 };
        self.generate(&Case { play: offers, ..case.clone() }, who, 0)?;
        self.generate(&Case { play: Play::Waiting { machines: 1 }, ..case.clone() }, who, 0)?;
        let before = account.memory(&none).own;
        self.generate(case, who, 1)?;
        let after = account.memory(&none).own;
        let each = (after - before) / f64::from(machines);
        Ok(json!({ "bytes_per_transfer": each, "server_own_memory": after }))
    }

    /// What the kernel's programs take for a packet: of machines in lock-step, and of others.
    fn programs(&self, case: &Case, seconds: u32, who: &Responder, account: &Account) -> Result<Value> {
        let counting = Counting::start()?;
        let before = account.programs();
        let said = self.generate(&case.of_programs(seconds), who, 0)?;
        let answer = account.programs().since(before).context("no program of it ran")?;
        drop(counting);
        let loaded = generator::report(&said)?;
        let mut report = json!({ "answer_ns": answer, "failed": loaded["failed"], "wrong": loaded["wrong"] });
        if let Kind::Pxed { offload, .. } = who.kind {
            let mut load = Command::new(self.programs.join("load"));
            load.args(Options { foreign: true, ..Options::new("lo") }.arguments());
            let times = generator::report(&pxe_kit::command::output(&mut load)?)?;
            for (name, time) in times[offload].as_object().into_iter().flatten() {
                report[name] = time.clone();
            }
        }
        Ok(report)
    }

    pub(super) fn generate(&self, case: &Case, responder: &Responder, run: u32) -> Result<String> {
        let mut load = Command::new(self.programs.join("load"));
        let processor = self.cable.processors().map(|[_, client]| client);
        let options = generator::options(case, responder, &self.root, run, processor.is_some());
        load.args(options.arguments());
        let mut load = on_host(self.cable.lab.client(), load, FILES, processor)?;
        pxe_kit::command::output(&mut load)
    }

    /// Starts a responder on an interface, and waits until it serves.
    pub(super) fn start(
        &self,
        case: &Case,
        responder: &Responder,
        interface: &str,
    ) -> Result<Option<Process>> {
        let boot = case.file();
        let ledger = match case.play {
            Play::Boots { known: known @ 1.., .. } => Some(self.ledger(known, responder)?),
            _ => None,
        };
        let ledger = ledger.as_deref();
        let http = matches!(case.play, Play::Http { .. } | Play::HttpBoots { .. });
        let (programs, peers, root) = (&self.programs, &self.peers, &self.root);
        let place = Place { programs, peers, root, interface, boot, http, ledger };
        place.configure()?;
        let Some(program) = responder.program(&place) else { return Ok(None) };
        // Others share the machine as they like; only the load has processors of its own.
        let processor = self.cable.processors().map(|[server, _]| server);
        let processor = processor.filter(|_| interface == cable::SERVER || http);
        let command = on_host(self.cable.lab.responder(), program, responder.files(), processor)?;
        let process = match responder.kind {
            Kind::Reflector(_) => self.cable.lab.spawn_from("responder", command, Stdio::piped())?,
            _ => self.cable.lab.spawn("responder", command)?,
        };
        match responder.ready() {
            Ready::Says(word) => process.wait_for(word, START)?,
            Ready::HasTftpPort => wait_for_port(&process, responder.title, "net/udp", TFTP_PORT)?,
            Ready::HasHttpPort => wait_for_port(&process, responder.title, "net/tcp", HTTP_PORT)?,
        }
        Ok(Some(process))
    }

    /// A ledger in which so many machines have booted. It is made once, by their boots.
    fn ledger(&self, known: u32, responder: &Responder) -> Result<PathBuf> {
        let folder = self.root.with_file_name("ledger");
        let made = self.root.with_file_name(format!("ledger-of-{known}"));
        if !made.exists() {
            // Two in a millisecond: the limit of a run is a minute.
            let power_on = u64::from(known / 2).max(1000);
            let play = Play::Boots { machines: known, file: File::Tiny, power_on, known: 0 };
            let case = Case::of(play);
            self.cable.carry(case.under_way())?;
            replace(&folder, None)?;
            let place = Place {
                programs: &self.programs,
                peers: &self.peers,
                root: &self.root,
                interface: cable::SERVER,
                boot: File::Tiny,
                http: false,
                ledger: Some(&folder),
            };
            place.configure()?;
            let program = responder.program(&place).context("nobody answers")?;
            let command = on_host(self.cable.lab.responder(), program, FILES, None)?;
            let process = self.cable.lab.spawn("ledger", command)?;
            process.wait_for("ready", START)?;
            let play = Play::Boots { machines: known, file: File::Tiny, power_on, known };
            let report = generator::report(&self.generate(&Case::of(play), responder, 0)?)?;
            ensure!(report["done"] == known, "not all of {known} machines booted: {report}");
            stop(&process)?;
            fs::rename(&folder, &made)?;
        }
        replace(&folder, Some(&made))?;
        Ok(folder)
    }

    /// Whether the server's side receives in its thread over sockets and in both XDP modes; where it does not, the cable
    /// becomes a plain one.
    ///
    /// # Errors
    /// When pxed or the generator does not start.
    pub(super) fn check(&mut self) -> Result<()> {
        let play = Play::Load { machines: 16, file: File::Tiny, window: 1, power_on: 0 };
        let case = Case::of(play);
        for who in [Who::Socket, Who::Generic, Who::Native] {
            if self.cable.setup == Setup::Plain {
                break;
            }
            match self.sample(&case, who)?["server_softirq"].as_f64() {
                Some(seconds) if seconds > 0.0 => {}
                _ => self.cable.fall_back(&format!("{}: the receiving thread does nothing", who.title())),
            }
        }
        Ok(())
    }
}

/// A program on a host, perhaps on one processor. Each word before it becomes the next one: it is one process.
pub(super) fn on_host(
    host: &Host,
    program: Command,
    files: u64,
    processor: Option<usize>,
) -> Result<Command> {
    let mut command = host.command("prlimit");
    // Not even root may raise the limit everywhere.
    let most = getrlimit(Resource::Nofile).maximum.unwrap_or(files).min(files);
    command.arg(format!("--nofile={most}:"));
    if let Some(processor) = processor {
        command.args(["taskset", "--cpu-list", &processor.to_string()]);
    }
    let variables: Vec<_> = program.get_envs().collect();
    if !variables.is_empty() {
        // Not for the programs before it.
        command.arg("env");
        for (name, value) in variables {
            let value = value.context("a variable without a value")?;
            command.arg(format!("{}={}", name.display(), value.display()));
        }
    }
    command.arg(program.get_program()).args(program.get_args());
    Ok(command)
}

/// Processor time and wake-ups of a responder that has nothing to do.
fn idle(seconds: u32, account: &Account) -> Value {
    let (time, wakes) = (account.time(), account.wakes());
    thread::sleep(Duration::from_secs(seconds.into()));
    let (time_after, wakes_after) = (account.time(), account.wakes());
    let busy = time_after.user + time_after.system - time.user - time.system;
    let per_second = |count: f64| count / f64::from(seconds);
    json!({ "idle_share": per_second(busy), "idle_wakes": per_second(wakes_after - wakes) })
}

/// Replaces a folder by a copy of another, or by nothing.
fn replace(folder: &Path, by: Option<&Path>) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let Some(by) = by else { return Ok(()) };
    pxe_kit::command::run(Command::new("cp").arg("-a").args([by, folder]))
}

/// Waits until a responder has read its ledger: it serves before that.
fn settle(account: &Account) {
    let deadline = clock::now() + START;
    let busy = || account.time().user + account.time().system;
    let mut before = busy();
    while clock::now() < deadline {
        thread::sleep(Duration::from_millis(500));
        let now = busy();
        if now - before < 0.02 {
            break;
        }
        before = now;
    }
}

fn stop(process: &Process) -> Result<()> {
    process.stop().map(drop)
}

/// Port 69 and port 80 as the kernel's tables have them.
const TFTP_PORT: &str = ":0045";
const HTTP_PORT: &str = ":0050";

/// Waits until something listens on a port where the process is: some servers say nothing.
fn wait_for_port(process: &Process, title: &str, table: &str, port: &str) -> Result<()> {
    let deadline = clock::now() + START;
    let proc = PathBuf::from(format!("/proc/{}", process.pid()));
    // Its first moments are in this host's own namespace, where another server may listen.
    let ours = fs::read_link("/proc/self/ns/net").ok();
    let is_inside = || fs::read_link(proc.join("ns/net")).ok() != ours;
    let listens = || fs::read_to_string(proc.join(table)).is_ok_and(|text| listens(&text, port));
    while !(is_inside() && listens()) {
        if !process.is_running() || clock::now() > deadline {
            bail!("{title} does not serve: {}", process.last_words());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Whether a line of /proc/net/udp or tcp has the port as its own: `  12: 0100320A:0045 00000000:0000 07 ...`.
fn listens(table: &str, port: &str) -> bool {
    table.lines().any(|line| line.split_whitespace().nth(1).is_some_and(|own| own.ends_with(port)))
}

impl Responder {
    /// How many files it may have open.
    fn files(&self) -> u64 {
        match self.kind {
            // It waits by select(2), and aborts at the 1025th (FD_SETSIZE). With 1024, whoever comes then asks again.
            Kind::Peer(Peer::Atftpd) => 1024,
            _ => FILES,
        }
    }

    /// Why it takes no part in a case that it is named for; such rows are shown.
    #[must_use]
    pub fn cannot(&self, case: &Case) -> Option<&'static str> {
        let asks = matches!(case.play, Play::Boots { .. } | Play::Offers { .. });
        (asks && !self.dhcp).then_some("knows no DHCP")
    }

    /// What a reader of its figures should know.
    #[must_use]
    pub fn remark(&self, case: &Case) -> Option<&'static str> {
        let windows = matches!(case.play, Play::Load { window: 2.., .. });
        let flood = matches!(case.fault, Fault::Flooded(_));
        match self.who {
            _ if windows && !self.windows => Some("lock-step: knows no windows"),
            Who::TftpdHpa if flood => Some(
                "root's process receives and forks; a child, nobody's and in a chroot, reads the request",
            ),
            Who::Atftpd if flood => {
                Some("it waits by select(2), so it can have 1024 descriptors and half as many transfers")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Form, cases};
    use super::*;

    #[test]
    fn a_listener_is_seen_by_its_own_port() {
        let head = "   sl  local_address rem_address   st tx_queue rx_queue\n";
        assert!(listens(
            &format!("{head}   12: 0100320A:0045 00000000:0000 07 00000000:00000000\n"),
            TFTP_PORT
        ));
        assert!(!listens(
            &format!("{head}   12: 0100320A:1F45 00000000:0045 07 00000000:00000000\n"),
            TFTP_PORT
        ));
        assert!(!listens(head, TFTP_PORT));
    }

    #[test]
    fn who_cannot_take_part_is_told() {
        let all = cases(Form::Targets, None);
        let dhcp = all.iter().find(|case| matches!(case.play, Play::Offers { .. })).unwrap();
        assert!(Who::TftpdHpa.responder().cannot(dhcp).is_some());
        assert!(Who::Dnsmasq.responder().cannot(dhcp).is_none());
        let windows = all.iter().find(|case| matches!(case.play, Play::Load { window: 16, .. })).unwrap();
        assert!(Who::TftpdHpa.responder().remark(windows).is_some());
        assert!(Who::Atftpd.responder().remark(windows).is_none());
    }
}
