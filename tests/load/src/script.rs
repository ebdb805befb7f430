//! What the machines of a run do, one after the other. Shared by all of them, never changed.

use std::net::Ipv4Addr;

use super::manners::{Kind, Manners};

/// The first machine's address; the others follow.
pub const FIRST: Ipv4Addr = Ipv4Addr::from_octets(pxe_common::load::FIRST);

/// TFTP's port.
pub const TFTP: u16 = 69;

/// First port that transfers come from.
pub use pxe_kit::load::PORT;

/// The address of a machine.
pub fn address(index: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST.to_bits().wrapping_add(index))
}

/// What a machine asks of TFTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A file, whose bytes are compared.
    File {
        /// The server's name for it.
        name: String,
        /// What must come: one of these, whole. A file that is replaced has several.
        versions: Vec<Vec<u8>>,
    },
    /// The n-th look-up of a configuration that does not exist.
    Miss(u16),
}

impl Item {
    /// Bytes of its first version.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::File { versions, .. } => versions.first().map_or(0, |bytes| bytes.len() as u64),
            Self::Miss(_) => 0,
        }
    }
}

/// How a machine begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dhcp {
    /// With its first file: it knows all already.
    Skip,
    /// With a DISCOVER, whose OFFER it follows.
    Boot,
    /// With a DISCOVER, and after each OFFER with another one, this many in all; nothing else.
    Rate(u32),
}

/// Who boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crew {
    /// All are alike.
    All(Kind),
    /// The machines are of [`Kind::BOOTING`] in turn.
    Mix,
    /// The network cards' own programs in turn, without loaders after them.
    Roms,
}

/// The whole of it.
#[derive(Clone, Debug)]
pub struct Script {
    /// The addresses of the servers whose offers the machines follow: several share a segment. Machines that know all
    /// already load from the first.
    pub servers: Vec<Ipv4Addr>,
    /// The first port of a machine; each transfer has the next one.
    pub port: u16,
    /// How it begins.
    pub dhcp: Dhcp,
    /// What is loaded then, in this order.
    pub items: Vec<Item>,
    /// How often a machine that gave up is switched on again.
    pub again: u8,
    /// How often everything is loaded, one time after the other.
    pub loads: u16,
    crew: Crew,
    /// By kind.
    manners: [Manners; 5],
}

impl Script {
    /// A script for this crew; `blksize` and `windowsize` count for [`Kind::Plain`] only.
    pub fn new(server: Ipv4Addr, dhcp: Dhcp, crew: Crew, blksize: u16, windowsize: u16) -> Self {
        let manners = |kind| Manners::of(kind, blksize, windowsize);
        let manners = [Kind::Plain, Kind::Ipxe, Kind::Edk2, Kind::Pxelinux, Kind::Grub].map(manners);
        Self { servers: vec![server], port: PORT, dhcp, items: Vec::new(), again: 0, loads: 1, crew, manners }
    }

    /// Puts the files and the look-ups in order: these miss behind the boot file, before the last file.
    #[must_use]
    pub fn loading(mut self, files: Vec<(String, Vec<u8>)>, misses: u16) -> Self {
        let before = files.len().saturating_sub(1).max(1).min(files.len());
        let item = |(name, bytes)| Item::File { name, versions: vec![bytes] };
        self.items = files.into_iter().map(item).collect();
        self.items.splice(before..before, (0..misses).map(Item::Miss));
        self
    }

    /// The number of the server with an address.
    pub fn server(&self, address: Ipv4Addr) -> Option<u8> {
        self.servers.iter().position(|server| *server == address)?.try_into().ok()
    }

    /// The address of a server.
    pub fn address_of(&self, server: u8) -> Ipv4Addr {
        self.servers.get(usize::from(server)).copied().unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// Another version of the first file is as right.
    pub fn or(&mut self, bytes: Vec<u8>) {
        if let Some(Item::File { versions, .. }) = self.items.first_mut() {
            versions.push(bytes);
        }
    }

    /// Whose part a machine plays.
    pub fn kind(&self, index: u32) -> Kind {
        match self.crew {
            Crew::All(kind) => kind,
            Crew::Mix => Kind::BOOTING[index as usize % Kind::BOOTING.len()],
            Crew::Roms if index.is_multiple_of(2) => Kind::Ipxe,
            Crew::Roms => Kind::Edk2,
        }
    }

    /// A kind's manners.
    pub fn manners(&self, kind: Kind) -> &Manners {
        &self.manners[kind as usize]
    }

    /// The boot file's name: the first file's.
    pub fn boot_file(&self) -> &str {
        match self.items.first() {
            Some(Item::File { name, .. }) => name,
            _ => "",
        }
    }

    /// Bytes that one machine loads, of the files' first versions.
    pub fn bytes(&self) -> u64 {
        u64::from(self.loads) * self.items.iter().map(Item::bytes).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(files: &[&str], misses: u16) -> Vec<String> {
        let files = files.iter().map(|name| ((*name).to_owned(), vec![0; 10])).collect();
        let script = Script::new(Ipv4Addr::LOCALHOST, Dhcp::Boot, Crew::Mix, 512, 1).loading(files, misses);
        let name = |item: &Item| match item {
            Item::File { name, .. } => name.clone(),
            Item::Miss(number) => number.to_string(),
        };
        script.items.iter().map(name).collect()
    }

    #[test]
    fn look_ups_come_before_the_last_file_and_never_before_the_boot_file() {
        assert_eq!(order(&["boot", "more", "kernel"], 2), ["boot", "more", "0", "1", "kernel"]);
        assert_eq!(order(&["boot", "kernel"], 1), ["boot", "0", "kernel"]);
        assert_eq!(order(&["boot"], 1), ["boot", "0"]);
        assert_eq!(order(&[], 1), ["0"]);
    }

    #[test]
    fn a_mixed_crew_takes_turns_and_each_has_its_manners() {
        let script = Script::new(Ipv4Addr::LOCALHOST, Dhcp::Boot, Crew::Mix, 512, 1);
        let kinds: Vec<_> = (0..5).map(|index| script.kind(index)).collect();
        assert_eq!(kinds, [Kind::Ipxe, Kind::Edk2, Kind::Pxelinux, Kind::Grub, Kind::Ipxe]);
        let blocks = [Kind::Plain, Kind::Ipxe, Kind::Edk2, Kind::Pxelinux, Kind::Grub]
            .map(|kind| script.manners(kind).blksize);
        assert_eq!(blocks, [512, 1432, 1468, 1408, 1024]);
    }
}
