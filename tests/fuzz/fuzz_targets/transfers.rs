//! Transfers: `pxe_tests::properties::transfers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pxe_tests::properties::transfers::check(input));
