//! The nonce of a boot. A program that knows the nonce has read a text that pxed wrote for this machine in
//! this boot, so pxed accepts its reports.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

/// 128 random bits, written as 32 hexadecimal digits. `{:?}` does not show them, so that they do not get into
/// a log.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nonce([u8; 16]);

/// The text does not have 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a nonce has 32 hexadecimal digits")]
pub struct InvalidNonce;

impl Nonce {
    /// A new nonce that nobody can guess. `None` if the kernel's random number generator is not ready, early
    /// in the host's boot. The generator is ready when the machine requests again.
    #[must_use]
    pub fn random() -> Option<Self> {
        let mut bytes = [0; 16];
        let got = getrandom(&mut bytes[..], GetRandomFlags::NONBLOCK).ok()?;
        (got == bytes.len()).then_some(Self(bytes))
    }

    /// A given nonce, for tests.
    #[cfg(test)]
    pub(crate) const fn fixed(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// Compares in constant time, so that the duration does not show how many digits were right.
impl PartialEq for Nonce {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Nonce {}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce")
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Nonce {
    type Err = InvalidNonce;

    fn from_str(text: &str) -> Result<Self, InvalidNonce> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten().ok_or(InvalidNonce)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl TryFrom<String> for Nonce {
    type Error = InvalidNonce;

    fn try_from(text: String) -> Result<Self, InvalidNonce> {
        text.parse()
    }
}

impl From<Nonce> for String {
    fn from(nonce: Nonce) -> Self {
        let mut text = Self::with_capacity(32);
        // Writing to a string cannot fail.
        let _ = write!(text, "{nonce}");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written_and_shown_to_no_log() {
        let (one, other) = (Nonce::random().unwrap(), Nonce::random().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.to_string().parse(), Ok(one));
        assert_eq!(serde_json::from_str::<Nonce>(&serde_json::to_string(&one).unwrap()).unwrap(), one);
        assert_eq!(format!("{one:?}"), "Nonce");
        for wrong in
            ["", "0", &"0".repeat(31), &"0".repeat(33), &format!("+{}", "0".repeat(31)), &"g".repeat(32)]
        {
            assert_eq!(wrong.parse::<Nonce>(), Err(InvalidNonce), "{wrong}");
        }
    }
}
