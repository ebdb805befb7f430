//! Whole catalogues on directories of their own. Links must belong to an administrator, so run these as root.

use std::fs;
use std::os::unix::fs::symlink;
use std::thread;

use tempfile::TempDir;

use crate::dhcp::{BootFile, Program, Text};

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

    /// What a request gets that does not wait.
    fn ready(&self, file: &str) -> Option<String> {
        match self.lookup(&name(file)) {
            Lookup::Ready(image) => Some(text(&image).to_owned()),
            Lookup::Absent | Lookup::Refused(_) => None,
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

/// The steps of recipe-to-replace.md, with stand-ins for the packages' files.
fn recipe() -> Place {
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
    let place = recipe();
    let catalogue = place.open();
    // What PXELINUX asks for, in its order; iPXE gets the same, since there is no script.
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
        let place = recipe();
        let catalogue = place.open();
        place.write(&format!("srv/pxelinux.cfg/{own}"), "");
        assert_eq!(catalogue.programs(), programs(&[(Arch::BIOS, "pxelinux.0", None)], None), "{own}");
    }
    for other in ["graphics.conf", "default.bak", "c0a8025b", "C0A8025B0"] {
        let place = recipe();
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

/// design.md: old transfers end on the old bytes, new ones start on the new.
#[test]
fn a_held_image_keeps_its_bytes_whatever_happens_to_the_file() {
    let place = Place::new(&[("srv/pxelinux.0", "first")]);
    let catalogue = place.open();
    let first = catalogue.load(&name("pxelinux.0")).unwrap();

    place.write("srv/pxelinux.0", "other");
    assert_eq!(catalogue.ready("pxelinux.0").as_deref(), Some("first"), "until inotify was asked");
    assert_eq!(catalogue.updated(), [name("pxelinux.0")]);
    assert_eq!(catalogue.ready("pxelinux.0").as_deref(), Some("other"));

    let file = fs::OpenOptions::new().write(true).open(place.path("srv/pxelinux.0")).unwrap();
    file.set_len(0).unwrap();
    drop(file);
    assert_eq!(catalogue.updated(), [name("pxelinux.0")]);
    assert_eq!(catalogue.ready("pxelinux.0").as_deref(), Some(""));

    place.write("srv/new", "renamed over");
    fs::rename(place.path("srv/new"), place.path("srv/pxelinux.0")).unwrap();
    assert_eq!(catalogue.updated(), [name("pxelinux.0")]);
    assert_eq!(catalogue.ready("pxelinux.0").as_deref(), Some("renamed over"));

    fs::remove_file(place.path("srv/pxelinux.0")).unwrap();
    assert_eq!(catalogue.changed().removed, [(name("pxelinux.0"), Refusal::NotFound)]);
    assert_eq!(catalogue.ready("pxelinux.0"), None);
    assert_eq!(catalogue.read("pxelinux.0"), Err(Refusal::NotFound));

    place.write("srv/pxelinux.0", "again");
    assert_eq!(catalogue.read("pxelinux.0").as_deref(), Ok("again"), "no memory of its absence");
    assert_eq!(text(&first), "first");
}

/// Two versions within one tick of the file system's clock, of one size, differ in nothing that stat shows.
#[test]
fn a_change_that_stat_does_not_show_is_noticed() {
    let place = Place::new(&[("srv/pxelinux.0", "0000")]);
    let catalogue = place.open();
    for i in 1..200 {
        let version = format!("{i:04}");
        catalogue.read("pxelinux.0").unwrap();
        place.write("srv/pxelinux.0", &version);
        assert_eq!(catalogue.updated(), [name("pxelinux.0")]);
        assert_eq!(catalogue.ready("pxelinux.0"), Some(version));
    }
}

#[test]
fn a_link_that_is_turned_and_a_target_that_changes_are_noticed() {
    let place = Place::new(&[("v1/kernel", "one"), ("v2/kernel", "two"), ("srv/pxelinux.0", "")]);
    symlink(place.path("v1"), place.path("current")).unwrap();
    symlink("../current/kernel", place.path("srv/kernel")).unwrap();
    let catalogue = place.open();
    assert_eq!(catalogue.read("kernel").as_deref(), Ok("one"));

    place.write("v1/kernel", "one and a half");
    assert_eq!(catalogue.updated(), [name("kernel")]);
    assert_eq!(catalogue.ready("kernel").as_deref(), Some("one and a half"));

    symlink(place.path("v2"), place.path("next")).unwrap();
    fs::rename(place.path("next"), place.path("current")).unwrap();
    assert_eq!(catalogue.updated(), [name("kernel")]);
    assert_eq!(catalogue.ready("kernel").as_deref(), Some("two"));

    place.write("v1/kernel", "nobody's any more");
    assert_eq!(catalogue.updated(), []);
    fs::rename(place.path("v2"), place.path("gone")).unwrap();
    assert_eq!(catalogue.changed().removed, [(name("kernel"), Refusal::NotFound)]);
}

#[test]
fn other_files_in_a_watched_directory_are_not_read_again() {
    let place = Place::new(&[("srv/pxelinux.0", "loader")]);
    let catalogue = place.open();
    let image = catalogue.load(&name("pxelinux.0")).unwrap();
    place.write("srv/log", "busy");
    fs::remove_file(place.path("srv/log")).unwrap();
    assert_eq!(catalogue.updated(), []);
    assert!(Arc::ptr_eq(&image, &catalogue.load(&name("pxelinux.0")).unwrap()));
}

#[test]
fn a_change_without_an_event_is_noticed_by_looking_again() {
    let place = Place::new(&[("srv/pxelinux.0", "loader"), ("srv/x", "x")]);
    let mut catalogue = place.open();
    catalogue.watcher = None;
    catalogue.read("pxelinux.0").unwrap();
    catalogue.read("x").unwrap();
    assert_eq!(catalogue.recheck(), Changes::default());
    place.write("srv/pxelinux.0", "longer than before");
    fs::remove_file(place.path("srv/x")).unwrap();
    assert_eq!(catalogue.changed(), Changes::default());
    let changes = catalogue.recheck();
    assert_eq!(changes.updated, [name("pxelinux.0")]);
    assert_eq!(changes.removed, [(name("x"), Refusal::NotFound)]);
    place.write("srv/pxelinux.0", "different again");
    assert_eq!(catalogue.read("pxelinux.0").as_deref(), Ok("different again"), "loading looks, too");
}

#[test]
fn the_descriptor_is_readable_when_something_changed() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let place = Place::new(&[("srv/pxelinux.0", "loader")]);
    let catalogue = place.open();
    catalogue.read("pxelinux.0").unwrap();
    let readable = || {
        let fd = catalogue.fd().unwrap();
        poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&Timespec::default())).unwrap() == 1
    };
    assert!(!readable());
    place.write("srv/pxelinux.0", "new");
    assert!(readable());
    catalogue.changed();
    assert!(!readable());
}

#[test]
fn a_file_that_changes_while_it_is_copied_is_refused() {
    let place = Place::new(&[("file", "before")]);
    let memory = Memory::new(1 << 20);
    let file = fs::File::open(place.path("file")).unwrap();
    for change in ["before and longer", "b"] {
        let before = rustix::fs::fstat(&file).unwrap();
        place.write("file", change);
        let copy = Image::copy(name("file"), &file, &before, place.path("file"), &memory);
        assert_eq!(copy.map(drop), Err(Refusal::Changing), "{change}");
    }
    assert_eq!(memory.used(), 0);
}

#[test]
fn memory_is_bounded_and_what_nobody_uses_makes_room() {
    let sixty = "x".repeat(60);
    let files =
        [("srv/pxelinux.0", ""), ("srv/a", &sixty), ("srv/b", &sixty), ("srv/c", "12345678901234567890")];
    let place = Place::new(&files);
    place.write("srv/large", &"x".repeat(101));
    let catalogue = Catalogue::open(Config { memory: Some(100), ..place.tree() }).unwrap();
    assert_eq!(catalogue.read("large"), Err(Refusal::TooLarge));
    let a = catalogue.load(&name("a")).unwrap();
    assert_eq!(catalogue.read("b"), Err(Refusal::OutOfMemory), "a is being sent");
    catalogue.read("c").unwrap();
    drop(a);
    assert!(catalogue.ready("a").is_some(), "a is used later than c");
    assert_eq!(catalogue.read("b"), Ok(sixty));
    // c alone would not have been enough, so both went.
    assert_eq!((catalogue.ready("a"), catalogue.ready("c")), (None, None));
    catalogue.read("c").unwrap();
    assert_eq!(catalogue.store.memory().used(), 80);
    place.write("srv/d", &"x".repeat(25));
    assert!(catalogue.ready("b").is_some());
    catalogue.read("d").unwrap();
    assert!(
        catalogue.ready("b").is_some() && catalogue.ready("c").is_none(),
        "the least recently used one went"
    );
}

/// Readers and the loader at once: a reader sees one version or the other, whole.
#[test]
fn versions_are_never_mixed() {
    let place = Place::new(&[("srv/pxelinux.0", &"0".repeat(100_000))]);
    let catalogue = place.open();
    let file = name("pxelinux.0");
    catalogue.load(&file).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let Lookup::Ready(image) = catalogue.lookup(&file) else { panic!("disappeared") };
                assert_eq!(image.len(), 100_000);
                assert!(image.bytes().iter().all(|byte| *byte == image.bytes()[0]));
            }
        });
        for digit in "123456789".repeat(5).chars() {
            place.write("srv/new", &String::from(digit).repeat(100_000));
            fs::rename(place.path("srv/new"), place.path("srv/pxelinux.0")).unwrap();
            assert_eq!(catalogue.updated(), [file]);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

const DEBIAN: [(&str, &str); 6] = [
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
    // Loaded before anybody asks.
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
    assert_eq!(catalogue.ready("boot.ipxe"), catalogue.ready("autoexec.ipxe"));
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
    use super::super::discover::*;
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
    // As dpkg does it.
    place.write("boot/memtest86+x64.efi.dpkg-new", "newer");
    fs::rename(place.path("boot/memtest86+x64.efi.dpkg-new"), place.path("boot/memtest86+x64.efi")).unwrap();
    assert_eq!(catalogue.updated(), [name("memtest86+x64.efi")]);
    assert_eq!(catalogue.ready("memtest86+x64.efi").as_deref(), Some("newer"));
    fs::remove_file(place.path("boot/memtest86+x64.efi")).unwrap();
    catalogue.changed();
    assert!(matches!(catalogue.lookup(&name("memtest86+x64.efi")), Lookup::Absent), "it may come back");
}

#[test]
fn entries_list_everything_with_its_hash_or_the_reason() {
    let place = recipe();
    place.write("srv/back\\slash", "");
    symlink(".", place.path("srv/self")).unwrap();
    symlink("absent", place.path("srv/dangling")).unwrap();
    let entries = place.open().entries();
    let names: Vec<_> = entries.iter().map(|entry| entry.name.to_string()).collect();
    let expected =
        ["dangling", "ldlinux.c32", "memtest/memtest86+-5.01", "pxelinux.0", "pxelinux.cfg/default"];
    assert_eq!(names, expected);
    assert_eq!(entries[0].content, Err(Refusal::NotFound));
    let (size, digest) = entries[3].content.unwrap();
    assert_eq!(size, 6);
    // printf loader | sha256sum
    assert_eq!(digest.to_string(), "d47712cceb4c780603026e6325221c1bcff90679ebc076baa51c71ebe796717c");
    let path = place.path("usr/lib/PXELINUX/pxelinux.0").canonicalize().unwrap();
    assert_eq!(entries[3].origin, Origin::File(path));

    let system = Place::new(&DEBIAN);
    let entries = Catalogue::open(system.system()).unwrap().entries();
    assert_eq!(entries.len(), 9);
    assert!(entries.iter().all(|entry| entry.content.is_ok()));
    assert_eq!(entries.iter().filter(|entry| entry.origin == Origin::Generated).count(), 3);
}
