//! memtest86+'s lines: `pxe_tests::properties::mtlog`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pxe_tests::properties::mtlog::check(input));
