//! `cargo xtask run`: boots machines on a real interface, or in the built-in lab.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use anyhow::{Result, bail};
use pxe_kit::command;
use pxe_lab::demo;

use crate::setup;

/// The responder in the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Responder {
    /// pxed, built from this source tree.
    Pxed,
    /// dnsmasq, set up by the usual recipe, for comparison.
    Dnsmasq,
}

/// Sets up, builds, and serves on the interface in `arguments`. Without an interface, it runs the lab.
///
/// # Errors
/// If set-up or the build fails, or a machine in the lab does not reach memtest86+.
pub fn run(arguments: &[OsString], responder: Responder) -> Result<()> {
    let names_interface = |a: &OsString| {
        let a = a.to_string_lossy();
        a == "--interface" || a.starts_with("--interface=") || (a.starts_with("-i") && !a.starts_with("--"))
    };
    if arguments.iter().any(names_interface) {
        setup::ensure(setup::SERVE)?;
        return serve(&command::build_pxed(command::Profile::Release)?, arguments);
    }
    if let Some(word) = arguments.first().filter(|word| !word.to_string_lossy().starts_with('-')) {
        let word = word.display();
        bail!(
            "`{word}` is no option of `pxed serve`. To serve an interface: `cargo xtask run -- --interface {word}`"
        );
    }
    setup::ensure(setup::LAB)?;
    let pxed = match responder {
        Responder::Pxed => Some(command::build_pxed(command::Profile::Dev)?),
        Responder::Dnsmasq => None,
    };
    if command::is_root() {
        demo::run(pxed.as_deref(), arguments)
    } else {
        command::again_as_root("lab", pxed.as_deref(), arguments)
    }
}

/// Replaces this process by the daemon, so that signals reach it, and its exit code is returned.
fn serve(pxed: &Path, arguments: &[OsString]) -> Result<()> {
    let mut daemon = command::as_root(pxed)?;
    daemon.arg("serve").args(arguments);
    println!("run: {}", command::shown(&daemon));
    let error = daemon.exec();
    bail!("cannot start {}: {error}", pxed.display())
}
