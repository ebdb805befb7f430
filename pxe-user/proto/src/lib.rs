//! The protocols: DHCP with PXE, and TFTP, as pure logic. Nothing here does I/O, reads a clock, or starts a thread; whatever
//! depends on time takes `now`.
//!
//! | module | what |
//! |---|---|
//! | [`dhcp`] | request -> reply, or a reason for silence |
//! | [`tftp`] | packets, transfers as state machines, and their table |
//! | [`datagram`] | frame <-> UDP datagram |
//! | [`checksum`] | the Internet checksum |
//! | [`mac`] | Ethernet addresses, in all notations that people use |
//! | [`time`] | points in time, as numbers that the caller passes in |

pub mod checksum;
pub mod datagram;
pub mod dhcp;
pub mod mac;
pub mod tftp;
pub mod time;
