//! Programs of the Python package index that tests use, in the user's cache. Nothing is installed on the host.
//!
//! They lie in a folder and not in a virtual environment, because the cache renames its folders when they are complete.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{cache, command};

/// The packages, each in a tested version: a checker with the schemas of Kubernetes' API, the types of the Prometheus Operator, a
/// checker of Ansible's roles, and an S3 store. Change the number in [`name`] if they change.
const PACKAGES: [&str; 5] = [
    "kubernetes-validate==1.37.0",
    "cloudcoil-models-prometheus-operator==0.80.1.0",
    "ansible-lint==26.10.1",
    "ansible-core==2.19.14",
    "moto[s3,server]==5.2.1",
];

/// The folder's name in the cache. Some packages contain machine code for one version of Python.
fn name() -> Result<String> {
    let version = "import sys; print('%d.%d' % sys.version_info[:2])";
    let version = command::output(python()?.args(["-c", version]))?;
    Ok(format!("python-2-{}", version.trim()))
}

fn python() -> Result<Command> {
    Ok(Command::new(command::find("python3").context("`python3` is not installed")?))
}

/// Takes the packages from the cache. The first call downloads them.
///
/// # Errors
/// If the package index is not reachable, or Python or pip is not installed.
pub fn fetch() -> Result<PathBuf> {
    cache::folder(&name()?, |folder| {
        println!("setup: pip downloads {} into the cache", PACKAGES.join(", "));
        let mut pip = python()?;
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-compile",
            "--target",
        ]);
        command::output(pip.arg(folder).args(PACKAGES)).map(drop)
    })
    .context("cannot download the Python packages of the tests")
}

/// A command that runs Python with these packages, which are also the first in its `PATH`.
///
/// # Errors
/// As [`fetch`].
pub fn command() -> Result<Command> {
    let folder = fetch()?;
    let mut command = python()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(folder.join("bin")).chain(std::env::split_paths(&path)))?;
    command.env("PYTHONPATH", &folder).env("PATH", path).env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// A command that runs one of the packages' programs.
///
/// # Errors
/// As [`fetch`].
pub fn program(name: &str) -> Result<Command> {
    let mut command = command()?;
    command.arg(fetch()?.join("bin").join(name));
    Ok(command)
}
