//! Kinds of machines for which the checklist has no line: unknown architectures and Raspberry Pi. Also menus,
//! and the checks of configured values.

use pxe_proto::dhcp::{
    Arch, BootFile, BootService, Ignored, Invalid, Menu, MenuItem, Program, Programs, Style, Url,
};

use crate::support::*;

/// The reason `NoImageForArch` has the first architecture that the client names.
#[test]
fn an_architecture_without_a_program_is_named() {
    let service = menu_service();
    for style in STYLES {
        let refused = on_67(&service, &Ask::pxe(DISCOVER, 27).bytes(), style).err();
        assert_eq!(refused, Some(Ignored::NoImageForArch(Arch(27))));
    }
    let list = Ask::empty().option(53, &[1]).option(60, b"PXEClient").option(93, &[0, 27, 0, 11]);
    assert_eq!(file(&on_67(&service, &list.bytes(), Style::Direct).expect("an offer").bytes), "arm64.efi");
    let list = Ask::empty().option(53, &[1]).option(60, b"PXEClient").option(93, &[0, 29, 0, 27]);
    assert_eq!(on_67(&service, &list.bytes(), Style::Direct).err(), Some(Ignored::NoImageForArch(Arch(29))));
}

/// A Raspberry Pi names architecture 0 like a PC. Its address or its UUID identifies it, and it needs
/// Raspberry Pi's own option 43.
#[test]
fn a_raspberry_pi_gets_the_documented_option_43() {
    let service = menu_service();
    let by_mac = Ask::pxe(DISCOVER, 0).head(28, &[0xb8, 0x27, 0xeb, 1, 2, 3]);
    let by_uuid = Ask::pxe(DISCOVER, 0).option(97, b"\0RPi5\x14\x31\xc0\x00abcdefgh");
    let by_arch = Ask::pxe(DISCOVER, 41);
    for request in [by_mac.clone(), by_uuid, by_arch] {
        for style in STYLES {
            let answered = on_67(&service, &request.bytes(), style).expect("an offer");
            let vendor = option(&answered.bytes, 43).expect("a magic text");
            assert_eq!(vendor, b"\x06\x01\x03\x0a\x04\0PXE\x09\x14\0\0\x11Raspberry Pi Boot\xff");
            assert_eq!(file(&answered.bytes), "bootcode.bin");
        }
    }
    // iPXE on the same board counts as iPXE, and UEFI on it as ARM64.
    let ipxe = on_67(&service, &by_mac.option(77, b"iPXE").bytes(), Style::Direct).expect("an offer");
    assert_eq!((file(&ipxe.bytes), option(&ipxe.bytes, 43)), ("boot.ipxe", Some(vec![6, 1, 8, 255])));
    let uefi = Ask::pxe(DISCOVER, 11).head(28, &[0xb8, 0x27, 0xeb, 1, 2, 3]);
    assert_eq!(file(&on_67(&service, &uefi.bytes(), Style::Direct).expect("an offer").bytes), "arm64.efi");
    let mut programs = Programs::default();
    programs.set(Arch::BIOS, Program::from(BootFile::new("pxelinux.0").expect("a valid name")));
    let pc_only = BootService { programs, ..BootService::new(SERVER) };
    let pi = Ask::pxe(DISCOVER, 0).head(28, &[0xb8, 0x27, 0xeb, 1, 2, 3]);
    assert_eq!(on_67(&pc_only, &pi.bytes(), Style::Direct).err(), Some(Ignored::NoImageForArch(Arch::RPI)));
}

/// The words for the log line, for each kind of answer.
#[test]
fn every_answer_can_be_told() {
    let service = BootService { menu: menu_service().menu, ..http_service() };
    for (name, style, expected) in [
        ("ovmf-discover", Style::Direct, "memtest86+x64.efi"),
        ("ipxe-bios-discover", Style::Binl, "boot.ipxe"),
        ("ovmf-http-discover", Style::Direct, "http://10.99.0.2/memtest86+x64.efi"),
        ("ovmf-discover", Style::Menu, "boot menu"),
    ] {
        let told = on_67(&service, &golden(name), style).expect(name).reply.summary;
        assert_eq!((told.answer.as_str(), told.style, told.ack), (expected, style, false), "{name}");
    }
    let no_menu = crate::support::service();
    let told = on_67(&no_menu, &golden("ovmf-discover"), Style::Menu).expect("an offer").reply.summary;
    assert_eq!(told.style, Style::Direct, "no menu: direct is what is in effect");
}

/// A menu that no client could show, or a name that no packet could carry, is rejected when the service is
/// built.
#[test]
fn what_could_not_be_sent_is_refused_at_start() {
    let item = |boot_type, s: &str| MenuItem::boot(boot_type, text(s), None);
    assert_eq!(item(0, "zero"), Err(Invalid::ItemTypeZero));
    let menu = |items: Vec<Result<MenuItem, Invalid>>| {
        Menu::new(text("Press F8"), 3, items.into_iter().map(|item| item.expect("valid")).collect())
    };
    assert_eq!(menu(vec![]), Err(Invalid::EmptyMenu));
    assert_eq!(menu(vec![Ok(MenuItem::local(text("Local")))]), Err(Invalid::EmptyMenu));
    assert_eq!(menu(vec![item(7, "a"), item(8, "b"), item(7, "c")]), Err(Invalid::DuplicateItem(7)));
    // The text can have 226 bytes: 255 less END, 3 (43.6), 2 + 7 (43.8), 2 + 3 (43.9) and 3 + 8 (43.10).
    assert!(menu(vec![item(1, &"x".repeat(226))]).is_ok());
    assert_eq!(menu(vec![item(1, &"x".repeat(227))]), Err(Invalid::MenuTooLong));
    assert!(Url::new(&format!("http://{}", "x".repeat(247))).is_ok());
    assert!(matches!(Url::new(&format!("http://{}", "x".repeat(248))), Err(Invalid::Text { max: 254, .. })));
    assert_eq!(Url::new("ftp://a"), Err(Invalid::Scheme("ftp://a".to_owned())));
}

/// The largest menu and the longest URL are sent whole.
#[test]
fn the_longest_menu_and_url_fit() {
    let items = vec![MenuItem::boot(1, text(&"x".repeat(226)), None).expect("valid")];
    let menu = Some(Menu::new(text("Press F8"), 3, items).expect("valid"));
    let url = Url::new(&format!("http://{}", "x".repeat(247))).expect("valid");
    let service = BootService { menu, http: vec![(Arch::X64_HTTP, url)], ..service() };
    let answered = on_67(&service, &golden("ovmf-discover"), Style::Menu).expect("an offer");
    let vendor = option(&answered.bytes, 43).expect("a menu");
    assert_eq!((vendor.len(), vendor.last()), (255, Some(&255)));
    let answered = on_67(&service, &golden("ovmf-http-discover"), Style::Direct).expect("an offer");
    let url = option(&answered.bytes, 67).expect("a URL");
    assert_eq!((url.len(), url.last()), (255, Some(&0)));
}

/// A machine gets the menu if at least one entry has a program for it, wherever that entry is in the menu.
#[test]
fn a_menu_is_shown_to_machines_that_some_entry_is_for() {
    let mut bios_only = Programs::default();
    bios_only.set(Arch::BIOS, program("rescue.0"));
    let some = || MenuItem::boot(1, text("For all"), None).expect("valid");
    let other = || MenuItem::boot(2, text("For BIOS"), Some(bios_only.clone())).expect("valid");
    for items in [vec![some(), other()], vec![other(), some()]] {
        let service = BootService { menu: Some(Menu::new(text("?"), 1, items).expect("valid")), ..service() };
        assert!(on_67(&service, &Ask::pxe(DISCOVER, 7).bytes(), Style::Menu).is_ok());
    }
    let service =
        BootService { menu: Some(Menu::new(text("?"), 1, vec![other()]).expect("valid")), ..service() };
    let refused = on_67(&service, &Ask::pxe(DISCOVER, 7).bytes(), Style::Menu).err();
    assert_eq!(refused, Some(Ignored::NoImageForArch(Arch::X64)));
}

#[test]
fn the_last_program_that_is_set_counts() {
    let mut programs = programs();
    programs.set(Arch::X64, program("other.efi"));
    assert_eq!(programs.get(Arch::X64).map(|program| program.file.as_str()), Some("other.efi"));
    assert_eq!(programs.get(Arch::EBC).map(|program| program.file.as_str()), Some("other.efi"));
    assert_eq!(programs.get(Arch::ARM64).map(|program| program.file.as_str()), Some("arm64.efi"));
}
