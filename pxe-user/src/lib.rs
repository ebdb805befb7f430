//! The library behind `pxed`.

pub mod boot;
pub mod checksum;
pub mod boot;
pub mod datagram;
pub mod dhcp;
pub mod fleet;
pub mod mac;
pub mod nic;
pub mod responder;
pub mod tally;
pub mod tftp;
pub mod time;
