//! The DHCP responder: `pxe_tests::properties::dhcp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pxe_tests::properties::dhcp::check(input));
