//! Every outcome has a name, and every name is a counter.
//!
//! A worker counts in plain numbers of its own and publishes them now and then: no atomic operation per packet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pxe_content::boot::Refusal;
use pxe_proto::datagram::BadFrame;
use pxe_proto::dhcp;
use pxe_proto::tftp::packet::Malformed;
use pxe_proto::tftp::send_session::{Ignored, Outcome};

/// What can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// A DHCP request was not answered.
    Dhcp(dhcp::Ignored),
    /// A file was refused.
    Refused(Refusal),
    /// Anything else.
    Counter(Counter),
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// Outcomes without a type of their own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Counter {
            $($(#[$doc])* $name,)*
        }

        impl Counter {
            const LABELS: &[&str] = &[$($label),*];

            /// Its label.
            pub fn as_str(self) -> &'static str {
                Self::LABELS[self as usize]
            }
        }
    };
}

counters! {
    /// A DHCPOFFER was sent.
    Offers = "dhcp_offers",
    /// A DHCPACK to a boot-server request was sent.
    Acks = "dhcp_acks",
    /// An RRQ was admitted.
    Requests = "tftp_requests",
    /// DATA packets were sent.
    DataPackets = "tftp_data_packets",
    /// DATA packets that were sent again.
    DataRepeated = "tftp_data_repeated",
    /// DATA packets that the kernel sent by itself.
    DataByKernel = "tftp_data_by_kernel",
    /// Times that a transfer was given to the kernel.
    GivenToKernel = "tftp_given_to_kernel",
    /// Bytes of files in DATA packets.
    DataBytes = "tftp_data_bytes",
    /// Time-outs that led to a repeat.
    Timeouts = "tftp_timeouts",
    /// Transfers that ended with the last ACK.
    Complete = "tftp_complete",
    /// Transfers whose last ACK never came.
    CompleteUnconfirmed = "tftp_complete_unconfirmed",
    /// Requests that wanted the size only.
    Probes = "tftp_probes",
    /// Transfers that the client broke off.
    Aborted = "tftp_aborted",
    /// Transfers whose client vanished.
    TimedOut = "tftp_timed_out",
    /// Transfers that a new request of the same client ended.
    Superseded = "tftp_superseded",
    /// Transfers that the next daemon goes on with.
    PassedOn = "tftp_passed_on",
    /// Transfers of the daemon before this one that were gone on with.
    Resumed = "tftp_resumed",
    /// Requests refused at once, since the limit of transfers was reached and all places to wait were taken.
    Full = "tftp_refused_full",
    /// Requests that had to wait for a slot.
    Waited = "tftp_waited",
    /// Such requests in whose place their clients asked for something else.
    WaitedChanged = "tftp_waited_changed",
    /// Of those that waited, those that were admitted.
    AdmittedLate = "tftp_waited_admitted",
    /// Those that were refused, since their clients' patience was over.
    RefusedLate = "tftp_waited_refused",
    /// Those whose client never asked again.
    Forgotten = "tftp_waited_forgotten",
    /// Transfers whose client was never heard, and that others needed the slot of; `tftp_timed_out` counts them, too.
    GaveWay = "tftp_gave_way",
    /// Requests in a mode that is not served.
    Mode = "tftp_refused_mode",
    /// Requests to write, where no uploads are taken.
    Write = "tftp_refused_write",
    /// A WRQ was admitted.
    Uploads = "tftp_uploads",
    /// Uploads whose files are kept.
    UploadComplete = "tftp_upload_complete",
    /// Uploads that the client broke off.
    UploadAborted = "tftp_upload_aborted",
    /// Uploads whose client vanished, or whose file was not kept in time.
    UploadTimedOut = "tftp_upload_timed_out",
    /// Uploads that a new request of the same client ended.
    UploadSuperseded = "tftp_upload_superseded",
    /// Uploads refused for their names.
    UploadName = "tftp_upload_refused_name",
    /// Uploads refused, since a file of the name is there or on its way.
    UploadExists = "tftp_upload_refused_exists",
    /// Uploads refused or broken off for their size.
    UploadTooLarge = "tftp_upload_refused_too_large",
    /// Uploads refused or broken off, since the inbox or the machine's share is full.
    UploadFull = "tftp_upload_refused_full",
    /// Uploads refused, since too many were under way.
    UploadBusy = "tftp_upload_refused_busy",
    /// Uploads refused or broken off, since the disk says no.
    UploadDisk = "tftp_upload_refused_disk",
    /// Uploads refused, since nobody knows the sender's Ethernet address.
    UploadSender = "tftp_upload_refused_sender",
    /// Uploads broken off, since a block was larger than agreed.
    UploadOversized = "tftp_upload_oversized",
    /// Blocks of uploads that were taken.
    UploadBlocks = "tftp_upload_blocks",
    /// Their bytes.
    UploadBytes = "tftp_upload_bytes",
    /// DATA of blocks that were taken already.
    UploadRepeated = "tftp_upload_repeated",
    /// DATA behind a gap that the client knows of.
    UploadGap = "tftp_upload_behind_gap",
    /// DATA for which there was no room.
    UploadNoRoom = "tftp_upload_no_room",
    /// Requests whose file could not be looked for, since too many waited.
    LoaderBusy = "tftp_refused_loader_busy",
    /// Requests that the kernel's list of transfers had no room for.
    KernelFull = "tftp_refused_kernel_full",
    /// Copies of requests under way or waiting.
    DuplicateRequest = "tftp_duplicate_request",
    /// ACKs of the block that was acknowledged last.
    DuplicateAck = "tftp_duplicate_ack",
    /// ACKs of older blocks, or of blocks never sent.
    StrayAck = "tftp_stray_ack",
    /// Packets of ended transfers.
    AfterEnd = "tftp_after_end",
    /// Packets of transfers that we do not know; answered by ERROR 5.
    Stranger = "tftp_unknown_tid",
    /// Packets too short for their kind.
    TftpShort = "tftp_malformed_short",
    /// Opcodes that no RFC defines.
    TftpOpcode = "tftp_malformed_opcode",
    /// Strings without NUL.
    TftpUnterminated = "tftp_malformed_unterminated",
    /// Empty names or modes.
    TftpEmpty = "tftp_malformed_empty",
    /// OACK, DATA to a transfer that sends, or anything but requests to port 69: no client sends these to us.
    TftpUnexpected = "tftp_unexpected_packet",
    /// Requests from an address that is no host's, or from a server's port.
    BadSource = "tftp_bad_source",
    /// Requests to TFTP's port beyond their source's rate, where no kernel program has dropped them.
    TftpRate = "tftp_over_rate",
    /// Requests to TFTP's port from machines that are not on the list of those that are served.
    NotAllowed = "tftp_not_allowed",
    /// Requests for a file that were broadcast.
    ToMany = "tftp_to_many",
    /// Frames that end before their headers say so.
    FrameTruncated = "frame_truncated",
    /// Frames without plain IPv4.
    FrameNotPlainIpv4 = "frame_not_plain_ipv4",
    /// Frames without UDP.
    FrameNotUdp = "frame_not_udp",
    /// Datagrams to none of our ports.
    OtherPort = "datagram_other_port",
    /// DHCP requests to other servers.
    OtherAddress = "datagram_other_address",
    /// Packets of another worker's transfer that were handed over.
    Forwarded = "datagram_forwarded",
    /// Such packets that found the other's mailbox full.
    ForwardLost = "datagram_forward_lost",
    /// Packets that could not be sent, since all buffers were on their way.
    SendBusy = "send_busy",
    /// Frames that the kernel dropped since we had not read the earlier ones.
    RingFull = "socket_ring_full",
    /// Times that the kernel found no free chunk for a frame.
    FillRingEmpty = "socket_fill_ring_empty",
    /// Frames that the kernel dropped at our socket for other reasons.
    SocketDropped = "socket_dropped",
    /// Packets that found no room, or that the kernel would not send.
    NotSent = "send_refused",
    /// Journal entries that found its queue full.
    JournalLost = "journal_lost",
}

const REFUSED: usize = dhcp::Ignored::COUNT;
const OTHER: usize = REFUSED + Refusal::COUNT;
const COUNT: usize = OTHER + Counter::LABELS.len();

impl Counted {
    fn index(self) -> usize {
        match self {
            Self::Dhcp(ignored) => ignored.index(),
            Self::Refused(refusal) => REFUSED + refusal.index(),
            Self::Counter(other) => OTHER + other as usize,
        }
    }
}

impl From<dhcp::Ignored> for Counted {
    fn from(ignored: dhcp::Ignored) -> Self {
        Self::Dhcp(ignored)
    }
}

impl From<Refusal> for Counted {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Counter> for Counted {
    fn from(other: Counter) -> Self {
        Self::Counter(other)
    }
}

impl From<BadFrame> for Counted {
    fn from(bad: BadFrame) -> Self {
        Self::Counter(match bad {
            BadFrame::Truncated => Counter::FrameTruncated,
            BadFrame::NotPlainIpv4 => Counter::FrameNotPlainIpv4,
            BadFrame::NotUdp => Counter::FrameNotUdp,
        })
    }
}

impl From<Malformed> for Counted {
    fn from(malformed: Malformed) -> Self {
        Self::Counter(match malformed {
            Malformed::Short => Counter::TftpShort,
            Malformed::Opcode => Counter::TftpOpcode,
            Malformed::Unterminated => Counter::TftpUnterminated,
            Malformed::Empty => Counter::TftpEmpty,
        })
    }
}

impl From<Ignored> for Counted {
    fn from(ignored: Ignored) -> Self {
        Self::Counter(match ignored {
            Ignored::DuplicateAck => Counter::DuplicateAck,
            Ignored::StrayAck => Counter::StrayAck,
            Ignored::Ended => Counter::AfterEnd,
            Ignored::DuplicateData => Counter::UploadRepeated,
            Ignored::GapInData => Counter::UploadGap,
            Ignored::NoRoom => Counter::UploadNoRoom,
        })
    }
}

impl From<Outcome> for Counted {
    fn from(outcome: Outcome) -> Self {
        Self::Counter(match outcome {
            Outcome::Complete => Counter::Complete,
            Outcome::CompleteUnconfirmed => Counter::CompleteUnconfirmed,
            Outcome::Probe => Counter::Probes,
            Outcome::Aborted(_) => Counter::Aborted,
            Outcome::TimedOut => Counter::TimedOut,
            Outcome::Superseded => Counter::Superseded,
        })
    }
}

impl Counter {
    /// How an upload ended; [`Outcome`] itself counts as that of a transfer to a client.
    pub fn of_upload(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Complete | Outcome::CompleteUnconfirmed => Self::UploadComplete,
            Outcome::Aborted(_) | Outcome::Probe => Self::UploadAborted,
            Outcome::TimedOut => Self::UploadTimedOut,
            Outcome::Superseded => Self::UploadSuperseded,
        }
    }
}

/// One worker's counters.
#[derive(Clone, Debug)]
pub struct Counters([u64; COUNT]);

impl Default for Counters {
    fn default() -> Self {
        Self([0; COUNT])
    }
}

impl Counters {
    /// Counts one.
    pub fn count(&mut self, what: impl Into<Counted>) {
        self.add(what, 1);
    }

    /// Counts `many`.
    pub fn add(&mut self, what: impl Into<Counted>, many: u64) {
        self.0[what.into().index()] += many;
    }

    /// Takes over a number that somebody else counts.
    pub fn set(&mut self, what: impl Into<Counted>, value: u64) {
        self.0[what.into().index()] = value;
    }

    /// How often something was counted.
    pub fn get(&self, what: impl Into<Counted>) -> u64 {
        self.0[what.into().index()]
    }

    /// Shows the numbers to other threads.
    pub fn publish(&self, published: &PublishedCounters) {
        for (shown, value) in published.counts.iter().zip(self.0) {
            shown.store(value, Ordering::Relaxed);
        }
    }
}

/// A worker's counters as other threads see them.
#[derive(Clone, Debug)]
pub struct PublishedCounters {
    counts: Arc<[AtomicU64]>,
    /// Transfers under way, and requests that wait.
    load: Arc<[AtomicU64; 2]>,
}

impl Default for PublishedCounters {
    fn default() -> Self {
        Self { counts: (0..COUNT).map(|_| AtomicU64::new(0)).collect(), load: Arc::default() }
    }
}

impl PublishedCounters {
    /// Every label and its number.
    pub fn read(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        labels().zip(self.counts.iter().map(|value| value.load(Ordering::Relaxed)))
    }

    /// Shows how much there is to do.
    pub fn show_load(&self, transfers: usize, waiting: usize) {
        for (shown, value) in self.load.iter().zip([transfers, waiting]) {
            shown.store(value as u64, Ordering::Relaxed);
        }
    }

    /// Transfers under way, and requests that wait for a slot.
    pub fn load(&self) -> (u64, u64) {
        let [transfers, waiting] = &*self.load;
        (transfers.load(Ordering::Relaxed), waiting.load(Ordering::Relaxed))
    }
}

/// All labels, in the order of the numbers.
fn labels() -> impl Iterator<Item = &'static str> {
    let dhcp = dhcp::Ignored::ALL.iter().map(|ignored| ignored.as_str());
    let refused = Refusal::ALL.iter().map(|refusal| refusal.as_str());
    dhcp.chain(refused).chain(Counter::LABELS.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_has_its_own_label() {
        let mut all: Vec<_> = labels().collect();
        assert_eq!(all.len(), COUNT);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), COUNT, "two counters share a label");
    }

    #[test]
    fn what_is_counted_is_published_under_its_label() {
        let mut counters = Counters::default();
        counters.count(dhcp::Ignored::NotPxe);
        counters.add(Counter::DataBytes, 1468);
        counters.count(Refusal::NotFound);
        let published = PublishedCounters::default();
        counters.publish(&published);
        let shown: Vec<_> = published.read().filter(|(_, value)| *value > 0).collect();
        assert_eq!(
            shown,
            [(dhcp::Ignored::NotPxe.as_str(), 1), (Refusal::NotFound.as_str(), 1), ("tftp_data_bytes", 1468)]
        );
    }
}
