//! Too few descriptors, too little memory: the daemon serves, or logs one sentence that names what is missing.

use std::fs;
use std::path::{Path, PathBuf};

use pxe_kit::daemon::Daemon;
use pxe_kit::{clock, tree};
use pxe_load::fleet;
use pxe_load::pair::{self, INTERFACE, Pair, run};

const DATAPATHS: [&[&str]; 2] = [&["--datapath", "xdp"], &["--datapath", "socket"]];
/// The number of descriptors that the daemon needs for one interface with one queue, according to its message.
const DESCRIPTORS: u32 = 104;
/// The memory limit of a control group, and a file that is larger than half of it.
const GROUP: u64 = 256 << 20;
const LARGE: u64 = 160 << 20;

/// A command line that starts the daemon through another program.
fn under(before: &[&str], words: Vec<String>) -> Vec<String> {
    before.iter().map(|word| (*word).to_owned()).chain(words).collect()
}

#[test]
fn with_too_few_descriptors_it_says_how_many_it_needs_and_with_those_it_serves() {
    let pair = Pair::new(1).unwrap();
    let file = tree::bytes(50_000);
    pair.put("file", &file).unwrap();
    for (datapath, port) in DATAPATHS.into_iter().zip([2070, 3070]) {
        for limit in [8, 16, 26, 40, 64, DESCRIPTORS - 1] {
            let limit = format!("--nofile={limit}:{limit}");
            let words = under(&["prlimit", &limit], pair.command(datapath).unwrap());
            Daemon::launch_here(&words).unwrap().ends_saying(&["104 are needed", "ulimit -n"]).unwrap();
            assert_eq!(pair::attached(INTERFACE).unwrap(), 0);
        }
        let limit = format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}");
        let daemon =
            Daemon::start_here(&under(&["prlimit", &limit], pair.command(datapath).unwrap())).unwrap();
        let loaded = pair.load(("file", &file), port);
        loaded.unwrap_or_else(|error| panic!("{error:#}\n{}", daemon.log()));
        daemon.stop().unwrap();
    }
}

#[test]
fn without_locked_memory_sockets_serve_and_a_sentence_says_why() {
    let pair = Pair::new(1).unwrap();
    let file = tree::bytes(50_000);
    pair.put("file", &file).unwrap();
    // Without CAP_IPC_LOCK, with which root can exceed the limit.
    let before = [
        "prlimit",
        "--memlock=65536:65536",
        "setpriv",
        "--bounding-set=-ipc_lock",
        "--inh-caps=-ipc_lock",
        "--",
    ];
    let only_xdp = under(&before, pair.command(&["--datapath", "xdp"]).unwrap());
    Daemon::launch_here(&only_xdp).unwrap().ends_saying(&["ulimit -l", "LimitMEMLOCK="]).unwrap();
    assert_eq!(pair::attached(INTERFACE).unwrap(), 0);
    let daemon = Daemon::start_here(&under(&before, pair.command(&[]).unwrap())).unwrap();
    daemon.wait_for("pxed falls back to plain sockets").unwrap();
    assert!(daemon.log().contains("ulimit -l"), "{}", daemon.log());
    pair.load(("file", &file), 2070).unwrap();
    daemon.stop().unwrap();
}

/// A control group with a memory limit. Dropping it removes it, which fails while a process is in it.
struct Group(PathBuf);

impl Group {
    /// Makes the group in this thread's mount namespace, where /sys is new. Uses version 1 or 2 of control groups,
    /// whichever manages memory on this host.
    fn new(limit: u64) -> Self {
        let root = Path::new("/sys/fs/cgroup");
        run("mount", &["-t", "tmpfs", "none", "/sys/fs/cgroup"]).unwrap();
        fs::create_dir(root.join("memory")).unwrap();
        let name = format!("pxed-test-{}", std::process::id());
        let folder =
            if run("mount", &["-t", "cgroup", "-o", "memory", "none", "/sys/fs/cgroup/memory"]).is_ok() {
                root.join("memory").join(name)
            } else {
                run("umount", &["/sys/fs/cgroup"]).unwrap();
                run("mount", &["-t", "cgroup2", "none", "/sys/fs/cgroup"]).unwrap();
                // This fails if the controller is already enabled.
                let _ = fs::write(root.join("cgroup.subtree_control"), "+memory");
                root.join(name)
            };
        fs::create_dir(&folder).unwrap();
        let group = Self(folder);
        let file = ["memory.max", "memory.limit_in_bytes"].map(|file| group.0.join(file));
        let file = file.into_iter().find(|file| file.exists()).expect("a memory controller");
        fs::write(file, limit.to_string()).unwrap();
        group
    }

    /// A command line that runs another one in the group.
    fn within(&self, words: Vec<String>) -> Vec<String> {
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.0.display());
        under(&["sh", "-c", &enter, "sh"], words)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let empty = || Ok(fs::remove_dir(&self.0).is_ok());
        let _ = clock::wait_until("the group is empty", std::time::Duration::from_secs(10), empty);
    }
}

/// Boot files may use half of the group's memory. Otherwise one large file would make the kernel kill the daemon.
#[test]
fn a_file_that_is_too_large_for_the_control_group_is_refused_and_others_are_served() {
    let pair = Pair::new(1).unwrap();
    let group = Group::new(GROUP);
    let small = tree::bytes(50_000);
    pair.put("small", &small).unwrap();
    fs::File::create(pair.root().join("large")).unwrap().set_len(LARGE).unwrap();
    for (datapath, port) in DATAPATHS.into_iter().zip([2070, 3070]) {
        let daemon = Daemon::start_here(&group.within(pair.command(datapath).unwrap())).unwrap();
        let report = fleet::run(&pair.plan(4, ("large", &[]), port)).unwrap();
        assert_eq!((report.failed, report.wrong), (4, 0), "{}", daemon.log());
        assert!(daemon.is_running(), "{}", daemon.log());
        pair.load(("small", &small), port + 500).unwrap();
        let log = daemon.stop().unwrap();
        assert!(log.contains("too_large") || log.contains("memory"), "{log}");
    }
}
