//! Who is measured, as data, and how each is started: as its manual advises for many clients.

use std::path::Path;
use std::process::Command;

use pxe_kit::load::{Options, ReflectorMode};

use anyhow::Result;

use super::cases::File;
use super::peers::{Peer, Peers};

/// The longest that an Ethernet frame can be: requests are padded to it where replies shall fit into their frames.
pub(super) const FRAME: u16 = 1514;

/// The image whose file machines boot that are in a ledger.
pub(super) const IMAGE: &str = "bench";

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The reference.
    Dnsmasq,
    /// Debian's tftpd-hpa.
    TftpdHpa,
    /// Debian's atftpd.
    Atftpd,
    /// The crate tftpd.
    TftpdRs,
    /// Debian's nginx, for HTTP.
    Nginx,
    /// Debian's Caddy, for HTTP.
    Caddy,
    /// pxed over plain sockets.
    Socket,
    /// pxed over generic XDP, which is what it takes on a veth by itself; AF_XDP answers.
    Generic,
    /// pxed over native XDP; AF_XDP answers.
    Native,
    /// pxed over generic XDP with the kernel's offload: frames cannot grow there, so tcx answers.
    GenericOffload,
    /// pxed over native XDP with the kernel's offload, and frames with room: XDP answers.
    NativeOffload,
    /// An XDP program that sends each frame back unread, 1514 bytes both ways: a yardstick.
    Reflect,
    /// A tcx program that does nothing but turn an ACK into a block: the limit of [`Who::GenericOffload`].
    CopyTcx,
    /// The same in XDP by a redirect to the interface: the limit of [`Who::NativeOffload`], which does that on a veth.
    CopyRedirect,
    /// The same by `XDP_TX`.
    CopyTx,
    /// Nobody: what others have without us.
    Nobody,
}

/// What is known of each.
#[derive(Clone, Copy, Debug)]
pub struct Responder {
    /// Who.
    pub who: Who,
    /// For people.
    pub title: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Knows the option windowsize (RFC 7440); one that does not serves in lock-step.
    pub windows: bool,
    /// Answers DHCP.
    pub dhcp: bool,
    /// Whether the machines' frames have room for a reply.
    pub roomy: bool,
}

/// A program and its way to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// dnsmasq as the system has it.
    Dnsmasq,
    /// Fetched for this.
    Peer(Peer),
    /// pxed.
    Pxed {
        /// `--datapath`
        datapath: &'static str,
        /// `--xdp-mode`
        mode: &'static str,
        /// `--offload`: where the kernel answers ACKs by itself
        offload: &'static str,
    },
    /// A program of the generator that answers by itself.
    Reflector(ReflectorMode),
    /// None.
    None,
}

impl Who {
    /// Those whom a user would take instead, the reference first.
    pub const PEERS: &[Self] = &[Self::Dnsmasq, Self::TftpdHpa, Self::Atftpd, Self::TftpdRs];
    /// All of pxed's datapaths.
    pub const OURS: &[Self] =
        &[Self::Socket, Self::Generic, Self::Native, Self::GenericOffload, Self::NativeOffload];
    /// Both.
    pub const ALL: &[Self] = &[
        Self::Dnsmasq,
        Self::TftpdHpa,
        Self::Atftpd,
        Self::TftpdRs,
        Self::Socket,
        Self::Generic,
        Self::Native,
        Self::GenericOffload,
        Self::NativeOffload,
    ];
    /// All, and the limits.
    pub const ALL_AND_LIMITS: &[Self] = &[
        Self::Dnsmasq,
        Self::TftpdHpa,
        Self::Atftpd,
        Self::TftpdRs,
        Self::Socket,
        Self::Generic,
        Self::Native,
        Self::GenericOffload,
        Self::NativeOffload,
        Self::CopyTcx,
        Self::CopyRedirect,
        Self::CopyTx,
        Self::Reflect,
    ];
    /// What no server on this machine can outdo.
    pub const LIMITS: &[Self] = &[Self::CopyTcx, Self::CopyRedirect, Self::CopyTx, Self::Reflect];
    /// Where DHCP takes part. The other peers are named, so that nobody looks for them.
    pub const BOOTS: &[Self] = Self::ALL;
    /// Where something goes wrong: those whom a user would take instead, and the ways that pxed takes by itself.
    pub const FAULTS: &[Self] = &[
        Self::Dnsmasq,
        Self::TftpdHpa,
        Self::Atftpd,
        Self::Socket,
        Self::GenericOffload,
        Self::NativeOffload,
    ];
    /// Of these pxed's.
    pub const DATAPATHS: &[Self] = &[Self::Socket, Self::GenericOffload, Self::NativeOffload];
    /// And those that a veth has without being told.
    pub const USUAL: &[Self] = &[Self::Socket, Self::GenericOffload];
    /// For the short form: nothing is fetched for it.
    pub const SHORT: &[Self] = &[
        Self::Dnsmasq,
        Self::Socket,
        Self::Generic,
        Self::Native,
        Self::GenericOffload,
        Self::NativeOffload,
    ];
    /// For the short form, with the limits.
    pub const SHORT_AND_LIMITS: &[Self] = &[
        Self::Dnsmasq,
        Self::Socket,
        Self::Generic,
        Self::Native,
        Self::GenericOffload,
        Self::NativeOffload,
        Self::CopyTcx,
        Self::CopyRedirect,
        Self::CopyTx,
        Self::Reflect,
    ];
    /// Those with programs in the kernel that are more than a detour to a socket.
    pub const PROGRAMS: &[Self] = &[
        Self::Generic,
        Self::GenericOffload,
        Self::NativeOffload,
        Self::CopyTcx,
        Self::CopyRedirect,
        Self::CopyTx,
    ];
    /// Where a file is loaded over HTTP: pxed as it is on a veth by itself. The datapath is for TFTP; its programs see all
    /// packets.
    pub const HTTP: &[Self] = &[Self::Nginx, Self::Caddy, Self::GenericOffload];
    /// For curves over the number of machines.
    pub const CURVES: &[Self] =
        &[Self::Dnsmasq, Self::Socket, Self::Generic, Self::GenericOffload, Self::NativeOffload];
    /// What everybody else's packets pass.
    pub const BESIDE: &[Self] =
        &[Self::Nobody, Self::Generic, Self::Native, Self::GenericOffload, Self::NativeOffload];

    /// What is known of it.
    ///
    /// # Panics
    /// Never: the table has all.
    #[must_use]
    pub fn responder(self) -> &'static Responder {
        RESPONDERS.iter().find(|responder| responder.who == self).expect("the table has all")
    }

    /// The row that shows what a program at the same hook can do at most.
    #[must_use]
    pub fn limit(self) -> Option<Self> {
        match self {
            Self::GenericOffload => Some(Self::CopyTcx),
            Self::NativeOffload => Some(Self::CopyRedirect),
            _ => None,
        }
    }

    /// For people.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.responder().title
    }
}

/// All responders.
pub const RESPONDERS: &[Responder] = &[
    peer(Who::Dnsmasq, "dnsmasq", Kind::Dnsmasq, true, true),
    peer(Who::TftpdHpa, "tftpd-hpa", Kind::Peer(Peer::TftpdHpa), false, false),
    peer(Who::Atftpd, "atftpd", Kind::Peer(Peer::Atftpd), true, false),
    peer(Who::TftpdRs, "tftpd (crate)", Kind::Peer(Peer::TftpdRs), true, false),
    peer(Who::Nginx, "nginx", Kind::Peer(Peer::Nginx), false, false),
    peer(Who::Caddy, "Caddy", Kind::Peer(Peer::Caddy), false, false),
    pxed(Who::Socket, "pxed sockets", "socket", "auto", "off", false),
    pxed(Who::Generic, "pxed generic", "xdp", "generic", "off", false),
    pxed(Who::Native, "pxed native", "xdp", "native", "off", false),
    pxed(Who::GenericOffload, "pxed generic+tcx", "xdp", "generic", "tcx", false),
    pxed(Who::NativeOffload, "pxed native+XDP", "xdp", "native", "xdp", true),
    reflector(Who::CopyTcx, "copy tcx", ReflectorMode::CopyTcx, false),
    reflector(Who::CopyRedirect, "copy redirect", ReflectorMode::CopyRedirect, true),
    reflector(Who::CopyTx, "copy XDP_TX", ReflectorMode::CopyTx, true),
    reflector(Who::Reflect, "reflect 1514", ReflectorMode::Native, false),
    peer(Who::Nobody, "without pxed", Kind::None, false, false),
];

const fn peer(who: Who, title: &'static str, kind: Kind, windows: bool, dhcp: bool) -> Responder {
    Responder { who, title, kind, windows, dhcp, roomy: false }
}

const fn reflector(who: Who, title: &'static str, mode: ReflectorMode, roomy: bool) -> Responder {
    Responder { who, title, kind: Kind::Reflector(mode), windows: false, dhcp: false, roomy }
}

const fn pxed(
    who: Who,
    title: &'static str,
    datapath: &'static str,
    mode: &'static str,
    offload: &'static str,
    roomy: bool,
) -> Responder {
    Responder { who, title, kind: Kind::Pxed { datapath, mode, offload }, windows: true, dhcp: true, roomy }
}

impl Responder {
    /// What must be fetched for it.
    #[must_use]
    pub(super) fn peer(&self) -> Option<Peer> {
        match self.kind {
            Kind::Peer(peer) => Some(peer),
            _ => None,
        }
    }

    /// Why it cannot be measured at all here.
    #[must_use]
    pub fn missing(&self, peers: &Peers) -> Option<String> {
        peers.missing(self.peer()?)
    }

    /// How one sees that it serves.
    #[must_use]
    pub fn ready(&self) -> Ready {
        match self.kind {
            Kind::Peer(Peer::Nginx | Peer::Caddy) => Ready::HasHttpPort,
            Kind::Pxed { .. } | Kind::Reflector(_) => Ready::Says("ready"),
            _ => Ready::HasTftpPort,
        }
    }

    /// The program's name and arguments.
    pub(super) fn program(&self, place: &Place<'_>) -> Option<Command> {
        let root = place.root;
        Some(match self.kind {
            Kind::None => return None,
            Kind::Dnsmasq => dnsmasq(place),
            Kind::Peer(peer) => place.peers.command(peer, root),
            Kind::Pxed { datapath, mode, offload } => {
                let mut pxed = Command::new(place.programs.join("pxed"));
                pxed.args(["serve", "--interface", place.interface]);
                match place.ledger {
                    Some(folder) => {
                        pxed.arg("--config").arg(folder.with_extension("toml"));
                    }
                    None => {
                        pxed.arg("--root").arg(root);
                        for arch in ["bios", "ia32", "x64", "arm64"] {
                            pxed.arg("--boot-file").arg(format!("{arch}={}", place.boot.name()));
                        }
                    }
                }
                // A line per transfer goes to a file, as in service; the others log each transfer, too.
                // Here machines ask thousands of times, to see how many answers there can be.
                pxed.args(["--dhcp-rate", "0"]);
                if place.http {
                    pxed.args(["--http-port", "80"]);
                }
                pxed.args(["--datapath", datapath, "--xdp-mode", mode, "--offload", offload]);
                pxed
            }
            Kind::Reflector(mode) => {
                let mut load = Command::new(place.programs.join("load"));
                let mut options = Options { reflector: true, mode, ..Options::new(place.interface) };
                if self.who != Who::Reflect {
                    options.original = Some(root.join(place.boot.name()));
                }
                load.args(options.arguments());
                load
            }
        })
    }
}

/// How one sees that a responder serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// It says so.
    Says(&'static str),
    /// It listens on UDP port 69: some say nothing.
    HasTftpPort,
    /// It listens on TCP port 80.
    HasHttpPort,
}

/// Where a responder is started.
#[derive(Debug)]
pub(super) struct Place<'a> {
    /// The folder with pxed and the generator.
    pub(super) programs: &'a Path,
    /// What was fetched.
    pub(super) peers: &'a Peers,
    /// What is served.
    pub(super) root: &'a Path,
    /// The interface towards the machines.
    pub(super) interface: &'a str,
    /// What machines are told to boot.
    pub(super) boot: File,
    /// Files are served over HTTP, too.
    pub(super) http: bool,
    /// The directory of pxed's ledger. Beside it is its configuration.
    pub(super) ledger: Option<&'a Path>,
}

impl Place<'_> {
    /// Writes pxed's configuration, if there is a ledger: a rule counts each machine's boots, as in service.
    pub(super) fn configure(&self) -> Result<()> {
        let Some(folder) = self.ledger else { return Ok(()) };
        let (state, root, boot) = (folder.display(), self.root.display(), self.boot.name());
        let text = format!(
            "state = \"{state}\"\n\n[images.{IMAGE}]\nroot = \"{root}\"\n\
             boot_files = {{ bios = \"{boot}\", ia32 = \"{boot}\", x64 = \"{boot}\", arm64 = \"{boot}\" }}\npayload = \"{boot}\"\n\n\
             [[rules]]\nname = \"counted\"\nimage = \"{IMAGE}\"\nboots = 1000\n"
        );
        Ok(std::fs::write(folder.with_extension("toml"), text)?)
    }
}

/// dnsmasq as TFTP server and, with the same options in all cases, as proxyDHCP server.
fn dnsmasq(place: &Place<'_>) -> Command {
    let mut dnsmasq = Command::new("dnsmasq");
    // Not --no-daemon, which is for debugging and keeps all rights.
    dnsmasq.args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--no-resolv", "--no-hosts"]);
    dnsmasq.args(["--pid-file=", "--user=nobody"]);
    dnsmasq.args(["--except-interface=lo", "--bind-interfaces", "--log-facility=-", "--leasefile-ro"]);
    dnsmasq.arg(format!("--interface={}", place.interface));
    // Its manual: "The maximum number of concurrent TFTP connections allowed. This defaults to 50." windowsize is
    // granted without being asked to; so is blksize up to the interface's MTU.
    dnsmasq.args(["--enable-tftp", "--tftp-max=5000"]);
    dnsmasq.arg(format!("--tftp-root={}", place.root.display()));
    // The address behind the name: else BIOS machines are told none, and ask again on port 4011. Proxy mode answers
    // nobody without a --pxe-service; one for machines that nobody has leaves all others to --dhcp-boot, without a menu.
    let boot = place.boot.name();
    dnsmasq
        .args(["--dhcp-range=10.50.0.0,proxy,255.255.0.0".into(), format!("--dhcp-boot={boot},,10.50.0.1")]);
    dnsmasq.arg("--pxe-service=PC98,unused,unused");
    dnsmasq
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_agree() {
        assert_eq!([Who::PEERS, Who::OURS].concat(), Who::ALL);
        assert_eq!([Who::ALL, Who::LIMITS].concat(), Who::ALL_AND_LIMITS);
        assert_eq!([Who::SHORT, Who::LIMITS].concat(), Who::SHORT_AND_LIMITS);
        assert_eq!([&[Who::Dnsmasq], Who::OURS].concat(), Who::SHORT);
        for responder in RESPONDERS {
            assert_eq!(responder.who.title(), responder.title, "each is in the table once");
        }
    }
}
