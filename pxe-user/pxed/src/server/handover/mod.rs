//! The hand-over: one daemon takes over the state of another, for an upgrade without a gap.
//!
//! ```text
//! successor                                        predecessor
//! read the files, load the programs
//! connect to the interface's lock --- request --->  check the user: root, or the daemon's own
//!                                                   hold: the kernel program drops what it would redirect
//!                                                   stop the workers; take every transfer back
//!                                                   close the ports, store the fleet's changes
//! <---------------- manifest and descriptors ------  end
//! replace the program in the link, open sockets,
//! give up the privileges, resume the transfers: each
//! sends its current window once more, if its client
//! has answered before
//! ```
//! The interface is never without a program, so the host never reports a closed port to a client. Packets that arrive meanwhile are
//! lost, and clients repeat them. Plain sockets are handed over themselves, and no packet is lost.
//!
//! At a restart of the service, the two processes do not run at the same time. On SIGTERM the predecessor stores one end of a
//! connection with the service manager ([`manager`]), sends the same state into the other end, and ends. The next start gets the
//! stored end, reads the state from it, and goes on as above. At a stop the manager closes the end, and the kernel detaches and closes
//! what was in it.
//!
//! Not handed over: requests that wait for a slot or a file (clients repeat them), uploads, HTTP connections, what was learnt of
//! machines' firmware, all counters, and the buckets of the rate limits.

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

/// The state of a predecessor, if there is one.
#[derive(Debug, Default)]
pub(super) struct Predecessor {
    pub(super) handover: Option<HandoverState>,
    /// Why the stored state was refused, if it was. An ordinary start follows.
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
