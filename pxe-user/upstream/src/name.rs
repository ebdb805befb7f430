//! The names of an image's files. A source elsewhere may answer with any name, so only plain ones are accepted. No name becomes
//! a path on this host: the cache names its files by their digests.

use pxe_content::boot::FileName;

/// Whether a name is relative, without empty components, `.`, `..`, `\` or control characters, and short enough to be
/// requested.
pub(crate) fn is_plain(name: &str) -> bool {
    let normalised = FileName::normalise(name.as_bytes());
    !name.chars().any(char::is_control)
        && normalised.is_ok_and(|normalised| normalised.as_bytes() == name.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_that_leads_elsewhere_is_not_plain() {
        for good in ["vmlinuz", "EFI/BOOT/BOOTX64.EFI", "a b", "grub/x86_64-efi/..mod", "ü"] {
            assert!(is_plain(good), "{good}");
        }
        let long = "x".repeat(256);
        for bad in ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a", "a\\b", "a\nb", "a\0b", &long] {
            assert!(!is_plain(bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_plain_name_stays_below_its_folder(name in "[./a\\\\\0-]{0,12}") {
            if is_plain(&name) {
                prop_assert!(!name.starts_with('/') && name.split('/').all(|part| !matches!(part, "" | "." | "..")));
            }
        }
    }
}
