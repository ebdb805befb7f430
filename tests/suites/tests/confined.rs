//! The running daemon has the fewest possible privileges: in every thread, over each datapath, started as root or without.

use std::collections::BTreeMap;
use std::fs;

use pxe_kit::daemon::{Daemon, program};
use pxe_kit::{Lab, Process, tree};

/// The limit for the daemon's start.
const START: std::time::Duration = std::time::Duration::from_secs(60);
/// The bit of CAP_BPF (linux/capability.h).
const CAP_BPF: u64 = 1 << 39;

/// The lines of `/proc/PID/task/TID/status` of each thread, by key.
fn threads(pid: u32) -> Vec<BTreeMap<String, String>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let status = |task: std::io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
    };
    tasks.map(status).collect()
}

fn assert_confined(pid: u32, most: u64) {
    let threads = threads(pid);
    assert!(threads.len() > 4, "workers, loader, fleet, HTTP");
    for thread in threads {
        let set = |name: &str| u64::from_str_radix(&thread[name], 16).unwrap();
        for name in ["CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd"] {
            assert_eq!(set(name) & !most, 0, "{name} of {}", thread["Name"]);
        }
        assert!(thread["Uid"].split_whitespace().all(|id| id != "0"), "{thread:?}");
        assert!(thread["Gid"].split_whitespace().all(|id| id != "0"), "{thread:?}");
        assert!(!thread["Groups"].split_whitespace().any(|id| id == "0"), "{thread:?}");
        assert_eq!((&*thread["NoNewPrivs"], &*thread["Seccomp"]), ("1", "2"), "{thread:?}");
    }
}

#[test]
fn every_thread_has_given_its_rights_up_over_each_datapath() {
    let lab = Lab::builder().start().unwrap();
    let root = tree::with_files(lab.folder(), &[("small", tree::bytes(3000))]).unwrap();
    for (datapath, most) in [
        (&["--datapath", "xdp"][..], CAP_BPF),
        (&["--datapath", "xdp", "--offload", "off"], 0),
        (&["--datapath", "socket"], 0),
    ] {
        let state = lab.folder().join("state");
        let mut arguments =
            vec!["--root", root.to_str().unwrap(), "--boot-file", "x64=small", "--confinement", "require"];
        arguments.extend(["--state", state.to_str().unwrap(), "--http-port", "8080"]);
        arguments.extend(datapath);
        let daemon = Daemon::start(&lab, &arguments).unwrap();
        assert_confined(daemon.pid(), most);
        let url = format!("tftp://{}/small", lab.responder().address());
        let got = lab.client().command("curl").args(["--silent", "--show-error", &url]).output().unwrap();
        assert!(got.stdout == tree::bytes(3000), "{datapath:?}: {}", String::from_utf8_lossy(&got.stderr));
        let log = daemon.stop().unwrap();
        assert!(!log.contains("\"ERROR\"") && !log.contains("cannot"), "{log}");
    }
}

/// The daemon sends its history to a shared ledger while it has given its rights up. The database is reached by its Unix socket,
/// which has no network namespace.
#[test]
fn a_confined_daemon_writes_to_a_shared_ledger_and_serves_while_it_is_away() {
    let lab = Lab::builder().start().unwrap();
    let root = tree::with_files(lab.folder(), &[("small", tree::bytes(3000))]).unwrap();
    let server = pxe_kit::postgres::Postgres::start().unwrap();
    let config = lab.folder().join("pxed.toml");
    let text = format!(
        "state = \"{}\"\n[ledger]\nurl = \"{}\"\nresponder = \"rack-1\"\n",
        lab.folder().join("state").display(),
        server.url("postgres")
    );
    fs::write(&config, text).unwrap();
    let mut arguments = vec!["--config", config.to_str().unwrap(), "--confinement", "require"];
    arguments.extend(["--root", root.to_str().unwrap(), "--boot-file", "x64=small"]);
    let daemon = Daemon::start(&lab, &arguments).unwrap();
    assert_confined(daemon.pid(), CAP_BPF);
    let leased =
        "SELECT count(*) FROM pxed.responders WHERE name = 'rack-1' AND leased > now() - interval '9 s'";
    let is_leased = || Ok(server.sql("postgres", leased).is_ok_and(|count| count == "1"));
    pxe_kit::clock::wait_until("the ledger is connected", START, is_leased).unwrap();
    server.freeze().unwrap();
    let url = format!("tftp://{}/small", lab.responder().address());
    let got = lab.client().command("curl").args(["--silent", "--show-error", &url]).output().unwrap();
    assert!(got.stdout == tree::bytes(3000), "{}", String::from_utf8_lossy(&got.stderr));
    let said = |status: &serde_json::Value| status["lost"].to_string().contains("the shared ledger is away");
    daemon.wait_status("the board says that the ledger is away", said).unwrap();
    server.thaw().unwrap();
    let is_back = |status: &serde_json::Value| status["lost"].as_array().is_some_and(Vec::is_empty);
    daemon.wait_status("the board says no more", is_back).unwrap();
    pxe_kit::clock::wait_until("the machine is in the ledger", START, || {
        Ok(server.sql("postgres", "SELECT count(*) FROM pxed.machines")? == "1")
    })
    .unwrap();
    let log = daemon.stop().unwrap();
    assert!(!log.contains("cannot"), "{log}");
}

/// Starts the daemon as the user nobody with these capabilities, as a service manager would.
fn as_nobody(lab: &Lab, rights: &str, datapath: &str) -> Process {
    let mut start = lab.responder().command("prlimit");
    start.args(["--memlock=1048576", "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    start.arg(format!("--bounding-set=-all,{rights}"));
    start.args([format!("--inh-caps=-all,{rights}"), format!("--ambient-caps=-all,{rights}")]);
    start.arg(program()).args(["--log-format", "json", "serve", "--interface", lab.responder().interface()]);
    // The user nobody cannot make the socket at the default path. The daemon logs that and serves.
    start.args(["--datapath", datapath, "--confinement", "require"]);
    lab.spawn(&format!("pxed-{datapath}"), start).unwrap()
}

/// All capabilities that a start needs, if memory may be locked (`LimitMEMLOCK=infinity` in a unit).
const RIGHTS: &str = "+net_admin,+net_raw,+net_bind_service,+bpf,+perfmon";

#[test]
fn it_starts_without_root_with_the_documented_capabilities() {
    let lab = Lab::builder().start().unwrap();
    // CAP_IPC_LOCK replaces the limit for locked memory, which some hosts do not let root raise.
    let rights = format!("{RIGHTS},+ipc_lock");
    for datapath in ["xdp", "socket"] {
        let daemon = as_nobody(&lab, &rights, datapath);
        daemon.wait_for("ready", START).unwrap();
        // The bounding set stays, because shrinking it needs CAP_SETPCAP. no_new_privs makes it harmless.
        let threads = threads(daemon.pid());
        let effective =
            |thread: &BTreeMap<String, String>| u64::from_str_radix(&thread["CapEff"], 16).unwrap();
        let most = if datapath == "xdp" { CAP_BPF } else { 0 };
        assert!(threads.iter().all(|thread| effective(thread) == most), "{threads:?}");
        assert!(daemon.stop().unwrap().success());
    }
}

#[test]
fn too_little_memory_to_lock_is_said_with_the_remedy_and_sockets_serve_instead() {
    let lab = Lab::builder().start().unwrap();
    let daemon = as_nobody(&lab, RIGHTS, "auto");
    daemon.wait_for("ready", START).unwrap();
    let log = daemon.stderr();
    assert!(log.contains("pxed falls back to plain sockets") && log.contains("LimitMEMLOCK="), "{log}");
    assert!(daemon.stop().unwrap().success());
}

/// A boot tree below a closed directory, such as root's home, is served, also after a reload: the daemon opens the tree
/// before it changes its user.
#[test]
fn what_lies_in_a_directory_that_is_closed_to_the_daemons_user_is_served() {
    use std::os::unix::fs::PermissionsExt as _;
    let lab = Lab::builder().start().unwrap();
    let closed = lab.folder().join("closed");
    fs::create_dir(&closed).unwrap();
    let root =
        tree::with_files(&closed, &[("small", tree::bytes(3000)), ("other", tree::bytes(50))]).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let config = |image: &str| {
        let text = format!(
            "[images.{image}]\nroot = \"{}\"\nboot_files = {{ x64 = \"small\" }}\n[[rules]]\nimage = \"{image}\"\n",
            root.display()
        );
        fs::write(lab.folder().join("pxed.toml"), text).unwrap();
    };
    let get = |name: &str| {
        let url = format!("tftp://{}/{name}", lab.responder().address());
        lab.client().command("curl").args(["--silent", "--show-error", &url]).output().unwrap()
    };
    config("before");
    let path = lab.folder().join("pxed.toml");
    let daemon =
        Daemon::start(&lab, &["--confinement", "require", "--config", path.to_str().unwrap()]).unwrap();
    let got = get("before/small");
    assert!(got.stdout == tree::bytes(3000), "{}", String::from_utf8_lossy(&got.stderr));
    config("after");
    daemon.wait_for("applied the changed configuration").unwrap();
    let got = get("after/other");
    assert!(got.stdout == tree::bytes(50), "{}\n{}", String::from_utf8_lossy(&got.stderr), daemon.log());
    assert!(!get("before/small").status.success(), "the old name is not served");
    let log = daemon.stop().unwrap();
    assert!(!log.contains("cannot list this directory") && !log.contains("cannot read the"), "{log}");
}

#[test]
fn a_configuration_that_the_daemons_user_cannot_read_again_is_said_at_the_start() {
    use std::os::unix::fs::PermissionsExt as _;
    let lab = Lab::builder().start().unwrap();
    let path = lab.folder().join("pxed.toml");
    fs::write(&path, "transfers = 64\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let daemon = Daemon::start(&lab, &["--config", path.to_str().unwrap()]).unwrap();
    daemon.wait_for("cannot read the configuration").unwrap();
}

#[test]
fn a_tree_that_the_daemons_user_cannot_read_is_said_at_the_start() {
    use std::os::unix::fs::PermissionsExt as _;
    let lab = Lab::builder().start().unwrap();
    let root = tree::with_files(lab.folder(), &[("small", tree::bytes(3000))]).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
    let arguments = ["--root", root.to_str().unwrap(), "--boot-file", "x64=small"];
    let daemon = Daemon::start(&lab, &arguments).unwrap();
    daemon.wait_for("cannot list this directory").unwrap();
    drop(daemon);
    let daemon = Daemon::start(&lab, &[&arguments[..], &["--user", "root"]].concat()).unwrap();
    assert!(!daemon.log().contains("cannot list this directory"), "{}", daemon.log());
}
