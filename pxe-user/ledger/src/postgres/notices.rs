//! How a responder learns at once that another one has written: `NOTIFY` with each batch, and `LISTEN` on its own connection.
//!
//! A notice only shortens the wait. It carries the name of the responder that wrote, and no rows: it can be lost with a
//! connection, and a pooler between both may not pass it on. So readers also look when their lease is due.

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_postgres::{AsyncMessage, Connection};

use super::Postgres;

/// Subscribes to the notices of this database.
pub(super) const LISTEN: &str = "LISTEN pxed";
/// Sends a notice with the responder's name.
pub(super) const NOTIFY: &str = "SELECT pg_notify('pxed', $1)";
/// The pause between a notice and the look that it causes: notices that come close together cause one look.
const LOOK_AFTER: Duration = Duration::from_millis(20);
/// The shortest time between two looks. With many responders, there is always a notice, and each look costs the database some
/// statements.
const LOOK_EVERY: Duration = Duration::from_millis(200);

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

/// When the next look is due.
#[derive(Debug)]
pub(super) struct Looks {
    last: Instant,
    due: Option<Instant>,
}

impl Looks {
    pub(super) fn new(now: Instant) -> Self {
        Self { last: now, due: None }
    }

    /// Something is new.
    fn want(&mut self, now: Instant) {
        self.due.get_or_insert((now + LOOK_AFTER).max(self.last + LOOK_EVERY));
    }

    /// A look begins.
    fn begin(&mut self, now: Instant) {
        *self = Self::new(now);
    }
}

impl Postgres {
    /// Waits for `other`, until others have written, or until the lease must be renewed. `other` may be dropped before it is
    /// ready.
    pub fn wait<T>(&mut self, other: impl Future<Output = T>) -> Woken<T> {
        let Self { runtime, notices, lease_due, looks, .. } = self;
        let woken = runtime.block_on(async {
            let mut other = pin!(other);
            loop {
                let due = looks.due;
                let look = async {
                    match due {
                        Some(due) => tokio::time::sleep_until(due).await,
                        None => pending().await,
                    }
                };
                tokio::select! {
                    done = &mut other => return Woken::By(done),
                    () = look => return Woken::Noticed,
                    () = tokio::time::sleep_until(*lease_due) => return Woken::LeaseDue,
                    () = notices.notified(), if due.is_none() => looks.want(Instant::now()),
                }
            }
        });
        if !matches!(woken, Woken::By(_)) {
            looks.begin(Instant::now());
        }
        woken
    }

    /// Makes the next [`Self::wait`] end at once, because there is more to read.
    pub fn look_again(&mut self) {
        self.looks.due = Some(Instant::now());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_that_come_close_together_cause_one_look_and_looks_have_a_distance() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut looks = Looks::new(start);
        looks.want(at(1000));
        looks.want(at(1010));
        assert_eq!(looks.due, Some(at(1020)), "soon after the first notice");
        looks.begin(at(1020));
        assert_eq!(looks.due, None);
        looks.want(at(1030));
        assert_eq!(looks.due, Some(at(1220)), "not at once after another look");
    }
}
