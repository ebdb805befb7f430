//! Boots one machine, and watches its screen, its serial port and QEMU's events.

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
/// After this number of resets, the boot has failed.
const RESETS: usize = 6;

/// The progress of a boot.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The time since power on.
    pub elapsed: Duration,
    /// The stage that the machine has reached.
    pub stage: Stage,
    /// The last line that the machine shows.
    pub line: String,
}

/// The outcome of a boot.
#[derive(Clone, Debug)]
pub struct BootOutcome {
    /// Whether the machine showed what was expected.
    pub booted: bool,
    /// Where that was seen, or the firmware's error.
    pub reason: String,
    /// The time from power on until the machine first showed memtest86+ or the expected words, or until the boot failed.
    pub elapsed: Duration,
    /// The text on the screen at the end.
    pub screen: String,
    /// The output of the serial port.
    pub serial: String,
    /// The last picture, if the spec has a folder for pictures.
    pub picture: Option<PathBuf>,
}

/// Switches a machine on, and watches it until it shows what is expected, or fails.
///
/// # Errors
/// If the lab fails, for example because QEMU or a firmware file is missing. A machine that does not boot is no error,
/// but a [`BootOutcome`].
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
        // Look for at most a fifth of the time, so that the machines are not slowed down.
        thread::sleep(LOOK.max(before.elapsed() * 4));
    }
}

/// A running machine. Dropping it switches it off.
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

    /// Takes a picture of the screen and reads its text, the serial port and QEMU's events.
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

    /// The reason why the machine cannot boot any more, if there is one.
    fn failure(&self) -> Option<String> {
        let count = |name: &str| self.events.iter().filter(|e| *e == name).count();
        if let Some(event) = ["SHUTDOWN", "GUEST_PANICKED", "STOP"].into_iter().find(|e| count(e) > 0) {
            return Some(format!("the machine stopped ({event})"));
        }
        (count("RESET") > RESETS).then(|| format!("the machine reset more than {RESETS} times"))
    }

    fn line(&self) -> String {
        verdict::last_line(&self.text, &self.serial)
    }

    fn linger(&mut self, lab: &Lab, time: Duration) {
        if !time.is_zero() {
            thread::sleep(time);
            // The boot has succeeded, so an error here does not matter.
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

/// The pictures of one machine, saved to a folder.
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
