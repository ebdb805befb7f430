//! The classifier: `pxe_properties::classifier`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pxe_properties::classifier::check(input));
