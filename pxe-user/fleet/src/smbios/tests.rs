//! Tests with a real table, with tables made for a test, and with hostile ones.

use proptest::prelude::*;

use super::*;

/// The structure table of QEMU 7.2.22 with SeaBIOS, read from the guest's memory by `pmemsave`: `-machine pc
/// -m 24G -smbios type=17,loc_pfx=DIMM_A,manufacturer=Example,serial=S123,part=P-1,speed=3200`.
const QEMU: &[u8] = include_bytes!("qemu-7.2-i440fx-24g.bin");

#[test]
fn qemus_table_is_read() {
    let inventory = read(QEMU);
    let slots: Vec<_> = inventory.dimms.iter().map(|dimm| (dimm.slot.as_str(), dimm.size >> 30)).collect();
    assert_eq!(slots, [("DIMM_A 0", 16), ("DIMM_A 1", 8)]);
    let first = &inventory.dimms[0];
    assert_eq!(
        (first.kind.as_deref(), first.speed, first.manufacturer.as_deref()),
        (Some("RAM"), Some(3200), Some("Example"))
    );
    assert_eq!((first.part.as_deref(), first.serial.as_deref()), (Some("P-1"), Some("S123")));
    assert_eq!(inventory.mapped.len(), 2);
    assert_eq!((inventory.mapped[0].first, inventory.mapped[0].last), (0, (3 << 30) - 1));
    assert_eq!(
        dimm_at(&inventory.mapped, "0x1000"),
        None,
        "both modules are in this array: nobody can say which"
    );
}

fn structure(kind: u8, handle: u16, body: &[u8], strings: &[u8]) -> Vec<u8> {
    let [low, high] = handle.to_le_bytes();
    [&[kind, u8::try_from(body.len() + 4).unwrap(), low, high], body, strings, &[0, 0]].concat()
}

/// A module of 16 GiB in array 1. Its only string is the slot's label.
fn module(handle: u16, name: &str) -> Vec<u8> {
    let mut body = vec![0; 0x24];
    body[0] = 1;
    body[8..10].copy_from_slice(&0x4000u16.to_le_bytes());
    body[12] = 1;
    structure(17, handle, &body, name.as_bytes())
}

/// Type 20: a module's address range in KiB, and its interleave position.
fn mapped(device: u16, first: u32, last: u32, interleave: u8) -> Vec<u8> {
    let [low, high] = device.to_le_bytes();
    let body = [&first.to_le_bytes()[..], &last.to_le_bytes(), &[low, high, 0, 0, 1, interleave, 0]].concat();
    structure(20, 99, &body, &[])
}

#[test]
fn an_address_names_a_module_only_if_it_can_be_no_other() {
    let gibibyte = 1 << 20;
    let modules = [module(1, "A1"), module(2, "B1"), structure(127, 9, &[], &[])].concat();
    let apart =
        [mapped(1, 0, gibibyte - 1, 0), mapped(2, gibibyte, 2 * gibibyte - 1, 0), modules.clone()].concat();
    let ranges = read(&apart).mapped;
    assert_eq!((dimm_at(&ranges, "0x3fffffff"), dimm_at(&ranges, "0x40000000")), (Some("A1"), Some("B1")));
    assert_eq!(
        (dimm_at(&ranges, "0x80000000"), dimm_at(&ranges, "12"), dimm_at(&ranges, "0xg")),
        (None, None, None)
    );
    let interleaved = [mapped(1, 0, gibibyte, 1), mapped(2, 0, gibibyte, 2), modules].concat();
    assert_eq!(dimm_at(&read(&interleaved).mapped, "0x1000"), None);
}

#[test]
fn large_and_empty_slots_have_their_size() {
    let with_size = |size: u16, extended: u32| {
        let mut table = module(1, "A1");
        table[0x0c..0x0e].copy_from_slice(&size.to_le_bytes());
        table[0x1c..0x20].copy_from_slice(&extended.to_le_bytes());
        read(&table).dimms[0].size
    };
    assert_eq!(with_size(0x7fff, 128 * 1024), 128 << 30);
    assert_eq!((with_size(0, 0), with_size(0xffff, 0), with_size(0x8200, 0)), (0, 0, 512 << 10));
}

#[test]
fn base64_may_have_lines() {
    assert_eq!(from_base64("QU\nJD\r\n"), Some(b"ABC".to_vec()));
    assert_eq!((from_base64("!"), from_base64(&"A".repeat(BODY_MAX + 4))), (None, None));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_grow(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let inventory = read(&bytes);
        prop_assert!(inventory.dimms.len() <= bytes.len() / 4);
    }

    #[test]
    fn a_damaged_table_does_not_either(at in 0usize..502, byte: u8, len in 0usize..503) {
        let mut table = QEMU.to_vec();
        table[at] = byte;
        table.truncate(len);
        let inventory = read(&table);
        let _ = dimm_at(&inventory.mapped, "0x1000");
    }
}
