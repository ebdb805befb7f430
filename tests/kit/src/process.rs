//! Programs that the lab starts: their output goes to files, and they end with us.

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
/// Most that is kept in memory of what a program says, in bytes: one that runs for hours says more than anybody reads.
const KEPT: usize = 8 << 20;

/// A running program. Dropping it ends it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: SharedChild,
    out: PathBuf,
    err: Said,
}

/// Where a program's standard error goes.
#[derive(Debug)]
enum Said {
    /// Into a file.
    File(PathBuf),
    /// Into memory, the last [`KEPT`] bytes of it.
    Memory(Arc<Mutex<String>>, JoinHandle<()>),
}

impl Process {
    /// Starts a program whose output goes to `NAME.out` and `NAME.err` in `folder`, with a standard input. Of one that is
    /// piped and so has no end the child keeps our end, and is ended before it is dropped.
    pub fn start_from(name: &str, mut command: Command, stdin: Stdio, folder: &Path) -> Result<Self> {
        let out = folder.join(format!("{name}.out"));
        command.stdin(stdin).stdout(create(&out)?);
        Self::launch(name, command, out, folder)
    }

    /// The same without any input.
    pub fn start(name: &str, command: Command, folder: &Path) -> Result<Self> {
        Self::start_from(name, command, Stdio::null(), folder)
    }

    /// Starts a program that is talked to through its standard input and output.
    ///
    /// # Errors
    /// When it cannot be started.
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

    /// Starts a program from this thread, and so in its network namespace, without input. What it writes to its standard error
    /// is kept in memory.
    ///
    /// # Errors
    /// When it cannot be started.
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
        // Somebody must read on, or the program waits for room in the pipe.
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

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.lock().id()
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.lock().try_wait(), Ok(None))
    }

    /// What it wrote to its standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.out)
    }

    /// What it wrote to its standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        match &self.err {
            Said::File(path) => read(path),
            Said::Memory(said, _) => said.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// The file that its standard error goes to; empty for a program that was started here.
    #[must_use]
    pub fn stderr_file(&self) -> &Path {
        match &self.err {
            Said::File(path) => path,
            Said::Memory(..) => Path::new(""),
        }
    }

    /// Sends it a signal, and does not wait.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let mut child = self.lock();
        ensure!(matches!(child.try_wait(), Ok(None)), "{} has ended", self.name);
        Ok(kill_process(Pid::from_child(&child), signal)?)
    }

    /// Waits until it wrote `words`, on either output, and not as a part of longer words: `ready`, not `already`.
    ///
    /// # Errors
    /// When it ends first, or `timeout` passes; with what it said last.
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
                bail!("{} ended before it said `{words}`: {}", self.name, self.last_words());
            }
            if clock::now() >= deadline {
                bail!("{} did not say `{words}` in {timeout:?}: {}", self.name, self.last_words());
            }
            thread::sleep(LOOK);
        }
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When `timeout` passes; it goes on running then.
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

    /// Waits a moment for the last words of a program that has ended. One that it has started may still have the pipe.
    fn read_to_its_end(&self) {
        let Said::Memory(_, reader) = &self.err else { return };
        let deadline = clock::now() + Duration::from_secs(1);
        while !reader.is_finished() && clock::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Asks it to end (SIGTERM), kills it when it does not within three seconds, and says how it ended.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn stop(&self) -> Result<ExitStatus> {
        owner::end_child(&self.child);
        Ok(self.lock().wait()?)
    }

    /// The last lines that it wrote.
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

/// Adds a line. Of what is too long, the older half goes: whole lines, since what is searched for is in one.
fn keep(said: &mut String, line: &str) {
    if said.len() > KEPT {
        let end = said.as_bytes().iter().skip(KEPT / 2).position(|byte| *byte == b'\n');
        said.drain(..end.map_or(0, |end| KEPT / 2 + end + 1));
    }
    said.push_str(line);
    said.push('\n');
}

/// Whether a text holds `words` with no letter or digit next to them.
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

/// Starts a program from a thread that lives as long as this process. The kernel sends the signal of
/// `PR_SET_PDEATHSIG` when the *thread* that started a child ends, and a test's thread ends before its process.
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
    let gone = |_| io::Error::other("the thread that starts programs is gone");
    spawner.send((command, answer)).map_err(|_| gone(()))?;
    child.recv().map_err(|_| gone(()))?
}

/// Follows a file that grows, line by line.
#[derive(Debug)]
pub struct LogTail {
    path: PathBuf,
    at: u64,
    rest: Vec<u8>,
}

impl LogTail {
    /// From the file's beginning.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), at: 0, rest: Vec::new() }
    }

    /// The whole lines that were added since the last call.
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
        assert!(process.signal(Signal::TERM).is_err(), "another process may have its number");
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
