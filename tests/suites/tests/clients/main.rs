//! Real TFTP and DHCP clients against the daemon, over each datapath.

mod files;
mod hosts;

use std::path::Path;

use pxe_kit::daemon::Daemon;
use pxe_kit::{Host, Lab, tree};

/// All datapaths, without and with the offload.
const DATAPATHS: [(&str, &[&str]); 5] = [
    ("xdp, generic", &["--datapath", "xdp", "--xdp-mode", "generic", "--offload", "off"]),
    ("xdp, native", &["--datapath", "xdp", "--xdp-mode", "native", "--offload", "off"]),
    ("offload, generic", &["--datapath", "xdp", "--xdp-mode", "generic"]),
    ("offload, native", &["--datapath", "xdp", "--xdp-mode", "native"]),
    ("socket", &["--datapath", "socket"]),
];

/// Makes a client's host send complete checksums, as over a cable: the offload does not answer packets with partial ones.
fn whole_checksums(host: &Host) {
    let arguments = ["-K", host.interface(), "tx", "off"];
    run_in(host, Path::new("/"), "ethtool", &arguments);
}

/// Starts the daemon with these files, over one datapath.
fn serve(lab: &Lab, files: &[(&str, Vec<u8>)], datapath: &[&str]) -> Daemon {
    let root = tree::with_files(lab.folder(), files).unwrap();
    let arguments = [&["--root", root.to_str().unwrap(), "--boot-file", "x64=small"], datapath].concat();
    if offloads(datapath) {
        whole_checksums(lab.client());
    }
    Daemon::start(lab, &arguments).unwrap()
}

fn offloads(datapath: &[&str]) -> bool {
    datapath.contains(&"xdp") && !datapath.contains(&"off")
}

/// Runs a program on a host in `folder`, checks that it succeeds, and returns its output.
fn run_in(host: &Host, folder: &Path, program: &str, arguments: &[&str]) -> String {
    let mut command = host.command(program);
    let output = command.args(arguments).current_dir(folder).output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{text}", output.status);
    text
}

/// Like [`run_in`], for a program that must fail.
fn fails_in(host: &Host, folder: &Path, program: &str, arguments: &[&str]) -> String {
    let output = host.command(program).args(arguments).current_dir(folder).output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "{program} {arguments:?} should have failed:\n{text}");
    text
}

/// Requests a lease on a host without using it, and returns udhcpc's output.
fn lease(host: &Host, arguments: &[&str]) -> String {
    let mut command = host.command("busybox");
    command.args([
        "udhcpc",
        "-i",
        host.interface(),
        "-f",
        "-n",
        "-q",
        "-t",
        "10",
        "-T",
        "1",
        "-s",
        "/bin/true",
    ]);
    let output = command.args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
