//! TFTP's packets: `pxe_properties::tftp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pxe_properties::tftp::check(input));
