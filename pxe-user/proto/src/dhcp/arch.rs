//! Client architectures: the codes of option 93, and their names.

use std::fmt;
use std::str::FromStr;

/// A client system architecture, as in option 93.
///
/// Source: RFC 4578 section 2.1 as corrected and extended by IANA's registry "Processor Architecture Types".
/// A code without a name here is used as a number, so a new architecture needs a boot file, but no new
/// version of pxed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arch(pub u16);

/// Codes and names. `Display` prints the first name of a code; the parser also accepts the others.
const NAMES: &[(u16, &str)] = &[
    (0, "bios"),
    (6, "ia32"),
    (7, "x64"),
    (9, "ebc"),
    (10, "arm32"),
    (11, "arm64"),
    (15, "ia32-http"),
    (16, "x64-http"),
    (17, "ebc-http"),
    (18, "arm32-http"),
    (19, "arm64-http"),
    (20, "bios-http"),
    (21, "arm32-uboot"),
    (22, "arm64-uboot"),
    (25, "riscv32"),
    (26, "riscv32-http"),
    (27, "riscv64"),
    (28, "riscv64-http"),
    (29, "riscv128"),
    (30, "riscv128-http"),
    (37, "loongarch32"),
    (38, "loongarch32-http"),
    (39, "loongarch64"),
    (40, "loongarch64-http"),
    (41, "rpi"),
    (0, "pc"),
    (0, "x86"),
    (6, "i386"),
    (6, "efi32"),
    (7, "x86_64"),
    (7, "amd64"),
    (7, "efi64"),
    (10, "arm"),
    (11, "aarch64"),
    (41, "rpiboot"),
];

impl Arch {
    /// Legacy BIOS ("x86 BIOS").
    pub const BIOS: Self = Self(0);
    /// UEFI, 32-bit x86.
    pub const IA32: Self = Self(6);
    /// UEFI, x86-64.
    pub const X64: Self = Self(7);
    /// EFI byte code. In practice it is x86-64 firmware from the time when the RFC and the registry
    /// disagreed.
    pub const EBC: Self = Self(9);
    /// UEFI, 32-bit ARM.
    pub const ARM32: Self = Self(10);
    /// UEFI, 64-bit ARM.
    pub const ARM64: Self = Self(11);
    /// UEFI HTTP boot, x86-64.
    pub const X64_HTTP: Self = Self(16);
    /// UEFI HTTP boot, EFI byte code.
    pub const EBC_HTTP: Self = Self(17);
    /// Raspberry Pi's own boot loader.
    pub const RPI: Self = Self(41);

    /// Returns the architecture whose boot file this one gets. For EFI byte code that is x86-64, for all
    /// others it is the architecture itself.
    #[must_use]
    pub fn canonical(self) -> Self {
        match self {
            Self::EBC => Self::X64,
            Self::EBC_HTTP => Self::X64_HTTP,
            other => other,
        }
    }

    /// Returns the processor alone: HTTP boot and U-Boot have codes of their own for the same processors. EFI
    /// byte code counts as x86-64.
    #[must_use]
    pub fn processor(self) -> Self {
        Self(match self.0 {
            15 => 6,
            9 | 16 | 17 => 7,
            18 | 21 => 10,
            19 | 22 => 11,
            20 => 0,
            http @ (26 | 28 | 30 | 38 | 40) => http - 1,
            other => other,
        })
    }

    /// Returns the HTTP boot code of this processor; `None` if it has none.
    #[must_use]
    pub fn http(self) -> Option<Self> {
        (15..=40).map(Self).find(|code| code.processor() == self && code.is_http())
    }

    /// Whether this is a code of HTTP boot.
    #[must_use]
    pub fn is_http(self) -> bool {
        self.name().is_some_and(|name| name.ends_with("-http"))
    }

    /// All names that the parser accepts.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(_, name)| *name)
    }

    /// The name that `Display` prints; `None` if the code has no name.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(code, _)| *code == self.0).map(|(_, name)| *name)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// The text is neither a 16-bit number nor a known name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no architecture: give option 93's number (0 to 65535) or a name, such as bios, ia32, x64, arm32, arm64, \
     riscv64, loongarch64, rpi or x64-http"
)]
pub struct UnknownArch(String);

impl FromStr for Arch {
    type Err = UnknownArch;

    /// Parses a number, or a name in upper or lower case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(code) = text.parse::<u16>() {
            return Ok(Self(code));
        }
        NAMES
            .iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(text))
            .map(|(code, _)| Self(*code))
            .ok_or_else(|| UnknownArch(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_code_prints_a_name_that_reads_back() {
        for (code, name) in NAMES {
            assert_eq!(name.parse(), Ok(Arch(*code)));
            assert_eq!(Arch(*code).to_string().parse(), Ok(Arch(*code)));
        }
    }

    #[test]
    fn http_boot_has_codes_of_its_own_for_each_processor() {
        for (processor, http) in [(0, 20), (6, 15), (7, 16), (10, 18), (11, 19), (25, 26), (27, 28), (39, 40)]
        {
            assert_eq!(Arch(processor).http(), Some(Arch(http)));
            assert_eq!(Arch(http).processor(), Arch(processor));
        }
        assert_eq!((Arch::EBC.processor(), Arch::EBC_HTTP.processor()), (Arch::X64, Arch::X64));
        assert_eq!((Arch::RPI.http(), Arch(22).processor()), (None, Arch::ARM64));
    }

    #[test]
    fn names_are_unique() {
        for (i, (_, name)) in NAMES.iter().enumerate() {
            assert!(NAMES[i + 1..].iter().all(|(_, other)| other != name), "{name} twice");
        }
    }

    #[test]
    fn numbers_and_names_are_read_and_nonsense_is_explained() {
        assert_eq!("7".parse(), Ok(Arch::X64));
        assert_eq!("ARM64".parse(), Ok(Arch::ARM64));
        assert_eq!("65535".parse(), Ok(Arch(0xffff)));
        assert_eq!(Arch(0xffff).to_string(), "65535");
        for bad in ["", "65536", "-1", "x 64", "sparc"] {
            let error = bad.parse::<Arch>().expect_err(bad).to_string();
            assert!(error.contains(&format!("`{bad}`")) && error.contains("x64"), "{error}");
        }
    }
}
