//! What must hold for any input: one property for each reader of strangers' bytes, and for each machine that they drive.
//!
//! | property | the input is | what holds |
//! |---|---|---|
//! | [`classifier`] | a frame | the kernel's verdict is ours; what is taken from the host is a datagram for us |
//! | [`dhcp`] | a DHCP message, its last byte chooses the service | a reply is whole, not too long, and gives no address |
//! | [`tftp`] | a TFTP packet | what is read can be written and is read alike; nothing is granted that was not asked |
//! | [`transfers`] | a script of clients, time and a bad network | sends are bounded, the bytes right, nothing stays |
//! | [`uploads`] | the same, with files that are put, and a slow inbox | what was acknowledged was stored, once, in order |
//! | [`config`] | a `pxed.toml` | each mistake is told with a line of the file |
//! | [`mtlog`] | a line of a console | values are parts of the line, on one line |
//! | [`smbios`] | an SMBIOS table | bounded, and fit for people's eyes |
//! | [`report`] | a memory test's report | bounded, and read back as it is written |
//!
//! [`frames`] and [`verdicts`] are what the classifier is shown, here and in the suites.
//!
//! One more, on what a kernel does with AF_XDP's rings, lies beside them: `pxe-user/nic/src/xsk/simulated.rs`.
//!
//! libFuzzer looks for inputs that break them (`tests/fuzz`, run by `cargo xtask fuzz`). `tests/suites/tests/properties.rs` holds
//! them against their seeds, and against every input that ever broke one, in each run of the tests.

pub mod classifier;
pub mod config;
pub mod dhcp;
pub mod frames;
pub mod mtlog;
pub mod report;
mod script;
pub mod seeds;
pub mod smbios;
pub mod tftp;
pub mod transfers;
pub mod uploads;
pub mod verdicts;
mod world;

/// A property and where its search begins.
#[derive(Clone, Copy)]
pub struct Property {
    /// Its name: that of its module, of its target, and of its folders below `tests/fuzz`.
    pub name: &'static str,
    /// Panics if it does not hold for the input.
    pub check: fn(&[u8]),
    /// Inputs with much of what the readers know in them, by name.
    pub seeds: fn() -> Vec<(String, Vec<u8>)>,
}

/// All of them.
pub const ALL: [Property; 9] = [
    Property { name: "classifier", check: classifier::check, seeds: seeds::frames },
    Property { name: "config", check: config::check, seeds: seeds::configurations },
    Property { name: "dhcp", check: dhcp::check, seeds: seeds::dhcp },
    Property { name: "mtlog", check: mtlog::check, seeds: seeds::console_lines },
    Property { name: "report", check: report::check, seeds: seeds::reports },
    Property { name: "smbios", check: smbios::check, seeds: seeds::smbios },
    Property { name: "tftp", check: tftp::check, seeds: seeds::tftp },
    Property { name: "transfers", check: transfers::check, seeds: seeds::transfers },
    Property { name: "uploads", check: uploads::check, seeds: seeds::uploads },
];
