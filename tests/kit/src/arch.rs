//! The processor architectures that pxed is built for. What Debian, Rust, GCC and RPM call each of them is data here, so
//! that the modules which build, package and boot need no code per architecture.

use anyhow::{Context, Result};

/// An architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// 64-bit x86.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

impl Arch {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];
    /// The one of the hosts that all this runs on, and of their programs.
    pub const HOST: Self = Self::Amd64;

    /// The one with Debian's name.
    ///
    /// # Errors
    /// When there is none; with the names that there are.
    pub fn named(name: &str) -> Result<Self> {
        let names = Self::ALL.map(Self::debian).join(", ");
        let found = Self::ALL.into_iter().find(|arch| arch.debian() == name);
        found.with_context(|| format!("no architecture `{name}` here; these are: {names}"))
    }

    /// Debian's name.
    #[must_use]
    pub fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The kernel's name, which RPM and most archives use too.
    #[must_use]
    pub fn machine(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// Rust's target.
    #[must_use]
    pub fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// GCC's name, and that of Debian's folders of libraries.
    #[must_use]
    pub fn gnu(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux-gnu",
            Self::Arm64 => "aarch64-linux-gnu",
        }
    }

    /// The folders of a Debian tree that the dynamic loader searches.
    #[must_use]
    pub fn libraries(self) -> [String; 4] {
        let gnu = self.gnu();
        [format!("usr/lib/{gnu}"), format!("lib/{gnu}"), "usr/lib".to_owned(), "lib".to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_architecture_is_known_by_its_debian_name_only() {
        assert_eq!(Arch::named("arm64").unwrap(), Arch::Arm64);
        let error = Arch::named("aarch64").unwrap_err().to_string();
        assert!(error.ends_with("these are: amd64, arm64"), "{error}");
    }
}
