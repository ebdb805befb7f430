//! Files that are put: `pxe_tests::properties::uploads`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pxe_tests::properties::uploads::check(input));
