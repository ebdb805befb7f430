//! What EDK2 wants from an OFFER before it loads a file directly (clients.md section 1).

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};

/// The fixed header and the magic cookie (RFC 2131).
const OPTIONS_AT: usize = 240;
/// `file` in the header.
const FILE: std::ops::Range<usize> = 108..236;

/// Where a machine loads from, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The TFTP server: `siaddr`.
    pub server: Ipv4Addr,
    /// The file's name: `file`.
    pub file: String,
}

impl Offer {
    /// Reads the answer to a DISCOVER.
    ///
    /// # Errors
    /// The first thing that EDK2 would not take.
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
        // Option 43 begins with the sub-option 6; bit 3 means: take the file without asking a boot server.
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
