//! A transfer that another process of ours began: it goes on where that one stood.

use serde::{Deserialize, Serialize};

use super::{Block, Phase, Step, Terms, Timestamp, Transfer};

/// Where a transfer stands: all that its client may expect of whoever goes on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The file's size in bytes.
    pub size: u64,
    /// Bytes per block (RFC 2348).
    pub blksize: u16,
    /// Blocks per window (RFC 7440).
    pub windowsize: u16,
    /// Seconds until a retransmission, if the client asked for a time (RFC 2349).
    pub timeout: Option<u8>,
    /// The last block that the client has acknowledged; 0 for the OACK.
    pub acknowledged: u64,
    /// The last block that was sent.
    pub sent: u64,
}

impl Transfer {
    /// Where it stands. `None` when it has ended, or while the client has acknowledged nothing: then its request comes again
    /// by itself, and nobody sends to an address that may be forged.
    pub fn standing(&self) -> Option<Standing> {
        let goes_on = self.phase == Phase::Sending && self.touched;
        goes_on.then(|| Standing {
            size: self.size,
            blksize: self.terms.blksize,
            windowsize: self.terms.windowsize,
            timeout: self.terms.timeout,
            acknowledged: self.acknowledged().0,
            sent: self.highest.0,
        })
    }

    /// Goes on from there, and the first step to take: the window once more, since its blocks or its ACK may have been lost
    /// in between. That it began earlier is forgotten. `None` if no transfer can stand so.
    pub fn resume(now: Timestamp, standing: &Standing) -> Option<(Self, Step)> {
        let terms = Terms::resumed(standing.blksize, standing.windowsize, standing.timeout)?;
        let (mut transfer, _) = Self::start(now, standing.size, terms);
        let last = transfer.last();
        if standing.acknowledged >= last.0 || standing.sent < standing.acknowledged || standing.sent > last.0
        {
            return None;
        }
        transfer.first = Block(standing.acknowledged + 1);
        transfer.highest = Block(standing.sent);
        transfer.touched = true;
        let step = transfer.open_window(now);
        transfer.repeated = true;
        Some((transfer, step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tftp::packet::Asked;
    use crate::tftp::terms::Limits;
    use crate::tftp::transfer::{Ignored, Outcome};

    const NOW: Timestamp = Timestamp::from_micros(0);

    fn begun(windowsize: u16) -> Transfer {
        let asked = Asked { windowsize: Some(windowsize), ..Asked::default() };
        let terms = Terms::grant(&asked, &Limits::for_mtu(1500, 64));
        let (mut transfer, step) = Transfer::start(NOW, 512 * 10 + 7, terms);
        assert_eq!(step, Step::SendOack);
        assert_eq!(transfer.standing(), None, "nobody has been heard");
        assert_eq!(transfer.on_ack(NOW, 0), Step::SendData);
        transfer.sent(u64::from(windowsize));
        transfer
    }

    #[test]
    fn it_goes_on_with_the_window_that_is_not_acknowledged() {
        for windowsize in [1, 4] {
            let mut before = begun(windowsize);
            assert_eq!(before.on_ack(NOW, windowsize), Step::SendData);
            before.sent(u64::from(windowsize));
            let standing = before.standing().unwrap();
            let (mut after, step) = Transfer::resume(NOW, &standing).unwrap();
            assert_eq!(step, Step::SendData);
            let window = u64::from(windowsize);
            assert_eq!(after.unsent(), (Block(window + 1), window));
            after.sent(window);
            assert_eq!(after.repeated_blocks(), window);
            assert_eq!(after.steady(), None, "its round trip cannot be measured yet");
            // An ACK that was under way meanwhile.
            assert_eq!(after.on_ack(NOW, 2 * windowsize), Step::SendData);
            let mut block = 2 * windowsize;
            let end = loop {
                after.sent(u64::from(windowsize));
                block = (block + windowsize).min(11);
                match after.on_ack(NOW, block) {
                    Step::SendData => {}
                    step => break step,
                }
            };
            assert_eq!(end, Step::End(Outcome::Complete));
        }
    }

    #[test]
    fn old_acks_start_nothing() {
        let standing = begun(1).standing().unwrap();
        let (mut after, _) = Transfer::resume(NOW, &standing).unwrap();
        after.sent(1);
        assert_eq!(after.on_ack(NOW, 0), Step::Ignore(Ignored::DuplicateAck));
        assert_eq!(after.on_ack(NOW, 2), Step::Ignore(Ignored::StrayAck));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let good = begun(1).standing().unwrap();
        for bad in [
            Standing { acknowledged: 11, ..good },
            Standing { sent: 12, ..good },
            Standing { acknowledged: 5, sent: 4, ..good },
            Standing { blksize: 7, ..good },
            Standing { windowsize: 0, ..good },
            Standing { windowsize: 32768, ..good },
            Standing { timeout: Some(0), ..good },
        ] {
            assert!(Transfer::resume(NOW, &bad).is_none(), "{bad:?}");
        }
    }
}
