//! Images from elsewhere, in a daemon with its whole confinement: from an S3 store (moto) and from a web server with TLS.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pxe_kit::daemon::{Daemon, program};
use pxe_kit::store::{BUCKET, S3, Web};
use pxe_kit::{clock, command, namespace};
use rustix::process::Signal;

/// The limit of all waits. Generous, because no test asserts a time.
const WAIT: Duration = Duration::from_secs(60);
const SERVER: &str = "http://10.99.0.2:8080";

/// A host in a namespace of its own: the interface `pxe0`, a folder for the daemon, one for servers, and an image of this host.
struct Place {
    folder: tempfile::TempDir,
    servers: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        namespace::enter_new().unwrap();
        for line in [
            "link set lo up",
            "link add pxe0 type veth peer name peer0",
            "addr add 10.99.0.2/24 dev pxe0",
            "link set pxe0 up",
            "link set peer0 up",
        ] {
            command::output(Command::new("ip").args(line.split(' '))).unwrap();
        }
        let place = Self { folder: tempfile::tempdir().unwrap(), servers: tempfile::tempdir().unwrap() };
        fs::create_dir(place.path("local")).unwrap();
        fs::write(place.path("local/bootx64.efi"), "of this host").unwrap();
        // The daemon's user reads the tree and the configuration.
        command::output(Command::new("chmod").args(["-R", "a+rX"]).arg(place.folder.path())).unwrap();
        place
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Writes the configuration with one image from elsewhere beside that of this host.
    fn configure(&self, authority: &Path, upstream: &str, image: &str) {
        let text = format!(
            "interfaces = [\"pxe0\"]\nstate = \"{}\"\nsocket = \"{}\"\n[http]\nport = 8080\n[upstream]\nca_file = \"{}\"\n{upstream}\n\
             [images.local]\nroot = \"{}\"\n[images.remote]\n{image}\n[[rules]]\nimage = \"remote\"\nmatch = {{ arch = \"bios\" }}\n\
             [[rules]]\nimage = \"local\"\n",
            self.path("state"),
            self.path("pxed.sock"),
            authority.display(),
            self.path("local")
        );
        // As a whole: the daemon may read it at any time.
        fs::write(self.path("new.toml"), text).unwrap();
        fs::rename(self.path("new.toml"), self.path("pxed.toml")).unwrap();
    }

    fn start(&self) -> Daemon {
        let words = ["--log-format", "json", "serve", "--config", &self.path("pxed.toml")];
        let words = words.into_iter().chain(["--socket"]).map(str::to_owned).chain([self.path("pxed.sock")]);
        let program = program().display().to_string();
        Daemon::start_here(&std::iter::once(program).chain(words).collect::<Vec<_>>()).unwrap()
    }
}

/// What a machine gets under a name. `None` if pxed does not serve it.
fn fetched(name: &str) -> Option<Vec<u8>> {
    let url = format!("{SERVER}/{name}");
    let got = Command::new("curl").args(["--silent", "--fail", "--max-time", "20", &url]).output().unwrap();
    got.status.success().then_some(got.stdout)
}

/// The problem of the image that the API shows.
fn problem(daemon: &Daemon) -> Option<String> {
    daemon.summary().unwrap()["images"][0]["problem"].as_str().map(str::to_owned)
}

/// Waits until the API shows a problem, or none.
fn wait_problem(daemon: &Daemon, words: Option<&str>) -> String {
    let is_it = || match (problem(daemon), words) {
        (Some(problem), Some(words)) => problem.contains(words),
        (problem, words) => problem.is_none() && words.is_none(),
    };
    clock::wait_until(&format!("{words:?} is shown"), WAIT, || Ok(is_it())).unwrap_or_else(|error| {
        panic!("{error:#}: {:?}\n{}", problem(daemon), daemon.log());
    });
    problem(daemon).unwrap_or_default()
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_machine_gets_an_image_of_an_s3_store_and_the_next_one_its_new_version() {
    let place = Place::new();
    let store = S3::start(place.servers.path()).unwrap();
    let (kernel, initrd) = (vec![7; 3_000_000], vec![8; 1_000_000]);
    store.put("vmlinuz", &kernel).unwrap();
    store.put("a/initrd", &initrd).unwrap();
    // moto computes another signature for a prefix with a slash, also for boto3. So the image is the whole bucket.
    store.require_key().unwrap();
    let (id, secret) = store.key();
    fs::write(place.path("key"), format!("{id}\n{secret}\n")).unwrap();
    let upstream =
        format!("s3_endpoint = \"{}\"\ns3_credentials_file = \"{}\"", store.endpoint(), place.path("key"));
    place.configure(&store.authority(), &upstream, &format!("source = \"s3://{BUCKET}/\""));
    let daemon = place.start();
    daemon.wait_events("image_fetched", 1).unwrap();
    assert!(fetched("remote/vmlinuz") == Some(kernel.clone()) && fetched("remote/a/initrd") == Some(initrd));
    // Both files change. A machine gets both new ones, once they are here.
    let (new_kernel, new_initrd) = (vec![9; 2_000_000], vec![1; 500_000]);
    store.put("vmlinuz", &new_kernel).unwrap();
    store.put("a/initrd", &new_initrd).unwrap();
    assert!(fetched("remote/vmlinuz") == Some(kernel), "pxed asks at the next look");
    daemon.signal(Signal::HUP).unwrap();
    daemon.wait_events("image_fetched", 2).unwrap();
    assert!(fetched("remote/vmlinuz") == Some(new_kernel.clone()));
    assert!(fetched("remote/a/initrd") == Some(new_initrd));
    let is_counted = || Ok(daemon.get("/metrics")?.contains("pxed_image_fetched_total{image=\"remote\"} 2"));
    clock::wait_until("both versions are counted", WAIT, is_counted).unwrap();
    // The store is away, also at the next start.
    store.stop().unwrap();
    daemon.signal(Signal::HUP).unwrap();
    wait_problem(&daemon, Some("machines get the version before"));
    assert!(fetched("remote/vmlinuz") == Some(new_kernel.clone()));
    daemon.stop().unwrap();
    let daemon = place.start();
    assert!(fetched("remote/vmlinuz") == Some(new_kernel));
    wait_problem(&daemon, Some("Connection refused"));
    daemon.stop().unwrap();
}

#[test]
fn a_source_that_is_away_delays_nothing_and_its_image_comes_with_it() {
    let place = Place::new();
    let mut web = Web::start(place.servers.path()).unwrap();
    fs::write(web.files().join("vmlinuz"), "kernel").unwrap();
    web.stop().unwrap();
    let image = format!("source = \"{}\"\nkernel = \"vmlinuz\"", web.url());
    place.configure(&web.authority(), "", &image);
    let daemon = place.start();
    let problem = wait_problem(&daemon, Some("machines get nothing of this image"));
    assert!(problem.contains("Check that the server runs"), "{problem}");
    assert_eq!(fetched("local/bootx64.efi").as_deref(), Some(&b"of this host"[..]));
    assert_eq!(fetched("remote/vmlinuz"), None);
    let checked =
        Command::new(program()).args(["check", "--no-host", "--config", &place.path("pxed.toml")]).output();
    let said = String::from_utf8(checked.unwrap().stderr).unwrap();
    assert!(said.contains("image `remote` is not here yet"), "{said}");
    web.start_again().unwrap();
    daemon.wait_events("image_fetched", 1).unwrap();
    wait_problem(&daemon, None);
    assert_eq!(fetched("remote/vmlinuz").as_deref(), Some(&b"kernel"[..]));
    assert_eq!(daemon.events("image_source_problem").len(), 1, "{}", daemon.log());
    daemon.stop().unwrap();
}

#[test]
fn a_file_with_another_digest_is_named_and_everything_else_is_served() {
    let place = Place::new();
    let web = Web::start(place.servers.path()).unwrap();
    fs::write(web.files().join("vmlinuz"), "kernel").unwrap();
    let image = |pin: &str| {
        format!("source = \"{}\"\nkernel = \"vmlinuz\"\nsha256 = {{ vmlinuz = \"{pin}\" }}", web.url())
    };
    place.configure(&web.authority(), "", &image(&sha256(b"another")));
    let daemon = place.start();
    let problem = wait_problem(&daemon, Some("correct `sha256`"));
    assert!(problem.contains(&sha256(b"kernel")) && problem.contains(&sha256(b"another")), "{problem}");
    assert_eq!(fetched("remote/vmlinuz"), None);
    assert_eq!(fetched("local/bootx64.efi").as_deref(), Some(&b"of this host"[..]));
    place.configure(&web.authority(), "", &image(&sha256(b"kernel")));
    daemon.wait_events("image_fetched", 1).unwrap();
    wait_problem(&daemon, None);
    assert_eq!(fetched("remote/vmlinuz").as_deref(), Some(&b"kernel"[..]));
    // The confined daemon connects to no other server: the file is rejected, and everything stays.
    place.configure(&web.authority(), "", "source = \"https://127.0.0.1:1/\"\nkernel = \"vmlinuz\"");
    let refused = daemon.wait_events("refused_config", 1).unwrap();
    assert!(refused[0].contains("restart pxed"), "{refused:?}");
    assert_eq!(fetched("remote/vmlinuz").as_deref(), Some(&b"kernel"[..]));
    daemon.stop().unwrap();
}

#[test]
fn without_an_image_from_elsewhere_there_is_no_thread_and_no_cache() {
    let place = Place::new();
    place.configure(&place.servers.path().join("none"), "", "root = \"/srv\"");
    let daemon = place.start();
    let tasks = format!("/proc/{}/task", daemon.pid());
    let names = fs::read_dir(tasks)
        .unwrap()
        .map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap());
    let names: Vec<_> = names.map(|name| name.trim().to_owned()).collect();
    assert!(names.iter().any(|name| name == "pxed-loader"), "{names:?}");
    assert!(!names.iter().any(|name| name == "pxed-images"), "{names:?}");
    assert!(!Path::new(&place.path("state/pxed-images")).exists());
    daemon.stop().unwrap();
}
