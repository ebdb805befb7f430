//! An upgrade without a gap: a new daemon goes on with the work of the one that runs, in the middle of 200 transfers.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use pxe_tests::daemon::Daemon;
use pxe_tests::{namespace, tree};
use pxe_user::nic::lock::InterfaceLock;
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use xtask::clock;
use xtask::lab::Lab;

const MACHINES: usize = 200;
const BLKSIZE: usize = 1468;
/// Half of the machines ask for windows.
const WINDOWSIZE: usize = 4;
const BLOCKS: usize = 800;
/// For each block, before its acknowledgement: all transfers are under way when the second daemon starts.
const PACE: Duration = Duration::from_millis(4);
/// As iPXE's first: who hears nothing repeats its acknowledgement, and never its request.
const RETRY: Duration = Duration::from_millis(250);
const RETRIES_MAX: usize = 40;
const LONG: Duration = Duration::from_secs(60);

/// A machine that loads `file` slowly; `blocks` counts what it has. Ends with the bytes, or with why it gave up.
fn load(server: Ipv4Addr, windowsize: usize, blocks: &AtomicUsize) -> Result<Vec<u8>, String> {
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
    // Connected: it hears when the server's host says that the port is closed.
    socket.connect(peer).map_err(said("connect"))?;
    let (mut bytes, mut last, mut in_window, mut retries) = (Vec::new(), 0u16, 0, 0);
    let acknowledge = |block: u16| socket.send(&[&[0, 4][..], &block.to_be_bytes()].concat());
    acknowledge(0).map_err(said("ACK 0"))?;
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
            // What was repeated, or comes behind a gap.
            (3, _) => continue,
            _ => return Err(format!("block {last}: {}", String::from_utf8_lossy(data))),
        }
        bytes.extend_from_slice(data);
        blocks.store(usize::from(last), Ordering::Relaxed);
        if in_window == windowsize || data.len() < BLKSIZE {
            (in_window, retries) = (0, 0);
            std::thread::sleep(PACE * u32::try_from(windowsize).unwrap_or(1));
            acknowledge(last).map_err(said("ACK"))?;
        }
        if data.len() < BLKSIZE {
            return Ok(bytes);
        }
    }
}

type Machine = (Arc<AtomicUsize>, JoinHandle<Result<Vec<u8>, String>>);

fn power_on(lab: &Lab) -> Vec<Machine> {
    let server: Ipv4Addr = lab.responder().address().parse().unwrap();
    let namespace = lab.client().namespace().to_owned();
    let machine = |index: usize| {
        let (blocks, namespace) = (Arc::new(AtomicUsize::new(0)), namespace.clone());
        let counted = Arc::clone(&blocks);
        let windowsize = if index.is_multiple_of(2) { 1 } else { WINDOWSIZE };
        let run = move || {
            namespace::enter(&namespace).unwrap();
            load(server, windowsize, &counted)
        };
        (blocks, std::thread::spawn(run))
    };
    (0..MACHINES).map(machine).collect()
}

#[test]
fn a_new_daemon_goes_on_with_200_transfers_over_each_datapath() {
    for datapath in
        [&["--datapath", "xdp"][..], &["--datapath", "xdp", "--offload", "off"], &["--datapath", "socket"]]
    {
        let lab = Lab::builder().start().unwrap();
        let file = tree::bytes(BLKSIZE * BLOCKS - 1);
        let root = tree::with_files(lab.folder(), &[("big", file.clone())]).unwrap();
        let state = lab.folder().join("state");
        let mut arguments = vec!["--root", root.to_str().unwrap(), "--boot-file", "x64=big"];
        arguments.extend(["--state", state.to_str().unwrap(), "--http-port", "8080"]);
        arguments.extend(datapath);
        let first = Daemon::start(&lab, &arguments).unwrap();
        let machines = power_on(&lab);
        let all_under_way = || {
            Ok(machines.iter().all(|(blocks, _)| (20..BLOCKS / 2).contains(&blocks.load(Ordering::Relaxed))))
        };
        clock::wait_until("all transfers are under way", LONG, all_under_way).unwrap();

        // A new version's file, as an upgrade brings it: who has begun with the old one ends with the old one.
        std::fs::write(root.join("new"), tree::bytes(10)).unwrap();
        std::fs::rename(root.join("new"), root.join("big")).unwrap();
        arguments.push("--take-over");
        let second = Daemon::start(&lab, &arguments).unwrap();
        assert!(first.wait(LONG).unwrap().success(), "{}", first.log());
        assert_eq!(first.events("handed_over").len(), 1, "{}", first.log());
        let took = second.wait_events("took_over", 1).unwrap();
        println!("{datapath:?}: {}", took[0]);

        let loaded = machines.into_iter().map(|(_, machine)| machine.join().unwrap());
        let failed: Vec<_> = loaded
            .filter_map(|loaded| match loaded {
                Ok(bytes) => (bytes != file).then(|| "the bytes are mixed".to_owned()),
                Err(why) => Some(why),
            })
            .collect();
        let log = second.stop().unwrap();
        assert!(failed.is_empty(), "{datapath:?}: {failed:?}\n{}\n{log}", first.log());
        assert_eq!(Daemon::count(&log, "tftp_resumed"), MACHINES as u64, "{log}");
        assert_eq!(Daemon::count(&log, "tftp_complete"), MACHINES as u64, "{log}");
        assert_eq!(Daemon::count(&log, "tftp_requests"), 0, "nobody had to begin again: {log}");
    }
}

#[test]
fn without_a_predecessor_it_is_an_ordinary_start_and_strangers_get_nothing() {
    let lab = Lab::builder().start().unwrap();
    let root = tree::with_files(lab.folder(), &[("small", tree::bytes(3000))]).unwrap();
    let arguments = ["--root", root.to_str().unwrap(), "--boot-file", "x64=small", "--take-over"];
    let daemon = Daemon::start(&lab, &arguments).unwrap();
    assert!(daemon.events("took_over").is_empty());
    // Another user's process asks; so does one of root's that wants something else, and one that says nothing.
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
            // Closed with our words unread, it is reset.
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
    assert!(got.stdout == tree::bytes(3000), "it serves on");
    daemon.stop().unwrap();
}
