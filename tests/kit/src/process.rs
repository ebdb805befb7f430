//! Programs that the lab starts: their output goes to files, and they end with us.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::clock;
use crate::owner::{self, SharedChild};

const LOOK: Duration = Duration::from_millis(20);

/// A running program. Dropping it ends it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: SharedChild,
    out: PathBuf,
    err: PathBuf,
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
        Ok(Self { name: name.to_owned(), child, out, err })
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
        read(&self.err)
    }

    /// Where its standard error goes.
    #[must_use]
    pub fn stderr_file(&self) -> &Path {
        &self.err
    }

    /// Waits until it wrote `words`, on either output, and not as a part of longer words: `ready`, not `already`.
    ///
    /// # Errors
    /// When it ends first, or `timeout` passes; with what it said last.
    pub fn wait_for(&self, words: &str, timeout: Duration) -> Result<()> {
        let deadline = clock::now() + timeout;
        loop {
            let running = self.is_running();
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
                return Ok(status);
            }
            if clock::now() >= deadline {
                bail!("{} still runs after {timeout:?}: {}", self.name, self.last_words());
            }
            thread::sleep(LOOK);
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
