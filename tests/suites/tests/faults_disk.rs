//! A full disk under the state and the inbox: machines boot, pxed reports what it could not write, and recovers when
//! there is space again.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use pxe_kit::daemon::Daemon;
use pxe_kit::{Lab, namespace, tree};
use pxe_properties::frames;
use pxe_tests::machine;
use serde_json::Value;

/// A small file system in an image file. Not in memory, where fsync(2) has no effect to test. The kernel writes back by
/// itself only after five minutes. Dropping it unmounts it.
struct Small {
    disk: PathBuf,
    folder: PathBuf,
}

fn run(program: &str, arguments: &[&str]) {
    let program = pxe_kit::command::find(program).unwrap();
    pxe_kit::command::output(std::process::Command::new(program).args(arguments)).unwrap();
}

impl Small {
    fn mount(folder: &Path) -> Self {
        let disk = folder.with_extension("disk");
        fs::File::create(&disk).unwrap().set_len(4 << 20).unwrap();
        let words = ["-q", "-F", "-b", "1024", "-m", "0", "-J", "size=1", "-E", "lazy_itable_init=0"];
        run("mkfs.ext4", &[&words[..], &[disk.to_str().unwrap()]].concat());
        let small = Self { disk, folder: folder.to_owned() };
        small.attach();
        fs::remove_dir(folder.join("lost+found")).unwrap();
        fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        small
    }

    fn attach(&self) {
        fs::create_dir_all(&self.folder).unwrap();
        let [disk, folder] = [&self.disk, &self.folder].map(|path| path.to_str().unwrap());
        run("mount", &["-o", "loop,commit=300", disk, folder]);
    }

    /// The file system after a power failure at this moment: a copy of the disk, without data that is only in memory.
    fn after_a_power_failure(&self, other: &Path) -> Self {
        let small = Self { disk: other.with_extension("disk"), folder: other.to_owned() };
        fs::copy(&self.disk, &small.disk).unwrap();
        small.attach();
        small
    }

    /// Fills the file system completely.
    fn fill(&self) {
        let mut file = fs::File::create(self.folder.join("filler")).unwrap();
        // ext4 reserves space for blocks that it has not placed yet. After a sync, the rest of the reservation is free.
        while file.write_all(&[1; 1024]).is_ok() {
            while file.write_all(&[1; 1024]).is_ok() {}
            let _full = file.sync_all();
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.folder.join("filler")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").args(["--lazy"]).arg(&self.folder).status();
    }
}

/// Boots the `n`-th machine in the client's namespace. Returns whether it received the right file.
fn boots(lab: &Lab, n: u8) -> bool {
    let (host, packet) = (lab.client().namespace().to_owned(), frames::golden("ovmf-discover"));
    let interface = lab.client().interface().to_owned();
    let is = |address: &str| {
        lab.client().output("ip", &["link", "set", lab.client().interface(), "address", address]).unwrap()
    };
    is(&format!("52:54:00:99:fd:{n:02x}"));
    let run = move || {
        namespace::enter(&host).unwrap();
        let offer = machine::discover(&interface, &packet)?;
        machine::load(offer.server, &offer.file)
    };
    let bytes = std::thread::spawn(run).join().unwrap();
    is(&lab.client().mac());
    bytes.is_ok_and(|bytes| bytes == tree::bytes(30_000))
}

fn count(status: &Value, name: &str) -> usize {
    status[name].as_array().map_or(0, Vec::len)
}

#[test]
fn a_full_disk_costs_no_boot_and_is_said_and_mends() {
    let lab = Lab::builder().dhcp(false).start().unwrap();
    let root = tree::with_files(lab.folder(), &[("boot.efi", tree::bytes(30_000))]).unwrap();
    let small = Small::mount(&lab.folder().join("state"));
    let state = small.folder.display().to_string();
    let arguments = ["--root", root.to_str().unwrap(), "--boot-file", "x64=boot.efi", "--state", &state];
    let daemon = Daemon::start(&lab, &arguments).unwrap();
    assert!(boots(&lab, 1), "{}", daemon.log());
    small.fill();
    for n in 2..12 {
        assert!(boots(&lab, n), "machine {n}: {}", daemon.log());
    }
    let is_said = |status: &Value| count(status, "lost") > 0 && count(status, "machines") >= 11;
    daemon.wait_status("the lost writes are reported, and all machines shown", is_said).unwrap();
    small.make_room();
    daemon.wait_status("everything is written", |status| count(status, "lost") == 0).unwrap();
    assert!(boots(&lab, 12), "{}", daemon.log());
    daemon.wait_status("all are known", |status| count(status, "machines") >= 12).unwrap();
    daemon.stop().unwrap();
    // A new process reads the database.
    let daemon = Daemon::start(&lab, &arguments).unwrap();
    daemon.wait_status("all are known again", |status| count(status, "machines") >= 12).unwrap();
    daemon.stop().unwrap();
}

#[test]
fn a_full_inbox_refuses_and_takes_again() {
    let lab = Lab::builder().dhcp(false).start().unwrap();
    let root = tree::with_files(lab.folder(), &[("boot.efi", tree::bytes(30_000))]).unwrap();
    let small = Small::mount(&lab.folder().join("inbox"));
    let config = lab.folder().join("pxed.toml");
    fs::write(&config, format!("[inbox]\ndirectory = {:?}\n", small.folder)).unwrap();
    let arguments = [
        "--root",
        root.to_str().unwrap(),
        "--boot-file",
        "x64=boot.efi",
        "--config",
        config.to_str().unwrap(),
    ];
    let daemon = Daemon::start(&lab, &arguments).unwrap();
    let here = lab.folder().join("upload");
    fs::write(&here, tree::bytes(200_000)).unwrap();
    let put = |name: &str| {
        let url = format!("tftp://{}/{name}", lab.responder().address());
        let mut curl = lab.client().command("curl");
        curl.args(["--silent", "--max-time", "60", "--upload-file", here.to_str().unwrap(), &url]);
        curl.output().unwrap().status.code()
    };
    assert_eq!(put("first"), Some(0), "{}", daemon.log());
    let after = small.after_a_power_failure(&lab.folder().join("after"));
    let kept = fs::read(after.folder.join(lab.client().mac()).join("first"));
    assert!(
        kept.is_ok_and(|kept| kept == tree::bytes(200_000)),
        "the acknowledged upload is not on the disk"
    );
    drop(after);
    small.fill();
    // curl's exit code for a full remote disk.
    assert_eq!(put("second"), Some(70), "{}", daemon.log());
    assert!(boots(&lab, 1), "{}", daemon.log());
    small.make_room();
    assert_eq!(put("second"), Some(0), "{}", daemon.log());
    let kept = small.folder.join(lab.client().mac());
    for name in ["first", "second"] {
        assert!(fs::read(kept.join(name)).unwrap() == tree::bytes(200_000), "{name}");
    }
    assert_eq!(fs::read_dir(&kept).unwrap().count(), 2, "the rejected upload has left a file");
    daemon.stop().unwrap();
}
