//! The main job: on a real interface, or in the built-in lab.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use anyhow::{Result, bail};
use pxe_kit::command;
use pxe_lab::demo;

use crate::setup;

/// Who answers the machines in the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Responder {
    /// This project's daemon.
    Pxed,
    /// The usual recipe, to compare with.
    Dnsmasq,
}

/// Sets up, builds, and serves on the interface that `arguments` name, or else runs the lab.
///
/// # Errors
/// When set-up or the build fails, or a machine of the lab does not reach memtest86+.
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
            "`{word}` is no option of `pxed serve`: to serve an interface, `cargo xtask run -- --interface {word}`"
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

/// Becomes the daemon, so that signals and the exit code are its own.
fn serve(pxed: &Path, arguments: &[OsString]) -> Result<()> {
    let mut daemon = command::as_root(pxed)?;
    daemon.arg("serve").args(arguments);
    println!("run: {}", command::shown(&daemon));
    let error = daemon.exec();
    bail!("cannot start {}: {error}", pxed.display())
}
