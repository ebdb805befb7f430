//! The way to the fleet for all other threads: events in, the board and its updates out.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::board::{Board, Step, Story, Update};
use super::claim::{Claim, ClaimRefusal};
use super::event::{Event, Peer};
use super::report::Report;
use pxe_content::boot::MachineFacts;
use pxe_proto::dhcp::Style;
use pxe_proto::mac::Mac;

/// Messages that may wait for the fleet's thread; a machine makes about ten in a boot.
pub const MESSAGES_MAX: usize = 65536;
/// Updates that a slow viewer may be behind before it is told to read the board again.
pub const UPDATES_MAX: usize = 16384;
/// How long a file that is written for a machine waits for what the fleet knows of it.
pub const FACTS_WAIT: Duration = Duration::from_secs(1);
/// How often a thread without a runtime looks for its answer.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How a machine is named by those who do not know its Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// By its Ethernet address.
    Mac(Mac),
    /// By its present IPv4 address.
    Address(Ipv4Addr),
    /// By its name, serial number or UUID, whichever matches; or by any of the above in writing.
    Words(String),
}

/// Somebody asks for a file that is written for one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inquiry {
    /// The machine that the file's name says, if it says one; else it is meant for who asks.
    pub named: Option<Mac>,
    /// Who asks.
    pub peer: Peer,
}

/// What the datapath must know of machines' pasts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootRecord {
    /// By rule: boots whose payload was acknowledged to the last byte.
    pub boots: Vec<(Arc<str>, u32)>,
    /// The style that its firmware has shown to want.
    pub style: Option<Style>,
}

impl BootRecord {
    /// How often it has booted by a rule.
    #[must_use]
    pub fn boots_by(&self, rule: &str) -> u32 {
        self.boots.iter().find(|(name, _)| **name == *rule).map_or(0, |(_, boots)| *boots)
    }
}

/// The standing of all machines that have one.
pub type BootRecords = HashMap<Mac, BootRecord>;

/// A message to the fleet's thread. They are handled in the order in which they were sent, whoever sent them: what a
/// worker has said of a machine is known when the machine's next request leads to a question.
#[derive(Debug)]
pub enum Message {
    /// A worker's event.
    Event(Event),
    /// A test's report; answered when it is written down, or by why it is not believed.
    Report(Claim, Box<Report>, oneshot::Sender<Result<(), ClaimRefusal>>),
    /// A question whether somebody may hand in files for a machine.
    Admit(Claim, oneshot::Sender<Result<(), ClaimRefusal>>),
    /// Lines of a machine's console; answered by how many were a test's, or by nothing for an unknown machine.
    Lines(Who, Vec<String>, oneshot::Sender<Option<usize>>),
    /// A question which machine a client of files is, if that can be known.
    Owner(Peer, oneshot::Sender<Option<Mac>>),
    /// A file was put into a machine's inbox.
    Uploaded(Mac, String, u64),
    /// A question for what templates need.
    Facts(Inquiry, oneshot::Sender<Option<MachineFacts>>),
    /// A question for a machine's story.
    Story(Mac, oneshot::Sender<Option<Story>>),
    /// A question for the steps after the one with this number, at most so many.
    Steps(u64, usize, oneshot::Sender<Vec<Step>>),
    /// A machine, or all of them, may boot by their rules from the beginning; answered by how many.
    Again(Option<Mac>, oneshot::Sender<usize>),
    /// A machine gets a name, or loses it.
    Name(Mac, Option<String>, oneshot::Sender<Result<(), NotNamed>>),
    /// Which machine somebody means.
    Find(Who, oneshot::Sender<Option<Mac>>),
    /// The end: what is known is written down first.
    Stop,
}

/// Why a machine did not get a name, or lose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNamed {
    /// Another machine has that name.
    #[error("{0} has that name: take it away there first, or choose another")]
    Taken(Mac),
    /// There is no such machine, so it has no name to lose.
    #[error("no such machine: see `pxed status` or /api/v1/machines")]
    Unknown,
}

/// The fleet's thread has ended, or has too much to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the daemon's fleet thread does not answer")]
pub struct Unreachable;

/// The way to the fleet. Clones are cheap.
#[derive(Clone, Debug)]
pub struct FleetHandle {
    pub(super) messages: mpsc::Sender<Message>,
    pub(super) board: Arc<ArcSwap<Board>>,
    pub(super) boot_records: Arc<ArcSwap<BootRecords>>,
    pub(super) updates: broadcast::Sender<Arc<Update>>,
}

impl FleetHandle {
    /// A handle, and the receiving end of its messages.
    pub fn new() -> (Self, mpsc::Receiver<Message>) {
        let (messages, receiver) = mpsc::channel(MESSAGES_MAX);
        let (updates, _) = broadcast::channel(UPDATES_MAX);
        (Self { messages, board: Arc::default(), boot_records: Arc::default(), updates }, receiver)
    }

    /// Says what happened. Never waits: for workers.
    ///
    /// # Errors
    /// When the fleet's thread has too much to do: then the event is lost, and counted by the caller.
    pub fn record(&self, event: Event) -> Result<(), Unreachable> {
        self.messages.try_send(Message::Event(event)).map_err(|_| Unreachable)
    }

    /// The board as it was last shown: everything on it has been written down, or is named in `lost`.
    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        self.board.load_full()
    }

    /// Shows a board from now on, and tells viewers what has changed. For whoever answers the messages.
    pub fn show(&self, board: Arc<Board>, updates: impl IntoIterator<Item = Update>) {
        self.board.store(board);
        for update in updates {
            // Without a viewer nobody hears it, and nobody needs to.
            let _ = self.updates.send(Arc::new(update));
        }
    }

    /// What the datapath must know of machines' pasts; read without a lock.
    #[must_use]
    pub fn boot_records(&self) -> &Arc<ArcSwap<BootRecords>> {
        &self.boot_records
    }

    /// Changes from now on. Who falls behind reads the board again.
    #[must_use]
    pub fn updates(&self) -> broadcast::Receiver<Arc<Update>> {
        self.updates.subscribe()
    }

    /// Sends a message that needs no answer, waiting for room.
    ///
    /// # Errors
    /// When the fleet's thread has ended.
    pub async fn send(&self, message: Message) -> Result<(), Unreachable> {
        self.messages.send(message).await.map_err(|_| Unreachable)
    }

    /// Sends a message that needs no answer, from a thread without a runtime.
    ///
    /// # Errors
    /// When the fleet's thread has ended.
    pub fn send_blocking(&self, message: Message) -> Result<(), Unreachable> {
        self.messages.blocking_send(message).map_err(|_| Unreachable)
    }

    /// Sends a message and waits for its answer.
    ///
    /// # Errors
    /// When the fleet's thread has ended.
    pub async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<T>) -> Message,
    ) -> Result<T, Unreachable> {
        let (sender, answer) = oneshot::channel();
        self.send(message(sender)).await?;
        answer.await.map_err(|_| Unreachable)
    }

    /// The same for a thread without a runtime, which others wait for: it does not wait for room, and for the answer no longer
    /// than about `limit`. What was asked stays with the fleet's thread, so whoever asks must bound how often.
    ///
    /// # Errors
    /// When the fleet's thread has ended, has too much to do, or has not answered in time.
    pub fn ask_blocking<T>(
        &self,
        limit: Duration,
        message: impl FnOnce(oneshot::Sender<T>) -> Message,
    ) -> Result<T, Unreachable> {
        let (sender, mut answer) = oneshot::channel();
        self.messages.try_send(message(sender)).map_err(|_| Unreachable)?;
        for _ in 0..limit.as_millis() {
            match answer.try_recv() {
                Ok(answer) => return Ok(answer),
                Err(TryRecvError::Closed) => return Err(Unreachable),
                Err(TryRecvError::Empty) => std::thread::sleep(LOOK_EVERY),
            }
        }
        answer.try_recv().map_err(|_| Unreachable)
    }

    /// Which machine a client of files is, for a thread without a runtime. Waits for [`FACTS_WAIT`] at most.
    ///
    /// # Errors
    /// See [`Self::ask_blocking`].
    pub fn owner_blocking(&self, peer: Peer) -> Result<Option<Mac>, Unreachable> {
        self.ask_blocking(FACTS_WAIT, |answer| Message::Owner(peer, answer))
    }

    /// MachineFacts of the machine that a file is for, for a thread without a runtime. Waits for [`FACTS_WAIT`] at most.
    ///
    /// # Errors
    /// See [`Self::ask_blocking`].
    pub fn facts_blocking(&self, inquiry: Inquiry) -> Result<Option<MachineFacts>, Unreachable> {
        self.ask_blocking(FACTS_WAIT, |answer| Message::Facts(inquiry, answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_ever() {
        let (fleet, mut messages) = FleetHandle::new();
        let address = std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2070);
        let peer = Peer { address, mac: Mac::default(), transport: super::super::event::Transport::Tftp };
        let inquiry = Inquiry { named: None, peer };
        assert_eq!(fleet.facts_blocking(inquiry), Err(Unreachable));
        let Some(Message::Facts(_, sender)) = messages.blocking_recv() else { unreachable!("it was asked") };
        assert!(sender.send(None).is_err());
        drop(messages);
        assert_eq!(fleet.facts_blocking(inquiry), Err(Unreachable));
    }
}
