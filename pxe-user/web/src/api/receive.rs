//! The body of an upload on its way to the disk, and how slow its sender may be.
//!
//! An upload occupies one of a few slots. So a sender must not pause for longer than [`SILENCE`], and after the first
//! [`GRACE`] its mean rate must be at least [`RATE_MIN`]. With the limit for an upload's size, that also bounds the
//! duration of an upload. Only the time in which pxed waits for the sender counts: a slow disk is not the sender's
//! fault.

use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tokio::time::Instant;

use pxe_content::inbox::{InboxError, Upload};

/// A sender that pauses this long in the middle of a body times out.
pub(super) const SILENCE: Duration = Duration::from_secs(30);
/// The least mean rate, in bytes a second: about that of a serial line.
const RATE_MIN: u32 = 8 * 1024;
/// A sender may be slower than [`RATE_MIN`] for this long.
const GRACE: Duration = Duration::from_secs(30);
/// Pieces of an upload that may wait for the disk.
pub(super) const PIECES: usize = 4;

/// How the body of an upload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyEnd {
    Whole,
    Broken,
    Slow,
}

/// A piece of the body. `None` marks the end; a body that broke off has no such mark.
pub(super) type Piece = Option<Bytes>;

/// Passes a body to the writer ([`store`]), piece by piece.
pub(super) async fn send(mut body: Body, pieces: mpsc::Sender<Piece>) -> BodyEnd {
    let (mut bytes, mut waited) = (0_u64, Duration::ZERO);
    loop {
        let most = GRACE + Duration::from_micros(bytes.saturating_mul(1_000_000) / u64::from(RATE_MIN));
        let since = Instant::now();
        let left = most.saturating_sub(waited).min(SILENCE);
        let piece = match tokio::time::timeout(left, body.frame()).await {
            Ok(Some(Ok(frame))) => frame.into_data().ok(),
            Ok(Some(Err(_))) => return BodyEnd::Broken,
            Ok(None) => None,
            Err(_) => return BodyEnd::Slow,
        };
        waited += since.elapsed();
        bytes = bytes.saturating_add(piece.as_ref().map_or(0, |piece| piece.len() as u64));
        let last = piece.is_none();
        // The writer ends early if the inbox refuses the upload. Its result holds the reason.
        if pieces.send(piece).await.is_err() || last {
            return BodyEnd::Whole;
        }
    }
}

/// Writes the pieces to the inbox. Returns the size, or `None` if the end of the body never arrived.
pub(super) fn store(
    mut upload: Upload,
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<Option<u64>, InboxError> {
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Some(bytes) => upload.write(&bytes)?,
            None => return upload.finish().map(Some),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;

    use super::*;

    /// Runs [`send`] with a sender of `times` pieces of `piece` bytes, with a pause before each, and a disk that takes
    /// `disk` for each piece. Returns the outcome, its duration in seconds, and the bytes that arrived. The time is
    /// simulated: it advances when no task can run.
    async fn sender(times: usize, piece: usize, pause: Duration, disk: Duration) -> (BodyEnd, u64, usize) {
        let sent = stream::unfold(0, move |count| async move {
            tokio::time::sleep(pause).await;
            (count < times).then(|| (Ok::<_, Infallible>(vec![0; piece]), count + 1))
        });
        let (pieces, mut received) = mpsc::channel::<Piece>(PIECES);
        let taken = tokio::spawn(async move {
            let mut bytes = 0;
            while let Some(piece) = received.recv().await {
                tokio::time::sleep(disk).await;
                bytes += piece.map_or(0, |piece| piece.len());
            }
            bytes
        });
        let begun = Instant::now();
        let sent = send(Body::from_stream(sent), pieces).await;
        let took = begun.elapsed().as_secs();
        (sent, took, taken.await.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_does_not_hold_a_place() {
        let often = Duration::from_secs(29);
        assert_eq!(sender(1000, 1, often, Duration::ZERO).await, (BodyEnd::Slow, 30, 1));
        // Each piece is worth ten seconds, but the pause before it is too long.
        let fast = 10 * RATE_MIN as usize;
        assert_eq!(
            sender(1000, fast, Duration::from_secs(31), Duration::ZERO).await.0,
            BodyEnd::Slow,
            "silent"
        );
        let (sent, took, _) = sender(1000, 100, Duration::from_secs(1), Duration::ZERO).await;
        assert_eq!((sent, took), (BodyEnd::Slow, 30));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_line_and_a_slow_disk_are_waited_for() {
        let (second, piece) = (Duration::from_secs(1), RATE_MIN as usize);
        assert_eq!(sender(600, piece, second, Duration::ZERO).await, (BodyEnd::Whole, 601, 600 * piece));
        let (sent, _, bytes) = sender(60, piece, second, 20 * second).await;
        assert_eq!((sent, bytes), (BodyEnd::Whole, 60 * piece));
    }
}
