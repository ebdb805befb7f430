//! Machines behind a router with a smaller MTU than the daemon's network, as with a tunnel or PPPoE.

use pxe_kit::daemon::Daemon;
use pxe_kit::{Host, Lab, namespace, tree};
use pxe_tests::machine;

const DATAPATHS: [&[&str]; 3] =
    [&["--datapath", "xdp"], &["--datapath", "xdp", "--offload", "off"], &["--datapath", "socket"]];
const MTU: &str = "1400";

fn run(host: &Host, lines: &[&str]) {
    for line in lines {
        let (program, arguments) = line.split_once(' ').unwrap();
        host.output(program, &arguments.split(' ').collect::<Vec<_>>()).unwrap();
    }
}

/// Turns the lab's client into a router, and the host of the DHCP server into a machine behind it.
///
/// ```text
/// pxe0 10.99.0.2 --- switch --- cli0 10.99.0.3, far0 10.98.0.1 --- MTU 1400 --- near0 10.98.0.2
/// ```
fn behind_a_router(lab: &Lab) {
    let (router, machine) = (lab.client(), lab.dhcp());
    let cable = format!("ip link add far0 type veth peer name near0 netns {}", machine.namespace());
    let mtu = |name: &str| format!("ip link set {name} mtu {MTU} up");
    run(router, &[&cable, "ip addr add 10.98.0.1/24 dev far0", &mtu("far0")]);
    router.output("sh", &["-ec", "echo 1 > /proc/sys/net/ipv4/ip_forward"]).unwrap();
    run(
        machine,
        &[
            "ip link set dhcp0 down",
            "ip addr add 10.98.0.2/24 dev near0",
            &mtu("near0"),
            // Complete checksums, as over a cable: otherwise the offload answers no ACK.
            "ethtool -K near0 tx off",
            "ip route add default via 10.98.0.1",
        ],
    );
    run(lab.responder(), &["ip route add 10.98.0.0/24 via 10.99.0.3"]);
}

/// EDK2 always requests blocks of 1468 bytes. The router fragments them, and the machine reassembles them.
#[test]
fn machines_behind_a_router_with_a_smaller_mtu_get_their_files() {
    for datapath in DATAPATHS {
        let lab = Lab::builder().dhcp(false).start().unwrap();
        behind_a_router(&lab);
        let file = tree::bytes(300_000);
        let root = tree::with_files(lab.folder(), &[("file", file.clone())]).unwrap();
        let arguments = [&["--root", root.to_str().unwrap(), "--boot-file", "x64=file"], datapath].concat();
        let daemon = Daemon::start(&lab, &arguments).unwrap();
        let server = lab.responder().address().parse().unwrap();
        let is_offloaded = datapath.len() == 2 && datapath[1] == "xdp";
        // Once in windows, and twice in lock-step. The offload has the file some time after the first request.
        let loaded = std::thread::scope(|scope| {
            let load = || {
                namespace::enter(lab.dhcp().namespace())?;
                let windows = machine::load(server, "file")?;
                if is_offloaded {
                    daemon.wait_offload(0)?;
                }
                let lock_step = [(); 2].map(|()| machine::load_in_lock_step(server, "file"));
                anyhow::Ok([Ok(windows)].into_iter().chain(lock_step).collect::<Vec<_>>())
            };
            scope.spawn(load).join().unwrap()
        });
        for bytes in loaded.unwrap_or_else(|error| panic!("{datapath:?}: {error:#}\n{}", daemon.log())) {
            assert!(bytes.unwrap() == file, "{datapath:?}");
        }
        // The router has fragmented each block of 1468 bytes. Otherwise the test would prove nothing.
        let counted = lab.client().output("nstat", &["-asz", "IpFragOKs"]).unwrap();
        let counted = counted.lines().find_map(|line| line.strip_prefix("IpFragOKs")).unwrap();
        let cut: u64 = counted.split_whitespace().next().unwrap().parse().unwrap();
        assert!(cut >= 3 * (300_000 / 1468), "{datapath:?}: only {cut} packets were fragmented");
        let log = daemon.stop().unwrap();
        let by_the_kernel = Daemon::count(&log, "tftp_data_by_kernel");
        assert_eq!(by_the_kernel > 0, is_offloaded, "{datapath:?}: {log}");
    }
}
