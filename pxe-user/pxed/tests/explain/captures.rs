//! `pxed explain --pcap`: recorded requests of machines.

use std::path::Path;

use crate::support::*;

#[test]
fn a_recorded_boot_is_explained_request_by_request() {
    let lab = Lab::new();
    lab.write("test/initrd.img", "initrd");
    let run = lab.capture("uefi-chain-ipxe");
    assert_text(&run.out, include_str!("expected/pcap.txt"));
    assert_eq!((run.code, run.error.as_str()), (Some(0), ""));
}

#[test]
fn what_would_not_boot_is_the_last_word() {
    let run = Lab::new().capture("bios-menu");
    assert!(run.error.contains("52:54:00:99:00:10: test/initrd.img: no such file"), "{}", run.error);
    assert_eq!(run.code, Some(1));
    assert!(run.out.contains("none: there is no entry 32768 in the menu"), "{}", run.out);
}

#[test]
fn http_boot_is_told_a_url() {
    let lab = Lab::new();
    lab.write("test/initrd.img", "initrd");
    let run = lab.capture("uefi-http");
    assert!(run.out.contains("OFFER of http://10.99.0.2:8080/test/snponly.efi"), "{}", run.out);
    assert!(run.out.contains("file http://10.99.0.2/memtest86+x64.efi from 10.99.0.2"), "{}", run.out);
    assert_eq!(run.code, Some(0), "{}", run.error);
}

/// The names contain an escape sequence, in a request and in another server's reply.
#[test]
fn hostile_bytes_are_escaped_and_damage_is_said_after_what_was_whole() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain/captures/uefi-http.pcap");
    let mut capture = std::fs::read(source).unwrap();
    for (old, new) in [(&b"HTTPClient"[..], &b"HTTPClien\x1b"[..]), (b"memtest86", b"mem\x1b[31m6")] {
        let places: Vec<_> = capture
            .windows(old.len())
            .enumerate()
            .filter(|(_, found)| *found == old)
            .map(|(at, _)| at)
            .collect();
        assert!(!places.is_empty());
        for at in places {
            capture[at..at + old.len()].copy_from_slice(new);
        }
    }
    capture.pop();
    let lab = Lab::new();
    let path = lab.path().join("hostile.pcap");
    std::fs::write(&path, capture).unwrap();
    let run = lab.explain(&format!("--pcap {}", path.display()));
    assert!(!run.out.contains('\x1b') && !run.error.contains('\x1b'), "{}", run.out);
    assert!(run.out.contains("HTTPClien\\x1b") && run.out.contains("mem\\x1b[31m6"), "{}", run.out);
    assert!(run.out.contains("packet 1: DISCOVER"), "{}", run.out);
    assert!(run.error.contains("packet 5 is damaged: it is cut off"), "{}", run.error);
    assert_eq!(run.code, Some(1));
}

#[test]
fn a_file_that_is_no_capture_is_refused_with_its_name() {
    let lab = Lab::new();
    let run = lab.explain(&format!("--pcap {}", lab.path().join("pxed.toml").display()));
    assert!(run.error.contains("pxed.toml") && run.error.contains("no capture"), "{}", run.error);
    assert_eq!(run.code, Some(1));
}

/// A machine that boots over IPv6 sends no request that pxed could answer. The output says so, and no interface is
/// needed.
#[test]
fn a_boot_over_ipv6_is_named_as_one() {
    // A DHCPv6 SOLICIT (RFC 8415) from fe80::1 port 546 to ff02::1:2 port 547, with and without a VLAN tag.
    let mut ipv6 = vec![0x60, 0, 0, 0, 0, 12, 17, 1];
    ipv6.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    ipv6.extend([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2]);
    ipv6.extend([2, 34, 2, 35, 0, 12, 0, 0, 1, 0xaa, 0xbb, 0xcc]);
    let macs = [0x33, 0x33, 0, 1, 0, 2, 0x52, 0x54, 0, 0x99, 0, 0x11];
    let frames = [
        [&macs[..], &[0x86, 0xdd], &ipv6].concat(),
        [&macs[..], &[0x81, 0, 0, 7, 0x86, 0xdd], &ipv6].concat(),
        [&macs[..], &[8, 6], &[0; 46]].concat(),
    ];
    let mut capture =
        vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0];
    for frame in &frames {
        let len = u32::try_from(frame.len()).unwrap().to_le_bytes();
        capture.extend([&[0; 8][..], &len, &len, frame].concat());
    }
    let lab = Lab::new();
    let path = lab.path().join("ipv6.pcap");
    std::fs::write(&path, capture).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_pxed"));
    let output =
        { output }.arg("explain").arg("--root").arg(lab.path().join("top")).arg("--pcap").arg(&path).output();
    let output = output.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("no DHCP request over IPv4 is in this capture of 3 packets"), "{text}");
    assert!(text.contains("DHCPv6 packets: 2") && text.contains("ARP packets: 1"), "{text}");
    let run = lab.explain(&format!("--pcap {} --json", path.display()));
    let explained: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(explained["requests"].as_array().unwrap().len(), 0);
    assert_eq!(explained["other_packets"]["DHCPv6"], 2, "{}", run.out);
}
