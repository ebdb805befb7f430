//! Runs the classifier twice: as the real XDP object in the kernel, by BPF test run, and as the same code over slices.
//! Contains the frames with their verdicts.

use std::net::Ipv4Addr;

use pxe_common::abi::{Config, TransferKey};
use pxe_common::{Drop, Pass, Service, SliceFrame, Verdict, classify};
use pxe_kit::namespace;
use pxe_nic::Queue;
use pxe_nic::programs::{Copies, Mode, Programs};
use pxe_nic::xsk::{Sizes, Xsk};

use crate::frames::{CLIENT, OWN, TID, bootp, broadcast_67, golden, tagged, udp, with};

/// The kernel's number for a dropped frame.
const XDP_DROP: u32 = 1;
/// The kernel's number for a frame that passes to the host.
pub const XDP_PASS: u32 = 2;
/// The kernel's number for a frame that goes to the AF_XDP socket.
pub const XDP_REDIRECT: u32 = 4;
/// The client's port of the known transfer.
pub const CLIENT_PORT: u16 = 2070;

/// The key of the known transfer.
pub fn known() -> TransferKey {
    TransferKey {
        client_addr: CLIENT.octets(),
        client_port: CLIENT_PORT.to_be_bytes(),
        server_port: TID.to_be_bytes(),
    }
}

/// The program in the kernel, with one known transfer and a socket for its queue.
pub struct Kernel {
    /// The loaded XDP program.
    pub programs: Programs,
    /// The ring of copied frames.
    pub copies: Copies,
    _socket: Option<Xsk>,
}

impl Kernel {
    /// Moves the calling thread into a new namespace, because a queue takes only one socket, and loads the program there.
    ///
    /// # Panics
    /// Without root, or if a system call fails.
    #[must_use]
    pub fn new(config: &Config, with_socket: bool) -> Self {
        namespace::enter_new().unwrap();
        let mut programs = Programs::load(1, 16, false).unwrap();
        programs.configure(config).unwrap();
        programs.transfers().unwrap().insert(known(), 0).unwrap();
        let socket = with_socket.then(|| {
            let socket =
                Xsk::open(1, Queue(0), Mode::Generic, Sizes { rx: 64, tx: 64, chunk: 2048 }).unwrap();
            programs.connect(Queue(0), &socket).unwrap();
            socket
        });
        let copies = programs.copies().unwrap();
        Self { programs, copies, _socket: socket }
    }

    /// Runs the program, and returns its verdict, which is the counter that changed, and its action.
    ///
    /// # Panics
    /// If the kernel rejects the frame: it requires at least an Ethernet header.
    pub fn run(&mut self, frame: &[u8]) -> (Verdict, u32) {
        let before = self.programs.counters().unwrap();
        let action = self.programs.test_run(frame).unwrap().0;
        let after = self.programs.counters().unwrap();
        let moved: Vec<usize> = (0..after.len()).filter(|&row| after[row].1 != before[row].1).collect();
        assert_eq!(moved.len(), 1, "one frame moves one counter");
        (pxe_common::COUNTERS[moved[0]].0, action)
    }
}

/// The verdict of the same classifier in user space.
#[must_use]
pub fn in_user_space(config: &Config, frame: &[u8]) -> Verdict {
    classify(&SliceFrame(frame), config, |packet| packet.key() == known(), |_, _| true, |_| true)
}

/// The action of the XDP program for a verdict.
#[must_use]
pub fn action(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Redirect(_) => XDP_REDIRECT,
        Verdict::Copy(_) | Verdict::Pass(_) => XDP_PASS,
        Verdict::Drop(_) | Verdict::Answer(_) => XDP_DROP,
    }
}

/// Frames of every kind, by name, with their verdicts under `frames::config`.
#[must_use]
pub fn named_frames() -> Vec<(&'static str, Vec<u8>, Verdict)> {
    let discover = broadcast_67(&golden("ovmf-discover"));
    let rrq = b"\0\x01pxelinux.0\0octet\0";
    let to_tftp = udp((CLIENT, CLIENT_PORT), (OWN, 69), rrq);
    let ack = udp((CLIENT, CLIENT_PORT), (OWN, TID), &[0, 4, 0, 1]);
    let padded = [ack.clone(), vec![0; 14]].concat();
    let to_4011 = udp((CLIENT, 4011), (OWN, 4011), &golden("ovmf-4011"));
    let dhcp = Verdict::Copy(Service::Dhcp);
    let boot_server = Verdict::Redirect(Service::BootServer);
    let transfer = Verdict::Redirect(Service::TftpTransfer);
    let pass = Verdict::Pass;
    let drop = Verdict::Drop;
    let from = |address: Ipv4Addr, port| udp((address, port), (OWN, 69), rrq);
    vec![
        ("DISCOVER of OVMF", discover.clone(), dhcp),
        ("DISCOVER of iPXE", broadcast_67(&golden("ipxe-bios-discover")), dhcp),
        ("DISCOVER of HTTP boot", broadcast_67(&golden("ovmf-http-discover")), dhcp),
        ("DISCOVER, one tag", tagged(&discover, 0x8100, 42), dhcp),
        ("DISCOVER, two tags", tagged(&tagged(&discover, 0x8100, 42), 0x88a8, 7), dhcp),
        (
            "DISCOVER, three tags",
            tagged(&tagged(&tagged(&discover, 0x8100, 1), 0x8100, 2), 0x88a8, 3),
            pass(Pass::NotIpv4),
        ),
        (
            "DISCOVER through a relay",
            udp((CLIENT, 67), (OWN, 67), &golden("ovmf-discover")),
            Verdict::Redirect(Service::Dhcp),
        ),
        (
            "DISCOVER to another server",
            udp((CLIENT, 67), (CLIENT, 67), &golden("ovmf-discover")),
            pass(Pass::OtherPort),
        ),
        (
            "DISCOVER to the subnet",
            udp((CLIENT, 68), (Ipv4Addr::new(10, 99, 0, 255), 67), &golden("ovmf-discover")),
            dhcp,
        ),
        ("REQUEST to the DHCP server", broadcast_67(&golden("ovmf-request-67")), dhcp),
        ("boot-server request", to_4011.clone(), boot_server),
        (
            "boot-server request of iPXE",
            udp((CLIENT, 68), (OWN, 4011), &golden("ipxe-bios-boot-server")),
            boot_server,
        ),
        (
            "boot-server request to another",
            udp((CLIENT, 4011), (CLIENT, 4011), &golden("ovmf-4011")),
            pass(Pass::OtherPort),
        ),
        (
            "DISCOVER of an ordinary client",
            broadcast_67(&bootp(&[53, 1, 1, 255])),
            pass(Pass::NotNetworkBoot),
        ),
        (
            "DISCOVER of another vendor",
            broadcast_67(&bootp(b"\x35\x01\x01\x3c\x08MSFT 5.0\xff")),
            pass(Pass::NotNetworkBoot),
        ),
        (
            "option 60 shorter than its words",
            broadcast_67(&bootp(b"\x35\x01\x01\x3c\x08PXEClien\xff")),
            pass(Pass::NotNetworkBoot),
        ),
        (
            "option 60 with HTTPClien only",
            broadcast_67(&bootp(b"\x35\x01\x01\x3c\x09HTTPClien\xff")),
            pass(Pass::NotNetworkBoot),
        ),
        ("BOOTP without 53", broadcast_67(&bootp(b"\x3c\x09PXEClient\xff")), pass(Pass::OtherMessage)),
        ("no END", broadcast_67(&bootp(b"\x3c\x09PXEClient\x35\x01\x01")), dhcp),
        (
            "an option past the end",
            broadcast_67(&bootp(b"\x35\x01\x01\x3c\xffPXEClient")),
            pass(Pass::OptionsBound),
        ),
        ("many options before 60", broadcast_67(&discover_behind(40)), dhcp),
        ("too many options before 60", broadcast_67(&discover_behind(60)), pass(Pass::OptionsBound)),
        // User space accepts these three over plain sockets (docs/decisions/0011). No known client sends them.
        ("option 60 behind 100 pads", broadcast_67(&discover_behind_pads()), pass(Pass::OptionsBound)),
        ("option 60 in the file field", broadcast_67(&overloaded()), pass(Pass::NotNetworkBoot)),
        (
            "option 60 in two parts",
            broadcast_67(&bootp(b"\x35\x01\x01\x3c\x03PXE\x3c\x06Client\xff")),
            pass(Pass::NotNetworkBoot),
        ),
        ("a reply", broadcast_67(&with(&golden("ovmf-discover"), 0, 2)), pass(Pass::NotBootRequest)),
        (
            "a wrong cookie",
            broadcast_67(&with(&golden("ovmf-discover"), 236, 98)),
            pass(Pass::NotBootRequest),
        ),
        ("DHCP below 240 bytes", broadcast_67(&golden("ovmf-discover")[..239]), pass(Pass::NotBootRequest)),
        ("RRQ", to_tftp.clone(), Verdict::Redirect(Service::TftpRequest)),
        ("RRQ to another host", udp((CLIENT, CLIENT_PORT), (CLIENT, 69), rrq), pass(Pass::OtherPort)),
        ("RRQ, one tag", tagged(&to_tftp, 0x8100, 42), Verdict::Redirect(Service::TftpRequest)),
        ("RRQ from port 69", from(CLIENT, 69), drop(Drop::SourcePort)),
        ("RRQ from port 67", from(CLIENT, 67), drop(Drop::SourcePort)),
        ("RRQ from port 4011", from(CLIENT, 4011), drop(Drop::SourcePort)),
        ("RRQ from port 0", from(CLIENT, 0), drop(Drop::SourcePort)),
        ("RRQ from port 53", from(CLIENT, 53), drop(Drop::SourcePort)),
        ("RRQ from port 1023", from(CLIENT, 1023), drop(Drop::SourcePort)),
        ("RRQ from port 1024", from(CLIENT, 1024), Verdict::Redirect(Service::TftpRequest)),
        (
            "RRQ from the subnet's broadcast address",
            from(Ipv4Addr::new(10, 99, 0, 255), CLIENT_PORT),
            drop(Drop::SourceAddress),
        ),
        ("RRQ from a group of frames", with(&to_tftp, 6, 1), drop(Drop::SourceAddress)),
        ("DISCOVER from a group of frames", with(&discover, 6, 0xff), pass(Pass::NoClient)),
        ("boot-server request from a group", with(&to_4011, 6, 1), drop(Drop::SourceAddress)),
        (
            "boot-server request of a server",
            udp((CLIENT, 67), (OWN, 4011), &golden("ovmf-4011")),
            drop(Drop::SourcePort),
        ),
        (
            "boot-server request from broadcast",
            udp((Ipv4Addr::BROADCAST, 4011), (OWN, 4011), &golden("ovmf-4011")),
            drop(Drop::SourceAddress),
        ),
        (
            "boot-server request of a server, to all",
            udp((CLIENT, 53), (Ipv4Addr::BROADCAST, 4011), &golden("ovmf-4011")),
            pass(Pass::NoClient),
        ),
        (
            "boot-server request from a high port",
            udp((CLIENT, 2070), (OWN, 4011), &golden("ovmf-4011")),
            boot_server,
        ),
        ("RRQ from broadcast", from(Ipv4Addr::BROADCAST, CLIENT_PORT), drop(Drop::SourceAddress)),
        ("RRQ from multicast", from(Ipv4Addr::new(224, 0, 0, 1), CLIENT_PORT), drop(Drop::SourceAddress)),
        ("RRQ from loopback", from(Ipv4Addr::LOCALHOST, CLIENT_PORT), drop(Drop::SourceAddress)),
        ("RRQ from 0.0.0.0", from(Ipv4Addr::UNSPECIFIED, CLIENT_PORT), drop(Drop::SourceAddress)),
        ("RRQ from ourselves", from(OWN, CLIENT_PORT), drop(Drop::SourceAddress)),
        ("ACK of a known transfer", ack.clone(), transfer),
        ("ACK, padded to 60 bytes", padded, transfer),
        (
            "ACK from another port",
            udp((CLIENT, 2071), (OWN, TID), &[0, 4, 0, 1]),
            pass(Pass::UnknownTransfer),
        ),
        (
            "ACK to another of our TIDs",
            udp((CLIENT, CLIENT_PORT), (OWN, TID + 1), &[0, 4, 0, 1]),
            pass(Pass::UnknownTransfer),
        ),
        (
            "a port next to our TIDs",
            udp((CLIENT, CLIENT_PORT), (OWN, TID + 1000), &[0, 4, 0, 1]),
            pass(Pass::OtherPort),
        ),
        ("DNS", udp((CLIENT, 53), (OWN, 33333), &[0; 40]), pass(Pass::OtherPort)),
        ("TCP", with(&to_tftp, 23, 6), pass(Pass::NotUdp)),
        ("ARP", with(&to_tftp, 13, 6), pass(Pass::NotIpv4)),
        ("IPv6", with(&with(&to_tftp, 12, 0x86), 13, 0xdd), pass(Pass::NotIpv4)),
        ("IP options", with(&to_tftp, 14, 0x46), pass(Pass::IpOptions)),
        ("a first fragment", with(&to_tftp, 20, 0x20), pass(Pass::Fragment)),
        ("a later fragment", with(&to_tftp, 21, 1), pass(Pass::Fragment)),
        ("UDP longer than IP", with(&to_tftp, 38, 1), pass(Pass::Truncated)),
        ("UDP shorter than its header", with(&with(&to_tftp, 38, 0), 39, 7), pass(Pass::Truncated)),
        ("IP longer than the frame", with(&to_tftp, 16, 1), pass(Pass::Truncated)),
        ("a frame that ends in the IP header", to_tftp[..30].to_vec(), pass(Pass::Truncated)),
        ("a frame that ends in the UDP header", to_tftp[..38].to_vec(), pass(Pass::Truncated)),
    ]
}

/// A DISCOVER with option 60 behind pad options of one byte each.
fn discover_behind_pads() -> Vec<u8> {
    bootp(&[&[53, 1, 1][..], &[0; 100], b"\x3c\x09PXEClient\xff"].concat())
}

/// A DISCOVER with option 60 in the field `file` (RFC 2132, section 9.3).
fn overloaded() -> Vec<u8> {
    const FILE: usize = 108;
    let mut discover = bootp(&[53, 1, 1, 52, 1, 1, 255]);
    discover[FILE..FILE + 12].copy_from_slice(b"\x3c\x09PXEClient\xff");
    discover
}

/// A DISCOVER with option 60 behind `others` other options.
fn discover_behind(others: usize) -> Vec<u8> {
    let mut options = vec![53, 1, 1];
    options.extend([12, 1, b'x'].repeat(others));
    options.extend([60, 9]);
    options.extend(b"PXEClient");
    options.push(255);
    bootp(&options)
}
