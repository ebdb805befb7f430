//! The state that one daemon leaves to the next, and the reasons to refuse it.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use pxe_engine::responder::TransferSnapshot;
use pxe_nic::programs::Mode;

/// Why what a daemon has left is not gone on with.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum Refusal {
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
    pub(super) fn as_str(&self) -> &'static str {
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

/// What one daemon leaves to the next.
#[derive(Debug)]
pub(in crate::server) struct HandoverState {
    /// `CLOCK_MONOTONIC` in ns, since when nobody answers.
    pub(in crate::server) since: u64,
    pub(in crate::server) interfaces: Vec<InterfaceState>,
}

impl HandoverState {
    /// Takes what is left of an interface: nothing, if nobody served it.
    pub(in crate::server) fn take_interface(state: &mut Option<Self>, name: &str) -> InterfaceState {
        let interfaces = state.as_mut().map(|state| &mut state.interfaces);
        let found = interfaces
            .and_then(|all| all.extract_if(.., |interface_state| interface_state.name == name).next());
        found.unwrap_or_default()
    }
}

/// What is left of an interface.
#[derive(Debug, Default)]
pub(in crate::server) struct InterfaceState {
    pub(in crate::server) name: String,
    /// The kernel's number of it: another one's link and sockets are of no use here.
    pub(in crate::server) index: u32,
    /// The link that holds the program.
    pub(in crate::server) link: Option<(Mode, OwnedFd)>,
    /// The sockets of the plain datapath.
    pub(in crate::server) sockets: Vec<OwnedFd>,
    pub(in crate::server) snapshots: Vec<TransferSnapshot>,
}

impl InterfaceState {
    /// Whether this is what is left of an interface, but not of that with this number: of one that was there before by the same
    /// name.
    pub(in crate::server) fn is_of_another(&self, index: u32) -> bool {
        !self.name.is_empty() && self.index != index
    }
}

/// `CLOCK_MONOTONIC` in ns: all processes of a host have the same.
pub(in crate::server) fn monotonic() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap_or_default()
}
