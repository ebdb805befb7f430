//! The classifier: `pxe_tests::properties::classifier`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pxe_tests::properties::classifier::check(input));
