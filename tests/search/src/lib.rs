//! The search for inputs that break what must hold: libFuzzer on the targets in `tests/fuzz`.
//!
//! libFuzzer's instruments are options of rustc that any toolchain takes, a stable one, too. AddressSanitizer is not: its
//! option counts as unstable, which `RUSTC_BOOTSTRAP=1` allows (nothing that is built so is ever shipped), and its run-time
//! library comes with the toolchains of rustup. Where that is missing, the search goes without, and says so.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pxe_kit::command;

mod build;

use build::Sanitizer;

/// Lines of a target's output that are shown when it has found something.
const SHOWN: usize = 60;
/// The target that asks the kernel, which only root may.
const KERNEL: &str = "classifier";
/// The target whose property is no part of the properties that all inputs are held against.
const RINGS: &str = "rings";

/// A target's name and program.
type Target = (String, PathBuf);

/// How it is searched.
struct Search {
    /// The targets' sources, and the inputs that once broke something.
    crate_: PathBuf,
    /// Everything that is built and remembered.
    target: PathBuf,
    /// What is found, and what the targets say.
    out: PathBuf,
    /// Where inputs that reach something new are kept.
    corpus: PathBuf,
    /// For each target.
    time: Duration,
    /// An input that takes so long, in seconds, is a find.
    timeout: u32,
    /// More of libFuzzer's options.
    options: &'static [&'static str],
    /// Whether the kernel is asked, through sudo where we are not root.
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
/// When something was found, or the search could not begin.
pub fn run(wanted: Option<&str>, time: Duration) -> Result<()> {
    if !command::is_root() {
        println!(
            "fuzz: without root the kernel is not asked for its verdicts: sudo -E cargo xtask fuzz {KERNEL} does"
        );
    }
    let sanitizer = Sanitizer::best()?;
    if sanitizer == Sanitizer::None {
        println!(
            "fuzz: this toolchain has no AddressSanitizer: only panics are found, not wrong accesses to memory"
        );
    }
    Search::new(time).search(wanted, sanitizer)
}

/// A short search with each target, a part of the tests: from the seeds and with the same dice each time, so that what it
/// finds today was most likely not there yesterday.
///
/// # Errors
/// When something was found, or the search could not begin.
pub fn check() -> Result<()> {
    println!("test: a short search for inputs that break something");
    let mut search = Search::new(Duration::from_secs(5));
    search.corpus = search.target.join("checked");
    // What an earlier one came upon would make this one another.
    if search.corpus.is_dir() {
        fs::remove_dir_all(&search.corpus)
            .with_context(|| format!("cannot remove {}", search.corpus.display()))?;
    }
    // A busy machine is no find.
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
                // In a statement of its own, which gives the lock back before the search.
                let Some((name, program)) = lock(&next).next() else { return };
                match self.search_one(&name, &program) {
                    Ok(done) => println!("fuzz: {done}"),
                    Err(error) => {
                        // At once: what comes later may be cut off, and is long.
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
        ensure!(found.is_empty(), "failed, as told above: {}", found.join(", "));
        Ok(())
    }

    /// The names of the targets.
    fn known(&self) -> Result<Vec<String>> {
        let folder = self.crate_.join("fuzz_targets");
        let files = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut names: Vec<_> = files
            .map(|file| Ok(file?.path().file_stem().unwrap_or_default().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        names.sort();
        Ok(names)
    }

    /// Lets one target search; a line on what it did.
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
                bail!("`{line}` ended with {status} and said\n{last}")
            };
            let again = command::shown(self.start(name, program)?.arg(input));
            bail!("{status}\n{last}\nAll of it is in {}. {}", log.display(), advice(name, input, &again));
        }
        let inputs = statistic(&said, "number_of_executed_units")
            .filter(|inputs| *inputs > 0)
            .with_context(|| format!("no input was tried; `{line}` said\n{last}"))?;
        // Without instruments it would try inputs blindly, and nobody would notice.
        ensure!(said.contains(" NEW ") || said.contains(" cov: "), "no coverage is told: {line}");
        let each = statistic(&said, "average_exec_per_sec").unwrap_or_default();
        Ok(format!("{name:<10} {inputs:>9} inputs, {each:>6} a second: nothing found"))
    }

    /// A target's program, as root if it is to ask the kernel.
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
        // What is new goes to the first folder; the others are read. A property that was never broken has no regressions.
        search.arg(&corpus);
        let others = [self.target.join("seeds").join(name), self.crate_.join("regressions").join(name)];
        search.args(others.into_iter().filter(|folder| folder.is_dir()));
        search.arg(format!("-artifact_prefix={}/", finds.display()));
        search
            .args([format!("-max_total_time={}", self.time.as_secs()), format!("-timeout={}", self.timeout)]);
        search.arg("-print_final_stats=1").args(self.options);
        // Several of the crates' C libraries have the same names for different things, which is no fault of theirs.
        search.env("ASAN_OPTIONS", "detect_odr_violation=0");
        Ok(search)
    }
}

/// What to do with an input that was found. The input itself is told, too: a folder may not outlive a run in CI.
fn advice(name: &str, input: &str, again: &str) -> String {
    let encoded = command::output(Command::new("base64").args(["--wrap=0", input])).unwrap_or_default();
    let keep = match name {
        RINGS => "Make a script of it in the tests of pxe-user/nic/src/xsk/simulated.rs".to_owned(),
        _ => format!("Keep it as tests/fuzz/regressions/{name}/WHAT-WAS-WRONG: then the tests try it, too"),
    };
    format!(
        "What was found lies in {input}, which is, for `base64 --decode`:\n    {encoded}\nTry it again:\n    {again}\n\
         {keep} (CONTRIBUTING.md)."
    )
}

/// Where libFuzzer says that it has put the input.
fn found_input(said: &str) -> Option<&str> {
    let (_, rest) = said.rsplit_once("Test unit written to ")?;
    rest.lines().next()
}

/// A number from libFuzzer's closing lines (`stat::name: number`).
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
