//! The media type of a boot file. EDK2 chooses by `Content-Type` how to start a file, and rejects types that it does
//! not know (`HttpBootSupport.c`, `HttpBootCheckImageType`).

use pxe_content::boot::Image;

/// By the file's name; if the ending is unknown, by its content.
pub(super) fn kind(image: &Image) -> &'static str {
    let name = image.name().as_bytes().to_ascii_lowercase();
    by_name(&name).unwrap_or_else(|| by_content(image.bytes()))
}

fn by_name(name: &[u8]) -> Option<&'static str> {
    let kinds = [
        (".efi", "application/efi"),
        (".iso", "application/vnd.efi-iso"),
        (".img", "application/vnd.efi-img"),
        (".ipxe", "text/plain; charset=utf-8"),
        (".cfg", "text/plain; charset=utf-8"),
        (".conf", "text/plain; charset=utf-8"),
        (".json", "application/json"),
    ];
    kinds.into_iter().find(|(end, _)| name.ends_with(end.as_bytes())).map(|(_, kind)| kind)
}

/// A UEFI program is a PE file: it begins with `MZ`, and the word at 0x3c is the offset of `PE\0\0` (Microsoft PE/COFF
/// specification, section 2.1).
fn by_content(bytes: &[u8]) -> &'static str {
    let place =
        bytes.get(0x3c..0x40).and_then(|word| Some(u32::from_le_bytes(word.try_into().ok()?) as usize));
    let signature = place.and_then(|place| bytes.get(place..place.checked_add(4)?));
    if bytes.starts_with(b"MZ") && signature == Some(b"PE\0\0") {
        "application/efi"
    } else {
        "application/octet-stream"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_is_told_what_it_can_start() {
        assert_eq!(by_name(b"boot/bootx64.efi"), Some("application/efi"));
        assert_eq!(by_name(b"pxed/52-54-00-99-00-10/boot.ipxe"), Some("text/plain; charset=utf-8"));
        assert_eq!(by_name(b"vmlinuz"), None);
        let mut program = vec![0; 0x80];
        program[..2].copy_from_slice(b"MZ");
        program[0x3c] = 0x40;
        program[0x40..0x44].copy_from_slice(b"PE\0\0");
        assert_eq!(by_content(&program), "application/efi");
        for other in [&b""[..], b"MZ", &[0xff; 0x80], &program[..0x42]] {
            assert_eq!(by_content(other), "application/octet-stream");
        }
    }
}
