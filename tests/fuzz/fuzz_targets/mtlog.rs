//! memtest86+'s lines: `pxe_properties::mtlog`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pxe_properties::mtlog::check(input));
