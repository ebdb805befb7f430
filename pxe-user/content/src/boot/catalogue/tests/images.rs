//! Tests of images that rules name: their own files below their names, boot loaders, and texts for each
//! machine.

use std::net::Ipv4Addr;

use super::*;
use crate::boot::MachineFacts;
use crate::boot::{ImageSpec, Role, ServedAt};
use pxe_proto::mac::Mac;

const MAC: Mac = Mac([0x52, 0x54, 0, 0x99, 0, 0x10]);
const HERE: ServedAt = ServedAt { server: Ipv4Addr::new(10, 99, 0, 2), http: Some(8080) };

fn facts(image: &str) -> MachineFacts {
    MachineFacts { image: Some(image.into()), ..MachineFacts::unknown(MAC) }
}

/// A tree for all machines, an image with a kernel, and an image with a tree of its own. Boot loaders are
/// where Debian installs them.
fn place() -> Place {
    Place::new(&[
        ("srv/pxelinux.0", "everybody's"),
        ("srv/pxelinux.cfg/01-52-54-00-99-00-20", "a file for one machine"),
        ("kernel/linux", "kernel"),
        ("kernel/initrd", "initrd"),
        ("tree/grubx64.efi", "grub"),
        ("tree/tool.efi", "tool"),
        ("usr/lib/PXELINUX/pxelinux.0", "loader"),
        ("usr/lib/syslinux/modules/bios/ldlinux.c32", "library"),
        ("usr/lib/ipxe/snponly.efi", "ipxe"),
    ])
}

fn config(place: &Place) -> Config {
    let root = |path: &str| Some((place.path(path), Links::FollowAdministrators));
    let kernel = ImageSpec {
        name: "test".into(),
        root: root("kernel"),
        kernel: Some("linux".into()),
        initrd: vec!["initrd".into()],
        args: "report={{ report_url }}".into(),
        ..ImageSpec::default()
    };
    let tree = ImageSpec {
        name: "tree".into(),
        root: root("tree"),
        boot_files: vec![(Arch::ARM64, "tool.efi".into())],
        ..ImageSpec::default()
    };
    let usual = ImageSpec { name: "usual".into(), ..ImageSpec::default() };
    Config { image_specs: vec![kernel, tree, usual], system: place.path(""), ..place.tree() }
}

fn programs_of(catalogue: &Catalogue, name: &str) -> Vec<(Arch, String)> {
    let image_spec = catalogue.image_specs().iter().find(|image_spec| *image_spec.name == *name).unwrap();
    let programs = catalogue.programs_of(image_spec);
    let mut all: Vec<_> =
        programs.iter().map(|(arch, program)| (arch, program.file.as_str().to_owned())).collect();
    all.sort();
    all
}

#[test]
fn each_image_has_programs_of_its_own() {
    let place = place();
    let catalogue = Catalogue::open(config(&place)).unwrap();
    let own = |arch, name: &str| (arch, name.to_owned());
    assert_eq!(
        programs_of(&catalogue, "test"),
        [own(Arch::BIOS, "loader/pxelinux.0"), own(Arch::X64, "loader/snponly.efi")]
    );
    assert_eq!(
        programs_of(&catalogue, "tree"),
        [own(Arch::X64, "tree/grubx64.efi"), own(Arch::ARM64, "tree/tool.efi")]
    );
    assert_eq!(programs_of(&catalogue, "usual"), [own(Arch::BIOS, "pxelinux.0")]);
    let test = catalogue.programs_of(&catalogue.image_specs()[0]);
    assert_eq!(test.ipxe().unwrap().file.as_str(), "pxed/{mac}/boot.ipxe");
    let config = test.get(Arch::BIOS).unwrap().config.clone().unwrap();
    assert_eq!(config.as_str(), "pxed/{mac}/pxelinux.cfg");
    assert!(catalogue.missing().is_empty(), "{:?}", catalogue.missing());
}

/// Without iPXE no UEFI machine can start an image's kernel. The machine would ask and get nothing, so pxed
/// warns of that at the start.
#[test]
fn an_image_that_a_kind_of_machine_cannot_start_names_the_package() {
    let place = place();
    std::fs::remove_file(place.path("usr/lib/ipxe/snponly.efi")).unwrap();
    let catalogue = Catalogue::open(config(&place)).unwrap();
    let test = catalogue.image_specs().iter().find(|image_spec| &*image_spec.name == "test").unwrap();
    let said = catalogue.unsupported_of(test);
    assert!(said.len() == 1 && said[0].contains("x64 machines get nothing"), "{said:?}");
    assert!(said[0].contains("apt-get install ipxe"), "{said:?}");
    assert!(catalogue.missing().contains(&said[0]), "the log at the start says it, too");
    let others = catalogue.image_specs().iter().filter(|image_spec| &*image_spec.name != "test");
    assert_eq!(
        others.flat_map(|image_spec| catalogue.unsupported_of(image_spec)).count(),
        0,
        "they have no kernel"
    );
}

/// Without this order, a kernel with arguments would be served without its arguments if its root also had a
/// program under a usual name.
#[test]
fn a_kernel_comes_before_programs_that_would_not_read_its_arguments() {
    let place = place();
    place.write("kernel/memtest.efi", "boots itself");
    place.write("kernel/grub/grub.cfg", "boots itself, too");
    let catalogue = Catalogue::open(config(&place)).unwrap();
    let own = |arch, name: &str| (arch, name.to_owned());
    let loaders = [own(Arch::BIOS, "loader/pxelinux.0"), own(Arch::X64, "loader/snponly.efi")];
    assert_eq!(programs_of(&catalogue, "test"), loaders);
    let said = catalogue.missing();
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(said[0].contains("x64 machines do not start memtest.efi in its root"), "{said:?}");
    assert!(said[1].contains("GRUB reads grub/grub.cfg"), "{said:?}");
    // A boot loader in the root reads the text that pxed writes. A program that `boot_files` names counts in
    // any case.
    place.write("kernel/grubx64.efi", "grub");
    let catalogue = Catalogue::open(config(&place)).unwrap();
    assert_eq!(programs_of(&catalogue, "test")[1], own(Arch::X64, "test/grubx64.efi"));
    let mut named = config(&place);
    named.image_specs[0].boot_files = vec![(Arch::X64, "memtest.efi".into())];
    let catalogue = Catalogue::open(named).unwrap();
    assert_eq!(programs_of(&catalogue, "test")[1], own(Arch::X64, "test/memtest.efi"));
    assert_eq!(catalogue.missing().len(), 1, "{:?}", catalogue.missing());
}

#[test]
fn files_lie_below_their_images_names_and_nowhere_else() {
    let place = place();
    let catalogue = Catalogue::open(config(&place)).unwrap();
    assert_eq!(catalogue.read("test/linux").as_deref(), Ok("kernel"));
    assert_eq!(catalogue.read("loader/ldlinux.c32").as_deref(), Ok("library"));
    assert_eq!(catalogue.read("pxelinux.0").as_deref(), Ok("everybody's"));
    for absent in ["linux", "test/tool.efi", "test", "usual/pxelinux.0", "loader/usr/lib/ipxe/snponly.efi"] {
        assert!(catalogue.read(absent).is_err(), "{absent}");
    }
}

#[test]
fn what_each_file_is_in_a_boot_is_known() {
    let place = place();
    let catalogue = Catalogue::open(config(&place)).unwrap();
    for (name, role) in [
        ("test/linux", Role::Other),
        ("test/initrd", Role::Payload),
        ("tree/tool.efi", Role::Payload),
        ("tree/grubx64.efi", Role::Loader),
        ("loader/pxelinux.0", Role::Loader),
        ("loader/ldlinux.c32", Role::Other),
        ("pxelinux.0", Role::Loader),
    ] {
        assert_eq!(catalogue.load(&super::name(name)).unwrap().role(), role, "{name}");
    }
}

/// A file that the configuration names as the last one is the payload, although its name looks like a configuration or a
/// loader. Else such a boot would never count.
#[test]
fn a_named_payload_is_one_whatever_its_name() {
    let place = Place::new(&[
        ("kernel/linux", "kernel"),
        ("kernel/initrd.gz", "initrd"),
        ("kernel/preseed.cfg", "answers"),
        ("tree/bootx64.efi", "tool"),
    ]);
    let root = |path: &str| Some((place.path(path), Links::FollowAdministrators));
    let kernel = ImageSpec {
        name: "installer".into(),
        root: root("kernel"),
        kernel: Some("linux".into()),
        initrd: vec!["initrd.gz".into(), "preseed.cfg".into()],
        ..ImageSpec::default()
    };
    let tool = ImageSpec {
        name: "tool".into(),
        root: root("tree"),
        payload: Some("bootx64.efi".into()),
        ..ImageSpec::default()
    };
    let config = Config { image_specs: vec![kernel, tool], system: place.path(""), ..place.tree() };
    let catalogue = Catalogue::open(config).unwrap();
    for name in ["installer/preseed.cfg", "tool/bootx64.efi"] {
        assert_eq!(catalogue.load(&super::name(name)).unwrap().role(), Role::Payload, "{name}");
    }
}

#[test]
fn texts_are_written_for_the_machine_in_the_name_or_the_one_that_asks() {
    let place = place();
    let catalogue = Catalogue::open(config(&place)).unwrap();
    let load = |file: &str, asks: Option<&str>| {
        let found = catalogue.load_for(&name(file), HERE, |mac| {
            assert!(mac.is_none_or(|mac| mac == MAC), "{mac:?}");
            asks.map(facts)
        });
        found.map(|image| text(&image).to_owned())
    };
    let script = load("pxed/52-54-00-99-00-10/boot.ipxe", Some("test")).unwrap();
    assert!(script.contains("kernel /test/linux initrd=initrd report=http://10.99.0.2:8080"), "{script}");
    // iPXE requests this file before it has an address. After a refusal it asks by DHCP, and the reply names
    // the script above.
    for place in ["autoexec.ipxe", "test/autoexec.ipxe", "loader/autoexec.ipxe"] {
        assert_eq!(load(place, Some("test")), Err(Refusal::NotFound), "{place}");
    }
    let config = load("loader/pxed/52-54-00-99-00-10/pxelinux.cfg", Some("test")).unwrap();
    assert!(config.contains("linux ::test/linux"), "{config}");
    assert!(load("grub/grub.cfg", Some("test")).unwrap().contains("linux /test/linux"));
    // No machine with that address is known, or its image has no such text.
    assert_eq!(load("pxed/52-54-00-99-00-10/boot.ipxe", None), Err(Refusal::NotFound));
    assert_eq!(load("pxed/52-54-00-99-00-10/boot.ipxe", Some("tree")), Err(Refusal::NotFound));
    assert_eq!(load("grub/grub.cfg", Some("gone")), Err(Refusal::NotFound));
}

#[test]
fn a_real_file_for_one_machine_comes_before_what_we_would_write() {
    let place = place();
    let catalogue = Catalogue::open(config(&place)).unwrap();
    let found = catalogue.load_for(&name("pxelinux.cfg/01-52-54-00-99-00-20"), HERE, |_| Some(facts("test")));
    assert_eq!(text(&found.unwrap()), "a file for one machine");
}

#[test]
fn workers_are_sent_to_the_loader_for_what_is_written() {
    let place = Place::new(&[("usr/lib/ipxe/snponly.efi", "ipxe"), ("kernel/linux", "kernel")]);
    let image_spec = ImageSpec { name: "test".into(), ipxe: Some("#!ipxe\n".into()), ..ImageSpec::default() };
    let config = Config { image_specs: vec![image_spec], system: place.path(""), ..place.system() };
    let catalogue = Catalogue::open(config).unwrap();
    assert!(matches!(catalogue.lookup(&name("pxed/52-54-00-99-00-10/boot.ipxe")), Lookup::NotLoaded));
    assert!(matches!(catalogue.lookup(&name("anything")), Lookup::Refused(Refusal::NotFound)));
    assert_eq!(catalogue.ready("loader/snponly.efi").as_deref(), Some("ipxe"));
}

#[test]
fn what_an_image_lacks_is_said() {
    let place = place();
    let mut config = config(&place);
    config.image_specs[0].initrd.push("more".into());
    config.image_specs.push(ImageSpec {
        name: "bare".into(),
        root: config.image_specs[0].root.clone(),
        ..ImageSpec::default()
    });
    let catalogue = Catalogue::open(config).unwrap();
    let missing = catalogue.missing();
    assert_eq!(missing.len(), 2, "{missing:#?}");
    assert!(missing[0].contains("`test`: more: no such file"), "{missing:?}");
    assert!(missing[1].contains("`bare` has no boot program"), "{missing:?}");
}

/// A rule may send machines to their own disks although there is no image.
#[test]
fn local_boot_needs_no_image() {
    let place = place();
    let catalogue = Catalogue::open(place.tree()).unwrap();
    let file = name("pxed/52-54-00-99-00-10/boot.ipxe");
    assert!(matches!(catalogue.lookup(&file), Lookup::NotLoaded));
    let local = MachineFacts { image: None, local: true, ..facts("") };
    let script = catalogue.load_for(&file, HERE, |_| Some(local)).unwrap();
    assert!(text(&script).contains("exit 1"));
    // Then only the tree decides about names that boot loaders look for by themselves.
    assert_eq!(
        catalogue.load_for(&name("grub/grub.cfg"), HERE, |_| unreachable!()).err(),
        Some(Refusal::NotFound)
    );
}
