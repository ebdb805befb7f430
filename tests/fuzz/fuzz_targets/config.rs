//! `pxed.toml`: `pxe_properties::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pxe_properties::config::check(input));
