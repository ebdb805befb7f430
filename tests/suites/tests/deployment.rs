//! How people run pxed on many hosts: packaging/kubernetes and packaging/ansible. Kubernetes' schemas accept the manifests, and a
//! container serves with the rights, mounts and probes of each pod. The role passes ansible-lint, and in a clean Debian system it
//! installs a package, writes the configuration, and does nothing the second time.
//!
//! No test has a cluster: what the kubelet and the runtimes add is not tried.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pxe_guests::fetch_base;
use pxe_kit::command::{output, workspace};
use pxe_kit::{Lab, Process, clock, daemon, kustomize, python};
use pxe_tests::podman::{CONTAINER, IMAGE, Podman};
use pxe_tests::root::Root;
use pxed::config::Config;
use serde_json::Value;

/// The kustomizations, with the numbers of their objects.
const KUSTOMIZATIONS: [(&str, usize); 2] = [("base", 3), ("shared", 5)];
/// The versions of Kubernetes whose schemas must accept the objects: the oldest and the newest that the checker has.
const VERSIONS: [&str; 2] = ["1.25", "1.37"];
/// The limit for all waits. Generous, because no test asserts a time.
const LONG: Duration = Duration::from_secs(60);
/// The token of a board.
const TOKEN: &str = "token-of-the-test";

/// The objects of a kustomization.
fn objects(name: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("objects.yaml");
    fs::write(&file, kustomize::render(&format!("packaging/kubernetes/{name}")).unwrap()).unwrap();
    of_yaml(&file)
}

/// The documents of a YAML file.
fn of_yaml(file: &Path) -> Vec<Value> {
    let script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let json = output(python::command().unwrap().args(["-c", script]).arg(file)).unwrap();
    serde_json::from_str(&json).unwrap()
}

fn object(name: &str, kind: &str) -> Value {
    objects(name).into_iter().find(|object| object["kind"] == kind).unwrap()
}

/// The strings of a list.
fn strings(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

#[test]
fn kubernetes_schemas_accept_every_object() {
    let folder = tempfile::tempdir().unwrap();
    for (name, count) in KUSTOMIZATIONS {
        let file = folder.path().join(format!("{name}.yaml"));
        fs::write(&file, kustomize::render(&format!("packaging/kubernetes/{name}")).unwrap()).unwrap();
        let mut validate = python::program("kubernetes-validate").unwrap();
        validate.arg("--strict").args(VERSIONS.iter().flat_map(|version| ["-k", version])).arg(&file);
        // The checker only warns of a kind without a schema, so the lines are counted.
        let said = output(&mut validate).unwrap();
        let passed = said.lines().filter(|line| line.contains(" passed for resource ")).count();
        let own = said.lines().filter(|line| line.contains("schema for kind PodMonitor")).count();
        assert_eq!(passed + own, count * VERSIONS.len(), "{said}");
        assert_eq!(own, if name == "base" { 0 } else { VERSIONS.len() }, "{said}");
    }
    // The checker finds what is wrong.
    let wrong = kustomize::render("packaging/kubernetes/base")
        .unwrap()
        .replace("hostNetwork: true", "hostNetworks: true");
    let file = folder.path().join("wrong.yaml");
    fs::write(&file, wrong).unwrap();
    output(python::program("kubernetes-validate").unwrap().arg("--strict").arg(&file)).unwrap_err();
}

/// The types of the Prometheus Operator's PodMonitor, from its definition. The models ignore unknown keys, so the result must have
/// all keys of the file.
#[test]
fn the_pod_monitor_has_the_types_of_its_definition() {
    const SCRIPT: &str = "import json, sys\n\
        from cloudcoil.models.prometheus_operator.v1 import PodMonitor\n\
        given = json.loads(sys.argv[1])\n\
        kept = PodMonitor.model_validate(given).model_dump(mode='json', by_alias=True, exclude_none=True, exclude_unset=True)\n\
        assert kept == given, (kept, given)";
    let monitor = object("shared", "PodMonitor");
    let check =
        |monitor: &Value| output(python::command().unwrap().args(["-c", SCRIPT, &monitor.to_string()]));
    check(&monitor).unwrap();
    for (key, value) in [("prot", "board"), ("scheme", "ftp")] {
        let mut wrong = monitor.clone();
        wrong["spec"]["podMetricsEndpoints"][0][key] = value.into();
        check(&wrong).unwrap_err();
    }
}

/// What Service, PodMonitor and pod have in common: labels, ports, and the job's name that the alert rules expect.
#[test]
fn service_and_monitor_find_the_pods() {
    let pod = &object("shared", "DaemonSet")["spec"]["template"];
    let labels = &pod["metadata"]["labels"];
    let ports = pod["spec"]["containers"][0]["ports"].as_array().unwrap();
    let (service, monitor) = (object("shared", "Service"), object("shared", "PodMonitor"));
    assert_eq!(&service["spec"]["selector"], labels);
    assert_eq!(&monitor["spec"]["selector"]["matchLabels"], labels);
    for port in
        [&service["spec"]["ports"][0]["targetPort"], &monitor["spec"]["podMetricsEndpoints"][0]["port"]]
    {
        assert!(ports.iter().any(|known| known["name"] == *port), "{port}");
    }
    let job = labels[monitor["spec"]["jobLabel"].as_str().unwrap()].as_str().unwrap();
    let rules = fs::read_to_string(workspace().join("monitoring/alerts.yml")).unwrap();
    assert!(rules.contains(&format!("job=\"{job}\"")), "{job}");
}

/// The capabilities are those of the service, and those that only root in a container needs.
#[test]
fn pods_have_no_right_too_many() {
    let unit = fs::read_to_string(workspace().join("packaging/pxed.service")).unwrap();
    let of_unit = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
    let mut wanted: Vec<&str> = of_unit.split(' ').map(|name| name.trim_start_matches("CAP_")).collect();
    wanted.extend(["IPC_LOCK", "SETUID", "SETGID", "SETPCAP", "CHOWN", "DAC_OVERRIDE"]);
    for (name, _) in KUSTOMIZATIONS {
        let pod = &object(name, "DaemonSet")["spec"]["template"]["spec"];
        let rights = &pod["containers"][0]["securityContext"];
        assert_eq!(strings(&rights["capabilities"]["add"]), wanted);
        assert_eq!(strings(&rights["capabilities"]["drop"]), ["ALL"]);
        assert_eq!(
            (&rights["privileged"], &rights["allowPrivilegeEscalation"]),
            (&false.into(), &false.into())
        );
        assert_eq!(rights["readOnlyRootFilesystem"], true);
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert!(pod["hostPID"].is_null() && pod["hostIPC"].is_null());
        let paths = pod["volumes"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|volume| volume["hostPath"]["path"].as_str());
        assert_eq!(paths.collect::<Vec<_>>(), ["/var/lib/pxed"]);
    }
}

/// `text` is a valid configuration.
fn is_valid(text: &str) {
    let (config, problems) = Config::parse(text);
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert!(config.is_some() && problems.is_empty(), "{problems:?}\n{text}");
}

#[test]
fn the_configurations_are_valid() {
    for (name, _) in KUSTOMIZATIONS {
        is_valid(object(name, "ConfigMap")["data"]["pxed.toml"].as_str().unwrap());
    }
    let inventory = &of_yaml(&workspace().join("packaging/ansible/inventory.yml"))[0];
    let text = inventory["pxed"]["vars"]["pxed_config"].as_str().unwrap();
    is_valid(&text.replace("{{ inventory_hostname }}", "boot-a"));
}

/// A volume of a ConfigMap or a Secret as the kubelet makes it: files are links to `..data`, a link to a folder that it replaces as
/// a whole.
struct Volume(PathBuf);

impl Volume {
    fn new(folder: PathBuf, files: &[(&str, &str)], mode: u32) -> Self {
        fs::create_dir(&folder).unwrap();
        let volume = Self(folder);
        volume.put("..first", files, mode);
        for (name, _) in files {
            symlink(Path::new("..data").join(name), volume.0.join(name)).unwrap();
        }
        volume
    }

    /// Replaces all files at once.
    fn put(&self, version: &str, files: &[(&str, &str)], mode: u32) {
        let folder = self.0.join(version);
        fs::create_dir(&folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
            fs::set_permissions(folder.join(name), Permissions::from_mode(mode)).unwrap();
        }
        symlink(version, self.0.join("..new")).unwrap();
        fs::rename(self.0.join("..new"), self.0.join("..data")).unwrap();
    }
}

/// A pod of a kustomization, as a container in a lab.
struct Pod<'l> {
    spec: Value,
    folder: PathBuf,
    lab: &'l Lab,
    podman: &'l Podman,
}

impl Pod<'_> {
    /// Starts the container with the rights of the pod's container. Each volume is the folder with its name.
    fn start(&self) -> Process {
        let container = &self.spec["containers"][0];
        let rights = &container["securityContext"];
        assert_eq!((&rights["runAsUser"], &rights["runAsGroup"]), (&0.into(), &0.into()));
        assert_eq!(self.spec["hostNetwork"], true);
        let network = format!("ns:/run/netns/{}", self.lab.responder().namespace());
        let mut run = self.podman.command();
        run.args([
            "run",
            "--rm",
            "--name",
            CONTAINER,
            "--user",
            "0:0",
            "--read-only",
            "--read-only-tmpfs=false",
        ]);
        run.args(["--network", &network, "--cap-drop", "all", "--security-opt", "no-new-privileges"]);
        for name in strings(&rights["capabilities"]["add"]) {
            run.args(["--cap-add", name]);
        }
        // As in tests/suites/tests/package.rs: for hosts that do not let root raise limits, and the podman of Debian 12.
        run.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"]);
        run.args(["--security-opt", "seccomp=unconfined"]);
        for variable in container["env"].as_array().unwrap() {
            let [name, value] = ["name", "value"].map(|key| variable[key].as_str().unwrap());
            run.args(["--env", &format!("{name}={value}")]);
        }
        for mount in container["volumeMounts"].as_array().unwrap() {
            let [name, path] = ["name", "mountPath"].map(|key| mount[key].as_str().unwrap());
            let end = if mount["readOnly"] == true { ":ro" } else { "" };
            run.args(["--volume", &format!("{}:{path}{end}", self.folder.join(name).display())]);
        }
        let started = self.lab.spawn("pod", {
            run.arg(IMAGE).args(strings(&container["args"]));
            run
        });
        let container = started.unwrap();
        container.wait_for("ready", LONG).unwrap();
        container
    }

    /// Asks what a probe asks, as the kubelet does: over HTTP in the host's network, or by a program in the container.
    fn probe(&self, name: &str) -> Result<String, String> {
        let probe = &self.spec["containers"][0][name];
        if let Some(get) = probe["httpGet"].as_object() {
            let url = format!(
                "http://{}:{}{}",
                get["host"].as_str().unwrap(),
                get["port"],
                get["path"].as_str().unwrap()
            );
            let host = self.lab.responder();
            return host
                .output("curl", &["--silent", "--show-error", "--fail", &url])
                .map_err(|error| format!("{error:#}"));
        }
        let answer = self.podman.exec(&strings(&probe["exec"]["command"]));
        answer.map(|said| String::from_utf8_lossy(&said).into_owned()).map_err(|error| format!("{error:#}"))
    }
}

#[test]
fn pods_serve_with_their_rights_and_answer_their_probes() {
    let lab = Lab::builder().start().unwrap();
    let context = lab.folder().join("context");
    fs::create_dir(&context).unwrap();
    pxe_packaging::of_program(&daemon::program(), &context.join("pxed_0_amd64.deb")).unwrap();
    let podman = Podman::new(lab.folder());
    podman.build(&fetch_base().unwrap(), &context).unwrap();
    let host = lab.responder();
    for (name, _) in KUSTOMIZATIONS {
        let folder = lab.folder().join(name);
        fs::create_dir(&folder).unwrap();
        let spec = object(name, "DaemonSet")["spec"]["template"]["spec"].clone();
        // The pod's own file, for this host, and without the other hosts.
        let config = object(name, "ConfigMap")["data"]["pxed.toml"].as_str().unwrap().to_owned();
        let config = config.split("\n# `responder` is").next().unwrap().replace("eth0", host.interface());
        let volume = Volume::new(folder.join("config"), &[("pxed.toml", &config)], 0o644);
        Volume::new(folder.join("secrets"), &[("token", TOKEN)], 0o400);
        // A hostPath of the type DirectoryOrCreate, and an emptyDir.
        for (name, mode) in [("state", 0o755), ("run", 0o777)] {
            fs::create_dir(folder.join(name)).unwrap();
            fs::set_permissions(folder.join(name), Permissions::from_mode(mode)).unwrap();
        }
        let pod = Pod { spec, folder, lab: &lab, podman: &podman };

        let container = pod.start();
        let log = container.stderr() + &container.stdout();
        assert!(log.contains("datapath=\"xdp\"") && log.contains("capabilities=\"CAP_BPF\""), "{log}");
        assert!(log.contains("user=\"pxed\"") && !log.contains("are not restricted"), "{log}");
        for probe in ["readinessProbe", "livenessProbe"] {
            pod.probe(probe).unwrap_or_else(|error| panic!("{name}, {probe}: {error}\n{log}"));
        }
        let url = format!("tftp://{}/memtest86+x64.efi", host.address());
        let got = lab.client().command("curl").args(["--silent", "--show-error", &url]).output().unwrap();
        assert!(got.stdout.starts_with(b"MZ"), "{}", String::from_utf8_lossy(&got.stderr));
        // The board shows a machine when it is on the disk.
        let is_shown = || Ok(String::from_utf8(podman.exec(&["pxed", "status"])?)?.contains("1 machine"));
        clock::wait_until("the machine is on the board", LONG, is_shown).unwrap();
        board_is_where_it_should_be(&lab, name);
        // A changed ConfigMap arrives without a restart.
        volume.put("..second", &[("pxed.toml", &format!("style = \"menu\"\n{config}"))], 0o644);
        container.wait_for("applied the changed configuration", LONG).unwrap();
        assert!(container.stop().unwrap().success(), "{}", container.stderr());

        // The next pod on the node finds the history.
        let container = pod.start();
        pod.probe("readinessProbe").unwrap();
        let status = String::from_utf8(podman.exec(&["pxed", "status"]).unwrap()).unwrap();
        assert!(status.contains("1 machine"), "{status}");
        assert!(container.stop().unwrap().success(), "{}", container.stderr());
        pod.probe("livenessProbe").unwrap_err();
    }
}

/// Another host reaches the board only with the kustomization that opens it, and then only with the token.
fn board_is_where_it_should_be(lab: &Lab, name: &str) {
    let url = format!("http://{}:7467/metrics", lab.responder().address());
    let ask = |more: &[&str]| {
        let mut curl = lab.client().command("curl");
        curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]).args(more).arg(&url);
        String::from_utf8(curl.output().unwrap().stdout).unwrap()
    };
    let token = format!("Authorization: Bearer {TOKEN}");
    let expected = if name == "base" { ["000", "000"] } else { ["401", "200"] };
    assert_eq!([ask(&[]), ask(&["--header", &token])], expected);
}

#[test]
fn the_role_passes_ansible_lint() {
    let folder = tempfile::tempdir().unwrap();
    // A copy, because ansible-lint writes into the folder.
    let role = copy_of_the_role(folder.path());
    let run = |program: &str, arguments: &[&str]| {
        let mut command = python::program(program).unwrap();
        command.args(arguments).current_dir(&role).env("HOME", folder.path()).env("LC_ALL", "C.UTF-8");
        output(&mut command)
    };
    run("ansible-lint", &["--offline", "--strict", "--nocolor", "--profile", "production", "."]).unwrap();
    run("ansible-playbook", &["--inventory", "inventory.yml", "--syntax-check", "playbook.yml"]).unwrap();
}

fn copy_of_the_role(to: &Path) -> PathBuf {
    let from = workspace().join("packaging/ansible");
    output(Command::new("cp").args(["--recursive"]).arg(from).arg(to)).unwrap();
    to.join("ansible")
}

/// In place of systemd, which does not run in a folder: answers as `systemctl` does, and records what it is to do.
const SYSTEMCTL: &str = r#"#!/bin/sh
state=/var/lib/systemctl
mkdir -p "$state"
case "$1" in
show) printf 'Id=%s\nLoadState=loaded\nActiveState=%s\n' "$2" "$(cat "$state/$2" 2>/dev/null || echo inactive)" ;;
is-enabled) if [ -e "$state/$2.enabled" ]; then echo enabled; else echo disabled; exit 1; fi ;;
*) echo "$*" >>"$state/log" ;;
esac
case "$1" in
enable) : >"$state/$2.enabled" ;;
start | restart) echo active >"$state/$2" ;;
esac
"#;

/// A clean Debian 12 with its own Ansible, older than the one of the test above, which installs pxed there.
struct Host {
    root: Root,
    /// The variables of the play, in JSON.
    variables: Value,
}

impl Host {
    fn new(folder: &Path) -> Self {
        let root = Root::unpack("bookworm", folder).unwrap();
        root.run(&["apt-get", "update", "--quiet", "--quiet"]).unwrap();
        let install = ["apt-get", "install", "--quiet", "--yes", "--no-install-recommends"];
        root.run(&[&install[..], &["ansible-core", "python3-apt"]].concat()).unwrap();
        copy_of_the_role(&root.path("root"));
        let deb = root.path("root/pxed.deb");
        pxe_packaging::of_program(&daemon::program(), &deb).unwrap();
        let sum = output(Command::new("sha256sum").arg(&deb)).unwrap();
        let systemctl = root.path("usr/local/sbin/systemctl");
        fs::write(&systemctl, SYSTEMCTL).unwrap();
        fs::set_permissions(systemctl, Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(root.path("srv/tftp")).unwrap();
        fs::write(root.path("srv/tftp/bootx64.efi"), "MZ").unwrap();
        let variables = serde_json::json!({
            "pxed_package": "/root/pxed.deb",
            "pxed_package_sha256": sum.split(' ').next().unwrap(),
            "pxed_package_recommends": false,
            "pxed_ledger_password": "secret of the test",
            "pxed_board_token": TOKEN,
            "pxed_config": CONFIG,
        });
        Self { root, variables }
    }

    /// Runs the playbook, and returns the number of changes.
    fn play(&self, more: &[&str]) -> Result<usize, String> {
        let variables = self.variables.to_string();
        let play = [
            "ansible-playbook",
            "--inventory",
            "localhost,",
            "--connection",
            "local",
            "--extra-vars",
            &variables,
        ];
        let words = [&play[..], more, &["/root/ansible/playbook.yml"]].concat();
        let mut run = self.root.command(&words);
        // The inventory is this host alone, in no group.
        let playbook = self.root.path("root/ansible/playbook.yml");
        let text = fs::read_to_string(&playbook).unwrap();
        fs::write(&playbook, text.replace("hosts: pxed", "hosts: all")).unwrap();
        let out = run.env("ANSIBLE_NOCOLOR", "1").output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let changed =
            said.split("changed=").last().and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        if out.status.success() { Ok(changed.unwrap()) } else { Err(said) }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.variables[name] = value.into();
    }

    /// What systemctl was to do since the last call, except to read units.
    fn asked(&self) -> Vec<String> {
        let log = self.root.path("var/lib/systemctl/log");
        let text = fs::read_to_string(&log).unwrap_or_default();
        drop(fs::remove_file(log));
        text.lines().filter(|line| *line != "daemon-reload").map(str::to_owned).collect()
    }

    /// The owner, group and mode of a file, as `stat` prints them.
    fn rights(&self, path: &str) -> String {
        self.root.run(&["stat", "--format", "%U %G %a", path]).unwrap().trim().to_owned()
    }
}

const CONFIG: &str = "interfaces = [\"eth0\"]\nstate = \"/var/lib/pxed\"\nroot = \"/srv/tftp\"\n";

#[test]
fn the_role_sets_a_host_up_and_does_nothing_the_second_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::new(folder.path());
    let is_installed = |host: &Host| host.root.path("usr/bin/pxed").exists();
    // Check mode on a new host changes nothing.
    assert!(host.play(&["--check", "--diff"]).unwrap() > 0);
    assert!(!is_installed(&host) && !host.root.path("var/cache/pxed").exists() && host.asked().is_empty());
    // A package with another sum is not installed.
    let sum = host.variables["pxed_package_sha256"].as_str().unwrap().to_owned();
    host.set("pxed_package_sha256", &"0".repeat(64));
    assert!(host.play(&[]).unwrap_err().contains("another SHA-256 sum") && !is_installed(&host));
    host.set("pxed_package_sha256", &sum);

    assert!(host.play(&[]).unwrap() > 5);
    assert_eq!(host.asked()[..2], ["enable pxed.service", "start pxed.service"]);
    let read = |host: &Host, path: &str| fs::read_to_string(host.root.path(path)).unwrap();
    assert_eq!(read(&host, "etc/pxed/pxed.toml"), CONFIG);
    for (path, rights) in [
        ("/etc/pxed/pxed.toml", "root root 644"),
        ("/etc/pxed/ledger-password", "root root 600"),
        ("/etc/pxed/token", "root pxed 640"),
    ] {
        assert_eq!(host.rights(path), rights, "{path}");
    }
    let drop_in = read(&host, "etc/systemd/system/pxed.service.d/ledger.conf");
    assert!(drop_in.contains("LoadCredential=ledger-password:/etc/pxed/ledger-password\n"), "{drop_in}");

    assert_eq!(host.play(&[]), Ok(0));
    assert_eq!(host.play(&["--check"]), Ok(0));
    assert_eq!(host.asked(), [""; 0]);

    let changed = format!("{CONFIG}style = \"menu\"\n");
    host.set("pxed_config", &changed);
    host.play(&["--check"]).unwrap();
    assert_eq!((read(&host, "etc/pxed/pxed.toml").as_str(), host.asked()), (CONFIG, Vec::new()));
    // The file and the handler.
    assert_eq!(host.play(&[]), Ok(2));
    assert_eq!(host.asked(), ["reload pxed.service"]);
    host.set("pxed_ledger_password", "another secret");
    assert_eq!(host.play(&[]), Ok(2));
    assert_eq!(host.asked(), ["restart pxed.service"]);
    // pxed rejects the file, so the one before stays.
    host.set("pxed_config", "interfaces = 7\n");
    assert!(host.play(&[]).unwrap_err().contains("failed to validate"));
    assert_eq!((read(&host, "etc/pxed/pxed.toml"), host.asked()), (changed, Vec::new()));

    // A further instance, on a host whose services are left alone.
    host.set("pxed_config", CONFIG);
    host.set("pxed_name", "lab");
    host.variables["pxed_service_managed"] = false.into();
    host.play(&[]).unwrap();
    assert_eq!((read(&host, "etc/pxed/lab.toml").as_str(), host.asked()), (CONFIG, Vec::new()));
    assert!(host.root.path("etc/systemd/system/pxed@lab.service.d/ledger.conf").exists());
    assert_eq!(host.play(&[]), Ok(0));
}
