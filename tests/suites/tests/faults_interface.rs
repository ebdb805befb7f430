//! Changes of an interface while pxed serves it. After its start, the daemon has no privileges to open or attach
//! anything again. So it continues where it can. Otherwise it logs one sentence, exits, and leaves nothing attached,
//! and the next start serves.

use pxe_kit::daemon::{Daemon, said};
use pxe_kit::tree;
use pxe_load::pair::{self, INTERFACE, Pair, ip};

/// The datapaths. On a veth, pxed selects generic XDP, and tcx for the offload.
const DATAPATHS: [&[&str]; 2] = [&["--datapath", "xdp"], &["--datapath", "socket"]];
const NATIVE: &[&str] = &["--datapath", "xdp", "--xdp-mode", "native", "--offload", "off"];

/// A pair of interfaces and a file.
struct Stage {
    pair: Pair,
    file: Vec<u8>,
    port: u16,
}

impl Stage {
    fn new(queues: u32) -> Self {
        let pair = Pair::new(queues).unwrap();
        let file = tree::bytes(50_000);
        pair.put("file", &file).unwrap();
        Self { pair, file, port: 2070 }
    }

    fn serve(&mut self, datapath: &[&str]) -> Daemon {
        let daemon = self.pair.serve(datapath).unwrap();
        self.loads(&daemon);
        daemon
    }

    /// Machines load the file, from other ports each time, because pxed remembers the old ports for a while.
    fn loads(&mut self, daemon: &Daemon) {
        self.port += 64;
        let loaded = self.pair.load(("file", &self.file), self.port);
        loaded.unwrap_or_else(|error| panic!("{error:#}\n{}", daemon.log()));
    }

    /// Checks that the daemon ends with these words and leaves nothing attached, and that the next one serves.
    fn ends_and_serves_again(&mut self, daemon: Daemon, datapath: &[&str], words: &[&str]) {
        daemon.ends_saying(words).unwrap();
        pair::wait_detached(INTERFACE).unwrap();
        self.serve(datapath).stop().unwrap();
    }
}

#[test]
fn an_interface_that_goes_down_and_up_is_served_on() {
    for datapath in DATAPATHS.into_iter().chain([NATIVE]) {
        let mut stage = Stage::new(1);
        let daemon = stage.serve(datapath);
        ip("link set pxe0 down").unwrap();
        // Longer than the daemon's interval of 2 s between two looks at the interface.
        std::thread::sleep(std::time::Duration::from_secs(3));
        assert!(daemon.is_running(), "{}", daemon.log());
        ip("link set pxe0 up").unwrap();
        stage.loads(&daemon);
        // The other end of the cable, as after the restart of a switch.
        ip("link set peer0 down").unwrap();
        ip("link set peer0 up").unwrap();
        stage.loads(&daemon);
        daemon.stop().unwrap();
    }
}

#[test]
fn an_interface_that_gets_another_name_is_served_on() {
    for datapath in DATAPATHS {
        let mut stage = Stage::new(1);
        let daemon = stage.serve(datapath);
        ip("link set pxe0 name lan0").unwrap();
        daemon.wait_for("pxe0 was renamed to lan0").unwrap();
        stage.loads(&daemon);
        // The daemon still notices changes of the renamed interface.
        ip("link set lan0 mtu 1400").unwrap();
        let status = daemon.ended().unwrap();
        said(status, &daemon.log(), &["lan0", "MTU"]).unwrap();
        pair::wait_detached("lan0").unwrap();
    }
}

#[test]
fn another_mtu_ends_it() {
    for datapath in DATAPATHS {
        let mut stage = Stage::new(1);
        let daemon = stage.serve(datapath);
        ip("link set pxe0 mtu 1400").unwrap();
        stage.ends_and_serves_again(daemon, datapath, &[INTERFACE, "MTU"]);
    }
}

#[test]
fn another_ethernet_address_ends_it() {
    for datapath in DATAPATHS {
        let mut stage = Stage::new(1);
        // Start with another address than the machines know.
        ip("link set pxe0 address 02:50:00:00:00:99").unwrap();
        let daemon = stage.pair.serve(datapath).unwrap();
        ip("link set pxe0 address 02:50:00:00:00:01").unwrap();
        stage.ends_and_serves_again(daemon, datapath, &[INTERFACE, "Ethernet address"]);
    }
}

/// The kernel does not remove a queue that has a socket, but it can add queues.
#[test]
fn another_number_of_receive_queues_ends_it_where_each_has_a_socket() {
    for datapath in DATAPATHS {
        let mut stage = Stage::new(4);
        let queues = |count| pair::run("ethtool", &["-L", INTERFACE, "rx", count]);
        if datapath.contains(&"socket") {
            // The simulated machines receive on one queue, so the kernel must send on one queue only.
            pair::run("ethtool", &["-L", INTERFACE, "tx", "1"]).unwrap();
        }
        queues("2").unwrap();
        let daemon = stage.serve(datapath);
        if datapath.contains(&"socket") {
            queues("4").unwrap();
            stage.loads(&daemon);
            daemon.stop().unwrap();
        } else {
            assert!(queues("1").is_err());
            queues("4").unwrap();
            stage.ends_and_serves_again(daemon, datapath, &[INTERFACE, "4 receive queues"]);
        }
    }
}

#[test]
fn another_address_beside_is_nothing_and_another_one_instead_ends_it() {
    for datapath in DATAPATHS {
        let mut stage = Stage::new(1);
        let daemon = stage.serve(datapath);
        ip("addr add 10.60.0.1/16 dev pxe0").unwrap();
        std::thread::sleep(std::time::Duration::from_secs(3));
        stage.loads(&daemon);
        ip("addr del 10.50.0.1/16 dev pxe0").unwrap();
        daemon.ends_saying(&[INTERFACE, "10.50.0.1"]).unwrap();
        pair::wait_detached(INTERFACE).unwrap();
        ip("addr del 10.60.0.1/16 dev pxe0").unwrap();
        ip("addr add 10.50.0.1/16 dev pxe0").unwrap();
        stage.serve(datapath).stop().unwrap();
    }
}

#[test]
fn an_interface_that_is_gone_ends_it() {
    for datapath in DATAPATHS {
        let mut stage = Stage::new(1);
        let daemon = stage.serve(datapath);
        ip("link del pxe0").unwrap();
        daemon.ends_saying(&[INTERFACE, "gone"]).unwrap();
    }
}
