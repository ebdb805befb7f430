//! Machines behind a router with a relay agent (dnsmasq): they boot, and pxed credits their files to them, not to the
//! router.

use std::thread;
use std::time::Duration;

use pxe_kit::daemon::Daemon;
use pxe_kit::{Host, Lab, Process};
use pxe_lab::{BootOutcome, Firmware, MachineSpec, boot};
use serde_json::Value;

/// The limit for a boot. Generous, because machines are emulated on a host that may be busy.
const LIMIT: Duration = Duration::from_secs(300);
/// The responder's interface in its own network, behind the router.
const UPLINK: &str = "srv0";
const SERVER: &str = "10.98.0.2";

fn ip(host: &Host, words: &str) {
    host.output("ip", &words.split(' ').collect::<Vec<_>>()).unwrap();
}

/// Disconnects the responder from the machines' network, and connects it to the host that becomes their router.
fn route(lab: &Lab) {
    let (router, responder) = (lab.client(), lab.responder());
    ip(responder, &format!("link set {} down", responder.interface()));
    ip(router, &format!("link add up0 type veth peer name {UPLINK} netns {}", responder.namespace()));
    for (host, end, address) in [(router, "up0", "10.98.0.1"), (responder, UPLINK, SERVER)] {
        ip(host, &format!("addr add {address}/24 dev {end}"));
        ip(host, &format!("link set {end} up"));
        // Complete checksums, as over a cable.
        host.output("ethtool", &["-K", end, "tx", "off"]).unwrap();
    }
    ip(responder, "route add 10.99.0.0/24 via 10.98.0.1");
    router.output("sh", &["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]).unwrap();
}

fn dnsmasq(lab: &Lab, name: &str, host: &Host, arguments: &[&str], ready: &str) -> Process {
    let mut command = host.command("dnsmasq");
    command.args([
        "--conf-file=/dev/null",
        "--no-daemon",
        "--port=0",
        "--no-ping",
        "--no-resolv",
        "--no-hosts",
    ]);
    command.args(["--except-interface=lo", "--log-dhcp"]).args(arguments);
    let process = lab.spawn(name, command).unwrap();
    process.wait_for(ready, Duration::from_secs(20)).unwrap();
    process
}

#[test]
fn machines_behind_a_relay_boot_and_are_known_by_their_leases() {
    let lab = Lab::builder().machines(2).dhcp(false).start().unwrap();
    route(&lab);
    let leases = format!("--dhcp-leasefile={}", lab.folder().join("leases").display());
    let range = "--dhcp-range=10.99.0.100,10.99.0.199,255.255.255.0,1h";
    let gateway = format!("--dhcp-option=option:router,{}", lab.client().address());
    let arguments = [&leases, range, &gateway, "--dhcp-authoritative"];
    let _server = dnsmasq(&lab, "dhcp", lab.dhcp(), &arguments, "DHCP, IP range");
    let relay = format!("--dhcp-relay={},{SERVER}", lab.client().address());
    let _relay = dnsmasq(&lab, "relay", lab.client(), &[&relay], "DHCP relay from");
    let daemon = Daemon::start_on(&lab, lab.responder(), UPLINK, &[]).unwrap();

    let spec =
        |name: &str, firmware, port| MachineSpec { timeout: LIMIT, ..MachineSpec::new(name, firmware, port) };
    let machines = [spec("bios", Firmware::Bios, 0), spec("uefi", Firmware::Uefi, 1)];
    let outcomes: Vec<BootOutcome> = thread::scope(|scope| {
        let threads = machines.each_ref().map(|spec| scope.spawn(|| boot(&lab, spec, |_| {}).unwrap()));
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (machine, outcome) in machines.iter().zip(&outcomes) {
        assert!(outcome.booted, "{}: {}\n{}", machine.name, outcome.reason, daemon.log());
    }
    let is_theirs = |status: &Value| {
        machines.iter().all(|spec| {
            let of = |machine: &&Value| machine["mac"] == spec.mac();
            let machine =
                status["machines"].as_array().into_iter().flatten().find(of).unwrap_or(&Value::Null);
            machine["state"] == "running"
                && machine["relay"] == lab.client().address()
                && machine["address"].as_str().is_some_and(|address| address.starts_with("10.99.0.1"))
        })
    };
    let status = daemon.wait_status("both run their tests, each at its own address", is_theirs).unwrap();
    assert_eq!(status["machines"].as_array().map(Vec::len), Some(2), "not just the two machines: {status}");
    for line in daemon.events("fetched") {
        assert!(machines.iter().any(|spec| line.contains(&spec.mac())), "credited to no machine: {line}");
    }
    daemon.stop().unwrap();
}
