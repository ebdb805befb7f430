//! Properties that must hold for any input: one for each parser of untrusted bytes, and for each state machine behind them.
//!
//! | property | the input is | what holds |
//! |---|---|---|
//! | [`classifier`] | a frame | kernel and user space give the same verdict; a frame taken from the host can be parsed |
//! | [`dhcp`] | a DHCP message, whose last byte selects the service | a reply is complete, not too long, and assigns no address |
//! | [`tftp`] | a TFTP packet | writing and parsing again gives the same packet; only requested options are granted |
//! | [`transfers`] | a script of clients, time and a bad network | sending is bounded, the bytes are right, all state is freed |
//! | [`uploads`] | the same with uploads and a slow inbox | each acknowledged block was stored once, in order |
//! | [`config`] | a `pxed.toml` | each mistake has a message with a line of the file |
//! | [`mtlog`] | a line of a console | values are parts of the line, without control characters |
//! | [`smbios`] | an SMBIOS table | lists are bounded, and texts have no control characters |
//! | [`report`] | a memory test's report | lists are bounded; writing and parsing again gives the same report |
//!
//! [`frames`] and [`verdicts`] build the frames for the classifier, here and in the suites.
//!
//! One more property, about AF_XDP's rings, is in `pxe-user/nic/src/xsk/simulated.rs`.
//!
//! libFuzzer searches for inputs that violate them (`tests/fuzz`, run by `cargo xtask fuzz`). In each run of the tests,
//! `tests/suites/tests/properties.rs` checks them with their seeds, and with every input that once violated one.

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

/// A property, with the seeds of its search.
#[derive(Clone, Copy)]
pub struct Property {
    /// The name of its module, of its target, and of its folders below `tests/fuzz`.
    pub name: &'static str,
    /// Panics if it does not hold for the input.
    pub check: fn(&[u8]),
    /// Inputs by name that contain most of what the parsers know.
    pub seeds: fn() -> Vec<(String, Vec<u8>)>,
}

/// All properties, in alphabetical order.
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
