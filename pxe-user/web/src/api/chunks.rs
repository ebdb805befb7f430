//! The board as JSON, in chunks. Machines bring their JSON with them, and a chunk is made when its reader has room for it:
//! a reader costs a copy and no encoding, and one that stalls holds a chunk, not a board.

use std::io::Write as _;
use std::iter;
use std::sync::Arc;

use bytes::Bytes;

use pxe_fleet::board::{Board, State};

/// A chunk is full with so many bytes.
const CHUNK: usize = 64 * 1024;

/// The chunks of a board, or of its machines in some states only.
pub(super) fn of(board: Arc<Board>, only: Option<Vec<State>>) -> impl Iterator<Item = Bytes> + Send {
    let (mut place, mut is_first, mut is_over) = (None, true, false);
    iter::from_fn(move || {
        if is_over {
            return None;
        }
        let mut chunk = Vec::with_capacity(CHUNK + CHUNK / 16);
        let mut next = place.unwrap_or_else(|| {
            // Writing to memory cannot fail.
            let _ = write!(chunk, r#"{{"at":{},"revision":{},"machines":["#, board.at.0, board.revision);
            0
        });
        while chunk.len() < CHUNK {
            let Some(card) = board.machines.get(next) else {
                chunk.extend_from_slice(br#"],"lost":"#);
                let _ = serde_json::to_writer(&mut chunk, &board.lost);
                chunk.push(b'}');
                is_over = true;
                break;
            };
            next += 1;
            if only.as_ref().is_some_and(|only| !only.contains(&card.state)) {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                chunk.push(b',');
            }
            chunk.extend_from_slice(card.json());
        }
        place = Some(next);
        Some(chunk.into())
    })
}
