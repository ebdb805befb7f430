//! Machines that boot again and again while files, the configuration and the cable change, machines vanish and strangers send
//! rubbish: everybody boots, and the daemon does not grow.
//!
//! | file | noun |
//! |---|---|
//! | [`rounds`] | what is done to the daemon |
//! | [`size`] | how large it is |

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use pxe_kit::clock;

pub mod rounds;
pub mod size;

use rounds::{Counts, Soak};
use size::{Size, growth};

/// As many samples as a run has at least: three to warm up, three to compare, three to compare with.
const SAMPLES_MIN: usize = 9;
/// And about as many as it has if it is long.
const SAMPLES: u32 = 36;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wish {
    /// For how long.
    pub time: Duration,
    /// `xdp` or `socket`.
    pub datapath: String,
    /// Somebody wants it to end.
    pub interrupted: Arc<AtomicBool>,
}

impl Wish {
    /// Goes on.
    ///
    /// # Errors
    /// When somebody wants it to end.
    fn go_on(&self) -> Result<()> {
        ensure!(!self.interrupted.load(Ordering::Relaxed), "interrupted, so there is no verdict");
        Ok(())
    }
}

/// What came of it.
#[derive(Debug)]
pub struct SoakReport {
    /// What was done.
    pub counts: Counts,
    /// How large the daemon was at points of rest.
    pub samples: Vec<Size>,
}

impl fmt::Display for SoakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((warm, end)) = self.samples.get(self.samples.len() / 3).zip(self.samples.last()) else {
            return write!(f, "{}", self.counts);
        };
        write!(f, "{}\n           {}\nwarmed up: {warm}\nat the end: {end}", self.counts, Size::titles())
    }
}

impl SoakReport {
    /// Whether it stayed as it was.
    ///
    /// # Errors
    /// When it has grown, or was not looked at often enough to say so.
    pub fn check(&self) -> Result<()> {
        ensure!(self.samples.len() >= SAMPLES_MIN, "too few samples: {}", self.samples.len());
        let growth = growth(&self.samples);
        ensure!(growth.is_empty(), "the daemon has grown: {}", growth.join("; "));
        Ok(())
    }
}

/// Boots machines; `say` gets a table, line by line.
///
/// # Errors
/// When a machine fails, or the daemon does, or leaves something behind.
pub fn run(wish: &Wish, mut say: impl FnMut(&str)) -> Result<SoakReport> {
    let mut soak = Soak::start(wish)?;
    let begun = clock::now();
    let mut samples = Vec::new();
    say(&format!("{:>7} {:>9} {}", "minutes", "boots", Size::titles()));
    while begun.elapsed() < wish.time || samples.len() < SAMPLES_MIN {
        soak.cycle()?;
        let due = wish.time * samples.len() as u32 / SAMPLES;
        if begun.elapsed() < due {
            continue;
        }
        let size = soak.rest()?;
        samples.push(size);
        let minutes = begun.elapsed().as_secs_f64() / 60.0;
        say(&format!("{minutes:>7.1} {:>9} {size}", soak.counts.boots));
    }
    Ok(SoakReport { counts: soak.end()?, samples })
}
