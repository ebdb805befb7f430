//! Builds requests as firmware writes them, to find out what reply a machine would get without that machine.
//!
//! The requests are byte for byte those that were recorded from OVMF and iPXE (`tests/packets/dhcp`). Those
//! of other firmware, including a BIOS' own PXE, are built like OVMF's.

use std::net::Ipv4Addr;

use super::header::{self, Header};
use super::options::code;
use super::{Arch, BootItem, Uuid};
use crate::mac::Mac;

/// Option 55 of EDK2's PXE. Its HTTP boot asks for the same options up to 97, and for 235 instead of 66.
const EDK2_WANTS: [u8; 35] = [
    1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97,
    128, 129, 130, 131, 132, 133, 134, 135,
];
const IPXE_WANTS: [u8; 23] =
    [1, 3, 6, 7, 12, 15, 17, 26, 43, 60, 66, 67, 119, 128, 129, 130, 131, 132, 133, 134, 135, 175, 203];
/// The start of iPXE's option 175: the card and the version. Then follows each feature with a length of one
/// and a version.
const IPXE_CARD: [u8; 12] = [0xb1, 5, 1, 0x1a, 0xf4, 0x10, 0, 0xeb, 3, 1, 0, 0];
const IPXE_BIOS: [u8; 12] = [0x17, 0x22, 0x13, 0x11, 0x27, 0x19, 0x29, 0x10, 0x21, 0x15, 0x18, 0x12];
const IPXE_EFI: [u8; 9] = [0x17, 0x24, 0x13, 0x11, 0x27, 0x29, 0x15, 0x1b, 0x12];

const PARAMETERS: u8 = 55;
const INTERFACE: u8 = 94;
/// Option 57, which EDK2 and iPXE set to what fits into an Ethernet frame, in bytes.
const MAX_SIZE: u16 = 1472;

/// A machine's firmware, as far as its requests show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// The machine's Ethernet address.
    pub mac: Mac,
    /// Its architecture. An architecture of HTTP boot makes it an `HTTPClient`.
    pub arch: Arch,
    /// Option 60; `None` for the usual one of the architecture.
    pub class: Option<String>,
    /// Option 77; `None` for no such option. `iPXE` makes it iPXE, with option 175.
    pub user_class: Option<String>,
    /// Option 97; `None` for no such option.
    pub uuid: Option<Uuid>,
    /// The relay that has forwarded the request; `None` for no relay.
    pub relay: Option<Ipv4Addr>,
}

impl Firmware {
    /// Whether the firmware is iPXE.
    #[must_use]
    pub fn is_ipxe(&self) -> bool {
        self.user_class.as_deref() == Some("iPXE")
    }

    /// The value of option 60.
    #[must_use]
    pub fn class(&self) -> String {
        let usual = || {
            let client = if self.arch.is_http() { "HTTPClient" } else { "PXEClient" };
            let [_, major, minor] = self.undi();
            format!("{client}:Arch:{:05}:UNDI:{major:03}{minor:03}", self.arch.0)
        };
        self.class.clone().unwrap_or_else(usual)
    }

    /// Option 94: the type and version of UNDI.
    fn undi(&self) -> [u8; 3] {
        match (self.arch.processor() == Arch::BIOS, self.is_ipxe()) {
            (true, _) => [1, 2, 1],
            (false, true) => [1, 3, 10],
            (false, false) => [1, 3, 0],
        }
    }

    /// The DHCPDISCOVER, which asks for an offer.
    #[must_use]
    pub fn discover(&self) -> Vec<u8> {
        let mut message = self.message(!self.is_ipxe(), Ipv4Addr::UNSPECIFIED);
        message.option(code::MESSAGE_TYPE, &[1]).option(code::MAX_SIZE, &MAX_SIZE.to_be_bytes());
        if self.is_ipxe() {
            self.ipxe(&mut message, &self.class());
        } else {
            message.option(PARAMETERS, &self.edk2_wants());
            self.uuid(&mut message);
            message.option(INTERFACE, &self.undi()).option(code::ARCH, &self.arch.0.to_be_bytes());
            message.option(code::CLASS, self.class().as_bytes());
            self.user_class(&mut message);
        }
        message.end()
    }

    /// The request to the boot server on 4011, from a machine that already has `address`. `item` is the menu
    /// entry that was chosen; `None` if there was no menu.
    #[must_use]
    pub fn boot_server(&self, address: Ipv4Addr, item: Option<BootItem>) -> Vec<u8> {
        let mut message = self.message(self.is_ipxe(), address);
        message.option(code::MESSAGE_TYPE, &[3]);
        if self.is_ipxe() {
            message.option(code::MAX_SIZE, &MAX_SIZE.to_be_bytes());
            let class = if item.is_some() { "PXEClient".to_owned() } else { self.class() };
            self.ipxe(&mut message, &class);
        } else {
            message.option(PARAMETERS, &self.edk2_wants());
            message.option(code::MAX_SIZE, &MAX_SIZE.to_be_bytes());
            message.option(code::CLASS, self.class().as_bytes());
            message.option(code::ARCH, &self.arch.0.to_be_bytes()).option(INTERFACE, &self.undi());
            self.uuid(&mut message);
            self.user_class(&mut message);
        }
        if let Some(item) = item {
            let ([a, b], [c, d]) = (item.boot_type.to_be_bytes(), item.layer.to_be_bytes());
            message.option(code::VENDOR, &[71, 4, a, b, c, d, code::END]);
        }
        message.end()
    }

    fn ipxe(&self, message: &mut Message, class: &str) {
        message.option(code::ARCH, &self.arch.0.to_be_bytes()).option(INTERFACE, &self.undi());
        message.option(code::CLASS, class.as_bytes());
        self.user_class(message);
        message.option(PARAMETERS, &IPXE_WANTS);
        let features: &[u8] = if self.arch.processor() == Arch::BIOS { &IPXE_BIOS } else { &IPXE_EFI };
        // Feature 16 (SYSLINUX's COM32) is the only one with version 2.
        let features = features.iter().flat_map(|code| [*code, 1, if *code == 0x10 { 2 } else { 1 }]);
        message.option(code::ETHERBOOT, &IPXE_CARD.into_iter().chain(features).collect::<Vec<_>>());
        message.option(code::CLIENT_ID, &[&[1], &self.mac.0[..]].concat());
        self.uuid(message);
    }

    fn edk2_wants(&self) -> Vec<u8> {
        if !self.arch.is_http() {
            return EDK2_WANTS.to_vec();
        }
        EDK2_WANTS
            .into_iter()
            .take_while(|code| *code < 128)
            .map(|code| if code == 66 { 235 } else { code })
            .collect()
    }

    fn user_class(&self, message: &mut Message) {
        if let Some(user_class) = &self.user_class {
            message.option(code::USER_CLASS, user_class.as_bytes());
        }
    }

    fn uuid(&self, message: &mut Message) {
        if let Some(uuid) = self.uuid {
            message.option(code::UUID, &[&[0], &uuid.on_wire()[..]].concat());
        }
    }

    fn message(&self, broadcast: bool, address: Ipv4Addr) -> Message {
        let mut header: Header = [0; header::OPTIONS_AT];
        header[..4].copy_from_slice(&[header::BOOTREQUEST, 1, 6, u8::from(self.relay.is_some())]);
        let flags = if broadcast { header::BROADCAST } else { 0 };
        header[header::FLAGS].copy_from_slice(&flags.to_be_bytes());
        header[header::CIADDR].copy_from_slice(&address.octets());
        let relay = self.relay.unwrap_or(Ipv4Addr::UNSPECIFIED);
        header[header::GIADDR].copy_from_slice(&relay.octets());
        header[header::CHADDR][..6].copy_from_slice(&self.mac.0);
        header[header::COOKIE_AT..].copy_from_slice(&header::COOKIE);
        Message(header.to_vec())
    }
}

/// A message under construction.
struct Message(Vec<u8>);

impl Message {
    /// Appends an option. A value above 255 bytes is split into parts (RFC 3396 section 6).
    fn option(&mut self, code: u8, value: &[u8]) -> &mut Self {
        for part in value.chunks(255) {
            self.0.extend([code, u8::try_from(part.len()).unwrap_or(u8::MAX)]);
            self.0.extend_from_slice(part);
        }
        self
    }

    fn end(mut self) -> Vec<u8> {
        self.0.push(code::END);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firmware(arch: Arch, user_class: Option<&str>) -> Firmware {
        Firmware {
            mac: Mac([0x52, 0x54, 0, 0x99, 0, 0x10]),
            arch,
            class: None,
            user_class: user_class.map(str::to_owned),
            uuid: Some("c0ffee00-0099-4000-8000-000000000010".parse().unwrap()),
            relay: None,
        }
    }

    /// A recorded request, without the fields that vary: the xid, and `secs`, in which iPXE stores flags.
    fn recorded(name: &str) -> Vec<u8> {
        let path = format!("{}/../../tests/packets/dhcp/{name}.bin", env!("CARGO_MANIFEST_DIR"));
        let mut packet = std::fs::read(&path).expect(&path);
        packet[4..10].fill(0);
        packet
    }

    #[test]
    fn requests_are_those_that_were_recorded() {
        let (bios, uefi) = (firmware(Arch::BIOS, Some("iPXE")), firmware(Arch::X64, Some("iPXE")));
        assert_eq!(firmware(Arch::X64, None).discover(), recorded("ovmf-discover"));
        assert_eq!(firmware(Arch::X64_HTTP, None).discover(), recorded("ovmf-http-discover"));
        assert_eq!(bios.discover(), recorded("ipxe-bios-discover"));
        assert_eq!(uefi.discover(), recorded("ipxe-efi-discover"));
        let address = [10, 99, 0, 115].into();
        assert_eq!(firmware(Arch::X64, None).boot_server(address, None), recorded("ovmf-4011"));
        let item = BootItem { boot_type: 0x8000, layer: 0 };
        assert_eq!(bios.boot_server(address, Some(item)), recorded("ipxe-bios-menu-choice"));
    }

    #[test]
    fn what_was_asked_for_is_in_it() {
        let firmware = Firmware {
            class: Some("PXEClient:lab".into()),
            user_class: Some("lab".into()),
            uuid: None,
            relay: Some([10, 1, 0, 1].into()),
            ..firmware(Arch::BIOS, None)
        };
        for packet in [firmware.discover(), firmware.boot_server([10, 0, 0, 9].into(), None)] {
            let request = super::super::Request::parse(&packet).unwrap();
            assert_eq!((request.vendor_class(), request.user_class()), (&b"PXEClient:lab"[..], &b"lab"[..]));
            assert_eq!((request.uuid(), request.giaddr()), (None, [10, 1, 0, 1].into()));
            assert_eq!((request.mac(), request.is_ipxe()), (Some(firmware.mac), false));
        }
    }
}
