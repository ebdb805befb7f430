//! SMBIOS tables: `pxe_properties::smbios`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pxe_properties::smbios::check(input));
