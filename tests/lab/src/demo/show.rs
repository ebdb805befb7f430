//! The output of a run: progress bars, or lines if the output is no terminal, and the table at the end.

use std::io::IsTerminal;
use std::sync::Mutex;

use comfy_table::{Table, presets};
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};

use super::fetched::{self, Fetched};
use crate::{BootOutcome, MachineSpec, Progress, Stage};

/// Shows the progress of all machines.
pub(super) struct Show {
    bars: Option<(MultiProgress, Vec<ProgressBar>)>,
    names: Vec<String>,
    /// The last stage that was printed of each machine, if there are lines instead of bars.
    told: Mutex<Vec<Option<Stage>>>,
}

impl Show {
    pub(super) fn new(specs: &[MachineSpec]) -> Self {
        let bars = std::io::stderr().is_terminal().then(|| {
            let all = MultiProgress::new();
            let bars = specs.iter().map(|spec| bar(&all, &spec.name)).collect();
            (all, bars)
        });
        let names = specs.iter().map(|spec| spec.name.clone()).collect();
        Self { bars, names, told: Mutex::new(vec![None; specs.len()]) }
    }

    pub(super) fn update(&self, machine: usize, progress: &Progress, bytes: u64) {
        let stage = progress.stage;
        if let Some((_, bars)) = &self.bars {
            let bar = &bars[machine];
            bar.set_position(Stage::ALL.iter().position(|&s| s == stage).unwrap_or(0) as u64);
            bar.set_message(format!("{}, fetched {}: {}", stage.title(), HumanBytes(bytes), progress.line));
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if told[machine] != Some(stage) {
            told[machine] = Some(stage);
            let seconds = progress.elapsed.as_secs_f64();
            println!(
                "run: {:<6} {seconds:6.1} s  {} (fetched {})",
                self.names[machine],
                stage.title(),
                HumanBytes(bytes)
            );
        }
    }

    pub(super) fn finish(&self, machine: usize, booted: bool) {
        if let Some((_, bars)) = &self.bars {
            let bar = &bars[machine];
            if booted {
                bar.set_position(bar.length().unwrap_or(0));
            }
            bar.abandon_with_message(if booted { "memtest86+ runs" } else { "did not boot" });
        }
    }

    pub(super) fn close(&self) {
        if let Some((_, bars)) = &self.bars {
            bars.iter().filter(|bar| !bar.is_finished()).for_each(ProgressBar::abandon);
        }
    }
}

fn bar(all: &MultiProgress, name: &str) -> ProgressBar {
    // Add the bar to the group before it draws itself: otherwise its first line stays on the screen.
    let bar = all.add(ProgressBar::new(Stage::ALL.len() as u64 - 1));
    let style = ProgressStyle::with_template("{prefix:6} [{bar:20}] {elapsed:>4} {wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(std::time::Duration::from_millis(250));
    bar
}

/// The table with each machine's firmware, files, bytes, and seconds until memtest86+ runs.
pub(super) fn table(specs: &[MachineSpec], outcomes: &[BootOutcome], all: &[Fetched]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["machine", "firmware", "fetched", "bytes", "memtest86+ after"]);
    for (spec, outcome) in specs.iter().zip(outcomes) {
        let mac = spec.mac();
        let mut files: Vec<&str> = Vec::new();
        for fetched in fetched::of(all, &mac) {
            if !files.contains(&&*fetched.file) {
                files.push(&fetched.file);
            }
        }
        let bytes: u64 = fetched::of(all, &mac).map(|f| f.bytes).sum();
        let after = if outcome.booted {
            format!("{:.1} s", outcome.elapsed.as_secs_f64())
        } else {
            "never".to_owned()
        };
        table.add_row([
            format!("{} {mac}", spec.name),
            spec.firmware.title().to_owned(),
            files.join("\n"),
            bytes.to_string(),
            after,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Firmware;

    #[test]
    fn the_table_gives_each_machine_its_own_files() {
        let specs =
            [MachineSpec::new("bios", Firmware::Bios, 0), MachineSpec::new("uefi", Firmware::Uefi, 1)];
        let outcome = |booted| BootOutcome {
            booted,
            reason: String::new(),
            elapsed: Duration::from_millis(6_250),
            screen: String::new(),
            serial: String::new(),
            picture: None,
        };
        let file = |mac: &str, file: &str, bytes| Fetched { mac: mac.into(), file: file.into(), bytes };
        let all = [
            file("52:54:00:99:00:10", "pxelinux.0", 42),
            file("52:54:00:99:00:11", "memtest.efi", 77),
            file("52:54:00:99:00:10", "memtest", 100),
        ];
        let table = table(&specs, &[outcome(true), outcome(false)], &all).to_string();
        let row = |words: [&str; 3]| table.lines().any(|l| words.iter().all(|w| l.contains(w)));
        assert!(row(["52:54:00:99:00:10", "142", "6.2 s"]), "{table}");
        assert!(row(["memtest.efi", "77", "never"]), "{table}");
    }
}
