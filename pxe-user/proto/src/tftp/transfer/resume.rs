//! A transfer that another process of ours began: it goes on where that one stood.

use serde::{Deserialize, Serialize};

use super::{Block, Phase, SILENCE, Step, Terms, Timestamp, Transfer};

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
    /// How much of the client has been heard.
    pub heard: Heard,
}

/// What a client has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Heard {
    /// Nothing; it was sent an OACK.
    NothingOfOack,
    /// Nothing; it was sent the first block.
    Nothing,
    /// It has acknowledged something.
    Acknowledged,
}

impl Transfer {
    /// Where it stands; `None` when it has ended.
    pub fn standing(&self) -> Option<Standing> {
        let heard = match self.phase {
            Phase::Ended => return None,
            Phase::Offered => Heard::NothingOfOack,
            Phase::Sending if self.touched => Heard::Acknowledged,
            Phase::Sending => Heard::Nothing,
        };
        Some(Standing {
            size: self.size,
            blksize: self.terms.blksize,
            windowsize: self.terms.windowsize,
            timeout: self.terms.timeout,
            acknowledged: self.acknowledged().0,
            sent: self.highest.0,
            heard,
        })
    }

    /// Goes on from there, and the first step to take: the window once more, since its blocks or its ACK may have been lost
    /// in between. Who has not been heard is sent nothing: its answer, which may come late, finds the transfer, and its request
    /// begins a new one. That it began earlier is forgotten. `None` if no transfer can stand so.
    pub fn resume(now: Timestamp, standing: &Standing) -> Option<(Self, Step)> {
        let oack = standing.heard == Heard::NothingOfOack;
        let terms = Terms::resumed(standing.blksize, standing.windowsize, standing.timeout, oack)?;
        let (mut transfer, _) = Self::start(now, standing.size, terms);
        let last = transfer.last();
        if standing.acknowledged >= last.0 || standing.sent < standing.acknowledged || standing.sent > last.0
        {
            return None;
        }
        let step = match standing.heard {
            Heard::Acknowledged => {
                transfer.first = Block(standing.acknowledged + 1);
                transfer.highest = Block(standing.sent);
                transfer.touched = true;
                transfer.open_window(now)
            }
            Heard::NothingOfOack => {
                transfer.wait_for_answer();
                Step::Wait
            }
            Heard::Nothing => {
                transfer.sent(1);
                transfer.deadline = now + SILENCE;
                Step::Wait
            }
        };
        transfer.repeated = true;
        Some((transfer, step))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        assert_eq!(transfer.standing().unwrap().heard, Heard::NothingOfOack);
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
    fn who_has_not_been_heard_is_sent_nothing_and_may_answer_late() {
        let late = NOW + Duration::from_secs(60);
        let asked = Asked { windowsize: Some(2), ..Asked::default() };
        for asked in [asked, Asked::default()] {
            let terms = Terms::grant(&asked, &Limits::for_mtu(1500, 64));
            let (mut before, first) = Transfer::start(NOW, 5000, terms);
            before.sent(u64::from(first == Step::SendData));
            let (mut after, step) = Transfer::resume(NOW, &before.standing().unwrap()).unwrap();
            assert_eq!((step, after.is_unheard(), after.steady()), (Step::Wait, true, None));
            assert_eq!(after.unsent().1, 0);
            let soon = NOW + Duration::from_secs(30);
            assert_eq!(after.on_time(soon), Step::Wait, "it waits for an answer");
            let (time, block) = if first == Step::SendData { (soon, 1) } else { (late, 0) };
            assert_eq!(after.on_ack(time, block), Step::SendData);
            assert!(!after.is_unheard());
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
