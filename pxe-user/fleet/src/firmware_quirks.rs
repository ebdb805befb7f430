//! [`FirmwareQuirks`]: which offer style the firmware of each machine needs.
//!
//! Some firmware ignores an offer that leads straight to TFTP, and repeats its DISCOVER without end. After a
//! few such repeats, the machine gets BINL offers (port 4011), the common denominator of all firmware. Each
//! worker has a `FirmwareQuirks` of its own. A learnt style reaches the fleet as
//! [`Event::StyleLearnt`](super::event::Event::StyleLearnt), which stores it.

use std::collections::HashMap;
use std::time::Duration;

use pxe_proto::dhcp::Style;
use pxe_proto::mac::Mac;
use pxe_proto::time::Timestamp;

/// A machine gets BINL after this many direct offers without a request for a file. It must not be smaller,
/// because firmware that waits for a slow DHCP server also repeats its DISCOVER: EDK2 after 3.6, 11.7 and
/// 27.7 s (docs/clients.md, section 1). The same number of BINL offers without success leads back to direct
/// offers.
const PATIENCE: u8 = 3;
/// A DISCOVER that comes later than this after the one before belongs to a new boot.
const SAME_BOOT: Duration = Duration::from_secs(90);
/// Maximum number of machines in the table. If it is full, it forgets all machines without a learnt style,
/// and all without a DISCOVER for [`SAME_BOOT`].
const MACHINES_MAX: usize = 16384;

#[derive(Clone, Copy, Debug)]
struct Quirk {
    style: Option<Style>,
    unanswered: u8,
    last: Timestamp,
}

/// What one worker has learnt about the firmware of machines.
#[derive(Debug)]
pub struct FirmwareQuirks {
    machines: HashMap<Mac, Quirk>,
}

/// The style for a machine as far as it was known before this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StyleDefaults {
    /// The style by the machine's rule, or by default.
    pub usual: Style,
    /// The style that an earlier run of pxed learnt, from the machine's stored boot record.
    pub learnt: Option<Style>,
}

/// The style that pxed uses for a reply, and whether it was learnt just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StyleDecision {
    /// The style of the reply.
    pub style: Style,
    /// `Some` if the machine's style has just changed, and the fleet must store it: `Some(Some(style))` is a
    /// style of its own, `Some(None)` the usual one.
    pub news: Option<Option<Style>>,
}

impl Default for FirmwareQuirks {
    fn default() -> Self {
        Self { machines: HashMap::with_capacity(1024) }
    }
}

impl FirmwareQuirks {
    /// Returns the style for a machine. Learns nothing.
    pub fn style(&self, mac: Mac, before: StyleDefaults) -> Style {
        let own = self.machines.get(&mac).map_or(before.learnt, |quirk| quirk.style);
        // Only direct offers are replaced. Another usual style was configured on purpose, so it applies as it
        // is.
        if before.usual == Style::Direct { own.unwrap_or(before.usual) } else { before.usual }
    }

    /// Counts a DISCOVER of a machine, and returns the style for the reply.
    pub fn discovered(&mut self, now: Timestamp, mac: Mac, before: StyleDefaults) -> StyleDecision {
        let usual = StyleDecision { style: before.usual, news: None };
        if before.usual != Style::Direct {
            return usual;
        }
        if self.machines.len() >= MACHINES_MAX && !self.machines.contains_key(&mac) {
            self.machines.retain(|_, quirk| quirk.style.is_some() && now.since(quirk.last) < SAME_BOOT);
            if self.machines.len() >= MACHINES_MAX {
                // There is no room to learn more, but what was learnt before this daemon started still holds.
                return StyleDecision { style: before.learnt.unwrap_or(before.usual), news: None };
            }
        }
        let fresh = Quirk { style: before.learnt, unanswered: 0, last: now };
        let quirk = self.machines.entry(mac).or_insert(fresh);
        if now.since(quirk.last) > SAME_BOOT {
            quirk.unanswered = 0;
        }
        quirk.last = now;
        quirk.unanswered += 1;
        let mut news = None;
        if quirk.unanswered > PATIENCE {
            quirk.unanswered = 1;
            quirk.style = if quirk.style.is_none() { Some(Style::Binl) } else { None };
            news = Some(quirk.style);
        }
        StyleDecision { style: quirk.style.unwrap_or(before.usual), news }
    }

    /// A machine requests a file, so its firmware has understood the offer.
    pub fn file_requested(&mut self, mac: Mac) {
        if let Some(quirk) = self.machines.get_mut(&mac) {
            quirk.unanswered = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const NEW: StyleDefaults = StyleDefaults { usual: Style::Direct, learnt: None };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_machine_that_keeps_asking_gets_binl_and_keeps_it_once_it_has_understood() {
        let mut quirks = FirmwareQuirks::default();
        for (seconds, style) in
            [(0, Style::Direct), (4, Style::Direct), (12, Style::Direct), (28, Style::Binl)]
        {
            assert_eq!(quirks.discovered(at(seconds), MAC, NEW).style, style, "at {seconds} s");
        }
        quirks.file_requested(MAC);
        assert_eq!(quirks.discovered(at(600), MAC, NEW).style, Style::Binl);
        assert_eq!(quirks.style(Mac([2, 0, 0, 0, 0, 2]), NEW), Style::Direct);
    }

    #[test]
    fn if_binl_does_not_help_either_it_goes_back() {
        let mut quirks = FirmwareQuirks::default();
        let styles: Vec<_> = (0..9).map(|n| quirks.discovered(at(n), MAC, NEW).style).collect();
        assert_eq!(styles.iter().filter(|style| **style == Style::Binl).count(), 3);
        assert_eq!(styles.last(), Some(&Style::Direct));
    }

    #[test]
    fn machines_that_load_are_told_directly_for_ever() {
        let mut quirks = FirmwareQuirks::default();
        for n in 0..20 {
            assert_eq!(quirks.discovered(at(n), MAC, NEW).style, Style::Direct);
            quirks.file_requested(MAC);
        }
    }

    #[test]
    fn boots_that_are_far_apart_teach_nothing() {
        let mut quirks = FirmwareQuirks::default();
        for n in 0..20 {
            assert_eq!(quirks.discovered(at(n * 600), MAC, NEW).style, Style::Direct);
        }
    }

    #[test]
    fn what_is_learnt_is_told_once_and_believed_after_a_restart() {
        let mut quirks = FirmwareQuirks::default();
        let news: Vec<_> = (0..4).map(|n| quirks.discovered(at(n), MAC, NEW).news).collect();
        assert_eq!(news, [None, None, None, Some(Some(Style::Binl))]);
        let before = StyleDefaults { learnt: Some(Style::Binl), ..NEW };
        let mut again = FirmwareQuirks::default();
        assert_eq!(again.style(MAC, before), Style::Binl);
        assert_eq!(again.discovered(at(0), MAC, before), StyleDecision { style: Style::Binl, news: None });
    }

    #[test]
    fn a_rule_that_names_another_style_is_obeyed() {
        let mut quirks = FirmwareQuirks::default();
        let menu = StyleDefaults { usual: Style::Menu, learnt: Some(Style::Binl) };
        assert!((0..9).all(|n| quirks.discovered(at(n), MAC, menu).style == Style::Menu));
        assert_eq!(quirks.style(MAC, menu), Style::Menu);
    }

    #[test]
    fn a_machine_that_needs_binl_gets_it_also_where_there_is_no_room_to_learn() {
        let before = StyleDefaults { learnt: Some(Style::Binl), ..NEW };
        let mut quirks = FirmwareQuirks::default();
        for n in 0..u32::try_from(MACHINES_MAX).unwrap() {
            let [a, b, c, d] = n.to_be_bytes();
            quirks.discovered(at(1), Mac([2, 0, a, b, c, d]), before);
        }
        let late = Mac([2, 1, 0, 0, 0, 0]);
        assert_eq!(quirks.discovered(at(1), late, before).style, Style::Binl);
        assert_eq!(quirks.machines.len(), MACHINES_MAX);
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let mut quirks = FirmwareQuirks::default();
        for n in 0..100_000u32 {
            let [a, b, c, d] = n.to_be_bytes();
            quirks.discovered(at(1), Mac([2, 0, a, b, c, d]), NEW);
        }
        assert!(quirks.machines.len() <= MACHINES_MAX);
    }
}
