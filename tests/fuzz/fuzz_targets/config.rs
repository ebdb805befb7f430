//! `pxed.toml`: `pxe_tests::properties::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pxe_tests::properties::config::check(input));
