//! The protocols as pure logic: DHCP with PXE, and TFTP. Nothing here does I/O, reads a clock, or starts a
//! thread. A function that depends on time takes `now` as an argument. The engine calls this crate.
//!
//! | module | contents |
//! |---|---|
//! | [`dhcp`] | takes a request, and returns a reply or the reason why there is none |
//! | [`tftp`] | packets, transfers as state machines, and the table of transfers |
//! | [`datagram`] | converts frames to UDP datagrams and back |
//! | [`checksum`] | the Internet checksum |
//! | [`mac`] | Ethernet addresses, in all notations that people use |
//! | [`time`] | points in time, as numbers that the caller passes in |

pub mod checksum;
pub mod datagram;
pub mod dhcp;
pub mod mac;
pub mod tftp;
pub mod time;
