//! Real daemons that share one segment, beside a DHCP server: each machine is answered at once by exactly one of them, by
//! weight; a daemon that is killed costs its machines one retry; a changed list moves the machines. Daemons with a shared
//! ledger find one another in it, and one that stops moves its machines by itself.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use pxe_common::segment::bucket;
use pxe_engine::segment::membership::{LAG, SETTLE};
use pxe_engine::segment::{Member, Segment, Table};
use pxe_kit::daemon::Daemon;
use pxe_kit::postgres::Postgres;
use pxe_kit::{Lab, clock, namespace};
use pxe_load::dhcp::{Answer, LEN_MAX, Next, Template, addressee, mac};
use pxe_load::manners::Firmware;
use pxe_nic::packet::PacketSocket;
use pxe_properties::frames::golden;
use pxe_proto::datagram::{Datagram, Link, write_frame};
use pxe_proto::mac::Mac;
use pxe_tests::machine;
use rustix::process::Signal;

const MACHINES: u32 = 300;
/// Time between two machines that are switched on.
const PACE: Duration = Duration::from_millis(3);
/// Time after the last answer, in which nobody may answer a machine once more.
const GRACE: Duration = Duration::from_millis(500);
/// The file of BIOS machines, and that of UEFI machines.
const FILES: [(Firmware, &str); 2] = [(Firmware::Ipxe, "boot.0"), (Firmware::Edk2, "boot.efi")];
const NAMES: [&str; 3] = ["a", "b", "c"];

/// Daemons on the hosts of a lab, each with a file of its own.
struct Responders {
    lab: Lab,
    weights: Vec<u32>,
    /// The database in which they find one another. `None` if each has a list.
    ledger: Option<Postgres>,
    datapath: &'static str,
    daemons: Vec<Option<Daemon>>,
}

impl Responders {
    fn start(weights: &[u32], datapath: &'static str, ledger: Option<Postgres>) -> Self {
        let lab = Lab::builder().responders(weights.len()).router_advertisements(false).start().unwrap();
        let root = lab.folder().join("root");
        std::fs::create_dir(&root).unwrap();
        for (_, file) in FILES {
            std::fs::write(root.join(file), bytes(file)).unwrap();
        }
        let mut all = Self { lab, weights: weights.to_vec(), ledger, datapath, daemons: Vec::new() };
        let members: Vec<usize> = (0..weights.len()).collect();
        for own in 0..weights.len() {
            all.write(own, &members);
            all.daemons.push(Some(all.daemon(own, &[])));
        }
        all
    }

    /// Starts a daemon with more arguments.
    fn daemon(&self, own: usize, more: &[&str]) -> Daemon {
        let host = self.lab.responders().nth(own).unwrap();
        let config = self.config(own);
        let arguments = ["--config", config.to_str().unwrap(), "--datapath", self.datapath];
        Daemon::start_on(&self.lab, host, host.interface(), &[&arguments, more].concat()).unwrap()
    }

    fn config(&self, own: usize) -> PathBuf {
        self.lab.folder().join(format!("{}.toml", NAMES[own]))
    }

    /// Writes the configuration of a responder with these responders in its list.
    fn write(&self, own: usize, members: &[usize]) {
        let mut text = format!(
            "root = {:?}\nboot_files = {{ bios = \"boot.0\", x64 = \"boot.efi\" }}\n",
            self.lab.folder().join("root")
        );
        let name = NAMES[own];
        if let Some(ledger) = &self.ledger {
            let (state, url) = (self.lab.folder().join(format!("state-{name}")), ledger.url("postgres"));
            text += &format!(
                "state = {state:?}\n[ledger]\nurl = \"{url}\"\nresponder = \"{name}\"\n[segment]\nname = \"lab\"\nweight = {}\n",
                self.weights[own]
            );
        } else {
            text += &format!("[segment]\nname = \"lab\"\nresponder = \"{name}\"\n");
            for member in members {
                let (name, weight) = (NAMES[*member], self.weights[*member]);
                text += &format!("[[segment.responders]]\nname = \"{name}\"\nweight = {weight}\n");
            }
        }
        let new = self.config(own).with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, self.config(own)).unwrap();
    }

    /// Gives each responder a new list, and waits until it is in force.
    fn relist(&self, members: impl Fn(usize) -> Vec<usize>) {
        for (own, daemon) in self.running() {
            let before = daemon.events("segment").len();
            self.write(own, &members(own));
            let is_read = || Ok(daemon.events("segment").len() > before);
            clock::wait_until("the list is read", Duration::from_secs(10), is_read).unwrap();
        }
    }

    /// What each board says of other proxyDHCP servers.
    fn notices(&self) -> Vec<Option<String>> {
        let notice =
            |daemon: &Daemon| daemon.summary().unwrap()["foreign_proxies"].as_str().map(str::to_owned);
        self.running().map(|(_, daemon)| notice(daemon)).collect()
    }

    /// The table that the responders compute from this list.
    fn table(&self, members: &[usize]) -> Table {
        let member = |index: &usize| Member { name: NAMES[*index].into(), weight: self.weights[*index] };
        Segment::new(members.iter().map(member).collect()).unwrap().table(|_| true)
    }

    /// The table of all responders, of which these are alive.
    fn table_of(&self, alive: &[usize]) -> Table {
        let all: Vec<usize> = (0..self.weights.len()).collect();
        let member = |index: &usize| Member { name: NAMES[*index].into(), weight: self.weights[*index] };
        let segment = Segment::new(all.iter().map(member).collect()).unwrap();
        segment.table(|name| alive.iter().any(|index| NAMES[*index] == name))
    }

    /// Whether the table of these responders is in force in all daemons. The log says so at once, the board a little later.
    fn have_table(&self, alive: &[usize]) -> bool {
        let number = format!("table {:08x}", self.table_of(alive).digest());
        self.running()
            .all(|(_, daemon)| daemon.events("segment").last().is_some_and(|last| last.contains(&number)))
    }

    #[track_caller]
    fn wait_table(&self, alive: &[usize]) {
        let shown = || self.running().map(|(_, daemon)| daemon.events("segment")).collect::<Vec<_>>();
        let waited = clock::wait_until("the responders have the table", Duration::from_secs(60), || {
            Ok(self.have_table(alive))
        });
        assert!(waited.is_ok(), "{waited:?}: {:#?}", shown());
    }

    fn kill(&mut self, index: usize) {
        let daemon = self.daemons[index].take().unwrap();
        daemon.signal(Signal::KILL).unwrap();
        daemon.ended().unwrap();
    }

    fn running(&self) -> impl Iterator<Item = (usize, &Daemon)> {
        self.daemons.iter().enumerate().filter_map(|(index, daemon)| Some((index, daemon.as_ref()?)))
    }

    /// Switches all machines on. Each loads its file.
    fn boot(&self) -> Vec<Boot> {
        self.switch_on(true).join().unwrap()
    }

    /// Switches all machines on, in a thread of the clients' namespace.
    fn switch_on(&self, loads: bool) -> thread::JoinHandle<Vec<Boot>> {
        let host = self.lab.client();
        let index = host.output("cat", &[&format!("/sys/class/net/{}/ifindex", host.interface())]).unwrap();
        let (namespace, index) = (host.namespace().to_owned(), index.trim().parse().unwrap());
        let run = move || {
            namespace::enter(&namespace).unwrap();
            boot_all(index, loads)
        };
        thread::spawn(run)
    }

    /// The name of the responder at an address.
    fn name(&self, address: Ipv4Addr) -> &'static str {
        let of = self.lab.responders().position(|host| host.address() == address.to_string());
        NAMES[of.unwrap()]
    }
}

fn bytes(file: &str) -> Vec<u8> {
    (0..20_000u32).map(|at| (at % 251) as u8 ^ file.len() as u8).collect()
}

/// One machine's boot.
#[derive(Debug)]
struct Boot {
    firmware: Firmware,
    xid: u32,
    discovers: u8,
    deadline: Instant,
    /// The responders that have answered, each time that they have.
    answers: Vec<Ipv4Addr>,
    /// Whether the DHCP server offered an address.
    has_lease: bool,
    /// What came over TFTP from the first of [`Self::answers`].
    file: Vec<u8>,
}

/// The clients' side of the network: all machines behind one port of the switch.
struct Network {
    socket: PacketSocket,
}

impl Network {
    fn broadcast(&self, machine: u32, message: &[u8]) {
        let mut frame = [0; 2048];
        let (from, to) =
            (SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68), SocketAddrV4::new(Ipv4Addr::BROADCAST, 67));
        let link = Link::untagged(Mac([0xff; 6]));
        let len = write_frame(&mut frame, Mac(mac(machine)), &link, from, to, &[], message);
        assert!(self.socket.send(&frame[..len]));
    }

    fn discover(&self, machine: u32, boot: &mut Boot) {
        boot.deadline = clock::now() + boot.firmware.discover_wait(boot.discovers).expect("nobody answers");
        boot.discovers += 1;
        let mut message = [0; LEN_MAX];
        let template = Template::discover(boot.firmware);
        let len = template.write(machine, Ipv4Addr::UNSPECIFIED, boot.xid, &mut message);
        self.broadcast(machine, &message[..len]);
    }

    /// The machine takes its address from the DHCP server. All responders see that.
    fn request(&self, machine: u32, boot: &Boot) {
        let mut message = golden(match boot.firmware {
            Firmware::Ipxe => "ipxe-bios-request-67",
            Firmware::Edk2 => "ovmf-request-67",
        });
        message[4..8].copy_from_slice(&boot.xid.to_be_bytes());
        message[28..34].copy_from_slice(&mac(machine));
        self.broadcast(machine, &message);
    }

    /// Takes all answers that have arrived.
    fn receive(&mut self, boots: &mut [Boot]) {
        let mut taken = Vec::new();
        while let Some(frame) = self.socket.receive() {
            let Ok(datagram) = Datagram::parse(frame) else { continue };
            let Some(machine) = addressee(datagram.payload).filter(|machine| *machine < MACHINES) else {
                continue;
            };
            let (boot, from) = (&mut boots[machine as usize], *datagram.from.ip());
            let Some(answer) = Answer::parse(datagram.payload).filter(|answer| answer.xid == boot.xid) else {
                continue;
            };
            if !answer.is_offer() {
                boot.has_lease |= from == Ipv4Addr::new(10, 99, 0, 1);
                continue;
            }
            let (_, file) = FILES.into_iter().find(|(firmware, _)| *firmware == boot.firmware).unwrap();
            // The offer leads to the responder that sent it, and to no other.
            // A machine that was switched on again before it loaded its file gets an offer of another style (0012).
            let next = answer.follow(boot.firmware, file, from);
            assert!(matches!(next, Ok(Next::Load | Next::BootServer)), "machine {machine}: {next:?}");
            boot.answers.push(from);
            if boot.answers.len() == 1 {
                taken.push(machine);
            }
        }
        for machine in taken {
            self.request(machine, &boots[machine as usize]);
        }
    }
}

/// Boots all machines: half of them BIOS machines with iPXE, half UEFI.
fn boot_all(interface: u32, loads: bool) -> Vec<Boot> {
    let mut network = Network { socket: PacketSocket::open(interface, 68).unwrap() };
    let start = clock::now();
    let epoch = u32::try_from(start.elapsed().as_nanos()).unwrap_or(0);
    let boot = |machine: u32| Boot {
        firmware: if machine.is_multiple_of(2) { Firmware::Ipxe } else { Firmware::Edk2 },
        xid: machine << 12 | epoch & 0xfff,
        discovers: 0,
        deadline: start + PACE * machine,
        answers: Vec::new(),
        has_lease: false,
        file: Vec::new(),
    };
    let mut boots: Vec<Boot> = (0..MACHINES).map(boot).collect();
    let mut last = clock::now();
    while boots.iter().any(|boot| boot.answers.is_empty()) || last.elapsed() < GRACE {
        network.receive(&mut boots);
        let now = clock::now();
        for (machine, boot) in (0..).zip(&mut boots).filter(|(_, boot)| boot.answers.is_empty()) {
            last = now;
            if now >= boot.deadline {
                network.discover(machine, boot);
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    for boot in boots.iter_mut().filter(|_| loads) {
        let (_, file) = FILES.into_iter().find(|(firmware, _)| *firmware == boot.firmware).unwrap();
        boot.file = machine::load(boot.answers[0], file).unwrap();
        assert!(boot.file == bytes(file), "{file} from {}", boot.answers[0]);
    }
    boots
}

/// Checks that each machine was answered at once, by its owner alone, and that the shares are those of the weights.
#[track_caller]
fn assert_shared(all: &Responders, members: &[usize], table: &Table, boots: &[Boot]) {
    let mut shares: BTreeMap<&str, u32> = BTreeMap::new();
    for (machine, boot) in (0..).zip(boots) {
        let owner = &*table.order(bucket(mac(machine)))[0];
        let answers: Vec<_> = boot.answers.iter().map(|address| all.name(*address)).collect();
        assert_eq!((boot.discovers, answers.as_slice()), (1, &[owner][..]), "machine {machine} of {owner}");
        *shares.entry(all.name(boot.answers[0])).or_default() += 1;
    }
    let total: u32 = members.iter().map(|index| all.weights[*index]).sum();
    for index in members {
        let fair = f64::from(MACHINES * all.weights[*index]) / f64::from(total);
        let share = f64::from(shares.get(NAMES[*index]).copied().unwrap_or(0));
        assert!((share / fair - 1.0).abs() < 0.1, "{}: {share} machines, fair {fair}", NAMES[*index]);
    }
    assert!(boots.iter().any(|boot| boot.has_lease), "the DHCP server is there, too");
}

/// The whole life of a segment: shared, one responder killed, the list corrected.
fn share(weights: &[u32], datapath: &'static str) {
    let mut all = Responders::start(weights, datapath, None);
    let members: Vec<usize> = (0..weights.len()).collect();
    let boots = all.boot();
    assert_shared(&all, &members, &all.table(&members), &boots);

    let dead = 1;
    all.kill(dead);
    let table = all.table(&members);
    for (machine, boot) in (0..).zip(all.boot()) {
        let order = table.order(bucket(mac(machine)));
        let by = all.name(boot.answers[0]);
        let expected = if *order[0] == *NAMES[dead] { (2, &*order[1]) } else { (1, &*order[0]) };
        assert_eq!(
            (boot.discovers, by, boot.answers.len()),
            (expected.0, expected.1, 1),
            "machine {machine}"
        );
    }

    let left: Vec<usize> = members.into_iter().filter(|index| *index != dead).collect();
    left.iter().for_each(|own| all.write(*own, &left));
    for (_, daemon) in all.running() {
        daemon.wait_events("reloaded", 1).unwrap();
    }
    // For a minute, a machine of the dead responder may be answered by two: its new owner, and one that remembers that it
    // had to ask twice.
    let boots = all.boot();
    let is_single = |boot: &Boot| boot.discovers == 1;
    assert!(boots.iter().all(is_single), "{:?}", boots.iter().find(|boot| !is_single(boot)));

    for daemon in all.daemons.into_iter().flatten() {
        assert_eq!(daemon.events("segment").len(), 2, "at the start, and after the change of the list");
        let log = daemon.stop().unwrap();
        let label = if datapath == "xdp" { "pass_other_responder" } else { "other_responder" };
        let others = Daemon::count(&log, label);
        assert!(others > 0 || weights.len() == 1, "{label} is counted: {log}");
    }
}

/// Each daemon has a list with only itself, so both answer every machine: a mistake that the board and the log name.
fn name_each_other(datapath: &'static str) {
    let all = Responders::start(&[1, 1], datapath, None);
    assert_eq!(all.notices(), [None, None]);
    all.relist(|own| vec![own]);
    all.boot();
    let both = |all: &Responders| all.notices().iter().all(Option::is_some);
    clock::wait_until("each names the other", Duration::from_secs(10), || Ok(both(&all))).unwrap();
    for (own, notice) in all.notices().into_iter().enumerate() {
        let other = all.lab.responders().nth(1 - own).unwrap().address().to_string();
        assert!(notice.unwrap().contains(&format!("machines here: {other}. A machine")));
    }
    // A list with both is the remedy, and its effect shows at once.
    all.relist(|_| vec![0, 1]);
    let none = |all: &Responders| all.notices().iter().all(Option::is_none);
    clock::wait_until("both share", Duration::from_secs(10), || Ok(none(&all))).unwrap();
    for daemon in all.daemons.into_iter().flatten() {
        assert_eq!(daemon.events("foreign_proxy").len(), 2, "one line for the beginning, one for the end");
    }
}

/// Checks that each machine had to ask once.
#[track_caller]
fn assert_asked_once(boots: &[Boot]) {
    let is_single = |boot: &Boot| boot.discovers == 1;
    assert!(boots.iter().all(is_single), "{:?}", boots.iter().find(|boot| !is_single(boot)));
}

/// The whole life of a segment whose responders are in a shared ledger: they find one another; one stops in order, and
/// comes back; one is replaced by a new process; one is killed; the database ends.
fn share_by_ledger(weights: [u32; 3], datapath: &'static str) {
    let mut all = Responders::start(&weights, datapath, Some(Postgres::start().unwrap()));
    all.wait_table(&[0, 1, 2]);
    assert_shared(&all, &[0, 1, 2], &all.table_of(&[0, 1, 2]), &all.boot());

    // A responder counts for the list of those that are gone when it has settled.
    thread::sleep(SETTLE + LAG * 2);
    // In order: its machines move before it ends.
    let boots = all.switch_on(false);
    thread::sleep(PACE * MACHINES / 3);
    let log = all.daemons[1].take().unwrap().stop().unwrap();
    assert!(log.contains("the others have taken over"), "{log}");
    assert!(all.have_table(&[0, 2]), "the others have taken over before it ended");
    assert_asked_once(&boots.join().unwrap());
    assert_shared(&all, &[0, 2], &all.table_of(&[0, 2]), &all.boot());

    all.daemons[1] = Some(all.daemon(1, &[]));
    all.wait_table(&[0, 1, 2]);
    assert_asked_once(&all.boot());

    // A successor on the same host: nothing moves.
    let changes = |all: &Responders| {
        all.daemons[1..].iter().flatten().map(|one| one.events("segment").len()).sum::<usize>()
    };
    let before = changes(&all);
    let successor = all.daemon(0, &["--take-over"]);
    assert!(all.daemons[0].replace(successor).unwrap().ended().unwrap().success());
    all.wait_table(&[0, 1, 2]);
    assert_asked_once(&all.boot());
    assert_eq!(changes(&all), before);

    // Killed: one more request until its lease ends, and none afterwards.
    all.kill(1);
    let table = all.table_of(&[0, 1, 2]);
    for (machine, boot) in (0..).zip(all.boot()) {
        let discovers = if *table.order(bucket(mac(machine)))[0] == *NAMES[1] { 2 } else { 1 };
        assert_eq!(boot.discovers, discovers, "machine {machine}: {boot:?}");
    }
    all.wait_table(&[0, 2]);
    assert_asked_once(&all.boot());

    // Without the database, what is known stays.
    all.ledger.as_ref().unwrap().kill().unwrap();
    for (_, daemon) in all.running() {
        let says =
            || Ok(daemon.summary()?["segment"]["problem"].to_string().contains("keeps to the responders"));
        clock::wait_until("the board says that the database is away", Duration::from_secs(60), says).unwrap();
    }
    thread::sleep(Duration::from_secs(10));
    assert!(all.have_table(&[0, 2]));
    assert_asked_once(&all.boot());
    all.ledger.as_ref().unwrap().launch().unwrap();
    for (_, daemon) in all.running() {
        let is_well = || Ok(daemon.summary()?["segment"]["problem"].is_null());
        clock::wait_until("the board says no more", Duration::from_secs(60), is_well).unwrap();
    }
    thread::sleep(Duration::from_secs(8));
    assert!(all.have_table(&[0, 2]), "each came back within the grace");
    for daemon in all.daemons.into_iter().flatten() {
        daemon.stop().unwrap();
    }
}

#[test]
fn three_responders_find_one_another_in_a_ledger_over_xdp() {
    share_by_ledger([2, 1, 1], "xdp");
}

#[test]
fn three_responders_find_one_another_in_a_ledger_over_sockets() {
    share_by_ledger([1, 1, 1], "socket");
}

#[test]
fn two_responders_share_a_segment_over_xdp_and_one_may_be_killed() {
    share(&[1, 1], "xdp");
}

#[test]
fn three_responders_share_a_segment_by_weight_over_xdp_and_one_may_be_killed() {
    share(&[2, 1, 1], "xdp");
}

#[test]
fn two_responders_share_a_segment_over_sockets_and_one_may_be_killed() {
    share(&[1, 1], "socket");
}

#[test]
fn three_responders_share_a_segment_by_weight_over_sockets_and_one_may_be_killed() {
    share(&[2, 1, 1], "socket");
}

#[test]
fn two_responders_that_do_not_share_a_segment_name_each_other_over_xdp() {
    name_each_other("xdp");
}

#[test]
fn two_responders_that_do_not_share_a_segment_name_each_other_over_sockets() {
    name_each_other("socket");
}
