//! How a responder learns at once that another one has written: `NOTIFY` with each batch, and `LISTEN` on its own connection.
//!
//! A notice only shortens the wait. It carries the name of the responder that wrote, and no rows: it can be lost with a
//! connection, and a pooler between both may not pass it on. So readers also look when their lease is due.

use std::future::poll_fn;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{AsyncMessage, Connection};

use super::Postgres;

/// Subscribes to the notices of this database.
pub(super) const LISTEN: &str = "LISTEN pxed";
/// Sends a notice with the responder's name.
pub(super) const NOTIFY: &str = "SELECT pg_notify('pxed', $1)";
/// The pause between a notice and the look that it causes: notices that come close together cause one look.
const LOOK_AFTER: Duration = Duration::from_millis(20);

/// Why [`Postgres::wait`] has ended.
#[derive(Debug)]
pub enum Woken<T> {
    /// What the caller waits for beside the database.
    By(T),
    /// Another responder has written, or the connection has ended, which the next operation shows.
    Noticed,
    /// The lease must be renewed.
    LeaseDue,
}

impl Postgres {
    /// Waits for `other`, a notice, or the time to renew the lease. `other` may be dropped before it is ready.
    pub fn wait<T>(&mut self, other: impl Future<Output = T>) -> Woken<T> {
        let Self { runtime, notices, lease_due, .. } = self;
        runtime.block_on(async {
            tokio::select! {
                done = other => return Woken::By(done),
                () = notices.notified() => {}
                () = tokio::time::sleep_until(*lease_due) => return Woken::LeaseDue,
            }
            // Not a branch of the above: a notice that was taken must not be lost.
            tokio::time::sleep(LOOK_AFTER).await;
            Woken::Noticed
        })
    }

    /// Makes the next [`Self::wait`] end soon, because there is more to read.
    pub fn look_again(&self) {
        self.notices.notify_one();
    }
}

/// Runs a connection to its end, and hands over the payload of each notice. The error of its end shows at the next operation.
pub(super) async fn drive<S, T>(mut connection: Connection<S, T>, mut noticed: impl FnMut(&str))
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notification(notice) = message {
            noticed(notice.payload());
        }
    }
}
