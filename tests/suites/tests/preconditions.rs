//! `pxed check` predicts `pxed serve`: what stops one stops the other with the same message, and a configuration without errors
//! is served.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use pxe_kit::daemon::program;
use pxe_kit::namespace;

/// The limit until a daemon is ready or has ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// An obstacle on the host that exists until it is dropped.
type Obstacle = Box<dyn std::any::Any>;

/// A configuration that cannot be served.
struct Bad {
    /// The configuration file. `DIR` stands for the test's directory.
    config: &'static str,
    /// Options for both commands.
    options: &'static [&'static str],
    /// Makes the obstacle on the host.
    host: fn(&Path) -> Obstacle,
    /// Words that both messages must contain.
    words: &'static [&'static str],
}

const START: &str = "interfaces = [\"pxe0\"]\nsocket = \"DIR/run/pxed.sock\"\n";

fn nothing(_: &Path) -> Obstacle {
    Box::new(())
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

const BAD: &[Bad] = &[
    Bad { config: "colour = 1\n", options: &[], host: nothing, words: &["no key `colour`"] },
    Bad { config: "http = 80\n", options: &[], host: nothing, words: &["`http`", "port = 8080"] },
    Bad { config: "a = [\n", options: &[], host: nothing, words: &["pxed.toml"] },
    Bad { config: "datapath = \"fast\"\n", options: &[], host: nothing, words: &["auto, xdp, socket"] },
    Bad { config: "transfers = 1000000\n", options: &[], host: nothing, words: &["at most 262144"] },
    Bad {
        config: "root = \"DIR/no-root\"\n",
        options: &[],
        host: nothing,
        words: &["cannot serve", "no-root"],
    },
    Bad {
        config: "[images.a]\nroot = \"DIR/no-image\"\n[[rules]]\nimage = \"a\"\n",
        options: &[],
        host: nothing,
        words: &["image `a`", "no-image"],
    },
    Bad {
        config: "boot_files = { x64 = \"no-such.efi\" }\n",
        options: &[],
        host: nothing,
        words: &["no-such.efi"],
    },
    Bad {
        config: "[images.a]\nkernel = \"memtest.efi\"\nargs = \"{{ report_url }}\"\n[[rules]]\nimage = \"a\"\n",
        options: &[],
        host: nothing,
        words: &["`{{ report_url }}`", "[http]"],
    },
    Bad { config: "", options: &["--interface", "pxe7"], host: nothing, words: &["no interface `pxe7`"] },
    Bad { config: "", options: &["--interface", "lo"], host: nothing, words: &["not Ethernet"] },
    Bad { config: "address = \"10.99.0.77\"\n", options: &[], host: nothing, words: &["10.99.0.77"] },
    Bad {
        config: "",
        options: &[],
        host: |_| Box::new(UdpSocket::bind("10.99.0.2:69").unwrap()),
        words: &["another TFTP server", "UDP port 69"],
    },
    Bad {
        config: "datapath = \"socket\"\n",
        options: &[],
        host: |_| Box::new(UdpSocket::bind("0.0.0.0:4011").unwrap()),
        words: &["another PXE boot server", "UDP port 4011"],
    },
    Bad {
        config: "[http]\nport = 8080\n",
        options: &[],
        host: |_| Box::new(TcpListener::bind("0.0.0.0:8080").unwrap()),
        words: &["cannot serve HTTP on 10.99.0.2:8080", "ss -ltnp"],
    },
    Bad {
        config: "[board]\nlisten = \"127.0.0.1:7467\"\n",
        options: &[],
        host: |_| Box::new(TcpListener::bind("127.0.0.1:7467").unwrap()),
        words: &["127.0.0.1:7467", "board"],
    },
    Bad {
        config: "[board]\nlisten = \"10.99.0.2:7467\"\ntoken_file = \"DIR/token\"\n",
        options: &[],
        host: nothing,
        words: &["DIR/token"],
    },
    Bad {
        config: "[board]\nlisten = \"10.99.0.2:7467\"\ntoken_file = \"DIR/token\"\n",
        options: &[],
        host: |dir| {
            write(&dir.join("token"), "0123456789abcdef0123\n", 0o644);
            Box::new(())
        },
        words: &["DIR/token", "chmod"],
    },
    Bad {
        config: "[board]\nlisten = \"10.99.0.2:7467\"\ntoken_file = \"DIR/token\"\n",
        options: &[],
        host: |dir| {
            write(&dir.join("token"), "short\n", 0o600);
            Box::new(())
        },
        words: &["16"],
    },
    Bad {
        config: "state = \"DIR/state\"\n",
        options: &[],
        host: |dir| {
            write(&dir.join("state/letters.txt"), "mine", 0o600);
            Box::new(())
        },
        words: &["DIR/state", "letters.txt"],
    },
    Bad {
        config: "state = \"DIR/state/below\"\n",
        options: &[],
        host: |dir| {
            write(&dir.join("state"), "a file", 0o600);
            Box::new(())
        },
        words: &["DIR/state", "not a directory"],
    },
    Bad {
        config: "[inbox]\ndirectory = \"DIR/inbox\"\n",
        options: &[],
        host: |dir| {
            write(&dir.join("inbox/letters.txt"), "mine", 0o600);
            Box::new(())
        },
        words: &["DIR/inbox", "letters.txt"],
    },
    Bad {
        config: "[fleet]\nevents = \"DIR/root\"\n",
        options: &[],
        host: nothing,
        words: &["DIR/root", "it is a directory"],
    },
    Bad {
        config: "user = \"no-such-user\"\n",
        options: &[],
        host: nothing,
        words: &["no-such-user", "--user"],
    },
    Bad {
        config: "",
        options: &[],
        host: |dir| {
            write(&dir.join("run/pxed.sock"), "a file", 0o600);
            Box::new(())
        },
        words: &["run/pxed.sock", "no socket"],
    },
];

/// Enters a namespace with an interface, and makes a directory with a boot file.
fn place() -> tempfile::TempDir {
    namespace::enter_new().unwrap();
    for command in [
        "link set lo up",
        "link add pxe0 type veth peer name peer0",
        "addr add 10.99.0.2/24 dev pxe0",
        "link set pxe0 up",
        "link set peer0 up",
    ] {
        assert!(Command::new("ip").args(command.split(' ')).status().unwrap().success(), "ip {command}");
    }
    directory()
}

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    write(&directory.path().join("root/memtest.efi"), "memtest", 0o644);
    directory
}

/// The text of the configuration file, with a root unless the case has its own, and with `DIR` replaced.
fn config(case: &str, directory: &Path) -> String {
    let root =
        if case.contains("root =") && !case.contains("[images") { "" } else { "root = \"DIR/root\"\n" };
    format!("{START}{root}{case}").replace("DIR", &directory.display().to_string())
}

fn command(name: &str, directory: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg(name).arg("--config").arg(directory.join("pxed.toml")).args(options);
    command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The messages and the exit code of `pxed check`.
fn check(directory: &Path, options: &[&str]) -> (String, Option<i32>) {
    let output = command("check", directory, options).output().unwrap();
    (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code())
}

/// The messages of a daemon until it is ready or ends, and its exit code if it has ended.
fn serve(directory: &Path, options: &[&str]) -> (String, Option<i32>) {
    let mut child = command("serve", directory, options).spawn().unwrap();
    let (sender, lines) = mpsc::channel();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let reading = std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let mut said = String::new();
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                said += &line;
                said.push('\n');
                if line.contains("ready: serving") {
                    end(child);
                    reading.join().unwrap();
                    return (said, None);
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                end(child);
                panic!("the daemon is neither ready nor has it ended: {said}");
            }
        }
    }
    let mut rest = String::new();
    child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
    (said, child.wait().unwrap().code())
}

fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn whatever_stops_serve_is_found_by_check() {
    drop(place());
    for bad in BAD {
        let directory = directory();
        let place = directory.path().display().to_string();
        std::fs::write(directory.path().join("pxed.toml"), config(bad.config, directory.path())).unwrap();
        let obstacle = (bad.host)(directory.path());
        let (checked, code) = check(directory.path(), bad.options);
        let what = format!("{:?} {:?}", bad.config, bad.options);
        assert_eq!(code, Some(1), "check lets pass: {what}\n{checked}");
        let (served, code) = serve(directory.path(), bad.options);
        assert!(code.is_some_and(|code| code != 0), "serve starts: {what}\n{served}");
        drop(obstacle);
        for word in bad.words.iter().map(|word| word.replace("DIR", &place)) {
            assert!(checked.contains(&word), "check: `{word}` is missing for {what}\n{checked}");
            assert!(served.contains(&word), "serve: `{word}` is missing for {what}\n{served}");
        }
    }
}

/// Configurations that can be served.
const GOOD: &[&str] = &[
    "",
    "datapath = \"socket\"\n[http]\nport = 8080\n[board]\nlisten = \"127.0.0.1:7467\"\n",
    "state = \"DIR/state/deep/below\"\n[fleet]\nevents = \"DIR/log/events\"\n[inbox]\ndirectory = \"DIR/deep/inbox\"\n",
    "[http]\nport = 8080\n[images.a]\nboot_files = { x64 = \"memtest.efi\" }\nkernel = \"memtest.efi\"\nargs = \"{{ report_url }}\"\n[[rules]]\nimage = \"a\"\n",
    "[images.a]\nboot_files = { x64 = \"memtest.efi\" }\nkernel = \"memtest.efi\"\nargs = \"{% if http %}{{ report_url }}{% endif %}\"\n[[rules]]\nimage = \"a\"\n",
];

#[test]
fn what_check_lets_pass_is_served() {
    drop(place());
    for good in GOOD {
        let directory = directory();
        std::fs::write(directory.path().join("pxed.toml"), config(good, directory.path())).unwrap();
        let (checked, code) = check(directory.path(), &[]);
        assert_eq!(code, Some(0), "{good}\n{checked}");
        assert!(!directory.path().join("state").exists(), "check has made a directory");
        let (served, code) = serve(directory.path(), &[]);
        assert_eq!(code, None, "{good}\n{served}");
    }
}

/// `pxed check` accepts the configuration of a running daemon, although that uses the ports and sockets.
#[test]
fn a_running_daemons_configuration_can_be_checked() {
    let directory = place();
    let text = config("[http]\nport = 8080\n[board]\nlisten = \"127.0.0.1:7467\"\n", directory.path());
    std::fs::write(directory.path().join("pxed.toml"), text).unwrap();
    let mut daemon = command("serve", directory.path(), &[]).spawn().unwrap();
    let mut lines = BufReader::new(daemon.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("ready: serving")));
    let output = command("check", directory.path(), &[]).output().unwrap();
    end(daemon);
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert!(out.contains("a pxed serves this interface now"), "{out}");
}
