//! One daemon goes on with another's work: an upgrade without a gap.
//!
//! ```text
//! successor                                        predecessor
//! read the files, load the programs
//! connect to the interface's lock --- request --->  is it root, or who I am?
//!                                                   hold the kernel's program: it drops what it would redirect
//!                                                   stop the workers; take every transfer back
//!                                                   close the ports, write the fleet down
//! <------------ parcel: a letter and descriptors ---  end
//! put the own program into the link, open sockets,
//! give up all rights, resume the transfers: each
//! sends the window once more that was under way,
//! if its client has been heard
//! ```
//! The interface is never without a program, so the host never tells a client that a port is closed; what comes meanwhile is
//! lost as on a wire, and repeated. Over plain sockets these themselves are handed over, and nothing is lost.
//!
//! At a restart of the service the two never meet: on SIGTERM the predecessor gives the service manager, if it has one, the
//! end of a connection to keep ([`manager`]), sends the same parcel into it, and ends. The next start is handed that end, finds
//! the parcel there, and goes on as above. Whatever the manager closes instead, at a stop, the kernel takes down.
//!
//! Not handed over: requests that wait for a slot or a file (they come again by themselves), uploads, HTTP connections,
//! what was learnt of machines' firmware, and what was counted: all counters, and how often who has asked.

mod channel;
mod manager;
mod manifest;

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

pub(super) use channel::Requester;
use channel::{HandoverError, ask};
pub use manager::StoredHandover;
pub(super) use manager::leave;

use super::Options;
use pxe_content::boot::Catalogue;
use pxe_engine::responder::TransferSnapshot;
use pxe_nic::programs::Mode;

/// Why what a daemon has left is not gone on with.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// Nothing was sent.
    #[error("it ended before the hand-over")]
    Ended,
    /// What was sent is no parcel.
    #[error("its message is unknown to this version")]
    OtherWords,
    /// A letter of another version.
    #[error("its hand-over has version {theirs}, and this pxed reads version {ours}")]
    Version {
        /// The letter's.
        theirs: u32,
        /// What this program reads.
        ours: u32,
    },
    /// A letter of our version that is none.
    #[error("cannot read its hand-over: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// Clients have given up since.
    #[error("no pxed has served for {} s, longer than machines wait", .0.as_secs())]
    TooOld(Duration),
    /// The configuration names others now.
    #[error("it served none of the configured interfaces")]
    OtherInterfaces,
    /// The system refused something.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl Refusal {
    /// For the log's fields.
    fn as_str(&self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::OtherWords => "other_words",
            Self::Version { .. } => "version",
            Self::Unreadable(_) => "unreadable",
            Self::TooOld(_) => "too_old",
            Self::OtherInterfaces => "other_interfaces",
            Self::System(_) => "system",
        }
    }
}

/// What came of looking for a predecessor's work.
#[derive(Debug, Default)]
pub(super) struct Predecessor {
    pub(super) handover: Option<HandoverState>,
    /// Why what was left is not gone on with: an ordinary start follows.
    pub(super) refused: Option<&'static str>,
}

/// Looks for a predecessor's work: with the service manager, and, if that is wanted, with one that runs.
///
/// # Errors
/// When one that runs does not hand over.
pub(super) fn find(
    options: &Options,
    kept: Option<StoredHandover>,
    catalogue: &Catalogue,
) -> Result<Predecessor, HandoverError> {
    let mut found = Predecessor::default();
    match kept.map(|kept| kept.open(&options.interfaces, catalogue)) {
        Some(Ok(state)) => found.handover = Some(state),
        Some(Err(refusal)) => {
            let reason = refusal.as_str();
            tracing::warn!(
                event = "hand_over_refused",
                reason,
                "cannot resume the previous pxed's transfers, so machines restart them: {refusal}"
            );
            found.refused = Some(reason);
        }
        None => {}
    }
    if found.handover.is_none() && options.take_over {
        found.handover = ask(&options.interfaces, catalogue)?;
    }
    Ok(found)
}

/// What one daemon leaves to the next.
#[derive(Debug)]
pub(super) struct HandoverState {
    /// `CLOCK_MONOTONIC` in ns, since when nobody answers.
    pub(super) since: u64,
    pub(super) interfaces: Vec<InterfaceState>,
}

impl HandoverState {
    /// Takes what is left of an interface: nothing, if nobody served it.
    pub(super) fn take_interface(state: &mut Option<Self>, name: &str) -> InterfaceState {
        let interfaces = state.as_mut().map(|state| &mut state.interfaces);
        let found = interfaces
            .and_then(|all| all.extract_if(.., |interface_state| interface_state.name == name).next());
        found.unwrap_or_default()
    }
}

/// What is left of an interface.
#[derive(Debug, Default)]
pub(super) struct InterfaceState {
    pub(super) name: String,
    /// The kernel's number of it: another one's link and sockets are of no use here.
    pub(super) index: u32,
    /// The link that holds the program.
    pub(super) link: Option<(Mode, OwnedFd)>,
    /// The sockets of the plain datapath.
    pub(super) sockets: Vec<OwnedFd>,
    pub(super) snapshots: Vec<TransferSnapshot>,
}

impl InterfaceState {
    /// Whether this is what is left of an interface, but not of that with this number: of one that was there before by the same
    /// name.
    pub(super) fn is_of_another(&self, index: u32) -> bool {
        !self.name.is_empty() && self.index != index
    }
}

/// `CLOCK_MONOTONIC` in ns: all processes of a host have the same.
pub(super) fn monotonic() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap_or_default()
}
