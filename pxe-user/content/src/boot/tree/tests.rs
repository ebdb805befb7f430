//! These tests create files and links of several owners, so they need root, which CI has. Without root they
//! fail.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};

use tempfile::TempDir;

use super::*;

const STRANGER: u32 = 54321;
const ADMIN: u32 = 54322;

struct Place {
    dir: TempDir,
}

impl Place {
    /// `srv` is the root of the tree. `srv-secret` is outside, but its name starts with the same letters.
    /// `out` is outside as well.
    fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests change owners: run them as root");
        let place = Self { dir: TempDir::new().unwrap() };
        for (path, text) in [
            ("srv/boot/kernel", "kernel"),
            ("srv/pxelinux.0", "loader"),
            ("srv-secret/file", "secret"),
            ("out/lib/module", "module"),
        ] {
            place.file(path, text);
        }
        place
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn file(&self, path: &str, text: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), text).unwrap();
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o644)).unwrap();
    }

    fn link(&self, path: &str, target: impl AsRef<Path>, owner: u32) {
        symlink(target, self.path(path)).unwrap();
        lchown(self.path(path), Some(owner), None).unwrap();
    }

    fn read_with(&self, links: Links, name: &str) -> Result<String, Refusal> {
        let tree = Tree::open(&self.path("srv"), links, Readers::Everybody).unwrap();
        let (file, _) = tree.find(name.as_bytes())?.open()?;
        Ok(std::io::read_to_string(file).unwrap())
    }

    fn read(&self, name: &str) -> Result<String, Refusal> {
        self.read_with(Links::FollowAdministrators, name)
    }
}

#[test]
fn plain_files_are_found_and_nothing_else() {
    let place = Place::new();
    assert_eq!(place.read("pxelinux.0").as_deref(), Ok("loader"));
    assert_eq!(place.read("boot/kernel").as_deref(), Ok("kernel"));
    assert_eq!(place.read("boot/absent"), Err(Refusal::NotFound));
    assert_eq!(place.read("absent/kernel"), Err(Refusal::NotFound));
    assert_eq!(place.read("pxelinux.0/kernel"), Err(Refusal::NotFound));
    assert_eq!(place.read("boot"), Err(Refusal::NotAFile));
}

/// From docs/clients.md section 5 line 8: the software of CVE-2026-21620 compared paths as strings.
#[test]
fn a_directory_whose_name_begins_like_the_root_is_not_inside() {
    let place = Place::new();
    place.link("srv/secret", "../srv-secret/file", 0);
    place.link("srv/absolute", place.path("srv-secret/file"), 0);
    for name in ["secret", "absolute"] {
        assert_eq!(place.read_with(Links::Stay, name), Err(Refusal::LinkLeaves), "{name}");
        assert_eq!(place.read(name).as_deref(), Ok("secret"), "{name}");
    }
}

#[test]
fn the_administrators_links_are_followed_and_a_strangers_are_not() {
    let place = Place::new();
    for (owner, allowed) in [(0, true), (STRANGER, false)] {
        for (name, target) in [
            ("inside", "boot/kernel".into()),
            ("inside-absolute", place.path("srv/boot/kernel")),
            ("outside", "../out/lib/module".into()),
            ("outside-absolute", place.path("out/lib/module")),
        ] {
            let path = format!("{owner}-{name}");
            place.link(&format!("srv/{path}"), &target, owner);
            assert_eq!(place.read(&path).err(), (!allowed).then_some(Refusal::LinkOwner), "{path}");
        }
        place.link(&format!("srv/{owner}-dir"), "../out", owner);
        let through = place.read(&format!("{owner}-dir/lib/module"));
        assert_eq!(through.ok().as_deref(), allowed.then_some("module"));
    }
}

#[test]
fn the_owner_of_the_root_is_an_administrator_too() {
    let place = Place::new();
    place.link("srv/link", "../out/lib/module", ADMIN);
    assert_eq!(place.read("link"), Err(Refusal::LinkOwner));
    lchown(place.path("srv"), Some(ADMIN), None).unwrap();
    assert_eq!(place.read("link").as_deref(), Ok("module"));
    place.link("srv/strangers", "../out/lib/module", STRANGER);
    assert_eq!(place.read("strangers"), Err(Refusal::LinkOwner));
}

/// A stranger owns the directory to which the administrator's link leads. A link of the stranger there is not
/// followed.
#[test]
fn a_strangers_link_behind_the_administrators_is_refused() {
    let place = Place::new();
    place.file("home/real", "real");
    lchown(place.path("home"), Some(STRANGER), None).unwrap();
    place.link("srv/file", "../home/image", 0);
    place.link("srv/dir", "../home", 0);
    place.link("home/image", "/etc/passwd", STRANGER);
    assert_eq!(place.read("file"), Err(Refusal::LinkOwner));
    assert_eq!(place.read("dir/image"), Err(Refusal::LinkOwner));
    assert_eq!(place.read("dir/real").as_deref(), Ok("real"));
}

#[test]
fn with_no_links_only_what_ends_inside_is_served() {
    let place = Place::new();
    place.link("srv/inside", "boot/kernel", 0);
    place.link("srv/inside-absolute", place.path("srv/boot/kernel"), 0);
    place.link("srv/around", "../srv/boot/../pxelinux.0", 0);
    place.link("srv/outside", "../out/lib/module", 0);
    place.link("srv/dir", "../out", 0);
    place.link("srv/strangers", "boot/kernel", STRANGER);
    assert_eq!(place.read_with(Links::Stay, "inside").as_deref(), Ok("kernel"));
    assert_eq!(place.read_with(Links::Stay, "inside-absolute").as_deref(), Ok("kernel"));
    assert_eq!(place.read_with(Links::Stay, "around").as_deref(), Ok("loader"));
    assert_eq!(place.read_with(Links::Stay, "outside"), Err(Refusal::LinkLeaves));
    assert_eq!(place.read_with(Links::Stay, "dir/lib/module"), Err(Refusal::LinkLeaves));
    assert_eq!(place.read_with(Links::Stay, "strangers"), Err(Refusal::LinkOwner));
}

#[test]
fn dot_dot_in_a_link_goes_up_from_where_the_link_is() {
    let place = Place::new();
    place.file("srv/a/b/c", "c");
    place.link("srv/a/b/up", "../../boot/kernel", 0);
    place.link("srv/far", "a/b", 0);
    place.link("srv/a/top", "../../../../../../../../../../../../../../../etc/hostname", 0);
    assert_eq!(place.read("a/b/up").as_deref(), Ok("kernel"));
    assert_eq!(place.read("far/up").as_deref(), Ok("kernel"), "from a/b, not from where `far` is");
    assert_eq!(place.read("a/top").ok(), fs::read_to_string("/etc/hostname").ok());
    assert_eq!(place.read_with(Links::Stay, "a/top"), Err(Refusal::LinkLeaves));
    place.link("srv/a/b/near", "../b/c", 0);
    assert_eq!(place.read_with(Links::Stay, "a/b/near").as_deref(), Ok("c"), "up is not out");
}

#[test]
fn forty_links_are_followed_and_a_loop_ends() {
    let place = Place::new();
    place.link("srv/0", "pxelinux.0", 0);
    for i in 1..=40 {
        place.link(&format!("srv/{i}"), format!("{}", i - 1), 0);
    }
    place.link("srv/loop", "loop", 0);
    place.link("srv/dangling", "absent", 0);
    place.link("srv/twice", "dangling", 0);
    place.link("srv/through", "boot", 0);
    place.link("srv/deep", "boot/absent/file", 0);
    assert_eq!(place.read("39").as_deref(), Ok("loader"));
    assert_eq!(place.read("40"), Err(Refusal::LinkLoop));
    assert_eq!(place.read("loop"), Err(Refusal::LinkLoop));
    for dangling in ["dangling", "twice", "deep", "dangling/below"] {
        assert_eq!(place.read(dangling), Err(Refusal::LinkDangles), "{dangling}");
    }
    assert_eq!(place.read("through/kernel").as_deref(), Ok("kernel"));
    assert_eq!(place.read("through/absent"), Err(Refusal::NotFound), "the link itself leads somewhere");
}

/// From docs/clients.md section 5 line 16. A normal open of a FIFO would wait for a writer.
#[test]
fn only_regular_files_are_opened() {
    use rustix::fs::{makedev, mknodat};
    let place = Place::new();
    let mode = Mode::from_raw_mode(0o666);
    mknodat(CWD, place.path("srv/fifo"), FileType::Fifo, mode, 0).unwrap();
    mknodat(CWD, place.path("srv/zero"), FileType::CharacterDevice, mode, makedev(1, 5)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.path("srv/socket")).unwrap();
    place.link("srv/device", "/dev/zero", 0);
    for name in ["fifo", "zero", "socket", "device", "boot"] {
        assert_eq!(place.read(name), Err(Refusal::NotAFile), "{name}");
    }
}

/// Root may read every file, so the daemon itself checks for the permission that tftpd-hpa requires.
#[test]
fn a_file_must_be_readable_for_everybody() {
    let place = Place::new();
    let path = place.path("srv/pxelinux.0");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    place.link("srv/link", "pxelinux.0", 0);
    assert_eq!(place.read("pxelinux.0"), Err(Refusal::NotReadable));
    assert_eq!(place.read("link"), Err(Refusal::NotReadable));
    let tree = Tree::open(&place.path("srv"), Links::Stay, Readers::Daemon).unwrap();
    assert!(tree.find(b"pxelinux.0").unwrap().open().is_ok());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    assert_eq!(place.read("pxelinux.0").as_deref(), Ok("loader"));
}

/// The file that is opened is the one that was found, even if its name leads to another file by now.
#[test]
fn a_file_that_was_replaced_after_it_was_judged_is_not_opened() {
    let place = Place::new();
    let tree = Tree::open(&place.path("srv"), Links::Stay, Readers::Everybody).unwrap();
    let found = tree.find(b"pxelinux.0").unwrap();
    fs::remove_file(place.path("srv/pxelinux.0")).unwrap();
    place.link("srv/pxelinux.0", "../srv-secret/file", 0);
    assert_eq!(found.open().map(drop), Err(Refusal::Changing));
    fs::rename(place.path("srv-secret/file"), place.path("srv/pxelinux.0")).unwrap();
    assert_eq!(found.open().map(drop), Err(Refusal::Changing));
}

#[test]
fn a_magic_link_of_proc_leads_nowhere() {
    let place = Place::new();
    let secret = fs::File::open(place.path("srv-secret/file")).unwrap();
    fs::remove_file(place.path("srv-secret/file")).unwrap();
    use std::os::fd::AsRawFd as _;
    let magic = format!("/proc/{}/fd/{}", std::process::id(), secret.as_raw_fd());
    assert_eq!(fs::read_to_string(&magic).unwrap(), "secret");
    place.link("srv/magic", magic, 0);
    assert_eq!(place.read("magic"), Err(Refusal::LinkDangles));
}

#[test]
fn the_trail_names_every_entry_on_the_way_and_the_path_is_the_true_one() {
    let place = Place::new();
    place.link("srv/link", "../out/lib/module", 0);
    let tree = Tree::open(&place.path("srv"), Links::FollowAdministrators, Readers::Everybody).unwrap();
    let found = tree.find(b"link").unwrap();
    let names: Vec<_> = found.trail.iter().map(|step| String::from_utf8_lossy(&step.name)).collect();
    assert_eq!(names, ["link", "out", "lib", "module"]);
    assert_eq!(found.path(), place.path("out/lib/module").canonicalize().unwrap());
}

#[test]
fn a_root_must_be_a_directory() {
    let place = Place::new();
    let open = |path: &str| Tree::open(&place.path(path), Links::Stay, Readers::Everybody).map(drop);
    assert_eq!(open("srv/pxelinux.0"), Err(Errno::NOTDIR));
    assert_eq!(open("absent"), Err(Errno::NOENT));
    place.link("root", "srv", STRANGER);
    assert_eq!(open("root"), Ok(()));
}
