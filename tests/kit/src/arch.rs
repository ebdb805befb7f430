//! The processor architectures that pxed is built for, with the names that Debian, Rust, GCC and RPM use. The modules that
//! build, package and boot take the names from here and need no code for each architecture.

use anyhow::{Context, Result};

/// A processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// 64-bit x86.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

impl Arch {
    /// All architectures that pxed supports.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];
    /// The architecture of the hosts that build and test.
    pub const HOST: Self = Self::Amd64;

    /// The architecture with this Debian name.
    ///
    /// # Errors
    /// For an unknown name; the error lists the known ones.
    pub fn named(name: &str) -> Result<Self> {
        let names = Self::ALL.map(Self::debian).join(", ");
        let found = Self::ALL.into_iter().find(|arch| arch.debian() == name);
        found.with_context(|| format!("unknown architecture `{name}`; these are: {names}"))
    }

    /// The name that Debian uses.
    #[must_use]
    pub fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The kernel's name, which RPM and most archives also use.
    #[must_use]
    pub fn machine(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// The target triple of Rust.
    #[must_use]
    pub fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// GCC's name, which is also the name of Debian's library folders.
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
