//! Hand-over of a transfer: the old process takes a snapshot, and the new one resumes the transfer from it.

use serde::{Deserialize, Serialize};

use super::{
    Block, NegotiatedOptions, Phase, Repeats, SILENCE, SendSession, SessionAction, Timestamp, Window,
};

/// The state of a transfer, with all that its client may expect of the process that resumes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendSnapshot {
    /// The file's size in bytes.
    pub size: u64,
    /// Bytes per block (RFC 2348).
    pub blksize: u16,
    /// Blocks per window (RFC 7440).
    pub windowsize: u16,
    /// Seconds until the first retransmission (RFC 2349). `None` if the client did not request a time-out.
    pub timeout: Option<u8>,
    /// The last block that the client has acknowledged; 0 if it has acknowledged the OACK only, or nothing.
    pub acknowledged: u64,
    /// The last block that was sent; 0 if none.
    pub sent: u64,
    /// What the client has acknowledged so far.
    pub heard: Heard,
}

/// What a client has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Heard {
    /// Nothing. The OACK was sent.
    NothingOfOack,
    /// Nothing. The first block was sent, without an OACK.
    Nothing,
    /// The OACK or a block.
    Acknowledged,
}

impl SendSession {
    /// Returns a snapshot of the transfer; `None` if it has ended.
    pub fn snapshot(&self) -> Option<SendSnapshot> {
        let heard = match self.phase {
            Phase::Ended => return None,
            Phase::Offered { .. } => Heard::NothingOfOack,
            Phase::Unverified { .. } => Heard::Nothing,
            Phase::Sending => Heard::Acknowledged,
        };
        Some(SendSnapshot {
            size: self.size,
            blksize: self.negotiated.blksize,
            windowsize: self.negotiated.windowsize,
            timeout: self.negotiated.timeout,
            acknowledged: self.acknowledged().0,
            sent: self.highest().0,
            heard,
        })
    }

    /// Resumes a transfer. Returns the first action: the window once more, since its blocks or its ACK may have
    /// been lost in between. `None` if no transfer can have the state in the snapshot.
    ///
    /// A client that has acknowledged nothing gets no packet: its ACK may come late and finds the transfer,
    /// and its request starts a new one. The start time of the transfer is not kept.
    pub fn resume(now: Timestamp, snapshot: &SendSnapshot) -> Option<(Self, SessionAction)> {
        let oack = snapshot.heard == Heard::NothingOfOack;
        let negotiated =
            NegotiatedOptions::resumed(snapshot.blksize, snapshot.windowsize, snapshot.timeout, oack)?;
        let (mut transfer, _) = Self::start(now, snapshot.size, negotiated);
        let last = transfer.last();
        if snapshot.acknowledged >= last.0 || snapshot.sent < snapshot.acknowledged || snapshot.sent > last.0
        {
            return None;
        }
        let action = match snapshot.heard {
            Heard::Acknowledged => {
                transfer.window = Window::resumed(Block(snapshot.acknowledged), Block(snapshot.sent));
                transfer.phase = Phase::Sending;
                transfer.open_window(now)
            }
            Heard::NothingOfOack => {
                transfer.wait_for_ack_0();
                SessionAction::Wait
            }
            Heard::Nothing => {
                transfer.sent(1);
                transfer.deadline = now + SILENCE;
                SessionAction::Wait
            }
        };
        transfer.repeats = Repeats::AfterLoss;
        Some((transfer, action))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tftp::negotiation::OptionLimits;
    use crate::tftp::packet::RequestedOptions;
    use crate::tftp::send_session::{IgnoredEvent, TransferOutcome};

    const NOW: Timestamp = Timestamp::from_micros(0);

    fn begun(windowsize: u16) -> SendSession {
        let asked = RequestedOptions { windowsize: Some(windowsize), ..RequestedOptions::default() };
        let negotiated = NegotiatedOptions::grant(&asked, &OptionLimits::for_mtu(1500, 64));
        let (mut transfer, action) = SendSession::start(NOW, 512 * 10 + 7, negotiated);
        assert_eq!(action, SessionAction::SendOack);
        assert_eq!(transfer.snapshot().unwrap().heard, Heard::NothingOfOack);
        assert_eq!(transfer.on_ack(NOW, 0), SessionAction::SendData);
        transfer.sent(u64::from(windowsize));
        transfer
    }

    #[test]
    fn it_goes_on_with_the_window_that_is_not_acknowledged() {
        for windowsize in [1, 4] {
            let mut before = begun(windowsize);
            assert_eq!(before.on_ack(NOW, windowsize), SessionAction::SendData);
            before.sent(u64::from(windowsize));
            let snapshot = before.snapshot().unwrap();
            let (mut after, action) = SendSession::resume(NOW, &snapshot).unwrap();
            assert_eq!(action, SessionAction::SendData);
            let window = u64::from(windowsize);
            assert_eq!(after.unsent(), (Block(window + 1), window));
            after.sent(window);
            assert_eq!(after.repeated_blocks(), window);
            assert_eq!(after.steady(), None, "its round trip cannot be measured yet");
            // An ACK that was on its way during the hand-over.
            assert_eq!(after.on_ack(NOW, 2 * windowsize), SessionAction::SendData);
            let mut block = 2 * windowsize;
            let end = loop {
                after.sent(u64::from(windowsize));
                block = (block + windowsize).min(11);
                match after.on_ack(NOW, block) {
                    SessionAction::SendData => {}
                    action => break action,
                }
            };
            assert_eq!(end, SessionAction::End(TransferOutcome::Complete));
        }
    }

    #[test]
    fn who_has_not_been_heard_is_sent_nothing_and_may_answer_late() {
        let late = NOW + Duration::from_secs(60);
        let asked = RequestedOptions { windowsize: Some(2), ..RequestedOptions::default() };
        for asked in [asked, RequestedOptions::default()] {
            let negotiated = NegotiatedOptions::grant(&asked, &OptionLimits::for_mtu(1500, 64));
            let (mut before, first) = SendSession::start(NOW, 5000, negotiated);
            before.sent(u64::from(first == SessionAction::SendData));
            let (mut after, action) = SendSession::resume(NOW, &before.snapshot().unwrap()).unwrap();
            assert_eq!((action, after.is_unverified(), after.steady()), (SessionAction::Wait, true, None));
            assert_eq!(after.unsent().1, 0);
            let soon = NOW + Duration::from_secs(30);
            assert_eq!(after.on_time(soon), SessionAction::Wait, "it waits for an answer");
            let (time, block) = if first == SessionAction::SendData { (soon, 1) } else { (late, 0) };
            assert_eq!(after.on_ack(time, block), SessionAction::SendData);
            assert!(!after.is_unverified());
        }
    }

    #[test]
    fn old_acks_start_nothing() {
        let snapshot = begun(1).snapshot().unwrap();
        let (mut after, _) = SendSession::resume(NOW, &snapshot).unwrap();
        after.sent(1);
        assert_eq!(after.on_ack(NOW, 0), SessionAction::Ignore(IgnoredEvent::DuplicateAck));
        assert_eq!(after.on_ack(NOW, 2), SessionAction::Ignore(IgnoredEvent::StrayAck));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let good = begun(1).snapshot().unwrap();
        for bad in [
            SendSnapshot { acknowledged: 11, ..good },
            SendSnapshot { sent: 12, ..good },
            SendSnapshot { acknowledged: 5, sent: 4, ..good },
            SendSnapshot { blksize: 7, ..good },
            SendSnapshot { windowsize: 0, ..good },
            SendSnapshot { windowsize: 32768, ..good },
            SendSnapshot { timeout: Some(0), ..good },
        ] {
            assert!(SendSession::resume(NOW, &bad).is_none(), "{bad:?}");
        }
    }
}
