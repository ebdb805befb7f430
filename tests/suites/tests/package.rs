//! The Debian package, its unit and the container's recipe. In a Debian system with systemd, the package installs,
//! serves a machine from its sandbox, restarts after it has ended, and is removed completely. The unit's exposure level
//! is the README's. The container serves with the privileges that its recipe names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use std::time::Duration;

use pxe_guests::{Kernel, System, fetch, fetch_base};
use pxe_kit::command::{output, workspace};
use pxe_kit::{Lab, daemon};
use pxe_tests::podman::{CONTAINER, IMAGE, Podman};

/// The cases of the program `installed`, in order.
const CASES: [&str; 16] = [
    "installs",
    "unconfigured",
    "verifies",
    "starts",
    "confined",
    "serves",
    "restarts",
    "restarts-running",
    "upgrades-running",
    "killed",
    "readdressed",
    "clock-set",
    "instance",
    "stops",
    "instance-stays",
    "purges",
];

/// The exposure level differs by some tenths between versions of systemd. The README's figure is that of Debian 12 and 13.
#[test]
fn the_unit_leaves_no_more_open_than_the_readme_says() {
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let stated = readme.split("exposure level ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let stated: f64 = stated.expect("the README states a level").parse().unwrap();
    let threshold = format!("--threshold={:.0}", stated * 10.0);
    let unit = workspace().join("packaging/pxed.service");
    let mut analyze = Command::new("systemd-analyze");
    let said = output(analyze.args(["security", "--offline=true", "--no-pager", &threshold]).arg(unit));
    // `systemd-analyze` fails above the threshold.
    let said = said.unwrap();
    assert!(said.contains(&format!("exposure level for pxed.service: {stated:.1} ")), "{said}");
}

/// systemd restarts the service after each crash, at growing intervals, and after a hang, without a limit.
#[test]
fn the_unit_never_gives_up() {
    let unit = fs::read_to_string(workspace().join("packaging/pxed.service")).unwrap();
    let value = |key: &str| {
        let lines = unit.lines().filter_map(|line| line.split_once('='));
        lines.filter(|(name, _)| *name == key).map(|(_, value)| value).collect::<Vec<_>>()
    };
    assert_eq!(value("StartLimitIntervalSec"), ["0"], "the number of starts must not be limited");
    assert_eq!(value("StartLimitBurst"), [""; 0]);
    assert_eq!((value("Restart"), value("RestartSec")), (vec!["on-failure"], vec!["5s"]));
    assert_eq!((value("RestartSteps"), value("RestartMaxDelaySec")), (vec!["10"], vec!["1min"]));
    assert_eq!((value("Type"), value("WatchdogSec")), (vec!["notify"], vec!["1min"]));
}

/// The lines of a unit, without comments and empty lines.
fn lines_of(unit: &str) -> Vec<&str> {
    unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// The template for further instances has each line of the unit. Only the lines that keep instances apart differ.
#[test]
fn the_units_for_one_and_for_several_instances_agree() {
    let read = |name: &str| fs::read_to_string(workspace().join("packaging").join(name)).unwrap();
    let (one, several) = (read("pxed.service"), read("pxed@.service"));
    let expected: Vec<String> = lines_of(&one)
        .into_iter()
        .map(|line| match line.split_once('=') {
            Some(("Description", text)) => {
                format!("Description={}", text.replacen("pxed,", "pxed for %i,", 1))
            }
            Some(("ExecStart", _)) => "ExecStart=/usr/bin/pxed serve --config /etc/pxed/%i.toml \
                                       --state /var/lib/pxed@%i --socket /run/pxed@%i/pxed.sock"
                .to_owned(),
            Some((name @ ("StateDirectory" | "RuntimeDirectory" | "LogsDirectory"), "pxed")) => {
                format!("{name}=pxed@%i")
            }
            _ => line.to_owned(),
        })
        .collect();
    assert_eq!(lines_of(&several), expected);
}

/// The package contains all files that docs/service.md names. The guest of the next test excludes documentation.
#[test]
fn the_package_has_all_of_the_documentation() {
    let folder = tempfile::tempdir().unwrap();
    let deb = folder.path().join("pxed.deb");
    pxe_packaging::of_program(&daemon::program(), &deb).unwrap();
    let contents = output(Command::new("dpkg-deb").arg("--contents").arg(&deb)).unwrap();
    let find = ["docs", "-type", "f", "-not", "-name", ".*"];
    let pages = output(Command::new("find").args(find).current_dir(workspace())).unwrap();
    let pages: Vec<&str> = pages.lines().chain(["README.md", "CHANGELOG.md"]).collect();
    assert!(pages.len() > 20, "{pages:?}");
    for page in pages {
        let path = format!("/usr/share/doc/pxed/{page}");
        let is_there = |line: &str| line.ends_with(&path) || line.ends_with(&format!("{path}.gz"));
        assert!(contents.lines().any(is_there), "no {path} in\n{contents}");
    }
    // Files that the program generates, and the schema, which must exist on hosts without documentation.
    for path in [
        "/usr/lib/systemd/system/pxed@.service",
        "/usr/share/man/man1/pxed.1.gz",
        "/usr/share/man/man1/pxed-serve.1.gz",
        "/usr/share/bash-completion/completions/pxed",
        "/usr/share/zsh/vendor-completions/_pxed",
        "/usr/share/fish/vendor_completions.d/pxed.fish",
        "/usr/share/pxed/pxed.schema.json",
    ] {
        assert!(contents.lines().any(|line| line.ends_with(path)), "no {path} in\n{contents}");
    }
}

#[test]
fn the_package_serves_under_systemd_and_is_purged_without_a_trace() {
    let folder = tempfile::tempdir().unwrap();
    let deb = folder.path().join("pxed.deb");
    pxe_packaging::of_program(&daemon::program(), &deb).unwrap();
    let kernel = fetch(Kernel::named("6.12").unwrap()).unwrap();
    let cases = PathBuf::from(env!("CARGO_BIN_EXE_installed"));
    let files: &[(&Path, &str)] = &[(&deb, "cases/pxed.deb")];
    let system = System { kernel: &kernel, cases: &cases, files, folder: folder.path() };
    let report = system.run().unwrap_or_else(|error| panic!("{error:#}"));
    let names: Vec<_> = report.cases.iter().map(|(name, _)| name.as_str()).collect();
    assert!(report.done && names == CASES, "{:?}\n{}", report.cases, report.console);
    let failed: Vec<_> = report.cases.iter().filter(|(name, _)| !report.is_ok(name)).collect();
    println!("{:#?}", report.cases);
    assert!(failed.is_empty(), "{failed:#?}\nthe guest's console:\n{}", report.console);
}

/// The words after `podman run` in a text, with continued lines joined.
fn run_line(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.trim_start_matches(['#', '$', ' ']).trim_start_matches("sudo "));
    let mut words = Vec::new();
    for line in lines.skip_while(|line| !line.starts_with("podman run ")) {
        let goes_on = line.ends_with('\\');
        words.extend(line.trim_end_matches('\\').split_whitespace().map(str::to_owned));
        if !goes_on {
            break;
        }
    }
    words.drain(..2.min(words.len()));
    words
}

/// The limit for the daemon's start. Generous, because no test asserts a time.
const START: Duration = Duration::from_secs(60);

#[test]
fn the_container_serves_over_xdp_with_the_rights_of_its_recipe() {
    let recipe = fs::read_to_string(workspace().join("packaging/Containerfile")).unwrap();
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let words = run_line(&recipe);
    assert_eq!(words, run_line(&readme), "README and recipe differ");
    assert!(
        !words.iter().any(|word| word.contains("privileged") && word != "no-new-privileges"),
        "{words:?}"
    );
    assert!(!words.iter().any(|word| word.contains("SYS_ADMIN")), "{words:?}");

    let lab = Lab::builder().start().unwrap();
    let context = lab.folder().join("context");
    fs::create_dir(&context).unwrap();
    pxe_packaging::of_program(&daemon::program(), &context.join("pxed_0_amd64.deb")).unwrap();
    let podman = Podman::new(lab.folder());
    podman.build(&fetch_base().unwrap(), &context).unwrap();
    let host = lab.responder();
    let config = format!("interfaces = [\"{}\"]\nstate = \"/var/lib/pxed\"\n", host.interface());
    fs::write(context.join("pxed.toml"), config).unwrap();

    let mut run = podman.command();
    run.args(["run", "--rm", "--network", &format!("ns:/run/netns/{}", host.namespace())]);
    // Some hosts do not let root raise limits. So CAP_IPC_LOCK replaces the one for memory, and the others are set low.
    run.args(["--cap-add", "IPC_LOCK", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"]);
    // For the podman of Debian 12, which does not know CAP_BPF (docs/service.md).
    run.args(["--security-opt", "seccomp=unconfined"]);
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--network" | "--ulimit" => drop(words.next()),
            "/etc/pxed:/etc/pxed:ro" => drop(run.arg(format!("{}:/etc/pxed:ro", context.display()))),
            "pxed" if words.len() == 0 => drop(run.arg(IMAGE)),
            _ => drop(run.arg(word)),
        }
    }
    let container = lab.spawn("container", run).unwrap();
    container.wait_for("ready", START).unwrap();
    let log = container.stderr() + &container.stdout();
    assert!(log.contains("datapath=\"xdp\"") && log.contains("capabilities=\"CAP_BPF\""), "{log}");
    let shown = |key: &str| {
        let format = format!("{{{{{key}}}}}");
        output(podman.command().args(["inspect", "--format", &format, CONTAINER])).unwrap().trim().to_owned()
    };
    let status = fs::read_to_string(format!("/proc/{}/status", shown(".State.Pid"))).unwrap();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    assert!(uids.split_whitespace().all(|id| id != "0"), "{status}");

    let url = format!("tftp://{}/memtest86+x64.efi", host.address());
    let got = lab.client().command("curl").args(["--silent", "--show-error", &url]).output().unwrap();
    let file = podman.exec(&["cat", "/boot/memtest86+x64.efi"]).unwrap();
    assert!(got.stdout == file && file.starts_with(b"MZ"), "{}", String::from_utf8_lossy(&got.stderr));
    let status = podman.exec(&["pxed", "status"]).unwrap();
    assert!(String::from_utf8_lossy(&status).contains("1 machine"), "{}", String::from_utf8_lossy(&status));
    assert!(container.stop().unwrap().success(), "{}", container.stderr());
}
