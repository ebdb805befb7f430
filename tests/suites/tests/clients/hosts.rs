//! The responder's host: its own DHCP server, its other traffic, its queues and its MTU.

use std::fs;

use pxe_content::inbox::UPLOADS_OF_ONE_MAX;
use pxe_kit::daemon;
use pxe_tests::neighbours::dhcp_server;

use super::*;

/// A DHCP server on the responder's host receives its requests, whether it starts before or after pxed.
#[test]
fn a_dhcp_server_on_the_same_host_still_leases() {
    for (name, datapath) in DATAPATHS {
        for before in [true, false] {
            println!("{name}, {}", if before { "before" } else { "after" });
            let lab = Lab::builder().dhcp(false).start().unwrap();
            let server = || dhcp_server(&lab, lab.responder()).unwrap();
            let early = before.then(server);
            let daemon = serve(&lab, &[("small", tree::bytes(10))], datapath);
            let server = early.unwrap_or_else(server);
            if !before && name != "socket" {
                daemon.wait_for("DHCP requests to our address are now copied").unwrap();
            }
            let plain = lease(lab.client(), &[]);
            assert!(plain.contains("obtained from 10.99.0.2"), "{name}: {plain}");
            // udhcpc accepts any offer, also pxed's without an address. Only the request at the server matters here.
            lease(lab.client(), &["-V", "PXEClient:Arch:00007:UNDI:003000", "-x", "0x5d:0007", "-t", "2"]);
            daemon.wait_events("told", 1).unwrap();
            let heard = server.stderr().matches("DHCPDISCOVER(pxe0)").count();
            assert!(heard >= 2, "{name}: the server received {heard} DISCOVERs:\n{}", server.stderr());
            daemon.stop().unwrap();
        }
    }
}

/// The host's other traffic passes: ICMP and TCP.
#[test]
fn unrelated_traffic_passes() {
    for (name, datapath) in DATAPATHS {
        let lab = Lab::builder().start().unwrap();
        let daemon = serve(&lab, &[("small", tree::bytes(10))], datapath);
        let (host, server) = (lab.client(), lab.responder().address());
        host.output("ping", &["-c", "3", "-i", "0.2", "-W", "5", &server]).unwrap();
        let web = tempfile::tempdir_in(lab.folder()).unwrap();
        let large = tree::bytes(8_000_000);
        fs::write(web.path().join("large"), &large).unwrap();
        let mut command = lab.responder().command("busybox");
        command.args(["httpd", "-f", "-p", &format!("{server}:8080"), "-h", web.path().to_str().unwrap()]);
        let _httpd = lab.spawn("httpd", command).unwrap();
        let url = format!("http://{server}:8080/large");
        let folder = tempfile::tempdir_in(lab.folder()).unwrap();
        let arguments =
            ["--silent", "--show-error", "--retry", "20", "--retry-connrefused", "--output", "got", &url];
        run_in(host, folder.path(), "curl", &arguments);
        assert!(fs::read(folder.path().join("got")).unwrap() == large, "{name}: TCP");
        daemon.stop().unwrap();
    }
}

/// With several receive queues, a request and its ACKs may reach different workers. Each packet finds its transfer.
#[test]
fn several_queues_serve_together() {
    let files = [("small", tree::bytes(10)), ("large", tree::bytes(1_000_000))];
    for (name, datapath) in DATAPATHS.iter().filter(|(_, datapath)| datapath.contains(&"xdp")) {
        let lab = Lab::builder().start().unwrap();
        // A veth between client and responder without a switch: the client's transmit queue selects our receive queue.
        let queues = ["numrxqueues", "4", "numtxqueues", "4"];
        let (host, client) = (lab.responder(), lab.client());
        let link =
            [&["link", "add", "many0"], &queues[..], &["type", "veth", "peer", "name", "many1"], &queues[..]];
        host.output("ip", &[&link.concat()[..], &["netns", client.namespace()]].concat()).unwrap();
        for (host, own) in [
            (host, ["addr", "add", "10.98.0.2/24", "dev", "many0"]),
            (client, ["addr", "add", "10.98.0.3/24", "dev", "many1"]),
        ] {
            host.output("ip", &own).unwrap();
            host.output("ip", &["link", "set", own[4], "up"]).unwrap();
        }
        if offloads(datapath) {
            client.output("ethtool", &["-K", "many1", "tx", "off"]).unwrap();
        }
        let root = tree::with_files(lab.folder(), &files).unwrap();
        let folder = tempfile::tempdir_in(lab.folder()).unwrap();
        let (config, inbox) = (folder.path().join("pxed.toml"), folder.path().join("inbox"));
        fs::write(&config, format!("[inbox]\ndirectory = {inbox:?}\n")).unwrap();
        let files_of = ["--root", root.to_str().unwrap(), "--boot-file", "x64=small"];
        let arguments = [&files_of[..], &["--config", config.to_str().unwrap()], *datapath].concat();
        let daemon = Daemon::start_on(&lab, host, "many0", &arguments).unwrap();
        assert!(daemon.log().contains("\"queues\":4"), "{}", daemon.log());
        let url = "tftp://10.98.0.2/large";
        let clients: Vec<_> = (0..24)
            .map(|number| {
                let mut command = lab.client().command("curl");
                command.args(["--silent", "--show-error", "--tftp-blksize", "1428", "--output"]);
                command.arg(number.to_string()).arg(url).current_dir(folder.path()).spawn().unwrap()
            })
            .collect();
        for (number, mut client) in clients.into_iter().enumerate() {
            assert!(client.wait().unwrap().success(), "{name}: client {number}");
            assert!(
                fs::read(folder.path().join(number.to_string())).unwrap() == files[1].1,
                "{name}: {number}"
            );
        }
        // Uploads of the same files. A block may reach another worker than the one of its upload.
        for first in (0..24).step_by(UPLOADS_OF_ONE_MAX) {
            let uploads = (first..first + UPLOADS_OF_ONE_MAX).map(|number| {
                let mut command = lab.client().command("curl");
                command.args(["--silent", "--show-error", "--tftp-blksize", "1428", "--upload-file"]);
                let (local, remote) = (number.to_string(), format!("tftp://10.98.0.2/{number}"));
                (number, command.args([local, remote]).current_dir(folder.path()).spawn().unwrap())
            });
            for (number, mut client) in uploads.collect::<Vec<_>>() {
                assert!(client.wait().unwrap().success(), "{name}: upload {number}");
            }
        }
        let machine = fs::read_dir(&inbox).unwrap().next().unwrap().unwrap().path();
        for number in 0..24 {
            assert!(fs::read(machine.join(number.to_string())).unwrap() == files[1].1, "{name}: {number}");
        }
        let log = daemon.stop().unwrap();
        assert!(
            Daemon::count(&log, "datagram_forwarded") > 0,
            "{name}: no packet was forwarded between workers\n{log}"
        );
        assert_eq!(Daemon::count(&log, "datagram_forward_lost"), 0, "{name}");
    }
}

/// Sets the MTU of all interfaces between the client and the responder.
fn set_mtu(lab: &Lab, mtu: &str) {
    for port in [lab.responder().port(), lab.client().port(), "br0".to_owned()] {
        let status = lab.switch_command("ip").args(["link", "set", &port, "mtu", mtu]).status().unwrap();
        assert!(status.success());
    }
    for host in [lab.responder(), lab.client()] {
        host.output("ip", &["link", "set", host.interface(), "mtu", mtu]).unwrap();
    }
}

/// With a large MTU and small blocks, there is no time-out and no ICMP. In generic mode, the kernel copies frames for a
/// program that supports fragmented frames, and tcx programs did not recognise the copy: ACKs passed to the host, which
/// answered by ICMP that the port is closed.
#[test]
fn where_frames_may_be_large_small_blocks_come_at_once_and_the_host_says_nothing() {
    let files = [("small", tree::bytes(10)), ("large", tree::bytes(200_000))];
    for (name, datapath) in DATAPATHS {
        let lab = Lab::builder().start().unwrap();
        set_mtu(&lab, "9000");
        let daemon = serve(&lab, &files, datapath);
        let url = format!("tftp://{}/large", lab.responder().address());
        let folder = tempfile::tempdir_in(lab.folder()).unwrap();
        let mut offloaded = 0;
        for blksize in ["512", "1468"] {
            let arguments = ["--silent", "--show-error", "--tftp-blksize", blksize, "--output", "got", &url];
            // Twice, because the offload has the file some time after the first request.
            for is_second in [false, true] {
                if is_second && offloads(datapath) {
                    offloaded = daemon.wait_offload(offloaded).unwrap();
                }
                run_in(lab.client(), folder.path(), "curl", &arguments);
                assert!(fs::read(folder.path().join("got")).unwrap() == files[1].1, "{name}, {blksize}");
            }
        }
        let counted = lab.responder().output("nstat", &["-asz", "IcmpOutDestUnreachs"]).unwrap();
        let refused = counted.lines().find_map(|line| line.strip_prefix("IcmpOutDestUnreachs")).unwrap();
        assert_eq!(refused.split_whitespace().next(), Some("0"), "{name}: {counted}");
        let log = daemon.stop().unwrap();
        assert_eq!(Daemon::count(&log, "tftp_timeouts"), 0, "{name}\n{log}");
        let answered = Daemon::count(&log, "answer_xdp") + Daemon::count(&log, "answer_tcx");
        assert_eq!(answered > 0, offloads(datapath), "{name}: the kernel answered {answered} ACKs\n{log}");
    }
}

/// `pxed check` names an address of the interface that is not served: machines that use it would get no reply.
#[test]
fn check_says_which_addresses_are_not_served() {
    let lab = Lab::builder().dhcp(false).start().unwrap();
    let host = lab.responder();
    let check = |more: &[&str]| {
        let arguments = [&["check", "--interface", host.interface()], more].concat();
        let output = host.command(daemon::program().to_str().unwrap()).args(&arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(!check(&[]).contains("only is served"), "{}", check(&[]));
    host.output("ip", &["addr", "add", "10.98.0.2/24", "dev", host.interface()]).unwrap();
    let first = check(&[]);
    assert!(first.contains("10.99.0.2 only is served") && first.contains("requests to 10.98.0.2"), "{first}");
    let second = check(&["--address", "10.98.0.2"]);
    assert!(second.contains("10.98.0.2 only is served") && second.contains("to 10.99.0.2"), "{second}");
}

/// Large frames: chunks of 4096 bytes, and above an MTU of 3498 with native XDP the program for fragmented frames.
#[test]
fn large_mtus_carry_large_blocks() {
    let files = [("small", tree::bytes(10)), ("large", tree::bytes(1_000_000))];
    for mtu in ["3000", "9000"] {
        for (name, datapath) in DATAPATHS {
            let lab = Lab::builder().start().unwrap();
            set_mtu(&lab, mtu);
            let daemon = serve(&lab, &files, datapath);
            let url = format!("tftp://{}/large", lab.responder().address());
            let folder = tempfile::tempdir_in(lab.folder()).unwrap();
            let arguments = ["--silent", "--show-error", "--tftp-blksize", "8900", "--output", "got", &url];
            run_in(lab.client(), folder.path(), "curl", &arguments);
            assert!(fs::read(folder.path().join("got")).unwrap() == files[1].1, "{name}, MTU {mtu}");
            let log = daemon.stop().unwrap();
            // Blocks are as large as the MTU or the AF_XDP chunk allows, so there are fewer packets than at MTU 1500.
            let packets = Daemon::count(&log, "tftp_data_packets");
            assert!(packets > 0 && packets < 500, "{name}, MTU {mtu}: {packets} packets\n{log}");
        }
    }
}
