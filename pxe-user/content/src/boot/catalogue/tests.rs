//! Tests of whole catalogues on temporary directories. They need no root: a tree follows links that belong to
//! root or to the owner of its root directory, and here one user owns both. The tests of `boot::tree` change
//! owners.

mod changes;
mod images;
mod installed;

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use pxe_proto::dhcp::{BootFile, Program, Text};

use super::*;

struct Place(TempDir);

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let place = Self(TempDir::new().unwrap());
        fs::create_dir(place.path("srv")).unwrap();
        for (path, text) in files {
            place.write(path, text);
        }
        place
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), text).unwrap();
    }

    fn tree(&self) -> Config {
        let source = Source::Tree { root: self.path("srv"), links: Links::FollowAdministrators };
        Config { source, ..Config::default() }
    }

    fn system(&self) -> Config {
        Config { source: Source::Virtual { system: self.path("") }, ..Config::default() }
    }

    fn open(&self) -> Catalogue {
        Catalogue::open(self.tree()).unwrap()
    }

    fn error(config: Config) -> CatalogueError {
        Catalogue::open(config).map(drop).unwrap_err()
    }
}

fn name(text: &str) -> FileName {
    text.parse().unwrap()
}

fn text(image: &Image) -> &str {
    std::str::from_utf8(image.bytes()).unwrap()
}

impl Catalogue {
    fn read(&self, file: &str) -> Result<String, Refusal> {
        self.load(&name(file)).map(|image| text(&image).to_owned())
    }

    /// What a request gets that does not wait for the loader.
    fn ready(&self, file: &str) -> Option<String> {
        match self.lookup(&name(file)) {
            Lookup::Ready(image) => Some(text(&image).to_owned()),
            Lookup::NotLoaded | Lookup::Refused(_) => None,
        }
    }

    fn updated(&self) -> Vec<FileName> {
        let changes = self.changed();
        assert_eq!((changes.removed, changes.unsettled), (vec![], vec![]));
        changes.updated
    }
}

fn program(file: &str, config: Option<&str>) -> Program {
    let config = config.map(|config| Text::new(config).unwrap());
    Program { config, ..BootFile::new(file).unwrap().into() }
}

fn programs(by_arch: &[(Arch, &str, Option<&str>)], script: Option<&str>) -> Programs {
    let mut programs = Programs::default();
    for (arch, file, config) in by_arch {
        programs.set(*arch, program(file, *config));
    }
    if let Some(script) = script {
        programs.set_ipxe(program(script, None));
    }
    programs
}

/// A tree that an administrator made by hand for PXELINUX and memtest86+, with stand-ins for the packages'
/// files.
fn image_spec() -> Place {
    let config = "default memtest86\nprompt 1\ntimeout 15\n\nlabel memtest86\n  menu label Memtest86+ 5.01\n  \
                  kernel /memtest/memtest86+-5.01\n";
    let place = Place::new(&[
        ("usr/lib/PXELINUX/pxelinux.0", "loader"),
        ("usr/lib/syslinux/modules/bios/ldlinux.c32", "module"),
        ("root/memtest86+-5.01.bin", "memtest"),
    ]);
    fs::create_dir_all(place.path("srv/memtest")).unwrap();
    fs::copy(place.path("root/memtest86+-5.01.bin"), place.path("srv/memtest/memtest86+-5.01")).unwrap();
    place.write("srv/pxelinux.cfg/default", config);
    symlink(place.path("usr/lib/PXELINUX/pxelinux.0"), place.path("srv/pxelinux.0")).unwrap();
    symlink(place.path("usr/lib/syslinux/modules/bios/ldlinux.c32"), place.path("srv/ldlinux.c32")).unwrap();
    place
}

#[test]
fn the_recipes_tree_is_served_as_it_stands() {
    let place = image_spec();
    let catalogue = place.open();
    // These are the requests of PXELINUX in its order. iPXE gets the same, because there is no script.
    assert_eq!(catalogue.read("pxelinux.0").as_deref(), Ok("loader"));
    assert_eq!(catalogue.read("ldlinux.c32").as_deref(), Ok("module"));
    assert!(catalogue.read("pxelinux.cfg/default").unwrap().contains("kernel /memtest/memtest86+-5.01"));
    assert_eq!(catalogue.read("/memtest/memtest86+-5.01").as_deref(), Ok("memtest"));
    assert_eq!(catalogue.read("pxelinux.cfg/C0A8B2"), Err(Refusal::NotFound));
    let expected = programs(&[(Arch::BIOS, "pxelinux.0", Some("pxelinux.cfg/default"))], None);
    assert_eq!(catalogue.programs(), expected);
    assert_eq!(catalogue.missing().len(), 2, "x64 and IA32: {:?}", catalogue.missing());
}

/// With option 209 PXELINUX would not look for a machine's own configuration.
#[test]
fn machines_with_a_configuration_of_their_own_find_it() {
    for own in ["01-88-99-aa-bb-cc-dd", "C0A8025B", "C0", "b8945908-d6a6-41a9-611d-74a6ab80b83d"] {
        let place = image_spec();
        let catalogue = place.open();
        place.write(&format!("srv/pxelinux.cfg/{own}"), "");
        assert_eq!(catalogue.programs(), programs(&[(Arch::BIOS, "pxelinux.0", None)], None), "{own}");
    }
    for other in ["graphics.conf", "default.bak", "c0a8025b", "C0A8025B0"] {
        let place = image_spec();
        place.write(&format!("srv/pxelinux.cfg/{other}"), "");
        let config = Some("pxelinux.cfg/default");
        assert_eq!(place.open().programs(), programs(&[(Arch::BIOS, "pxelinux.0", config)], None), "{other}");
    }
}

#[test]
fn usual_names_scripts_and_given_boot_files_make_the_programs() {
    let place = Place::new(&[
        ("srv/snponly.efi", ""),
        ("srv/grubx64.efi", ""),
        ("srv/EFI/BOOT/BOOTAA64.EFI", ""),
        ("srv/bios/lpxelinux.0", ""),
        ("srv/bios/pxelinux.cfg/default", ""),
        ("srv/autoexec.ipxe", ""),
    ]);
    let boot_files = vec![(Arch::BIOS, "/bios/lpxelinux.0".into()), (Arch(9), "snponly.efi".into())];
    let catalogue = Catalogue::open(Config { boot_files, ..place.tree() }).unwrap();
    let expected = programs(
        &[
            (Arch::BIOS, "bios/lpxelinux.0", Some("pxelinux.cfg/default")),
            (Arch::X64, "grubx64.efi", None),
            (Arch(9), "snponly.efi", None),
            (Arch::ARM64, "EFI/BOOT/BOOTAA64.EFI", None),
        ],
        Some("autoexec.ipxe"),
    );
    for arch in [0, 6, 7, 9, 10, 11].map(Arch) {
        assert_eq!(catalogue.programs().get(arch), expected.get(arch), "{arch}");
    }
    place.write("srv/boot.ipxe", "");
    assert_ne!(catalogue.programs(), programs(&[], None));
    assert!(format!("{:?}", catalogue.programs()).contains("boot.ipxe"), "preferred once it is there");
}

#[test]
fn what_cannot_be_served_is_an_error_with_its_remedy() {
    let place = Place::new(&[("srv/readme", "")]);
    let tree = |root: &str| Source::Tree { root: place.path(root), links: Links::Stay };
    for root in ["absent", "srv/readme"] {
        let error = Place::error(Config { source: tree(root), ..Config::default() });
        assert!(matches!(error, CatalogueError::Root { .. }), "{error}");
        assert!(error.to_string().contains("--root"), "{error}");
    }
    let error = Place::error(place.tree());
    assert!(matches!(error, CatalogueError::NoBootProgram { .. }), "{error}");
    assert!(error.to_string().contains("--boot-file"), "{error}");
    let long = "x".repeat(128);
    place.write(&format!("srv/{long}"), "");
    for file in ["absent", "../srv/readme", "", long.as_str()] {
        let boot_files = vec![(Arch::X64, file.to_owned())];
        let error = Place::error(Config { boot_files, ..place.tree() });
        assert!(matches!(error, CatalogueError::BootFile { .. }), "{error}");
    }
    let boot_files = vec![(Arch::X64, "readme".to_owned())];
    assert!(Catalogue::open(Config { boot_files, ..place.tree() }).is_ok());
    assert_eq!(Place::error(place.system()), CatalogueError::NothingInstalled);
}

#[test]
fn entries_list_everything_with_its_hash_or_the_reason() {
    let place = image_spec();
    place.write("srv/back\\slash", "");
    symlink(".", place.path("srv/self")).unwrap();
    symlink("absent", place.path("srv/dangling")).unwrap();
    let entries = place.open().entries();
    let names: Vec<_> = entries.iter().map(|entry| entry.name.to_string()).collect();
    let expected =
        ["dangling", "ldlinux.c32", "memtest/memtest86+-5.01", "pxelinux.0", "pxelinux.cfg/default"];
    assert_eq!(names, expected);
    assert_eq!(entries[0].content, Err(Refusal::LinkDangles));
    let (size, digest) = entries[3].content.unwrap();
    assert_eq!(size, 6);
    // The expected hash is the output of `printf loader | sha256sum`.
    assert_eq!(digest.to_string(), "d47712cceb4c780603026e6325221c1bcff90679ebc076baa51c71ebe796717c");
    let path = place.path("usr/lib/PXELINUX/pxelinux.0").canonicalize().unwrap();
    assert_eq!(entries[3].origin, Origin::File(path));

    let system = Place::new(&installed::DEBIAN);
    let entries = Catalogue::open(system.system()).unwrap().entries();
    assert_eq!(entries.len(), 8);
    assert!(entries.iter().all(|entry| entry.content.is_ok()));
    assert_eq!(entries.iter().filter(|entry| entry.origin == Origin::Generated).count(), 2);
}
