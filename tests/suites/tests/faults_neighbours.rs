//! Other responders in the same network: machines with real firmware still boot.

use pxe_kit::daemon::Daemon;
use pxe_kit::{Lab, Reference};
use pxe_lab::Firmware;
use pxe_tests::neighbours::{all_run, dhcp_server, machine};

/// With dnsmasq as proxyDHCP and TFTP server on another host, machines boot from either one.
#[test]
fn machines_boot_beside_a_second_responder() {
    let lab = Lab::builder().machines(2).start().unwrap();
    let other = Reference::start_on(&lab, lab.client()).unwrap();
    let daemon = Daemon::start(&lab, &[]).unwrap();
    all_run(&lab, &daemon, &[machine("bios", Firmware::Bios, 0), machine("uefi", Firmware::Uefi, 1)])
        .unwrap();
    daemon.wait_events("told", 2).unwrap();
    let log = other.process().stderr();
    assert!(log.contains("PXE("), "dnsmasq has also sent offers: {log}");
    daemon.stop().unwrap();
}

/// A DHCP server that starts on pxed's host later receives its requests, and machines get addresses.
#[test]
fn machines_boot_when_a_dhcp_server_starts_later_on_our_host() {
    let lab = Lab::builder().machines(1).dhcp(false).start().unwrap();
    let daemon = Daemon::start(&lab, &["--datapath", "xdp"]).unwrap();
    let server = dhcp_server(&lab, lab.responder()).unwrap();
    daemon.wait_for("DHCP requests to our address are now copied").unwrap();
    all_run(&lab, &daemon, &[machine("bios", Firmware::Bios, 0)]).unwrap();
    assert!(server.stderr().contains("DHCPACK(pxe0)"), "{}", server.stderr());
    daemon.stop().unwrap();
}
