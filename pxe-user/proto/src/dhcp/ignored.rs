//! Reasons why a request gets no reply. Each reason has a name, which is the label of its counter.

use super::arch::Arch;

/// Why a packet cannot be read as a DHCP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// Shorter than the fixed header and the cookie (240 bytes).
    #[error("shorter than 240 bytes")]
    Short,
    /// The magic cookie of RFC 2132 section 2 is missing: plain BOOTP, or garbage.
    #[error("no DHCP magic cookie")]
    Cookie,
    /// An option's length exceeds the end of its field.
    #[error("an option runs past the end")]
    OptionPastEnd,
    /// Options that came in parts have more than 512 bytes together.
    #[error("split options are longer than 512 bytes")]
    SplitTooLong,
    /// Option 53 does not have a length of one byte.
    #[error("option 53 is not one byte long")]
    MessageTypeLength,
    /// Option 54 does not have a length of four bytes, so the intended server is unknown.
    #[error("option 54 is not four bytes long")]
    ServerIdLength,
}

/// Why a request gets no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// The packet could not be read.
    Malformed(Malformed),
    /// `op` is not BOOTREQUEST: the packet is a reply, from pxed or another server.
    NotBootRequest,
    /// The hardware type is not Ethernet (htype 1) with an address of six bytes.
    HardwareType,
    /// There is no option 53: plain BOOTP.
    NoMessageType,
    /// A message type that pxed does not answer: INFORM, RELEASE, DECLINE, LEASEQUERY and the like, or
    /// DISCOVER on 4011. The value is the number in option 53.
    MessageType(u8),
    /// Option 60 begins neither with `PXEClient` nor with `HTTPClient`: an ordinary DHCP client.
    NotPxe,
    /// U-Boot's own vendor class, which pxed does not serve yet.
    UBoot,
    /// An ordinary DHCPREQUEST on 67. It is meant for the DHCP server, and a second reply makes some clients
    /// loop.
    RequestOnPort67,
    /// Option 54 names another server.
    ForeignServerId,
    /// `giaddr` cannot be a relay's address: it is broadcast, multicast, loopback, or in 0.0.0.0/8 or
    /// 240.0.0.0/4.
    BadGiaddr,
    /// The source cannot be a client's address, so there is no destination for a reply.
    BadSource,
    /// Neither option 93 nor option 60 names an architecture.
    NoArch,
    /// No boot file is configured for the client's architectures. The value is the first architecture that
    /// the client names.
    NoImageForArch(Arch),
    /// The client is an HTTPClient, and no URL is configured.
    HttpNotConfigured,
    /// The client is an HTTPClient on 4011, which HTTP boot does not use.
    HttpOnPort4011,
    /// Option 43.71 asks for a boot service that is not in the menu. A boot server does not reply to types
    /// that it does not serve (PXE's `PXE_BOOT_SERVERS`, as IBM's pxed documents it). The value is that type.
    UnknownBootItem(u16),
    /// The machine should boot from its own disk, and no reply can say so (HTTP boot, a Raspberry Pi, iPXE
    /// without a script), or the machine asks the boot server for a program although local boot was offered
    /// or chosen.
    LocalBoot,
    /// A rule excludes this machine.
    Rule,
    /// The machine is not in the list of machines that pxed serves.
    NotAllowed,
    /// The frame's source is not the machine's own address, and no relay is between them: another machine
    /// sent the request in this machine's name, or a bridge or access point rewrites addresses.
    ForeignChaddr,
    /// The machine exceeds its rate limit, on a datapath where no kernel program checks the rate.
    Rate,
    /// The reply is larger than the client accepts (option 57), or than the output buffer.
    DoesNotFit,
    /// Another responder of the segment answers this machine, on a datapath where no kernel program decides that.
    OtherResponder,
}

impl Ignored {
    /// Number of reasons, which is the length of a table of counters.
    pub const COUNT: usize = Self::ALL.len();

    /// Each reason once, in the order of [`Self::index`]. The values in the variants are placeholders.
    pub const ALL: [Self; 28] = [
        Self::Malformed(Malformed::Short),
        Self::Malformed(Malformed::Cookie),
        Self::Malformed(Malformed::OptionPastEnd),
        Self::Malformed(Malformed::SplitTooLong),
        Self::Malformed(Malformed::MessageTypeLength),
        Self::Malformed(Malformed::ServerIdLength),
        Self::NotBootRequest,
        Self::HardwareType,
        Self::NoMessageType,
        Self::MessageType(0),
        Self::NotPxe,
        Self::UBoot,
        Self::RequestOnPort67,
        Self::ForeignServerId,
        Self::BadGiaddr,
        Self::BadSource,
        Self::NoArch,
        Self::NoImageForArch(Arch(0)),
        Self::HttpNotConfigured,
        Self::HttpOnPort4011,
        Self::UnknownBootItem(0),
        Self::LocalBoot,
        Self::Rule,
        Self::NotAllowed,
        Self::Rate,
        Self::DoesNotFit,
        Self::ForeignChaddr,
        Self::OtherResponder,
    ];

    /// A stable name in snake case, for a metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.entry().1
    }

    /// The index of this reason in [`Self::ALL`], below [`Self::COUNT`].
    #[must_use]
    pub fn index(self) -> usize {
        self.entry().0
    }

    fn entry(self) -> (usize, &'static str) {
        match self {
            Self::Malformed(Malformed::Short) => (0, "malformed_short"),
            Self::Malformed(Malformed::Cookie) => (1, "malformed_cookie"),
            Self::Malformed(Malformed::OptionPastEnd) => (2, "malformed_option_past_end"),
            Self::Malformed(Malformed::SplitTooLong) => (3, "malformed_split_too_long"),
            Self::Malformed(Malformed::MessageTypeLength) => (4, "malformed_message_type"),
            Self::Malformed(Malformed::ServerIdLength) => (5, "malformed_server_id"),
            Self::NotBootRequest => (6, "not_boot_request"),
            Self::HardwareType => (7, "hardware_type"),
            Self::NoMessageType => (8, "no_message_type"),
            Self::MessageType(_) => (9, "message_type"),
            Self::NotPxe => (10, "not_pxe"),
            Self::UBoot => (11, "u_boot"),
            Self::RequestOnPort67 => (12, "request_on_port_67"),
            Self::ForeignServerId => (13, "foreign_server_id"),
            Self::BadGiaddr => (14, "bad_giaddr"),
            Self::BadSource => (15, "bad_source"),
            Self::NoArch => (16, "no_arch"),
            Self::NoImageForArch(_) => (17, "no_image_for_arch"),
            Self::HttpNotConfigured => (18, "http_not_configured"),
            Self::HttpOnPort4011 => (19, "http_on_port_4011"),
            Self::UnknownBootItem(_) => (20, "unknown_boot_item"),
            Self::LocalBoot => (21, "local_boot"),
            Self::Rule => (22, "rule"),
            Self::NotAllowed => (23, "not_allowed"),
            Self::Rate => (24, "over_rate"),
            Self::DoesNotFit => (25, "does_not_fit"),
            Self::ForeignChaddr => (26, "foreign_chaddr"),
            Self::OtherResponder => (27, "other_responder"),
        }
    }
}

impl From<Malformed> for Ignored {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_place_and_label() {
        for (i, reason) in Ignored::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), i, "{reason:?}");
            let same = Ignored::ALL.into_iter().filter(|other| other.as_str() == reason.as_str()).count();
            assert_eq!(same, 1, "{reason:?}");
        }
    }
}
