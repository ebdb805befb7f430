//! The body of an HTTP response with a boot file. A boot counts when the client has acknowledged the last byte, so the
//! transfer goes on after the body is written: a task reads the socket's `TCP_INFO` until the client has acknowledged
//! everything.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use crate::api::serve::Socket;
use pxe_content::boot::Image;
use pxe_engine::clock::Clock;
use pxe_fleet::event::{Event, Peer};
use pxe_fleet::handle::FleetHandle;
use pxe_nic::tcp::Delivery;
use pxe_proto::tftp::packet::ErrorCode;
use pxe_proto::tftp::send_session::TransferOutcome;
use pxe_proto::time::Timestamp;

/// Bytes in each frame of the body. Progress is counted in such steps.
const PIECE: u64 = 256 * 1024;
/// Shortest time between two reports of progress to the fleet.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// After the last byte was handed to the socket: the time between two reads of `TCP_INFO`, and how long a transfer may
/// make no progress before the wait ends.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LOOK_MAX: Duration = Duration::from_secs(30);
/// Upper bound for the head of a response of pxed, in bytes.
const HEAD_MAX: u64 = 1024;

/// Owner of the body's [`Bytes`]: keeps the image alive until the last frame is dropped.
struct Snapshot(Arc<Image>);

impl AsRef<[u8]> for Snapshot {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// A body that is being sent. Dropping it ends the transfer: after the last frame, or because the connection broke.
pub(super) struct Sending<F: FnMut(u64)> {
    bytes: Bytes,
    left: Range<u64>,
    first: u64,
    story: Option<TransferReport>,
    told: Timestamp,
    count: F,
}

struct TransferReport {
    image: Arc<Image>,
    peer: Peer,
    socket: Option<Socket>,
    fleet: FleetHandle,
    clock: Clock,
    started: Timestamp,
    /// The connection's counters before this body: a connection may have carried other responses.
    before: Delivery,
}

impl<F: FnMut(u64)> Sending<F> {
    pub(super) fn new(
        image: Arc<Image>,
        range: Range<u64>,
        peer: Peer,
        socket: Option<Socket>,
        fleet: FleetHandle,
        clock: Clock,
        count: F,
    ) -> Self {
        let bytes = Bytes::from_owner(Snapshot(Arc::clone(&image)));
        let started = clock.now();
        let before = socket.as_ref().and_then(|socket| socket.delivery().ok()).unwrap_or_default();
        let story = Some(TransferReport { image, peer, socket, fleet, clock, started, before });
        Self { bytes, first: range.start, left: range, story, told: started, count }
    }
}

impl<F: FnMut(u64) + Unpin> HttpBody for Sending<F> {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if this.left.is_empty() {
            return Poll::Ready(None);
        }
        let end = (this.left.start + PIECE).min(this.left.end);
        let piece = this.bytes.slice(this.left.start as usize..end as usize);
        (this.count)(end - this.left.start);
        this.left.start = end;
        if let Some(story) = &this.story {
            let now = story.clock.now();
            if now.since(this.told) >= TELL_EVERY {
                this.told = now;
                story.tell(this.left.start);
            }
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.end - self.left.start)
    }
}

impl<F: FnMut(u64)> Drop for Sending<F> {
    fn drop(&mut self) {
        let Some(story) = self.story.take() else { return };
        let handed = self.left.start - self.first;
        let is_all = self.left.is_empty() && self.left.end == story.image.len() && self.first == 0;
        let whole = self.left.is_empty();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if whole => drop(runtime.spawn(story.see_it_arrive(handed, is_all))),
            _ => {
                let now = story.clock.now();
                story.end(TransferOutcome::Aborted(ErrorCode::UNDEFINED), handed, now);
            }
        }
    }
}

impl TransferReport {
    fn tell(&self, bytes: u64) {
        let image = Arc::clone(&self.image);
        let _ = self.fleet.record(Event::Loading { peer: self.peer, image, bytes, all_sent: false });
    }

    /// Waits until the client has acknowledged everything, the connection closes, or nothing has arrived for
    /// [`LOOK_MAX`].
    async fn see_it_arrive(self, handed: u64, is_all: bool) {
        let looks = LOOK_MAX.as_millis() / LOOK_EVERY.as_millis();
        let (mut idle, mut last, mut arrived) = (0, None::<Delivery>, self.clock.now());
        // Each acknowledged byte restarts the time limit, so a slow network does not end the wait.
        while idle < looks {
            let Some(Ok(look)) = self.socket.as_ref().map(Socket::delivery) else { break };
            let now = look.since(self.before);
            idle += 1;
            if now.acknowledged > last.unwrap_or_default().acknowledged {
                (idle, arrived) = (0, self.clock.now());
            }
            last = Some(now);
            if has_arrived(now, handed) {
                // A range request is no boot: clients that load in parts ask for the size first.
                let outcome = if is_all { TransferOutcome::Complete } else { TransferOutcome::Probe };
                return self.end(outcome, handed, arrived);
            }
            if now.is_closed {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let outcome = if is_all { unconfirmed(last, handed) } else { TransferOutcome::TimedOut };
        tracing::debug!(?last, handed, ?outcome, "a client did not acknowledge all of a response");
        self.end(outcome, handed, arrived);
    }

    /// Reports the end of the transfer. `arrived` is when the last new byte was acknowledged.
    fn end(self, outcome: TransferOutcome, bytes: u64, arrived: Timestamp) {
        let took = arrived.since(self.started);
        let now = self.socket.as_ref().and_then(|socket| socket.delivery().ok()).unwrap_or_default();
        let retransmits = u64::from(now.since(self.before).retransmitted);
        let Self { image, peer, fleet, .. } = self;
        let _ = fleet.record(Event::Fetched { peer, image, outcome, bytes, took, retransmits });
    }
}

/// Whether the client has acknowledged a body. `since` also counts the head of the response, so more than the body's
/// `handed` bytes must be acknowledged: everything that was written, or, if the next response is already on its way,
/// more than [`HEAD_MAX`] on top.
fn has_arrived(since: Delivery, handed: u64) -> bool {
    let has_all = since.unsent == 0 && since.acknowledged >= since.sent;
    since.acknowledged > handed + HEAD_MAX || since.acknowledged > handed && has_all
}

/// The outcome of a whole file whose last byte was not acknowledged. `last` is the last read of the socket, relative to
/// the start of the body. If the kernel has sent all bytes, the client may have them: a machine that starts what it has
/// loaded sends no more ACKs, as with TFTP's last window, and the program that it starts resets the connection. The
/// outcome does not count as a boot (`once`).
fn unconfirmed(last: Option<Delivery>, handed: u64) -> TransferOutcome {
    match last {
        Some(last) if last.sent > handed && last.unsent == 0 => TransferOutcome::CompleteUnconfirmed,
        _ => TransferOutcome::TimedOut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_arrived_when_more_than_its_bytes_was_acknowledged() {
        let arrived = |acknowledged, sent, unsent| {
            has_arrived(Delivery { acknowledged, sent, unsent, ..Delivery::default() }, 1_000_000)
        };
        assert!(arrived(1_000_300, 1_000_300, 0), "with its head");
        assert!(arrived(1_000_301, 1_000_300, 0), "and the end of the connection");
        assert!(arrived(1_002_000, 1_003_000, 1000), "with a part of the next answer");
        assert!(!arrived(1_000_100, 1_000_300, 0), "the head is a part of what was acknowledged");
        assert!(!arrived(1_000_300, 1_000_300, 10), "something was not sent");
        assert!(!arrived(1_000_000, 1_000_000, 0) && !arrived(0, 0, 0), "the rest was never written");
    }

    #[test]
    fn who_was_sent_all_and_says_nothing_may_have_it_and_nobody_else() {
        let end =
            |sent, unsent| unconfirmed(Some(Delivery { sent, unsent, ..Delivery::default() }), 1_000_000);
        assert_eq!(end(1_000_300, 0), TransferOutcome::CompleteUnconfirmed);
        assert_eq!(end(1_000_300, 10), TransferOutcome::TimedOut, "the rest was written and not sent");
        assert_eq!(end(800_000, 0), TransferOutcome::TimedOut, "the rest was not even written");
        assert_eq!(unconfirmed(None, 1_000_000), TransferOutcome::TimedOut, "nobody could look");
    }
}
