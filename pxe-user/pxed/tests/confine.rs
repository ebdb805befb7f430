//! Tests what a confined process can and cannot do, in a child process that confines itself. Run this as root, as CI
//! does.

use std::io::ErrorKind::PermissionDenied;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io, thread};

use pxed::confine::{self, Account, ConfineRequest, Confinement, Paths, RetainedCapability};

/// The environment variable that gives the child its directories.
const FOLDER: &str = "PXED_TEST_CONFINED";

fn request(folder: &Path) -> ConfineRequest {
    ConfineRequest {
        confinement: Confinement::Require,
        account: Account::find(Some("nobody")).unwrap(),
        kept: vec![RetainedCapability::Bpf],
        paths: Paths {
            read: vec![folder.join("served")],
            write: vec![folder.join("state")],
            remove: vec![folder.join("run")],
            moves: true,
        },
    }
}

/// The child's part. Without the variable it does nothing. It forks, because the test harness has two threads.
#[test]
#[expect(unsafe_code, reason = "fork")]
fn the_child_is_confined() {
    let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) else { return };
    // SAFETY: the harness's other thread only waits for this one, so no lock is held in the child; glibc keeps its
    // allocator usable after fork.
    match unsafe { nix::unistd::fork() }.unwrap() {
        nix::unistd::ForkResult::Child => {
            let done = std::panic::catch_unwind(|| confined(&folder));
            std::process::exit(i32::from(done.is_err()));
        }
        nix::unistd::ForkResult::Parent { child } => {
            let status = nix::sys::wait::waitpid(child, None).unwrap();
            assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
        }
    }
}

fn confined(folder: &Path) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let report = confine::enter(&request(folder)).unwrap();
    assert_eq!(
        (&*report.user, &report.capabilities[..], &report.missing[..]),
        ("nobody", &["CAP_BPF"][..], &[][..])
    );

    files(folder);
    network(&listener);
    others();
    let status = fs::read_to_string("/proc/self/status");
    assert!(denied(status), "what is not among the host's few files is closed");
}

fn denied<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == PermissionDenied)
}

fn files(folder: &Path) {
    assert_eq!(fs::read(folder.join("served/boot")).unwrap(), b"boot");
    assert!(fs::read_dir("/sys/class/net").is_ok() && fs::read_to_string("/proc/net/udp").is_ok());
    for path in ["/etc/passwd", "/etc/hostname", "/proc/1/status"] {
        assert!(denied(fs::read(path)), "{path}");
    }
    // The file's mode lets every user read it.
    assert!(denied(fs::read(folder.join("other/file"))));
    assert!(denied(fs::write(folder.join("served/new"), "x")));
    assert!(denied(fs::write(folder.join("open/new"), "x")), "a directory for everybody, as /tmp is");
    assert!(denied(fs::File::options().write(true).open(folder.join("served/boot"))));
    let state = |name: &str| folder.join("state").join(name);
    fs::create_dir(state("machine")).unwrap();
    fs::write(state("hidden"), "x").unwrap();
    fs::rename(state("hidden"), state("machine/file")).unwrap();
    fs::remove_file(state("machine/file")).unwrap();
    assert!(denied(fs::write(folder.join("run/new"), "x")));
    fs::remove_file(folder.join("run/socket")).unwrap();
}

fn network(listener: &TcpListener) {
    // Sockets that were opened before still work.
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert!(denied(TcpListener::bind("127.0.0.1:0")));
    assert!(denied(UdpSocket::bind("127.0.0.1:0")));
    assert!(denied(TcpStream::connect(listener.local_addr().unwrap())));
    assert!(nix::ifaddrs::getifaddrs().is_ok(), "the list of addresses is needed");
}

fn others() {
    assert_eq!(thread::spawn(|| 7).join().unwrap(), 7, "a thread is no process");
    assert!(denied(Command::new("/bin/true").status()), "no program is started");
    assert!(denied(rustix::process::setpriority_process(None, 5).map_err(Into::into)));
    let init = rustix::process::Pid::INIT;
    assert!(denied(rustix::process::test_kill_process(init).map_err(Into::into)));
    let root = nix::unistd::setuid(nix::unistd::Uid::from_raw(0));
    assert!(denied(root.map_err(Into::into)), "root does not come back");
    let own = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER);
    assert!(denied(own.map_err(Into::into)), "nor in a namespace of its own");
}

#[test]
fn only_what_is_needed_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(folder.path(), 0o755);
    for name in ["served", "state", "run", "other", "open"] {
        fs::create_dir(path(name)).unwrap();
        mode(&path(name), 0o777);
    }
    for name in ["served/boot", "other/file", "run/socket"] {
        fs::write(path(name), "boot").unwrap();
        mode(&path(name), 0o666);
    }
    let this = env::current_exe().unwrap();
    let mut child = Command::new(this);
    child.args(["--exact", "the_child_is_confined", "--test-threads=1", "--nocapture"]);
    let output = child.env(FOLDER, folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn a_second_thread_would_keep_its_rights_and_is_refused() {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let other = thread::spawn(move || held.recv());
    let error = confine::enter(&request(Path::new("/nowhere"))).unwrap_err();
    assert!(matches!(error, confine::ConfineError::Threads(2..)), "{error}");
    drop(hold);
    let _ = other.join();
}
