//! How a parcel goes from one process to the other: through the interface's lock.

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

use super::Parcel;
use super::letter::DESCRIPTORS_MAX;
use crate::boot::Catalogue;
use crate::nic::lock::{InterfaceLock, LockError};

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
        "{interface} is held by a process of the user with the number {uid}, which is neither root nor us: end that one first"
    )]
    Stranger {
        /// The interface.
        interface: String,
        /// Whose process holds it.
        uid: u32,
    },
    /// More than one daemon.
    #[error("{0} are served by more than one pxed, and only one can be taken over: end the others first")]
    Several(String),
    /// No answer, or none that can be read.
    #[error(
        "the pxed that serves {interface} does not hand over ({error}): end it first, then start without --take-over"
    )]
    Refused {
        /// The interface.
        interface: String,
        /// Why.
        error: io::Error,
    },
}

/// Asks whoever serves one of the interfaces to hand over all of its work, and to end. `None` if nobody does.
pub(in crate::server) fn ask(
    interfaces: &[String],
    catalogue: &Catalogue,
) -> Result<Option<Parcel>, HandoverError> {
    let mut found: Option<(&String, UnixStream, UCred)> = None;
    for interface in interfaces {
        let Some(stream) = InterfaceLock::holder(interface)? else { continue };
        // Who called listen, and was root or who we are then.
        let holder = peer(&stream).map_err(|error| refused(interface, error))?;
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
    let parcel = receive(stream).and_then(|descriptors| Parcel::unpack(descriptors, catalogue));
    parcel.map(Some).map_err(|error| refused(interface, error))
}

fn refused(interface: &str, error: io::Error) -> HandoverError {
    HandoverError::Refused { interface: interface.to_owned(), error }
}

/// Somebody who may go on with our work, and wants to.
pub(in crate::server) struct Asker(UnixStream);

impl Asker {
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
        Some(Self(stream))
    }

    /// Sends the parcel.
    pub(in crate::server) fn give(&self, parcel: Parcel) -> io::Result<()> {
        let descriptors = parcel.pack()?;
        let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(&borrowed)) {
            return Err(io::Error::other("too many descriptors"));
        }
        sendmsg(&self.0, &[IoSlice::new(ANSWER)], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

fn receive(mut stream: UnixStream) -> io::Result<Vec<OwnedFd>> {
    stream.write_all(REQUEST)?;
    stream.set_read_timeout(Some(ANSWER_TIME))?;
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut said = [0; ANSWER.len()];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let len = recvmsg(&stream, &mut [IoSliceMut::new(&mut said)], &mut ancillary, flags)?.bytes;
    if said[..len] != *ANSWER {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it ended, or is of another version"));
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
    const NOBODY: u32 = 65534;
    uid == 0 || uid != NOBODY && uid == rustix::process::geteuid().as_raw()
}
