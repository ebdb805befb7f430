//! Option 43 as PXE uses it (PXE specification 2.1, chapter 2): encapsulated tags, which pxed reads from
//! requests and builds for replies.

use std::net::Ipv4Addr;

use super::names::Text;
use super::options::{Items, code};

/// PXE_DISCOVERY_CONTROL. Bit 0: no broadcast discovery. Bit 1: no multicast discovery. Bit 2: listed servers
/// only. Bit 3: use the boot file named in this offer, without a prompt, a menu or discovery.
const DISCOVERY_CONTROL: u8 = 6;
const BOOT_SERVERS: u8 = 8;
const BOOT_MENU: u8 = 9;
const MENU_PROMPT: u8 = 10;
const BOOT_ITEM: u8 = 71;

const CONTROL_DIRECT: u8 = 0x08;
/// Unicast to the listed servers, and a menu. The captures show that iPXE accepts this (bios-menu), and
/// Raspberry Pi documents it.
const CONTROL_MENU: u8 = 0x03;

/// Largest option 43 that pxed builds, in bytes. iPXE does not join split options, so there is one part only.
pub(super) const MAX: usize = 255;

/// The boot service that a client asks for: option 43.71, `PXE_BOOT_ITEM` (PXE 2.1 chapter 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BootItem {
    /// Boot server type, as in the menu. 0 is the bootstrap server or local boot.
    pub boot_type: u16,
    /// Layer. Bit 15 asks for credentials. pxed echoes the layer and does not interpret it.
    pub layer: u16,
}

/// Reads 43.71. Damaged tags behind it have no effect; damaged tags before it make it unreadable.
pub(super) fn boot_item(vendor: &[u8]) -> Option<BootItem> {
    let (_, value) = Items::new(vendor).map_while(Result::ok).find(|(code, _)| *code == BOOT_ITEM)?;
    let [a, b, c, d, ..] = *value else { return None };
    Some(BootItem { boot_type: u16::from_be_bytes([a, b]), layer: u16::from_be_bytes([c, d]) })
}

/// An option 43 under construction. It always keeps room for END.
pub(super) struct Vendor {
    bytes: [u8; MAX],
    len: usize,
}

/// The option would be longer than 255 bytes.
#[derive(Debug)]
pub(super) struct TooLong;

impl Vendor {
    fn new() -> Self {
        Self { bytes: [0; MAX], len: 0 }
    }

    /// Builds 43.6 with bit 3: the client uses the file and the server of this offer.
    pub(super) fn direct() -> Result<Self, TooLong> {
        let mut vendor = Self::new();
        vendor.tag(DISCOVERY_CONTROL, &[&[CONTROL_DIRECT]])?;
        Ok(vendor.end())
    }

    /// Builds the option for a boot server's acknowledgement: 43.71 as requested. EDK2 checks the siaddr of
    /// this reply against the list (43.8) in the offer (`PxeBcExtractDiscoverInfo`), not against a list in
    /// this reply.
    pub(super) fn boot_item(item: BootItem) -> Result<Self, TooLong> {
        let mut vendor = Self::new();
        vendor.tag(BOOT_ITEM, &[&item.boot_type.to_be_bytes(), &item.layer.to_be_bytes()])?;
        Ok(vendor.end())
    }

    /// Builds a boot menu: the servers (43.8), the entries (43.9), and the prompt with its timeout (43.10).
    /// Each entry has its boot server type, 0 for the local disk, and its text.
    pub(super) fn menu<'t>(
        (prompt, timeout_s): (&Text, u8),
        entries: impl Iterator<Item = (u16, &'t Text)> + Clone,
        server: Ipv4Addr,
    ) -> Result<Self, TooLong> {
        let mut vendor = Self::new();
        vendor.tag(DISCOVERY_CONTROL, &[&[CONTROL_MENU]])?;
        let mut services = entries.clone().filter(|(boot_type, _)| *boot_type != 0).peekable();
        if services.peek().is_some() {
            vendor.list(BOOT_SERVERS, |list| {
                for (boot_type, _) in services {
                    list.raw(&boot_type.to_be_bytes())?;
                    list.raw(&[1])?;
                    list.raw(&server.octets())?;
                }
                Ok(())
            })?;
        }
        vendor.list(BOOT_MENU, |list| {
            for (boot_type, text) in entries {
                list.raw(&boot_type.to_be_bytes())?;
                list.text(text)?;
            }
            Ok(())
        })?;
        vendor.tag(MENU_PROMPT, &[&[timeout_s], prompt.as_bytes()])?;
        Ok(vendor.end())
    }

    /// Builds what a Raspberry Pi's boot loader looks for, byte for byte as in Raspberry Pi's documentation
    /// ("Network boot your Raspberry Pi", tcpdump of the reply). Only the text matters; the Pi has built-in
    /// file names.
    pub(super) fn raspberry_pi() -> Result<Self, TooLong> {
        let mut vendor = Self::new();
        vendor.tag(DISCOVERY_CONTROL, &[&[CONTROL_MENU]])?;
        vendor.tag(MENU_PROMPT, &[&[0], b"PXE"])?;
        vendor.tag(BOOT_MENU, &[&[0, 0, 17], b"Raspberry Pi Boot"])?;
        Ok(vendor.end())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn tag(&mut self, tag: u8, parts: &[&[u8]]) -> Result<(), TooLong> {
        self.list(tag, |list| parts.iter().try_for_each(|part| list.raw(part)))
    }

    /// Appends a tag whose length is known only after `fill` has written its value.
    fn list(&mut self, tag: u8, fill: impl FnOnce(&mut Self) -> Result<(), TooLong>) -> Result<(), TooLong> {
        self.raw(&[tag, 0])?;
        let start = self.len;
        fill(self)?;
        let len = u8::try_from(self.len - start).map_err(|_| TooLong)?;
        if let Some(byte) = self.bytes.get_mut(start - 1) {
            *byte = len;
        }
        Ok(())
    }

    fn text(&mut self, text: &Text) -> Result<(), TooLong> {
        self.raw(&[u8::try_from(text.as_bytes().len()).map_err(|_| TooLong)?])?;
        self.raw(text.as_bytes())
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        let end = self.len + bytes.len();
        // The last byte is reserved for END.
        if end >= MAX {
            return Err(TooLong);
        }
        self.bytes.get_mut(self.len..end).ok_or(TooLong)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    fn end(mut self) -> Self {
        if let Some(byte) = self.bytes.get_mut(self.len) {
            *byte = code::END;
            self.len += 1;
        }
        self
    }
}
