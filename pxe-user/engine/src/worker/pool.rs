//! Buffers for blocks of uploads. They are allocated at the start, and return to the pool when they are
//! dropped.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use crate::responder::UPLOAD_BLKSIZE_MAX;
use pxe_proto::tftp::packet::DATA_HEADER_LEN;

/// Size of a buffer: a block with its header, in bytes.
const BUFFER_LEN: usize = DATA_HEADER_LEN + UPLOAD_BLKSIZE_MAX as usize;

type Bytes = Box<[u8; BUFFER_LEN]>;

/// A pool of free buffers. It never grows.
#[derive(Debug)]
pub struct Pool(ArrayQueue<Bytes>);

impl Pool {
    /// A pool of `count` buffers, at least one.
    pub fn new(count: usize) -> Arc<Self> {
        let free = ArrayQueue::new(count.max(1));
        while free.push(Box::new([0; BUFFER_LEN])).is_ok() {}
        Arc::new(Self(free))
    }

    /// Copies `bytes` into a free buffer. `None` if no buffer is free, or if `bytes` is longer than a buffer.
    pub fn copy(self: &Arc<Self>, bytes: &[u8]) -> Option<Buffer> {
        if bytes.len() > BUFFER_LEN {
            return None;
        }
        let mut buffer = self.0.pop()?;
        buffer[..bytes.len()].copy_from_slice(bytes);
        Some(Buffer { bytes: Some(buffer), len: bytes.len(), home: Arc::clone(self) })
    }
}

/// Bytes in a buffer of a [`Pool`]. Dropping it returns the buffer to the pool.
#[derive(Debug)]
pub struct Buffer {
    /// `None` only while the buffer is dropped.
    bytes: Option<Bytes>,
    len: usize,
    home: Arc<Pool>,
}

impl Buffer {
    /// The bytes that were copied into the buffer.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref().map_or(&[], |bytes| &bytes[..self.len])
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(bytes) = self.bytes.take() {
            // The push cannot fail: the pool has room for all buffers that it made.
            let _ = self.home.0.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_and_are_never_more() {
        let pool = Pool::new(2);
        for _ in 0..3 {
            let (one, two) = (pool.copy(b"one").unwrap(), pool.copy(&[7; BUFFER_LEN]).unwrap());
            assert_eq!((one.bytes(), two.bytes()), (&b"one"[..], &[7; BUFFER_LEN][..]));
            assert!(pool.copy(b"").is_none());
        }
        assert!(pool.copy(&[0; BUFFER_LEN + 1]).is_none());
        assert_eq!(pool.copy(b"").unwrap().bytes(), b"");
        assert_eq!(pool.0.len(), 2);
    }

    /// Several threads take buffers, write into them and return them: no two threads have the same buffer at
    /// a time, and no buffer is lost.
    #[test]
    fn a_buffer_is_lent_to_one_thread_at_a_time() {
        let pool = Pool::new(3);
        std::thread::scope(|scope| {
            for mark in 0..4u8 {
                let pool = &pool;
                scope.spawn(move || {
                    for round in 0..2000u32 {
                        let bytes = [[mark, round as u8]; 32];
                        let Some(buffer) = pool.copy(bytes.as_flattened()) else { continue };
                        assert_eq!(buffer.bytes(), bytes.as_flattened());
                    }
                });
            }
        });
        assert_eq!(pool.0.len(), 3);
    }
}
