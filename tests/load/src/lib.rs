//! The load generator: all machines of a network in one process, over an AF_XDP socket of its own. What a single
//! machine does with a file, and what a bad cable does to it, is in `pxe-clients`.
//!
//! | file | noun |
//! |---|---|
//! | [`script`] | what the machines do, one after the other |
//! | [`dhcp`] | DHCP messages as firmware sends and reads them |
//! | [`machine`] | one machine from power-on to its last file |
//! | [`strangers`] | requests in the names of machines that do not exist |
//! | [`wire`] | frames out, frames in |
//! | [`kernel`] | the machines' steady state in the kernel |
//! | [`programs`] | the kernel programs that send frames here |
//! | [`fleet`] | all machines over one socket |
//! | [`reflect`] | the yardstick: frames that come back as they are |
//! | [`http`] | HTTP clients, and what they load |
//! | [`http_boot`] | machines that boot over HTTP, from their DISCOVER on |
//! | [`foreign`] | what the daemon's programs cost everybody else |
//! | [`report`] | what came out |
//! | [`pair`] | a daemon at one end of a cable, the machines at the other |
//! | [`cluster`] | responders that share a segment and a ledger, while something fails |
//! | [`soak`] | machines that boot again and again, and a daemon that must not grow |

mod clock;
pub mod cluster;
pub mod dhcp;
pub mod fleet;
pub mod foreign;
pub mod http;
pub mod http_boot;
pub mod kernel;
pub mod machine;
pub mod pair;
pub mod programs;
pub mod reflect;
pub mod report;
pub mod script;
pub mod soak;
pub mod strangers;
pub mod wire;

pub use pxe_clients::{manners, noise, transfer};
