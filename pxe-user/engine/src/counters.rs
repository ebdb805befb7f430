//! Every outcome has a name, and each name is the label of a counter.
//!
//! A worker counts in plain numbers of its own, and publishes them twice a second while anything happens. So counting needs no
//! atomic operation per packet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pxe_content::boot::Refusal;
use pxe_proto::datagram::BadFrame;
use pxe_proto::dhcp;
use pxe_proto::tftp::packet::Malformed;
use pxe_proto::tftp::send_session::{IgnoredEvent, TransferOutcome};

/// An outcome that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// A DHCP request was not answered, for this reason.
    Dhcp(dhcp::Ignored),
    /// A file was refused, for this reason.
    Refused(Refusal),
    /// Anything else.
    Counter(Counter),
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// Outcomes that have no type of their own. A label is part of `/metrics`, so it never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Counter {
            $($(#[$doc])* $name,)*
        }

        impl Counter {
            const LABELS: &[&str] = &[$($label),*];

            /// The counter's label in `/metrics`.
            pub fn as_str(self) -> &'static str {
                Self::LABELS[self as usize]
            }
        }
    };
}

counters! {
    /// DHCPOFFERs that pxed sent.
    Offers = "dhcp_offers",
    /// DHCPACKs that pxed sent in reply to boot-server requests.
    Acks = "dhcp_acks",
    /// RRQs that got a slot.
    Requests = "tftp_requests",
    /// DATA packets that pxed or the kernel sent.
    DataPackets = "tftp_data_packets",
    /// DATA packets that were retransmitted. Counted at the end of each transfer.
    DataRepeated = "tftp_data_repeated",
    /// DATA packets that the kernel sent without the daemon.
    DataByKernel = "tftp_data_by_kernel",
    /// How often a worker gave a transfer to the kernel.
    GivenToKernel = "tftp_given_to_kernel",
    /// Bytes of boot files in DATA packets.
    DataBytes = "tftp_data_bytes",
    /// Time-outs that caused a retransmission.
    Timeouts = "tftp_timeouts",
    /// Transfers that ended with the client's last ACK.
    Complete = "tftp_complete",
    /// Transfers whose last block was sent, but whose last ACK never came.
    CompleteUnconfirmed = "tftp_complete_unconfirmed",
    /// Transfers in which the client asked for the size only.
    Probes = "tftp_probes",
    /// Transfers that the client ended with an ERROR.
    Aborted = "tftp_aborted",
    /// Transfers whose client stopped answering.
    TimedOut = "tftp_timed_out",
    /// Transfers that ended because a new request came from the same client's port.
    Superseded = "tftp_superseded",
    /// Transfers that were handed over to the next daemon.
    PassedOn = "tftp_passed_on",
    /// Transfers that were resumed from the previous daemon.
    Resumed = "tftp_resumed",
    /// Requests that were refused at once: all slots and all places in the queue were taken.
    Full = "tftp_refused_full",
    /// Requests that had to wait for a slot.
    Waited = "tftp_waited",
    /// Requests in the queue that a different request from the same client replaced.
    WaitedChanged = "tftp_waited_changed",
    /// Requests from the queue that got a slot.
    AdmittedLate = "tftp_waited_admitted",
    /// Requests from the queue that were refused with an ERROR, because the client repeated its request but
    /// no slot became free in time.
    RefusedLate = "tftp_waited_refused",
    /// Requests from the queue that were dropped without a reply, because the client never repeated its
    /// request.
    Forgotten = "tftp_waited_forgotten",
    /// Transfers that were ended because the client had sent nothing after its request and another client
    /// needed the slot. `tftp_timed_out` counts them, too.
    GaveWay = "tftp_gave_way",
    /// Requests that were refused because their transfer mode is not octet.
    Mode = "tftp_refused_mode",
    /// WRQs that were refused because uploads are not configured.
    Write = "tftp_refused_write",
    /// WRQs that got a slot.
    Uploads = "tftp_uploads",
    /// Uploads whose files are stored in the inbox.
    UploadComplete = "tftp_upload_complete",
    /// Uploads that the client ended with an ERROR.
    UploadAborted = "tftp_upload_aborted",
    /// Uploads whose client stopped answering, or whose file was not stored in time.
    UploadTimedOut = "tftp_upload_timed_out",
    /// Uploads that ended because a new request came from the same client's port.
    UploadSuperseded = "tftp_upload_superseded",
    /// Uploads that were refused because of the file's name.
    UploadName = "tftp_upload_refused_name",
    /// Uploads that were refused because a file with this name exists or is being uploaded.
    UploadExists = "tftp_upload_refused_exists",
    /// Uploads that were refused or ended because the file is too large.
    UploadTooLarge = "tftp_upload_refused_too_large",
    /// Uploads that were refused or ended because the inbox, or the machine's share of it, is full.
    UploadFull = "tftp_upload_refused_full",
    /// Uploads that were refused because too many uploads were running.
    UploadBusy = "tftp_upload_refused_busy",
    /// Uploads that were refused or ended because the inbox could not be written.
    UploadDisk = "tftp_upload_refused_disk",
    /// Uploads that were refused because the sender's Ethernet address is unknown.
    UploadSender = "tftp_upload_refused_sender",
    /// Uploads that ended because a block was larger than negotiated.
    UploadOversized = "tftp_upload_oversized",
    /// Blocks of uploads that were accepted.
    UploadBlocks = "tftp_upload_blocks",
    /// Bytes in the accepted blocks of uploads.
    UploadBytes = "tftp_upload_bytes",
    /// DATA packets of uploads whose block had already been accepted.
    UploadRepeated = "tftp_upload_repeated",
    /// DATA packets of uploads behind a gap that an ACK has already reported to the client.
    UploadGap = "tftp_upload_behind_gap",
    /// DATA packets of uploads that were dropped because no buffer was free. The client retransmits them.
    UploadNoRoom = "tftp_upload_no_room",
    /// Requests that were refused because too many requests waited for the loader.
    LoaderBusy = "tftp_refused_loader_busy",
    /// Requests that were refused because the kernel's table of transfers was full.
    KernelFull = "tftp_refused_kernel_full",
    /// Copies of requests that are running or waiting already.
    DuplicateRequest = "tftp_duplicate_request",
    /// ACKs of the block that was acknowledged last.
    DuplicateAck = "tftp_duplicate_ack",
    /// ACKs of older blocks, or of blocks that were not sent yet.
    StrayAck = "tftp_stray_ack",
    /// Packets of transfers that have ended.
    AfterEnd = "tftp_after_end",
    /// Packets of unknown transfers. pxed answers ERROR 5, unless the packet is an ERROR itself.
    UnknownTid = "tftp_unknown_tid",
    /// TFTP packets that are too short for their opcode.
    TftpShort = "tftp_malformed_short",
    /// TFTP packets with an opcode that no RFC defines.
    TftpOpcode = "tftp_malformed_opcode",
    /// TFTP packets with a string that has no NUL at its end.
    TftpUnterminated = "tftp_malformed_unterminated",
    /// TFTP requests with an empty file name or mode.
    TftpEmpty = "tftp_malformed_empty",
    /// Valid TFTP packets that no client sends there: anything but requests to port 69, and to a TID OACKs,
    /// requests, or DATA of a transfer that is no upload.
    TftpUnexpected = "tftp_unexpected_packet",
    /// TFTP requests from an address that cannot be a host's, or from a server's port.
    BadSource = "tftp_bad_source",
    /// TFTP requests beyond the rate limit of their source, where no kernel program has dropped them.
    TftpRate = "tftp_over_rate",
    /// TFTP requests from machines that `[access]` does not allow.
    NotAllowed = "tftp_not_allowed",
    /// TFTP requests to a broadcast or multicast address.
    Broadcast = "tftp_to_many",
    /// Frames that are shorter than their headers announce.
    FrameTruncated = "frame_truncated",
    /// Frames that hold no plain IPv4 packet.
    FrameNotPlainIpv4 = "frame_not_plain_ipv4",
    /// Frames that hold no UDP datagram.
    FrameNotUdp = "frame_not_udp",
    /// Datagrams to a port that is none of ours.
    OtherPort = "datagram_other_port",
    /// DHCP requests to the address of another server.
    OtherAddress = "datagram_other_address",
    /// Packets of another worker's transfer that were forwarded to that worker.
    Forwarded = "datagram_forwarded",
    /// Packets of another worker's transfer that were lost: the other worker's queue was full, or no buffer
    /// was free.
    ForwardLost = "datagram_forward_lost",
    /// How often a transfer's DATA found no room in the send queue and had to wait.
    SendBusy = "send_busy",
    /// Frames that the kernel dropped because the worker had not yet read the earlier ones.
    RingFull = "socket_ring_full",
    /// How often the kernel found no free chunk for a frame.
    FillRingEmpty = "socket_fill_ring_empty",
    /// Frames that the kernel dropped at our socket for other reasons.
    SocketDropped = "socket_dropped",
    /// Packets that found no room in the send queue, or that the kernel refused to send.
    NotSent = "send_refused",
    /// Events that were lost because the fleet's queue was full.
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

impl From<IgnoredEvent> for Counted {
    fn from(ignored: IgnoredEvent) -> Self {
        Self::Counter(match ignored {
            IgnoredEvent::DuplicateAck => Counter::DuplicateAck,
            IgnoredEvent::StrayAck => Counter::StrayAck,
            IgnoredEvent::Ended => Counter::AfterEnd,
            IgnoredEvent::DuplicateData => Counter::UploadRepeated,
            IgnoredEvent::GapInData => Counter::UploadGap,
            IgnoredEvent::NoRoom => Counter::UploadNoRoom,
        })
    }
}

impl From<TransferOutcome> for Counted {
    fn from(outcome: TransferOutcome) -> Self {
        Self::Counter(match outcome {
            TransferOutcome::Complete => Counter::Complete,
            TransferOutcome::CompleteUnconfirmed => Counter::CompleteUnconfirmed,
            TransferOutcome::Probe => Counter::Probes,
            TransferOutcome::Aborted(_) => Counter::Aborted,
            TransferOutcome::TimedOut => Counter::TimedOut,
            TransferOutcome::Superseded => Counter::Superseded,
        })
    }
}

impl Counter {
    /// The counter for the end of an upload. `Counted::from` an [`TransferOutcome`] gives the counter of a transfer
    /// to a client instead.
    pub fn of_upload(outcome: TransferOutcome) -> Self {
        match outcome {
            TransferOutcome::Complete | TransferOutcome::CompleteUnconfirmed => Self::UploadComplete,
            TransferOutcome::Aborted(_) | TransferOutcome::Probe => Self::UploadAborted,
            TransferOutcome::TimedOut => Self::UploadTimedOut,
            TransferOutcome::Superseded => Self::UploadSuperseded,
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
    /// Adds one.
    pub fn count(&mut self, what: impl Into<Counted>) {
        self.add(what, 1);
    }

    /// Adds `many`.
    pub fn add(&mut self, what: impl Into<Counted>, many: u64) {
        self.0[what.into().index()] += many;
    }

    /// Replaces a number that another part of the system counts, such as the kernel.
    pub fn set(&mut self, what: impl Into<Counted>, value: u64) {
        self.0[what.into().index()] = value;
    }

    /// The number of this outcome so far.
    pub fn get(&self, what: impl Into<Counted>) -> u64 {
        self.0[what.into().index()]
    }

    /// Copies all numbers to `published`, for other threads.
    pub fn publish(&self, published: &PublishedCounters) {
        for (shown, value) in published.counts.iter().zip(self.0) {
            shown.store(value, Ordering::Relaxed);
        }
    }
}

/// A worker's counters, as other threads read them. Clones share the same numbers.
#[derive(Clone, Debug)]
pub struct PublishedCounters {
    counts: Arc<[AtomicU64]>,
    /// The number of running transfers, and of requests that wait for a slot.
    load: Arc<[AtomicU64; 2]>,
}

impl Default for PublishedCounters {
    fn default() -> Self {
        Self { counts: (0..COUNT).map(|_| AtomicU64::new(0)).collect(), load: Arc::default() }
    }
}

impl PublishedCounters {
    /// Every label with its number.
    pub fn read(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        labels().zip(self.counts.iter().map(|value| value.load(Ordering::Relaxed)))
    }

    /// Publishes the number of running transfers, and of requests that wait for a slot.
    pub fn show_load(&self, transfers: usize, waiting: usize) {
        for (shown, value) in self.load.iter().zip([transfers, waiting]) {
            shown.store(value as u64, Ordering::Relaxed);
        }
    }

    /// The number of running transfers, and of requests that wait for a slot.
    pub fn load(&self) -> (u64, u64) {
        let [transfers, waiting] = &*self.load;
        (transfers.load(Ordering::Relaxed), waiting.load(Ordering::Relaxed))
    }
}

/// All labels, in the order of [`Counted::index`].
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
