//! Keeps idle processors awake while something is measured.
//!
//! In a virtual machine, an idle processor halts and leaves its core to the host, and every wake-up by the other processor
//! costs an exit to the host. A cable whose two ends wake each other for each packet then has two speeds, and falls from
//! one into the other by chance: with AF_XDP, 100 to 400 MB/s or 600 to 800 by the same programs. Awake processors make the
//! slow one rarer. Sleeping states of real processors do the same to a smaller extent.

use std::fs::{File, OpenOptions};
use std::io::Write as _;

/// Takes the longest acceptable wake-up in microseconds, and applies it for as long as it is open (the kernel's
/// Documentation/power/pm_qos_interface.rst).
const DEVICE: &str = "/dev/cpu_dma_latency";

/// For as long as this exists, idle processors poll instead of halting, if the system allows it.
#[derive(Debug)]
pub struct Awake(Result<File, String>);

impl Awake {
    /// Asks for it.
    pub fn ask() -> Self {
        let opened = OpenOptions::new().write(true).open(DEVICE);
        let asked = opened.and_then(|mut file| file.write_all(&0_i32.to_ne_bytes()).map(|()| file));
        Self(asked.map_err(|error| error.to_string()))
    }

    /// For people.
    pub fn title(&self) -> String {
        match &self.0 {
            Ok(_) => format!("poll (0 us in {DEVICE})"),
            Err(error) => {
                format!("may halt, which makes rows without the offload uncertain: {DEVICE}: {error}")
            }
        }
    }
}
