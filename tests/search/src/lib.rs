//! Searches for inputs that violate a property, with libFuzzer and the targets in `tests/fuzz`. `cargo xtask fuzz` calls
//! [`run`], and `cargo xtask test` calls [`check`].
//!
//! libFuzzer's instrumentation needs only options that stable toolchains accept. AddressSanitizer needs an unstable option,
//! which `RUSTC_BOOTSTRAP=1` allows (such builds are never shipped), and a run-time library that only rustup's toolchains
//! contain. Without the library, the search runs without AddressSanitizer, and prints that.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pxe_kit::command;

mod build;
pub mod miri;

use build::Sanitizer;

/// The number of a target's last lines in an error.
const SHOWN: usize = 60;
/// The target that also runs the XDP program in the kernel, which needs root.
const KERNEL: &str = "classifier";
/// The target whose property is not in the list of `pxe-properties`.
const RINGS: &str = "rings";

/// The name and the program of a target.
type Target = (String, PathBuf);

/// The settings of a search.
struct Search {
    /// The folder with the targets' sources and the regressions.
    crate_: PathBuf,
    /// The folder for builds, seeds and the corpus.
    target: PathBuf,
    /// The folder for finds and for the targets' output.
    out: PathBuf,
    /// The folder for inputs that reach new code.
    corpus: PathBuf,
    /// The time for each target.
    time: Duration,
    /// An input that takes longer than this, in seconds, is a find.
    timeout: u32,
    /// More options for libFuzzer.
    options: &'static [&'static str],
    /// Whether [`KERNEL`] runs as root, if necessary through sudo.
    ask_kernel: bool,
}

impl Search {
    fn new(time: Duration) -> Self {
        let target = command::target_dir().join("fuzz");
        Self {
            crate_: command::workspace().join("tests/fuzz"),
            corpus: target.join("corpus"),
            target,
            out: command::workspace().join("out/fuzz"),
            time,
            timeout: 20,
            options: &[],
            ask_kernel: false,
        }
    }
}

/// Searches for `time` with each target, or with one of them.
///
/// # Errors
/// If the search finds something, or does not start.
pub fn run(wanted: Option<&str>, time: Duration) -> Result<()> {
    if !command::is_root() {
        println!(
            "fuzz: without root, the kernel's verdicts are not compared. To compare them: sudo -E cargo xtask fuzz {KERNEL}"
        );
    }
    let sanitizer = Sanitizer::best()?;
    if sanitizer == Sanitizer::None {
        println!(
            "fuzz: this toolchain has no AddressSanitizer: the search finds panics, but no invalid memory accesses"
        );
    }
    Search::new(time).search(wanted, sanitizer)
}

/// A short search with each target, as a part of the tests. It starts from the seeds, with the same random numbers each
/// time: if it finds something new, a change of the code is the likely reason.
///
/// # Errors
/// If the search finds something, or does not start.
pub fn check() -> Result<()> {
    println!("test: a short search for inputs that break something");
    let mut search = Search::new(Duration::from_secs(5));
    search.corpus = search.target.join("checked");
    // The corpus of an earlier run would make this run different.
    if search.corpus.is_dir() {
        fs::remove_dir_all(&search.corpus)
            .with_context(|| format!("cannot remove {}", search.corpus.display()))?;
    }
    // A busy machine must not count as a find.
    search.timeout = 120;
    search.options = &["-seed=1", "-runs=200000"];
    search.ask_kernel = true;
    search.search(None, Sanitizer::None)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Search {
    fn search(&self, wanted: Option<&str>, sanitizer: Sanitizer) -> Result<()> {
        let known = self.known()?;
        if let Some(wanted) = wanted.filter(|wanted| !known.iter().any(|name| name == wanted)) {
            bail!("there is no target `{wanted}`; there are {}", known.join(", "));
        }
        let targets = build::build(wanted, sanitizer, &self.target)?;
        fs::create_dir_all(&self.out).with_context(|| format!("cannot make {}", self.out.display()))?;
        let found = Mutex::new(Vec::new());
        let next = Mutex::new(targets.into_iter());
        let work = || {
            loop {
                // A separate statement, so that the lock is released before the search.
                let Some((name, program)) = lock(&next).next() else { return };
                match self.search_one(&name, &program) {
                    Ok(done) => println!("fuzz: {done}"),
                    Err(error) => {
                        // Print each error at once. Errors are long, and the end of the output may be cut off.
                        println!("fuzz: {name}: {error:#}");
                        lock(&found).push(name);
                    }
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(work);
            }
        });
        let found = found.into_inner().unwrap_or_default();
        ensure!(found.is_empty(), "failed (see above): {}", found.join(", "));
        Ok(())
    }

    /// The names of all targets.
    fn known(&self) -> Result<Vec<String>> {
        let folder = self.crate_.join("fuzz_targets");
        let files = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut names: Vec<_> = files
            .map(|file| Ok(file?.path().file_stem().unwrap_or_default().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        names.sort();
        Ok(names)
    }

    /// Runs the search of one target, and returns a line about it.
    fn search_one(&self, name: &str, program: &Path) -> Result<String> {
        let finds = self.out.join(name);
        let mut search = self.command(name, program, &finds)?;
        let log = self.out.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        search.stdout(file.try_clone()?).stderr(file);
        let line = command::shown(&search);
        let status = search.status().with_context(|| format!("cannot start {}", program.display()))?;
        let said = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
        let said = String::from_utf8_lossy(&said);
        let last = last_lines(&said, SHOWN);
        if !status.success() {
            let Some(input) = found_input(&said) else {
                bail!("`{line}` ended with {status} and printed\n{last}")
            };
            let again = command::shown(self.start(name, program)?.arg(input));
            bail!("{status}\n{last}\nAll of it is in {}. {}", log.display(), advice(name, input, &again));
        }
        let inputs = statistic(&said, "number_of_executed_units")
            .filter(|inputs| *inputs > 0)
            .with_context(|| format!("no input was tried; `{line}` printed\n{last}"))?;
        // Without instrumentation, the search would run blindly and pass.
        ensure!(said.contains(" NEW ") || said.contains(" cov: "), "no coverage is reported: {line}");
        let each = statistic(&said, "average_exec_per_sec").unwrap_or_default();
        Ok(format!("{name:<10} {inputs:>9} inputs, {each:>6} a second: nothing found"))
    }

    /// A target's program, as root if it also runs the kernel's code.
    fn start(&self, name: &str, program: &Path) -> Result<Command> {
        if self.ask_kernel && name == KERNEL { command::as_root(program) } else { Ok(Command::new(program)) }
    }

    /// The command line of one target's search.
    fn command(&self, name: &str, program: &Path, finds: &Path) -> Result<Command> {
        let corpus = self.corpus.join(name);
        for folder in [corpus.as_path(), finds] {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let mut search = self.start(name, program)?;
        // libFuzzer writes new inputs to the first folder, and only reads the others. The folder with regressions may not
        // exist.
        search.arg(&corpus);
        let others = [self.target.join("seeds").join(name), self.crate_.join("regressions").join(name)];
        search.args(others.into_iter().filter(|folder| folder.is_dir()));
        search.arg(format!("-artifact_prefix={}/", finds.display()));
        search
            .args([format!("-max_total_time={}", self.time.as_secs()), format!("-timeout={}", self.timeout)]);
        search.arg("-print_final_stats=1").args(self.options);
        // C libraries of several crates use the same names for different objects, which is no error here.
        search.env("ASAN_OPTIONS", "detect_odr_violation=0");
        Ok(search)
    }
}

/// Advice for an input that was found, with the input itself in base64, because the files of a CI run may be lost.
fn advice(name: &str, input: &str, again: &str) -> String {
    let encoded = command::output(Command::new("base64").args(["--wrap=0", input])).unwrap_or_default();
    let keep = match name {
        RINGS => "Turn it into a script in the tests of pxe-user/nic/src/xsk/simulated.rs".to_owned(),
        _ => format!("Keep it as tests/fuzz/regressions/{name}/WHAT-WAS-WRONG: the tests then try it"),
    };
    format!(
        "The input is {input}, in base64:\n    {encoded}\nTo try it again:\n    {again}\n\
         {keep} (CONTRIBUTING.md)."
    )
}

/// The path of the input in libFuzzer's output.
fn found_input(said: &str) -> Option<&str> {
    let (_, rest) = said.rsplit_once("Test unit written to ")?;
    rest.lines().next()
}

/// A number from libFuzzer's last lines (`stat::name: number`).
fn statistic(said: &str, name: &str) -> Option<u64> {
    let (_, rest) = said.rsplit_once(&format!("stat::{name}:"))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says_at_its_end_is_read() {
        let said = "#7 DONE\nstat::number_of_executed_units: 1234\nstat::average_exec_per_sec:     99\n";
        assert_eq!(statistic(said, "number_of_executed_units"), Some(1234));
        assert_eq!(statistic(said, "average_exec_per_sec"), Some(99));
        assert_eq!(statistic(said, "peak_rss_mb"), None);
        assert_eq!(last_lines("a\nb\nc", 2), "b\nc");
        assert_eq!(found_input(said), None);
        let said = "artifact_prefix='/o/'; Test unit written to /o/crash-12\nBase64: AA==\n";
        assert_eq!(found_input(said), Some("/o/crash-12"));
    }
}
