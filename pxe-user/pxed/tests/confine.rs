//! Tests what a confined process can and cannot do, in a child process that confines itself. Run this as root, as CI
//! does.

#![expect(
    clippy::disallowed_methods,
    reason = "the tests start threads to show what confinement does with them"
)]

use std::io::ErrorKind::PermissionDenied;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io, thread};

use pxe_kit::postgres::{PASSWORD, Postgres as Server, USER};
use pxe_ledger::postgres::{Postgres, Target, Url, Writer};
use pxed::confine::{self, Account, ConfineRequest, Confinement, Outbound, Paths, RetainedCapability};

/// The environment variable that gives the child its directories.
const FOLDER: &str = "PXED_TEST_CONFINED";
/// The environment variable of a child that starts without the capability that it should keep.
const LACKS: &str = "PXED_TEST_LACKS";

/// The environment variable of a child that has a shared ledger.
const LEDGER: &str = "PXED_TEST_LEDGER";

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
        outbound: Outbound::default(),
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
            let part = match (env::var_os(LACKS), env::var_os(LEDGER)) {
                (Some(_), _) => without_the_capability,
                (_, Some(_)) => with_a_ledger,
                _ => confined,
            };
            let done = std::panic::catch_unwind(|| part(&folder));
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

/// A daemon with a shared ledger: it connects to the ledger's port, over TCP only.
fn with_a_ledger(folder: &Path) {
    let url = Url::parse(&env::var(LEDGER).unwrap()).unwrap();
    let target = Target::open(&url, Some(&folder.join("other/password")), None).unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let outbound = Outbound { ports: target.ports().to_vec(), is_unix: false };
    confine::enter(&ConfineRequest { outbound, ..request(folder) }).unwrap();
    let writer = Writer { responder: "r".into(), instance: "i".into(), host: "h".into() };
    let (mut ledger, _) = Postgres::connect(&target, writer).unwrap();
    ledger.renew(&pxe_ledger::rows::Status::default()).unwrap();
    assert!(denied(TcpStream::connect(other.local_addr().unwrap())) || !knows_ports(), "no other port");
    assert!(denied(UdpSocket::bind("127.0.0.1:0")) && denied(std::os::unix::net::UnixStream::connect("/x")));
    files(folder);
    others();
}

/// Whether this kernel has Landlock's rules for ports.
fn knows_ports() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(7))
}

/// A start with fewer capabilities than the datapath would keep, such as that of a user with those of the manual only.
fn without_the_capability(folder: &Path) {
    for set in [caps::CapSet::Effective, caps::CapSet::Permitted] {
        caps::drop(None, set, caps::Capability::CAP_BPF).unwrap();
    }
    let report = confine::enter(&request(folder)).unwrap();
    assert_eq!(report.capabilities, &[] as &[&str], "what it lacks it cannot keep");
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
    run_child(&[]);
}

#[test]
fn a_shared_ledger_opens_its_port_and_nothing_else() {
    let server = Server::start().unwrap();
    let url = format!("postgres://{USER}@127.0.0.1:{}/postgres?sslmode=disable", server.port());
    run_child(&[(LEDGER, &url)]);
}

#[test]
fn only_capabilities_that_are_left_are_reported() {
    run_child(&[(LACKS, "1")]);
}

/// Runs the child's part in a process of its own, with directories, and with these environment variables.
fn run_child(variables: &[(&str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(folder.path(), 0o755);
    for name in ["served", "state", "run", "other", "open"] {
        fs::create_dir(path(name)).unwrap();
        mode(&path(name), 0o777);
    }
    fs::write(path("other/password"), PASSWORD).unwrap();
    for name in ["served/boot", "other/file", "run/socket"] {
        fs::write(path(name), "boot").unwrap();
        mode(&path(name), 0o666);
    }
    let this = env::current_exe().unwrap();
    let mut child = Command::new(this);
    child.args(["--exact", "the_child_is_confined", "--test-threads=1", "--nocapture"]);
    child.envs(variables.iter().copied()).env(FOLDER, folder.path());
    let output = child.output().unwrap();
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
