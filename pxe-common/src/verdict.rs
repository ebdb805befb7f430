//! The verdicts: all outcomes for a frame. Each outcome has a name, which is also the label of its counter.

/// The service of pxed for which a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// A DHCPDISCOVER or a DHCPREQUEST of a network boot client to port 67. A DHCPREQUEST asks a boot server,
    /// or shows which address the client takes.
    Dhcp,
    /// A boot-server request to port 4011.
    BootServer,
    /// A request to TFTP's port 69.
    TftpRequest,
    /// A packet of a transfer that the program knows.
    TftpTransfer,
}

/// Why a frame goes to the host: it is not provably pxed's, or the host may need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Not IPv4, or behind more VLAN tags than the classifier follows.
    NotIpv4,
    /// The frame ends before the end of its headers or of its datagram.
    Truncated,
    /// The IPv4 header has options, or is invalid.
    IpOptions,
    /// Part of a fragmented datagram.
    Fragment,
    /// Not UDP.
    NotUdp,
    /// UDP, but not to pxed's address, or to none of pxed's ports.
    OtherPort,
    /// To a port of pxed's transfers, but not part of a transfer that the program knows.
    UnknownTransfer,
    /// The service is off on this interface.
    Off,
    /// To port 67 or 4011, but not a BOOTREQUEST with the magic cookie.
    NotBootRequest,
    /// No option 60, or one that begins neither with `PXEClient` nor with `HTTPClient`.
    NotNetworkBoot,
    /// A network boot client's message to port 67 that only the DHCP server answers.
    OtherMessage,
    /// More options than the classifier walks, or an option that runs past the end.
    OptionsBound,
    /// A DHCP request whose sender cannot be a client. The frame goes to the host, which may judge it.
    NoClient,
    /// A DHCP request that exceeds its source's rate limit. The host receives it, pxed does not.
    DhcpRate,
    /// The queue has no AF_XDP socket: the daemon starts or stops. During a hand-over the program drops such
    /// frames instead, and also counts them here: see [`Config::hold`](crate::abi::Config::hold).
    NoSocket,
    /// An ACK that goes on to the tcx program, because the XDP program does not answer it: the frame cannot
    /// grow, the window has several blocks, or [`Config::offload`](crate::abi::Config::offload) lacks the bit
    /// for XDP.
    ToTcx,
    /// A broadcast of a machine that another responder of the segment answers: see [`segment`](crate::segment).
    OtherResponder,
}

/// The kernel program that answered an ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The XDP program.
    Xdp,
    /// The tcx program.
    Tcx,
}

/// Why pxed does not process a frame that is for one of its services. The program drops the frame, except for
/// [`Self::CopyLost`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// The IPv4 or Ethernet source address does not belong to another host: it is zero, loopback, multicast,
    /// broadcast, or pxed's own.
    SourceAddress,
    /// The source port belongs to a server. A reply could make two servers reply to each other without end.
    SourcePort,
    /// A request to the boot server's port that exceeds its source's rate limit.
    BootServerRate,
    /// A request to TFTP's port that exceeds its source's rate limit.
    TftpRate,
    /// The ring buffer had no room for the copy. The host still receives the frame.
    CopyLost,
    /// An ACK that the kernel could not answer: the answer could not be written, or user space took the
    /// transfer back at the same moment. A retransmission follows.
    NotAnswered,
}

/// What the XDP or tcx program does with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Redirect it to the AF_XDP socket of its queue. The host does not see it.
    Redirect(Service),
    /// Copy it to the daemon, and pass the frame itself to the host.
    Copy(Service),
    /// Pass it to the host.
    Pass(Pass),
    /// Drop it.
    Drop(Drop),
    /// Send it back to the client, changed into the next block or blocks.
    Answer(Layer),
}

impl Verdict {
    /// Returns the row of this verdict in [`COUNTERS`], which is also its index in the per-CPU counter array.
    ///
    /// It is computed from the discriminants, because a search would be a loop in the kernel.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        match self {
            Self::Redirect(service) => service as u32,
            Self::Copy(service) => SERVICES + service as u32,
            Self::Pass(reason) => 2 * SERVICES + reason as u32,
            Self::Drop(reason) => 2 * SERVICES + PASSES + reason as u32,
            Self::Answer(layer) => 2 * SERVICES + PASSES + DROPS + layer as u32,
        }
    }
}

impl Verdict {
    /// Returns the label of this verdict's counter in [`COUNTERS`].
    #[must_use]
    pub const fn label(self) -> &'static str {
        COUNTERS[self.index() as usize].1
    }
}

const SERVICES: u32 = Service::TftpTransfer as u32 + 1;
const PASSES: u32 = Pass::OtherResponder as u32 + 1;
const DROPS: u32 = Drop::NotAnswered as u32 + 1;

// The crate does not compile unless the table and the arithmetic agree.
const _: () = {
    let mut row = 0;
    while row < COUNTERS.len() {
        assert!(COUNTERS[row].0.index() == row as u32);
        row += 1;
    }
};

/// Every verdict and the label of its counter. The row of a verdict is [`Verdict::index`].
pub const COUNTERS: [(Verdict, &str); 33] = [
    (Verdict::Redirect(Service::Dhcp), "redirect_dhcp"),
    (Verdict::Redirect(Service::BootServer), "redirect_boot_server"),
    (Verdict::Redirect(Service::TftpRequest), "redirect_tftp_request"),
    (Verdict::Redirect(Service::TftpTransfer), "redirect_tftp_transfer"),
    (Verdict::Copy(Service::Dhcp), "copy_dhcp"),
    (Verdict::Copy(Service::BootServer), "copy_boot_server"),
    (Verdict::Copy(Service::TftpRequest), "copy_tftp_request"),
    (Verdict::Copy(Service::TftpTransfer), "copy_tftp_transfer"),
    (Verdict::Pass(Pass::NotIpv4), "pass_not_ipv4"),
    (Verdict::Pass(Pass::Truncated), "pass_truncated"),
    (Verdict::Pass(Pass::IpOptions), "pass_ip_options"),
    (Verdict::Pass(Pass::Fragment), "pass_fragment"),
    (Verdict::Pass(Pass::NotUdp), "pass_not_udp"),
    (Verdict::Pass(Pass::OtherPort), "pass_other_port"),
    (Verdict::Pass(Pass::UnknownTransfer), "pass_unknown_transfer"),
    (Verdict::Pass(Pass::Off), "pass_off"),
    (Verdict::Pass(Pass::NotBootRequest), "pass_not_boot_request"),
    (Verdict::Pass(Pass::NotNetworkBoot), "pass_not_network_boot"),
    (Verdict::Pass(Pass::OtherMessage), "pass_other_message"),
    (Verdict::Pass(Pass::OptionsBound), "pass_options_bound"),
    (Verdict::Pass(Pass::NoClient), "pass_no_client"),
    (Verdict::Pass(Pass::DhcpRate), "pass_dhcp_rate"),
    (Verdict::Pass(Pass::NoSocket), "pass_no_socket"),
    (Verdict::Pass(Pass::ToTcx), "pass_to_tcx"),
    (Verdict::Pass(Pass::OtherResponder), "pass_other_responder"),
    (Verdict::Drop(Drop::SourceAddress), "drop_source_address"),
    (Verdict::Drop(Drop::SourcePort), "drop_source_port"),
    (Verdict::Drop(Drop::BootServerRate), "drop_boot_server_rate"),
    (Verdict::Drop(Drop::TftpRate), "drop_tftp_rate"),
    (Verdict::Drop(Drop::CopyLost), "drop_copy_lost"),
    (Verdict::Drop(Drop::NotAnswered), "drop_not_answered"),
    (Verdict::Answer(Layer::Xdp), "answer_xdp"),
    (Verdict::Answer(Layer::Tcx), "answer_tcx"),
];
