//! [`Readiness`]: which of a worker's sockets may have a packet, by epoll(7).
//!
//! It is edge-triggered: epoll reports a socket once when something arrives, and the socket counts as ready until a
//! call finds less than it had room for. So a packet costs one call to receive it, and a sleep does not touch the
//! sockets, of which there are twenty.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};

/// Most events that one call returns: all sockets, and the worker's eventfd.
const EVENTS_MAX: usize = 32;
/// The eventfd among the sockets.
const EVENT_FD: u64 = u64::MAX;

/// Sockets by index, and whether each of them may have a packet.
pub(super) struct Readiness {
    epoll: OwnedFd,
    ready: Vec<bool>,
    knows_event_fd: bool,
}

impl Readiness {
    /// Watches sockets. All count as ready: something may have arrived before.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn of<'a>(sockets: impl Iterator<Item = BorrowedFd<'a>>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut ready = Vec::new();
        for (index, socket) in (0..).zip(sockets) {
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&epoll, socket, epoll::EventData::new_u64(index), flags)?;
            ready.push(true);
        }
        Ok(Self { epoll, ready, knows_event_fd: false })
    }

    /// Whether a socket may have a packet.
    pub(super) fn is_ready(&self, index: usize) -> bool {
        self.ready.get(index).copied().unwrap_or_default()
    }

    /// A socket had less than there was room for. Its next packet will be reported.
    pub(super) fn is_drained(&mut self, index: usize) {
        if let Some(ready) = self.ready.get_mut(index) {
            *ready = false;
        }
    }

    /// Sleeps until a socket has a packet, the eventfd is readable, or `most` has passed; not at all if a socket is
    /// ready already. Returns whether the eventfd is readable. It is the same eventfd in each call that has one.
    pub(super) fn look(&mut self, event_fd: Option<BorrowedFd<'_>>, most: Duration) -> bool {
        if let Some(event_fd) = event_fd.filter(|_| !self.knows_event_fd) {
            // Level-triggered: its reader need not empty it. Without it, the worker would only be slower.
            let data = epoll::EventData::new_u64(EVENT_FD);
            self.knows_event_fd = epoll::add(&self.epoll, event_fd, data, epoll::EventFlags::IN).is_ok();
        }
        let most = if self.ready.contains(&true) { Duration::ZERO } else { most };
        let timeout = Timespec { tv_sec: most.as_secs() as i64, tv_nsec: i64::from(most.subsec_nanos()) };
        let mut events = [MaybeUninit::uninit(); EVENTS_MAX];
        // A signal may end the sleep early, which the caller treats as an event.
        let Ok((events, _)) = epoll::wait(&self.epoll, &mut events, Some(&timeout)) else { return false };
        let mut is_event_fd = false;
        for event in events {
            match event.data.u64() {
                EVENT_FD => is_event_fd = true,
                index => {
                    if let Some(ready) = self.ready.get_mut(index as usize) {
                        *ready = true;
                    }
                }
            }
        }
        is_event_fd
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd as _;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn a_packet_is_reported_until_its_socket_is_drained() {
        let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let mut readiness = Readiness::of(sockets.iter().map(|socket| socket.as_fd())).unwrap();
        assert!(readiness.is_ready(0) && readiness.is_ready(1), "something may have come before");
        readiness.is_drained(0);
        readiness.is_drained(1);
        sockets[0].send_to(b"x", sockets[1].local_addr().unwrap()).unwrap();
        readiness.look(None, LONG);
        assert!(!readiness.is_ready(0) && readiness.is_ready(1));
        // Whoever is not drained is not waited for, and not forgotten.
        readiness.look(None, LONG);
        assert!(readiness.is_ready(1) && !readiness.is_ready(2));
        readiness.is_drained(1);
        sockets[0].send_to(b"y", sockets[1].local_addr().unwrap()).unwrap();
        readiness.look(None, LONG);
        assert!(readiness.is_ready(1), "an edge for each packet");
    }

    #[test]
    fn the_eventfd_ends_a_sleep_and_is_reported_until_it_is_read() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut readiness = Readiness::of([socket.as_fd()].into_iter()).unwrap();
        readiness.is_drained(0);
        let event_fd = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap();
        assert!(!readiness.look(Some(event_fd.as_fd()), Duration::ZERO));
        rustix::io::write(&event_fd, &1_u64.to_ne_bytes()).unwrap();
        for _ in 0..2 {
            assert!(readiness.look(Some(event_fd.as_fd()), LONG));
        }
        rustix::io::read(&event_fd, &mut [0; 8]).unwrap();
        assert!(!readiness.look(Some(event_fd.as_fd()), Duration::ZERO));
    }
}
