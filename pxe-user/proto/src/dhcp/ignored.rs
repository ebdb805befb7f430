//! Reasons for silence. Every refusal has a name, and the name is the counter's label.

use super::arch::Arch;

/// What is wrong with a packet that is no DHCP request at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// Shorter than the fixed header and the cookie (240 bytes).
    #[error("shorter than 240 bytes")]
    Short,
    /// The magic cookie of RFC 2132 section 2 is missing: plain BOOTP or garbage.
    #[error("no DHCP magic cookie")]
    Cookie,
    /// An option's length points past the end of its field.
    #[error("an option runs past the end")]
    OptionPastEnd,
    /// More than 512 bytes of options that came in parts.
    #[error("split options are longer than 512 bytes")]
    SplitTooLong,
    /// Option 53 does not have one byte.
    #[error("option 53 is not one byte long")]
    MessageTypeLength,
    /// Option 54 does not have four bytes, so nobody knows whom the request means.
    #[error("option 54 is not four bytes long")]
    ServerIdLength,
}

/// Why a request gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// The packet could not be read.
    Malformed(Malformed),
    /// `op` is not BOOTREQUEST: a reply, ours or another server's.
    NotBootRequest,
    /// Not Ethernet (htype 1) with six address bytes.
    HardwareType,
    /// No option 53: plain BOOTP.
    NoMessageType,
    /// A message type that asks nothing of us: INFORM, RELEASE, DECLINE, LEASEQUERY and the like; DISCOVER on 4011.
    MessageType(u8),
    /// Option 60 says neither `PXEClient` nor `HTTPClient`: an ordinary DHCP client.
    NotPxe,
    /// U-Boot's own class: not served yet.
    UBoot,
    /// An ordinary DHCPREQUEST on 67: it is meant for the DHCP server, and answering it makes some clients loop.
    RequestOnPort67,
    /// Option 54 names another server.
    ForeignServerId,
    /// `giaddr` cannot be a relay's address: broadcast, multicast, loopback or in 0.0.0.0/8.
    BadGiaddr,
    /// The source cannot be a client's, so that there is nowhere to answer to.
    BadSource,
    /// Neither option 93 nor option 60 names an architecture.
    NoArch,
    /// No boot file is configured for this architecture (the first one that the client names).
    NoImageForArch(Arch),
    /// An HTTPClient, and no URL is configured at all.
    HttpNotConfigured,
    /// An HTTPClient on 4011, which HTTP boot does not use.
    HttpOnPort4011,
    /// Option 43.71 asks for a boot service that is not in the menu: a boot server is silent on types that it does not
    /// serve (PXE's `PXE_BOOT_SERVERS`, as IBM's pxed documents it).
    UnknownBootItem(u16),
    /// The machine shall boot its own disk, and there is no way to tell it (HTTP boot, a Raspberry Pi), or it asks for
    /// more than the menu that says so.
    LocalBoot,
    /// The rules say that this machine is not ours.
    Rule,
    /// The machine is not on the list of those that are served.
    NotAllowed,
    /// The frame's source is not the machine's own address, and no relay stands between: somebody asks in another's name, or a
    /// bridge or access point rewrites addresses.
    ForeignChaddr,
    /// The machine asks more often than its rate allows, where no kernel program has seen to it.
    Rate,
    /// The answer is larger than the client accepts (option 57) or than the output buffer.
    DoesNotFit,
}

impl Ignored {
    /// How many reasons there are: the length of a table of counters.
    pub const COUNT: usize = Self::ALL.len();

    /// Every reason once, in the order of [`Self::index`]; payloads are placeholders.
    pub const ALL: [Self; 27] = [
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
    ];

    /// A stable name in snake case, fit for a metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.entry().1
    }

    /// The place of this reason in [`Self::ALL`], below [`Self::COUNT`].
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
