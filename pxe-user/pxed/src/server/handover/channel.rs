//! How a parcel goes from one process to the other: through a connection, to which the interface's lock or the service manager
//! leads.

use std::io::{self, IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, UCred, recvmsg, sendmsg,
};
use tokio::io::AsyncReadExt as _;

use super::manifest::DESCRIPTORS_MAX;
use super::{HandoverState, Refusal};
use pxe_content::boot::Catalogue;
use pxe_nic::lock::{InterfaceLock, LockError, is_ours};

/// What the successor says, with the version of the letter that it reads: a predecessor that writes another one goes on.
const REQUEST: &[u8] = b"pxed: hand over 1\n";
/// What the predecessor says with its parcel.
const ANSWER: &[u8] = b"pxed: take over\n";
/// A successor says what it wants at once.
const REQUEST_TIME: Duration = Duration::from_secs(1);
/// A predecessor may have much to write down.
const ANSWER_TIME: Duration = Duration::from_secs(20);

/// Why a running daemon's work cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum HandoverError {
    /// The lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// It would not be wise to believe its holder.
    #[error(
        "{interface} is locked by a process of user {uid}, which is neither root nor pxed's user: stop that process first"
    )]
    Stranger {
        /// The interface.
        interface: String,
        /// Whose process holds it.
        uid: u32,
    },
    /// More than one daemon.
    #[error(
        "{0} are served by several pxed processes, and only one can be taken over: stop the others first"
    )]
    Several(String),
    /// No answer, or none that can be gone on with.
    #[error(
        "the pxed that serves {interface} does not hand over ({refusal}): stop it first, then start without --take-over"
    )]
    Refused {
        /// The interface.
        interface: String,
        /// Why.
        refusal: Refusal,
    },
}

/// Asks whoever serves one of the interfaces to hand over all of its work, and to end. `None` if nobody does.
pub(in crate::server) fn ask(
    interfaces: &[String],
    catalogue: &Catalogue,
) -> Result<Option<HandoverState>, HandoverError> {
    let mut found: Option<(&String, UnixStream, UCred)> = None;
    for interface in interfaces {
        let Some(stream) = InterfaceLock::holder(interface)? else { continue };
        // Who called listen, and was root or who we are then.
        let holder = peer(&stream).map_err(|error| refused(interface, error.into()))?;
        let uid = holder.uid.as_raw();
        if !is_trusted(uid) {
            return Err(HandoverError::Stranger { interface: interface.clone(), uid });
        }
        match &found {
            Some((_, _, other)) if other.pid != holder.pid => {
                return Err(HandoverError::Several(interfaces.join(", ")));
            }
            Some(_) => {}
            None => found = Some((interface, stream, holder)),
        }
    }
    let Some((interface, stream, _)) = found else { return Ok(None) };
    let asked = |mut stream: UnixStream| {
        stream.write_all(REQUEST)?;
        HandoverState::unpack(receive(&stream)?, catalogue)
    };
    asked(stream).map(Some).map_err(|refusal| refused(interface, refusal))
}

fn refused(interface: &str, refusal: Refusal) -> HandoverError {
    HandoverError::Refused { interface: interface.to_owned(), refusal }
}

/// Somebody who may go on with our work, and wants to.
pub(in crate::server) struct Requester {
    stream: UnixStream,
    /// Whether it is nobody yet: the service manager keeps the other end.
    is_kept: bool,
}

impl Requester {
    /// Hears what the other side of a connection wants; `None` if it may not, or wants something else.
    pub(in crate::server) async fn hear(mut stream: tokio::net::UnixStream) -> Option<Self> {
        if !is_trusted(peer(&stream).ok()?.uid.as_raw()) {
            return None;
        }
        let mut said = [0; REQUEST.len()];
        let heard = tokio::time::timeout(REQUEST_TIME, stream.read_exact(&mut said)).await;
        (heard.is_ok_and(|heard| heard.is_ok()) && said == REQUEST).then_some(())?;
        let stream = stream.into_std().ok()?;
        stream.set_nonblocking(false).ok()?;
        Some(Self { stream, is_kept: false })
    }

    /// Whoever gets the other end from the service manager.
    pub(super) fn kept(stream: UnixStream) -> Self {
        Self { stream, is_kept: true }
    }

    /// Whether nobody waits for it yet.
    pub(in crate::server) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// For people.
    pub(in crate::server) fn words(&self) -> &'static str {
        match self.is_kept {
            true => "left the transfers for the next pxed to resume",
            false => "handed over to another pxed",
        }
    }

    /// Sends the parcel.
    pub(in crate::server) fn give(&self, state: HandoverState) -> io::Result<()> {
        let descriptors = state.pack()?;
        let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        send(&self.stream, ANSWER, &borrowed)
    }
}

/// Sends words with descriptors, in one message.
pub(super) fn send(socket: &impl AsFd, words: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors"));
    }
    sendmsg(socket, &[IoSlice::new(words)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// What comes with the predecessor's answer.
pub(super) fn receive(stream: &UnixStream) -> Result<Vec<OwnedFd>, Refusal> {
    stream.set_read_timeout(Some(ANSWER_TIME))?;
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut said = [0; ANSWER.len()];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let len = recvmsg(stream, &mut [IoSliceMut::new(&mut said)], &mut ancillary, flags)
        .map_err(io::Error::from)?
        .bytes;
    match &said[..len] {
        [] => return Err(Refusal::Ended),
        said if said != ANSWER => return Err(Refusal::OtherWords),
        _ => {}
    }
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok(descriptors)
}

/// The process on the other side.
fn peer(stream: &impl AsFd) -> io::Result<UCred> {
    Ok(rustix::net::sockopt::socket_peercred(stream)?)
}

/// Root, and who we are: but `nobody` is too many.
fn is_trusted(uid: u32) -> bool {
    is_ours(uid, None)
}
