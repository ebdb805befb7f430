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
mod state;

use channel::{HandoverError, ask};
use pxe_content::boot::Catalogue;

pub(super) use channel::Requester;
pub use manager::StoredHandover;
pub(super) use manager::leave;
pub(super) use state::{HandoverState, InterfaceState, monotonic};

/// What came of looking for a predecessor's work.
#[derive(Debug, Default)]
pub(super) struct Predecessor {
    pub(super) handover: Option<HandoverState>,
    /// Why what was left is not gone on with: an ordinary start follows.
    pub(super) refused: Option<&'static str>,
}

/// Where a new daemon looks for the state of a previous one.
#[derive(Debug, Default)]
pub struct Inheritance {
    /// What the service manager has stored.
    pub stored: Option<StoredHandover>,
    /// Whether to ask a running daemon for its state, if the service manager has stored none.
    pub take_over: bool,
}

impl Inheritance {
    /// Whether there may be a previous daemon. Its ports and sockets are no obstacle then, because it hands them over.
    #[must_use]
    pub fn is_expected(&self) -> bool {
        self.take_over || self.stored.is_some()
    }
}

/// Looks for the state of a previous daemon of these interfaces.
///
/// # Errors
/// When a running daemon does not hand over.
pub(super) fn find(
    interfaces: &[String],
    inheritance: Inheritance,
    catalogue: &Catalogue,
) -> Result<Predecessor, HandoverError> {
    let mut found = Predecessor::default();
    match inheritance.stored.map(|stored| stored.open(interfaces, catalogue)) {
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
    if found.handover.is_none() && inheritance.take_over {
        found.handover = ask(interfaces, catalogue)?;
    }
    Ok(found)
}
