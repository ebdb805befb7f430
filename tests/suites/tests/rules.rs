//! The configuration of a running daemon: rules decide what machines get, changes of the file are applied, and the
//! history of machines survives a restart.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use pxe_kit::daemon::{Daemon, program};
use pxe_kit::{Lab, clock, namespace};
use pxe_properties::frames;
use pxe_tests::machine;
use serde_json::Value;

/// The limit until the daemon applies a change.
const LIMIT: Duration = Duration::from_secs(60);

struct Place {
    lab: Lab,
    config: PathBuf,
}

impl Place {
    fn new() -> Self {
        let lab = Lab::builder().dhcp(false).start().unwrap();
        for folder in ["one", "two"] {
            let folder = lab.folder().join(folder);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("bootx64.efi"), "MZ").unwrap();
        }
        let config = lab.folder().join("pxed.toml");
        Self { lab, config }
    }

    /// Writes the configuration: one rule with the line `image`, and the text `more`.
    fn write(&self, image: &str, more: &str) {
        let folder = |name: &str| self.lab.folder().join(name).display().to_string();
        let text = format!(
            "state = {:?}\n[images.one]\nroot = {:?}\n[images.two]\nroot = {:?}\n[[rules]]\nname = \"all\"\n{image}\n{more}\n",
            folder("state"),
            folder("one"),
            folder("two")
        );
        // By rename, as editors and configuration tools do.
        let new = self.config.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &self.config).unwrap();
    }

    fn start(&self) -> Daemon {
        Daemon::start(&self.lab, &["--config", self.config.to_str().unwrap()]).unwrap()
    }

    /// The boot file that a machine in the client's namespace is offered.
    fn told(&self) -> Option<String> {
        let (host, packet) = (self.lab.client().namespace().to_owned(), frames::golden("ovmf-discover"));
        let interface = self.lab.client().interface().to_owned();
        let ask = move || {
            namespace::enter(&host).unwrap();
            machine::discover(&interface, &packet).ok().map(|offer| offer.file)
        };
        std::thread::spawn(ask).join().unwrap()
    }

    /// Waits until a machine is offered this boot file.
    fn wait_told(&self, file: &str, daemon: &Daemon) {
        let told = || Ok(self.told().as_deref() == Some(file));
        clock::wait_until(file, LIMIT, told).unwrap_or_else(|error| panic!("{error}\n{}", daemon.log()));
    }
}

fn pxed(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).output().unwrap()
}

#[test]
fn a_changed_file_is_obeyed_and_a_bad_one_is_refused_with_its_line() {
    let place = Place::new();
    place.write("image = \"one\"", "[[rules]]\nname = \"x\"\nimage = \"two\"\nmatch = { vlan = 3 }");
    // The first rule matches all machines, so the second can never match.
    let output = pxed(&["serve", "--config", place.config.to_str().unwrap(), "--interface", "pxe0"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("line 9") && said.contains("can never match"),
        "{said}"
    );

    place.write("image = \"one\"", "");
    let daemon = place.start();
    assert_eq!(place.told().as_deref(), Some("one/bootx64.efi"), "{}", daemon.log());
    place.write("image = \"two\"", "");
    place.wait_told("two/bootx64.efi", &daemon);

    place.write("image = \"three\"", "");
    daemon.wait_for("no image `three`").unwrap();
    assert_eq!(place.told().as_deref(), Some("two/bootx64.efi"), "the old configuration must stay in force");
    let log = daemon.log();
    let refused = log.lines().find(|line| line.contains("refused_config")).unwrap();
    assert!(refused.contains("pxed.toml") && refused.contains("line 8"), "{refused}");

    // Correct the file, and request a reload by SIGHUP.
    place.write("image = \"one\"", "");
    let pid = rustix::process::Pid::from_raw(i32::try_from(daemon.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    place.wait_told("one/bootx64.efi", &daemon);
    daemon.stop().unwrap();
}

#[test]
fn what_is_known_of_machines_outlives_the_daemon() {
    let place = Place::new();
    place.write("image = \"one\"", "");
    let daemon = place.start();
    assert!(place.told().is_some());
    let known = |status: &Value| {
        let machine = &status["machines"][0];
        (
            machine["mac"].clone(),
            machine["rule"].clone(),
            machine["uuid"].clone(),
            machine["first_seen"].clone(),
        )
    };
    let known_one = |status: &Value| status["machines"].as_array().is_some_and(|all| !all.is_empty());
    let shown = daemon.wait_status("the machine is shown", known_one).unwrap();
    // After SIGKILL, a new daemon must know everything that was shown before.
    let pid = rustix::process::Pid::from_raw(i32::try_from(daemon.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    drop(daemon);
    let daemon = place.start();
    assert_eq!(known(&daemon.status().unwrap()), known(&shown));
    assert_eq!(shown["lost"], Value::Array(Vec::new()));
    daemon.stop().unwrap();
}

/// Without `[http]` and `[board]`, no TCP port is open. The test reads open ports by `ss` in the responder's namespace.
#[test]
fn nothing_listens_on_tcp_unless_it_is_asked_for() {
    let place = Place::new();
    let listening = |config: &str| {
        place.write("image = \"one\"", config);
        let daemon = place.start();
        let listening = place.lab.responder().output("ss", &["-H", "-l", "-t", "-n"]).unwrap();
        daemon.stop().unwrap();
        listening
            .lines()
            .filter_map(|line| Some(line.split_whitespace().nth(3)?.to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(listening(""), [""; 0]);
    let mut asked = listening("[http]\nport = 8080\n[board]\nlisten = \"127.0.0.1:7467\"");
    asked.sort();
    assert_eq!(asked, ["10.99.0.2:8080", "127.0.0.1:7467"]);
}
