//! SMBIOS tables: `pxe_tests::properties::smbios`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pxe_tests::properties::smbios::check(input));
