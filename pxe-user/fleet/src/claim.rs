//! [`Claim`]: the proof that comes with a report or an upload, and the reasons to reject it.
//! `machine::trust` checks it.

use pxe_content::boot::Nonce;
use pxe_proto::mac::Mac;

/// What the sender of a report or an upload claims, and what the network shows of the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The machine for which the sender speaks.
    pub mac: Mac,
    /// The nonce that the sender presents.
    pub nonce: Option<Nonce>,
    /// The Ethernet address of the sender's IP address, from the kernel's neighbour table. `None` if the
    /// table has no entry, for example behind a router.
    pub neighbour: Option<Mac>,
}

/// Why pxed rejects a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimRefusal {
    /// The registry does not know the machine. A report or an upload never creates one, because anybody can
    /// send them.
    #[error("no such machine: it must boot from this server first")]
    Unknown,
    /// The machine was seen on the link, and the sender's Ethernet address is another one.
    #[error("the frame comes from another Ethernet address than the machine's")]
    Sender,
    /// The nonce is missing, or is that of another machine or of an earlier boot.
    #[error(
        "the nonce of the machine's present boot is missing or wrong: post below `{{{{ report_url }}}}`, as the files that \
         are written for the machine have it"
    )]
    Nonce,
    /// The machine has fetched no payload or other file in this boot, only boot loaders. So no program runs
    /// there that could test the memory.
    #[error("this boot has fetched boot loaders only: report after its files have arrived")]
    NotFetched,
    /// The report says that a test has ended, but no test has begun in this boot.
    #[error("the test has not started: report `start` first")]
    NotBegun,
}

impl ClaimRefusal {
    /// The reason's name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Sender => "sender",
            Self::Nonce => "nonce",
            Self::NotFetched => "not_fetched",
            Self::NotBegun => "not_begun",
        }
    }
}
