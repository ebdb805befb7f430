//! proxyDHCP: a request in, a reply or a reason for silence out. Pure: no sockets, no clock, nothing allocated.
//!
//! ```text
//! datagram --> Request::parse --> reply(service, request, ...) --> Ok(Reply): bytes in `out`, where to, what was told
//!   (67, 4011)     |  Malformed          |
//!                  +---------------------+--> Err(Ignored): a named reason, one counter each
//! ```
//! [`Service`] is what an interface offers: built once, checked when built, so that answering cannot fail on it.
//! [`Style`] is how one machine is told, chosen per request by the caller.
//!
//! Sources: PXE specification 2.1 (Intel, 1999), RFC 2131, 2132, 3046, 3396, 4578, 5071, and what firmware was measured
//! to do, cited as "clients.md" (section 6, by line) at the line that decides.

#![forbid(unsafe_code)]

mod arch;
mod header;
mod ignored;
mod names;
mod options;
mod reply;
mod request;
mod request_builder;
mod service;
mod vendor;
mod view;
mod writer;

pub use crate::mac::Mac;
pub use arch::{Arch, UnknownArch};
pub use ignored::{Ignored, Malformed};
pub use names::{BootFile, Invalid, MAC_MARK, Text, Url};
pub use reply::{Admitted, Answer, Reply, ReplySummary, ServerPort, Style, admit, reply};
pub use request::{BootItem, Class, Message, Printable, Request, Uuid};
pub use request_builder::Firmware;
pub use service::{Menu, MenuItem, Program, Programs, Service};
pub use view::{MessageView, tags};

/// The BOOTP server port (RFC 951).
pub const PORT_SERVER: u16 = 67;
/// The BOOTP client port (RFC 951).
pub const PORT_CLIENT: u16 = 68;
/// The PXE boot server port (PXE 2.1 chapter 2).
pub const PORT_BOOT_SERVER: u16 = 4011;
/// The largest reply that is ever built, in bytes: what fits a 1500-byte IP packet unfragmented.
pub const MAX_REPLY: usize = 1472;
