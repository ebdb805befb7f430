//! Programs of this host.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Output};

use rustix::fs::{Access, access};

use super::Error;

/// Where a program is, in `PATH` or in the folders for the administrator's programs, which an ordinary user's `PATH` often
/// leaves out.
pub(crate) fn find(program: &'static str) -> Result<PathBuf, Error> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    let mut files = folders.map(|folder| folder.join(program));
    let is_program = |file: &PathBuf| file.is_file() && access(file, Access::EXEC_OK).is_ok();
    files.find(is_program).ok_or(Error::NoProgram(program))
}

/// What a program printed, if it ended well.
pub(crate) fn output(program: &'static str, command: &mut Command) -> Result<Vec<u8>, Error> {
    let Output { status, stdout, stderr } = command.output().map_err(|_| Error::NoProgram(program))?;
    if status.success() {
        return Ok(stdout);
    }
    let said = String::from_utf8_lossy(&stderr).trim().to_owned();
    Err(Error::Program { program, reason: if said.is_empty() { status.to_string() } else { said } })
}
