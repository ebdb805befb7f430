//! Access to a frame for the classifier. Each read is checked against the end of the frame.

/// Read access to an Ethernet frame.
///
/// The eBPF side implements it over the memory between `data` and `data_end`, the tests over a slice.
pub trait Frame {
    /// Returns the `N` bytes at offset `at`; `None` if the frame ends before their end.
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]>;

    /// Returns the `4 * N` bytes at offset `at` as words in memory byte order; `None` if the frame ends before
    /// their end.
    ///
    /// The classifier reads headers by words. From an array of bytes, the compiler would make one load, one
    /// shift and often one spill for each byte.
    fn words<const N: usize>(&self, at: usize) -> Option<[u32; N]>;

    /// Returns the frame's length in bytes. Short frames arrive padded, so this is only an upper bound of the
    /// packet's length.
    fn len(&self) -> usize;

    /// Whether the frame has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns `value` unchanged, and makes the verifier forget what it knows about it.
    ///
    /// At the head of a loop, the paths through the loop's body differ in what the verifier knows of each
    /// variable. If the verifier forgets this, it sees that the states are equal and follows one of them.
    /// Otherwise the number of states doubles in each iteration.
    #[inline(always)]
    fn forget(&self, value: usize) -> usize {
        value
    }

    /// Returns the byte at offset `at`; `None` if the frame ends before it.
    #[inline(always)]
    fn read_u8(&self, at: usize) -> Option<u8> {
        self.read::<1>(at).map(|[byte]| byte)
    }

    /// Returns the 16-bit number in network byte order at offset `at`; `None` if the frame ends before its
    /// end.
    #[inline(always)]
    fn read_u16(&self, at: usize) -> Option<u16> {
        self.read::<2>(at).map(u16::from_be_bytes)
    }
}

/// A [`Frame`] over a plain slice, for tests.
#[derive(Clone, Copy, Debug)]
pub struct SliceFrame<'a>(pub &'a [u8]);

impl Frame for SliceFrame<'_> {
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk::<N>().copied()
    }

    fn words<const N: usize>(&self, at: usize) -> Option<[u32; N]> {
        let bytes = self.0.get(at..)?.get(..4 * N)?;
        let mut words = [0; N];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *word = u32::from_ne_bytes(*bytes);
        }
        Some(words)
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}
