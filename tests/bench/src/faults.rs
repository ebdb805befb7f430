//! What goes wrong while machines load, as data, and how it is brought about: alike for everybody.
//!
//! The cable does it (frames that are lost, come twice or late: the generator's `--loss` and so on), or the host does:
//! the responder is killed, stopped or starved, or what it serves changes below it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use pxe_kit::figures::{Time, time_of};
use pxe_kit::load::Options;
use pxe_kit::{Process, clock};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::account::Account;
use super::cable::SERVER;
use super::cases::{Case, File, Play};
use super::generator;
use super::responders::Responder;
use super::run::{FILES, Ground, on_host};

/// The machines have begun by then, and are not through.
const AFTER: Duration = Duration::from_millis(400);
/// How long a stopped responder does nothing: longer than any ring or socket buffer holds out.
const STOPPED: Duration = Duration::from_secs(3);
/// How often a machine that gave up is switched on again.
const AGAIN: u8 = 3;
/// How long files change, and how often.
const CHANGING: Duration = Duration::from_millis(1500);
const CHANGE_EVERY: Duration = Duration::from_millis(50);
/// How long a file that is rewritten in place is neither the one nor the other.
const HALF_WRITTEN: Duration = Duration::from_millis(20);
/// How long a killed process may take to be gone, and its programs with it.
const ENDING: Duration = Duration::from_secs(10);
/// Programs that do nothing but compute, on the responder's processor.
const RIVALS: usize = 4;
/// Requests a second of a flood.
const FLOOD_RATE: u32 = 2000;

/// What the cable does to frames, per mille of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noise {
    /// Lost.
    pub loss: u32,
    /// Twice.
    pub duplicate: u32,
    /// Overtaken by others.
    pub reorder: u32,
    /// On both ways; else only on the way to the machines.
    pub both_ways: bool,
}

/// What happens to the responder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// It is killed (SIGKILL) in the middle, and started again at once.
    Killed,
    /// It is stopped (SIGSTOP) for some seconds, before machines are switched on.
    Stopped,
    /// The file is replaced again and again, by renaming.
    Replaced,
    /// The file is truncated and written again in place, again and again.
    Rewritten,
    /// Others want its processor.
    Starved,
    /// Strangers ask for the file: in the names of machines that do not exist, and acknowledge nothing.
    Flooded(Flood),
}

/// How many strangers ask, and for how long it is seen what they would get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood {
    /// Requests, each in another name.
    pub requests: u32,
    /// Seconds after the last one.
    pub listen: u32,
}

impl Noise {
    /// No noise.
    pub const NONE: Self = Self { loss: 0, duplicate: 0, reorder: 0, both_ways: false };

    /// For people; empty if there is none.
    pub(super) fn words(self) -> String {
        let parts = [("lost", self.loss), ("twice", self.duplicate), ("late", self.reorder)];
        let parts = parts.into_iter().filter(|(_, share)| *share > 0);
        let text = |(what, share)| format!("{} % {what}", f64::from(share) / 10.0);
        let mut words = parts.map(text).collect::<Vec<_>>().join(" ");
        if self.both_ways {
            words += " each way";
        }
        words
    }
}

impl Fault {
    /// For people; empty if there is none.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Killed => "killed and started again",
            Self::Stopped => "stopped for 3 s",
            Self::Replaced => "file replaced",
            Self::Rewritten => "file rewritten in place",
            Self::Starved => "starved of processor",
            Self::Flooded(_) => "strangers ask meanwhile",
        }
    }

    /// What the generator does about it.
    pub(super) fn apply(self, options: &mut Options) {
        match self {
            // Whoever gave up in the middle comes again, as people and firmware do.
            Self::Killed => options.again = AGAIN,
            Self::Flooded(Flood { requests, listen }) => {
                (options.strangers, options.strangers_rate) = (requests, FLOOD_RATE);
                options.listen = listen.into();
            }
            Self::None | Self::Stopped | Self::Replaced | Self::Rewritten | Self::Starved => {}
        }
    }

    /// Whether two versions of the file are right.
    pub(super) fn changes_files(self) -> bool {
        matches!(self, Self::Replaced | Self::Rewritten)
    }
}

/// The two versions of a file that changes, where nobody serves or changes them.
#[derive(Debug)]
pub(super) struct Versions(PathBuf);

impl Versions {
    /// Beside the root.
    pub(super) fn of(root: &Path) -> Self {
        Self(root.with_extension("versions"))
    }

    /// As it is before and after.
    pub(super) fn first(&self) -> PathBuf {
        self.0.join("first")
    }

    /// As it is meanwhile, now and then.
    pub(super) fn second(&self) -> PathBuf {
        self.0.join("second")
    }

    /// Writes both.
    pub(super) fn write(&self, root: &Path, file: File) -> Result<()> {
        fs::create_dir_all(&self.0)?;
        fs::copy(root.join(file.name()), self.first())?;
        let mut other: Vec<u8> = fs::read(self.first())?.iter().map(|byte| !byte).collect();
        // Shorter, too: who sends a new file's blocks for an old one's size is found out.
        other.truncate(other.len() / 2);
        Ok(fs::write(self.second(), other)?)
    }
}

impl Ground {
    /// Loads a responder while something goes wrong. Another process may be the responder afterwards.
    ///
    /// # Errors
    /// When the generator or the responder fails.
    pub(super) fn suffer(
        &self,
        case: &Case,
        who: &Responder,
        process: &mut Process,
        account: &Account,
    ) -> Result<Value> {
        let rivals = if case.fault == Fault::Starved { self.rivals()? } else { Vec::new() };
        if case.fault == Fault::Stopped {
            account.signal(Signal::STOP);
        }
        let (said, mut facts) = thread::scope(|scope| {
            let load = scope.spawn(|| self.generate(case, who, 0));
            thread::sleep(AFTER);
            let facts = match case.fault {
                Fault::Replaced | Fault::Rewritten => self.change_files(case, || load.is_finished()),
                _ => self.fault(case, who, process, account),
            };
            let said = load.join().map_err(|_| anyhow!("the generator's thread panicked"))?;
            anyhow::Ok((said?, facts?))
        })?;
        if !rivals.is_empty() {
            let had = |rival: &Process| {
                let Time { user, system } = time_of(rival.pid());
                user + system
            };
            facts.push(("rivals_seconds", json!(rivals.iter().map(had).sum::<f64>())));
        }
        let mut report = generator::report(&said)?;
        for (name, fact) in facts {
            report[name] = fact;
        }
        Ok(report)
    }

    /// Brings it about; what there is to say of it.
    fn fault(
        &self,
        case: &Case,
        who: &Responder,
        process: &mut Process,
        account: &Account,
    ) -> Result<Vec<(&'static str, Value)>> {
        match case.fault {
            Fault::Killed => return self.kill(case, who, process, account),
            Fault::Stopped => {
                thread::sleep(STOPPED);
                account.signal(Signal::CONT);
            }
            // Files change while it is looked at, and the rest goes on by itself.
            Fault::Replaced | Fault::Rewritten | Fault::Starved | Fault::Flooded(_) | Fault::None => {}
        }
        Ok(Vec::new())
    }

    /// Kills the responder with all its processes and starts another: how long nobody served, and whether a program stayed
    /// at the interface.
    fn kill(
        &self,
        case: &Case,
        who: &Responder,
        process: &mut Process,
        account: &Account,
    ) -> Result<Vec<(&'static str, Value)>> {
        let killed = clock::now();
        account.signal(Signal::KILL);
        process.wait(ENDING)?;
        // The kernel takes a program away when its last descriptor is gone: soon, not at once.
        let attached = clock::wait_until("no program is attached", ENDING, || Ok(!self.is_attached()?));
        *process = self.start(case, who, SERVER)?.context("nobody answers")?;
        Ok(vec![
            ("away", json!(killed.elapsed().as_secs_f64())),
            ("left_attached", json!(u8::from(attached.is_err()))),
        ])
    }

    /// Whether there is an XDP or tcx program at the responder's interface. `ip` shows both since iproute2 6.7, before
    /// that XDP only.
    fn is_attached(&self) -> Result<bool> {
        let said = self.cable.lab.responder().output("ip", &["-details", "link", "show", SERVER])?;
        Ok(said.contains("prog/xdp") || said.contains("xdpgeneric") || said.contains("tcx"))
    }

    /// How often the file was changed before the machines were through.
    fn change_files(&self, case: &Case, is_over: impl Fn() -> bool) -> Result<Vec<(&'static str, Value)>> {
        let Play::Load { file, .. } = case.play else { return Ok(Vec::new()) };
        let mut changes = 0;
        let (served, versions) = (self.root.join(file.name()), Versions::of(&self.root));
        let change: fn(&Path, &Path) -> Result<()> =
            if case.fault == Fault::Replaced { replace } else { rewrite };
        let end = clock::now() + CHANGING;
        while clock::now() < end {
            for version in [versions.second(), versions.first()] {
                change(&version, &served)?;
                changes += u32::from(!is_over());
                thread::sleep(CHANGE_EVERY);
            }
        }
        Ok(vec![("changes", json!(changes))])
    }

    /// They go when they are dropped.
    fn rivals(&self) -> Result<Vec<Process>> {
        let processor = self.cable.processors().map(|[server, _]| server);
        let rival = |number| {
            let mut loops = Command::new("sh");
            loops.args(["-c", "while :; do :; done"]);
            let loops = on_host(self.cable.lab.responder(), loops, FILES, processor)?;
            self.cable.lab.spawn(&format!("rival-{number}"), loops)
        };
        (0..RIVALS).map(rival).collect()
    }
}

fn replace(version: &Path, served: &Path) -> Result<()> {
    let new = served.with_extension("new");
    fs::copy(version, &new)?;
    Ok(fs::rename(new, served)?)
}

fn rewrite(version: &Path, served: &Path) -> Result<()> {
    let bytes = fs::read(version)?;
    let mut file = fs::File::create(served)?;
    let (first, second) = bytes.split_at(bytes.len() / 2);
    file.write_all(first)?;
    thread::sleep(HALF_WRITTEN);
    Ok(file.write_all(second)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn noise_is_told_in_per_cent() {
        assert_eq!(Noise::NONE.words(), "");
        assert_eq!(Noise { loss: 300, ..Noise::NONE }.words(), "30 % lost");
        let all = Noise { loss: 5, duplicate: 100, reorder: 10, both_ways: true };
        assert_eq!(all.words(), "0.5 % lost 10 % twice 1 % late each way");
    }

    #[test]
    fn both_versions_are_whole_and_differ_in_every_byte() {
        let folder = std::env::temp_dir().join(format!("pxed-versions-{}", std::process::id()));
        let root = folder.join("root");
        fs::create_dir_all(&root).unwrap();
        File::Tiny.write(&root).unwrap();
        let versions = Versions::of(&root);
        versions.write(&root, File::Tiny).unwrap();
        let (first, second) = (fs::read(versions.first()).unwrap(), fs::read(versions.second()).unwrap());
        assert_eq!((first.len(), second.len()), (20_000, 10_000));
        assert!(first.iter().zip(&second).all(|(one, other)| one != other));
        let served = root.join(File::Tiny.name());
        let inode = || fs::metadata(&served).unwrap().ino();
        for (change, in_place) in [(replace as fn(&Path, &Path) -> Result<()>, false), (rewrite, true)] {
            let before = inode();
            change(&versions.second(), &served).unwrap();
            assert!(fs::read(&served).unwrap() == second);
            assert_eq!(inode() == before, in_place);
            change(&versions.first(), &served).unwrap();
            assert!(fs::read(&served).unwrap() == first);
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
