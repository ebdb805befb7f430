//! The library behind `pxed`.

pub mod dhcp;
