//! The event stream: the board, then each change of it, as server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! The first event is `board` with the whole board. Each later event has no name and carries one [`Update`]. A viewer
//! that is too slow gets an event `reload`, and then reads the board again. Each machine carries its encoded JSON
//! ([`pxe_fleet::board::EncodedMachine`]): all viewers share the encoding, and a viewer holds at most one chunk.

use std::convert::Infallible;
use std::io::Write as _;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep;

use super::board_pacer::BoardPacer;
use super::metrics::{Counted, Refused};
use super::problem::Problem;
use super::{Api, VIEWERS_MAX, chunks};
use pxe_fleet::board::Update;

/// An idle viewer gets a comment line this often, so that both sides notice a broken connection.
const HEARTBEAT: Duration = Duration::from_secs(15);

struct Viewer {
    /// Chunks of the first board that are not sent yet.
    board: Option<Box<dyn Iterator<Item = Bytes> + Send>>,
    /// The revision of the first board. Older updates are not sent.
    revision: u64,
    updates: Receiver<Arc<Update>>,
    pace: BoardPacer,
    _place: (OwnedSemaphorePermit, Counted),
}

pub(super) async fn stream(State(api): State<Api>) -> Result<Response, Problem> {
    let Ok(place) = Arc::clone(&api.viewers).try_acquire_owned() else {
        api.counts().refused(Refused::Viewers);
        let text = format!("{VIEWERS_MAX} viewers are connected already: poll /api/v1/machines instead");
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, text));
    };
    // Subscribe before the board is read. The fleet publishes a board before its updates, so a change in between
    // arrives as an update.
    let updates = api.fleet.updates();
    let board = api.fleet.board();
    let revision = board.revision;
    let head = format!("event: board\nid: {revision}\ndata: ").into();
    let board = iter::once(head).chain(chunks::of(board, None)).chain([Bytes::from_static(b"\n\n")]);
    let viewer = Viewer {
        board: Some(Box::new(board)),
        revision,
        updates,
        pace: api.pace.clone(),
        _place: (place, api.counts().viewer()),
    };
    let events = stream::unfold(viewer, |mut viewer| async {
        let event = viewer.next().await?;
        Some((Ok::<_, Infallible>(event), viewer))
    });
    let headers = [
        (header::CONTENT_TYPE.as_str(), "text/event-stream"),
        (header::CACHE_CONTROL.as_str(), "no-cache"),
        // Proxies that buffer responses would delay the events.
        ("x-accel-buffering", "no"),
    ];
    Ok((headers, Body::from_stream(events)).into_response())
}

impl Viewer {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(chunk) = self.board.as_mut().and_then(Iterator::next) {
            self.pace.wait(chunk.len()).await;
            return Some(chunk);
        }
        self.board = None;
        loop {
            tokio::select! {
                update = self.updates.recv() => match update {
                    Ok(update) => if let Some(event) = self.update(&update) {
                        return Some(event);
                    },
                    Err(RecvError::Lagged(_)) => {
                        self.updates = self.updates.resubscribe();
                        return Some(Bytes::from_static(b"event: reload\ndata: too slow\n\n"));
                    }
                    Err(RecvError::Closed) => return None,
                },
                () = sleep(HEARTBEAT) => return Some(Bytes::from_static(b": still here\n\n")),
            }
        }
    }

    /// Encodes an update. `None` if the first board already contains it.
    fn update(&self, update: &Update) -> Option<Bytes> {
        let mut event = Vec::new();
        // Writing to a `Vec` cannot fail.
        match update {
            Update::Machine { revision, machine } => {
                (*revision > self.revision).then_some(())?;
                let head =
                    format_args!("id: {revision}\ndata: {{\"kind\":\"machine\",\"revision\":{revision}");
                let _ = write!(event, "{head},\"machine\":");
                event.extend_from_slice(machine.json());
                event.push(b'}');
            }
            Update::Forgotten { revision, .. } | Update::Responders { revision, .. } => {
                (*revision > self.revision).then_some(())?;
                let _ = write!(event, "id: {revision}\ndata: ");
                let _ = serde_json::to_writer(&mut event, update);
            }
            Update::Step { .. } | Update::Lost { .. } => {
                event.extend_from_slice(b"data: ");
                let _ = serde_json::to_writer(&mut event, update);
            }
        }
        event.extend_from_slice(b"\n\n");
        Some(event.into())
    }
}
