//! Tests of the virtual tree on a temporary root directory.

use super::*;

pub(super) const DEBIAN: [(&str, &str); 6] = [
    ("boot/memtest86+x64.bin", "bin64"),
    ("boot/memtest86+x64.efi", "efi64"),
    ("boot/memtest86+ia32.bin", "bin32"),
    ("boot/memtest86+ia32.efi", "efi32"),
    ("usr/lib/PXELINUX/pxelinux.0", "loader"),
    ("usr/lib/syslinux/modules/bios/ldlinux.c32", "module"),
];

#[test]
fn with_debians_packages_every_machine_boots_memtest() {
    let place = Place::new(&DEBIAN);
    let catalogue = Catalogue::open(place.system()).unwrap();
    let expected = [
        (Arch::BIOS, "pxelinux.0", Some("pxelinux.cfg/default")),
        (Arch::IA32, "memtest86+ia32.efi", None),
        (Arch::X64, "memtest86+x64.efi", None),
    ];
    assert_eq!(catalogue.programs(), programs(&expected, Some("boot.ipxe")));
    assert_eq!(catalogue.missing(), [""; 0]);
    // The files are loaded before the first request.
    for (file, contents) in [
        ("pxelinux.0", "loader"),
        ("ldlinux.c32", "module"),
        ("memtest86+x64", "bin64"),
        ("memtest86+ia32", "bin32"),
        ("memtest86+x64.efi", "efi64"),
        ("memtest86+ia32.efi", "efi32"),
    ] {
        assert_eq!(catalogue.ready(file).as_deref(), Some(contents), "{file}");
    }
    assert!(matches!(catalogue.lookup(&name("autoexec.ipxe")), Lookup::Refused(Refusal::NotFound)));
    assert!(matches!(catalogue.lookup(&name("etc/passwd")), Lookup::Refused(Refusal::NotFound)));
    assert_eq!(catalogue.read("etc/passwd"), Err(Refusal::NotFound));
}

#[test]
fn generated_files_name_only_what_is_served() {
    for present in 1_u32..1 << DEBIAN.len() {
        let chosen = DEBIAN.iter().enumerate().filter(|(i, _)| present & 1 << i != 0);
        let place = Place::new(&chosen.map(|(_, file)| *file).collect::<Vec<_>>());
        let Ok(catalogue) = Catalogue::open(place.system()) else {
            assert_eq!(present & 0b1111, 0, "some memtest86+ is enough");
            continue;
        };
        let script = catalogue.ready("boot.ipxe").unwrap();
        let config = catalogue.ready("pxelinux.cfg/default").unwrap_or_default();
        for line in script.lines().chain(config.lines()) {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("kernel" | "chain" | "linux"), Some(file)) => {
                    assert!(catalogue.ready(file).is_some(), "{line}")
                }
                (Some("goto"), Some(label)) => assert!(script.contains(&format!("\n:{label}\n")), "{line}"),
                _ => {}
            }
        }
        let bios = present & 0b0101 != 0 && present >> 4 == 0b11;
        assert_eq!(catalogue.programs().get(Arch::BIOS).is_some(), bios, "{present:b}");
        assert_eq!(config.is_empty(), !bios);
        let complete =
            3 - [bios, present & 0b10 != 0, present & 0b1000 != 0].map(usize::from).iter().sum::<usize>();
        assert_eq!(catalogue.missing().len(), complete, "{present:b}: {:?}", catalogue.missing());
        for sentence in catalogue.missing() {
            assert!(sentence.contains("apt-get install"), "{sentence}");
        }
    }
}

#[test]
fn every_place_of_the_table_is_found_under_its_name() {
    use crate::boot::discover::*;
    for part in [&MEMTEST_X64_EFI, &MEMTEST_IA32_EFI, &MEMTEST_X64, &MEMTEST_IA32, &MEMTEST_ANY] {
        assert!(!part.name.ends_with(".bin"), "clients.md section 3");
        for path in part.places {
            let place = Place::new(&[(path, "memtest")]);
            let catalogue = Catalogue::open(place.system()).unwrap();
            assert_eq!(catalogue.ready(part.name).as_deref(), Some("memtest"), "{path}");
        }
    }
    for (loader, module) in PXELINUX {
        let place = Place::new(&[("boot/memtest86+x64.bin", ""), (loader, "loader")]);
        if let Some(module) = module {
            place.write(module, "module");
        }
        let catalogue = Catalogue::open(place.system()).unwrap();
        assert_eq!(catalogue.ready("pxelinux.0").as_deref(), Some("loader"), "{loader}");
        assert_eq!(catalogue.ready("ldlinux.c32").is_some(), module.is_some(), "{loader}");
    }
}

#[test]
fn an_upgrade_of_an_installed_package_is_noticed() {
    let place = Place::new(&DEBIAN);
    let catalogue = Catalogue::open(place.system()).unwrap();
    // dpkg replaces files in this way.
    place.write("boot/memtest86+x64.efi.dpkg-new", "newer");
    fs::rename(place.path("boot/memtest86+x64.efi.dpkg-new"), place.path("boot/memtest86+x64.efi")).unwrap();
    assert_eq!(catalogue.updated(), [name("memtest86+x64.efi")]);
    assert_eq!(catalogue.ready("memtest86+x64.efi").as_deref(), Some("newer"));
    fs::remove_file(place.path("boot/memtest86+x64.efi")).unwrap();
    catalogue.changed();
    assert!(matches!(catalogue.lookup(&name("memtest86+x64.efi")), Lookup::NotLoaded), "it may come back");
}
