#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| pxe_user::nic::xsk::simulated::play(script).expect("memory"));
