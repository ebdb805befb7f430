//! The board as JSON, in chunks. Each machine carries its encoded JSON, and a chunk is made only when its reader has
//! room for it. So a reader costs a copy and no encoding, and a reader that stalls holds one chunk, not a whole board.

use std::io::Write as _;
use std::iter;
use std::sync::Arc;

use bytes::Bytes;

use pxe_fleet::board::{Board, EncodedMachine, State};

/// A chunk ends with the machine that brings it to this many bytes.
const CHUNK: usize = 64 * 1024;

/// The chunks of a board; with `only`, of its machines in these states.
pub(super) fn of(board: Arc<Board>, only: Option<Vec<State>>) -> impl Iterator<Item = Bytes> + Send {
    let (mut last, mut begun, mut is_first, mut is_over) = (None::<EncodedMachine>, false, true, false);
    iter::from_fn(move || {
        if is_over {
            return None;
        }
        let mut chunk = Vec::with_capacity(CHUNK + CHUNK / 16);
        if !std::mem::replace(&mut begun, true) {
            // Writing to a `Vec` cannot fail.
            let _ = write!(chunk, r#"{{"at":{},"revision":{},"machines":["#, board.at.0, board.revision);
        }
        let mut machines = board.machines.after(last.as_ref());
        let mut place = None;
        while chunk.len() < CHUNK {
            let Some(machine) = machines.next() else {
                chunk.extend_from_slice(br#"],"lost":"#);
                let _ = serde_json::to_writer(&mut chunk, &board.lost);
                chunk.extend_from_slice(br#","responders":"#);
                let _ = serde_json::to_writer(&mut chunk, &board.responders);
                chunk.push(b'}');
                is_over = true;
                break;
            };
            place = Some(machine.clone());
            if only.as_ref().is_some_and(|only| !only.contains(&machine.state)) {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                chunk.push(b',');
            }
            chunk.extend_from_slice(machine.json());
        }
        drop(machines);
        last = place.or(last.take());
        Some(chunk.into())
    })
}
