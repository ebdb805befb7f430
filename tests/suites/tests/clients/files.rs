//! Files over TFTP: every byte arrives, refusals, uploads, and changes during the run.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use pxe_kit::daemon::Daemon;
use pxe_kit::{Lab, tree};

use super::*;

#[test]
fn every_client_gets_every_byte_over_every_datapath() {
    let files = [("small", tree::bytes(1000)), ("boot/large", tree::bytes(1_500_000)), ("empty", Vec::new())];
    for (name, datapath) in DATAPATHS {
        println!("{name}");
        let lab = Lab::builder().start().unwrap();
        let daemon = serve(&lab, &files, datapath);
        let (host, server) = (lab.client(), lab.responder().address());
        let folder = tempfile::tempdir_in(lab.folder()).unwrap();
        let here = folder.path();
        let get = |what: &str, program: &str, arguments: &[&str]| {
            run_in(host, here, program, arguments);
            for (file, bytes) in &files {
                if arguments.iter().any(|argument| argument.ends_with(file)) {
                    let got = fs::read(here.join("got")).unwrap();
                    assert!(
                        got == *bytes,
                        "{what}: {file}: {} of {} bytes arrived, or the bytes differ",
                        got.len(),
                        bytes.len()
                    );
                    fs::remove_file(here.join("got")).unwrap();
                }
            }
        };
        for file in ["small", "boot/large", "empty"] {
            get("tftp-hpa", "tftp", &["-m", "binary", &server, "-c", "get", file, "got"]);
            get("busybox", "busybox", &["tftp", "-b", "1468", "-l", "got", "-r", file, "-g", &server]);
            get("busybox without options", "busybox", &["tftp", "-l", "got", "-r", file, "-g", &server]);
            let url = format!("tftp://{server}/{file}");
            // curl 7.88 fails at the end of an empty file, with any server.
            if file != "empty" {
                get(
                    "curl",
                    "curl",
                    &["--silent", "--show-error", "--tftp-blksize", "1400", "--output", "got", &url],
                );
            }
            for window in ["windowsize 1", "windowsize 4", "windowsize 16", "windowsize 64"] {
                let options = ["--option", "blksize 1428", "--option", "tsize 0", "--option", window];
                let rest = ["--get", "--local-file", "got", "--remote-file", file, &server];
                get(window, "atftp", &[&options[..], &rest[..]].concat());
            }
        }
        let fetched = daemon.wait_events("fetched", 23).unwrap();
        assert!(
            fetched.iter().all(|line| line.contains(&format!("\"mac\":\"{}\"", host.mac()))),
            "{fetched:?}"
        );
        let log = daemon.stop().unwrap();
        assert_eq!(
            Daemon::count(&log, "tftp_timeouts"),
            0,
            "{name}: nothing is lost here, so nothing may be retransmitted"
        );
        assert_eq!(Daemon::count(&log, "tftp_complete"), 23, "{name}");
        let (xdp, tcx) = (Daemon::count(&log, "answer_xdp"), Daemon::count(&log, "answer_tcx"));
        assert_eq!(xdp + tcx > 3000, offloads(datapath), "{name}: the kernel answered {xdp} + {tcx} ACKs");
        assert_eq!(Daemon::count(&log, "drop_not_answered"), 0, "{name}");
    }
}

/// clients.md, section 6, line 29: block numbers wrap from 65535 to 0.
#[test]
fn line_29_more_than_65535_blocks_arrive() {
    // curl's client wraps, and takes blocks of 10 bytes: 70,001 of them.
    let files = [("small", tree::bytes(10)), ("many-blocks", tree::bytes(700_003))];
    for (name, datapath) in DATAPATHS {
        let lab = Lab::builder().start().unwrap();
        let daemon = serve(&lab, &files, datapath);
        let folder = tempfile::tempdir_in(lab.folder()).unwrap();
        let server = lab.responder().address();
        let url = format!("tftp://{server}/many-blocks");
        let arguments = ["--silent", "--show-error", "--tftp-blksize", "10", "--output", "got", &url];
        run_in(lab.client(), folder.path(), "curl", &arguments);
        assert!(fs::read(folder.path().join("got")).unwrap() == files[1].1, "{name}");
        daemon.stop().unwrap();
    }
}

/// clients.md, section 6, lines 30 and 33; section 5, lines 8 and 15.
#[test]
fn what_is_not_served_is_refused_at_once_with_the_protocols_own_error() {
    let files = [("small", tree::bytes(1000)), ("folder/file", tree::bytes(10))];
    for (name, datapath) in DATAPATHS {
        println!("{name}");
        let lab = Lab::builder().start().unwrap();
        let daemon = serve(&lab, &files, datapath);
        let (host, server) = (lab.client(), lab.responder().address());
        let folder = tempfile::tempdir_in(lab.folder()).unwrap();
        let here = folder.path();
        let url = |file: &str| format!("tftp://{server}/{file}");
        // curl's exit codes: 68 file not found, 69 permission problem.
        let curl = |file: &str| {
            let mut command = host.command("curl");
            let command =
                command.args(["--silent", "--path-as-is", "--max-time", "20", "--output", "/dev/null"]);
            command.arg(url(file)).status().unwrap().code()
        };
        assert_eq!(curl("small"), Some(0), "{name}");
        assert_eq!(curl("no-such-file"), Some(68), "{name}");
        assert_eq!(curl("../../../../etc/passwd"), Some(69), "{name}");
        assert_eq!(curl("folder"), Some(69), "{name}");
        assert_eq!(curl("//folder//file"), Some(0), "{name}");
        fs::write(here.join("upload"), b"x").unwrap();
        let said = fails_in(host, here, "busybox", &["tftp", "-l", "upload", "-r", "new", "-p", &server]);
        assert!(said.contains("read only"), "{said}");
        // tftp-hpa's client requests netascii by default.
        let said = host
            .command("tftp")
            .args([&server, "-c", "get", "small", "got"])
            .current_dir(here)
            .output()
            .unwrap();
        let said =
            String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
        assert!(said.contains("octet"), "{said}");
        let log = daemon.stop().unwrap();
        for label in ["not_found", "dot_dot", "not_a_file", "tftp_refused_write", "tftp_refused_mode"] {
            assert_eq!(Daemon::count(&log, label), 1, "{name}: {label}\n{log}");
        }
    }
}

/// With an inbox, clients can upload files. Files arrive complete, only pxed's user can read them, and they are never
/// overwritten.
#[test]
fn real_clients_put_files_into_the_inbox() {
    let sizes = [0, 1, 511, 512, 1468, 300_000];
    for (name, datapath) in [DATAPATHS[2], DATAPATHS[1], DATAPATHS[4]] {
        println!("{name}");
        let lab = Lab::builder().start().unwrap();
        let inbox = lab.folder().join("inbox");
        let config = lab.folder().join("pxed.toml");
        fs::write(&config, format!("[inbox]\ndirectory = {inbox:?}\nfile_mib = 1\n")).unwrap();
        let arguments = [datapath, &["--config", config.to_str().unwrap()]].concat();
        let daemon = serve(&lab, &[("small", tree::bytes(10))], &arguments);
        let (host, server) = (lab.client(), lab.responder().address());
        let folder = tempfile::tempdir_in(lab.folder()).unwrap();
        let here = folder.path();
        let kept = inbox.join(host.mac());
        for size in sizes {
            let bytes = tree::bytes(size);
            fs::write(here.join("local"), &bytes).unwrap();
            let put = |what: &str, program: &str, arguments: &[&str]| {
                let remote = format!("{what}-{size}");
                let arguments: Vec<_> =
                    arguments.iter().map(|word| word.replace("REMOTE", &remote)).collect();
                let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
                run_in(host, here, program, &arguments);
                let file = kept.join(&remote);
                assert!(fs::read(&file).unwrap() == bytes, "{name}: {remote}");
                assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600, "{remote}");
            };
            put("tftp-hpa", "tftp", &["-m", "binary", &server, "-c", "put", "local", "REMOTE"]);
            put("busybox", "busybox", &["tftp", "-b", "1468", "-l", "local", "-r", "REMOTE", "-p", &server]);
            let url = format!("tftp://{server}/REMOTE");
            put("curl", "curl", &["--silent", "--show-error", "--upload-file", "local", &url]);
            let window = ["--option", "blksize 1428", "--option", "windowsize 8"];
            let rest = ["--put", "--local-file", "local", "--remote-file", "REMOTE", &server];
            put("atftp", "atftp", &[&window[..], &rest[..]].concat());
        }
        let again = ["tftp", "-l", "local", "-r", "busybox-1", "-p", &server];
        let said = fails_in(host, here, "busybox", &again);
        assert!(said.contains("exists already"), "{said}");
        fs::write(here.join("local"), vec![0; 2 << 20]).unwrap();
        let said = fails_in(host, here, "busybox", &["tftp", "-l", "local", "-r", "large", "-p", &server]);
        assert!(said.contains("too large"), "{said}");
        fs::write(here.join("local"), b"x").unwrap();
        let said = fails_in(host, here, "busybox", &["tftp", "-l", "local", "-r", "../x", "-p", &server]);
        assert!(said.contains("a name has"), "{said}");
        let uploads = 4 * sizes.len();
        assert_eq!(fs::read_dir(&kept).unwrap().count(), uploads, "{name}");
        assert_eq!(fs::read_dir(&inbox).unwrap().count(), 1, "{name}: rejected uploads leave no files");
        assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o7777, 0o700, "{name}");
        daemon.wait_events("uploaded", uploads).unwrap();
        let log = daemon.stop().unwrap();
        let refused = ["exists", "too_large", "name"].map(|why| format!("tftp_upload_refused_{why}"));
        for label in refused {
            assert_eq!(Daemon::count(&log, &label), 1, "{name}: {label}\n{log}");
        }
        assert_eq!(Daemon::count(&log, "tftp_upload_complete"), uploads as u64, "{name}\n{log}");
        let given =
            ["answer_xdp", "answer_tcx", "tftp_given_to_kernel"].map(|label| Daemon::count(&log, label));
        assert_eq!(given, [0; 3], "{name}: the offload must not take part in uploads");
    }
}

/// If a boot file is replaced, new transfers get the new bytes without a restart.
#[test]
fn a_replaced_file_is_served_as_it_is_now() {
    let lab = Lab::builder().start().unwrap();
    let daemon = serve(&lab, &[("small", tree::bytes(10)), ("image", tree::bytes(5000))], DATAPATHS[0].1);
    let url = format!("tftp://{}/image", lab.responder().address());
    let get = || lab.client().command("curl").args(["--silent", "--show-error", &url]).output().unwrap();
    assert!(get().stdout == tree::bytes(5000));
    // The log also contains the messages of the kernel program.
    daemon.wait_for("TFTP request on queue 0").unwrap();
    let root = lab.folder().join("root");
    fs::write(root.join("image.new"), tree::bytes(7000)).unwrap();
    fs::rename(root.join("image.new"), root.join("image")).unwrap();
    daemon.wait_events("file_changed", 1).unwrap();
    assert!(get().stdout == tree::bytes(7000), "replaced");
    fs::remove_file(root.join("image")).unwrap();
    daemon.wait_events("file_gone", 1).unwrap();
    assert_eq!(get().status.code(), Some(68), "removed: curl's code for `file not found`");
    daemon.stop().unwrap();
}

/// A boot program that is added while pxed serves is offered to the next machine.
#[test]
fn a_boot_program_that_comes_later_is_told() {
    let lab = Lab::builder().start().unwrap();
    let root = tree::with_files(lab.folder(), &[("pxelinux.0", tree::bytes(10))]).unwrap();
    let daemon = Daemon::start(&lab, &["--root", root.to_str().unwrap()]).unwrap();
    // udhcpc accepts any offer, also pxed's without an address. Only the daemon's event matters here.
    let ask =
        || lease(lab.client(), &["-V", "PXEClient:Arch:00007:UNDI:003000", "-x", "0x5d:0007", "-t", "2"]);
    ask();
    daemon.wait_events("no_image", 1).unwrap();
    fs::write(root.join("bootx64.efi"), tree::bytes(10)).unwrap();
    daemon.wait_events("programs_changed", 1).unwrap();
    ask();
    let told = daemon.wait_events("told", 1).unwrap();
    assert!(told[0].contains("bootx64.efi"), "{told:?}");
    daemon.stop().unwrap();
}

/// `--kernel` and `--initrd` serve these files from their folders, and nothing else in the folders.
#[test]
fn a_kernel_that_the_command_line_names_is_served_from_where_it_is() {
    let files = [
        ("one/vmlinuz", tree::bytes(600_000)),
        ("two/initrd.img", tree::bytes(900_000)),
        ("one/secret", tree::bytes(10)),
    ];
    for (name, datapath) in
        DATAPATHS.into_iter().filter(|(name, _)| ["offload, generic", "socket"].contains(name))
    {
        println!("{name}");
        let lab = Lab::builder().start().unwrap();
        let root = tree::with_files(lab.folder(), &files).unwrap();
        let path = |file: &str| root.join(file).to_str().unwrap().to_owned();
        let (kernel, initrd) = (path("one/vmlinuz"), path("two/initrd.img"));
        let given = ["--kernel", &kernel, "--initrd", &initrd, "--args", "quiet mac={{ mac }}"];
        let daemon = Daemon::start(&lab, &[&given[..], datapath].concat()).unwrap();
        let (host, server) = (lab.client(), lab.responder().address());
        // iPXE is offered a script for the machine, whatever boot loaders are installed on this host.
        lease(
            host,
            &["-V", "PXEClient:Arch:00007:UNDI:003010", "-x", "0x5d:0007", "-x", "0x4d:69505845", "-t", "2"],
        );
        daemon.wait_events("told", 1).unwrap();
        let folder = tempfile::tempdir_in(lab.folder()).unwrap();
        let get = |file: &str| {
            let url = format!("tftp://{server}/{file}");
            run_in(host, folder.path(), "curl", &["--silent", "--show-error", "--output", "got", &url]);
            fs::read(folder.path().join("got")).unwrap()
        };
        assert!(get("linux/vmlinuz") == files[0].1 && get("linux/initrd.img") == files[1].1, "{name}");
        let script = get(&format!("pxed/{}/boot.ipxe", host.mac().to_string().replace(':', "-")));
        let script = String::from_utf8(script).unwrap();
        let line = format!("kernel /linux/vmlinuz initrd=initrd.img quiet mac={}", host.mac());
        assert!(script.contains(&line), "{name}: {script}");
        for other in ["one/secret", "linux/secret", "linux/../one/secret"] {
            let url = format!("tftp://{server}/{other}");
            fails_in(host, folder.path(), "curl", &["--silent", "--path-as-is", "--output", "none", &url]);
        }
        daemon.stop().unwrap();
    }
}
