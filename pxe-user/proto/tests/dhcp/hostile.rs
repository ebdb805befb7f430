//! clients.md section 5, lines 18 to 28: odd and hostile requests, and the result of each.

use pxe_proto::dhcp::{Arch, Ignored, Malformed, Printable, Request, Style};

use crate::support::*;

fn on_67_direct(request: &Ask) -> Result<String, Ignored> {
    let service = service();
    on_67(&service, &request.bytes(), Style::Direct).map(|answered| file(&answered.bytes).to_owned())
}

const X64: &str = "memtest86+x64.efi";

/// Line 18: "DHCP below 240 bytes, bad cookie, no END, option past the end".
#[test]
fn line_18_short_packets_and_damaged_options() {
    let whole = golden("ovmf-discover");
    for len in 0..240 {
        assert_eq!(Request::parse(&whole[..len]).err(), Some(Malformed::Short), "{len}");
    }
    for at in 236..240 {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        assert_eq!(Request::parse(&bad).err(), Some(Malformed::Cookie));
    }
    let service = service();
    let no_end = [&Ask::pxe(DISCOVER, 7).bytes()[..], &[]].concat();
    let no_end = &no_end[..no_end.len() - 1];
    assert!(on_67(&service, no_end, Style::Direct).is_ok());
    let past = Ask::pxe(DISCOVER, 7).raw(&[12, 200, 1, 2]);
    assert_eq!(on_67_direct(&past), Err(Malformed::OptionPastEnd.into()));
}

/// Line 18: "zero-length 53/60/93/97".
#[test]
fn line_18_zero_length_options() {
    let pxe = || Ask::empty().option(60, b"PXEClient:Arch:00007:UNDI:003000");
    assert_eq!(on_67_direct(&pxe().option(53, &[])), Err(Malformed::MessageTypeLength.into()));
    assert_eq!(
        on_67_direct(&Ask::empty().option(53, &[1]).option(60, &[]).option(93, &[0, 7])),
        Err(Ignored::NotPxe)
    );
    assert_eq!(on_67_direct(&pxe().option(53, &[1]).option(93, &[])), Ok(X64.to_owned()));
    let service = service();
    let empty_uuid = pxe().option(53, &[1]).option(97, &[]).bytes();
    let answered = on_67(&service, &empty_uuid, Style::Direct).expect("an offer");
    assert_eq!(option(&answered.bytes, 97), None);
}

/// Line 19: "4-byte options shorter than 4", and longer ones. Option 54 names the intended server, so a
/// request with a damaged one gets no reply. Option 57 of a wrong size counts as absent.
#[test]
fn line_19_options_of_the_wrong_size() {
    for len in [0, 1, 3, 5, 8] {
        let request = Ask::pxe(REQUEST, 7).option(54, &[10; 8][..len]);
        let service = service();
        let refused = on_4011(&service, &request.bytes(), Style::Binl).err();
        assert_eq!(refused, Some(Malformed::ServerIdLength.into()), "{len}");
    }
    for size in [&[][..], &[5], &[0, 5, 192]] {
        assert_eq!(on_67_direct(&Ask::pxe(DISCOVER, 7).option(57, size)), Ok(X64.to_owned()));
    }
    assert_eq!(
        on_67_direct(&Ask::pxe(DISCOVER, 7).option(53, &[1])),
        Err(Malformed::MessageTypeLength.into())
    );
}

/// Line 20: "hlen above 16 or 0, htype not 1, op=2".
#[test]
fn line_20_other_hardware_and_replies() {
    for hlen in [0, 5, 7, 16, 17, 255] {
        let refused = on_67_direct(&Ask::pxe(DISCOVER, 7).head(2, &[hlen]));
        assert_eq!(refused, Err(Ignored::HardwareType), "{hlen}");
    }
    for htype in [0, 6, 32, 255] {
        let refused = on_67_direct(&Ask::pxe(DISCOVER, 7).head(1, &[htype]));
        assert_eq!(refused, Err(Ignored::HardwareType), "{htype}");
    }
    for op in [0, 2, 3, 255] {
        assert_eq!(on_67_direct(&Ask::pxe(DISCOVER, 7).head(0, &[op])), Err(Ignored::NotBootRequest), "{op}");
    }
}

/// Line 20: pxed does not reply to its own replies when they are sent back to it, so two responders cannot
/// reply to each other without end.
#[test]
fn line_20_our_own_replies_are_not_answered() {
    let service = menu_service();
    for name in GOLDEN {
        for via in [on_67, on_4011] {
            if let Ok(answered) = via(&service, &golden(name), Style::Menu) {
                assert_eq!(
                    on_67(&service, &answered.bytes, Style::Menu).err(),
                    Some(Ignored::NotBootRequest)
                );
                assert_eq!(
                    on_4011(&service, &answered.bytes, Style::Menu).err(),
                    Some(Ignored::NotBootRequest)
                );
            }
        }
    }
}

/// Line 21: "60 without `:Arch`; 93 missing, odd, a list, 0xFFFF".
#[test]
fn line_21_architectures() {
    let ask = |class: &str, arch: Option<&[u8]>| {
        let request = Ask::empty().option(53, &[DISCOVER]).option(60, class.as_bytes());
        on_67_direct(&match arch {
            Some(arch) => request.option(93, arch),
            None => request,
        })
    };
    let full = "PXEClient:Arch:00007:UNDI:003000";
    assert_eq!(ask("PXEClient", Some(&[0, 7])), Ok(X64.to_owned()));
    assert_eq!(ask(full, None), Ok(X64.to_owned()));
    assert_eq!(ask(full, Some(&[0])), Ok(X64.to_owned()), "an odd byte alone is no architecture");
    assert_eq!(ask("PXEClient", Some(&[0, 7, 0])), Ok(X64.to_owned()));
    assert_eq!(ask("PXEClient", Some(&[0xff, 0xff, 0, 7])), Ok(X64.to_owned()));
    assert_eq!(ask(full, Some(&[0xff, 0xff])), Err(Ignored::NoImageForArch(Arch(0xffff))), "93 outranks 60");
    for class in [
        "PXEClient",
        "PXEClient:Arch:",
        "PXEClient:Arch::UNDI:003000",
        "PXEClient:Arch:+7",
        "PXEClient:Arch:65536",
        "PXEClient:Arch:00x07:UNDI",
        "PXEClient:arch:00007",
    ] {
        assert_eq!(ask(class, None), Err(Ignored::NoArch), "{class}");
    }
}

/// Line 21: "97 absent or of the wrong size". The request then has no UUID, but gets a reply.
#[test]
fn line_21_uuids_of_the_wrong_size() {
    for len in [0, 1, 16, 18, 255] {
        let packet = Ask::pxe(DISCOVER, 7).option(57, &[5, 192]).option(97, &vec![0; len]);
        assert_eq!(Request::parse(&packet.bytes()).expect("well formed").uuid(), None, "{len}");
        assert_eq!(on_67_direct(&packet), Ok(X64.to_owned()), "{len}");
    }
    let other_type = Ask::pxe(DISCOVER, 7).option(97, &[255; 17]).bytes();
    assert_eq!(Request::parse(&other_type).expect("well formed").uuid(), None);
}

/// Line 22: "77 raw or RFC 3004; malformed nesting in 175". Only the presence of 175 counts, so its nesting
/// has no effect.
#[test]
fn line_22_user_class_and_malformed_175() {
    for nesting in [&[][..], &[1], &[1, 200], &[255; 255], &[177, 0, 177]] {
        assert_eq!(on_67_direct(&Ask::pxe(DISCOVER, 7).option(175, nesting)), Ok("boot.ipxe".to_owned()));
    }
    for class in [&[4][..], &[255; 255], &[0; 255], b"\x04iPX", b"\x00\x00\x05iPXE"] {
        assert_eq!(on_67_direct(&Ask::pxe(DISCOVER, 7).option(77, class)), Ok(X64.to_owned()), "{class:?}");
    }
}

/// Line 23: "43 without 255, truncated, 71 shorter than 4".
#[test]
fn line_23_damaged_option_43() {
    let item = |vendor: &[u8]| {
        let packet = Ask::pxe(REQUEST, 7).option(43, vendor).bytes();
        Request::parse(&packet).expect("well formed").boot_item().map(|item| (item.boot_type, item.layer))
    };
    assert_eq!(item(&[71, 4, 0x80, 1, 0, 2]), Some((0x8001, 2)), "no END");
    assert_eq!(
        item(&[0, 0, 6, 1, 8, 71, 4, 0x80, 1, 0, 2, 255]),
        Some((0x8001, 2)),
        "behind pads and others"
    );
    assert_eq!(item(&[71, 4, 0x80, 1, 0, 2, 9, 200, 1]), Some((0x8001, 2)), "damage behind it");
    for bad in [
        &[][..],
        &[71],
        &[71, 4],
        &[71, 4, 0x80, 1, 0],
        &[71, 3, 0x80, 1, 0],
        &[71, 0],
        &[255, 71, 4, 1, 1, 1, 1],
    ] {
        assert_eq!(item(bad), None, "{bad:?}");
    }
}

/// Line 24: "Overload 52 with 0/4; split options (RFC 3396)".
#[test]
fn line_24_overload_and_split_options() {
    for overload in [0, 4, 255] {
        let request =
            Ask::pxe(DISCOVER, 7).option(52, &[overload]).head(108, &[93, 200]).head(44, &[93, 200]);
        assert_eq!(
            on_67_direct(&request),
            Ok(X64.to_owned()),
            "{overload}: file and sname are not looked at"
        );
    }
    let damaged = Ask::pxe(DISCOVER, 7).option(52, &[1]).head(108, &[93, 200]);
    assert_eq!(on_67_direct(&damaged), Err(Malformed::OptionPastEnd.into()));
    let in_file = Ask::empty()
        .option(53, &[1])
        .option(60, b"PXEClient")
        .option(52, &[1])
        .head(108, &[93, 2, 0, 7, 255]);
    assert_eq!(on_67_direct(&in_file), Ok(X64.to_owned()));
    let split = Ask::empty()
        .option(60, b"PXE")
        .option(93, &[0])
        .option(53, &[1])
        .option(60, b"Client")
        .option(93, &[7]);
    assert_eq!(on_67_direct(&split), Ok(X64.to_owned()));
}

/// Lines 24 and 25: an option 82 that came in parts is echoed whole, although it is longer than one option
/// can be.
#[test]
fn line_25_a_split_option_82_is_echoed() {
    let service = service();
    let relay: Vec<u8> = (0..=255).chain(0..=99).collect();
    let request = Ask::pxe(DISCOVER, 7).option(57, &[5, 192]).option(82, &relay);
    let answered = on_67(&service, &request.bytes(), Style::Direct).expect("an offer");
    assert_eq!(option(&answered.bytes, 82), Some(relay));
}

/// Line 26: "INFORM, LEASEQUERY, RELEASE, DECLINE, BOOTP without 53: no answer on 67". The same holds on
/// 4011.
#[test]
fn line_26_messages_that_ask_nothing_of_us() {
    let service = service();
    for message in [0, 2, 4, 5, 6, 7, 8, 10, 13, 255] {
        let request = Ask::pxe(message, 7).option(43, &[71, 4, 0, 1, 0, 0, 255]).bytes();
        assert_eq!(on_67(&service, &request, Style::Direct).err(), Some(Ignored::MessageType(message)));
        assert_eq!(on_4011(&service, &request, Style::Direct).err(), Some(Ignored::MessageType(message)));
    }
    let discover = Ask::pxe(DISCOVER, 7).bytes();
    assert_eq!(on_4011(&service, &discover, Style::Direct).err(), Some(Ignored::MessageType(1)));
    let bootp = Ask::empty().option(60, b"PXEClient").option(93, &[0, 7]).bytes();
    assert_eq!(on_67(&service, &bootp, Style::Direct).err(), Some(Ignored::NoMessageType));
}

/// Line 26: "REQUEST with a foreign 54: no answer". With pxed's own 54 there is a reply.
#[test]
fn line_26_requests_to_another_server() {
    let service = service();
    let to = |server: [u8; 4]| {
        Ask::pxe(REQUEST, 7).option(43, &[71, 4, 0, 1, 0, 0, 255]).option(54, &server).bytes()
    };
    for foreign in [[10, 99, 0, 1], [0, 0, 0, 0], [255, 255, 255, 255]] {
        assert_eq!(on_67(&service, &to(foreign), Style::Direct).err(), Some(Ignored::ForeignServerId));
        assert_eq!(on_4011(&service, &to(foreign), Style::Direct).err(), Some(Ignored::ForeignServerId));
    }
    assert!(on_67(&service, &to(SERVER.octets()), Style::Direct).is_ok());
    assert!(on_4011(&service, &to(SERVER.octets()), Style::Direct).is_ok());
}

/// Line 27: "Non-empty `file`/`sname` in the request (not echoed)".
#[test]
fn line_27_file_and_sname_of_the_request_are_not_echoed() {
    let service = menu_service();
    let request = Ask::pxe(DISCOVER, 7).head(44, &[b's'; 64]).head(108, &[b'f'; 128]).bytes();
    let menu = on_67(&service, &request, Style::Menu).expect("an offer");
    assert_eq!(menu.bytes[44..236], [0; 192]);
    let direct = on_67(&service, &request, Style::Direct).expect("an offer");
    assert_eq!(file(&direct.bytes), X64);
    assert_eq!(direct.bytes[108 + X64.len()..236], [0; 128 - 17]);
}

/// Line 28: "Long client ids in logs". A log shows at most 64 bytes, escaped, so that a client ID cannot
/// forge a log line.
#[test]
fn line_28_long_client_ids_are_cut_and_escaped_for_logs() {
    let packet = Ask::pxe(DISCOVER, 7).option(61, &[b'A'; 255]).bytes();
    let request = Request::parse(&packet).expect("well formed");
    let shown = Printable(request.client_id().expect("present")).to_string();
    assert_eq!(shown, format!("{}... (255 bytes)", "A".repeat(64)));
    assert_eq!(Printable(b"a\nb\x1b[2J\xff\"").to_string(), "a\\nb\\x1b[2J\\xff\\\"");
    assert!(Printable(&[0xff; 255]).to_string().len() < 300);
}
