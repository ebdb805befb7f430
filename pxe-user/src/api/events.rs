//! The live stream: the board, then each change of it, as server-sent events.
//!
//! First comes an event `board` with the whole board; then, without a name, one [`Update`] each. A viewer that is too slow
//! is told `reload`: it reads the board again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};

use super::metrics::{Counted, Refused};
use super::problem::Problem;
use super::{Api, VIEWERS_MAX};
use crate::fleet::board::{Board, Update};
use crate::fleet::handle::FleetHandle;

/// How often a line goes to viewers that have nothing to see, so that both sides notice an end.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The board is shown a little later than its updates, so a viewer that has just come is shown it once more.
const SETTLED: Duration = Duration::from_secs(1);

struct Viewer {
    fleet: FleetHandle,
    updates: Receiver<Arc<Update>>,
    /// The board that was sent last.
    revision: Option<u64>,
    settle: Option<Instant>,
    _place: (OwnedSemaphorePermit, Counted),
}

pub(super) async fn stream(State(api): State<Api>) -> Result<Response, Problem> {
    let Ok(place) = Arc::clone(&api.viewers).try_acquire_owned() else {
        api.counts().refused(Refused::Viewers);
        let text = format!("{VIEWERS_MAX} viewers follow already: read /api/v1/machines now and then");
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, text));
    };
    let viewer = Viewer {
        // Before the board: what happens in between comes as an update.
        updates: api.fleet.updates(),
        fleet: api.fleet.clone(),
        revision: None,
        settle: None,
        _place: (place, api.counts().viewer()),
    };
    let events = stream::unfold(viewer, |mut viewer| async {
        let event = viewer.next().await?;
        Some((Ok::<_, Infallible>(event), viewer))
    });
    let events = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT).text("still here"));
    // Proxies that collect answers would hold this one back.
    Ok(([("x-accel-buffering", "no")], events).into_response())
}

impl Viewer {
    async fn next(&mut self) -> Option<Event> {
        if self.revision.is_none() {
            self.settle = Some(Instant::now() + SETTLED);
            return self.board();
        }
        loop {
            let settle = self.settle;
            let settled = async {
                match settle {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                update = self.updates.recv() => match update {
                    Ok(update) => if let Some(event) = self.update(&update) {
                        return Some(event);
                    },
                    Err(RecvError::Lagged(_)) => {
                        self.updates = self.updates.resubscribe();
                        return Some(Event::default().event("reload").data("too slow"));
                    }
                    Err(RecvError::Closed) => return None,
                },
                () = settled => {
                    self.settle = None;
                    if self.revision.is_some_and(|sent| self.fleet.board().revision > sent) {
                        return self.board();
                    }
                }
            }
        }
    }

    fn board(&mut self) -> Option<Event> {
        let board: Arc<Board> = self.fleet.board();
        self.revision = Some(board.revision);
        Event::default().event("board").id(board.revision.to_string()).json_data(&*board).ok()
    }

    /// What the board has shown already is not told again.
    fn update(&self, update: &Update) -> Option<Event> {
        let event = Event::default();
        let event = match update {
            Update::Machine { revision, .. } | Update::Forgotten { revision, .. } => {
                if Some(*revision) <= self.revision {
                    return None;
                }
                event.id(revision.to_string())
            }
            Update::Step { .. } | Update::Lost { .. } => event,
        };
        event.json_data(update).ok()
    }
}
