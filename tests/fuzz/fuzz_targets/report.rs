//! The memory test's reports: `pxe_properties::report`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pxe_properties::report::check(input));
