//! What may become of a frame. Every exit has a name, and the name is a counter.

/// Which of our services a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// A DHCPDISCOVER, or a boot-server request, of a network boot client to port 67.
    Dhcp,
    /// A boot-server request to port 4011.
    BootServer,
    /// A request to TFTP's port 69.
    TftpRequest,
    /// A packet of a transfer that we know.
    TftpTransfer,
}

/// Why a frame goes on to the host: it is not provably ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Not IPv4, or below more tags than are followed.
    NotIpv4,
    /// The frame ends before its headers do.
    Truncated,
    /// IPv4 options.
    IpOptions,
    /// Part of a fragmented datagram.
    Fragment,
    /// Not UDP.
    NotUdp,
    /// UDP, but to none of our ports, or not to our address.
    OtherPort,
    /// To our TFTP ports, but of no transfer that we know.
    UnknownTransfer,
    /// The service is switched off on this interface.
    Off,
    /// To port 67 or 4011, but no BOOTREQUEST over Ethernet with the magic cookie.
    NotBootRequest,
    /// No option 60, or one that begins neither `PXEClient` nor `HTTPClient`.
    NotNetworkBoot,
    /// A network boot client's message to port 67 that only the DHCP server answers.
    OtherMessage,
    /// More options than are walked, or an option that runs past the end.
    OptionsBound,
    /// A DHCP request whose sender can be no client; the host may judge.
    NoClient,
    /// A DHCP request beyond its source's rate: the host gets it, we do not.
    DhcpRate,
    /// The queue has no socket (yet): the daemon is starting or stopping. While it hands over to another one such frames are
    /// dropped: see [`Config::hold`](crate::abi::Config::hold).
    NoSocket,
    /// To the tcx program: the frame cannot grow here.
    ToTcx,
}

/// Where in the kernel an ACK was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// In the XDP program.
    Xdp,
    /// In the tcx program.
    Tcx,
}

/// Why a frame is thrown away: it claims to be ours and no honest client sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// The source address, IPv4 or Ethernet, is no host's: zero, loopback, multicast, broadcast, or our own.
    SourceAddress,
    /// The source port belongs to a server: answering would make two servers talk to each other.
    SourcePort,
    /// A request to the boot server's port beyond its source's rate.
    BootServerRate,
    /// A request to TFTP's port beyond its source's rate.
    TftpRate,
    /// The ring buffer had no room for the copy; the host still got the frame.
    CopyLost,
    /// An ACK whose answer could not be written, or that user space claimed at the same moment: it is repeated.
    NotAnswered,
}

/// What to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To the AF_XDP socket of its queue; the host does not see it.
    Redirect(Service),
    /// A copy to the daemon, the frame itself to the host.
    Copy(Service),
    /// To the host.
    Pass(Pass),
    /// Nowhere.
    Drop(Drop),
    /// Back to the client, with the next blocks in it.
    Answer(Layer),
}

impl Verdict {
    /// The row of this verdict in [`COUNTERS`], and so its key in the per-CPU counter array.
    ///
    /// Written as arithmetic on discriminants: a search would be a loop in the kernel.
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
    /// Its label in [`COUNTERS`].
    #[must_use]
    pub const fn label(self) -> &'static str {
        COUNTERS[self.index() as usize].1
    }
}

const SERVICES: u32 = Service::TftpTransfer as u32 + 1;
const PASSES: u32 = Pass::ToTcx as u32 + 1;
const DROPS: u32 = Drop::NotAnswered as u32 + 1;

// The table and the arithmetic agree, or nothing compiles.
const _: () = {
    let mut row = 0;
    while row < COUNTERS.len() {
        assert!(COUNTERS[row].0.index() == row as u32);
        row += 1;
    }
};

/// Every verdict and the label of its counter; the row is [`Verdict::index`].
pub const COUNTERS: [(Verdict, &str); 32] = [
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
    (Verdict::Drop(Drop::SourceAddress), "drop_source_address"),
    (Verdict::Drop(Drop::SourcePort), "drop_source_port"),
    (Verdict::Drop(Drop::BootServerRate), "drop_boot_server_rate"),
    (Verdict::Drop(Drop::TftpRate), "drop_tftp_rate"),
    (Verdict::Drop(Drop::CopyLost), "drop_copy_lost"),
    (Verdict::Drop(Drop::NotAnswered), "drop_not_answered"),
    (Verdict::Answer(Layer::Xdp), "answer_xdp"),
    (Verdict::Answer(Layer::Tcx), "answer_tcx"),
];
