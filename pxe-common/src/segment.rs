//! Sharing a segment: which of several responders answers a machine's broadcasts.
//!
//! Each machine belongs to one of [`BUCKETS`] buckets, and each responder has a [rank](Ranks) in each bucket. The
//! responder with rank 0, the owner, answers at once. Others answer a machine that asks [again](Asked): the one
//! with rank 1 from the second DHCPDISCOVER on, the rest from the third on. Responders exchange nothing at the
//! time of a packet (`docs/decisions/0041-sharing-a-segment.md`).
//!
//! The kernel programs and the daemon use the same code: the programs with the maps
//! [`MAP_RANKS`](crate::abi::MAP_RANKS) and [`MAP_ASKED`](crate::abi::MAP_ASKED), the daemon on plain sockets.

/// Number of buckets, as in RFC 3074: one for each value of its hash.
pub const BUCKETS: usize = 256;

/// The mixing table of RFC 3074, section 6.
static MIXING: [u8; 256] = [
    251, 175, 119, 215, 81, 14, 79, 191, 103, 49, 181, 143, 186, 157, 0, 232, 31, 32, 55, 60, 152, 58, 17,
    237, 174, 70, 160, 144, 220, 90, 57, 223, 59, 3, 18, 140, 111, 166, 203, 196, 134, 243, 124, 95, 222,
    179, 197, 65, 180, 48, 36, 15, 107, 46, 233, 130, 165, 30, 123, 161, 209, 23, 97, 16, 40, 91, 219, 61,
    100, 10, 210, 109, 250, 127, 22, 138, 29, 108, 244, 67, 207, 9, 178, 204, 74, 98, 126, 249, 167, 116, 34,
    77, 193, 200, 121, 5, 20, 113, 71, 35, 128, 13, 182, 94, 25, 226, 227, 199, 75, 27, 41, 245, 230, 224,
    43, 225, 177, 26, 155, 150, 212, 142, 218, 115, 241, 73, 88, 105, 39, 114, 62, 255, 192, 201, 145, 214,
    168, 158, 221, 148, 154, 122, 12, 84, 82, 163, 44, 139, 228, 236, 205, 242, 217, 11, 187, 146, 159, 64,
    86, 239, 195, 42, 106, 198, 118, 112, 184, 172, 87, 2, 173, 117, 176, 229, 247, 253, 137, 185, 99, 164,
    102, 147, 45, 66, 231, 52, 141, 211, 194, 206, 246, 238, 56, 110, 78, 248, 63, 240, 189, 93, 92, 51, 53,
    183, 19, 171, 72, 50, 33, 104, 101, 69, 8, 252, 83, 120, 76, 135, 85, 54, 202, 125, 188, 213, 96, 235,
    136, 208, 162, 129, 190, 132, 156, 38, 47, 1, 7, 254, 24, 4, 216, 131, 89, 21, 28, 133, 37, 153, 149, 80,
    170, 68, 6, 169, 234, 151,
];

/// Returns the bucket of the machine with this Ethernet address (`chaddr`): the hash of RFC 3074, section 6.
///
/// The RFC prefers the client identifier (option 61). The stages of a network boot have different ones, or none,
/// and a machine must keep its bucket through all of them.
#[inline(always)]
#[must_use]
pub fn bucket(mac: [u8; 6]) -> u8 {
    let [a, b, c, d, e, f] = mac;
    // Written out, because the compiler may keep a loop, and the verifier must see the bound of each index.
    let mix = |hash: u8, byte: u8| MIXING[(hash ^ byte) as usize];
    mix(mix(mix(mix(mix(mix(6, f), e), d), c), b), a)
}

/// This responder's rank in each bucket: 0 where it is the owner, 1 where it comes next, and so on.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranks(pub [u8; BUCKETS]);

impl Ranks {
    /// The ranks of a responder that shares with nobody: it owns all buckets.
    pub const ALONE: Self = Self([0; BUCKETS]);

    /// Returns the rank in the bucket of this machine.
    #[inline(always)]
    #[must_use]
    pub fn of(&self, mac: [u8; 6]) -> u8 {
        self.0[bucket(mac) as usize]
    }

    /// Returns in how many buckets this responder is the owner.
    #[must_use]
    pub fn owned(&self) -> usize {
        self.0.iter().filter(|rank| **rank == 0).count()
    }
}

/// A broadcast to port 67 by a network boot client, which every responder on the segment receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broadcast {
    /// The machine's Ethernet address: `chaddr`.
    pub mac: [u8; 6],
    /// What the machine sends.
    pub message: Message,
}

/// The messages that decide who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// A DHCPDISCOVER with this `secs`.
    Discover {
        /// Seconds since the client began, by the client.
        secs: u16,
    },
    /// A DHCPREQUEST: the machine has left the discovery.
    Request,
}

/// A DHCPDISCOVER this soon after the one before is a copy of it, and not a retry, in ms. No client retries within
/// half a second (`docs/clients.md`, section 1).
const COPY_MS: u64 = 100;
/// A DHCPDISCOVER this long after the one before begins anew, in ms. EDK2 waits 32 s before its last one.
const WINDOW_MS: u64 = 60_000;
/// The values of `secs` that a first DHCPDISCOVER never has. iPXE begins with 4 and repeats with 8 or more, EDK2
/// begins with 0 and repeats with 4, 12 and 28. A small number in the wrong byte order is 256 or more.
const SECS_OF_RETRY: core::ops::RangeInclusive<u16> = 8..=255;
/// Largest count. More would change nothing.
const COUNT_MAX: u64 = 0xff;

/// How often a machine has asked without being served, and when last. It is one number, so that the kernel
/// programs read and write it as a whole.
///
/// Nothing shows a responder that another one has answered. But a served machine soon sends a DHCPREQUEST, which is
/// a broadcast. It takes one off the count:
///
/// - If the owner answered, the count is 0. The next stage of the boot, which begins with a DHCPDISCOVER of its own,
///   starts from there, so that it does not count as a retry.
/// - If another responder answered in its place, one DHCPDISCOVER of the next stage restores the count, and the same
///   responder answers at once: an owner that is down costs a boot one retry, and not one in each stage.
/// - iPXE gives up discovery after two DHCPDISCOVERs and sends a DHCPREQUEST although nobody offered it a file. When
///   it begins again, the count goes on.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked(pub u64);

impl Asked {
    #[inline(always)]
    const fn new(now_ms: u64, count: u64) -> Self {
        Self(now_ms << 8 | count)
    }

    /// How many DHCPDISCOVERs count.
    #[inline(always)]
    #[must_use]
    pub const fn count(self) -> u64 {
        self.0 & COUNT_MAX
    }

    /// When the last message came that counted, in ms.
    #[inline(always)]
    #[must_use]
    pub const fn at_ms(self) -> u64 {
        self.0 >> 8
    }

    /// Returns the state after `message` at `now`, in ns of any monotonic clock.
    #[inline(always)]
    #[must_use]
    pub fn after(self, message: Message, now: u64) -> Self {
        let now = now / 1_000_000;
        let idle = now.saturating_sub(self.at_ms());
        let before = if idle < WINDOW_MS { self.count() } else { 0 };
        match message {
            Message::Request => Self::new(now, before.saturating_sub(1)),
            Message::Discover { .. } if before > 0 && idle < COPY_MS => self,
            // This responder has missed a DHCPDISCOVER, or has forgotten it.
            Message::Discover { secs } if before == 0 && SECS_OF_RETRY.contains(&secs) => Self::new(now, 2),
            Message::Discover { .. } if before < COUNT_MAX => Self::new(now, before + 1),
            Message::Discover { .. } => Self::new(now, before),
        }
    }

    /// Returns the state after `message` at `now`, and whether the responder with this rank takes the message.
    ///
    /// Every responder takes a DHCPREQUEST: it shows which address the machine has.
    #[inline(always)]
    #[must_use]
    pub fn take(self, rank: u8, message: Message, now: u64) -> (Self, bool) {
        let after = self.after(message, now);
        (after, matches!(message, Message::Request) || after.is_answered_by(rank))
    }

    /// Whether the responder with this rank answers the DHCPDISCOVER after which the state is this one.
    ///
    /// The third one goes to all, because from there on more than one responder seems to be down.
    #[inline(always)]
    #[must_use]
    pub const fn is_answered_by(self, rank: u8) -> bool {
        match rank {
            0 => true,
            1 => self.count() >= 2,
            _ => self.count() >= 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Feeds messages at these times (in ms), and returns which of three responders take each of them.
    fn answers<const N: usize>(messages: [(u64, Message); N]) -> [[bool; 3]; N] {
        let mut asked = Asked::default();
        messages.map(|(at, message)| {
            let now = 1_000 * SECOND + at * 1_000_000;
            let taken = [0, 1, 2].map(|rank| asked.take(rank, message, now).1);
            asked = asked.after(message, now);
            taken
        })
    }

    const OWNER: [bool; 3] = [true, false, false];
    const NEXT: [bool; 3] = [true, true, false];
    const ALL: [bool; 3] = [true; 3];

    fn discover(at: u64, secs: u16) -> (u64, Message) {
        (at, Message::Discover { secs })
    }

    fn request(at: u64) -> (u64, Message) {
        (at, Message::Request)
    }

    /// The reference is a program of its own, written from the text of RFC 3074, section 6.
    #[test]
    fn the_hash_is_that_of_rfc_3074() {
        for (mac, expected) in [
            ([0x52, 0x54, 0x00, 0x99, 0x00, 0x10], 219),
            ([0; 6], 254),
            ([0xff; 6], 79),
            ([0x52, 0x54, 0x00, 0x12, 0x34, 0x56], 156),
            ([0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff], 57),
        ] {
            assert_eq!(bucket(mac), expected, "{mac:02x?}");
        }
        let mut seen = [false; BUCKETS];
        MIXING.iter().for_each(|value| seen[usize::from(*value)] = true);
        assert!(seen.iter().all(|seen| *seen), "a permutation");
    }

    /// `uefi-no-responder.pcap`: EDK2 asks at 0, 4, 12 and 28 s with those seconds in `secs`.
    #[test]
    fn a_firmware_that_gets_no_answer_asks_the_next_one_and_then_all() {
        let edk2 = [discover(0, 0), discover(3_636, 4), discover(11_646, 12), discover(27_716, 28)];
        assert_eq!(answers(edk2), [OWNER, NEXT, ALL, ALL]);
    }

    /// `uefi-chain-ipxe.pcap`: firmware, then iPXE, each served at once.
    #[test]
    fn each_stage_of_a_boot_begins_with_its_owner() {
        let boot = [discover(0, 0), request(3_777), discover(6_993, 4), request(7_000)];
        assert_eq!(answers(boot), [OWNER, ALL, OWNER, ALL]);
    }

    #[test]
    fn an_owner_that_is_down_costs_one_retry_in_a_boot_of_two_stages() {
        let boot = [
            discover(0, 0),
            discover(4_000, 4),
            request(12_000),
            discover(15_000, 4),
            request(15_010),
            discover(20_000, 4),
        ];
        assert_eq!(answers(boot), [OWNER, NEXT, ALL, NEXT, ALL, NEXT]);
    }

    /// `bios-no-responder.pcap`: iPXE asks twice, at 0 and 1 s, then takes its address although nobody offered a file.
    #[test]
    fn ipxe_reaches_the_third_responder_when_it_begins_again() {
        let ipxe = |at| [discover(at, 4), discover(at + 1_024, 10), request(at + 3_057)];
        let [first, second] = [ipxe(0), ipxe(20_000)];
        assert_eq!(answers(first), [OWNER, NEXT, ALL]);
        let both = [first[0], first[1], first[2], second[0], second[1]];
        assert_eq!(answers(both)[3..], [NEXT, ALL]);
    }

    #[test]
    fn the_same_frame_twice_is_not_a_retry() {
        assert_eq!(answers([discover(0, 4), discover(99, 4)]), [OWNER, OWNER]);
        assert_eq!(answers([discover(0, 4), discover(100, 4)]), [OWNER, NEXT]);
    }

    #[test]
    fn after_a_minute_a_machine_begins_anew() {
        assert_eq!(answers([discover(0, 0), discover(59_999, 0)]), [OWNER, NEXT]);
        assert_eq!(answers([discover(0, 0), discover(60_000, 0)]), [OWNER, OWNER]);
    }

    /// A responder that has just started, or whose map has forgotten the machine, believes `secs`, but never so much
    /// that all responders would answer.
    #[test]
    fn secs_stands_in_for_a_discover_that_was_missed() {
        for (secs, expected) in
            [(0, OWNER), (4, OWNER), (7, OWNER), (8, NEXT), (10, NEXT), (28, NEXT), (255, NEXT)]
        {
            assert_eq!(answers([discover(0, secs)]), [expected], "{secs}");
        }
        // 1 and 4 in the wrong byte order, and what an overflow leaves.
        for secs in [0x0100, 0x0400, 0xffff] {
            assert_eq!(answers([discover(0, secs)]), [OWNER], "{secs}");
        }
        assert_eq!(answers([discover(0, 12), discover(16_000, 28)]), [NEXT, ALL]);
    }

    proptest! {
        /// The owner answers everything. Whoever answers, all with a smaller rank would, too.
        #[test]
        fn ranks_are_an_order(
            messages in prop::collection::vec((0u64..70_000, prop::option::of(any::<u16>())), 1..40),
        ) {
            let (mut asked, mut now) = (Asked::default(), SECOND);
            for (gap, secs) in messages {
                now += gap * 1_000_000;
                let message = secs.map_or(Message::Request, |secs| Message::Discover { secs });
                asked = asked.after(message, now);
                prop_assert!(asked.is_answered_by(0));
                for rank in 1..=255 {
                    prop_assert!(asked.is_answered_by(rank - 1) || !asked.is_answered_by(rank));
                }
            }
        }

        /// Three DHCPDISCOVERs reach every responder, whatever came before, if they are a second or more apart.
        #[test]
        fn the_third_discover_reaches_everybody(
            before in prop::collection::vec((0u64..70_000, prop::option::of(any::<u16>())), 0..10),
            secs: [u16; 3],
            gaps in [1_000u64..60_000, 1_000u64..60_000, 1_000u64..60_000],
        ) {
            let (mut asked, mut now) = (Asked::default(), SECOND);
            for (gap, secs) in before {
                now += gap * 1_000_000;
                let message = secs.map_or(Message::Request, |secs| Message::Discover { secs });
                asked = asked.after(message, now);
            }
            for (secs, gap) in secs.into_iter().zip(gaps) {
                now += gap * 1_000_000;
                asked = asked.after(Message::Discover { secs }, now);
            }
            prop_assert!(asked.is_answered_by(255));
        }
    }
}
