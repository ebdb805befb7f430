//! Who hands in a report or a file, and why that is not believed.

use pxe_content::boot::Nonce;
use pxe_proto::mac::Mac;

/// What a sender says of itself, and what the network says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The machine for which it speaks.
    pub mac: Mac,
    /// The nonce that it shows.
    pub nonce: Option<Nonce>,
    /// The Ethernet address of its IP address, if the kernel knows that: behind a router it does not.
    pub neighbour: Option<Mac>,
}

/// Why a claim is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimRefusal {
    /// Nobody knows the machine: who hands something in makes no machine.
    #[error("no such machine: it must boot from this server first")]
    Unknown,
    /// The machine was seen on our link, and this is another one there.
    #[error("the frame comes from another Ethernet address than the machine's")]
    Sender,
    /// No nonce, another machine's, or that of a boot before.
    #[error(
        "the nonce of the machine's present boot is missing or wrong: post below `{{{{ report_url }}}}`, as the files that \
         are written for the machine have it"
    )]
    Nonce,
    /// Nothing of an image was fetched in this boot, so nothing can run that would know of its memory.
    #[error("this boot has fetched boot loaders only: report after its files have arrived")]
    NotFetched,
    /// The test ends that has never begun.
    #[error("the test has not started: report `start` first")]
    NotBegun,
}

impl ClaimRefusal {
    /// The word for it in metrics.
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
