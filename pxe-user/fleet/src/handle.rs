//! [`FleetHandle`]: how other threads use the fleet. They send a [`Message`], and read the board and its
//! updates.
//!
//! Workers call only [`FleetHandle::record`] and read [`FleetHandle::boot_records`]: neither blocks nor
//! waits. Methods that end in `_blocking` are for threads without a tokio runtime.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rpds::HashTrieMapSync;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::board::{Board, Step, Story, Update};
use super::claim::{Claim, ClaimRefusal};
use super::event::{Event, Peer};
use super::report::Report;
use pxe_content::boot::MachineFacts;
use pxe_proto::dhcp::Style;
use pxe_proto::mac::Mac;

/// Capacity of the message queue. A machine causes about ten messages in a boot.
pub const MESSAGES_MAX: usize = 65536;
/// Capacity of the update channel. A viewer that falls further behind loses updates and must read the whole
/// board again.
pub const UPDATES_MAX: usize = 16384;
/// Longest wait for the fleet's facts about a machine, when a file is generated for that machine.
pub const FACTS_WAIT: Duration = Duration::from_secs(1);
/// How often [`FleetHandle::ask_blocking`] polls for its answer.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How a caller names a machine whose Ethernet address it may not know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MachineSelector {
    /// The machine's Ethernet address.
    Mac(Mac),
    /// The machine's present IPv4 address.
    Address(Ipv4Addr),
    /// Free text: the machine's Ethernet or IPv4 address as text, or its name, its console's name, its serial
    /// number or its UUID. Upper and lower case are equal.
    Text(String),
}

/// A request for a file that is generated for one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FactsRequest {
    /// The machine that the file's name contains. With `None`, the file is for the client that asks.
    pub named: Option<Mac>,
    /// The client that asks.
    pub peer: Peer,
}

/// What the datapath must know about a machine's past boots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootRecord {
    /// By rule: the number of boots whose payload the machine acknowledged to the last byte.
    pub boots: Vec<(Arc<str>, u32)>,
    /// The offer style that the machine's firmware needs. `None` if the usual style works.
    pub style: Option<Style>,
}

impl BootRecord {
    /// Returns how often the machine has booted by `rule`.
    #[must_use]
    pub fn boots_by(&self, rule: &str) -> u32 {
        self.boots.iter().find(|(name, _)| **name == *rule).map_or(0, |(_, boots)| *boots)
    }
}

/// The boot records of all machines whose record is not empty. Copies share all records, so that a change costs one of
/// them, even if there are 65,536.
pub type BootRecords = HashTrieMapSync<Mac, BootRecord>;

/// A message to the fleet's thread. The thread handles messages in the order in which they were sent, over
/// all senders. So when a machine's request leads to a question, the fleet already knows the events that
/// workers sent about this machine before.
#[derive(Debug)]
pub enum Message {
    /// An event from a worker or from the HTTP server.
    Event(Event),
    /// A memory test's report. The answer is `Ok` after the report has been published, or the reason why pxed
    /// rejects it.
    Report(Claim, Box<Report>, oneshot::Sender<Result<(), ClaimRefusal>>),
    /// Asks whether a sender may upload files for a machine.
    Admit(Claim, oneshot::Sender<Result<(), ClaimRefusal>>),
    /// Lines from a machine's console. The answer is the number of lines from a memory test, or `None` for an
    /// unknown machine.
    Lines(MachineSelector, Vec<String>, oneshot::Sender<Option<usize>>),
    /// Asks which machine a client of files is. The answer is `None` if the fleet cannot tell.
    Owner(Peer, oneshot::Sender<Option<Mac>>),
    /// A file was stored in a machine's inbox: the machine, the file's name, and its size in bytes.
    Uploaded(Mac, String, u64),
    /// Asks for the values that a file for one machine is filled with.
    Facts(FactsRequest, oneshot::Sender<Option<MachineFacts>>),
    /// Asks for a machine with its boots and steps. The answer is `None` for an unknown machine.
    Story(Mac, oneshot::Sender<Option<Story>>),
    /// Asks for the steps whose number is greater than the first value, oldest first, at most as many as the
    /// second value.
    Steps(u64, usize, oneshot::Sender<Vec<Step>>),
    /// Resets the boot counts of one machine, or of all with `None`, so that they boot by their rules from
    /// the beginning. The answer is the number of machines.
    Again(Option<Mac>, oneshot::Sender<usize>),
    /// Gives a machine a name, or with `None` removes its name.
    Name(Mac, Option<String>, oneshot::Sender<Result<(), NameError>>),
    /// Finds the machine that a caller names.
    Find(MachineSelector, oneshot::Sender<Option<Mac>>),
    /// Ends the thread, after it has written what it knows to disk.
    Stop,
}

/// Why [`Message::Name`] failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Another machine already has this name.
    #[error("{0} has that name: take it away there first, or choose another")]
    Taken(Mac),
    /// The machine is unknown, so it has no name to remove.
    #[error("no such machine: see `pxed status` or /api/v1/machines")]
    Unknown,
}

/// The fleet's thread has ended, its queue is full, or it did not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the daemon's fleet thread does not answer")]
pub struct Unreachable;

/// Sends messages to the fleet's thread, and reads what the thread publishes. Clones are cheap.
#[derive(Clone, Debug)]
pub struct FleetHandle {
    pub(super) messages: mpsc::Sender<Message>,
    pub(super) board: Arc<ArcSwap<Board>>,
    pub(super) boot_records: Arc<ArcSwap<BootRecords>>,
    pub(super) updates: broadcast::Sender<Arc<Update>>,
}

impl FleetHandle {
    /// Creates a handle, and the receiving end of its messages for [`spawn`](super::thread::spawn).
    pub fn new() -> (Self, mpsc::Receiver<Message>) {
        let (messages, receiver) = mpsc::channel(MESSAGES_MAX);
        let (updates, _) = broadcast::channel(UPDATES_MAX);
        (Self { messages, board: Arc::default(), boot_records: Arc::default(), updates }, receiver)
    }

    /// Reports an event. Never waits, so workers may call it.
    ///
    /// # Errors
    /// When the queue is full, or when the fleet's thread has ended. The event is lost then, and the caller
    /// counts it.
    pub fn record(&self, event: Event) -> Result<(), Unreachable> {
        self.messages.try_send(Message::Event(event)).map_err(|_| Unreachable)
    }

    /// Returns the board that was last published. Everything on it is on disk, or its `lost` says what is
    /// not.
    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        self.board.load_full()
    }

    /// Publishes a board, and sends `updates` to viewers. Only for a test that takes the place of the fleet's
    /// thread.
    pub fn show(&self, board: Arc<Board>, updates: impl IntoIterator<Item = Update>) {
        self.board.store(board);
        for update in updates {
            // Sending fails only if there is no viewer, and then nobody needs the update.
            let _ = self.updates.send(Arc::new(update));
        }
    }

    /// The boot records that the datapath reads. Reading takes no lock.
    #[must_use]
    pub fn boot_records(&self) -> &Arc<ArcSwap<BootRecords>> {
        &self.boot_records
    }

    /// Subscribes to all changes from now on. A receiver that falls more than [`UPDATES_MAX`] behind must
    /// read the board again.
    #[must_use]
    pub fn updates(&self) -> broadcast::Receiver<Arc<Update>> {
        self.updates.subscribe()
    }

    /// Sends a message that needs no answer. Waits while the queue is full.
    ///
    /// # Errors
    /// When the fleet's thread has ended.
    pub async fn send(&self, message: Message) -> Result<(), Unreachable> {
        self.messages.send(message).await.map_err(|_| Unreachable)
    }

    /// Sends a message that needs no answer, from a thread without a runtime. Waits while the queue is full.
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

    /// Sends a message and waits for its answer, for a thread without a runtime that other threads wait for.
    /// So it does not wait for room in the queue, and waits for the answer for about `limit` at most. After a
    /// time-out the question stays in the queue, so the caller must limit how often it asks.
    ///
    /// # Errors
    /// When the fleet's thread has ended, when its queue is full, or when it has not answered in time.
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

    /// Returns which machine a client of files is, for a thread without a runtime. Waits for [`FACTS_WAIT`]
    /// at most.
    ///
    /// # Errors
    /// See [`Self::ask_blocking`].
    pub fn owner_blocking(&self, peer: Peer) -> Result<Option<Mac>, Unreachable> {
        self.ask_blocking(FACTS_WAIT, |answer| Message::Owner(peer, answer))
    }

    /// Returns the [`MachineFacts`] of the machine that a file is for, for a thread without a runtime. Waits
    /// for [`FACTS_WAIT`] at most.
    ///
    /// # Errors
    /// See [`Self::ask_blocking`].
    pub fn facts_blocking(&self, request: FactsRequest) -> Result<Option<MachineFacts>, Unreachable> {
        self.ask_blocking(FACTS_WAIT, |answer| Message::Facts(request, answer))
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
        let request = FactsRequest { named: None, peer };
        assert_eq!(fleet.facts_blocking(request), Err(Unreachable));
        let Some(Message::Facts(_, sender)) = messages.blocking_recv() else { unreachable!("it was asked") };
        assert!(sender.send(None).is_err());
        drop(messages);
        assert_eq!(fleet.facts_blocking(request), Err(Unreachable));
    }
}
