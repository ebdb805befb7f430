//! Runs the test programs, and decides which tests run at the same time.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pxe_kit::{clock, command};

use super::outcome::{Outcomes, libtest};
use super::programs::{Program, Programs};

/// The starts of the titles (`PROGRAM: TEST`) of tests that run beside each other: guests and emulated machines with
/// one processor each, and set-up, which mostly waits for the network. They run in this order: long tests first, so
/// that all lanes end at about the same time.
const SHARED: &[&str] = &[
    "package:",
    "deploy",
    "release:",
    "fleet:",
    "kernels:",
    "deployment:",
    "setup:",
    "memory:",
    "firmware:",
    "relay:",
];
/// Tests that run beside each other, but not beside those above: they mostly wait for the start of a daemon or for a
/// client's time-out. All other tests run alone: some load the host so that others would be late, and some act in the
/// middle of a transfer, which would begin late on a busy host.
const WAITING: &[&str] = &[
    "clients:",
    "cluster:",
    "confined:",
    "docs:",
    "failures:",
    "faults_interface:",
    "faults_load: machines_end_well_when_a_third",
    "faults_load: machines_end_well_when_frames",
    "faults_neighbours:",
    "images:",
    "path_mtu:",
    "preconditions:",
    "rules:",
];
/// The number of these tests that run at once.
const SIDE_BY_SIDE: usize = 2;

/// Runs the programs that need no root, one after the other: each uses all processors.
pub(super) fn run_unprivileged(programs: &Programs, outcomes: &mut Outcomes) {
    for program in programs.0.iter().filter(|program| !program.needs_root) {
        let mut test = Command::new(&program.path);
        test.current_dir(&program.folder);
        if let Some(tests) = &program.tests {
            test.arg("--exact").args(tests);
        }
        let what = format!("unit tests of {}", program.name);
        let start = clock::now();
        let ran = captured(&mut test);
        outcomes.took(&what, start.elapsed());
        match ran.and_then(|(is_ok, said)| counted(is_ok, &said)) {
            Ok([passed, ignored]) => {
                if passed > 0 {
                    println!("ok {:7.1} s  {what} ({passed})", start.elapsed().as_secs_f64());
                }
                outcomes.count(passed, ignored);
            }
            Err(error) => outcomes.fail(&what, error),
        }
    }
}

fn counted(is_ok: bool, said: &str) -> Result<[usize; 2]> {
    ensure!(is_ok, "the program failed:\n{said}");
    let [passed, _, ignored] =
        libtest(said).with_context(|| format!("the program printed no result:\n{said}"))?;
    Ok([passed, ignored])
}

struct Test {
    program: Program,
    name: String,
}

impl Test {
    fn title(&self) -> String {
        format!("{}: {}", self.program.name, self.name)
    }

    /// The index of the entry with which the title starts.
    fn place_in(&self, begins: &[&str]) -> Option<usize> {
        let title = self.title();
        begins.iter().position(|begin| title.starts_with(begin))
    }
}

/// Runs each test that needs root in its own process: first those that run beside others, then those that run alone.
pub(super) fn run_privileged(programs: &Programs, long: bool, outcomes: &mut Outcomes) -> Result<()> {
    let mut tests = Vec::new();
    for program in programs.0.iter().filter(|program| program.needs_root) {
        let ignored = if long { Vec::new() } else { program.list(true)? };
        let listed = program.tests.clone().map_or_else(|| program.list(false), Ok)?;
        outcomes.count(0, listed.iter().filter(|name| ignored.contains(name)).count());
        let names = listed.into_iter().filter(|name| !ignored.contains(name));
        tests.extend(names.map(|name| Test { program: program.clone(), name }));
    }
    let (mut shared, others): (Vec<_>, Vec<_>) =
        tests.into_iter().partition(|test| test.place_in(SHARED).is_some());
    shared.sort_by_key(|test| test.place_in(SHARED));
    let (waiting, alone): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|test| test.place_in(WAITING).is_some());
    let outcomes = Mutex::new(outcomes);
    run(shared, SIDE_BY_SIDE, &outcomes);
    run(waiting, SIDE_BY_SIDE, &outcomes);
    run(alone, 1, &outcomes);
    Ok(())
}

/// Runs tests in order, `at_a_time` of them at once.
fn run(tests: Vec<Test>, at_a_time: usize, outcomes: &Mutex<&mut Outcomes>) {
    let next = Mutex::new(tests.into_iter());
    let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                while let Some(test) = take() {
                    let start = clock::now();
                    let ran = privileged(&test);
                    note(&test, start.elapsed(), ran, outcomes);
                }
            });
        }
    });
}

fn privileged(test: &Test) -> Result<()> {
    // Through `env`, because sudo clears the environment.
    let mut command = command::as_root("env")?;
    command.args(command::kept_environment());
    // A limit, so that a test that hangs does not block the others. With `--foreground`, an interrupt reaches the test.
    command
        .args(["timeout", "--foreground", "--kill-after=30", "3600"])
        .arg(&test.program.path)
        .args(["--exact", &test.name]);
    command.args(["--nocapture", "--include-ignored", "--test-threads=1"]).current_dir(&test.program.folder);
    let (is_ok, said) = captured(&mut command)?;
    ensure!(is_ok, "\n{said}");
    // libtest succeeds also if no test has the name.
    match libtest(&said) {
        Some([1, 0, 0]) => Ok(()),
        _ => bail!("the test did not run:\n{said}"),
    }
}

fn note(test: &Test, time: Duration, ran: Result<()>, outcomes: &Mutex<&mut Outcomes>) {
    let title = test.title();
    let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
    outcomes.took(&title, time);
    match ran {
        Ok(()) => {
            println!("ok {:7.1} s  {title}", time.as_secs_f64());
            outcomes.count(1, 0);
        }
        Err(error) => outcomes.fail(&title, error),
    }
}

/// Runs a command, and returns whether it succeeded, and its output. The output goes to a file and not to a pipe, which a
/// process that outlives the command would keep open.
fn captured(command: &mut Command) -> Result<(bool, String)> {
    let line = command::shown(command);
    let mut file = tempfile()?;
    command.stdin(std::process::Stdio::null()).stdout(file.try_clone()?).stderr(file.try_clone()?);
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    let mut said = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut said)?;
    Ok((status.success(), String::from_utf8_lossy(&said).into_owned()))
}

/// Makes a file in memory, without a name.
fn tempfile() -> Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    let memory = memfd_create("test-output", MemfdFlags::CLOEXEC).context("cannot make a file in memory")?;
    Ok(File::from(memory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_prints_is_kept_in_its_order() {
        let (is_ok, said) =
            captured(Command::new("sh").args(["-c", "echo a; echo b >&2; echo c; exit 3"])).unwrap();
        assert_eq!((is_ok, said.as_str()), (false, "a\nb\nc\n"));
    }

    #[test]
    fn a_program_without_a_result_has_failed() {
        assert!(counted(true, "").is_err());
        let said =
            "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(counted(true, said).unwrap(), [2, 1]);
        assert!(counted(false, said).is_err());
    }
}
