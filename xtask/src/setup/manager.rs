//! The package managers of distributions, with options that keep them from removing or downgrading packages.

use pxe_kit::command;

/// A distribution's package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// Debian, Ubuntu and derivatives. The only one that is tested.
    Apt,
    /// Fedora and derivatives. Not tried.
    Dnf,
    /// Arch and derivatives. Not tried.
    Pacman,
    /// openSUSE. Not tried.
    Zypper,
    /// Alpine. Not tried.
    Apk,
}

impl Manager {
    /// All package managers, in the order of a need's packages.
    pub const ALL: [Self; 5] = [Self::Apt, Self::Dnf, Self::Pacman, Self::Zypper, Self::Apk];

    /// The first one that this machine has.
    #[must_use]
    pub fn find() -> Option<Self> {
        Self::ALL.into_iter().find(|manager| command::find(manager.program()).is_some())
    }

    /// The program's name.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Dnf => "dnf",
            Self::Pacman => "pacman",
            Self::Zypper => "zypper",
            Self::Apk => "apk",
        }
    }

    /// The words that install packages without questions. If a package would have to replace another one, the manager
    /// fails:
    ///
    /// - apt because of `--no-remove`; it downgrades only on request
    /// - dnf without `--allowerasing`
    /// - pacman because `--noconfirm` answers "no" to the question about conflicts
    /// - zypper because it does not resolve conflicts by itself
    /// - apk because it never replaces a package in its world file
    #[must_use]
    pub fn install_words(self) -> &'static [&'static str] {
        match self {
            Self::Apt => &["install", "--quiet", "--yes", "--no-install-recommends", "--no-remove"],
            Self::Dnf => &["install", "-y", "--setopt=install_weak_deps=False"],
            Self::Pacman => &["-S", "--needed", "--noconfirm"],
            Self::Zypper => &["--non-interactive", "install", "--no-recommends"],
            Self::Apk => &["add"],
        }
    }

    /// The words that update the package lists. dnf and zypper do that by themselves. On Arch, a newer list must not be
    /// used without an upgrade of all packages, which is the user's decision.
    #[must_use]
    pub fn refresh_words(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Apt => Some(&["update", "--quiet", "--quiet"]),
            Self::Apk => Some(&["update", "--quiet"]),
            Self::Dnf | Self::Pacman | Self::Zypper => None,
        }
    }
}
