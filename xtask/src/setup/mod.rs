//! Set-up: finds what is missing, prints what it does, and installs it. A second run changes nothing.
//!
//! ```text
//! packages  the needs, with the names of their packages in each distribution
//! manager   the distributions' package managers
//! plan      asks apt what it would do
//! tools     programs that cargo builds
//! ```
//!
//! Set-up must not remove or downgrade a package, nor install or change a toolchain. If a package cannot be installed
//! otherwise, it is unpacked into the user's cache, where only pxed's commands find it.

mod manager;
mod packages;
mod plan;
mod tools;

use anyhow::{Context, Result, bail};
use pxe_kit::{cache, command, unpacked};

pub use manager::Manager;
pub use packages::{Group, NEEDS, Need};
use plan::Plan;

/// The groups for all commands of `cargo xtask`.
pub const ALL: &[Group] = &[
    Group::Build,
    Group::Ebpf,
    Group::BootFiles,
    Group::Lab,
    Group::Tests,
    Group::Kernels,
    Group::Image,
    Group::Fleet,
    Group::Database,
    Group::Bench,
    Group::Package,
    Group::Cross,
];
/// The groups for the benchmark. Its other servers are downloaded with the tools of `Kernels`.
pub const BENCH: &[Group] = &[Group::Build, Group::Lab, Group::Kernels, Group::Bench];
/// The groups for responders that share a ledger.
pub const CLUSTER: &[Group] = &[Group::Build, Group::Lab, Group::Database];
/// The groups for builds for other architectures.
pub const CROSS: &[Group] = &[Group::Build, Group::Cross];
/// The groups for guests with other kernels.
pub const VM: &[Group] = &[Group::Build, Group::Lab, Group::Kernels];
/// The groups for the fuzz targets. `Ebpf` has the C++ compiler, which libFuzzer needs.
pub const FUZZ: &[Group] = &[Group::Build, Group::Ebpf];
/// The groups for the memory test. `Kernels` has the tools to download a kernel.
pub const IMAGE: &[Group] = &[Group::Image, Group::Kernels];
/// The groups for the fleet in the lab.
pub const FLEET: &[Group] =
    &[Group::Build, Group::BootFiles, Group::Lab, Group::Image, Group::Kernels, Group::Fleet];
/// The groups for serving on a real network.
pub const SERVE: &[Group] = &[Group::Build, Group::BootFiles];
/// The groups for a release. Its toolchain is downloaded with the tools of `Kernels`.
pub const PACKAGE: &[Group] = &[Group::Build, Group::Kernels, Group::Package, Group::Cross];
/// The groups for the lab.
pub const LAB: &[Group] = &[Group::Build, Group::BootFiles, Group::Lab];

/// The purpose of set-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Purpose {
    /// Every command of `cargo xtask`.
    #[default]
    All,
    /// The built-in lab.
    Lab,
    /// Serving on a real network.
    Serve,
}

impl Purpose {
    /// The groups for the purpose.
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
/// If something is still missing afterwards. The error contains the commands to run by hand.
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
            "{} missing, and set-up does not know this system's package manager (known: {known}). Install the \
             equivalents of these Debian packages by hand: {}",
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
            "{} still missing after {} has installed the packages. Install it by hand, then try again.",
            names(&still),
            manager.program()
        );
    }
    Ok(())
}

/// The packages of the missing needs, each once.
fn packages(missing: &[&Need], manager: Manager) -> Vec<&'static str> {
    let mut wanted: Vec<_> = missing.iter().flat_map(|need| need.packages(manager)).collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// Installs packages by apt. Those for which apt would have to remove others are unpacked into the cache.
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

/// Unpacks a need's programs into the cache, where [`command::find`] looks last.
fn unpack(need: &Need, why: &str) -> Result<()> {
    let (packages, programs) = need.unpacked().context("it works only if it is installed")?;
    println!("setup: apt-get does not install {}: {why}", packages.join(" "));
    println!("setup: so Debian's {} is unpacked into the cache, and not installed", packages.join(" "));
    cache::folder(&format!("{}/{}", command::UNPACKED, packages[0]), |folder| {
        unpacked::make(folder, packages, programs)
    })?;
    Ok(())
}

/// Debian's package makes a database and starts its server. The tests start servers of their own, so set-up keeps it from that,
/// unless the administrator has decided before.
const NO_CLUSTER: &str = "d=/etc/postgresql-common; [ -e $d/createcluster.conf ] || [ -e $d/createcluster.d/pxed.conf ] || \
    { mkdir -p $d/createcluster.d && echo 'create_main_cluster = false' >$d/createcluster.d/pxed.conf; }";

/// Installs packages. If that fails, the lists may be old, so it updates them and tries once more.
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

/// Prints a line before an installation: the packages, their size, and the hosts.
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
    if manager == Manager::Apt && wanted.contains(&"postgresql") {
        command::run(command::as_root("sh")?.args(["-c", NO_CLUSTER]))?;
    }
    // Through `env`, because sudo clears the environment. The variable prevents questions.
    let mut install = command::as_root("env")?;
    install.arg("DEBIAN_FRONTEND=noninteractive").arg(manager.program());
    command::run(install.args(manager.install_words()).args(wanted))
}

fn refresh(manager: Manager) -> Result<()> {
    let Some(words) = manager.refresh_words() else { return Ok(()) };
    println!("setup: {} reads the package lists", manager.program());
    command::run(command::as_root(manager.program())?.args(words))
}
