//! A frame as the classifier sees it: bytes that may or may not be there.

/// Read access to an Ethernet frame, each read checked against its end.
///
/// The eBPF side implements it over `data..data_end`, tests over a slice.
pub trait Frame {
    /// The `N` bytes at offset `at`, or `None` when the frame ends before.
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]>;

    /// The frame's length in bytes. Short frames arrive padded, so this is an upper bound only.
    fn len(&self) -> usize;

    /// Whether the frame has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `value`, unchanged, of which the verifier shall know nothing any more.
    ///
    /// At the head of a loop the ways through its body differ in what the verifier knows of each variable. If it
    /// forgets, it sees that the states are equal and follows one of them; else their number doubles at each turn.
    #[inline(always)]
    fn forget(&self, value: usize) -> usize {
        value
    }

    /// The byte at offset `at`.
    #[inline(always)]
    fn read_u8(&self, at: usize) -> Option<u8> {
        self.read::<1>(at).map(|[byte]| byte)
    }

    /// The 16-bit number in network byte order at offset `at`.
    #[inline(always)]
    fn read_u16(&self, at: usize) -> Option<u16> {
        self.read::<2>(at).map(u16::from_be_bytes)
    }
}

/// A [`Frame`] over a plain slice.
#[derive(Clone, Copy, Debug)]
pub struct SliceFrame<'a>(pub &'a [u8]);

impl Frame for SliceFrame<'_> {
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk::<N>().copied()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}
