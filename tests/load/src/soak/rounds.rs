//! What is done to the daemon: rounds in which machines boot, with something that changes or goes wrong in each.

use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use pxe_kit::daemon::{Daemon, ask};
use pxe_kit::{clock, tree};
use pxe_proto::datagram::{Link, write_frame};
use pxe_proto::mac::Mac;
use rustix::process::Signal;
use serde_json::Value;

use super::Wish;
use super::size::{Kernel, Measure, Size};
use crate::fleet::{self, Plan};
use crate::manners::Kind;
use crate::noise::Noise;
use crate::pair::{ADDRESS, INTERFACE, Pair, all_done, wait_detached};
use crate::report::Report;
use crate::script::{Crew, Dhcp, Script};
use crate::wire::Wire;

/// Machines in a round, of all kinds in turn.
const MACHINES: u32 = 64;
/// Files that each of them loads before: in all more than the 16384 steps that the daemon keeps in memory (fleet/thread/recent).
const WARM_UP: usize = 300;
/// On both ways of a bad cable, per mille.
const NOISE: Noise = Noise { loss: 10, duplicate: 10, reorder: 10 };
/// The cable is bad in one cycle of so many: waits of seconds make these slow.
const NOISE_EVERY: u32 = 4;
/// Datagrams of rubbish in a cycle.
const RUBBISH: usize = 2000;
/// Ports that a machine uses for one boot: three files and two look-ups, each of which some ask for twice.
const PORTS_OF_BOOT: u16 = 10;
/// Ports between those of a round and the next: each attempt to boot takes others, and so do look-ups.
const PORTS: u16 = 2 * LOOK_UPS;
/// The first while it warms up; each file is asked for twice at most.
const WARM_UP_PORT: u16 = 2048;
/// The first of all rounds, and the last from which there is room for a round.
const FIRST_PORT: u16 = 4096;
const LAST_PORT: u16 = 50_000;
/// Files that are not there, which machines ask for when they are on again: from as many ports as they may have used.
const LOOK_UPS: u16 = PORTS_OF_BOOT * (AGAIN as u16 + 1);
/// How often a machine that gave up is switched on again.
const AGAIN: u8 = 3;
/// How long machines are on that vanish: some while they load.
const VANISH: Duration = Duration::from_millis(150);
/// How long a round, or the way to rest, may take: a guard against hanging, no assertion.
const LIMIT: Duration = Duration::from_secs(300);
/// What is asked of the API at each rest.
const QUESTIONS: [&str; 4] = ["/metrics", "/api/v1/machines", "/api/v1/throughput", "/healthz"];
/// What must never be counted: places that were not given back, and steps that were lost.
const NEVER: [&str; 3] = ["journal_lost", "tftp_refused_full", "tftp_refused_kernel_full"];

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Cycles of rounds.
    pub cycles: u32,
    /// Machines that booted, with the right bytes.
    pub boots: u64,
    /// Machines that were switched off before they had all.
    pub vanished: u64,
    /// Machines that gave up on the bad cable, and booted the next time.
    pub begun_again: u64,
    /// Boot files that came in the version which replaced another one meanwhile.
    pub later_versions: u64,
    /// Times that applied the changed configuration.
    pub reloads: u64,
    /// Packets of files that the kernel sent by itself.
    pub by_kernel: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cycles, boots, vanished, begun_again, later_versions, reloads, by_kernel } = self;
        write!(
            f,
            "{boots} boots in {cycles} cycles; {vanished} machines vanished, {begun_again} others gave up and came again; \
             {later_versions} got a file that had just changed; {reloads} reloads; \
             {by_kernel} packets were sent by the kernel"
        )
    }
}

/// A daemon and what is done to it.
pub(super) struct Soak<'a> {
    wish: &'a Wish,
    pub(super) counts: Counts,
    daemon: Daemon,
    pair: Pair,
    port: u16,
}

impl<'a> Soak<'a> {
    /// A daemon with files, rules and a place for its state.
    pub(super) fn start(wish: &'a Wish) -> Result<Self> {
        let pair = Pair::new(1)?;
        for (name, bytes) in files(0) {
            pair.put(&name, &bytes)?;
        }
        let config = pair.folder().join("pxed.toml");
        fs::write(&config, configuration(0))?;
        let (config, state) =
            (config.display().to_string(), pair.folder().join("state").display().to_string());
        let daemon = pair.serve(&["--datapath", &wish.datapath, "--config", &config, "--state", &state])?;
        let mut soak = Self { wish, counts: Counts::default(), daemon, pair, port: WARM_UP_PORT };
        soak.warm_up()?;
        Ok(soak)
    }

    /// Each machine loads many small files: what the daemon remembers of the last steps has its full length then.
    fn warm_up(&mut self) -> Result<()> {
        let small = tree::bytes(1000);
        self.pair.put("small.img", &small)?;
        let mut plan = self.plan(0);
        plan.script = plan.script.loading(vec![("small.img".to_owned(), small); WARM_UP], 0);
        plan.script.dhcp = Dhcp::Skip;
        all_done(&self.load(plan, |_| Ok(()))?).with_context(|| self.daemon.log())?;
        Ok(())
    }

    /// Machines boot; the file and the configuration change while others do; some vanish, and want something
    /// else when they are on again; rubbish comes.
    pub(super) fn cycle(&mut self) -> Result<()> {
        let number = self.counts.cycles;
        let noise = if number % NOISE_EVERY == NOISE_EVERY - 1 { NOISE } else { Noise::default() };
        self.next_port();
        self.boot(Plan { noise, noise_back: noise, ..self.plan(number) }, |_| Ok(()))?;
        self.look_up(number)?;

        self.next_port();
        let mut plan = self.plan(number);
        plan.script.or(boot_file(number + 1));
        self.boot(plan, |soak| soak.change(number + 1))?;

        self.next_port();
        let cut = self.load(Plan { limit: VANISH, ..self.plan(number + 1) }, |_| Ok(()))?;
        ensure!(cut.wrong == 0, "{}", cut.to_json());
        self.counts.vanished += cut.failed;
        self.look_up(number)?;

        self.rubbish(number)?;
        self.counts.cycles += 1;
        Ok(())
    }

    fn next_port(&mut self) {
        self.port =
            if !(FIRST_PORT..=LAST_PORT).contains(&self.port) { FIRST_PORT } else { self.port + PORTS };
    }

    /// What machines do, with the boot file as it is in a cycle.
    fn plan(&self, number: u32) -> Plan {
        let script = Script::new(ADDRESS, Dhcp::Boot, Crew::Mix, 1468, 1);
        let mut script = script.loading(files(number), 2);
        // Where frames of bad luck in a row cost a boot, firmware and people try again.
        (script.port, script.again) = (self.port, AGAIN);
        let power_on = Duration::from_millis(200);
        Plan {
            machines: MACHINES,
            power_on,
            seed: number,
            limit: LIMIT,
            script,
            ..self.pair.plan(1, ("", &[]), 0)
        }
    }

    /// Machines that are on again ask for what is not there, from the ports that they had. So transfers end whose last packet
    /// was lost, or whose machine vanished: those that were never answered would be kept for 135 s.
    fn look_up(&self, number: u32) -> Result<()> {
        let mut script =
            Script::new(ADDRESS, Dhcp::Skip, Crew::All(Kind::Plain), 512, 1).loading(vec![], LOOK_UPS);
        (script.port, script.again) = (self.port, AGAIN);
        all_done(&self.load(Plan { script, ..self.plan(number) }, |_| Ok(()))?)
    }

    /// All machines boot.
    fn boot(&mut self, plan: Plan, meanwhile: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let report = self.load(plan, meanwhile)?;
        all_done(&report).with_context(|| format!("{}\ncycle {}", self.daemon.log(), self.counts.cycles))?;
        self.counts.boots += report.done;
        self.counts.begun_again += report.counters.begun_again;
        self.counts.later_versions += report.counters.later_versions;
        Ok(())
    }

    /// Machines do what is planned, while something else is done.
    fn load(&self, plan: Plan, meanwhile: impl FnOnce(&Self) -> Result<()>) -> Result<Report> {
        let machines = thread::spawn(move || fleet::run(&plan));
        meanwhile(self)?;
        while !machines.is_finished() {
            self.wish.go_on()?;
            thread::sleep(Duration::from_millis(10));
        }
        machines.join().map_err(|_| anyhow!("the machines' thread panicked"))?
    }

    /// The boot file and the configuration become those of another cycle.
    fn change(&self, number: u32) -> Result<()> {
        thread::sleep(Duration::from_millis(100));
        let new = self.pair.root().join("new");
        fs::write(&new, boot_file(number))?;
        fs::rename(new, self.pair.root().join("boot.img"))?;
        fs::write(self.pair.folder().join("pxed.toml"), configuration(number))?;
        self.daemon.signal(Signal::HUP)
    }

    /// Datagrams that no honest machine sends, from addresses that nobody has.
    fn rubbish(&self, number: u32) -> Result<()> {
        const TO: [u16; 6] = [69, 69, 67, 4011, 61_000, 61_001];
        const MISSING: &[u8] = b"\0\x01none\0octet\0blksize\x001468\0";
        let mut wire = Wire::open(self.pair.plan(1, ("", &[]), 0).interface)?;
        let mut bytes = tree::bytes(RUBBISH * 64 + number as usize).into_iter();
        let mut next = || bytes.next().unwrap_or_default();
        for at in 0..RUBBISH {
            let from = SocketAddrV4::new(Ipv4Addr::new(10, 50, 200, next()), 1024 + u16::from(next()));
            let to = SocketAddrV4::new(ADDRESS, TO[usize::from(next()) % TO.len()]);
            // A request now and then, for what is not there.
            let head: &[u8] = if next() < 30 { MISSING } else { &[0, next() % 8] };
            let rest: Vec<u8> = (0..next() % 48).map(|_| next()).collect();
            let mac = Mac([2, 0xff, 0, 0, 0, next()]);
            let link = Link::untagged(crate::pair::MAC);
            while !wire.tx.push(|frame| write_frame(frame, mac, &link, from, to, head, &rest)) {
                wire.tx.flush();
            }
            if at % 64 == 0 {
                wire.tx.flush();
            }
        }
        wire.tx.flush();
        Ok(())
    }

    /// Waits until nothing is under way, asks the API some things, and tells how large the daemon is.
    pub(super) fn rest(&mut self) -> Result<Size> {
        let pid = self.daemon.pid();
        clock::wait_until("no transfer is under way", LIMIT, || {
            self.wish.go_on()?;
            Ok(self.is_idle()? && Size::of(pid)?.get(Measure::Transfers) == 0)
        })
        .with_context(|| self.daemon.log())?;
        let socket = self.socket();
        for question in QUESTIONS {
            ensure!(!ask(&socket, question)?.is_empty(), "no answer to {question}");
        }
        Size::of(pid)
    }

    /// Whether the API says that nothing is under way.
    fn is_idle(&mut self) -> Result<bool> {
        let summary: Value = serde_json::from_str(&ask(&self.socket(), "/api/v1/summary")?)?;
        ensure!(summary["lost"] == Value::Array(Vec::new()), "{summary}");
        ensure!(summary["config_problem"].is_null(), "{summary}");
        let interface = &summary["interfaces"][0];
        ensure!(interface["datapath"] == self.wish.datapath.as_str(), "{summary}");
        self.counts.reloads = summary["reloads"].as_u64().unwrap_or_default();
        Ok(interface["transfers"] == 0 && interface["waiting"] == 0)
    }

    fn socket(&self) -> std::path::PathBuf {
        self.pair.folder().join("pxed.sock")
    }

    /// Ends the daemon. All that was to happen has happened, and nothing of it is left.
    pub(super) fn end(mut self) -> Result<Counts> {
        let kernel = Kernel::of(self.daemon.pid())?;
        ensure!(
            kernel.is_any() || self.wish.datapath != "xdp",
            "no programs or maps of the daemon were found"
        );
        let log = self.daemon.stop()?;
        wait_detached(INTERFACE)?;
        clock::wait_until("nothing is left in the kernel", LIMIT, || Ok(kernel.is_gone()))?;
        for label in NEVER {
            ensure!(Daemon::count(&log, label) == 0, "{label}: {log}");
        }
        self.counts.by_kernel = Daemon::count(&log, "tftp_data_by_kernel");
        let Counts { vanished, later_versions, reloads, by_kernel, .. } = self.counts;
        let happened = vanished > 0 && later_versions > 0 && reloads > 0;
        ensure!(happened, "it was not what it should be: {}", self.counts);
        ensure!((by_kernel > 0) == (self.wish.datapath == "xdp"), "{}: {log}", self.counts);
        Ok(self.counts)
    }
}

/// What machines load in a cycle.
fn files(number: u32) -> Vec<(String, Vec<u8>)> {
    let boot = ("boot.img".to_owned(), boot_file(number));
    vec![boot, ("more.img".to_owned(), tree::bytes(30_000)), ("kernel.img".to_owned(), tree::bytes(200_000))]
}

/// The boot file as it is in a cycle.
fn boot_file(number: u32) -> Vec<u8> {
    tree::bytes(60_000 + (number as usize % 7) * 1468)
}

/// A rule that comes and goes.
fn configuration(number: u32) -> String {
    let vlan = 2 + number % 2;
    format!(
        "[images.boot]\nboot_files = {{ bios = \"boot.img\", x64 = \"boot.img\" }}\n\
         [[rules]]\nname = \"others\"\nmatch = {{ vlan = {vlan} }}\naction = \"ignore\"\n\
         [[rules]]\nname = \"all\"\nimage = \"boot\"\n"
    )
}
