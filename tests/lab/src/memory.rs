//! A machine's memory as others see it: a file that QEMU has mapped, in which a bit can go bad while the machine runs.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context, Result};

const PAGE: usize = 4096;
/// Pages that are read at once.
const CHUNK: usize = 256 * PAGE;

/// The memory of a machine whose [`MachineSpec`](super::MachineSpec) names this file. A place in it is a physical address,
/// as far as the machine has not more memory than fits below its devices (2 GiB).
#[derive(Debug)]
pub struct SharedMemory(File);

impl SharedMemory {
    /// Opens the file, which QEMU has made.
    ///
    /// # Errors
    /// When it is not there.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        Ok(Self(file.with_context(|| format!("no memory of a machine in {}", path.display()))?))
    }

    /// The physical addresses of pages that stressapptest has filled with walking bits: words in which one bit is unlike
    /// all others. Nothing else in a machine looks like that. Which pages these are changes all the time.
    ///
    /// # Errors
    /// When the file cannot be read.
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
    /// When there is no such memory.
    pub fn byte(&self, address: u64) -> Result<u8> {
        let mut byte = [0];
        self.0.read_exact_at(&mut byte, address).with_context(|| format!("no memory at {address:#x}"))?;
        Ok(byte[0])
    }

    /// Flips one bit of the byte at a physical address, and tells what the byte is now.
    ///
    /// # Errors
    /// When there is no such memory.
    pub fn flip(&self, address: u64, bit: u8) -> Result<u8> {
        let bad = self.byte(address)? ^ (1 << bit);
        self.0.write_all_at(&[bad], address)?;
        Ok(bad)
    }
}

/// Whether a page holds walking bits: words with one bit unlike all others, and now and then one with none.
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
        assert!(!walks(&words(|n| if n == 1000 { 3 } else { 1 << (n % 32) })), "a bit has gone bad already");
    }
}
