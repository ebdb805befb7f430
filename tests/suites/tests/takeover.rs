//! The hand-over: a new daemon continues 200 running transfers of the old one, with `--take-over` and over a restart by
//! a service manager. These tests simulate the manager; tests/package.rs uses systemd.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use pxe_kit::daemon::Daemon;
use pxe_kit::{Lab, clock, namespace, tree};
use pxe_nic::lock::InterfaceLock;
use pxe_tests::manager::{Manager, left};
use rustix::process::{Signal, Uid};
use rustix::thread::set_thread_res_uid;

const MACHINES: usize = 200;
const BLKSIZE: usize = 1468;
/// The window of half of the machines. The others use lock-step.
const WINDOWSIZE: usize = 4;
const BLOCKS: usize = 800;
/// The pause before the ACK of each block. It keeps all transfers running until the second daemon is ready, even on a
/// busy host.
const PACE: Duration = Duration::from_millis(20);
/// The time-out after which a machine repeats its ACK, as in iPXE. It never repeats its request.
const RETRY: Duration = Duration::from_millis(250);
const RETRIES_MAX: usize = 40;
/// The time-out of EDK2, in ms (docs/clients.md section 2). A test host with three busy workers needed at most half of it.
const GAP_MAX: u64 = 4000;
const LONG: Duration = Duration::from_secs(60);

/// The progress of a machine's transfer.
#[derive(Default)]
struct Progress {
    blocks: AtomicUsize,
    /// The longest wait for a block, in ms.
    gap: AtomicU64,
    /// Whether the machine stops pausing before its ACKs.
    hurries: AtomicBool,
}

/// Loads the file slowly. Returns its bytes, or the reason of the failure.
fn load(server: Ipv4Addr, windowsize: usize, progress: &Progress) -> Result<Vec<u8>, String> {
    let said = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let socket = UdpSocket::bind("0.0.0.0:0").map_err(said("bind"))?;
    socket.set_read_timeout(Some(RETRY)).map_err(said("timeout"))?;
    let mut request = b"\0\x01big\0octet\0blksize\x001468\0".to_vec();
    if windowsize > 1 {
        request.extend_from_slice(format!("windowsize\0{windowsize}\0").as_bytes());
    }
    socket.send_to(&request, (server, 69)).map_err(said("request"))?;
    let mut buffer = [0; 2048];
    let (_, peer) = socket.recv_from(&mut buffer).map_err(said("OACK"))?;
    if buffer[1] != 6 {
        return Err("no OACK".into());
    }
    // A connected socket reports ICMP errors for a closed port.
    socket.connect(peer).map_err(said("connect"))?;
    let (mut bytes, mut last, mut in_window, mut retries) = (Vec::new(), 0u16, 0, 0);
    let acknowledge = |block: u16| socket.send(&[&[0, 4][..], &block.to_be_bytes()].concat());
    acknowledge(0).map_err(said("ACK 0"))?;
    let mut asked = clock::now();
    loop {
        let len = match socket.recv(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && retries < RETRIES_MAX => {
                (retries, in_window) = (retries + 1, 0);
                acknowledge(last).map_err(said("ACK"))?;
                continue;
            }
            received => received.map_err(said("DATA"))?,
        };
        let (head, data) = buffer[..len].split_at(4);
        match (head[1], u16::from_be_bytes([head[2], head[3]])) {
            (3, block) if block == last + 1 => (last, in_window) = (block, in_window + 1),
            // A repeated block, or one behind a gap.
            (3, _) => continue,
            _ => return Err(format!("block {last}: {}", String::from_utf8_lossy(data))),
        }
        bytes.extend_from_slice(data);
        progress.blocks.store(usize::from(last), Ordering::Relaxed);
        progress
            .gap
            .fetch_max(u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if in_window == windowsize || data.len() < BLKSIZE {
            (in_window, retries) = (0, 0);
            if !progress.hurries.load(Ordering::Relaxed) {
                std::thread::sleep(PACE * u32::try_from(windowsize).unwrap_or(1));
            }
            acknowledge(last).map_err(said("ACK"))?;
        }
        asked = clock::now();
        if data.len() < BLKSIZE {
            return Ok(bytes);
        }
    }
}

type Machine = (Arc<Progress>, JoinHandle<Result<Vec<u8>, String>>);

/// A lab with a file, and the daemon's arguments.
struct Scene {
    lab: Lab,
    file: Vec<u8>,
    arguments: Vec<String>,
}

const DATAPATHS: [&[&str]; 3] =
    [&["--datapath", "xdp"], &["--datapath", "xdp", "--offload", "off"], &["--datapath", "socket"]];

impl Scene {
    fn new(datapath: &[&str]) -> Self {
        let lab = Lab::builder().start().unwrap();
        let file = tree::bytes(BLKSIZE * BLOCKS - 1);
        let root = tree::with_files(lab.folder(), &[("big", file.clone())]).unwrap();
        let state = lab.folder().join("state");
        let mut arguments = vec!["--root", root.to_str().unwrap(), "--boot-file", "x64=big"];
        arguments.extend(["--state", state.to_str().unwrap(), "--http-port", "8080"]);
        arguments.extend(datapath);
        let arguments = arguments.into_iter().map(str::to_owned).collect();
        Self { lab, file, arguments }
    }

    fn arguments(&self) -> Vec<&str> {
        self.arguments.iter().map(String::as_str).collect()
    }

    /// Starts all machines, waits until their transfers run, and then replaces the file, as an upgrade does. Running
    /// transfers must end with the old file.
    fn power_on(&self) -> Vec<Machine> {
        let server: Ipv4Addr = self.lab.responder().address().parse().unwrap();
        let machine = |index: usize| {
            let progress = Arc::new(Progress::default());
            let (counted, namespace) = (Arc::clone(&progress), self.lab.client().namespace().to_owned());
            let windowsize = if index.is_multiple_of(2) { 1 } else { WINDOWSIZE };
            let run = move || {
                namespace::enter(&namespace).unwrap();
                load(server, windowsize, &counted)
            };
            (progress, std::thread::spawn(run))
        };
        let machines: Vec<Machine> = (0..MACHINES).map(machine).collect();
        let has_begun =
            |(progress, _): &Machine| (20..BLOCKS / 2).contains(&progress.blocks.load(Ordering::Relaxed));
        clock::wait_until("all transfers are under way", LONG, || Ok(machines.iter().all(has_begun)))
            .unwrap();
        let root = self.lab.folder().join("root");
        std::fs::write(root.join("new"), tree::bytes(10)).unwrap();
        std::fs::rename(root.join("new"), root.join("big")).unwrap();
        machines
    }

    /// Checks that all machines end with the old file, from the second daemon, without a new request, and that no
    /// machine waited as long as EDK2's time-out. Returns the longest wait, in ms.
    fn end_well(&self, machines: Vec<Machine>, first: &Daemon, second: Daemon) -> u64 {
        assert_eq!(first.events("handed_over").len(), 1, "{}", first.log());
        println!("{}", second.wait_events("took_over", 1).unwrap()[0]);
        let gaps: Vec<_> = machines.iter().map(|(progress, _)| Arc::clone(progress)).collect();
        gaps.iter().for_each(|progress| progress.hurries.store(true, Ordering::Relaxed));
        let loaded = machines.into_iter().map(|(_, machine)| machine.join().unwrap());
        let failed: Vec<_> = loaded
            .filter_map(|loaded| match loaded {
                Ok(bytes) => (bytes != self.file).then(|| "the bytes differ".to_owned()),
                Err(why) => Some(why),
            })
            .collect();
        let log = second.stop().unwrap();
        assert!(failed.is_empty(), "{failed:?}\n{}\n{log}", first.log());
        assert_eq!(Daemon::count(&log, "tftp_resumed"), MACHINES as u64, "{log}");
        assert_eq!(Daemon::count(&log, "tftp_complete"), MACHINES as u64, "{log}");
        assert_eq!(Daemon::count(&log, "tftp_requests"), 0, "a machine started again: {log}");
        let gap = gaps.iter().map(|progress| progress.gap.load(Ordering::Relaxed)).max().unwrap_or(0);
        assert!((1..GAP_MAX).contains(&gap), "a machine waited for {gap} ms\n{}\n{log}", first.log());
        gap
    }

    /// Whether an XDP program is attached to the daemon's interface.
    fn is_attached(&self) -> bool {
        let host = self.lab.responder();
        host.output("ip", &["link", "show", host.interface()]).unwrap().contains("xdp")
    }
}

#[test]
fn a_new_daemon_goes_on_with_200_transfers_over_each_datapath() {
    for datapath in DATAPATHS {
        let scene = Scene::new(datapath);
        let mut arguments = scene.arguments();
        let first = Daemon::start(&scene.lab, &arguments).unwrap();
        let machines = scene.power_on();
        arguments.push("--take-over");
        let second = Daemon::start(&scene.lab, &arguments).unwrap();
        assert!(first.wait(LONG).unwrap().success(), "{}", first.log());
        let gap = scene.end_well(machines, &first, second);
        println!("{datapath:?}: a machine waited for {gap} ms at most");
    }
}

/// Ends a daemon as a service manager does, and returns the descriptor that the daemon stores.
fn end(daemon: &Daemon, manager: &Manager) -> OwnedFd {
    daemon.signal(Signal::TERM).unwrap();
    let kept = manager.wait_for("FDSTORE=1\nFDNAME=pxed-hand-over\nFDPOLL=0").unwrap();
    // The daemon stops serving only after the barrier.
    manager.wait_for("BARRIER=1").unwrap();
    assert!(daemon.wait(LONG).unwrap().success(), "{}", daemon.log());
    kept.unwrap()
}

#[test]
fn over_a_restart_by_the_service_manager_200_transfers_go_on_over_each_datapath() {
    for datapath in DATAPATHS {
        let (scene, manager) = (Scene::new(datapath), Manager::new().unwrap());
        let first = Daemon::launch_service(&scene.lab, &scene.arguments(), &manager.path(), None).unwrap();
        manager.wait_for("READY=1").unwrap();
        let machines = scene.power_on();
        let ended = clock::now();
        let kept = end(&first, &manager);
        let second =
            Daemon::launch_service(&scene.lab, &scene.arguments(), &manager.path(), Some(kept)).unwrap();
        manager.wait_for("FDSTOREREMOVE=1\nFDNAME=pxed-hand-over").unwrap();
        manager.wait_for("READY=1").unwrap();
        let silence = ended.elapsed().as_millis();
        second.wait_ready().unwrap();
        let gap = scene.end_well(machines, &first, second);
        println!("{datapath:?}: {silence} ms from SIGTERM to ready; a machine waited for {gap} ms at most");
    }
}

/// Replaces the responder's interface by a new one with the same name and address, as a restart of the host's network does.
fn replace_interface(lab: &Lab) {
    let host = lab.responder();
    let (own, port, namespace) = (host.interface(), host.port(), host.namespace());
    let run = |mut command: std::process::Command, words: String| {
        assert!(command.args(words.split(' ')).status().unwrap().success(), "{words}");
    };
    let switch = |words| run(lab.switch_command("ip"), words);
    let here = |words| run(host.command("ip"), words);
    switch(format!("link del {port}"));
    switch(format!("link add {port} type veth peer name {own} netns {namespace}"));
    switch(format!("link set {port} master br0 up"));
    here(format!("link set {own} address {} up", host.mac()));
    here(format!("addr add {}/24 dev {own}", host.address()));
}

#[test]
fn what_is_left_of_another_interface_by_the_same_name_is_not_taken_for_this_ones() {
    for datapath in [&["--datapath", "xdp"][..], &["--datapath", "socket"]] {
        let (scene, manager) = (Scene::new(datapath), Manager::new().unwrap());
        let first = Daemon::launch_service(&scene.lab, &scene.arguments(), &manager.path(), None).unwrap();
        manager.wait_for("READY=1").unwrap();
        let kept = end(&first, &manager);
        replace_interface(&scene.lab);
        let second =
            Daemon::launch_service(&scene.lab, &scene.arguments(), &manager.path(), Some(kept)).unwrap();
        second.wait_ready().unwrap();
        assert!(second.log().contains("served another interface with this name"), "{}", second.log());
        let url = format!("tftp://{}/big", scene.lab.responder().address());
        let got =
            scene.lab.client().command("curl").args(["-sS", "--max-time", "60", &url]).output().unwrap();
        assert!(got.stdout == scene.file, "{}\n{}", String::from_utf8_lossy(&got.stderr), second.log());
        drop(end(&second, &manager));
    }
}

#[test]
fn what_is_left_with_the_service_manager_and_not_gone_on_with_is_taken_down() {
    let (scene, manager) = (Scene::new(&["--datapath", "xdp"]), Manager::new().unwrap());
    let serve_and_end = || {
        let daemon = Daemon::launch_service(&scene.lab, &scene.arguments(), &manager.path(), None).unwrap();
        manager.wait_for("READY=1").unwrap();
        let kept = end(&daemon, &manager);
        assert!(scene.is_attached(), "the program is not attached between two daemons");
        kept
    };
    let is_free = || Ok(!scene.is_attached());
    // A stop: the manager closes the descriptor.
    drop(serve_and_end());
    clock::wait_until("nothing is attached after a stop", LONG, is_free).unwrap();
    // A failed start, as after an upgrade with a mistake in the configuration.
    let kept = serve_and_end();
    let mut arguments = scene.arguments();
    arguments.extend(["--config", "/nonexistent/pxed.toml"]);
    let failing = Daemon::launch_service(&scene.lab, &arguments, &manager.path(), Some(kept)).unwrap();
    manager.wait_for("FDSTOREREMOVE=1\nFDNAME=pxed-hand-over").unwrap();
    assert!(!failing.wait(LONG).unwrap().success(), "{}", failing.log());
    clock::wait_until("nothing is attached after a start that failed", LONG, is_free).unwrap();
}

#[test]
fn what_cannot_be_gone_on_with_is_refused_with_its_reason_and_an_ordinary_start_follows() {
    const ANSWER: &[u8] = b"pxed: take over\n";
    let (scene, manager) = (Scene::new(&["--datapath", "xdp"]), Manager::new().unwrap());
    let letter = |since: i64| format!(r#"{{"version":1,"since":{since},"interfaces":[],"images":[]}}"#);
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_sec * 1_000_000_000;
    for (reason, kept) in [
        ("ended", left(b"", "")),
        ("other_words", left(b"pxed: take this\n", "")),
        ("version", left(ANSWER, r#"{"version":2}"#)),
        ("unreadable", left(ANSWER, r#"{"version":1}"#)),
        ("too_old", left(ANSWER, &letter(now - 46_000_000_000))),
        ("other_interfaces", left(ANSWER, &letter(now))),
    ] {
        let daemon =
            Daemon::launch_service(&scene.lab, &scene.arguments(), &manager.path(), Some(kept.unwrap()))
                .unwrap();
        daemon.wait_ready().unwrap();
        let refused = daemon.events("hand_over_refused");
        assert!(
            refused.len() == 1 && refused[0].contains(&format!("\"reason\":\"{reason}\"")),
            "{reason}: {}",
            daemon.log()
        );
        assert!(daemon.events("took_over").is_empty() && scene.is_attached(), "{reason}: {}", daemon.log());
        let metrics = daemon.get("/metrics").unwrap();
        assert!(metrics.contains(&format!("pxed_hand_over_refused{{reason=\"{reason}\"}} 1")), "{metrics}");
        drop(end(&daemon, &manager));
    }
}

#[test]
fn without_a_predecessor_it_is_an_ordinary_start_and_strangers_get_nothing() {
    let lab = Lab::builder().start().unwrap();
    let root = tree::with_files(lab.folder(), &[("small", tree::bytes(3000))]).unwrap();
    let arguments = ["--root", root.to_str().unwrap(), "--boot-file", "x64=small", "--take-over"];
    let daemon = Daemon::start(&lab, &arguments).unwrap();
    assert!(daemon.events("took_over").is_empty());
    // Three connections to the lock: of another user, of root with an unknown request, and of root without a request.
    let (namespace, interface) =
        (lab.responder().namespace().to_owned(), lab.responder().interface().to_owned());
    let ask = move || {
        namespace::enter(&namespace).unwrap();
        let silent = InterfaceLock::holder(&interface).unwrap().unwrap();
        let mut other = InterfaceLock::holder(&interface).unwrap().unwrap();
        other.write_all(b"pxed: hand over 2\n").unwrap();
        let stranger = Uid::from_raw(12345);
        set_thread_res_uid(stranger, stranger, stranger).unwrap();
        let mut asker = InterfaceLock::holder(&interface).unwrap().unwrap();
        asker.write_all(b"pxed: hand over 1\n").unwrap();
        [silent, other, asker].map(|mut stream| {
            let mut told = Vec::new();
            // The read may fail: if the daemon closes with unread data, the connection is reset.
            let _ = stream.read_to_end(&mut told);
            told
        })
    };
    let told = std::thread::spawn(ask).join().unwrap();
    assert!(told.iter().all(Vec::is_empty), "{told:?}");
    assert!(daemon.events("handed_over").is_empty());
    let server = SocketAddrV4::new(lab.responder().address().parse().unwrap(), 69);
    let got =
        lab.client().command("curl").arg("--silent").arg(format!("tftp://{server}/small")).output().unwrap();
    assert!(got.stdout == tree::bytes(3000), "the daemon does not serve any more");
    daemon.stop().unwrap();
}
