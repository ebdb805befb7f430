//! SMBIOS: an untrusted table becomes bounded lists, whose texts are bounded and have no control characters.

use pxe_fleet::board::TEXT_MAX;
use pxe_fleet::smbios::{dimm_at, read};

/// Takes any bytes as a structure table.
pub fn check(input: &[u8]) {
    let inventory = read(input);
    // A structure has at least four bytes and two zeros.
    assert!(inventory.dimms.len() <= input.len() / 6 && inventory.mapped.len() <= 512);
    for dimm in &inventory.dimms {
        let texts = [Some(&dimm.slot), dimm.kind.as_ref(), dimm.manufacturer.as_ref(), dimm.part.as_ref()];
        for text in texts.into_iter().chain([dimm.serial.as_ref()]).flatten() {
            assert!(text.len() <= TEXT_MAX && !text.contains(char::is_control), "{text:?}");
        }
    }
    for range in &inventory.mapped {
        assert!(range.first <= range.last);
        let slots: Vec<_> = inventory.dimms.iter().map(|dimm| &dimm.slot).collect();
        assert!(range.slot.as_ref().is_none_or(|slot| slots.contains(&slot)));
        // An address belongs to the module of its range, if no other range contains it.
        let others =
            inventory.mapped.iter().filter(|other| (other.first..=other.last).contains(&range.first));
        let found = dimm_at(&inventory.mapped, &format!("{:#x}", range.first));
        assert_eq!(found, if others.count() == 1 { range.slot.as_deref() } else { None });
    }
}
