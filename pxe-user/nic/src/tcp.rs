//! What the kernel knows about the bytes of a TCP connection.

use std::os::fd::{AsFd, AsRawFd as _};

/// The progress of the bytes of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Bytes that the peer has acknowledged since the connection began. The FIN counts as one byte, so this
    /// may be one more than the bytes that were written.
    pub acknowledged: u64,
    /// Bytes that were sent at least once.
    pub sent: u64,
    /// Bytes that were written and never sent.
    pub unsent: u64,
    /// Whether the connection is closed or was reset, so that no more bytes can arrive or leave.
    pub is_closed: bool,
    /// Segments that were retransmitted.
    pub retransmitted: u32,
}

impl Delivery {
    /// Returns the progress of the bytes that were written after an earlier call, which returned `before` for
    /// the same connection.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            acknowledged: self.acknowledged.saturating_sub(before.sent + before.unsent),
            sent: self.sent.saturating_sub(before.sent + before.unsent),
            retransmitted: self.retransmitted.saturating_sub(before.retransmitted),
            ..self
        }
    }
}

/// Length of the part of `struct tcp_info` (linux/tcp.h) that this module reads: up to `tcpi_bytes_retrans`,
/// which exists since Linux 4.19.
const INFO_LEN: usize = 216;
const STATE: usize = 0;
const TOTAL_RETRANS: usize = 100;
const BYTES_ACKED: usize = 120;
const NOTSENT_BYTES: usize = 144;
const BYTES_SENT: usize = 200;
const BYTES_RETRANS: usize = 208;
/// `TCP_CLOSE` (net/tcp_states.h).
const CLOSED: u8 = 7;

/// Asks the kernel for the progress of a connection (`TCP_INFO`, tcp(7)). If a connection was reset, the
/// bytes that the reset discarded stay unacknowledged.
///
/// # Errors
/// The system's error; `Unsupported` if the kernel returns a shorter structure.
#[expect(unsafe_code, reason = "libc's own structure ends before these fields, and no wrapper has them")]
pub fn delivery(socket: impl AsFd) -> std::io::Result<Delivery> {
    let mut info = [0u8; INFO_LEN];
    let mut len = INFO_LEN as libc::socklen_t;
    // SAFETY: the descriptor is open, because it is borrowed for the call. The kernel writes at most `len`
    // bytes to `info`, which has that many, and the new length to `len`. Both live until after the call.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if done < 0 {
        return Err(std::io::Error::last_os_error());
    }
    if (len as usize) < INFO_LEN {
        return Err(std::io::ErrorKind::Unsupported.into());
    }
    let word = |at: usize| u32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
    let long = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&info[at..at + 8]);
        u64::from_ne_bytes(bytes)
    };
    Ok(Delivery {
        acknowledged: long(BYTES_ACKED),
        sent: long(BYTES_SENT).saturating_sub(long(BYTES_RETRANS)),
        is_closed: info[STATE] == CLOSED,
        unsent: word(NOTSENT_BYTES).into(),
        retransmitted: word(TOTAL_RETRANS),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, peer)
    }

    /// Writes until the peer's receive buffer is full, and then this socket's send buffer. Returns the number
    /// of bytes.
    fn fill(socket: &mut TcpStream) -> u64 {
        socket.set_nonblocking(true).unwrap();
        let (block, mut written) = ([0; 65536], 0);
        while let Ok(len) = socket.write(&block) {
            written += len as u64;
        }
        written
    }

    #[test]
    fn what_is_written_is_pending_until_the_peer_has_it() {
        let (mut socket, mut peer) = pair();
        let written = fill(&mut socket);
        let full = delivery(&socket).unwrap();
        assert!(full.acknowledged <= full.sent && !full.is_closed, "{full:?}");
        assert_eq!(full.sent + full.unsent, written, "{full:?}");
        assert!(full.unsent > 0, "{full:?}");
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        std::io::copy(&mut peer, &mut std::io::sink()).unwrap();
        // The peer has read the end of the stream, so it has acknowledged all bytes before it, or does so at
        // once.
        while delivery(&socket).unwrap().acknowledged < written {
            std::thread::yield_now();
        }
        assert_eq!(delivery(&socket).unwrap().sent, written);
    }

    #[test]
    fn what_a_reset_has_thrown_away_was_never_acknowledged() {
        let (mut socket, peer) = pair();
        let written = fill(&mut socket);
        // The peer closes its socket with unread bytes, so the kernel sends a reset.
        drop(peer);
        let mut rest = [0; 1];
        socket.set_nonblocking(false).unwrap();
        assert!(socket.read(&mut rest).is_err());
        let thrown_away = delivery(&socket).unwrap();
        assert!(
            thrown_away.sent < written && thrown_away.unsent > 0 && thrown_away.is_closed,
            "{thrown_away:?} of {written}"
        );
    }

    #[test]
    fn what_is_no_socket_is_an_error() {
        assert!(delivery(std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
