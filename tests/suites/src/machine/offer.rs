//! Checks an OFFER by the rules of EDK2, and reads the file to load (clients.md section 1).

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};

/// The length of the fixed header and the magic cookie (RFC 2131).
const OPTIONS_AT: usize = 240;
/// The place of `file` in the header.
const FILE: std::ops::Range<usize> = 108..236;

/// The server and the file of an OFFER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The TFTP server: `siaddr`.
    pub server: Ipv4Addr,
    /// The file's name: `file`.
    pub file: String,
}

impl Offer {
    /// Parses the answer to a DISCOVER.
    ///
    /// # Errors
    /// If EDK2 would reject the answer, with the first reason.
    pub fn parse(message: &[u8], discover: &[u8]) -> Result<Self> {
        ensure!(message.len() <= 1472, "{} bytes do not fit into EDK2's buffer", message.len());
        let (header, options) = message.split_at_checked(OPTIONS_AT).context("shorter than its header")?;
        ensure!(header[0] == 2, "op is {}, not BOOTREPLY", header[0]);
        ensure!(header[4..8] == discover[4..8], "another xid");
        ensure!(header[28..44] == discover[28..44], "another chaddr");
        ensure!(header[236..] == [99, 130, 83, 99], "no magic cookie");
        let options = Options::parse(options)?;
        ensure!(options.find(53) == Some(&[2][..]), "not an OFFER");
        ensure!(options.find(54).is_some_and(|id| id.len() == 4 && id != [0; 4]), "54 is zero or absent");
        ensure!(options.find(60).is_some_and(|class| class.starts_with(b"PXEClient")), "60 is not PXEClient");
        // Option 43 begins with the sub-option 6. Bit 3 means: load the file without asking a boot server.
        let control = options.find(43).and_then(|vendor| vendor.strip_prefix(&[6, 1]));
        ensure!(
            control.is_some_and(|rest| rest.first().is_some_and(|bits| bits & 8 != 0)),
            "43.6 lacks bit 3"
        );
        let file = header[FILE].split(|byte| *byte == 0).next().unwrap_or_default();
        ensure!(!file.is_empty() && file.len() < FILE.len(), "`file` is empty, or has no NUL");
        let address: [u8; 4] = header[20..24].try_into()?;
        Ok(Self { server: address.into(), file: String::from_utf8(file.to_vec())? })
    }
}

struct Options<'a>(Vec<(u8, &'a [u8])>);

impl<'a> Options<'a> {
    fn parse(mut rest: &'a [u8]) -> Result<Self> {
        let mut found = Vec::new();
        loop {
            match rest {
                [] => anyhow::bail!("no END option"),
                [255, ..] => return Ok(Self(found)),
                [0, after @ ..] => rest = after,
                [code, len, after @ ..] => {
                    let (value, after) =
                        after.split_at_checked(usize::from(*len)).context("an option is cut off")?;
                    found.push((*code, value));
                    rest = after;
                }
                [_] => anyhow::bail!("an option is cut off"),
            }
        }
    }

    fn find(&self, code: u8) -> Option<&'a [u8]> {
        self.0.iter().find(|(other, _)| *other == code).map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISCOVER: &[u8] = include_bytes!("../../../packets/dhcp/ovmf-discover.bin");

    fn offer(file: &str, options: &[u8]) -> Vec<u8> {
        let mut message = vec![0; OPTIONS_AT];
        message[0] = 2;
        message[4..8].copy_from_slice(&DISCOVER[4..8]);
        message[20..24].copy_from_slice(&[10, 99, 0, 2]);
        message[28..44].copy_from_slice(&DISCOVER[28..44]);
        message[FILE.start..][..file.len()].copy_from_slice(file.as_bytes());
        message[236..].copy_from_slice(&[99, 130, 83, 99]);
        message.extend_from_slice(options);
        message
    }

    const GOOD: &[u8] = b"\x35\x01\x02\x36\x04\x0a\x63\x00\x02\x3c\x09PXEClient\x2b\x04\x06\x01\x08\xff\xff";

    #[test]
    fn a_direct_offer_is_taken() {
        let taken = Offer::parse(&offer("bootx64.efi", GOOD), DISCOVER).expect("nothing is wrong with it");
        assert_eq!(taken, Offer { server: Ipv4Addr::new(10, 99, 0, 2), file: "bootx64.efi".into() });
    }

    #[test]
    fn what_edk2_drops_is_refused() {
        let without_end = &GOOD[..GOOD.len() - 1];
        let acknowledgement = [b"\x35\x01\x05", &GOOD[3..]].concat();
        let asks_boot_server = [&GOOD[..GOOD.len() - 3], &[0, 255, 255]].concat();
        let mut other_xid = offer("x", GOOD);
        other_xid[4] ^= 1;
        for (message, why) in [
            (offer("x", without_end), "no END"),
            (offer("x", &acknowledgement), "not an OFFER"),
            (offer("x", &asks_boot_server), "bit 3"),
            (offer("", GOOD), "`file`"),
            (other_xid, "xid"),
            (vec![2; 100], "shorter"),
            (vec![2; 1473], "EDK2's buffer"),
        ] {
            let error = Offer::parse(&message, DISCOVER).expect_err(why).to_string();
            assert!(error.contains(why), "{why}: {error}");
        }
    }
}
