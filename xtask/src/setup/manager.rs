//! The package managers of distributions. None of them may remove or downgrade anything for us.

use pxe_kit::command;

/// A distribution's package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// Debian, Ubuntu and their like: the one that is tried.
    Apt,
    /// Fedora and its like: untried.
    Dnf,
    /// Arch and its like: untried.
    Pacman,
    /// openSUSE: untried.
    Zypper,
    /// Alpine: untried.
    Apk,
}

impl Manager {
    /// All, in the order of a need's packages.
    pub const ALL: [Self; 5] = [Self::Apt, Self::Dnf, Self::Pacman, Self::Zypper, Self::Apk];

    /// The first that is on this machine.
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

    /// The words that install packages without a question. Where one of them would have to take another's place, the manager
    /// fails: apt by `--no-remove` (and it downgrades only if told to), dnf unless `--allowerasing` is given, pacman since
    /// `--noconfirm` answers its question about conflicts with no, zypper since it takes no solution of a conflict by
    /// itself, apk since it never replaces a package that is in its world.
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

    /// The words that read the package lists anew. dnf and zypper do that by themselves; on Arch a list that is newer than
    /// what is installed must not be used without an upgrade of everything, which is the user's to decide.
    #[must_use]
    pub fn refresh_words(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Apt => Some(&["update", "--quiet", "--quiet"]),
            Self::Apk => Some(&["update", "--quiet"]),
            Self::Dnf | Self::Pacman | Self::Zypper => None,
        }
    }
}
