//! The DHCP responder: `pxe_properties::dhcp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pxe_properties::dhcp::check(input));
