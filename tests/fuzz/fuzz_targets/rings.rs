//! AF_XDP's rings: `pxe_nic::xsk::simulated`, which is there only where inputs are searched.
#![no_main]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|script: &[u8]| pxe_nic::xsk::simulated::play(script).expect("memory"));
