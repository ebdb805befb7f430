//! Names of files, normalised from the names that clients send. Pure, and without allocation.

use std::fmt;
use std::hash::{Hash, Hasher};

use super::refusal::Refusal;

/// The longest name in bytes. A component of a path cannot be longer in most file systems, and the names of
/// boot files are much shorter.
pub const NAME_MAX: usize = 255;

/// The name of a file below the root: components joined by single `/`. No component is empty, `.` or `..`.
/// The name has 1 to 255 bytes of any value except NUL and `\`.
#[derive(Clone, Copy)]
pub struct FileName {
    len: u8,
    bytes: [u8; NAME_MAX],
}

impl FileName {
    /// Normalises a name from a client. `\` becomes `/`, because Windows' boot loaders send it. Leading,
    /// repeated and trailing `/` and `.` components are removed (docs/clients.md section 6 line 33).
    ///
    /// # Errors
    /// [`Refusal::DotDot`] for any `..` component, even one that stays inside the tree, because no client
    /// needs it. [`Refusal::Nul`] for a NUL byte, [`Refusal::TooLong`] for more than [`NAME_MAX`] bytes after
    /// this, and [`Refusal::NotFound`] if nothing is left.
    pub fn normalise(raw: &[u8]) -> Result<Self, Refusal> {
        let mut name = Self { len: 0, bytes: [0; NAME_MAX] };
        for component in raw.split(|byte| matches!(byte, b'/' | b'\\')) {
            match component {
                b"" | b"." => {}
                b".." => return Err(Refusal::DotDot),
                _ if component.contains(&0) => return Err(Refusal::Nul),
                _ => name.push(component)?,
            }
        }
        if name.len == 0 { Err(Refusal::NotFound) } else { Ok(name) }
    }

    fn push(&mut self, component: &[u8]) -> Result<(), Refusal> {
        let old = usize::from(self.len);
        let start = if old == 0 { 0 } else { old + 1 };
        let end = start + component.len();
        self.bytes.get_mut(start..end).ok_or(Refusal::TooLong)?.copy_from_slice(component);
        if start > 0 {
            self.bytes[old] = b'/';
        }
        self.len = u8::try_from(end).map_err(|_| Refusal::TooLong)?;
        Ok(())
    }

    /// The bytes of the name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The name as text. `None` if it is not UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()).ok()
    }

    /// The name of `file` in the directory of this file.
    pub(super) fn sibling(&self, file: &str) -> Result<Self, Refusal> {
        let directory = self.as_bytes().iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        Self::normalise(&[&self.as_bytes()[..directory], file.as_bytes()].concat())
    }

    /// The last component.
    pub(super) fn base(&self) -> &[u8] {
        self.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }
}

impl PartialEq for FileName {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for FileName {}

impl PartialOrd for FileName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FileName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for FileName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

/// For logs and terminals: bytes that are not printable ASCII are escaped, because the name comes from the
/// network.
impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_bytes().escape_ascii(), f)
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl std::str::FromStr for FileName {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::normalise(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normalised(raw: &[u8]) -> Result<String, Refusal> {
        FileName::normalise(raw).map(|name| name.to_string())
    }

    /// Names from docs/clients.md section 5 lines 1, 2, 8, 16, and section 6 line 33.
    #[test]
    fn names_come_in_one_form_or_are_refused() {
        let good: &[(&[u8], &str)] = &[
            (b"pxelinux.0", "pxelinux.0"),
            (b"/pxelinux.0", "pxelinux.0"),
            (b"///boot//x", "boot/x"),
            (b"\\boot\\bcd", "boot/bcd"),
            (b"/./a/././b/.", "a/b"),
            (b"a/", "a"),
            (b"..a/b../...", "..a/b../..."),
            (b"C:\\x", "C:/x"),
            (b"%2e%2e/%s", "%2e%2e/%s"),
            (b"a b", "a b"),
            (b"\xff\x1b[2J", "\\xff\\x1b[2J"),
            ("ü".as_bytes(), "\\xc3\\xbc"),
        ];
        for (raw, name) in good {
            assert_eq!(normalised(raw).as_deref(), Ok(*name), "{}", raw.escape_ascii());
        }
        for raw in [&b".."[..], b"../x", b"a/../b", b"a/..", b"\\..\\x", b"/..\\", b"a\\../b", b"./..//x"] {
            assert_eq!(normalised(raw), Err(Refusal::DotDot), "{}", raw.escape_ascii());
        }
        for raw in [&b""[..], b"/", b"//", b"\\", b".", b"./", b"/./."] {
            assert_eq!(normalised(raw), Err(Refusal::NotFound), "{}", raw.escape_ascii());
        }
        assert_eq!(normalised(b"a\0b"), Err(Refusal::Nul));
        assert_eq!(normalised(b"\0"), Err(Refusal::Nul));
    }

    #[test]
    fn length_is_counted_after_normalising() {
        assert_eq!(normalised(&[b'a'; 255]).map(|name| name.len()), Ok(255));
        assert_eq!(normalised(&[b'a'; 256]), Err(Refusal::TooLong));
        assert_eq!(normalised(&[&[b'/'; 5000][..], &[b'a'; 255]].concat()).map(|name| name.len()), Ok(255));
        assert_eq!(normalised(&[&[b'a'; 253][..], b"//b"].concat()).map(|name| name.len()), Ok(255));
        assert_eq!(normalised(&[&[b'a'; 254][..], b"/b"].concat()), Err(Refusal::TooLong));
        assert_eq!(normalised(&[&[b'a'; 255][..], b"/"].concat()).map(|name| name.len()), Ok(255));
    }

    #[test]
    fn equal_names_hash_alike_and_siblings_share_a_directory() {
        let name: FileName = "a/b/pxelinux.0".parse().unwrap();
        assert_eq!(name, "/a//b\\pxelinux.0".parse().unwrap());
        assert_eq!(name.sibling("pxelinux.cfg/default"), "a/b/pxelinux.cfg/default".parse());
        assert_eq!(name.base(), b"pxelinux.0");
        let top: FileName = "x".parse().unwrap();
        assert_eq!(top.sibling("y"), "y".parse());
        let set = std::collections::HashSet::from([name]);
        assert!(set.contains(&"a/b/./pxelinux.0".parse().unwrap()));
    }

    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"/".to_vec()),
            Just(b"\\".to_vec()),
            Just(b".".to_vec()),
            Just(b"..".to_vec()),
            Just(b"a".to_vec()),
            prop::collection::vec(any::<u8>(), 0..4),
            Just(vec![b'x'; 120]),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn a_name_is_relative_without_dot_dot_and_stable(raw in hostile()) {
            if let Ok(name) = FileName::normalise(&raw) {
                let bytes = name.as_bytes();
                prop_assert!(!bytes.is_empty() && bytes.len() <= NAME_MAX);
                prop_assert!(!bytes.contains(&0) && !bytes.contains(&b'\\'));
                prop_assert!(bytes.split(|b| *b == b'/').all(|part| !matches!(part, b"" | b"." | b"..")));
                prop_assert_eq!(FileName::normalise(bytes), Ok(name));
                prop_assert!(name.to_string().bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            }
        }
    }
}
