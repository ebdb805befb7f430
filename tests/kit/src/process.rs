//! Programs that end with this process, and whose output goes to files or into memory.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::clock;
use crate::owner::{self, SharedChild};

const LOOK: Duration = Duration::from_millis(20);
/// The maximum of a program's output in memory, in bytes. A program that runs for hours would otherwise fill the memory.
const KEPT: usize = 8 << 20;

/// A running program. Dropping it ends it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: SharedChild,
    out: PathBuf,
    err: Said,
}

/// The destination of a program's standard error.
#[derive(Debug)]
enum Said {
    File(PathBuf),
    /// The last [`KEPT`] bytes, in memory.
    Memory(Arc<Mutex<String>>, JoinHandle<()>),
}

impl Process {
    /// Starts a program with its output in `NAME.out` and `NAME.err` of `folder`, and with a standard input. The
    /// `Child` keeps our end of a piped input, so that the input stays open until the program is ended.
    pub fn start_from(name: &str, mut command: Command, stdin: Stdio, folder: &Path) -> Result<Self> {
        let out = folder.join(format!("{name}.out"));
        command.stdin(stdin).stdout(create(&out)?);
        Self::launch(name, command, out, folder)
    }

    /// Like [`start_from`](Self::start_from), without input.
    pub fn start(name: &str, command: Command, folder: &Path) -> Result<Self> {
        Self::start_from(name, command, Stdio::null(), folder)
    }

    /// Starts a program, and returns pipes to its standard input and output.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start_piped(
        name: &str,
        mut command: Command,
        folder: &Path,
    ) -> Result<(Self, ChildStdin, ChildStdout)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let process = Self::launch(name, command, PathBuf::new(), folder)?;
        let mut child = process.lock();
        let ends = (child.stdin.take(), child.stdout.take());
        drop(child);
        let (Some(stdin), Some(stdout)) = ends else { bail!("{name} has no pipes") };
        Ok((process, stdin, stdout))
    }

    fn launch(name: &str, mut command: Command, out: PathBuf, folder: &Path) -> Result<Self> {
        let err = folder.join(format!("{name}.err"));
        command.stderr(create(&err)?);
        let program = command.get_program().to_owned();
        let mut registry = owner::registry()?;
        let child = spawn(command).with_context(|| format!("cannot start {}", program.display()))?;
        let child = Arc::new(Mutex::new(child));
        registry.add_child(Arc::clone(&child));
        Ok(Self { name: name.to_owned(), child, out, err: Said::File(err) })
    }

    /// Starts a program without input from this thread, and therefore in the thread's network namespace. Its standard error
    /// is kept in memory.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start_here(name: &str, mut command: Command) -> Result<Self> {
        let program = command.get_program().to_owned();
        let mut registry = owner::registry()?;
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.with_context(|| format!("cannot start {}", program.display()))?;
        let stderr = child.stderr.take().context("no pipe")?;
        let child = Arc::new(Mutex::new(child));
        registry.add_child(Arc::clone(&child));
        let said = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&said);
        // Without a reader, the program would block when the pipe is full.
        let reader = thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                keep(&mut kept.lock().unwrap_or_else(PoisonError::into_inner), &line);
            }
        });
        Ok(Self { name: name.to_owned(), child, out: PathBuf::new(), err: Said::Memory(said, reader) })
    }

    fn lock(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The program's process ID.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.lock().id()
    }

    /// Whether the program still runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.lock().try_wait(), Ok(None))
    }

    /// The program's standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.out)
    }

    /// The program's standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        match &self.err {
            Said::File(path) => read(path),
            Said::Memory(said, _) => said.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// The file with the program's standard error. Empty after [`start_here`](Self::start_here).
    #[must_use]
    pub fn stderr_file(&self) -> &Path {
        match &self.err {
            Said::File(path) => path,
            Said::Memory(..) => Path::new(""),
        }
    }

    /// Sends the program a signal, without waiting for the effect.
    ///
    /// # Errors
    /// If the program has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let mut child = self.lock();
        ensure!(matches!(child.try_wait(), Ok(None)), "{} has ended", self.name);
        Ok(kill_process(Pid::from_child(&child), signal)?)
    }

    /// Waits until either output contains `words` as whole words: `already` does not count as `ready`.
    ///
    /// # Errors
    /// If the program ends first, or `timeout` passes. The error contains its last lines.
    pub fn wait_for(&self, words: &str, timeout: Duration) -> Result<()> {
        let deadline = clock::now() + timeout;
        loop {
            let running = self.is_running();
            if !running {
                self.read_to_its_end();
            }
            if says(&self.stderr(), words) || says(&self.stdout(), words) {
                return Ok(());
            }
            if !running {
                bail!("{} ended before it printed `{words}`: {}", self.name, self.last_words());
            }
            if clock::now() >= deadline {
                bail!("{} did not print `{words}` in {timeout:?}: {}", self.name, self.last_words());
            }
            thread::sleep(LOOK);
        }
    }

    /// Waits until the program ends by itself.
    ///
    /// # Errors
    /// If `timeout` passes. The program keeps running.
    pub fn wait(&self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = clock::now() + timeout;
        loop {
            if let Some(status) = self.lock().try_wait()? {
                self.read_to_its_end();
                return Ok(status);
            }
            if clock::now() >= deadline {
                bail!("{} still runs after {timeout:?}: {}", self.name, self.last_words());
            }
            thread::sleep(LOOK);
        }
    }

    /// Waits up to a second for the last output of a program that has ended. The limit is for children of the program,
    /// which may keep the pipe open.
    fn read_to_its_end(&self) {
        let Said::Memory(_, reader) = &self.err else { return };
        let deadline = clock::now() + Duration::from_secs(1);
        while !reader.is_finished() && clock::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends the program by SIGTERM, and after three seconds by SIGKILL. Returns its exit status.
    ///
    /// # Errors
    /// If the system does not return the status.
    pub fn stop(&self) -> Result<ExitStatus> {
        owner::end_child(&self.child);
        Ok(self.lock().wait()?)
    }

    /// The last four lines of the program's output.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = self.stderr() + &self.stdout();
        let lines: Vec<_> = text.lines().filter(|l| !l.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(4)..].join("; ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        owner::end_child(&self.child);
        owner::forget_child(&self.child);
    }
}

/// Adds a line. If the text is too long, its older half is removed first, in whole lines, because tests search in lines.
fn keep(said: &mut String, line: &str) {
    if said.len() > KEPT {
        let end = said.as_bytes().iter().skip(KEPT / 2).position(|byte| *byte == b'\n');
        said.drain(..end.map_or(0, |end| KEPT / 2 + end + 1));
    }
    said.push_str(line);
    said.push('\n');
}

/// Whether a text contains `words` without a letter or digit beside them.
fn says(text: &str, words: &str) -> bool {
    text.match_indices(words).any(|(at, _)| {
        let around = [text[..at].chars().next_back(), text[at + words.len()..].chars().next()];
        !around.into_iter().flatten().any(char::is_alphanumeric)
    })
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot write {}", path.display()))
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// Starts a program from a thread that lives as long as this process. The kernel sends the parent-death signal when the
/// *thread* that started a child ends, and the thread of a test ends before its process.
fn spawn(command: Command) -> io::Result<Child> {
    type Order = (Command, Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in inbox {
                drop(answer.send(command.spawn()));
            }
        });
        orders
    });
    let (answer, child) = channel();
    let gone = |_| io::Error::other("the thread that starts programs has ended");
    spawner.send((command, answer)).map_err(|_| gone(()))?;
    child.recv().map_err(|_| gone(()))?
}

/// Reads a growing file line by line.
#[derive(Debug)]
pub struct LogTail {
    path: PathBuf,
    at: u64,
    rest: Vec<u8>,
}

impl LogTail {
    /// Starts at the beginning of the file.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), at: 0, rest: Vec::new() }
    }

    /// The complete lines that were added since the last call.
    pub fn lines(&mut self) -> Vec<String> {
        let mut grown = Vec::new();
        let more = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.at))?;
            file.read_to_end(&mut grown)
        });
        self.at += more.unwrap_or(0) as u64;
        self.rest.append(&mut grown);
        let Some(end) = self.rest.iter().rposition(|&b| b == b'\n') else { return Vec::new() };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn already_is_not_ready() {
        assert!(says(r#"{"message":"ready on pxe0"}"#, "ready"));
        assert!(says("already there, but ready", "ready"));
        assert!(!says("eth0 has a responder already", "ready"));
    }

    #[test]
    fn what_is_said_for_hours_stays_bounded_and_ends_with_the_last_line() {
        let mut said = String::new();
        let line = "x".repeat(1023);
        (0..20_000).for_each(|_| keep(&mut said, &line));
        keep(&mut said, "the last");
        assert!(said.len() <= KEPT + 1024 && said.len() >= KEPT / 2, "{}", said.len());
        assert!(said.starts_with("xx") && said.ends_with("x\nthe last\n"));
        assert!(said.lines().all(|one| one == line || one == "the last"));
    }

    #[test]
    fn a_program_that_is_started_here_is_heard_and_gets_signals() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo hears >&2; exec sleep 60"]);
        let process = Process::start_here("shell", shell).unwrap();
        process.wait_for("hears", Duration::from_secs(10)).unwrap();
        process.signal(Signal::KILL).unwrap();
        assert!(!process.wait(Duration::from_secs(10)).unwrap().success());
        assert!(process.signal(Signal::TERM).is_err(), "another process may have this ID");
    }

    #[test]
    fn a_tail_gives_each_line_once_and_only_whole() {
        let path = std::env::temp_dir().join(format!("pxed-tail-{}", std::process::id()));
        let mut file = create(&path).unwrap();
        let mut tail = LogTail::new(&path);
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(tail.lines(), ["one"]);
        file.write_all(b"o\nthree\n").unwrap();
        assert_eq!(tail.lines(), ["two", "three"]);
        assert!(tail.lines().is_empty());
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let folder = std::env::temp_dir();
        let name = format!("pxed-sleeper-{}", std::process::id());
        let mut sleeper = Command::new("setpriv");
        sleeper.args(["--pdeathsig", "KILL", "sleep", "60"]);
        let started = thread::spawn({
            let (name, folder) = (name.clone(), folder.clone());
            move || Process::start(&name, sleeper, &folder).unwrap()
        });
        let process = started.join().unwrap();
        thread::sleep(Duration::from_millis(200));
        assert!(process.is_running());
        assert!(!process.stop().unwrap().success());
        for end in ["out", "err"] {
            fs::remove_file(folder.join(format!("{name}.{end}"))).unwrap();
        }
    }
}
