//! The first process of a guest with another kernel (see `xtask::vm`): loads the modules, runs the cases, writes one line
//! about each to the second serial port, and switches the guest off.
//!
//! It runs in a guest only: as an ordinary process it does nothing.

mod cases;
mod daemon;
mod system;

use std::fs::File;
use std::io::Write as _;

use anyhow::{Context as _, Result, ensure};

/// The port that the host reads our lines from; the console is the first.
const RESULTS: &str = "/dev/ttyS1";

fn main() -> Result<()> {
    ensure!(std::process::id() == 1, "this is the first process of a guest: `cargo xtask vm` boots one");
    let done = run();
    if let Err(error) = &done {
        system::say(&format!("guest: {error:#}"));
    }
    // Whatever happened: a guest that is still there is waited for.
    system::power_off()
}

fn run() -> Result<()> {
    system::set_up().context("setting up the guest")?;
    let mut results = File::options().write(true).open(RESULTS).context(RESULTS)?;
    for (name, case) in cases::ALL {
        system::say(&format!("guest: {name}"));
        let line = match case() {
            Ok(said) => format!("{name}: {said}\n"),
            Err(error) => {
                system::say(&format!("guest: {name}: {error:#}"));
                format!("{name}: FAILED: {}\n", shortened(&format!("{error:#}").replace('\n', "; ")))
            }
        };
        results.write_all(line.as_bytes())?;
    }
    results.write_all(b"done\n")?;
    // The port is slow, and what it has not sent is lost when the power goes.
    rustix::termios::tcdrain(&results)?;
    Ok(())
}

/// Both ends of what the verifier says: its log may have megabytes, which the console has whole.
fn shortened(text: &str) -> String {
    const KEPT: usize = 400;
    let (start, end) =
        (text.floor_char_boundary(KEPT), text.ceil_char_boundary(text.len().saturating_sub(KEPT)));
    if start >= end { text.to_owned() } else { format!("{} ... {}", &text[..start], &text[end..]) }
}
