//! Set-up: looks at what is missing and installs it, and says so. Running it again changes nothing.

mod ebpf;
mod packages;
mod tools;

use std::process::Command;

use anyhow::{Context, Result, bail};

pub use packages::{Group, Manager, NEEDS, Need};

use crate::command;

/// Everything that the lab and the tests need too.
pub const ALL: &[Group] = &[
    Group::Build,
    Group::BootFiles,
    Group::Lab,
    Group::Tests,
    Group::Kernels,
    Group::Image,
    Group::Fleet,
    Group::Bench,
    Group::Package,
];
/// What the benchmark needs; its peers are fetched as kernels are.
pub const BENCH: &[Group] = &[Group::Build, Group::Lab, Group::Kernels, Group::Bench];
/// What guests with other kernels need.
pub const VM: &[Group] = &[Group::Build, Group::Lab, Group::Kernels];
/// What the search for inputs that break something needs.
pub const FUZZ: &[Group] = &[Group::Build];
/// What the memory test is made of; its kernel may have to be fetched.
pub const IMAGE: &[Group] = &[Group::Image, Group::Kernels];
/// What the picture of a fleet needs.
pub const FLEET: &[Group] =
    &[Group::Build, Group::BootFiles, Group::Lab, Group::Image, Group::Kernels, Group::Fleet];
/// What the main job on a real network needs.
pub const SERVE: &[Group] = &[Group::Build, Group::BootFiles];
/// What a package is built with.
pub const PACKAGE: &[Group] = &[Group::Build, Group::Package];
/// What the main job in the lab needs.
pub const LAB: &[Group] = &[Group::Build, Group::BootFiles, Group::Lab];

/// Installs what is missing of `groups`, and prints what it does.
///
/// # Errors
/// When something stays missing. The error holds the commands for a person to run.
pub fn ensure(groups: &[Group]) -> Result<()> {
    for &group in groups {
        let missing = missing(group);
        if missing.is_empty() && group != Group::Build {
            println!("setup: {}: nothing to do", group.title());
        } else if !missing.is_empty() {
            println!("setup: {}: missing: {}", group.title(), names(&missing));
        }
    }
    let missing: Vec<_> = groups.iter().flat_map(|&group| self::missing(group)).collect();
    install_needs(&missing)?;
    if groups.contains(&Group::Build) {
        ebpf::ensure()?;
    }
    groups.iter().try_for_each(|&group| tools::ensure(group))
}

fn missing(group: Group) -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| need.group == group && !need.is_there()).collect()
}

fn names(needs: &[&Need]) -> String {
    needs.iter().map(|need| need.what).collect::<Vec<_>>().join(", ")
}

fn install_needs(missing: &[&Need]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let Some(manager) = Manager::find() else {
        bail!(
            "no package manager that this knows (apt-get, dnf, pacman, zypper). Install by hand: {}.\n\
             On Debian these are: apt-get install {}",
            names(missing),
            packages(missing, Manager::Apt).join(" ")
        );
    };
    let wanted = packages(missing, manager);
    if !wanted.is_empty() {
        install(manager, &wanted)?;
    }
    let still: Vec<_> = missing.iter().copied().filter(|need| !need.is_there()).collect();
    if !still.is_empty() {
        bail!(
            "{} installed what it knows, but this is still missing: {}. Install it by hand.",
            manager.program(),
            names(&still)
        );
    }
    Ok(())
}

/// The packages for what is missing, each once.
fn packages(missing: &[&Need], manager: Manager) -> Vec<&'static str> {
    let mut wanted: Vec<_> = missing.iter().flat_map(|need| need.packages(manager)).collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// Installs packages; with apt, the lists are read anew only when they do not know a package.
fn install(manager: Manager, wanted: &[&str]) -> Result<()> {
    println!("setup: {} installs {}", manager.program(), wanted.join(" "));
    let attempt = || -> Result<()> {
        if manager == Manager::Apt {
            refresh_apt(wanted)?;
        }
        // Through `env`, since sudo clears the environment; nothing may ask a question.
        let mut install = command::as_root("env")?;
        install.arg("DEBIAN_FRONTEND=noninteractive").arg(manager.program());
        install.args(manager.install_words()).args(wanted);
        command::run(&mut install)
    };
    attempt().with_context(|| {
        let update = if manager == Manager::Apt { "sudo apt-get update\n    " } else { "" };
        let words = manager.install_words().join(" ");
        format!(
            "set-up could not install what is missing. Run this, then try again:\n    {update}sudo {} {words} {}",
            manager.program(),
            wanted.join(" ")
        )
    })
}

fn refresh_apt(wanted: &[&str]) -> Result<()> {
    if wanted.iter().all(|package| apt_knows(package)) {
        return Ok(());
    }
    println!("setup: apt-get reads the package lists");
    let mut update = command::as_root("apt-get")?;
    command::run(update.args(["update", "--quiet", "--quiet"]))
}

/// Whether apt's lists offer a package.
fn apt_knows(package: &str) -> bool {
    let show = command::output(Command::new("apt-cache").args(["policy", package]));
    show.is_ok_and(|text| text.lines().any(|l| l.contains("Candidate:") && !l.contains("(none)")))
}
