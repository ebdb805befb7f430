//! Recorded machines.

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

/// A name with an escape sequence, in a request and in another server's answer.
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
