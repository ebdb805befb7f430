//! Option negotiation (RFC 2347): which of the requested options a transfer gets, and with which values.

use super::packet::{OackOptions, RequestedOptions};

/// The largest values that pxed grants, from the interface and the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionLimits {
    /// Largest block in bytes. Its datagram fits the MTU of the interface, because many boot ROMs cannot
    /// reassemble fragments. It is at least 512, the size without the option, even if the MTU is smaller.
    /// Routers on the path may still fragment (`datagram::write_frame`).
    pub blksize: u16,
    /// Most blocks in a window.
    pub windowsize: u16,
}

impl OptionLimits {
    /// Bytes in front of a block: the headers of IPv4, UDP and DATA.
    const OVERHEAD: u16 = 20 + 8 + 4;

    /// Returns the limits for an interface with this MTU in bytes and for the largest window that the
    /// configuration allows, in blocks.
    pub fn for_mtu(mtu: u16, windowsize: u16) -> Self {
        let largest = *super::packet::BLKSIZE_RANGE.end();
        Self {
            blksize: mtu.saturating_sub(Self::OVERHEAD).clamp(NegotiatedOptions::DEFAULT_BLKSIZE, largest),
            windowsize: windowsize.clamp(1, NegotiatedOptions::WINDOWSIZE_MAX),
        }
    }
}

/// The options of one transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NegotiatedOptions {
    /// Bytes per block.
    pub blksize: u16,
    /// Blocks per window (RFC 7440). 1 is lock-step.
    pub windowsize: u16,
    /// Seconds until the first retransmission (RFC 2349). `None` if the client did not request a time-out.
    pub timeout: Option<u8>,
    /// Whether the transfer starts with an OACK: the request has at least one option that pxed knows.
    pub oack: bool,
    tsize: bool,
    asked_blksize: bool,
    asked_windowsize: bool,
}

impl NegotiatedOptions {
    /// Bytes per block without the option (RFC 1350, section 2).
    pub const DEFAULT_BLKSIZE: u16 = 512;

    /// Upper limit of blocks in a window, whatever the client requests. Block numbers have 16 bits. With a
    /// larger window, a late copy of an old ACK would look like an ACK inside the window, and pxed would
    /// believe that the client has blocks which it lacks.
    pub const WINDOWSIZE_MAX: u16 = 32767;

    /// Grants the requested options within the limits. A value is never larger than requested, and an option
    /// that was not requested is not granted (RFC 2347).
    pub fn grant(requested: &RequestedOptions, limits: &OptionLimits) -> Self {
        let oack = *requested != RequestedOptions::default();
        Self {
            blksize: requested.blksize.map_or(Self::DEFAULT_BLKSIZE, |wish| wish.min(limits.blksize)),
            windowsize: requested
                .windowsize
                .map_or(1, |wish| wish.min(limits.windowsize.clamp(1, Self::WINDOWSIZE_MAX))),
            timeout: requested.timeout,
            oack,
            tsize: requested.tsize,
            asked_blksize: requested.blksize.is_some(),
            asked_windowsize: requested.windowsize.is_some(),
        }
    }

    /// Returns the options of a transfer that another pxed process started. `None` if no grant can have these
    /// values. [`Self::granted`] of the result is incomplete, because the previous process has sent the OACK.
    pub(super) fn resumed(blksize: u16, windowsize: u16, timeout: Option<u8>, oack: bool) -> Option<Self> {
        let can_be = super::packet::BLKSIZE_RANGE.contains(&blksize)
            && (1..=Self::WINDOWSIZE_MAX).contains(&windowsize)
            && timeout != Some(0);
        let (asked_blksize, asked_windowsize) = (false, false);
        let negotiated =
            Self { blksize, windowsize, timeout, oack, tsize: false, asked_blksize, asked_windowsize };
        can_be.then_some(negotiated)
    }

    /// Returns the content of the OACK for a file of `size` bytes.
    pub fn granted(&self, size: u64) -> OackOptions {
        OackOptions {
            blksize: self.asked_blksize.then_some(self.blksize),
            tsize: self.tsize.then_some(size),
            // RFC 2349: a server acknowledges exactly the requested value, or omits the option.
            timeout: self.timeout,
            windowsize: self.asked_windowsize.then_some(self.windowsize),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn requested() -> impl Strategy<Value = RequestedOptions> {
        let blksize = prop::option::of(8u16..=65464);
        let windowsize = prop::option::of(1u16..);
        (blksize, any::<bool>(), prop::option::of(1u8..), windowsize).prop_map(
            |(blksize, tsize, timeout, windowsize)| RequestedOptions { blksize, tsize, timeout, windowsize },
        )
    }

    proptest! {
        /// RFC 2347; clients.md, section 6, lines 19 to 21: pxed grants only what was requested, at most the
        /// requested value, and then always sends an OACK.
        #[test]
        fn nothing_more_is_granted_than_was_asked(
            requested in requested(),
            mtu in 0u16..,
            window in 0u16..,
            size in any::<u64>(),
        ) {
            let limits = OptionLimits::for_mtu(mtu, window);
            let negotiated = NegotiatedOptions::grant(&requested, &limits);
            let granted = negotiated.granted(size);
            prop_assert_eq!(granted.blksize.is_some(), requested.blksize.is_some());
            prop_assert!(granted.blksize <= requested.blksize);
            prop_assert_eq!(granted.windowsize.is_some(), requested.windowsize.is_some());
            prop_assert!(granted.windowsize <= requested.windowsize);
            prop_assert_ne!(granted.windowsize, Some(0));
            prop_assert_eq!(granted.timeout, requested.timeout);
            prop_assert_eq!(granted.tsize, requested.tsize.then_some(size));
            prop_assert_eq!(negotiated.oack, requested != RequestedOptions::default());
            prop_assert_eq!(negotiated.oack, !granted.is_empty());
            // The transfer uses the granted values.
            prop_assert_eq!(negotiated.blksize, granted.blksize.unwrap_or(512));
            prop_assert_eq!(negotiated.windowsize, granted.windowsize.unwrap_or(1));
        }
    }

    /// clients.md, section 6, line 22: the headers of IPv4, UDP and TFTP and the block fit one packet.
    #[test]
    fn line_22_blksize_is_clamped_to_the_path() {
        for (mtu, largest) in [(1500, 1468), (1492, 1460), (9000, 8968), (65535, 65464), (0, 512), (576, 544)]
        {
            let limits = OptionLimits::for_mtu(mtu, 64);
            let requested = RequestedOptions { blksize: Some(65464), ..RequestedOptions::default() };
            assert_eq!(NegotiatedOptions::grant(&requested, &limits).blksize, largest, "MTU {mtu}");
            let requested = RequestedOptions { blksize: Some(8), ..RequestedOptions::default() };
            assert_eq!(NegotiatedOptions::grant(&requested, &limits).blksize, 8, "MTU {mtu}");
        }
    }

    #[test]
    fn a_window_never_spans_half_of_the_block_numbers() {
        for limits in
            [OptionLimits::for_mtu(1500, u16::MAX), OptionLimits { blksize: 1468, windowsize: u16::MAX }]
        {
            let requested = RequestedOptions { windowsize: Some(u16::MAX), ..RequestedOptions::default() };
            assert_eq!(NegotiatedOptions::grant(&requested, &limits).windowsize, 32767);
        }
        let requested = RequestedOptions { windowsize: Some(4), ..RequestedOptions::default() };
        assert_eq!(
            NegotiatedOptions::grant(&requested, &OptionLimits { blksize: 1468, windowsize: 0 }).windowsize,
            1
        );
    }
}
