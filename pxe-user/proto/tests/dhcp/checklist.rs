//! clients.md section 6, lines 1 to 14: at least one test for each line.

use std::net::{Ipv4Addr, SocketAddrV4};

use pxe_proto::dhcp::{Arch, BootFile, BootService, Ignored, Programs, ServerPort, Style};

use crate::support::*;

/// Line 1: "DISCOVER that is neither PXEClient nor HTTPClient: no reply."
#[test]
fn line_01_other_clients_get_no_reply() {
    let service = http_service();
    for class in
        [None, Some("MSFT 5.0"), Some(""), Some("PXEClien"), Some("pxeclient"), Some("docker:PXEClient")]
    {
        let mut request = Ask::empty().option(53, &[DISCOVER]).option(93, &[0, 7]);
        if let Some(class) = class {
            request = request.option(60, class.as_bytes());
        }
        assert_eq!(
            on_67(&service, &request.bytes(), Style::Direct).err(),
            Some(Ignored::NotPxe),
            "{class:?}"
        );
    }
    let uboot = Ask::empty().option(53, &[DISCOVER]).option(60, b"U-Boot.armv8").option(93, &[0, 0x16]);
    assert_eq!(on_67(&service, &uboot.bytes(), Style::Direct).err(), Some(Ignored::UBoot));
}

/// Line 2: "Broadcast REQUEST on 67 without 43.71: no reply." With 43.71 there is a reply (PXE 2.1 chapter
/// 2).
#[test]
fn line_02_a_request_on_67_is_answered_only_with_a_boot_item() {
    let service = service();
    let plain = Ask::pxe(REQUEST, 7);
    assert_eq!(on_67(&service, &plain.bytes(), Style::Direct).err(), Some(Ignored::RequestOnPort67));
    let other_tag = plain.clone().option(43, &[6, 1, 8, 255]);
    assert_eq!(on_67(&service, &other_tag.bytes(), Style::Direct).err(), Some(Ignored::RequestOnPort67));
    let item = plain.option(43, &[71, 4, 0, 1, 0, 0, 255]);
    let answered = on_67(&service, &item.bytes(), Style::Direct).expect("an ack");
    assert!(answered.reply.summary.ack);
    assert_eq!(answered.reply.from_port, 67);
    assert_eq!(option(&answered.bytes, 43), Some(vec![71, 4, 0, 1, 0, 0, 255]));
}

/// Line 3: "yiaddr 0 always on 67; never NAK". The same holds if the client has an address or requests one.
#[test]
fn line_03_yiaddr_is_zero_and_nothing_is_a_nak() {
    let service = menu_service();
    for style in STYLES {
        let wanting =
            Ask::pxe(DISCOVER, 7).option(50, &[10, 99, 0, 50]).head(12, &[10, 99, 0, 51, 10, 99, 0, 52]);
        let offer = on_67(&service, &wanting.bytes(), style).expect("an offer");
        assert_eq!((&offer.bytes[12..20], option(&offer.bytes, 53)), (&[0; 8][..], Some(vec![2])));
        let having = Ask::pxe(REQUEST, 7).head(12, &[10, 99, 0, 115]);
        let ack = on_4011(&service, &having.bytes(), style).expect("an ack");
        assert_eq!(
            (&ack.bytes[12..20], option(&ack.bytes, 53)),
            (&[10, 99, 0, 115, 0, 0, 0, 0][..], Some(vec![5]))
        );
    }
}

/// Line 4: "OFFER has 53, 54, 60, END, at least 300 bytes, at most min(option 57, 1472)."
#[test]
fn line_04_an_offer_is_complete_and_within_its_size() {
    let service = service();
    let small = on_67(&service, &Ask::pxe(DISCOVER, 7).bytes(), Style::Direct).expect("an offer");
    assert_eq!(small.bytes.len(), 300);
    for code in [53, 54, 60, 43] {
        assert!(option(&small.bytes, code).is_some(), "{code}");
    }
    // Without option 82 the reply has 296 bytes: 240, then 3 + 6 + 11 + 22 (209) + 7 (210) + 6 (43), and END.
    let fits = |max: Option<u16>, relay: usize| {
        let mut request = Ask::pxe(DISCOVER, 0).option(82, &vec![7; relay]);
        if let Some(max) = max {
            request = request.option(57, &max.to_be_bytes());
        }
        on_67(&service, &request.bytes(), Style::Direct).map(|answered| answered.bytes.len())
    };
    for max in [None, Some(0), Some(300), Some(576)] {
        assert_eq!(fits(max, 246), Ok(544), "{max:?}");
        assert_eq!(fits(max, 250), Ok(548), "{max:?}");
        assert_eq!(fits(max, 251), Err(Ignored::DoesNotFit), "{max:?}");
    }
    assert_eq!(fits(Some(577), 251), Ok(549));
    assert_eq!(fits(Some(65535), 510), Ok(296 + 2 * 2 + 510));
}

/// Line 4: a reply does not exceed 1472 bytes, nor the caller's buffer.
#[test]
fn line_04_a_short_buffer_is_a_typed_error() {
    let service = service();
    let packet = Ask::pxe(DISCOVER, 7).bytes();
    let request = pxe_proto::dhcp::Request::parse(&packet).expect("well formed");
    let mut out = [0; 1472];
    for len in [0, 1, 239, 240, 241, 299] {
        let result = pxe_proto::dhcp::reply(
            &service,
            &request,
            ServerPort::Port67,
            CLIENT,
            Style::Direct,
            &mut out[..len],
        );
        assert_eq!(result, Err(Ignored::DoesNotFit), "{len}");
    }
    let result = pxe_proto::dhcp::reply(
        &service,
        &request,
        ServerPort::Port67,
        CLIENT,
        Style::Direct,
        &mut out[..300],
    );
    assert_eq!(result.map(|reply| reply.len), Ok(300));
}

/// Line 4: a reply does not exceed 1472 bytes, however large the client's limit and the buffer are.
#[test]
fn line_04_nothing_is_larger_than_1472_bytes() {
    let mut program = program("pxelinux.0");
    program.config = Some(text(&"c".repeat(255)));
    program.path_prefix = Some(text(&"p".repeat(255)));
    let mut service = service();
    service.programs.set(Arch::BIOS, program);
    let mut out = [0; 4096];
    // 240, 3 + 6 + 11, 257 (97), 2 * 257 (209, 210), 6 (43) and END are 1038 bytes. Option 82 has 434 bytes
    // in two parts.
    for (relay, expected) in [(430, Ok(1472)), (431, Err(Ignored::DoesNotFit))] {
        let request =
            Ask::pxe(DISCOVER, 0).option(57, &[255, 255]).option(97, &[7; 255]).option(82, &vec![9; relay]);
        let packet = request.bytes();
        let request = pxe_proto::dhcp::Request::parse(&packet).expect("well formed");
        let result =
            pxe_proto::dhcp::reply(&service, &request, ServerPort::Port67, CLIENT, Style::Direct, &mut out);
        assert_eq!(result.map(|reply| reply.len), expected);
    }
}

/// Line 5: "OFFER from source port 67."
#[test]
fn line_05_an_offer_leaves_from_port_67() {
    for style in STYLES {
        let service = menu_service();
        let answered = on_67(&service, &Ask::pxe(DISCOVER, 7).bytes(), style).expect("an offer");
        assert_eq!(answered.reply.from_port, 67);
        assert_eq!(answered.reply.to, SocketAddrV4::new(Ipv4Addr::BROADCAST, 68));
    }
}

/// Line 6: "siaddr and `file` in the header". PXE clients do not get 66, 67 and 13.
#[test]
fn line_06_siaddr_and_file_are_in_the_header() {
    let service = service();
    for style in [Style::Direct, Style::Binl] {
        let offer = on_67(&service, &Ask::pxe(DISCOVER, 7).bytes(), style).expect("an offer");
        let ack = on_4011(&service, &Ask::pxe(REQUEST, 7).bytes(), style).expect("an ack");
        for bytes in [offer.bytes, ack.bytes] {
            assert_eq!((&bytes[20..24], file(&bytes)), (&SERVER.octets()[..], "memtest86+x64.efi"));
            assert!([13, 66, 67].into_iter().all(|code| option(&bytes, code).is_none()));
        }
    }
}

/// Line 7: "`file` NUL-terminated within 128". The longest name has 127 bytes, and the check at the start
/// rejects a longer one.
#[test]
fn line_07_the_longest_file_name_still_ends_with_nul() {
    let longest = "x".repeat(127);
    let mut programs = Programs::default();
    programs.set(Arch::X64, program(&longest));
    let service = BootService { programs, ..BootService::new(SERVER) };
    let answered = on_67(&service, &Ask::pxe(DISCOVER, 7).bytes(), Style::Direct).expect("an offer");
    assert_eq!((file(&answered.bytes), answered.bytes[235]), (&longest[..], 0));
    for bad in ["x".repeat(128), String::new(), "a\0b".to_owned(), "a\nb".to_owned()] {
        assert!(BootFile::new(&bad).is_err(), "{bad:?}");
    }
}

/// Line 8: "97 echoed byte for byte; absent accepted". This holds for any size and type.
#[test]
fn line_08_option_97_is_echoed_byte_for_byte() {
    let service = service();
    let odd: [&[u8]; 4] = [&[0; 17], &[1, 2, 3], &[255; 255], &[0]];
    for uuid in odd {
        let request = Ask::pxe(DISCOVER, 7).option(57, &[5, 192]).option(97, uuid);
        let answered = on_67(&service, &request.bytes(), Style::Direct).expect("an offer");
        assert_eq!(option(&answered.bytes, 97).as_deref(), Some(uuid));
    }
    let answered = on_67(&service, &Ask::pxe(DISCOVER, 7).bytes(), Style::Direct).expect("an offer");
    assert_eq!(option(&answered.bytes, 97), None);
}

/// Line 9: "With 43=`06 01 08 FF` OVMF makes no 4011 traffic."
#[test]
fn line_09_direct_is_06_01_08_ff() {
    let service = service();
    for name in ["ovmf-discover", "ipxe-bios-discover"] {
        let answered = on_67(&service, &golden(name), Style::Direct).expect(name);
        assert_eq!(option(&answered.bytes, 43), Some(vec![6, 1, 8, 255]), "{name}");
    }
}

/// Line 10: "Without 43 (BINL) OVMF boots over 4011". Neither the offer nor the acknowledgement has option
/// 43.
#[test]
fn line_10_binl_has_no_option_43_and_4011_gives_the_file() {
    let service = service();
    let offer = on_67(&service, &golden("ovmf-discover"), Style::Binl).expect("an offer");
    let ack = on_4011(&service, &golden("ovmf-4011"), Style::Binl).expect("an ack");
    assert_eq!((option(&offer.bytes, 43), option(&ack.bytes, 43)), (None, None));
    assert_eq!(file(&ack.bytes), "memtest86+x64.efi");
}

/// Line 11: "4011 replies come from port 4011 and go to the request's source port". That port is 4011 for
/// EDK2 and 68 for iPXE.
#[test]
fn line_11_replies_on_4011_go_back_to_their_source() {
    let service = service();
    for (name, port) in [("ovmf-4011", 4011), ("ipxe-efi-rom-4011", 68), ("ipxe-bios-boot-server", 68)] {
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 115), port);
        let ack = ask(&service, &golden(name), ServerPort::Port4011, from, Style::Direct).expect(name);
        assert_eq!((ack.reply.from_port, ack.reply.to), (4011, from), "{name}");
    }
}

/// Line 12: "4011 accepts no 54, bare `PXEClient`, byte-swapped `secs`". It also accepts no 93 if 60 names
/// the architecture.
#[test]
fn line_12_4011_accepts_what_firmware_leaves_out() {
    let service = service();
    let bare = Ask::empty().option(53, &[REQUEST]).option(60, b"PXEClient").option(93, &[0, 7]);
    let plain = on_4011(&service, &bare.bytes(), Style::Direct).expect("an ack");
    for secs in [[0, 4], [4, 0], [0xff, 0xff]] {
        let same = on_4011(&service, &bare.clone().head(8, &secs).bytes(), Style::Direct).expect("an ack");
        assert_eq!(same, plain);
    }
    let no_93 = Ask::empty().option(53, &[REQUEST]).option(60, b"PXEClient:Arch:00007:UNDI:003000");
    assert_eq!(
        file(&on_4011(&service, &no_93.bytes(), Style::Direct).expect("an ack").bytes),
        "memtest86+x64.efi"
    );
}

/// Line 13: "A boot-server ACK echoes 43.71 and its siaddr is in 43.8". This is the list of the menu: EDK2
/// checks against that of the offer (`PxeBcExtractDiscoverInfo`).
#[test]
fn line_13_a_boot_server_ack_echoes_its_item_from_a_listed_server() {
    let service = menu_service();
    let offer = on_67(&service, &Ask::pxe(DISCOVER, 7).bytes(), Style::Menu).expect("an offer");
    let menu = option(&offer.bytes, 43).expect("a menu");
    // The menu begins with 06 01 03. Then follows 08 0e with two entries, each with its type, the count 1,
    // and an address.
    let servers: Vec<_> =
        menu[5..19].chunks(7).map(|entry| (entry[..2].to_vec(), entry[3..].to_vec())).collect();
    for (item, expected) in [([0x80, 0x00], "memtest86+x64.efi"), ([0x80, 0x01], "rescue.efi")] {
        let vendor = [71, 4, item[0], item[1], 0x80, 0x07, 255];
        let request = Ask::pxe(REQUEST, 7).head(4, &[0; 4]).option(43, &vendor);
        let ack = on_4011(&service, &request.bytes(), Style::Menu).expect("an ack");
        assert_eq!(option(&ack.bytes, 43).as_deref(), Some(&vendor[..]));
        assert_eq!(file(&ack.bytes), expected);
        assert!(servers.contains(&(item.to_vec(), ack.bytes[20..24].to_vec())), "{servers:?}");
    }
    let early = Ask::pxe(DISCOVER, 7).option(43, &[71, 4, 0x80, 1, 0, 0, 255]);
    let offer = on_67(&service, &early.bytes(), Style::Direct).expect("an offer");
    assert_eq!(file(&offer.bytes), "memtest86+x64.efi", "a DISCOVER chooses nothing");
    for (item, reason) in [(0, Ignored::LocalBoot), (0x77, Ignored::UnknownBootItem(0x77))] {
        let request = Ask::pxe(REQUEST, 7).option(43, &[71, 4, 0, item, 0, 0, 255]);
        assert_eq!(on_4011(&service, &request.bytes(), Style::Menu).err(), Some(reason));
    }
}

/// Line 14: "Never 43.6 without bit 3 unless a menu follows". This holds for each client, style and port.
#[test]
fn line_14_discovery_control_has_bit_3_or_a_menu() {
    let service = menu_service();
    let pi = Ask::pxe(DISCOVER, 0).head(28, &[0xdc, 0xa6, 0x32, 1, 2, 3]);
    let mut requests: Vec<_> = GOLDEN.map(golden).into();
    requests.push(pi.bytes());
    let mut seen = 0;
    for request in &requests {
        for style in STYLES {
            for answered in
                [on_67(&service, request, style), on_4011(&service, request, style)].into_iter().flatten()
            {
                let Some(vendor) = option(&answered.bytes, 43) else { continue };
                let tags = tags(&vendor);
                if let Some((_, control)) = tags.iter().find(|(tag, _)| *tag == 6) {
                    seen += 1;
                    let menu = tags.iter().any(|(tag, _)| *tag == 9);
                    assert!(control[0] & 8 != 0 || menu, "{tags:?}");
                }
            }
        }
    }
    assert!(seen >= 19, "only {seen} replies looked at");
}

fn tags(mut vendor: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut tags = Vec::new();
    while vendor[0] != 255 {
        let end = 2 + usize::from(vendor[1]);
        tags.push((vendor[0], vendor[2..end].to_vec()));
        vendor = &vendor[end..];
    }
    assert_eq!(vendor.len(), 1, "END is last");
    tags
}
