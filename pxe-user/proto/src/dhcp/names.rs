//! Texts, file names and URLs that were checked when the configuration was read, so that replies cannot fail on them.

use std::fmt;

use arrayvec::ArrayString;

use crate::mac::Mac;

/// A value that no client could use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Empty, longer than the field that carries it, or with a control character in it.
    #[error("`{text}`: must be 1 to {max} bytes long, without control characters")]
    Text {
        /// The refused text, its control characters escaped.
        text: String,
        /// The longest that the field holds, in bytes.
        max: usize,
    },
    /// Neither `http://` nor `https://`.
    #[error("`{0}`: an HTTP boot URL begins with http:// or https://")]
    Scheme(String),
    /// Two menu entries with one type: the client's choice would be ambiguous.
    #[error("boot menu: type {0} is used twice")]
    DuplicateItem(u16),
    /// Type 0 belongs to the local-boot entry (PXE 2.1 chapter 2).
    #[error(
        "boot menu: type 0 means local boot; give boot services types from 1 (0x8000 and above are free)"
    )]
    ItemTypeZero,
    /// No entry that leads to us.
    #[error("boot menu: needs at least one entry that boots something")]
    EmptyMenu,
    /// The entries' texts do not fit option 43.
    #[error("boot menu: its texts are too long together; all of option 43 has 255 bytes")]
    MenuTooLong,
}

/// A short text that fits an option: 1 to 255 bytes, no control characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(Box<str>);

impl Text {
    /// Checks the text.
    ///
    /// # Errors
    /// [`Invalid::Text`].
    pub fn new(text: &str) -> Result<Self, Invalid> {
        Self::limited(text, 255)
    }

    fn limited(text: &str, max: usize) -> Result<Self, Invalid> {
        if text.is_empty() || text.len() > max || text.chars().any(char::is_control) {
            return Err(Invalid::Text { text: text.escape_debug().to_string(), max });
        }
        Ok(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What stands in a name for the machine's own address, written as `52-54-00-99-00-10`.
pub const MAC_MARK: &str = "{mac}";
/// A machine's address in a name is longer than its mark by this, in bytes.
const MAC_MARK_GROWTH: usize = 17 - MAC_MARK.len();

/// Puts a machine's address into a name; what does not fit is cut, which names that were checked never need.
pub(super) fn expand(name: &Text, mac: Mac) -> ArrayString<255> {
    let mut out = ArrayString::new();
    for (index, part) in name.0.split(MAC_MARK).enumerate() {
        let separator = if index > 0 { mac.dashed() } else { ArrayString::new() };
        let _ = out.try_push_str(&separator);
        let _ = out.try_push_str(part);
    }
    out
}

/// The name of a boot file, as TFTP will be asked for it: at most 127 bytes, since the header's `file` field has 128
/// and ends with NUL (RFC 951). `{mac}` in it stands for the machine's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootFile(Text);

impl BootFile {
    /// Checks the name.
    ///
    /// # Errors
    /// [`Invalid::Text`].
    pub fn new(name: &str) -> Result<Self, Invalid> {
        let growth = name.matches(MAC_MARK).count() * MAC_MARK_GROWTH;
        Text::limited(name, 127usize.saturating_sub(growth)).map(Self)
    }

    /// The name for one machine.
    #[must_use]
    pub fn of(&self, mac: Mac) -> ArrayString<255> {
        expand(&self.0, mac)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// An HTTP boot URL: at most 254 bytes, since option 67 carries it with a NUL. `{mac}` in it stands for the machine's
/// address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(Text);

impl Url {
    /// Checks the URL's beginning and length, nothing else.
    ///
    /// # Errors
    /// [`Invalid::Text`] or [`Invalid::Scheme`].
    pub fn new(url: &str) -> Result<Self, Invalid> {
        let growth = url.matches(MAC_MARK).count() * MAC_MARK_GROWTH;
        let text = Text::limited(url, 254usize.saturating_sub(growth))?;
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            return Err(Invalid::Scheme(url.to_owned()));
        }
        Ok(Self(text))
    }

    /// The URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The URL for one machine.
    #[must_use]
    pub fn of(&self, mac: Mac) -> ArrayString<255> {
        expand(&self.0, mac)
    }
}
