//! The hand-over across a restart: the service manager keeps one end of a connection from the end of a daemon to the next start.
//!
//! The state waits in that end, unread. So the manager keeps one descriptor (`FileDescriptorStoreMax=1`), whatever the state holds.
//! At a restart the next process gets the end. At a stop, and when starts fail for good, the manager closes it, and the kernel
//! detaches and closes what was in it. Protocol: sd_notify(3) and sd_listen_fds(3), with `FDPOLL=0` (systemd 246), because the other
//! end is closed as soon as this process has ended.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use rustix::time::Timespec;

use super::channel::{Requester, receive, send};
use super::state::{HandoverState, Refusal, monotonic};
use pxe_content::boot::Catalogue;
use pxe_proto::tftp::send_session::SILENCE;

/// The name of the stored descriptor.
const NAME: &str = "pxed-hand-over";
/// The time-out for the manager. The daemon serves meanwhile. A manager that reloads its units takes a while.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a manager without a store may take to close the descriptor after it has read the message.
const CLOSING: Duration = Duration::from_millis(50);

/// Stores one end of a connection with the service manager. The next process to receive it inherits this daemon's state. `None`
/// without a manager, and with one that has no store: that one closes the descriptor.
///
/// # Errors
/// When the manager cannot be reached, or does not answer in time.
pub(in crate::server) fn leave() -> io::Result<Option<Requester>> {
    let Some(manager) = connect()? else { return Ok(None) };
    let (ours, kept) = UnixStream::pair()?;
    let words = format!("FDSTORE=1\nFDNAME={NAME}\nFDPOLL=0\n");
    send(&manager, words.as_bytes(), &[kept.as_fd()])?;
    drop(kept);
    wait_until_heard(&manager)?;
    Ok((!is_closed(&ours)?).then(|| Requester::kept(ours)))
}

/// Whether the other end of a connection is closed, now or within [`CLOSING`].
fn is_closed(stream: &UnixStream) -> io::Result<bool> {
    let mut ours = [PollFd::new(stream, PollFlags::empty())];
    retry_on_intr(|| poll(&mut ours, Some(&timespec(CLOSING))))?;
    Ok(ours[0].revents().contains(PollFlags::HUP))
}

/// Waits until the manager has read all messages. It closes the pipe that comes with this message then.
fn wait_until_heard(manager: &UnixDatagram) -> io::Result<()> {
    let (here, there) = io::pipe()?;
    send(manager, b"BARRIER=1\n", &[there.as_fd()])?;
    drop(there);
    match retry_on_intr(|| poll(&mut [PollFd::new(&here, PollFlags::IN)], Some(&timespec(PATIENCE))))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() }
}

fn connect() -> io::Result<Option<UnixDatagram>> {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    match name.as_bytes() {
        [b'@', name @ ..] => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        _ => socket.connect(&name)?,
    }
    Ok(Some(socket))
}

/// The state of a previous daemon, from the service manager's store. Dropping it detaches and closes what it holds.
#[derive(Debug)]
pub struct StoredHandover(UnixStream);

impl StoredHandover {
    /// Takes the state from the manager, which removes it from its store, so that a start that fails leaves nothing attached.
    /// `None` if there is none, and for each later call in this process. Call it before anything else is opened.
    pub fn take() -> Option<Self> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Ordering::Relaxed) {
            return None;
        }
        let named = sd_notify::listen_fds_with_names().ok()?;
        let numbers = named.filter(|(_, name)| name == NAME).map(|(number, _)| number);
        // The unit allows one only.
        let kept = numbers.map(own).collect::<Vec<_>>().pop()?;
        if let Err(error) = forget() {
            tracing::warn!("cannot clear the previous pxed's state in the service manager: {error}");
        }
        Some(Self(kept.into()))
    }

    /// Reads the state.
    ///
    /// # Errors
    /// Why the state cannot be used. It is closed then.
    pub(in crate::server) fn open(
        self,
        interfaces: &[String],
        catalogue: &Catalogue,
    ) -> Result<HandoverState, Refusal> {
        let state = HandoverState::unpack(receive(&self.0)?, catalogue)?;
        let age = Duration::from_nanos(monotonic().saturating_sub(state.since));
        // A daemon that had run all the time would have ended these transfers by now, too.
        if age > SILENCE {
            return Err(Refusal::TooOld(age));
        }
        let mut names = state.interfaces.iter().map(|interface_state| &interface_state.name);
        if !names.any(|name| interfaces.contains(name)) {
            return Err(Refusal::OtherInterfaces);
        }
        Ok(state)
    }
}

/// Removes the state from the manager's store.
fn forget() -> io::Result<()> {
    let manager = connect()?.ok_or(io::ErrorKind::NotConnected)?;
    send(&manager, format!("FDSTOREREMOVE=1\nFDNAME={NAME}\n").as_bytes(), &[])
}

#[expect(unsafe_code, reason = "descriptors that a service manager hands to a process come as numbers")]
fn own(number: std::os::fd::RawFd) -> OwnedFd {
    use std::os::fd::FromRawFd as _;
    // SAFETY: LISTEN_PID names this process, and `listen_fds` has found the descriptor open, so the service manager opened it for this
    // process alone (sd_listen_fds(3)). `take` asks once in a process, and before anything else is opened, so nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(number) }
}
