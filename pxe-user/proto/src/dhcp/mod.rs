//! proxyDHCP: it takes a request, and returns a reply or the reason why there is none. It is pure: it knows
//! no socket and no clock, and parsing and replying allocate nothing.
//!
//! ```text
//! datagram --> Request::parse --> reply(service, request, ...) --> Ok(Reply): bytes in `out`, destination, summary
//!   (67, 4011)     |  Malformed          |
//!                  +---------------------+--> Err(Ignored): a named reason, one counter each
//! ```
//! [`BootService`] is what an interface offers. It is checked when it is built, so that a reply cannot fail
//! because of it. [`Style`] is how pxed replies to one machine; the caller chooses it for each request.
//!
//! Sources: PXE specification 2.1 (Intel, 1999), RFC 2131, 2132, 3046, 3396, 4578, 5071, and the measured
//! behaviour of firmware. The code cites the latter as "clients.md" (line numbers of section 6) at the line
//! that depends on it.

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
pub use request::{Class, Message, Printable, Request, Uuid};
pub use request_builder::Firmware;
pub use service::{BootService, Menu, MenuItem, Program, Programs};
pub use vendor::BootItem;
pub use view::{MessageView, tags};

/// The BOOTP server port (RFC 951).
pub const PORT_SERVER: u16 = 67;
/// The BOOTP client port (RFC 951).
pub const PORT_CLIENT: u16 = 68;
/// The PXE boot server port (PXE 2.1 chapter 2).
pub const PORT_BOOT_SERVER: u16 = 4011;
/// Largest reply in bytes: the UDP payload that fits into a 1500-byte IP packet without fragments.
pub const MAX_REPLY: usize = 1472;
