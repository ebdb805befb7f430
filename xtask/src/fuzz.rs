//! The search for inputs that break what must hold: libFuzzer on the targets in `tests/fuzz`, which cargo-fuzz builds.
//!
//! libFuzzer needs options of rustc that count as unstable. A stable compiler takes them when `RUSTC_BOOTSTRAP=1` says so;
//! nothing that is built in this way is ever shipped. So one toolchain is enough, whichever that is, and its standard
//! library need not be built anew. AddressSanitizer's run-time library comes with the toolchains of rustup; where it is
//! missing, as in those of distributions, the search goes without, and says so.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::{command, setup};

/// An input that takes so long, in seconds, is a find.
const TIMEOUT: u32 = 20;
/// Lines of a target's output that are shown when it has found something.
const SHOWN: usize = 60;

/// Where it all is.
struct Folders {
    /// The targets' sources, and the inputs that once broke something.
    crate_: PathBuf,
    /// Everything that is built and remembered.
    target: PathBuf,
    /// What is found, and what the targets say.
    out: PathBuf,
}

/// A target's name and program.
type Target = (String, PathBuf);

/// Searches for `time` with each target, or with one of them.
///
/// # Errors
/// When something was found, or the search could not begin.
pub fn run(wanted: Option<&str>, time: Duration) -> Result<()> {
    setup::ensure(setup::FUZZ)?;
    if !command::is_root() {
        println!(
            "fuzz: without root the kernel is not asked for its verdicts: sudo -E cargo xtask fuzz classifier does"
        );
    }
    search(wanted, time)
}

fn search(wanted: Option<&str>, time: Duration) -> Result<()> {
    let folders = Folders {
        crate_: command::workspace().join("tests/fuzz"),
        target: command::target_dir().join("fuzz"),
        out: command::workspace().join("out/fuzz"),
    };
    let targets = folders.build(wanted)?;
    folders.write_seeds()?;
    fs::create_dir_all(&folders.out).with_context(|| format!("cannot make {}", folders.out.display()))?;
    let found = Mutex::new(Vec::new());
    let next = Mutex::new(targets.into_iter());
    let work = || {
        while let Some((name, program)) = lock(&next).next() {
            match folders.search_one(&name, &program, time) {
                Ok(done) => println!("fuzz: {done}"),
                Err(error) => lock(&found).push(format!("{error:#}")),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let found = found.into_inner().unwrap_or_default();
    ensure!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Folders {
    /// Builds the targets.
    fn build(&self, wanted: Option<&str>) -> Result<Vec<Target>> {
        let known = self.known()?;
        if let Some(wanted) = wanted.filter(|wanted| !known.iter().any(|name| name == wanted)) {
            bail!("there is no target `{wanted}`; there are {}", known.join(", "));
        }
        let triple = host_triple()?;
        let sanitizer = if has_address_sanitizer(&triple)? {
            "address"
        } else {
            println!(
                "fuzz: this toolchain has no AddressSanitizer: only panics are found, not wrong accesses to memory"
            );
            "none"
        };
        println!("fuzz: cargo fuzz build --sanitizer {sanitizer}");
        let mut cargo = command::cargo();
        cargo.args(["fuzz", "build", "--fuzz-dir"]).arg(&self.crate_).arg("--target-dir").arg(&self.target);
        // One unit for each crate would run a little faster and take twice as long to build.
        cargo.args(["--target", &triple, "--sanitizer", sanitizer, "--codegen-units", "16"]).args(wanted);
        command::run(cargo.env("RUSTC_BOOTSTRAP", "1"))?;
        let built = |name: String| {
            let program = self.target.join(&triple).join("release").join(&name);
            (name, program)
        };
        let wanted = known.into_iter().filter(|name| wanted.is_none_or(|wanted| wanted == name));
        Ok(wanted.map(built).collect())
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

    fn seeds(&self) -> PathBuf {
        self.target.join("seeds")
    }

    fn write_seeds(&self) -> Result<()> {
        let mut cargo = command::cargo();
        cargo.args(["run", "--quiet", "--package", "pxe-tests", "--bin", "seeds", "--"]).arg(self.seeds());
        command::run(&mut cargo)
    }

    /// Lets one target search; a line on what it did.
    fn search_one(&self, name: &str, program: &Path, time: Duration) -> Result<String> {
        let corpus = self.target.join("corpus").join(name);
        let finds = self.out.join(name);
        for folder in [&corpus, &finds] {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let log = self.out.join(format!("{name}.log"));
        let (out, err) = {
            let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
            (file.try_clone()?, file)
        };
        let mut search = Command::new(program);
        // What is new goes to the first folder; the others are read. A property that was never broken has no regressions.
        search.arg(&corpus);
        let others = [self.seeds().join(name), self.crate_.join("regressions").join(name)];
        search.args(others.into_iter().filter(|folder| folder.is_dir()));
        search.arg(format!("-artifact_prefix={}/", finds.display()));
        search.args([format!("-max_total_time={}", time.as_secs()), format!("-timeout={TIMEOUT}")]);
        search.arg("-print_final_stats=1");
        // Several of the crates' C libraries have the same names for different things, which is no fault of theirs.
        search.env("ASAN_OPTIONS", "detect_odr_violation=0").stdout(out).stderr(err);
        let line = command::shown(&search);
        let status = search.status().with_context(|| format!("cannot start {}", program.display()))?;
        let said = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
        let said = String::from_utf8_lossy(&said);
        if !status.success() {
            bail!(
                "{name}: {status}\n{}\nAll of it is in {}. Found inputs are in {}; one is tried again by\n    {} FILE\n\
                 Keep it as tests/fuzz/regressions/{name}/WHAT-WAS-WRONG: then the tests try it, too (docs/testing.md).",
                last_lines(&said, SHOWN),
                log.display(),
                finds.display(),
                program.display(),
            );
        }
        let inputs =
            statistic(&said, "number_of_executed_units").filter(|inputs| *inputs > 0).with_context(|| {
                format!("{name}: no input was tried; `{line}` said\n{}", last_lines(&said, SHOWN))
            })?;
        let each = statistic(&said, "average_exec_per_sec").unwrap_or_default();
        Ok(format!("{name:<10} {inputs:>9} inputs, {each:>6} a second: nothing found"))
    }
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

fn rustc(arguments: &[&str]) -> Result<String> {
    command::output(Command::new("rustc").args(arguments).current_dir(command::workspace()))
}

/// The machine that the compiler compiles for by itself.
fn host_triple() -> Result<String> {
    let version = rustc(&["--version", "--verbose"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned);
    host.context("rustc does not say what machine this is")
}

/// Whether AddressSanitizer's run-time library is there: `librustc-CHANNEL_rt.asan.a` beside the standard library.
fn has_address_sanitizer(triple: &str) -> Result<bool> {
    let folder = rustc(&["--print", "target-libdir", "--target", triple])?;
    let files = fs::read_dir(folder.trim()).with_context(|| format!("cannot read {}", folder.trim()))?;
    Ok(files.flatten().any(|file| file.file_name().to_string_lossy().ends_with("_rt.asan.a")))
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
    }
}
