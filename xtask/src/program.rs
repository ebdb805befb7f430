//! Tasks whose work is a program of another crate: `cargo xtask soak`, `cluster` and `scale`.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Result, bail};
use pxe_kit::command;

use crate::setup::{self, Group};

/// Whose rights a program needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Those of whoever calls it.
    Own,
    /// Root's.
    Root,
}

/// Sets up, builds, and replaces this process by the program `name`, so that signals reach it, and its exit code is
/// returned.
///
/// # Errors
/// If something is missing, or does not compile.
pub fn become_program(name: &str, groups: &[Group], rights: Rights, args: &[String]) -> Result<()> {
    setup::ensure(groups)?;
    pxe_bench::prepare(name)?;
    let path = command::target_dir().join("release").join(name);
    let mut program = match rights {
        Rights::Own => Command::new(path),
        Rights::Root => {
            let mut env = command::as_root("env")?;
            env.args(command::kept_environment()).arg(path);
            env
        }
    };
    program.args(args);
    println!("{name}: {}", command::shown(&program));
    let error = program.exec();
    bail!("cannot start {name}: {error}")
}
