//! Set-up: looks for what is missing, installs that, and says so. Running it again changes nothing.
//!
//! ```text
//! packages  what must be there, and what each distribution calls it
//! manager   the distributions' package managers
//! plan      what apt would do, asked before it does it
//! tools     programs that cargo builds
//! ```
//!
//! It takes nothing away: no package is removed or downgraded, and no toolchain is installed or changed. What cannot be
//! installed without that is unpacked into the user's cache, where only we find it.

mod manager;
mod packages;
mod plan;
mod tools;

use anyhow::{Context, Result, bail};
use pxe_kit::{cache, command, unpacked};

pub use manager::Manager;
pub use packages::{Group, NEEDS, Need};
use plan::Plan;

/// Everything that the lab and the tests need too.
pub const ALL: &[Group] = &[
    Group::Build,
    Group::Ebpf,
    Group::BootFiles,
    Group::Lab,
    Group::Tests,
    Group::Kernels,
    Group::Image,
    Group::Fleet,
    Group::Bench,
    Group::Package,
    Group::Cross,
];
/// What the benchmark needs; its peers are fetched as kernels are.
pub const BENCH: &[Group] = &[Group::Build, Group::Lab, Group::Kernels, Group::Bench];
/// What builds for other architectures.
pub const CROSS: &[Group] = &[Group::Build, Group::Cross];
/// What guests with other kernels need.
pub const VM: &[Group] = &[Group::Build, Group::Lab, Group::Kernels];
/// What the search for inputs that break something needs: libFuzzer is written in C++.
pub const FUZZ: &[Group] = &[Group::Build, Group::Ebpf];
/// What the memory test is made of; its kernel may have to be fetched.
pub const IMAGE: &[Group] = &[Group::Image, Group::Kernels];
/// What the picture of a fleet needs.
pub const FLEET: &[Group] =
    &[Group::Build, Group::BootFiles, Group::Lab, Group::Image, Group::Kernels, Group::Fleet];
/// What the main job on a real network needs.
pub const SERVE: &[Group] = &[Group::Build, Group::BootFiles];
/// What a release is built and checked with. Its toolchain is fetched as kernels are.
pub const PACKAGE: &[Group] = &[Group::Build, Group::Kernels, Group::Package, Group::Cross];
/// What the main job in the lab needs.
pub const LAB: &[Group] = &[Group::Build, Group::BootFiles, Group::Lab];

/// What set-up is run for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Purpose {
    /// Every command of `cargo xtask`.
    #[default]
    All,
    /// The main job in the lab.
    Lab,
    /// The main job on a real network.
    Serve,
}

impl Purpose {
    /// What it needs.
    #[must_use]
    pub fn groups(self) -> &'static [Group] {
        match self {
            Self::All => ALL,
            Self::Lab => LAB,
            Self::Serve => SERVE,
        }
    }
}

/// Installs what is missing of `groups`, and prints what it does.
///
/// # Errors
/// When something stays missing. The error holds the commands for a person to run.
pub fn ensure(groups: &[Group]) -> Result<()> {
    for &group in groups {
        let missing = missing(group);
        if missing.is_empty() {
            println!("setup: {}: nothing to do", group.title());
        } else {
            println!("setup: {}: missing: {}", group.title(), names(&missing));
        }
    }
    let missing: Vec<_> = groups.iter().flat_map(|&group| self::missing(group)).collect();
    install_needs(&missing)?;
    groups.iter().try_for_each(|&group| tools::ensure(group))
}

fn missing(group: Group) -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| need.group == group && !need.is_there()).collect()
}

fn names(needs: &[&Need]) -> String {
    needs.iter().map(|need| need.what).collect::<Vec<_>>().join(", ")
}

fn install_needs(missing: &[&'static Need]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let Some(manager) = Manager::find() else {
        let known = Manager::ALL.map(Manager::program).join(", ");
        bail!(
            "{} missing, and this system has no package manager that set-up knows ({known}). Install by hand what \
             Debian calls: {}",
            names(missing),
            packages(missing, Manager::Apt).join(" ")
        );
    };
    match manager {
        Manager::Apt => install_by_apt(missing)?,
        _ => install(manager, &packages(missing, manager))?,
    }
    let still: Vec<_> = missing.iter().copied().filter(|need| !need.is_there()).collect();
    if !still.is_empty() {
        bail!(
            "{} still missing after {} installed what it knows. Install it by hand, then try again.",
            names(&still),
            manager.program()
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

/// With what apt would have to remove something for, unpacked instead of installed.
fn install_by_apt(missing: &[&'static Need]) -> Result<()> {
    let wanted = packages(missing, Manager::Apt);
    let mut plan = Plan::of(&wanted);
    if plan == Plan::Unknown {
        refresh(Manager::Apt)?;
        plan = Plan::of(&wanted);
    }
    let Plan::Refused(_) = plan else { return install(Manager::Apt, &wanted) };
    let (refused, others): (Vec<&Need>, Vec<&Need>) = missing.iter().copied().partition(|need| {
        let packages: Vec<_> = need.packages(Manager::Apt).collect();
        matches!(Plan::of(&packages), Plan::Refused(_))
    });
    install(Manager::Apt, &packages(&others, Manager::Apt))?;
    for need in refused {
        let wanted: Vec<_> = need.packages(Manager::Apt).collect();
        if let Plan::Refused(why) = Plan::of(&wanted) {
            unpack(need, &why).with_context(|| {
                format!(
                    "{} is missing, and set-up does not install {}: {why} Install it by hand, then try again",
                    need.what,
                    wanted.join(" ")
                )
            })?;
        }
    }
    Ok(())
}

/// Puts a need's programs into the cache, where [`command::find`] looks last.
fn unpack(need: &Need, why: &str) -> Result<()> {
    let (packages, programs) = need.unpacked().context("it cannot be used without being installed")?;
    println!("setup: apt-get does not install {}: {why}", packages.join(" "));
    println!("setup: so Debian's {} is unpacked into the cache, and not installed", packages.join(" "));
    cache::folder(&format!("{}/{}", command::UNPACKED, packages[0]), |folder| {
        unpacked::make(folder, packages, programs)
    })?;
    Ok(())
}

/// Installs packages. Where they cannot be fetched, the lists are old: they are read anew, once.
fn install(manager: Manager, wanted: &[&str]) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    announce(manager, wanted);
    let by_hand = || {
        let words = |words: &[&str]| format!("\n    sudo {} {}", manager.program(), words.join(" "));
        let refresh = manager.refresh_words().map(words).unwrap_or_default();
        format!(
            "cannot install {}. Run this, then try again:{refresh}{} {}",
            wanted.join(" "),
            words(manager.install_words()),
            wanted.join(" ")
        )
    };
    let Err(error) = attempt(manager, wanted) else { return Ok(()) };
    if manager.refresh_words().is_none() {
        return Err(error.context(by_hand()));
    }
    println!("setup: that failed; once more, with new package lists");
    refresh(manager).and_then(|()| attempt(manager, wanted)).with_context(by_hand)
}

/// One line before: what, how much, from where.
fn announce(manager: Manager, wanted: &[&str]) {
    let amount = match manager {
        Manager::Apt => match Plan::of(wanted) {
            Plan::Install(downloads) => format!(" ({})", downloads.shown()),
            Plan::Unknown | Plan::Refused(_) => String::new(),
        },
        _ => " from this system's package sources".to_owned(),
    };
    println!("setup: {} installs {}{amount}; nothing is removed", manager.program(), wanted.join(" "));
}

fn attempt(manager: Manager, wanted: &[&str]) -> Result<()> {
    // Through `env`, since sudo clears the environment; nothing may ask a question.
    let mut install = command::as_root("env")?;
    install.arg("DEBIAN_FRONTEND=noninteractive").arg(manager.program());
    command::run(install.args(manager.install_words()).args(wanted))
}

fn refresh(manager: Manager) -> Result<()> {
    let Some(words) = manager.refresh_words() else { return Ok(()) };
    println!("setup: {} reads the package lists", manager.program());
    command::run(command::as_root(manager.program())?.args(words))
}
