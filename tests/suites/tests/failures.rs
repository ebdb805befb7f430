//! Failures on a host: pxed logs one sentence with the remedy, exits with an error, and leaves nothing attached.

use std::io::{BufRead as _, BufReader};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Command, Output, Stdio};

use pxe_kit::daemon::{Daemon, program};
use pxe_kit::{Lab, namespace, tree};
use pxe_load::pair;
use pxe_tests::manager::Manager;
use rustix::process::{Pid, Signal, kill_process};

/// Runs `pxed` in this thread's namespace until it ends. If it serves instead of failing, `timeout` ends it with code 124.
fn pxed(arguments: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.arg("60").arg(program()).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Checks that pxed failed with exit code 1 and all these words in its last line.
fn fails(output: &Output, words: &[&str]) {
    fails_with(1, output, words);
}

/// Like [`fails`], with another exit code.
fn fails_with(code: i32, output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    let last = said.lines().last().unwrap_or_default();
    for word in words {
        assert!(last.contains(word), "`{word}` is missing in: {said}");
    }
}

/// Enters a namespace with a veth pair: `pxe0` with an address, and its peer.
fn veth() {
    namespace::enter_new().unwrap();
    for command in [
        "link add pxe0 type veth peer name peer0",
        "addr add 10.99.0.2/24 dev pxe0",
        "link set pxe0 up",
        "link set peer0 up",
    ] {
        assert!(ip(command).status.success(), "ip {command}");
    }
}

fn ip(arguments: &str) -> Output {
    Command::new("ip").args(arguments.split(' ')).output().unwrap()
}

/// Whether an XDP program is attached to `pxe0`.
fn is_attached() -> bool {
    pair::attached("pxe0").unwrap() > 0
}

/// Starts a daemon in this thread's namespace, and waits until it serves.
fn serving(arguments: &[&str]) -> Daemon {
    let words = arguments.iter().map(|word| (*word).to_owned());
    Daemon::start_here(&std::iter::once(program().display().to_string()).chain(words).collect::<Vec<_>>())
        .unwrap()
}

const SERVE: [&str; 3] = ["serve", "--interface", "pxe0"];

#[test]
fn a_wrong_interface_is_named_with_those_there_are() {
    veth();
    fails(&pxed(&["serve", "--interface", "eth7"]), &["eth7", "pxe0"]);
    fails(&pxed(&["serve", "--interface", "lo"]), &["lo", "not Ethernet"]);
    fails(&pxed(&["serve", "--interface", "peer0"]), &["peer0", "no IPv4 address", "ip addr add"]);
    assert!(ip("link set pxe0 down").status.success());
    fails(&pxed(&SERVE), &["pxe0 is down", "ip link set pxe0 up"]);
}

/// Mistakes in the configuration have an exit code of their own, so that a service manager does not retry
/// (`RestartPreventExitStatus=` in the unit).
#[test]
fn mistakes_in_the_configuration_have_an_exit_code_of_their_own() {
    veth();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pxed.toml");
    let serve = ["serve", "--config", file.to_str().unwrap()];
    fails_with(78, &pxed(&serve), &["cannot read", "pxed.toml"]);
    std::fs::write(&file, "interfaces = [\"pxe0\"]\nport = 69\n").unwrap();
    fails_with(78, &pxed(&serve), &["line 2", "port"]);
    std::fs::write(&file, "transfers = 64\n").unwrap();
    fails_with(78, &pxed(&serve), &["no interface is named"]);
    std::fs::write(&file, "interfaces = [\"pxe0\"]\nuser = \"no-such-user\"\n").unwrap();
    fails_with(78, &pxed(&serve), &["no-such-user", "--user"]);
    // Latin-1.
    std::fs::write(&file, b"# f\xfcr alle\n").unwrap();
    fails_with(78, &pxed(&serve), &["pxed.toml", "UTF-8"]);
    fails_with(78, &pxed(&["serve", "--config", folder.path().to_str().unwrap()]), &["cannot read"]);
    assert_eq!(pxed(&["serve", "--no-such-option"]).status.code(), Some(2));
}

#[test]
fn a_foreign_address_is_refused_with_those_there_are() {
    veth();
    fails(&pxed(&[&SERVE[..], &["--address", "10.1.2.3"]].concat()), &["10.1.2.3", "10.99.0.2"]);
}

#[test]
fn missing_and_unreadable_boot_files_are_said() {
    veth();
    let folder = tempfile::tempdir().unwrap();
    let empty = tree::with_files(folder.path(), &[("readme", b"x".to_vec())]).unwrap();
    let empty = empty.to_str().unwrap();
    fails(&pxed(&[&SERVE[..], &["--root", "/no/such/folder"]].concat()), &["/no/such/folder", "--root"]);
    fails(&pxed(&[&SERVE[..], &["--root", empty]].concat()), &[empty, "--boot-file"]);
    let other = [&SERVE[..], &["--root", empty, "--boot-file", "x64=absent.efi"]].concat();
    fails(&pxed(&other), &["absent.efi", "--boot-file"]);
    assert!(!is_attached());
}

#[test]
fn a_port_in_use_is_said_with_the_port_over_each_datapath() {
    veth();
    for port in [69, 4011] {
        let _taken = std::net::UdpSocket::bind(("10.99.0.2", port)).unwrap();
        for datapath in ["xdp", "socket", "auto"] {
            let arguments = [&SERVE[..], &["--datapath", datapath]].concat();
            fails(&pxed(&arguments), &[&format!("UDP port {port}"), "ss -lunp"]);
            assert!(!is_attached());
        }
    }
}

#[test]
fn a_second_responder_says_so_and_ends() {
    veth();
    for datapath in ["xdp", "socket"] {
        let first = serving(&[&SERVE[..], &["--datapath", datapath]].concat());
        for second in ["xdp", "socket", "auto"] {
            fails(
                &pxed(&[&SERVE[..], &["--datapath", second]].concat()),
                &["another pxed already serves pxe0"],
            );
        }
        drop(first);
    }
}

/// Any user of the host can bind the name of the lock first. pxed names that user and serves, and a second pxed still
/// fails.
#[test]
fn a_local_user_cannot_keep_pxed_from_starting() {
    veth();
    // The kernel's user ID belongs to a thread, so another thread can act as another user.
    let stranger = std::thread::spawn(|| {
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(4711)).unwrap();
        let name = SocketAddr::from_abstract_name("pxed/pxe0").unwrap();
        UnixListener::bind_addr(&name).unwrap()
    });
    let _held = stranger.join().unwrap();
    let first = serving(&SERVE);
    let said = first.log();
    let (before, _) = said.split_once("ready: serving").unwrap();
    assert!(before.contains("the user 4711"), "{said}");
    fails(&pxed(&SERVE), &["another pxed already serves pxe0"]);
    drop(first);
}

/// pxed does not replace a foreign XDP program. `auto` serves over sockets and logs the reason.
#[test]
fn a_foreign_xdp_program_is_left_alone() {
    veth();
    let mut other = pxe_nic::programs::Programs::load(1, 16, false).unwrap();
    let index = std::fs::read_to_string("/sys/class/net/pxe0/ifindex").unwrap().trim().parse().unwrap();
    other.attach(index, pxe_nic::programs::Mode::Generic).unwrap();
    fails(
        &pxed(&[&SERVE[..], &["--datapath", "xdp"]].concat()),
        &["another XDP program", "--datapath socket"],
    );
    let _serving = serving(&SERVE);
    assert!(is_attached(), "the other program is still attached");
}

#[test]
fn without_rights_one_sentence_says_which_are_missing() {
    veth();
    let folder = readable_copy();
    for (datapath, words) in [("xdp", "CAP_BPF"), ("socket", "CAP_NET")] {
        let arguments = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--"];
        let mut command = Command::new("timeout");
        command
            .args(["60", "setpriv"])
            .args(arguments)
            .arg(folder.path().join("pxed"))
            .args(SERVE)
            .args(["--datapath", datapath]);
        fails(&command.output().unwrap(), &[words, "root"]);
        assert!(!is_attached());
    }
}

/// A copy of the program that every user can run. The build folder may be in a home directory that is closed to others.
fn readable_copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("pxed");
    std::fs::copy(program(), &copy).unwrap();
    for path in [folder.path(), &copy] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

#[test]
fn signals_end_it_well_and_even_a_kill_leaves_nothing_attached() {
    veth();
    for (signal, well) in [(Signal::INT, true), (Signal::TERM, true), (Signal::KILL, false)] {
        let running = serving(&[&SERVE[..], &["--datapath", "xdp"]].concat());
        assert!(is_attached());
        running.signal(signal).unwrap();
        let status = running.ended().unwrap();
        assert_eq!(status.success(), well, "{signal:?}: {status}");
        pair::wait_detached("pxe0").unwrap_or_else(|error| panic!("{signal:?}: {error:#}"));
    }
}

/// Sends 20,000 datagrams of noise and of damaged requests to pxed's ports from a host of the lab. Returns the number of
/// datagrams that were sent, because some fail with a full queue or an ICMP error.
fn noise(namespace: &str, server: &str) -> usize {
    const GOOD: [&[u8]; 4] = [
        b"\0\x01small\0octet\0blksize\x001468\0tsize\x000\0",
        b"\0\x04\0\x01",
        b"\0\x05\0\0x",
        b"\0\x02x\0octet\0",
    ];
    const PORTS: [u16; 7] = [69, 69, 69, 4011, 67, 61000, 61001];
    let (namespace, server) = (namespace.to_owned(), server.to_owned());
    let send = move || {
        namespace::enter(&namespace).unwrap();
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let mut noise = tree::bytes(4_000_000).into_iter();
        let mut next = || usize::from(noise.next().unwrap());
        let mut send = || {
            let mut packet =
                if next() < 180 { GOOD[next() % 4].to_vec() } else { vec![next() as u8; next()] };
            for _ in 0..next() % 4 {
                let (at, byte) = (next() % packet.len().max(1), next() as u8);
                packet.iter_mut().skip(at).take(1).for_each(|place| *place = byte);
            }
            socket.send_to(&packet, (server.as_str(), PORTS[next() % 7])).is_ok()
        };
        (0..20_000).filter(|_| send()).count()
    };
    std::thread::spawn(send).join().unwrap()
}

/// Invalid packets do not crash the daemon, and the next client is served.
#[test]
fn hostile_packets_change_nothing_for_the_next_client() {
    let files = [("small", tree::bytes(1000))];
    for datapath in ["xdp", "socket"] {
        let lab = Lab::builder().start().unwrap();
        let root = tree::with_files(lab.folder(), &files).unwrap();
        let arguments =
            ["--root", root.to_str().unwrap(), "--boot-file", "x64=small", "--datapath", datapath];
        let daemon = Daemon::start(&lab, &arguments).unwrap();
        let server = lab.responder().address();
        let sent = noise(lab.client().namespace(), &server);
        assert!(sent > 10_000, "{sent}");
        let url = format!("tftp://{server}/small");
        let got = lab.client().command("curl").args(["--silent", "--show-error", &url]).output().unwrap();
        assert!(got.stdout == files[0].1, "{datapath}: {}", String::from_utf8_lossy(&got.stderr));
        let log = daemon.stop().unwrap();
        assert!(
            log.lines().count() < 12_000 && !log.contains("panicked"),
            "{datapath}: {} lines",
            log.lines().count()
        );
    }
}

/// Each interface has its own sockets, workers and lock.
#[test]
fn two_interfaces_are_served_by_one_daemon_over_each_datapath() {
    veth();
    for command in [
        "link add pxe1 type veth peer name peer1",
        "addr add 10.98.0.2/24 dev pxe1",
        "link set pxe1 up",
        "link set peer1 up",
    ] {
        assert!(ip(command).status.success(), "ip {command}");
    }
    for datapath in ["xdp", "socket", "auto"] {
        let arguments = ["serve", "-i", "pxe0", "-i", "pxe1", "--datapath", datapath];
        drop(serving(&arguments));
    }
}

/// The daemon continues to serve when its standard error is closed.
#[test]
fn it_survives_a_closed_terminal() {
    veth();
    let mut command = Command::new(program());
    command.args(SERVE).args(["--datapath", "socket"]).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let is_ready = lines.any(|line| line.contains("ready: serving"));
    drop(lines);
    // At its end, the daemon logs its counters: a write that fails.
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    assert!(is_ready && status.success(), "the daemon failed: {status}");
}

/// pxed notifies a service manager when it is ready and when it stops. This manager stores no descriptors, like systemd
/// without
/// `FileDescriptorStoreMax=`: pxed must still end successfully.
#[test]
fn a_service_manager_is_told() {
    veth();
    let manager = Manager::new().unwrap();
    let mut command = Command::new(program());
    command.args(SERVE).env("NOTIFY_SOCKET", manager.path());
    let running = Daemon::run_here(command).unwrap();
    manager.wait_for("READY=1").unwrap();
    assert!(is_attached());
    running.signal(Signal::TERM).unwrap();
    manager.wait_for("FDSTORE=1").unwrap();
    manager.wait_for("STOPPING=1").unwrap();
    assert!(running.ended().unwrap().success());
    pair::wait_detached("pxe0").unwrap();
}
