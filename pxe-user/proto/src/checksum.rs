//! The Internet checksum (RFC 1071).

/// A one's complement sum of 16-bit words, before it is folded to 16 bits. The words are in memory byte
/// order, so the folded sum is too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Returns the sum of `bytes`. An odd last byte counts as the high half of a word (RFC 1071, section
    /// 4.1).
    pub fn of(bytes: &[u8]) -> Self {
        // The loop adds native 32-bit words: swapping the bytes before or after a one's complement addition
        // gives the same result (section 2, B). A 64-bit accumulator cannot overflow below 16 GiB.
        let (words, rest) = bytes.as_chunks::<4>();
        let mut sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        sum += u64::from(u32::from_ne_bytes(last));
        Self(sum)
    }

    /// Returns the sum of this part and of the part that follows it. The length of this part must be even.
    pub fn and(self, next: Self) -> Self {
        Self(self.0 + next.0)
    }

    /// Returns the sum in 16 bits, in memory byte order.
    pub fn fold(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }

    /// Returns the checksum field for the summed bytes, in memory byte order.
    pub fn finish(self) -> [u8; 2] {
        (!self.fold()).to_ne_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A reference implementation, word by word (RFC 1071, section 4.1).
    fn reference(bytes: &[u8]) -> [u8; 2] {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (!(sum as u16)).to_be_bytes()
    }

    #[test]
    fn the_example_of_rfc_1071_section_3() {
        let sum = Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.finish(), (!0xddf2u16).to_be_bytes());
    }

    proptest! {
        #[test]
        fn it_equals_the_reference(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(Sum::of(&bytes).finish(), reference(&bytes));
        }

        #[test]
        fn parts_add_up(bytes in proptest::collection::vec(any::<u8>(), 0..2000), cut in 0usize..1000) {
            let cut = (cut * 2).min(bytes.len() & !1);
            let (a, b) = bytes.split_at(cut);
            prop_assert_eq!(Sum::of(a).and(Sum::of(b)).finish(), reference(&bytes));
        }
    }
}
