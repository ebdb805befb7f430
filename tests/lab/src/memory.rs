//! Access to the memory of a running machine, through the file that QEMU has mapped.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context, Result};

const PAGE: usize = 4096;
/// The number of bytes to read at once.
const CHUNK: usize = 256 * PAGE;

/// The memory of a machine, in the file that its [`MachineSpec`](super::MachineSpec) names. An offset in the file is a
/// physical address, if all memory fits below the devices (2 GiB).
#[derive(Debug)]
pub struct SharedMemory(File);

impl SharedMemory {
    /// Opens the file, which QEMU makes.
    ///
    /// # Errors
    /// If the file does not exist yet.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        Ok(Self(file.with_context(|| format!("cannot open the memory file {}", path.display()))?))
    }

    /// The physical addresses of pages with stressapptest's pattern of walking bits: in each word, one bit differs from all
    /// others. No other pages contain that. The list changes all the time.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn pages_under_test(&self) -> Result<Vec<u64>> {
        let mut chunk = vec![0; CHUNK];
        let mut pages = Vec::new();
        for start in (0..self.0.metadata()?.len()).step_by(CHUNK) {
            self.0.read_exact_at(&mut chunk, start)?;
            let found = (start..).step_by(PAGE).zip(chunk.chunks(PAGE)).filter(|(_, page)| walks(page));
            pages.extend(found.map(|(address, _)| address));
        }
        Ok(pages)
    }

    /// The byte at a physical address.
    ///
    /// # Errors
    /// If the machine has no memory there.
    pub fn byte(&self, address: u64) -> Result<u8> {
        let mut byte = [0];
        self.0.read_exact_at(&mut byte, address).with_context(|| format!("no memory at {address:#x}"))?;
        Ok(byte[0])
    }

    /// Flips one bit of the byte at a physical address, and returns the new byte.
    ///
    /// # Errors
    /// If the machine has no memory there.
    pub fn flip(&self, address: u64, bit: u8) -> Result<u8> {
        let bad = self.byte(address)? ^ (1 << bit);
        self.0.write_all_at(&[bad], address)?;
        Ok(bad)
    }
}

/// Whether a page contains walking bits: words in which one bit differs from all others, and sometimes none.
fn walks(page: &[u8]) -> bool {
    let ones = |word: &[u8]| word.iter().map(|byte| byte.count_ones()).sum::<u32>();
    let words = || page.chunks(4).map(ones);
    words().all(|ones| matches!(ones, 0 | 1 | 31 | 32)) && {
        let walking = words().filter(|ones| matches!(ones, 1 | 31)).count();
        walking > page.len() / 4 / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_walking_bits_are_taken_for_a_test() {
        let words = |word: fn(u32) -> u32| (0..1024).flat_map(|n| word(n).to_le_bytes()).collect::<Vec<u8>>();
        assert!(walks(&words(|n| 1 << (n % 32))));
        assert!(walks(&words(|n| if n % 2 == 0 { 1 << (n % 32) } else { !(1 << (n % 32)) })));
        assert!(!walks(&words(|_| 0)));
        assert!(!walks(&words(|n| if n == 1000 { 3 } else { 1 << (n % 32) })), "one bit is already flipped");
    }
}
