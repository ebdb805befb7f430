//! What a program does that runs in a guest (see `pxe_guests`) as its first process or as a service: it runs cases, and
//! writes one line about each to the second serial port.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use pxe_kit::command::output;

/// The word of the kernel's command line that names the port that the host reads our lines from. It depends on the
/// architecture.
const RESULTS: &str = "pxed.results=";

/// A case says `ok` and what it saw, or fails.
pub type Case = fn() -> Result<String>;

/// Runs cases in their order, whatever becomes of those before.
///
/// # Errors
/// When the results cannot be written.
pub fn run(cases: &[(&str, Case)]) -> Result<()> {
    let line = fs::read_to_string("/proc/cmdline").context("/proc/cmdline")?;
    let port = results_port(&line).with_context(|| format!("no {RESULTS} in {line}"))?;
    let mut results = File::options().write(true).open(&port).with_context(|| port.display().to_string())?;
    for (name, case) in cases {
        say(&format!("guest: {name}"));
        let line = match case() {
            Ok(said) => format!("{name}: {said}\n"),
            Err(error) => {
                say(&format!("guest: {name}: {error:#}"));
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

fn results_port(line: &str) -> Option<PathBuf> {
    let name = line.split_whitespace().find_map(|word| word.strip_prefix(RESULTS))?;
    Some(Path::new("/dev").join(name))
}

/// Both ends of what the verifier says: its log may have megabytes, which the console has whole.
fn shortened(text: &str) -> String {
    const KEPT: usize = 400;
    let (start, end) =
        (text.floor_char_boundary(KEPT), text.ceil_char_boundary(text.len().saturating_sub(KEPT)));
    if start >= end { text.to_owned() } else { format!("{} ... {}", &text[..start], &text[end..]) }
}

/// Runs `ip` with these words.
///
/// # Errors
/// When it fails; with what it said.
pub fn ip(words: &str) -> Result<()> {
    ip_says(words).map(drop)
}

/// What `ip` with these words prints.
///
/// # Errors
/// When it fails; with what it said.
pub fn ip_says(words: &str) -> Result<String> {
    output(Command::new("/bin/ip").args(words.split(' ')))
}

/// Writes a line to the console.
pub fn say(line: &str) {
    // Nobody is left to tell when this fails.
    drop(writeln!(io::stdout(), "{}", line.trim_end()));
}
