//! A PostgreSQL server of a test's own, from the distribution's package: in a temporary folder, as an ordinary user, on a free
//! port of the loopback interface and a Unix socket.
//!
//! `replication` makes one server the standby of another.
//!
//! PostgreSQL refuses to run as root, so root starts it as `nobody`. A watcher, a shell that waits for the end of its input,
//! ends the server and removes the folder: when the value is dropped, and also when the test's process is killed.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{clock, command};

mod replication;

/// The user and group that root runs the server as: `nobody`, on all distributions.
const NOBODY: u32 = 65534;
/// The superuser of the server, and its password over TCP. The Unix socket needs none.
pub const USER: &str = "postgres";
/// See [`USER`].
pub const PASSWORD: &str = "secret of the test";
const START_MAX: Duration = Duration::from_secs(60);
/// Waits for the end of its input. Then ends the server in the folder `$1`, frozen or not, and removes the folder.
const WATCH: &str = r#"
cat >/dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ]; then
    children=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null)
    kill -CONT "$pid" $children 2>/dev/null
    kill -QUIT "$pid" 2>/dev/null
    for turn in 1 2 3 4 5 6 7 8 9 10; do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.2
    done
    kill -KILL "$pid" $children 2>/dev/null
fi
rm -rf "$1"
"#;

/// The folder with the server's programs: that of the newest version.
///
/// # Errors
/// If PostgreSQL is not installed.
pub fn programs() -> Result<PathBuf> {
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let debian =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = debian.max_by_key(|path| version(path)).map(|path| path.join("bin"));
    let initdb = || command::find("initdb").and_then(|path| Some(path.parent()?.to_owned()));
    let found = newest.filter(|path| path.join("initdb").exists()).or_else(initdb);
    found.context("PostgreSQL is not installed: `cargo xtask setup` installs it")
}

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    watcher: Child,
}

impl Postgres {
    /// Makes and starts a server.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start() -> Result<Self> {
        Self::start_with("", |_| Ok(()))
    }

    /// Makes and starts a server with lines of `postgresql.conf`, and files that `prepare` puts into its data folder.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start_with(settings: &str, prepare: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        let server = Self::empty()?;
        let password = server.folder.join("password");
        fs::write(&password, PASSWORD)?;
        give(&password)?;
        let mut initdb = server.command("initdb");
        initdb.args([
            "--no-sync",
            "--encoding=UTF8",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--username",
            USER,
        ]);
        command::output(initdb.arg("--pwfile").arg(&password).arg("-D").arg(server.data()))?;
        server.configure(settings)?;
        prepare(&server.data())?;
        for entry in fs::read_dir(server.data())? {
            give(&entry?.path())?;
        }
        server.launch()?;
        Ok(server)
    }

    /// A folder and a port for a server, without data.
    fn empty() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let programs = programs()?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("pxed-postgres-{}-{number}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut watch = Command::new("sh");
        watch.args(["-c", WATCH, "watch"]).arg(&folder).stdin(Stdio::piped());
        // Output that a killed test leaves open would keep whoever waits for its end.
        let watcher = watch.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let server = Self { programs, folder, port, watcher };
        give(&server.folder)?;
        Ok(server)
    }

    /// Adds the server's own settings, then these, to its configuration. PostgreSQL uses the last value of each.
    fn configure(&self, settings: &str) -> Result<()> {
        let own = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\nfsync = off\n\
             shared_buffers = 32MB\n{settings}\n",
            self.port,
            self.folder.display()
        );
        let configuration = self.data().join("postgresql.conf");
        let text = fs::read_to_string(&configuration)? + &own;
        Ok(fs::write(&configuration, text)?)
    }

    /// Starts the server, which must not run, and waits until it answers.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn launch(&self) -> Result<()> {
        let log = fs::File::options().create(true).append(true).open(self.folder.join("log"))?;
        let mut server = self.command("postgres");
        server.arg("-D").arg(self.data()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut child = server.spawn().context("cannot start PostgreSQL")?;
        let mut is_up = || {
            if child.try_wait()?.is_some() {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                anyhow::bail!("PostgreSQL ended:\n{log}");
            }
            Ok(self.sql("postgres", "SELECT 1").is_ok())
        };
        clock::wait_until("PostgreSQL answers", START_MAX, &mut is_up)?;
        // Collects the process when it ends, so that its number is free.
        std::thread::spawn(move || child.wait());
        Ok(())
    }

    /// The port on 127.0.0.1, and in the socket's name.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the Unix socket, in which the server can read files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The URL of a database over the Unix socket, without a password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@/{database}?host={}&port={}", self.folder.display(), self.port)
    }

    /// Runs SQL in a database, and returns the values, separated by `|` and line ends.
    ///
    /// # Errors
    /// If psql fails.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String> {
        let mut psql = self.command("psql");
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
        psql.args(["--username", USER, "--dbname", database, "--port", &self.port.to_string(), "--host"]);
        psql.arg(&self.folder).args(["--command", sql]).env("PGCONNECT_TIMEOUT", "5");
        Ok(command::output(&mut psql)?.trim().to_owned())
    }

    /// Stops all processes of the server, so that it accepts connections and never answers.
    ///
    /// # Errors
    /// If a process cannot be stopped.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Continues after [`freeze`](Self::freeze).
    ///
    /// # Errors
    /// If a process cannot be continued.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Kills all processes of the server.
    ///
    /// # Errors
    /// If one cannot be killed.
    pub fn kill(&self) -> Result<()> {
        let server = self.process()?;
        self.signal(Signal::KILL)?;
        clock::wait_until("PostgreSQL has ended", START_MAX, || {
            Ok(!Path::new(&format!("/proc/{}", server.as_raw_nonzero())).exists())
        })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let server = self.process()?;
        // The server first: it makes no further process then.
        kill_process(server, signal)?;
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.as_raw_nonzero()));
        for child in children.unwrap_or_default().split_whitespace() {
            if let Some(child) = child.parse().ok().and_then(Pid::from_raw) {
                // It may have ended by itself.
                let _ = kill_process(child, signal);
            }
        }
        Ok(())
    }

    fn process(&self) -> Result<Pid> {
        let text =
            fs::read_to_string(self.data().join("postmaster.pid")).context("PostgreSQL does not run")?;
        let number = text.lines().next().and_then(|line| line.parse().ok());
        number.and_then(Pid::from_raw).context("not a process's number")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(&self.folder).env("LC_ALL", "C");
        if command::is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
    }
}

/// Makes a path the server's own, and readable by no other user, as PostgreSQL wants it of keys.
fn give(path: &Path) -> Result<()> {
    let is_folder = path.is_dir();
    if !is_folder {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    if command::is_root() {
        chown(path, Some(NOBODY), Some(NOBODY))?;
    }
    ensure!(path.exists(), "{} is gone", path.display());
    Ok(())
}
