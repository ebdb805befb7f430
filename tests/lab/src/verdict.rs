//! Decides from the text of a machine's screen and serial port which stage it has reached, and whether it has succeeded or
//! failed. Pure: no I/O and no clock.

/// What a machine must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// memtest86+ at work: its banner, and a clock that moves.
    Memtest,
    /// These words on the screen.
    Screen(String),
    /// These words on the serial line.
    Serial(String),
}

/// The stage that a machine has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Just switched on.
    PowerOn,
    /// The firmware boots from the network.
    Network,
    /// A boot loader runs.
    Loader,
    /// memtest86+ is on the screen.
    Memtest,
    /// memtest86+ tests memory.
    Running,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 5] = [Self::PowerOn, Self::Network, Self::Loader, Self::Memtest, Self::Running];

    /// The name in output.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::PowerOn => "power on",
            Self::Network => "asks the network",
            Self::Loader => "loads",
            Self::Memtest => "memtest86+ starts",
            Self::Running => "memtest86+ runs",
        }
    }

    fn shown(text: &str) -> Self {
        let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
        if has(&["PXELINUX", "Loading memtest", "NBP file downloaded", "Downloading NBP file"]) {
            Self::Loader
        } else if has(&["iPXE", "Start PXE over", "Start HTTP Boot over"]) {
            Self::Network
        } else {
            Self::PowerOn
        }
    }
}

/// The decision after a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// No decision yet.
    Wait,
    /// The machine shows what is expected. The text says where.
    Success(String),
    /// The boot has failed, with the firmware's error.
    DeadEnd(String),
}

/// Texts after which firmware does not try the network again.
const DEAD_ENDS: &[&str] = &[
    "No bootable device",
    "No bootable option or device was found",
    "UEFI Interactive Shell",
    "Press any key to enter the Boot Manager Menu",
];

/// More such texts for machines without a disk. Their first boot option is the only one that the lab has set up.
const DEAD_ENDS_WITHOUT_DISK: &[&str] =
    &["BdsDxe: failed to load Boot0001", "BdsDxe: failed to start Boot0001"];

/// Words in lines that report an error.
const COMPLAINTS: &[&str] = &[
    "PXE-E",
    "PXE-M",
    "PXE-T",
    "No boot filename",
    "Nothing to boot",
    "No more network devices",
    "No bootable",
    "ailed",
    "ould not",
    "imed out",
    "imeout",
    "ipxe.org/",
    "not found",
    "Unable to",
    "denied",
    "nvalid",
];

/// Words in lines that appear after every failure, whatever the cause.
const VAGUE: &[&str] = &[
    "No bootable",
    "No more network devices",
    "Press any key",
    "failed to load Boot",
    "failed to start Boot",
];

/// Decides about one machine.
#[derive(Debug)]
pub(super) struct Judge {
    expect: Expect,
    has_disk: bool,
    clock: Option<String>,
    stage: Stage,
}

impl Judge {
    pub(super) fn new(expect: Expect, has_disk: bool) -> Self {
        Self { expect, has_disk, clock: None, stage: Stage::PowerOn }
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    /// Takes the text of the screen, and all output of the serial port.
    pub(super) fn look(&mut self, screen: &str, serial: &str) -> Judgement {
        self.stage = self.stage.max(Stage::shown(screen)).max(Stage::shown(serial));
        match &self.expect {
            Expect::Screen(words) if screen.contains(words.as_str()) => {
                return Judgement::Success(format!("`{words}` is on the screen"));
            }
            Expect::Serial(words) if serial.contains(words.as_str()) => {
                return Judgement::Success(format!("`{words}` came over the serial line"));
            }
            Expect::Memtest => {
                if let Some(verdict) = self.memtest(screen, serial) {
                    return verdict;
                }
            }
            Expect::Screen(_) | Expect::Serial(_) => {}
        }
        let without_disk = if self.has_disk { &[] } else { DEAD_ENDS_WITHOUT_DISK };
        let ends = DEAD_ENDS.iter().chain(without_disk);
        let dead = |text: &str| loading_failed(text) || ends.clone().any(|end| text.contains(end));
        if self.clock.is_none() && (dead(screen) || dead(serial)) {
            return Judgement::DeadEnd(complaint(screen, serial));
        }
        Judgement::Wait
    }

    fn memtest(&mut self, screen: &str, serial: &str) -> Option<Judgement> {
        let (place, clock) = [("screen", screen), ("serial line", serial)]
            .into_iter()
            .find_map(|(place, text)| Some((place, memtest_clock(text)?)))?;
        self.stage = self.stage.max(Stage::Memtest);
        match &self.clock {
            // The clock moves, so memtest86+ runs and the screen is not frozen.
            Some(first) if first != clock => {
                self.stage = Stage::Running;
                Some(Judgement::Success(format!("memtest86+ runs, seen on the {place}")))
            }
            Some(_) => None,
            None => {
                self.clock = Some(clock.to_owned());
                None
            }
        }
    }
}

/// The clock of memtest86+, if the text also contains its banner.
fn memtest_clock(text: &str) -> Option<&str> {
    let version = text[text.find("Memtest86+")? + "Memtest86+".len()..].trim_start();
    version.strip_prefix('v').unwrap_or(version).starts_with(|c: char| c.is_ascii_digit()).then_some(())?;
    // The output of the serial port contains many clocks. The last one is the newest.
    text.match_indices("Time:").filter_map(|(at, label)| time(text[at + label.len()..].trim_start())).last()
}

/// The time `h:mm:ss` at the beginning of a text.
fn time(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(text.len());
    let time = &text[..end];
    (time.split(':').count() == 3 && time.split(':').all(|part| !part.is_empty())).then_some(time)
}

/// Whether the text contains PXELINUX's error `Loading NAME... failed`.
fn loading_failed(text: &str) -> bool {
    text.lines().any(|line| line.trim_start().starts_with("Loading ") && line.contains("... failed"))
}

/// The two last lines that best describe an error.
pub(super) fn complaint(screen: &str, serial: &str) -> String {
    let text = format!("{screen}\n{}", without_escapes(serial));
    let lines: Vec<_> = text.split(['\r', '\n']).map(str::trim).filter(|l| !l.is_empty()).collect();
    let any = |line: &str, words: &[&str]| words.iter().any(|w| line.contains(w));
    let bad: Vec<_> = lines.iter().copied().filter(|l| any(l, COMPLAINTS)).collect();
    let telling: Vec<_> = bad.iter().copied().filter(|l| !any(l, VAGUE)).collect();
    let mut best = [telling, bad, lines].into_iter().find(|l| !l.is_empty()).unwrap_or_default();
    best.dedup();
    if best.is_empty() {
        return "a blank screen".to_owned();
    }
    best[best.len().saturating_sub(2)..].join("; ")
}

/// The last readable line, or memtest86+'s status.
pub(super) fn last_line(screen: &str, serial: &str) -> String {
    if memtest_clock(screen).is_some() {
        let status = screen.lines().find_map(|l| Some(l[l.find("Time:")?..].trim().to_owned()));
        return status.unwrap_or_default();
    }
    let readable =
        |line: &&str| line.chars().filter(char::is_ascii_alphanumeric).count() > 3 && !line.contains("??");
    let serial = without_escapes(serial);
    let last = |text: &str| {
        text.split(['\r', '\n']).map(str::trim).rev().find(readable).map(|l| l.chars().take(60).collect())
    };
    last(screen).or_else(|| last(&serial)).unwrap_or_default()
}

/// Replaces the terminal's control sequences by line breaks, because most of them move the cursor.
fn without_escapes(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push('\n');
        let end = part.find(|c: char| c.is_ascii_alphabetic()).map_or(part.len(), |at| at + 1);
        plain.push_str(&part[end..]);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memtest(clock: &str) -> String {
        format!(" Memtest86+ v6.10      | CPU\n Pass 2%\n Time:  {clock}   Status: Testing")
    }

    #[test]
    fn memtest_runs_only_when_its_clock_moves() {
        let mut judge = Judge::new(Expect::Memtest, false);
        assert_eq!(judge.look(&memtest("0:00:01"), ""), Judgement::Wait);
        assert_eq!(judge.stage(), Stage::Memtest);
        assert_eq!(judge.look(&memtest("0:00:01"), ""), Judgement::Wait, "the clock stands still");
        assert!(matches!(judge.look(&memtest("0:00:02"), ""), Judgement::Success(_)));
        assert_eq!(judge.stage(), Stage::Running);
    }

    #[test]
    fn a_moving_clock_without_the_banner_is_not_memtest() {
        let mut judge = Judge::new(Expect::Memtest, false);
        assert_eq!(judge.look("Time: 0:00:01", ""), Judgement::Wait);
        assert_eq!(judge.look("Loading Memtest86+ now\nTime: 0:00:02", ""), Judgement::Wait);
        assert_eq!(judge.look("Loading Memtest86+ now\nTime: 0:00:03", ""), Judgement::Wait);
    }

    #[test]
    fn a_dead_end_ends_with_the_firmwares_own_words() {
        let mut judge = Judge::new(Expect::Memtest, false);
        let serial = "\x1b[2J>>Start PXE over IPv4.\x1b[01;01H\r\n  PXE-E16: No valid offer received.\r\n\
                      BdsDxe: failed to load Boot0001 \"UEFI PXEv4\" from PciRoot: Not Found\r\n";
        assert_eq!(
            judge.look("", serial),
            Judgement::DeadEnd("PXE-E16: No valid offer received.".to_owned())
        );
        assert_eq!(judge.stage(), Stage::Network);

        let screen = "iPXE initialising devices...ok\nNothing to boot: No such file (https://ipxe.org/2d03e13b)\n\
                      No more network devices\nNo bootable device.";
        let Judgement::DeadEnd(why) = Judge::new(Expect::Memtest, false).look(screen, "") else {
            panic!("no dead end")
        };
        assert_eq!(why, "Nothing to boot: No such file (https://ipxe.org/2d03e13b)");
    }

    #[test]
    fn the_line_to_show_is_the_last_that_says_something() {
        assert_eq!(last_line("one line\nPXELINUX 6.04\n ??? \n-", "serial line"), "PXELINUX 6.04");
        assert_eq!(
            last_line("", "\x1b[2Jfirst line\r\n\x1b[01;01H>>Start PXE over IPv4.\r\n"),
            ">>Start PXE over IPv4."
        );
        assert_eq!(last_line(&memtest("0:00:07"), ""), "Time:  0:00:07   Status: Testing");
    }

    #[test]
    fn words_can_be_expected_on_either_side() {
        let mut judge = Judge::new(Expect::Serial("login:".to_owned()), false);
        assert_eq!(judge.look("login:", ""), Judgement::Wait);
        assert!(matches!(judge.look("", "host login: "), Judgement::Success(_)));
        assert!(matches!(
            Judge::new(Expect::Screen("ok".to_owned()), false).look("ok", ""),
            Judgement::Success(_)
        ));
    }
}
