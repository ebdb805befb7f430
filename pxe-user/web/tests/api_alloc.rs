//! Readers of the board share its encoding, and a reader that stalls holds one chunk of it. This test is alone in its
//! binary, because of the counting allocator.

use std::alloc::System;
use std::sync::Arc;

use pxe_fleet::board::{Board, Machine};
use pxe_fleet::handle::FleetHandle;
use pxe_web::api::{Api, Listeners, serve};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Enough machines for a board of some megabytes.
const MACHINES: usize = 20_000;
const READERS: usize = 32;
/// Each stalled reader reads this many bytes, and no more.
const READ: usize = 4096;

fn machine(index: usize) -> Machine {
    let text = serde_json::json!({
        "mac": format!("02:00:00:{:02x}:{:02x}:{:02x}", index >> 16, index >> 8 & 0xff, index & 0xff),
        "state": "running", "since": 1, "boots": 1, "completed": 1, "retransmits": 0,
        "first_seen": 0, "last_seen": 0, "dimms": [],
    });
    serde_json::from_value(text).unwrap()
}

#[tokio::test]
async fn readers_share_one_encoding_and_hold_a_chunk_each() {
    let board = Board { machines: (0..MACHINES).map(|n| machine(n).into()).collect(), ..Board::default() };
    let size = serde_json::to_vec(&board).unwrap().len();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("pxed.sock");
    let (fleet, _messages) = FleetHandle::new();
    fleet.show(Arc::new(board), []);
    let api = Api::new(fleet, Arc::default());
    tokio::spawn(serve(api, Listeners::bind(&socket, None, None).unwrap(), std::future::pending()));
    let region = Region::new(ALLOCATOR);
    let mut stalled = Vec::new();
    for path in ["/api/v1/events", "/api/v1/machines"] {
        for _ in 0..READERS {
            let mut stream = UnixStream::connect(&socket).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.read_exact(&mut [0; READ]).await.unwrap();
            stalled.push(stream);
        }
    }
    // One reader reads the whole board.
    let mut reader = UnixStream::connect(&socket).await.unwrap();
    let request = b"GET /api/v1/machines HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    reader.write_all(request).await.unwrap();
    let (mut read, mut piece) = (0, [0; 16 * 1024]);
    loop {
        match reader.read(&mut piece).await.unwrap() {
            0 => break,
            bytes => read += bytes,
        }
    }
    assert!(read > size, "all of it, {read} of {size} bytes");
    let allocated = region.change().bytes_allocated;
    // Twice the board's size is for the encoding and for the copies to the reader that reads everything. The rest is
    // for the stalled readers: the same again, and half a megabyte for each.
    let most = 4 * size + 2 * READERS * 512 * 1024;
    assert!(allocated < most, "{allocated} bytes, {most} at most, for boards of {size}");
}
