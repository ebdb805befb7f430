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
//! Not handed over: requests that wait for a slot or a file (they come again by themselves), uploads, HTTP connections, and
//! what was learnt of machines' firmware.

mod channel;
mod letter;

use std::os::fd::OwnedFd;

pub(super) use channel::{Asker, ask};

use crate::nic::programs::Mode;
use crate::responder::Baton;

/// What one daemon leaves to the next.
#[derive(Debug)]
pub(super) struct Parcel {
    /// `CLOCK_MONOTONIC` in ns, since when nobody answers.
    pub(super) since: u64,
    pub(super) interfaces: Vec<Legacy>,
}

impl Parcel {
    /// Takes what is left of an interface: nothing, if nobody served it.
    pub(super) fn legacy(parcel: &mut Option<Self>, name: &str) -> Legacy {
        let interfaces = parcel.as_mut().map(|parcel| &mut parcel.interfaces);
        let found = interfaces.and_then(|all| all.extract_if(.., |legacy| legacy.name == name).next());
        found.unwrap_or_default()
    }
}

/// What is left of an interface.
#[derive(Debug, Default)]
pub(super) struct Legacy {
    pub(super) name: String,
    /// The link that holds the program.
    pub(super) link: Option<(Mode, OwnedFd)>,
    /// The sockets of the plain datapath.
    pub(super) sockets: Vec<OwnedFd>,
    pub(super) batons: Vec<Baton>,
}

/// `CLOCK_MONOTONIC` in ns: all processes of a host have the same.
pub(super) fn monotonic() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap_or_default()
}
