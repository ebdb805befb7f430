//! Files that are put: `pxe_properties::uploads`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pxe_properties::uploads::check(input));
