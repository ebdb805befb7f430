//! Runs cases in a guest (see `pxe_guests`), and writes a line about each to the second serial port. Used by the programs
//! `guest` (the first process) and `installed` (a service).

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use pxe_kit::command::output;

/// The kernel argument with the name of the second serial port, which depends on the architecture.
const RESULTS: &str = "pxed.results=";

/// A case. It returns `ok`, perhaps with a remark, or an error.
pub type Case = fn() -> Result<String>;

/// Runs all cases in their order, also after a failure.
///
/// # Errors
/// If the results cannot be written.
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
    // Wait for the slow port: what it has not sent at power off is lost.
    rustix::termios::tcdrain(&results)?;
    Ok(())
}

fn results_port(line: &str) -> Option<PathBuf> {
    let name = line.split_whitespace().find_map(|word| word.strip_prefix(RESULTS))?;
    Some(Path::new("/dev").join(name))
}

/// The start and the end of a text. The verifier's log can have megabytes; the console has all of it.
fn shortened(text: &str) -> String {
    const KEPT: usize = 400;
    let (start, end) =
        (text.floor_char_boundary(KEPT), text.ceil_char_boundary(text.len().saturating_sub(KEPT)));
    if start >= end { text.to_owned() } else { format!("{} ... {}", &text[..start], &text[end..]) }
}

/// Runs `ip` with these words.
///
/// # Errors
/// If it fails. The error contains its standard error.
pub fn ip(words: &str) -> Result<()> {
    ip_says(words).map(drop)
}

/// Runs `ip` with these words, and returns its output.
///
/// # Errors
/// If it fails. The error contains its standard error.
pub fn ip_says(words: &str) -> Result<String> {
    output(Command::new("/bin/ip").args(words.split(' ')))
}

/// Writes a line to the console.
pub fn say(line: &str) {
    // An error cannot be reported anywhere.
    drop(writeln!(io::stdout(), "{}", line.trim_end()));
}
