//! Real firmware in QEMU, in a network with an ordinary DHCP server. The tests check what the machine itself shows.

use std::time::Duration;

use pxe_common::segment::bucket;
use pxe_engine::segment::{Member, Segment};
use pxe_guests::loaders::{self, Platform};
use pxe_kit::daemon::Daemon;
use pxe_kit::postgres::Postgres;
use pxe_kit::{Lab, clock, firmware, tree};
use pxe_lab::{BootOutcome, Card, Expect, Firmware, MachineSpec};
use pxe_tests::neighbours::{all_run, boot, dhcp_server, machine};

/// The files that a machine has fetched, in order, from the daemon's log.
fn fetched(daemon: &Daemon, machine: &MachineSpec) -> Vec<String> {
    let mac = format!("\"mac\":\"{}\"", machine.mac());
    let events = daemon.events("fetched");
    let file = |line: &String| line.split("\"file\":\"").nth(1)?.split('"').next().map(str::to_owned);
    events.iter().filter(|line| line.contains(&mac)).filter_map(file).collect()
}

/// Checks that a machine has fetched exactly these files. The event of the last file may come after the machine runs
/// it: iPXE starts a kernel before it sends the last ACK, for which the daemon waits.
#[track_caller]
fn has_fetched(daemon: &Daemon, machine: &MachineSpec, expected: &[&str]) {
    let is_all = || Ok(fetched(daemon, machine).len() >= expected.len());
    let _ = clock::wait_until("the last file", Duration::from_secs(60), is_all);
    assert_eq!(fetched(daemon, machine), expected, "{}:\n{}", machine.name, daemon.log());
}

/// The main use: no configuration, a BIOS and two UEFI machines at once.
#[test]
fn with_nothing_configured_bios_and_uefi_machines_run_memtest() {
    let lab = Lab::builder().machines(3).start().unwrap();
    let daemon = Daemon::start(&lab, &["--datapath", "xdp"]).unwrap();
    let rom = MachineSpec { card: Card::E1000, ..machine("uefi-rom", Firmware::Uefi, 2) };
    let machines = [machine("bios", Firmware::Bios, 0), machine("uefi", Firmware::Uefi, 1), rom];
    all_run(&lab, &daemon, &machines).unwrap();
    // The BIOS machine's ROM is iPXE, and gets a script. OVMF boots memtest86+ directly. The third machine's ROM is
    // iPXE, too.
    has_fetched(&daemon, &machines[0], &["boot.ipxe", "memtest86+x64"]);
    has_fetched(&daemon, &machines[1], &["memtest86+x64.efi"]);
    has_fetched(&daemon, &machines[2], &["boot.ipxe", "memtest86+x64.efi"]);
    by_the_kernel(&daemon.stop().unwrap());
}

/// Checks that the offload has answered some ACKs. The number depends on how soon a new file is in the kernel. OVMF's
/// loader is slow enough for that.
fn by_the_kernel(log: &str) {
    let (answered, sent) = (
        Daemon::count(log, "answer_xdp") + Daemon::count(log, "answer_tcx"),
        Daemon::count(log, "tftp_data_by_kernel"),
    );
    assert!(
        answered > 0 && sent >= answered,
        "the kernel answered {answered} ACKs with {sent} blocks\n{log}"
    );
    assert_eq!(Daemon::count(log, "drop_not_answered"), 0, "{log}");
}

#[test]
fn over_plain_sockets_the_same_machines_run_memtest() {
    let lab = Lab::builder().machines(2).start().unwrap();
    let daemon = Daemon::start(&lab, &["--datapath", "socket"]).unwrap();
    let machines = [machine("bios", Firmware::Bios, 0), machine("uefi", Firmware::Uefi, 1)];
    all_run(&lab, &daemon, &machines).unwrap();
    daemon.stop().unwrap();
}

#[test]
fn with_native_xdp_the_same_machines_run_memtest() {
    let lab = Lab::builder().machines(2).start().unwrap();
    let daemon = Daemon::start(&lab, &["--datapath", "xdp", "--xdp-mode", "native"]).unwrap();
    let machines = [machine("bios", Firmware::Bios, 0), machine("uefi", Firmware::Uefi, 1)];
    all_run(&lab, &daemon, &machines).unwrap();
    by_the_kernel(&daemon.stop().unwrap());
}

/// pxed in a network with jumbo frames, and firmware that requests blocks of 1468 bytes: this uses the program for
/// fragmented frames, and the offload.
#[test]
fn a_uefi_machine_runs_memtest_where_frames_may_be_large() {
    let lab = Lab::builder().machines(1).start().unwrap();
    let (host, port) = (lab.responder(), lab.responder().port());
    for link in [&*port, "br0"] {
        let status = lab.switch_command("ip").args(["link", "set", link, "mtu", "9000"]).status().unwrap();
        assert!(status.success());
    }
    host.output("ip", &["link", "set", host.interface(), "mtu", "9000"]).unwrap();
    let daemon = Daemon::start(&lab, &["--datapath", "xdp"]).unwrap();
    all_run(&lab, &daemon, &[machine("uefi", Firmware::Uefi, 0)]).unwrap();
    by_the_kernel(&daemon.stop().unwrap());
}

#[test]
fn without_the_kernels_help_the_same_machines_run_memtest() {
    let lab = Lab::builder().machines(2).start().unwrap();
    let daemon = Daemon::start(&lab, &["--datapath", "xdp", "--offload", "off"]).unwrap();
    let machines = [machine("bios", Firmware::Bios, 0), machine("uefi", Firmware::Uefi, 1)];
    all_run(&lab, &daemon, &machines).unwrap();
    let log = daemon.stop().unwrap();
    assert_eq!(Daemon::count(&log, "tftp_data_by_kernel"), 0, "{log}");
}

/// Three responders have found one another in the ledger. The database and the responder that owns the machine are killed
/// before the machine starts, so that nobody can take the machine over: its ROM asks again, and another one boots it.
#[test]
fn a_bios_machine_boots_when_the_responder_that_owns_it_is_killed() {
    let ledger = Postgres::start().unwrap();
    let lab = Lab::builder().machines(1).responders(3).start().unwrap();
    let names = ["a", "b", "c"];
    let member = |name: &&str| Member { name: (*name).into(), weight: 1 };
    let table = Segment::new(names.iter().map(member).collect()).unwrap().table(|_| true);
    let mut daemons = Vec::new();
    for (host, name) in lab.responders().zip(names) {
        let config = lab.folder().join(format!("{name}.toml"));
        let (state, url) = (lab.folder().join(format!("state-{name}")), ledger.url("postgres"));
        let text = format!(
            "state = {state:?}\n[ledger]\nurl = \"{url}\"\nresponder = \"{name}\"\n[segment]\nname = \"lab\"\n"
        );
        std::fs::write(&config, text).unwrap();
        let arguments = ["--config", config.to_str().unwrap(), "--datapath", "xdp"];
        daemons.push(Daemon::start_on(&lab, host, host.interface(), &arguments).unwrap());
    }
    let number = format!("table {:08x}", table.digest());
    let shares = |daemon: &Daemon| daemon.events("segment").last().is_some_and(|last| last.contains(&number));
    let all_share = || Ok(daemons.iter().all(shares));
    clock::wait_until("the responders share the segment", Duration::from_secs(60), all_share).unwrap();

    let machine = machine("bios", Firmware::Bios, 0);
    let mac = pxe_kit::load::mac(&machine.mac()).unwrap();
    let owner = names.iter().position(|name| *table.order(bucket(mac))[0] == **name).unwrap();
    ledger.kill().unwrap();
    let killed = daemons.remove(owner);
    killed.signal(rustix::process::Signal::KILL).unwrap();
    killed.ended().unwrap();
    all_run(&lab, &daemons[0], std::slice::from_ref(&machine)).unwrap();
    assert!(daemons.iter().all(shares), "nobody has taken the machine over");
    let by: Vec<_> = daemons.iter().map(|daemon| fetched(daemon, &machine)).collect();
    assert!(by.concat().contains(&"memtest86+x64".to_owned()), "{by:?}");
    for daemon in daemons {
        daemon.stop().unwrap();
    }
}

/// The boot tree of the usual recipe works unchanged: PXELINUX, links out of the tree, a kernel without `.bin`.
#[test]
fn the_tree_of_the_usual_recipe_boots_unchanged() {
    let lab = Lab::builder().machines(1).start().unwrap();
    let root = tree::recipe(lab.folder()).unwrap();
    let daemon = Daemon::start(&lab, &["--root", root.to_str().unwrap()]).unwrap();
    let machines = [machine("bios", Firmware::Bios, 0)];
    all_run(&lab, &daemon, &machines).unwrap();
    // clients.md, section 6, line 35: with option 209 PXELINUX looks for its configuration once.
    let expected = ["pxelinux.0", "ldlinux.c32", "pxelinux.cfg/default", "memtest/memtest86+-5.01"];
    has_fetched(&daemon, &machines[0], &expected);
    assert!(daemon.events("refused").is_empty(), "{:?}", daemon.events("refused"));
    daemon.stop().unwrap();
}

/// The iPXE ROMs of all network cards that QEMU emulates well. Each has its own driver.
#[test]
#[ignore = "a minute: one machine after the other. cargo xtask test --long each_emulated_card"]
fn with_each_emulated_card_a_bios_machine_runs_memtest() {
    let cards = [Card::Virtio, Card::E1000, Card::E1000e, Card::Rtl8139, Card::Vmxnet3, Card::Pcnet];
    let lab = Lab::builder().machines(cards.len()).start().unwrap();
    let daemon = Daemon::start(&lab, &["--datapath", "xdp"]).unwrap();
    for (port, card) in cards.into_iter().enumerate() {
        let machine = MachineSpec { card, ..machine(card.model(), Firmware::Bios, port) };
        let start = clock::now();
        all_run(&lab, &daemon, std::slice::from_ref(&machine)).unwrap();
        println!("{}: memtest86+ after {:.1?}", machine.name, start.elapsed());
        has_fetched(&daemon, &machine, &["boot.ipxe", "memtest86+x64"]);
    }
    by_the_kernel(&daemon.stop().unwrap());
}

/// The PXELINUX variant with its own network stack instead of the ROM's.
#[test]
#[ignore = "ten seconds. cargo xtask test --long lpxelinux"]
fn lpxelinux_boots_the_tree_of_the_usual_recipe_over_tftp_and_http() {
    let lab = Lab::builder().machines(2).start().unwrap();
    let root = tree::recipe(lab.folder()).unwrap();
    std::fs::remove_file(root.join("pxelinux.0")).unwrap();
    let loader = firmware::require("lpxelinux.0", firmware::LPXELINUX).unwrap();
    std::fs::copy(loader, root.join("lpxelinux.0")).unwrap();
    let machines = [machine("tftp", Firmware::Bios, 0), machine("http", Firmware::Bios, 1)];
    // The configuration of the second machine: its hardware type and its Ethernet address.
    let url = format!("http://{}:8080/memtest/memtest86+-5.01", lab.responder().address());
    let config = format!("default memtest\nlabel memtest\n  kernel {url}\n");
    let own = format!("pxelinux.cfg/01-{}", machines[1].mac().replace(':', "-"));
    std::fs::write(root.join(&own), config).unwrap();
    let arguments = ["--root", root.to_str().unwrap(), "--datapath", "xdp", "--http-port", "8080"];
    let daemon = Daemon::start(&lab, &arguments).unwrap();
    all_run(&lab, &daemon, &machines).unwrap();
    for (machine, config) in machines.iter().zip(["pxelinux.cfg/default", &own]) {
        has_fetched(&daemon, machine, &["lpxelinux.0", "ldlinux.c32", config, "memtest/memtest86+-5.01"]);
    }
    daemon.stop().unwrap();
}

/// GRUB's http module compares header names case-sensitively. With `content-length` in lower case, it would wait half a
/// minute.
#[test]
fn grub_loads_a_kernel_by_its_own_http_module() {
    let lab = Lab::builder().machines(2).start().unwrap();
    let memtest = |places| std::fs::read(firmware::require("memtest86+", places).unwrap()).unwrap();
    let files = [("bios.bin", memtest(firmware::MEMTEST_BIOS)), ("x64.efi", memtest(firmware::MEMTEST_X64))];
    let root = tree::with_files(lab.folder(), &files).unwrap();
    // This GRUB supports port 80 only.
    let here = lab.responder().address();
    for (platform, to, start, file) in [
        (Platform::Bios, "core.0", "linux", "bios.bin"),
        (Platform::X64, "core.efi", "chainloader", "x64.efi"),
    ] {
        let config = format!("root=http,{here}\n{start} /{file}\nboot\n");
        loaders::grub(platform, &config, &root.join(to)).unwrap();
    }
    let boot_files = ["--boot-file", "bios=core.0", "--boot-file", "x64=core.efi", "--http-port", "80"];
    let arguments = [&["--root", root.to_str().unwrap()], &boot_files[..]].concat();
    let daemon = Daemon::start(&lab, &arguments).unwrap();
    let machines = [machine("bios", Firmware::Bios, 0), machine("uefi", Firmware::Uefi, 1)];
    all_run(&lab, &daemon, &machines).unwrap();
    // It starts the kernel without acknowledging the end of it, if that comes late: seen on a busy host, where pxed then
    // says after half a minute that the client stopped answering.
    let kernel = |line: &String| line.contains(&machines[0].mac()) && line.contains("\"bios.bin\"");
    let is_ended = || Ok(["fetched", "failed"].iter().any(|event| daemon.events(event).iter().any(kernel)));
    clock::wait_until("the end of the kernel's transfer", Duration::from_secs(60), is_ended).unwrap();
    assert_eq!(fetched(&daemon, &machines[0])[0], "core.0", "{}", daemon.log());
    has_fetched(&daemon, &machines[1], &["core.efi", "x64.efi"]);
    daemon.stop().unwrap();
}

/// Debian 13's iPXE requests `autoexec.ipxe` before it has an address. If pxed served its script under that name, iPXE
/// would stop at the script's first file. After a refusal, iPXE uses DHCP and boots what its rule names.
#[test]
fn an_ipxe_that_looks_for_a_script_before_it_has_an_address_boots_its_rules_kernel() {
    let lab = Lab::builder().machines(1).start().unwrap();
    let read = |path: &std::path::Path| std::fs::read(path).unwrap();
    let memtest = read(&firmware::require("memtest86+", firmware::MEMTEST_X64).unwrap());
    let ipxe = read(&loaders::ipxe_of_2025().unwrap());
    let root = tree::with_files(lab.folder(), &[("snponly.efi", ipxe), ("kernel.efi", memtest)]).unwrap();
    let config = lab.folder().join("pxed.toml");
    let text = format!(
        "[images.test]\nroot = {root:?}\nboot_files = {{ x64 = \"snponly.efi\" }}\nkernel = \"kernel.efi\"\n\
         [[rules]]\nname = \"all\"\nimage = \"test\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let daemon = Daemon::start(&lab, &["--config", config.to_str().unwrap()]).unwrap();
    let machines = [machine("uefi", Firmware::Uefi, 0)];
    all_run(&lab, &daemon, &machines).unwrap();
    let script = format!("pxed/{}/boot.ipxe", machines[0].mac().replace(':', "-"));
    has_fetched(&daemon, &machines[0], &["test/snponly.efi", &script, "test/kernel.efi"]);
    // This iPXE has requested the script. Otherwise the test would prove nothing.
    assert!(daemon.events("refused").iter().any(|line| line.contains("autoexec.ipxe")), "{}", daemon.log());
    daemon.stop().unwrap();
}

/// Debian's signed chain (shim, GRUB, kernel) on machines with Secure Boot, over TFTP and over UEFI HTTP boot. Over
/// HTTP, this GRUB reads through the firmware, and compares header names case-sensitively.
#[test]
fn secure_boot_machines_start_debians_signed_kernel_over_tftp_and_http() {
    let lab = Lab::builder().machines(2).start().unwrap();
    let signed = loaders::signed().unwrap();
    let kernel = pxe_guests::fetch(pxe_guests::Kernel::named("6.12").unwrap()).unwrap().image;
    let read = |path: &std::path::Path| std::fs::read(path).unwrap();
    let config = b"linux /vmlinuz console=ttyS0 panic=0\nboot\n".to_vec();
    let files = [
        ("shimx64.efi", read(&signed.shim)),
        ("grubx64.efi", read(&signed.grub)),
        ("grub/grub.cfg", config),
        ("vmlinuz", read(&kernel)),
    ];
    let root = tree::with_files(lab.folder(), &files).unwrap();
    let daemon = Daemon::start(&lab, &["--root", root.to_str().unwrap(), "--http-port", "80"]).unwrap();
    let secure = |name, firmware, port| MachineSpec {
        secure_boot: true,
        memory: 512,
        // The kernel prints this only if the firmware has checked signatures.
        expect: Expect::Serial("Kernel is locked down from EFI Secure Boot".to_owned()),
        timeout: Duration::from_secs(420),
        ..machine(name, firmware, port)
    };
    let machines = [secure("tftp", Firmware::Uefi, 0), secure("http", Firmware::UefiHttp, 1)];
    for (machine, outcome) in machines.iter().zip(boot(&lab, &machines).unwrap()) {
        let BootOutcome { booted, reason, screen, .. } = outcome;
        assert!(booted, "{}: {reason}\n{screen}\n{}", machine.name, daemon.log());
        let fetched = fetched(&daemon, machine);
        for file in ["shimx64.efi", "grubx64.efi", "grub/grub.cfg", "vmlinuz"] {
            assert!(
                fetched.iter().any(|known| known == file),
                "{}: {file} is not in {fetched:?}",
                machine.name
            );
        }
    }
    daemon.stop().unwrap();
}

/// clients.md, section 6, line 10: without option 43, OVMF asks again on port 4011.
#[test]
fn in_binl_style_machines_boot_over_port_4011() {
    let lab = Lab::builder().machines(2).start().unwrap();
    let daemon = Daemon::start(&lab, &["--style", "binl"]).unwrap();
    let machines = [machine("bios", Firmware::Bios, 0), machine("uefi", Firmware::Uefi, 1)];
    all_run(&lab, &daemon, &machines).unwrap();
    let acks = daemon.events("told").into_iter().filter(|line| line.contains("\"reply\":\"ACK\"")).count();
    assert!(acks >= 1, "OVMF was answered on 4011:\n{}", daemon.log());
    daemon.stop().unwrap();
}

/// With a boot menu, firmware selects the first entry after the time-out, and pxed answers the choice on port 4011.
#[test]
fn with_a_menu_machines_boot_its_first_entry() {
    let lab = Lab::builder().machines(2).start().unwrap();
    let daemon = Daemon::start(&lab, &["--style", "menu", "--menu-timeout", "2"]).unwrap();
    let machines = [machine("bios", Firmware::Bios, 0), machine("uefi", Firmware::Uefi, 1)];
    all_run(&lab, &daemon, &machines).unwrap();
    daemon.stop().unwrap();
}

#[test]
fn a_32_bit_uefi_machine_runs_memtest() {
    let lab = Lab::builder().machines(1).start().unwrap();
    let daemon = Daemon::start(&lab, &[]).unwrap();
    let machines = [machine("uefi32", Firmware::Uefi32, 0)];
    all_run(&lab, &daemon, &machines).unwrap();
    has_fetched(&daemon, &machines[0], &["memtest86+ia32.efi"]);
    daemon.stop().unwrap();
}

/// With the DHCP server on pxed's own host, requests are copied, and both servers answer.
#[test]
fn machines_boot_when_the_dhcp_server_is_on_our_own_host() {
    let lab = Lab::builder().machines(1).dhcp(false).start().unwrap();
    let _server = dhcp_server(&lab, lab.responder()).unwrap();
    let daemon = Daemon::start(&lab, &["--datapath", "xdp"]).unwrap();
    all_run(&lab, &daemon, &[machine("uefi", Firmware::Uefi, 0)]).unwrap();
    let log = daemon.stop().unwrap();
    assert!(Daemon::count(&log, "copy_dhcp") >= 1, "{log}");
    assert_eq!(Daemon::count(&log, "redirect_dhcp"), 0, "{log}");
}
