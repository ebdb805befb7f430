//! What tells firmware apart on the wire (docs/clients.md, sections 1 and 2).

use std::time::Duration;

/// Whose part a machine plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nobody's: one transfer with the options that the command line names.
    Plain,
    /// iPXE, as option ROM of a BIOS machine.
    Ipxe,
    /// The PXE driver of EDK2.
    Edk2,
    /// PXELINUX, which iPXE's ROM asked for.
    Pxelinux,
    /// GRUB for EFI, which EDK2 asked for.
    Grub,
}

/// Who does the DHCP part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// Architecture 0.
    Ipxe,
    /// Architecture 7.
    Edk2,
}

impl Kind {
    /// All that boot, in the order in which a mixed fleet has them.
    pub const BOOTING: [Self; 4] = [Self::Ipxe, Self::Edk2, Self::Pxelinux, Self::Grub];

    /// The firmware that starts it.
    pub fn firmware(self) -> Firmware {
        match self {
            Self::Plain | Self::Ipxe | Self::Pxelinux => Firmware::Ipxe,
            Self::Edk2 | Self::Grub => Firmware::Edk2,
        }
    }
}

impl Firmware {
    /// How long it waits for an answer on port 67 after the `repeats`-th repeat; none when it gives up instead.
    pub fn discover_wait(self, repeats: u8) -> Option<Duration> {
        let first = match self {
            Self::Ipxe => Duration::from_secs(1),
            Self::Edk2 => Duration::from_secs(4),
        };
        (repeats < 4).then(|| first * (1 << repeats))
    }

    /// The same for port 4011: iPXE asks at +0/.25/.8/1.84 s, EDK2 at +0/1/3/6 s.
    pub fn boot_server_wait(self, repeats: u8) -> Option<Duration> {
        let waits = match self {
            Self::Ipxe => [250, 550, 1040, 1000],
            Self::Edk2 => [1000, 2000, 3000, 4000],
        };
        waits.get(usize::from(repeats)).copied().map(Duration::from_millis)
    }

    /// The port that it asks 4011 from, and where it wants the answer.
    pub fn boot_server_port(self) -> u16 {
        match self {
            Self::Ipxe => 68,
            Self::Edk2 => 4011,
        }
    }
}

/// Patience within a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// One second, eleven times.
    Seconds,
    /// One second, thirty times.
    Patient,
    /// iPXE: a quarter of a second, doubled until it would be more than ten.
    Doubling,
    /// EDK2: six times four seconds.
    FourSeconds,
    /// U-Boot: ten times five seconds.
    FiveSeconds,
    /// PXELINUX's table, about 131 s in all.
    Ticks,
    /// GRUB: its request forty times, an acknowledgement never.
    RequestOnly,
}

/// PXELINUX's time-outs (`TimeoutTable` in core/fs/pxe), in ticks of a PC's clock.
const TICKS: [u32; 31] = [
    2, 2, 3, 3, 4, 5, 6, 7, 9, 10, 12, 15, 18, 21, 26, 31, 37, 44, 53, 64, 77, 92, 110, 132, 159, 191, 229,
    255, 255, 255, 255,
];
/// 18.2 a second.
const TICK: Duration = Duration::from_micros(54_925);
/// GRUB's `GRUB_NET_TRIES` waits of 400+20i ms, one after the other.
const GRUB_SILENCE: Duration = Duration::from_millis(31_600);

impl Waits {
    /// How long it waits after the `repeats`-th repeat; none when it gives up instead of repeating. `answered`: whether
    /// the server has shown itself.
    pub fn wait(self, repeats: u8, answered: bool) -> Option<Duration> {
        let times = |most: u8, wait| (repeats < most).then_some(wait);
        match self {
            Self::Seconds => times(11, Duration::from_secs(1)),
            Self::Patient => times(30, Duration::from_secs(1)),
            Self::Doubling => times(6, Duration::from_millis(250 << repeats.min(6))),
            Self::FourSeconds => times(6, Duration::from_secs(4)),
            Self::FiveSeconds => times(10, Duration::from_secs(5)),
            Self::Ticks => TICKS.get(usize::from(repeats)).map(|ticks| TICK * *ticks),
            Self::RequestOnly if answered => times(1, GRUB_SILENCE),
            Self::RequestOnly => times(40, Duration::from_millis(400 + 20 * u64::from(repeats))),
        }
    }
}

/// Which blocks are acknowledged that were not expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reack {
    /// Every one, with the last good block.
    Always,
    /// The last good one, when it comes again. GRUB would do it for older ones too, but a lock-step server has no other
    /// block to repeat.
    Duplicate,
}

/// How a file is loaded.
#[derive(Clone, Debug)]
pub struct Manners {
    /// What stands behind the name in an RRQ: mode and options.
    pub request: Vec<u8>,
    /// The same for a first request that only asks for the size and is ended by ERROR 8; none for those who do not.
    pub probe: Option<Vec<u8>>,
    /// Most bytes per block.
    pub blksize: u16,
    /// Most blocks per window.
    pub windowsize: u16,
    /// Patience.
    pub waits: Waits,
    /// Manners towards unexpected blocks.
    pub reack: Reack,
    /// Whether an OACK in the middle of a transfer sets it back to block 0.
    pub oack_restarts: bool,
}

impl Manners {
    /// A firmware's manners; for [`Kind::Plain`] with these options, `windowsize` 1 not being said at all.
    pub fn of(kind: Kind, blksize: u16, windowsize: u16) -> Self {
        let base = |options: &str, blksize, waits, reack| Self {
            request: words(options),
            probe: None,
            blksize,
            windowsize: 1,
            waits,
            reack,
            oack_restarts: false,
        };
        match kind {
            Kind::Plain => Self::plain(blksize, windowsize),
            Kind::Ipxe => base("blksize 1432 tsize 0", 1432, Waits::Doubling, Reack::Always),
            Kind::Edk2 => Self {
                probe: Some(words("tsize 0 blksize 1468 windowsize 4")),
                windowsize: 4,
                ..base("blksize 1468 windowsize 4", 1468, Waits::FourSeconds, Reack::Always)
            },
            Kind::Pxelinux => base("tsize 0 blksize 1408", 1408, Waits::Ticks, Reack::Always),
            Kind::Grub => Self {
                oack_restarts: true,
                ..base("blksize 1024 tsize 0", 1024, Waits::RequestOnly, Reack::Duplicate)
            },
        }
    }

    fn plain(blksize: u16, windowsize: u16) -> Self {
        let mut options = format!("tsize 0 blksize {blksize}");
        let mut reack = Reack::Duplicate;
        if windowsize > 1 {
            options += &format!(" windowsize {windowsize}");
            reack = Reack::Always;
        }
        let request = words(&options);
        let (probe, waits) = (None, Waits::Seconds);
        Self { request, probe, blksize, windowsize: windowsize.max(1), waits, reack, oack_restarts: false }
    }
}

/// Mode and options as they stand in a packet: every word ends with NUL.
fn words(options: &str) -> Vec<u8> {
    format!("octet {options} ").replace(' ', "\0").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All waits until it gives up, in milliseconds.
    fn in_all(waits: Waits, answered: bool) -> u128 {
        (0..).map_while(|repeats| waits.wait(repeats, answered)).sum::<Duration>().as_millis()
    }

    #[test]
    fn patience_is_as_long_as_the_real_ones() {
        assert_eq!(in_all(Waits::Seconds, true), 11_000);
        assert_eq!(in_all(Waits::Doubling, false), 15_750);
        assert_eq!(in_all(Waits::FourSeconds, true), 24_000);
        assert_eq!(in_all(Waits::FiveSeconds, true), 50_000);
        assert_eq!(in_all(Waits::Ticks, true) / 1000, 130);
        assert_eq!(in_all(Waits::RequestOnly, false), 31_600);
        assert_eq!(Waits::Ticks.wait(0, true).unwrap().as_millis(), 109);
        assert_eq!(Waits::RequestOnly.wait(1, true), None);
        assert_eq!(Firmware::Edk2.discover_wait(3), Some(Duration::from_secs(32)));
        assert_eq!(Firmware::Edk2.discover_wait(4), None);
    }

    #[test]
    fn options_stand_in_the_order_of_each_client() {
        let request = |kind| String::from_utf8(Manners::of(kind, 512, 16).request).unwrap();
        assert_eq!(request(Kind::Plain), "octet\0tsize\x000\0blksize\x00512\0windowsize\x0016\0");
        assert_eq!(request(Kind::Ipxe), "octet\0blksize\x001432\0tsize\x000\0");
        assert_eq!(request(Kind::Edk2), "octet\0blksize\x001468\0windowsize\x004\0");
        assert_eq!(request(Kind::Pxelinux), "octet\0tsize\x000\0blksize\x001408\0");
        assert_eq!(request(Kind::Grub), "octet\0blksize\x001024\0tsize\x000\0");
        let probe = Manners::of(Kind::Edk2, 0, 0).probe.unwrap();
        assert_eq!(probe, b"octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0");
    }
}
