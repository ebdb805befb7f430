//! The library behind `pxed`.

pub mod boot;
pub mod checksum;
pub mod datagram;
pub mod dhcp;
pub mod nic;
pub mod tftp;
pub mod time;
