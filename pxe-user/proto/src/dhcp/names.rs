//! Texts, file names and URLs. They are checked when the configuration is read, so that a reply cannot fail
//! because of them.

use std::fmt;

use arrayvec::ArrayString;

use crate::mac::Mac;

/// A configured value that no reply can carry or no client can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The text is empty, longer than the field that carries it, or contains a control character.
    #[error("`{text}`: must be 1 to {max} bytes long, without control characters")]
    Text {
        /// The rejected text, with escaped control characters.
        text: String,
        /// The largest length for this field, in bytes.
        max: usize,
    },
    /// The URL begins neither with `http://` nor with `https://`.
    #[error("`{0}`: an HTTP boot URL begins with http:// or https://")]
    Scheme(String),
    /// Two menu entries have the same type, so the client's choice would be ambiguous.
    #[error("boot menu: type {0} is used twice")]
    DuplicateItem(u16),
    /// Type 0 is reserved for the local-boot entry (PXE 2.1 chapter 2).
    #[error(
        "boot menu: type 0 means local boot; give boot services types from 1 (0x8000 and above are free)"
    )]
    ItemTypeZero,
    /// The menu has no entry that boots from the network.
    #[error("boot menu: needs at least one entry that boots something")]
    EmptyMenu,
    /// The entries' texts do not fit into option 43.
    #[error("boot menu: its texts are too long together; all of option 43 has 255 bytes")]
    MenuTooLong,
}

/// A short text that fits into an option: 1 to 255 bytes, no control characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(Box<str>);

impl Text {
    /// Checks and stores a text.
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

    /// The text, as it was configured.
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

/// The placeholder in a name for the machine's own address, which is written as `52-54-00-99-00-10`.
pub const MAC_MARK: &str = "{mac}";
/// By how many bytes a machine's address is longer than the placeholder.
const MAC_MARK_GROWTH: usize = 17 - MAC_MARK.len();

/// Replaces the placeholders in a name by a machine's address. The function omits what does not fit, which
/// never happens with names that were checked.
pub(super) fn expand(name: &Text, mac: Mac) -> ArrayString<255> {
    let mut out = ArrayString::new();
    for (index, part) in name.0.split(MAC_MARK).enumerate() {
        let separator = if index > 0 { mac.dashed() } else { ArrayString::new() };
        let _ = out.try_push_str(&separator);
        let _ = out.try_push_str(part);
    }
    out
}

/// The name of a boot file, as the client requests it by TFTP: at most 127 bytes, because the header's `file`
/// field has 128 bytes and ends with NUL (RFC 951). `{mac}` in the name stands for the machine's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootFile(Text);

impl BootFile {
    /// Checks and stores a name. Its length is that after `{mac}` is replaced.
    ///
    /// # Errors
    /// [`Invalid::Text`].
    pub fn new(name: &str) -> Result<Self, Invalid> {
        let growth = name.matches(MAC_MARK).count() * MAC_MARK_GROWTH;
        Text::limited(name, 127usize.saturating_sub(growth)).map(Self)
    }

    /// The name for one machine, with its address in place of `{mac}`.
    #[must_use]
    pub fn of(&self, mac: Mac) -> ArrayString<255> {
        expand(&self.0, mac)
    }

    /// The name as it was configured, with `{mac}`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// An HTTP boot URL: at most 254 bytes, because option 67 carries it with a NUL. `{mac}` in the URL stands
/// for the machine's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(Text);

impl Url {
    /// Checks and stores a URL. The check covers the URL's scheme, its length after `{mac}` is replaced, and
    /// control characters.
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

    /// The URL as it was configured, with `{mac}`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The URL for one machine, with its address in place of `{mac}`.
    #[must_use]
    pub fn of(&self, mac: Mac) -> ArrayString<255> {
        expand(&self.0, mac)
    }
}
