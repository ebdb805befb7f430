//! Transfers: `pxe_properties::transfers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pxe_properties::transfers::check(input));
