//! Boots one machine and watches it.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use pxe_kit::{Lab, Process, clock};
use serde_json::json;

use super::qemu::MachineSpec;
use super::qmp::Qmp;
use super::screen::{self, Glyphs, Screen};
use super::verdict::{self, Judge, Judgement, Stage};

const VGA_TEXT: u32 = 0xb8000;
const VGA_TEXT_BYTES: u32 = 80 * 25 * 2;
const LOOK: Duration = Duration::from_millis(250);
const PICTURES: Duration = Duration::from_secs(3);
/// A machine that starts again and again will not boot.
const RESETS: usize = 6;

/// A machine on its way.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Since it was switched on.
    pub elapsed: Duration,
    /// How far it is.
    pub stage: Stage,
    /// What it says.
    pub line: String,
}

/// How a machine's boot ended.
#[derive(Clone, Debug)]
pub struct BootOutcome {
    /// Whether it showed what was expected.
    pub booted: bool,
    /// How that was seen, or what went wrong in the firmware's own words.
    pub reason: String,
    /// From power on until it first showed it, or until it was given up.
    pub elapsed: Duration,
    /// The text on its screen at the end.
    pub screen: String,
    /// All that it said on its serial line.
    pub serial: String,
    /// The last picture, if pictures were asked for.
    pub picture: Option<PathBuf>,
}

/// Switches a machine on and watches it until it shows what is expected of it, or will not any more.
///
/// # Errors
/// When the lab is at fault: QEMU or a firmware file is missing, and the like. A machine that does not boot is
/// no error but an [`BootOutcome`].
pub fn boot(lab: &Lab, spec: &MachineSpec, mut report: impl FnMut(&Progress)) -> Result<BootOutcome> {
    let ports = lab.machines();
    ensure!(spec.port < ports, "the lab has {ports} machine ports, not {}", spec.port + 1);
    let mut machine = Machine::switch_on(lab, spec)?;
    let mut judge = Judge::new(spec.expect.clone(), spec.disk.is_some());
    let mut shown_since = None;
    loop {
        let before = clock::now();
        let looked = machine.look(lab);
        let elapsed = machine.on.elapsed();
        if let Err(error) = looked {
            let reason = format!("{error:#}: {}", machine.process.last_words());
            return Ok(machine.end(false, reason, elapsed));
        }
        let verdict = judge.look(&machine.text, &machine.serial);
        report(&Progress { elapsed, stage: judge.stage(), line: machine.line() });
        if judge.stage() >= Stage::Memtest {
            shown_since.get_or_insert(elapsed);
        }
        match verdict {
            Judgement::Success(reason) => {
                machine.linger(lab, spec.linger);
                return Ok(machine.end(true, reason, shown_since.unwrap_or(elapsed)));
            }
            Judgement::DeadEnd(words) => {
                return Ok(machine.end(false, format!("dead end: {words}"), elapsed));
            }
            Judgement::Wait => {}
        }
        let why = machine.failure().or_else(|| {
            (elapsed > spec.timeout).then(|| format!("nothing after {} s", spec.timeout.as_secs()))
        });
        if let Some(why) = why {
            let words = verdict::complaint(&machine.text, &machine.serial);
            return Ok(machine.end(false, format!("{why}: {words}"), elapsed));
        }
        // Looking must not slow the machines: at most a fifth of the time.
        thread::sleep(LOOK.max(before.elapsed() * 4));
    }
}

/// A machine that is on. Dropping it switches it off.
struct Machine {
    name: String,
    process: Process,
    qmp: Qmp,
    glyphs: Glyphs,
    on: Instant,
    screen: Option<Screen>,
    text: String,
    serial_file: PathBuf,
    serial: String,
    events: Vec<String>,
    album: Option<Album>,
}

impl Machine {
    fn switch_on(lab: &Lab, spec: &MachineSpec) -> Result<Self> {
        let glyphs = Glyphs::installed()?;
        let album = spec.pictures.as_deref().map(Album::open).transpose()?;
        let serial_file = lab.folder().join(format!("{}.serial", spec.name));
        let command = spec.command(lab, &serial_file)?;
        let (process, input, output) = Process::start_piped(&spec.name, command, lab.folder())?;
        let opened = Qmp::open(input, output).and_then(|mut qmp| {
            qmp.execute("cont", json!({}))?;
            Ok(qmp)
        });
        let qmp = match opened {
            Ok(qmp) => qmp,
            Err(error) => bail!("{}: QEMU does not start: {error}: {}", spec.name, process.last_words()),
        };
        Ok(Self {
            name: spec.name.clone(),
            process,
            qmp,
            glyphs,
            on: clock::now(),
            screen: None,
            text: String::new(),
            serial_file,
            serial: String::new(),
            events: Vec::new(),
            album,
        })
    }

    /// Takes a picture and reads what is in it.
    fn look(&mut self, lab: &Lab) -> Result<()> {
        let file = lab.folder().join(format!("{}.ppm", self.name));
        self.qmp.execute("screendump", json!({ "filename": file }))?;
        let screen = Screen::from_ppm(&fs::read(&file)?)?;
        if screen.is_text_mode() {
            let file = lab.folder().join(format!("{}.vga", self.name));
            let place = json!({ "val": VGA_TEXT, "size": VGA_TEXT_BYTES, "filename": file });
            self.qmp.execute("pmemsave", place)?;
            self.text = screen::vga_text(&fs::read(&file)?);
        } else if self.screen.as_ref() != Some(&screen) {
            self.text = self.glyphs.read(&screen);
        }
        self.serial = String::from_utf8_lossy(&fs::read(&self.serial_file).unwrap_or_default()).into_owned();
        self.events.extend(self.qmp.events());
        if let Some(album) = &mut self.album {
            album.add(&screen, self.on.elapsed())?;
        }
        self.screen = Some(screen);
        Ok(())
    }

    /// Why the machine itself is lost, if it is.
    fn failure(&self) -> Option<String> {
        let count = |name: &str| self.events.iter().filter(|e| *e == name).count();
        if let Some(event) = ["SHUTDOWN", "GUEST_PANICKED", "STOP"].into_iter().find(|e| count(e) > 0) {
            return Some(format!("the machine stopped ({event})"));
        }
        (count("RESET") > RESETS).then(|| "it resets again and again".to_owned())
    }

    fn line(&self) -> String {
        verdict::last_line(&self.text, &self.serial)
    }

    fn linger(&mut self, lab: &Lab, time: Duration) {
        if !time.is_zero() {
            thread::sleep(time);
            // What was expected is seen; a last look that fails changes nothing.
            drop(self.look(lab));
        }
    }

    fn end(self, booted: bool, reason: String, elapsed: Duration) -> BootOutcome {
        let picture = self.album.as_ref().zip(self.screen.as_ref()).and_then(|(album, screen)| {
            let file = album.folder.join("last.png");
            screen.save(&file).ok().map(|()| file)
        });
        BootOutcome { booted, reason, elapsed, screen: self.text, serial: self.serial, picture }
    }
}

/// The pictures of one machine.
struct Album {
    folder: PathBuf,
    last: Option<(Duration, Screen)>,
}

impl Album {
    fn open(folder: &Path) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned(), last: None })
    }

    fn add(&mut self, screen: &Screen, at: Duration) -> Result<()> {
        if self.last.as_ref().is_some_and(|(then, same)| at < *then + PICTURES || same == screen) {
            return Ok(());
        }
        screen.save(&self.folder.join(format!("{:05.1}s.png", at.as_secs_f64())))?;
        self.last = Some((at, screen.clone()));
        Ok(())
    }
}
