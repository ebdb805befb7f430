//! Boot files that change while machines load them (issue 5, "Faults"): whoever has begun gets what was there, whole; who
//! comes later gets what is there, or the protocol's own error. Replacing and rewriting again and again is in
//! `faults_load`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use pxe_tests::load::fleet;
use pxe_tests::pair::{self, Pair, Running};
use pxe_tests::tree;

const DATAPATHS: [&[&str]; 2] = [&["--datapath", "xdp"], &["--datapath", "socket"]];
const OLD: usize = 4_000_000;

/// What happens to the file.
#[derive(Clone, Copy, Debug)]
enum Change {
    Truncated,
    Deleted,
    Unreadable,
}

impl Change {
    const ALL: [Self; 3] = [Self::Truncated, Self::Deleted, Self::Unreadable];

    fn make(self, file: &Path) {
        match self {
            Self::Truncated => fs::OpenOptions::new().write(true).open(file).unwrap().set_len(1000).unwrap(),
            Self::Deleted => fs::remove_file(file).unwrap(),
            Self::Unreadable => fs::set_permissions(file, fs::Permissions::from_mode(0o0)).unwrap(),
        }
    }

    /// Waits until the daemon has seen it.
    fn wait_seen(self, daemon: &Running) {
        let event = if matches!(self, Self::Truncated) { "file_changed" } else { "file_gone" };
        daemon.wait_for(event).unwrap();
    }
}

fn stage() -> (Pair, Vec<u8>) {
    let pair = Pair::new(1).unwrap();
    let old = tree::bytes(OLD);
    pair.put("file", &old).unwrap();
    (pair, old)
}

#[test]
fn transfers_end_on_the_bytes_that_they_began_with() {
    for datapath in DATAPATHS {
        for change in Change::ALL {
            let (pair, old) = stage();
            let daemon = pair.serve(datapath).unwrap();
            let plan = pair.plan(50, ("file", &old), 2070);
            let machines = std::thread::spawn(move || fleet::run(&plan).unwrap());
            std::thread::sleep(Duration::from_millis(200));
            change.make(&pair.root().join("file"));
            assert!(!machines.is_finished(), "all were through before it changed");
            pair::all_done(&machines.join().unwrap())
                .unwrap_or_else(|error| panic!("{datapath:?}, {change:?}: {error}\n{}", daemon.log()));
            change.wait_seen(&daemon);
            let late = pair.plan(10, ("file", &old[..1000]), 3070);
            let report = fleet::run(&late).unwrap();
            let expected = if matches!(change, Change::Truncated) { (10, 0) } else { (0, 10) };
            assert_eq!(
                (report.done, report.failed),
                expected,
                "{datapath:?}, {change:?}: {}\n{}",
                report.to_json(),
                daemon.log()
            );
            assert_eq!(report.wrong, 0);
            daemon.stop().unwrap();
        }
    }
}
