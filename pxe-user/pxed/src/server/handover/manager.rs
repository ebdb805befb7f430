//! The service manager as the one in between: it keeps one end of a connection from a daemon's end to the next one's start.
//!
//! That end carries the parcel, unread, so that the manager keeps one descriptor (`FileDescriptorStoreMax=1`), whatever the
//! parcel holds. At a restart it hands the end to the next process; at a stop, and when starts fail for good, it closes it, and
//! the kernel takes down what was in it. Protocol: sd_notify(3) and sd_listen_fds(3), with `FDPOLL=0` (systemd 246), since the
//! other end is closed as soon as we have ended.

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
use super::{HandoverState, Refusal, monotonic};
use pxe_content::boot::Catalogue;
use pxe_proto::tftp::send_session::SILENCE;

/// How the manager calls what it keeps of us.
const NAME: &str = "pxed-hand-over";
/// The manager hears within this time, or we leave without it. We serve meanwhile, and one that reads its units again takes a
/// while.
const PATIENCE: Duration = Duration::from_secs(2);
/// A manager that keeps nothing may close what it was given in a thread of its own, a moment after it has heard all.
const CLOSING: Duration = Duration::from_millis(50);

/// Gives the service manager one end of a connection to keep; whoever gets it next is who our work goes to. `None` without a
/// manager, and with one that keeps nothing: it closes what it is given.
///
/// # Errors
/// When the manager cannot be reached, or does not hear.
pub(in crate::server) fn leave() -> io::Result<Option<Requester>> {
    let Some(manager) = connect()? else { return Ok(None) };
    let (ours, kept) = UnixStream::pair()?;
    let words = format!("FDSTORE=1\nFDNAME={NAME}\nFDPOLL=0\n");
    send(&manager, words.as_bytes(), &[kept.as_fd()])?;
    drop(kept);
    wait_until_heard(&manager)?;
    Ok((!is_closed(&ours)?).then(|| Requester::kept(ours)))
}

/// Whether nobody has the other end of a connection any more, or soon.
fn is_closed(stream: &UnixStream) -> io::Result<bool> {
    let mut ours = [PollFd::new(stream, PollFlags::empty())];
    retry_on_intr(|| poll(&mut ours, Some(&timespec(CLOSING))))?;
    Ok(ours[0].revents().contains(PollFlags::HUP))
}

/// Waits for a moment until the manager has read what it was told: it closes what comes with these words then.
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

/// What the service manager has kept of a daemon before this one. Dropping it unread takes down what is in it.
#[derive(Debug)]
pub struct StoredHandover(UnixStream);

impl StoredHandover {
    /// Takes it from the manager, which has nothing then: a start that fails leaves nothing attached. `None` if there is
    /// nothing; only the first call in a process finds something. To be called before anything else is opened.
    pub fn take() -> Option<Self> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Ordering::Relaxed) {
            return None;
        }
        let named = sd_notify::listen_fds_with_names().ok()?;
        let numbers = named.filter(|(_, name)| name == NAME).map(|(number, _)| number);
        // Never more than one, by the unit; of several none is better than another.
        let kept = numbers.map(own).collect::<Vec<_>>().pop()?;
        if let Err(error) = forget() {
            tracing::warn!("cannot clear the previous pxed's state in the service manager: {error}");
        }
        Some(Self(kept.into()))
    }

    /// Reads the parcel.
    ///
    /// # Errors
    /// Why it is not gone on with. It is closed then.
    pub(in crate::server) fn open(
        self,
        interfaces: &[String],
        catalogue: &Catalogue,
    ) -> Result<HandoverState, Refusal> {
        let state = HandoverState::unpack(receive(&self.0)?, catalogue)?;
        let age = Duration::from_nanos(monotonic().saturating_sub(state.since));
        // A daemon that has served all the time would have given up by now, too.
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

/// Has the manager close what it keeps of us.
fn forget() -> io::Result<()> {
    let manager = connect()?.ok_or(io::ErrorKind::NotConnected)?;
    send(&manager, format!("FDSTOREREMOVE=1\nFDNAME={NAME}\n").as_bytes(), &[])
}

#[expect(unsafe_code, reason = "descriptors that a service manager hands to a process come as numbers")]
fn own(number: std::os::fd::RawFd) -> OwnedFd {
    use std::os::fd::FromRawFd as _;
    // SAFETY: LISTEN_PID was our process, and `listen_fds` has found the descriptor open: who started us has opened it for us
    // alone (sd_listen_fds(3)). It is asked for once in a process, and before anything else is opened, so nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(number) }
}
