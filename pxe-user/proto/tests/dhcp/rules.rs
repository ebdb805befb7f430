//! What rules change in replies: local boot, another boot server, and names with the machine's address.

use std::net::Ipv4Addr;

use pxe_proto::dhcp::{Answer, Arch, BootFile, BootService, Ignored, Invalid, Menu, Program, Style, Url};

use crate::support::*;

const OTHER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 9);

fn local() -> BootService {
    let mut service = BootService::new(SERVER);
    service.programs.set_ipxe(program("pxed/{mac}/boot.ipxe"));
    service.local = Some(Menu::local().unwrap());
    service
}

fn ipxe() -> Ask {
    Ask::pxe(DISCOVER, 0).option(77, b"iPXE")
}

/// PXE 2.1 chapter 2: firmware boots from its disk if it gets a menu whose only entry has type 0 and is
/// chosen at once. The reply has no list of servers and no file.
#[test]
fn firmware_is_told_to_boot_its_disk_by_a_menu() {
    for style in STYLES {
        let service = local();
        let offer = on_67(&service, &Ask::pxe(DISCOVER, 7).bytes(), style).unwrap();
        assert!(matches!(offer.reply.summary.answer, Answer::Local(_)));
        let vendor = option(&offer.bytes, 43).unwrap();
        assert_eq!(vendor[..3], [6, 1, 3]);
        assert_eq!(vendor[3..8], [9, 13, 0, 0, 10]);
        assert_eq!(&vendor[8..18], b"Local disk");
        assert_eq!(vendor[18], 10);
        assert_eq!(vendor[20], 0, "taken at once");
        assert_eq!(offer.bytes[108..236], [0; 128], "no file");
    }
}

#[test]
fn ipxe_is_told_by_a_script_of_its_own_name() {
    let service = local();
    let offer = on_67(&service, &ipxe().bytes(), Style::Direct).unwrap();
    assert_eq!(&offer.bytes[108..108 + 32], b"pxed/52-54-00-00-00-01/boot.ipxe");
    assert_eq!(
        &*offer.reply.summary.answer.name(offer.reply.summary.mac),
        "pxed/52-54-00-00-00-01/boot.ipxe"
    );
}

#[test]
fn who_has_no_word_for_its_disk_is_left_alone() {
    let http = Ask::empty().option(53, &[DISCOVER]).option(60, b"HTTPClient:Arch:00016").option(93, &[0, 16]);
    assert_eq!(on_67(&local(), &http.bytes(), Style::Direct).err(), Some(Ignored::LocalBoot));
    // The menu has no entry for which the machine could ask on 4011.
    let item = Ask::pxe(REQUEST, 7).option(43, &[71, 4, 0, 0, 0, 0, 255]);
    assert_eq!(on_4011(&local(), &item.bytes(), Style::Direct).err(), Some(Ignored::LocalBoot));
}

/// Option 54 remains pxed's address. Otherwise the firmware would ask the other server on 4011.
#[test]
fn another_machine_can_have_the_files() {
    for mut service in [service(), menu_service()] {
        service.boot_server = Some(OTHER);
        for style in STYLES {
            let offer = on_67(&service, &Ask::pxe(DISCOVER, 7).bytes(), style).unwrap();
            assert_eq!(offer.bytes[20..24], OTHER.octets(), "siaddr");
            assert_eq!(option(&offer.bytes, 54), Some(SERVER.octets().to_vec()));
            if matches!(offer.reply.summary.answer, Answer::Menu(_)) {
                let vendor = option(&offer.bytes, 43).unwrap();
                assert!(vendor.windows(4).any(|part| part == OTHER.octets()), "{vendor:?}");
            }
        }
    }
}

#[test]
fn a_machines_address_stands_in_names_and_they_still_fit() {
    let mut service = service();
    let config = Some(text("pxed/{mac}/pxelinux.cfg"));
    service.programs.set(Arch::BIOS, Program { config, ..program("boot/{mac}/pxelinux.0") });
    service.http = vec![(Arch::X64_HTTP, Url::new("http://10.99.0.2/{mac}/a.efi").unwrap())];
    let offer = on_67(&service, &Ask::pxe(DISCOVER, 0).bytes(), Style::Direct).unwrap();
    assert_eq!(&offer.bytes[108..108 + 34], b"boot/52-54-00-00-00-01/pxelinux.0\0");
    assert_eq!(option(&offer.bytes, 209), Some(b"pxed/52-54-00-00-00-01/pxelinux.cfg".to_vec()));
    let http = Ask::empty().option(53, &[DISCOVER]).option(60, b"HTTPClient:Arch:00016").option(93, &[0, 16]);
    let offer = on_67(&service, &http.bytes(), Style::Direct).unwrap();
    assert_eq!(option(&offer.bytes, 67), Some(b"http://10.99.0.2/52-54-00-00-00-01/a.efi\0".to_vec()));
    // The check of the length counts the name with the address in it.
    assert!(BootFile::new(&format!("{{mac}}{}", "x".repeat(110))).is_ok());
    assert!(matches!(BootFile::new(&format!("{{mac}}{}", "x".repeat(111))), Err(Invalid::Text { .. })));
}
