//! Who is measured.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::command;
use crate::lab::{Lab, Process};

/// A responder under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Responder {
    /// dnsmasq, the reference.
    Dnsmasq,
    /// pxed over plain sockets.
    Socket,
    /// pxed over generic XDP: what `auto` takes on a veth.
    Generic,
    /// pxed over native XDP.
    Native,
}

impl Responder {
    /// All, in the order in which they are run.
    pub const ALL: &[Self] = &[Self::Dnsmasq, Self::Socket, Self::Generic, Self::Native];

    /// For people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Dnsmasq => "dnsmasq",
            Self::Socket => "pxed, sockets",
            Self::Generic => "pxed, generic XDP",
            Self::Native => "pxed, native XDP",
        }
    }

    /// Starts it on the lab's responder host, set up as its manual advises for many clients.
    pub(super) fn start(self, lab: &Lab, root: &Path) -> Result<Process> {
        let root = root.to_str().context("the path is not UTF-8")?;
        let (datapath, mode) = match self {
            Self::Dnsmasq => return dnsmasq(lab, root),
            Self::Socket => ("socket", "auto"),
            Self::Generic => ("xdp", "generic"),
            Self::Native => ("xdp", "native"),
        };
        let program = command::target_dir().join("release/pxed");
        let mut pxed = lab.responder().command(program.to_str().context("the path is not UTF-8")?);
        pxed.args(["serve", "--interface", "srv0", "--root", root, "--boot-file", "x64=small"]);
        // A line per transfer goes to a file, as in service; dnsmasq logs each transfer, too.
        pxed.args(["--datapath", datapath, "--xdp-mode", mode]);
        let process = lab.spawn("pxed", pxed)?;
        process.wait_for("ready", Duration::from_secs(20))?;
        Ok(process)
    }
}

fn dnsmasq(lab: &Lab, root: &str) -> Result<Process> {
    let mut dnsmasq = lab.responder().command("dnsmasq");
    dnsmasq.args(["--no-daemon", "--conf-file=/dev/null", "--port=0", "--no-resolv", "--no-hosts"]);
    dnsmasq.args(["--interface=srv0", "--except-interface=lo", "--bind-interfaces", "--log-facility=-"]);
    // The manual: tftp-max is 50 by default, and more clients than that are refused.
    dnsmasq.args(["--enable-tftp", "--tftp-max=5000"]).arg(format!("--tftp-root={root}"));
    let process = lab.spawn("dnsmasq", dnsmasq)?;
    process.wait_for("TFTP root is", Duration::from_secs(20))?;
    Ok(process)
}
