//! Sends queued lines to the daemon, in batches, and retries while the daemon is away.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::buffer::{Batch, Buffer};
use pxe_web::api::client::{Client, ClientError, segment};

/// Bytes of lines in one request, below the daemon's limit for a body.
const BATCH_MAX: usize = 128 * 1024;
/// After the queue was empty, lines are collected for this long, to avoid a request for each line.
const COLLECT: Duration = Duration::from_millis(200);
/// Longest delay between two attempts while the daemon is away.
const AGAIN_MAX: Duration = Duration::from_secs(10);
/// After the source has ended, attempts to reach the daemon stop after this time.
const PATIENCE: Duration = Duration::from_secs(30);
/// Names that are remembered as unknown to the daemon, so that each is logged once.
const UNKNOWN_MAX: usize = 4096;

/// Sends the queue's lines until the queue is closed and empty, or until the daemon has been away for [`PATIENCE`]
/// after the queue was closed.
pub(super) async fn run(client: Client, buffer: Arc<Buffer>) {
    let mut unknown = HashSet::new();
    let (mut wait, mut since_close) = (Duration::ZERO, None);
    loop {
        match buffer.take(BATCH_MAX) {
            None if buffer.is_closed() => return,
            None => {
                buffer.news.notified().await;
                if !buffer.is_closed() {
                    sleep(COLLECT).await;
                }
            }
            Some(batch) => match send(&client, &batch).await {
                Ok(()) => {
                    if !std::mem::take(&mut wait).is_zero() {
                        tracing::info!("pxed answers again");
                    }
                    unknown.remove(&batch.who);
                }
                Err(ClientError::Refused { status, sentence }) if status != 503 && status != 408 => {
                    if unknown.len() < UNKNOWN_MAX && unknown.insert(Arc::clone(&batch.who)) {
                        tracing::warn!(
                            machine = ?batch.who,
                            "its lines are dropped until pxed knows the machine (boot it once, or give it this name with `pxed name`): {sentence}"
                        );
                    }
                }
                Err(error) => {
                    buffer.give_back(batch);
                    if wait.is_zero() {
                        tracing::warn!("lines wait: {error}");
                    }
                    let closed = *since_close.get_or_insert_with(Instant::now);
                    if !buffer.is_closed() {
                        since_close = None;
                    } else if closed.elapsed() > PATIENCE {
                        return;
                    }
                    wait = (wait * 2).clamp(Duration::from_millis(500), AGAIN_MAX);
                    sleep(wait).await;
                }
            },
        }
        match buffer.dropped() {
            0 => {}
            dropped => tracing::warn!(dropped, "dropped the oldest lines: the queue to pxed is full"),
        }
    }
}

async fn send(client: &Client, batch: &Batch) -> Result<(), ClientError> {
    let path = format!("/api/v1/feed/{}", segment(&batch.who));
    client.post(&path, batch.lines.join("\n").into()).await.map(drop)
}
