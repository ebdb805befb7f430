//! The state that one daemon leaves to the next, and the reasons to refuse it.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use pxe_engine::responder::TransferSnapshot;
use pxe_nic::programs::Mode;

/// Why the state of a daemon cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum Refusal {
    /// The connection was closed without an answer.
    #[error("it ended before the hand-over")]
    Ended,
    /// The answer is another one than that of a hand-over.
    #[error("its message is unknown to this version")]
    OtherWords,
    /// The manifest has another version.
    #[error("its hand-over has version {theirs}, and this pxed reads version {ours}")]
    Version {
        /// The version of the manifest.
        theirs: u32,
        /// The version that this program reads.
        ours: u32,
    },
    /// The manifest has the right version, and is no valid JSON of it.
    #[error("cannot read its hand-over: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// The state is so old that clients have timed out.
    #[error("no pxed has served for {} s, longer than machines wait", .0.as_secs())]
    TooOld(Duration),
    /// The configuration names none of its interfaces.
    #[error("it served none of the configured interfaces")]
    OtherInterfaces,
    /// A system call failed.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl Refusal {
    /// The word for log fields and metrics.
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
    /// The time since which no request is answered: `CLOCK_MONOTONIC` in ns.
    pub(in crate::server) since: u64,
    pub(in crate::server) interfaces: Vec<InterfaceState>,
}

impl HandoverState {
    /// Takes the state of an interface out. An empty state if the predecessor did not serve it.
    pub(in crate::server) fn take_interface(state: &mut Option<Self>, name: &str) -> InterfaceState {
        let interfaces = state.as_mut().map(|state| &mut state.interfaces);
        let found = interfaces
            .and_then(|all| all.extract_if(.., |interface_state| interface_state.name == name).next());
        found.unwrap_or_default()
    }
}

/// The state of one interface. The default is empty.
#[derive(Debug, Default)]
pub(in crate::server) struct InterfaceState {
    pub(in crate::server) name: String,
    /// The interface's index in the kernel. Link and sockets fit no other interface.
    pub(in crate::server) index: u32,
    /// The BPF link that keeps the program attached, and where the program runs.
    pub(in crate::server) link: Option<(Mode, OwnedFd)>,
    /// The sockets of the plain datapath.
    pub(in crate::server) sockets: Vec<OwnedFd>,
    pub(in crate::server) snapshots: Vec<TransferSnapshot>,
}

impl InterfaceState {
    /// Whether this is the state of an interface with another index, which had the same name before.
    pub(in crate::server) fn is_of_another(&self, index: u32) -> bool {
        !self.name.is_empty() && self.index != index
    }
}

/// `CLOCK_MONOTONIC` in ns. It is the same for all processes of a host.
pub(in crate::server) fn monotonic() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap_or_default()
}
