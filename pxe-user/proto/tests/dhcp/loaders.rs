//! clients.md section 6, lines 15 to 18, 35 and 37, about the replies to each boot program: at least one test
//! for each line.

use std::net::{Ipv4Addr, SocketAddrV4};

use pxe_proto::dhcp::{Answer, Arch, BootService, Ignored, Programs, ServerPort, Style};

use crate::support::*;

/// Line 15: "OFFER at once". The first DISCOVER gets its reply in the call itself, whatever `secs` is. The
/// tests of the datapaths cover the time on the wire.
#[test]
fn line_15_the_first_discover_is_answered_whatever_secs_says() {
    let service = service();
    let first = on_67(&service, &golden("ipxe-bios-discover"), Style::Direct).expect("an offer");
    for secs in [0_u16, 1, 4, 0xffff] {
        let mut request = golden("ipxe-bios-discover");
        request[8..10].copy_from_slice(&secs.to_be_bytes());
        assert_eq!(on_67(&service, &request, Style::Direct).expect("an offer"), first, "{secs}");
    }
}

/// Line 16: "175.1=1 lets the proxy win on iPXE when DHCP gives a file name". Only iPXE gets it, and only if
/// it is configured.
#[test]
fn line_16_ipxe_is_told_our_priority_if_configured() {
    let modest = service();
    let first = BootService { ipxe_priority: true, ..service() };
    for (service, name, expected) in [
        (&first, "ipxe-bios-discover", Some(vec![1, 1, 1])),
        (&first, "ipxe-bios-boot-server", Some(vec![1, 1, 1])),
        (&first, "ovmf-discover", None),
        (&modest, "ipxe-bios-discover", None),
    ] {
        let via = if name.ends_with("server") { on_4011 } else { on_67 };
        let answered = via(service, &golden(name), Style::Direct).expect(name);
        assert_eq!(option(&answered.bytes, 175), expected, "{name}");
    }
}

/// Line 17: "iPXE gets the script, others the binary; 7 and 9 alike."
#[test]
fn line_17_ipxe_gets_the_script_and_9_is_7() {
    let service = service();
    let names = |request: Ask| {
        let answered = on_67(&service, &request.bytes(), Style::Direct).expect("an offer");
        (file(&answered.bytes).to_owned(), matches!(answered.reply.summary.answer, Answer::Script(_)))
    };
    for arch in [7, 9] {
        assert_eq!(names(Ask::pxe(DISCOVER, arch)), ("memtest86+x64.efi".to_owned(), false));
        for ipxe in
            [(77, &b"iPXE"[..]), (77, b"\x04iPXE"), (77, b"\x03foo\x04iPXE"), (175, b""), (175, b"\x01\x02")]
        {
            let request = Ask::pxe(DISCOVER, arch).option(ipxe.0, ipxe.1);
            assert_eq!(names(request), ("boot.ipxe".to_owned(), true), "{ipxe:?}");
        }
        for other in [&b"iPXEs"[..], b"ipxe", b"\x05iPXE", b"", b"\x04iPX", b"\x00\x00"] {
            let request = Ask::pxe(DISCOVER, arch).option(77, other);
            assert_eq!(names(request), ("memtest86+x64.efi".to_owned(), false), "{other:?}");
        }
    }
}

/// Line 17: without a script, iPXE gets the program of its architecture. A program for 9 takes precedence
/// over that for 7.
#[test]
fn line_17_without_a_script_ipxe_gets_the_program_of_its_architecture() {
    let mut programs = Programs::default();
    programs.set(Arch::X64, program("x64.efi"));
    programs.set(Arch::EBC, program("ebc.efi"));
    let service = BootService { programs, ..BootService::new(SERVER) };
    for (arch, expected) in [(7, "x64.efi"), (9, "ebc.efi")] {
        let request = Ask::pxe(DISCOVER, arch).option(77, b"iPXE");
        assert_eq!(
            file(&on_67(&service, &request.bytes(), Style::Direct).expect("an offer").bytes),
            expected
        );
    }
}

/// Line 18, for DHCP: "60=`HTTPClient`, 67=URL, no 43". There is no reply on 4011, nor without a URL.
#[test]
fn line_18_http_boot_gets_its_url_in_67_and_no_43() {
    let request = golden("ovmf-http-discover");
    let service = http_service();
    for style in STYLES {
        let answered = on_67(&service, &request, style).expect("an offer");
        assert_eq!(option(&answered.bytes, 60).as_deref(), Some(&b"HTTPClient"[..]));
        assert_eq!(
            option(&answered.bytes, 67).as_deref(),
            Some(&b"http://10.99.0.2/memtest86+x64.efi\0"[..])
        );
        assert_eq!(option(&answered.bytes, 43), None);
    }
    let none = crate::support::service();
    assert_eq!(on_67(&none, &request, Style::Direct).err(), Some(Ignored::HttpNotConfigured));
    assert_eq!(on_4011(&service, &request, Style::Direct).err(), Some(Ignored::HttpOnPort4011));
    let arm = Ask::empty().option(53, &[1]).option(60, b"HTTPClient:Arch:00019").option(93, &[0, 19]);
    let refused = on_67(&service, &arm.bytes(), Style::Direct).err();
    assert_eq!(refused, Some(Ignored::NoImageForArch(Arch(19))));
}

/// Line 35, for DHCP: top-level options 209 and 210 lead PXELINUX to its configuration with one look-up.
#[test]
fn line_35_pxelinux_is_given_209_and_210() {
    let service = service();
    let answered = on_67(&service, &Ask::pxe(DISCOVER, 0).bytes(), Style::Direct).expect("an offer");
    assert_eq!(option(&answered.bytes, 209).as_deref(), Some(&b"pxelinux.cfg/default"[..]));
    assert_eq!(option(&answered.bytes, 210).as_deref(), Some(&b"bios/"[..]));
    let uefi = on_67(&service, &Ask::pxe(DISCOVER, 7).bytes(), Style::Direct).expect("an offer");
    assert_eq!((option(&uefi.bytes, 209), option(&uefi.bytes, 210)), (None, None));
}

/// Line 37: "Two machines with the same xid at once, and several with xid 0 on 4011, each get their own answer."
#[test]
fn line_37_machines_with_one_xid_each_get_their_own_answer() {
    let service = menu_service();
    let mut requests = Vec::new();
    for machine in 1..=8_u8 {
        let (arch, file) =
            [(0, "pxelinux.0"), (7, "memtest86+x64.efi"), (11, "arm64.efi")][usize::from(machine % 3)];
        let mac = [0x52, 0x54, 0, 0, 0, machine];
        let discover = Ask::pxe(DISCOVER, arch).head(4, &[0xea, 0x1e, 0x9d, 0x7b]).head(28, &mac);
        let item =
            Ask::pxe(REQUEST, arch).head(4, &[0; 4]).head(28, &mac).option(43, &[71, 4, 0x80, 0, 0, 0, 255]);
        requests.push((discover, item, mac, file));
    }
    // The test asks for all offers first and then for all acknowledgements: a reply must not contain data of
    // another machine.
    for (discover, _, mac, name) in &requests {
        let offer = on_67(&service, &discover.bytes(), Style::Direct).expect("an offer");
        assert_eq!((&offer.bytes[28..34], file(&offer.bytes)), (&mac[..], *name));
        assert_eq!(offer.reply.summary.mac.0, *mac);
    }
    for (_, item, mac, name) in &requests {
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, mac[5]), 68);
        let ack = ask(&service, &item.bytes(), ServerPort::Port4011, from, Style::Menu).expect("an ack");
        assert_eq!((&ack.bytes[28..34], file(&ack.bytes), ack.reply.to), (&mac[..], *name, from));
    }
}
