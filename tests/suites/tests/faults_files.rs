//! Boot files that change while machines load them. Running transfers end with the old bytes. Later ones get the new
//! file, or the protocol's error. `faults_load` replaces and rewrites files again and again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use pxe_kit::daemon::Daemon;
use pxe_kit::{Lab, clock, tree};
use pxe_load::fleet;
use pxe_load::pair::{self, Pair};

const DATAPATHS: [&[&str]; 2] = [&["--datapath", "xdp"], &["--datapath", "socket"]];
const OLD: usize = 4_000_000;
/// The length of the file over HTTP. It is larger, because the sockets of a slow reader can hold as much as `OLD`.
const DOWNLOAD: usize = 10 * OLD;
/// The limit of downloads from one address at once.
const MOST: usize = 8;
/// The limit for all waits. It only ends a test that hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// A change of the file.
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

    /// The event that the daemon logs for the change.
    fn event(self) -> &'static str {
        if matches!(self, Self::Truncated) { "file_changed" } else { "file_gone" }
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
            fleet::run_and_amid(&plan, || change.make(&pair.root().join("file")))
                .and_then(|report| pair::all_done(&report))
                .unwrap_or_else(|error| panic!("{datapath:?}, {change:?}: {error}\n{}", daemon.log()));
            daemon.wait_for(change.event()).unwrap();
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

/// The readers are slow, so that a part of the file is still to be sent when it changes.
#[test]
fn downloads_over_http_end_on_the_bytes_that_they_began_with() {
    for change in Change::ALL {
        let lab = Lab::builder().start().unwrap();
        let old = tree::bytes(DOWNLOAD);
        let root = tree::with_files(lab.folder(), &[("file", old.clone())]).unwrap();
        let arguments = ["--root", root.to_str().unwrap(), "--boot-file", "x64=file", "--http-port", "8080"];
        let daemon = Daemon::start(&lab, &arguments).unwrap();
        let url = format!("http://{}:8080/file", lab.responder().address());
        let got = |number: usize| lab.folder().join(format!("got-{number}"));
        let download = |number: usize, rate: &str| {
            let mut curl = lab.client().command("curl");
            curl.args(["-sSf", "--max-time", "120", "--limit-rate", rate, &url]);
            curl.arg("--output").arg(got(number)).spawn().unwrap()
        };
        let mut slow: Vec<_> = (0..MOST).map(|number| download(number, "8M")).collect();
        let has_begun = |number| fs::metadata(got(number)).is_ok_and(|file| file.len() > 0);
        clock::wait_until("all downloads have started", LIMIT, || Ok((0..MOST).all(has_begun))).unwrap();
        change.make(&root.join("file"));
        let all_load = slow.iter_mut().all(|curl| curl.try_wait().unwrap().is_none());
        assert!(all_load, "a download ended before the file changed");
        for (number, curl) in slow.iter_mut().enumerate() {
            assert!(curl.wait().unwrap().success(), "{change:?}, {number}: {}", daemon.log());
            assert!(fs::read(got(number)).unwrap() == old, "{change:?}, {number}: the bytes differ");
        }
        daemon.wait_for(change.event()).unwrap();
        let late = download(99, "1G").wait().unwrap();
        match change {
            Change::Truncated => assert!(late.success() && fs::read(got(99)).unwrap() == old[..1000]),
            // curl's exit code for 400 and above.
            Change::Deleted | Change::Unreadable => assert_eq!(late.code(), Some(22), "{change:?}"),
        }
        daemon.stop().unwrap();
    }
}
