//! `kustomize`, which renders the manifests of packaging/kubernetes. Debian 12 does not have it, so Debian 13's lies in the user's
//! cache. It needs the C library only.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::apt::{Apt, Archive, Source};
use crate::arch::Arch;
use crate::{cache, command};

/// The folder's name in the cache.
const NAME: &str = "kustomize-1";

/// Takes the program from the cache. The first call downloads it.
///
/// # Errors
/// If Debian's archive is not reachable.
pub fn fetch() -> Result<PathBuf> {
    let folder = cache::folder(NAME, |folder| {
        println!("setup: apt-get downloads kustomize into the cache");
        let lists = folder.join("apt");
        let sources = [Source { archive: Archive::Main, suite: "trixie" }];
        fs::create_dir_all(&lists)?;
        Apt::new(&lists, Arch::HOST, &sources)?.unpack("kustomize", folder)?;
        Ok(fs::remove_dir_all(lists)?)
    });
    Ok(folder.context("cannot download kustomize")?.join("usr/bin/kustomize"))
}

/// The objects of a folder with a kustomization, as YAML.
///
/// # Errors
/// As [`fetch`], or if kustomize rejects the folder.
pub fn render(folder: &str) -> Result<String> {
    let folder = command::workspace().join(folder);
    command::output(Command::new(fetch()?).arg("build").arg(folder))
}
