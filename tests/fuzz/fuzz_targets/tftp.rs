//! TFTP's packets: `pxe_tests::properties::tftp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pxe_tests::properties::tftp::check(input));
