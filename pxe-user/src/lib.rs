//! The library behind `pxed`.

pub mod checksum;
pub mod datagram;
pub mod dhcp;
pub mod mac;
pub mod nic;
pub mod tftp;
pub mod time;
