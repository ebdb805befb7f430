//! A service manager with a store for file descriptors, like systemd for a unit with `FileDescriptorStoreMax=`
//! (sd_notify(3)).

use std::fs::{Permissions, set_permissions};
use std::io::{IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tempfile::TempDir;

/// The limit for a message. Generous, because no test asserts a time.
const LONG: Duration = Duration::from_secs(60);
/// The maximum of descriptors in a message, more than pxed sends.
const DESCRIPTORS_MAX: usize = 8;

/// Receives the messages of daemons. The test decides what happens to their descriptors.
#[derive(Debug)]
pub struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    /// Listens on a socket in a new folder. Both are open to everybody, because daemons give up root.
    ///
    /// # Errors
    /// If the folder or the socket cannot be made.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let everybody = || Permissions::from_mode(0o777);
        set_permissions(folder.path(), everybody())?;
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path)?;
        set_permissions(&path, everybody())?;
        socket.set_read_timeout(Some(LONG))?;
        Ok(Self { socket, folder })
    }

    /// The path of the socket, for `NOTIFY_SOCKET`.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("notify")
    }

    /// Receives messages until one contains these words, and returns its last descriptor. All others are closed.
    ///
    /// # Errors
    /// If no such message arrives.
    pub fn wait_for(&self, words: &str) -> Result<Option<OwnedFd>> {
        loop {
            let (said, descriptor) = self.hear().with_context(|| format!("no `{words}` came"))?;
            if said.contains(words) {
                return Ok(descriptor);
            }
        }
    }

    fn hear(&self) -> Result<(String, Option<OwnedFd>)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut said = [0; 4096];
        let flags = RecvFlags::CMSG_CLOEXEC;
        // The end of a child process interrupts the call.
        let heard =
            retry_on_intr(|| recvmsg(&self.socket, &mut [IoSliceMut::new(&mut said)], &mut ancillary, flags));
        let len = heard?.bytes;
        let rights = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(rights) => Some(rights),
            _ => None,
        });
        let descriptor = rights.flatten().last();
        Ok((String::from_utf8_lossy(&said[..len]).into_owned(), descriptor))
    }
}

/// Makes a descriptor as a manager stores it from a daemon that has ended: a socket with a message of these words and a
/// file with `letter`.
///
/// # Errors
/// If a system call fails.
pub fn left(words: &[u8], letter: &str) -> Result<OwnedFd> {
    let (theirs, kept) = UnixStream::pair()?;
    let mut file = std::fs::File::from(memfd_create("letter", MemfdFlags::CLOEXEC)?);
    file.write_all(letter.as_bytes())?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [file.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    if !words.is_empty() {
        sendmsg(&theirs, &[IoSlice::new(words)], &mut ancillary, SendFlags::NOSIGNAL)?;
    }
    Ok(kept.into())
}
