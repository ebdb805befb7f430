//! Records what a lab has made (namespaces, folders, programs), and removes it: when guards are dropped, on a signal, or in
//! the next run after a kill.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{self, Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::clock;
use crate::command;

/// A child process that its [`Process`](crate::Process) and the clean-up share. The holder of the lock may kill or reap it.
pub(crate) type SharedChild = Arc<Mutex<Child>>;

const PREFIX: &str = "pxed";
const NAMESPACES: &str = "/run/netns";
/// The time between SIGTERM and SIGKILL.
pub(crate) const GRACE: Duration = Duration::from_secs(3);

/// Everything that must not outlive this process.
#[derive(Default)]
pub(crate) struct Registry {
    namespaces: BTreeSet<String>,
    folders: BTreeSet<PathBuf>,
    children: Vec<SharedChild>,
    closed: bool,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    namespaces: BTreeSet::new(),
    folders: BTreeSet::new(),
    children: Vec::new(),
    closed: false,
});

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks the registry. Callers make things under this lock, so that a clean-up misses nothing.
pub(crate) fn registry() -> Result<MutexGuard<'static, Registry>> {
    let registry = lock(&REGISTRY);
    if registry.closed {
        bail!("interrupted");
    }
    Ok(registry)
}

impl Registry {
    pub(crate) fn add_namespace(&mut self, name: &str) -> Result<()> {
        self.namespaces.insert(name.to_owned());
        command::output(Command::new("ip").args(["netns", "add", name]))
            .context("cannot make a network namespace (this needs root)")?;
        Ok(())
    }

    pub(crate) fn add_folder(&mut self, folder: PathBuf) -> Result<()> {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        self.folders.insert(folder);
        Ok(())
    }

    pub(crate) fn add_child(&mut self, child: SharedChild) {
        self.children.push(child);
    }
}

/// Removes a reaped child from the registry.
pub(crate) fn forget_child(child: &SharedChild) {
    lock(&REGISTRY).children.retain(|c| !Arc::ptr_eq(c, child));
}

/// Kills the programs in a namespace, and removes the namespace.
pub(crate) fn remove_namespace(name: &str) {
    delete_namespace(name);
    lock(&REGISTRY).namespaces.remove(name);
}

/// Removes a folder of a lab.
pub(crate) fn remove_folder(folder: &PathBuf) {
    drop(fs::remove_dir_all(folder));
    lock(&REGISTRY).folders.remove(folder);
}

/// Ends a child by SIGTERM, and after [`GRACE`] by SIGKILL.
pub(crate) fn end_child(child: &SharedChild) {
    end_children(std::slice::from_ref(child));
}

fn end_children(children: &[SharedChild]) {
    for child in children {
        signal_child(&mut lock(child), Signal::TERM);
    }
    let deadline = clock::now() + GRACE;
    for child in children {
        while clock::now() < deadline && matches!(lock(child).try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(5));
        }
        let mut child = lock(child);
        // Both calls fail if the child is already reaped.
        drop(child.kill());
        drop(child.wait());
    }
}

/// Sends a signal, unless the child is reaped: then another process may have its ID.
fn signal_child(child: &mut Child, signal: Signal) {
    if let (Ok(None), Some(pid)) = (child.try_wait(), Pid::from_raw(child.id().cast_signed())) {
        let _ = kill_process(pid, signal);
    }
}

fn delete_namespace(name: &str) {
    let pids = command::output(Command::new("ip").args(["netns", "pids", name])).unwrap_or_default();
    for pid in pids.split_whitespace().filter_map(|p| Pid::from_raw(p.parse().ok()?)) {
        let _ = kill_process(pid, Signal::KILL);
    }
    // This fails if the sweep of another run was faster.
    drop(command::output(Command::new("ip").args(["netns", "delete", name])));
}

/// The process that a name belongs to: its ID, and its start time, because the kernel reuses IDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    pid: u32,
    start: u64,
}

impl Owner {
    fn me() -> Result<Self> {
        let pid = process::id();
        let start = start_of(pid).context("cannot read /proc/self/stat: is /proc mounted?")?;
        Ok(Self { pid, start })
    }

    /// Reads `pxed-PID-START-N...`.
    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        if parts.next()? != PREFIX {
            return None;
        }
        let owner = Self { pid: parts.next()?.parse().ok()?, start: parts.next()?.parse().ok()? };
        parts.next()?.parse::<u32>().ok()?;
        Some(owner)
    }

    fn lives(self) -> bool {
        start_of(self.pid) == Some(self.start)
    }
}

/// The start time of a process, in clock ticks since the host's boot.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name can contain any character, but ends at the last parenthesis. The 22nd field is the start time.
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

/// A name that no other lab of this host has.
pub(crate) fn unique_name() -> Result<String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let owner = Owner::me()?;
    Ok(format!("{PREFIX}-{}-{}-{}", owner.pid, owner.start, NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// The folder for the files of a lab.
pub(crate) fn folder_of(name: &str) -> PathBuf {
    env::temp_dir().join(name)
}

/// Removes the namespaces and folders of killed processes.
pub fn sweep() {
    for name in orphans(NAMESPACES.into()) {
        delete_namespace(&name);
    }
    for name in orphans(env::temp_dir()) {
        drop(fs::remove_dir_all(folder_of(&name)));
    }
}

fn orphans(place: PathBuf) -> Vec<String> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| Owner::parse(name).is_some_and(|owner| !owner.lives())).collect()
}

/// Installs a handler that removes all labs of this process on SIGINT, SIGTERM and SIGHUP, and exits.
pub fn clean_on_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) {
            thread::spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    drop(writeln!(io::stderr(), "\ninterrupted: cleaning up"));
                    clean_all();
                    process::exit(128 + signal);
                }
            });
        }
    });
}

fn clean_all() {
    let mut registry = lock(&REGISTRY);
    registry.closed = true;
    let everything = std::mem::take(&mut *registry);
    registry.closed = true;
    drop(registry);
    end_children(&everything.children);
    everything.namespaces.iter().for_each(|name| delete_namespace(name));
    for folder in &everything.folders {
        drop(fs::remove_dir_all(folder));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_its_owner() {
        let name = unique_name().unwrap();
        let owner = Owner::parse(&format!("{name}-switch")).expect("a namespace's name");
        assert_eq!(owner, Owner::me().unwrap());
        assert!(owner.lives());
        assert!(!Owner { start: owner.start + 1, ..owner }.lives(), "another process has this ID");
        assert_ne!(name, unique_name().unwrap());
    }

    #[test]
    fn foreign_names_have_no_owner() {
        for name in ["pxed", "pxed-1", "pxed-1-2", "pxed-x-2-3", "lab-1-2-3", "default"] {
            assert_eq!(Owner::parse(name), None, "{name}");
        }
    }
}
