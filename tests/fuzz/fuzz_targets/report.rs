//! The memory test's reports: `pxe_tests::properties::report`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pxe_tests::properties::report::check(input));
