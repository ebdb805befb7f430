//! What came out of one run.

use std::time::Duration;

use super::machine::{Machine, State};

/// Figures of one run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Machines that have their file.
    pub done: u64,
    /// Machines that gave up, or got wrong bytes.
    pub failed: u64,
    /// Bytes of files that arrived and were right.
    pub bytes: u64,
    /// Seconds from the first request to the last block.
    pub seconds: f64,
    /// Seconds that a machine took: median, 99th percentile, longest.
    pub percentiles: [f64; 3],
    /// Packets that machines said again.
    pub repeats: u64,
    /// Frames that were received.
    pub frames: u64,
    /// The generator's own share of a core.
    pub own_share: f64,
}

impl Report {
    /// Sums the machines up; `size` is the file's, in bytes.
    pub fn of(machines: &[Machine], size: u64) -> Self {
        let done: Vec<&Machine> = machines.iter().filter(|machine| machine.state == State::Done).collect();
        let mut times: Vec<f64> =
            done.iter().map(|machine| machine.finished.since(machine.started).as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = ((times.len() as f64 - 1.0).max(0.0) * share).round() as usize;
            times.get(index).copied().unwrap_or(0.0)
        };
        let first = machines.iter().map(|machine| machine.started).min().unwrap_or_default();
        let last = done.iter().map(|machine| machine.finished).max().unwrap_or_default();
        Self {
            done: done.len() as u64,
            failed: machines.len() as u64 - done.len() as u64,
            bytes: done.len() as u64 * size,
            seconds: last.since(first).max(Duration::from_micros(1)).as_secs_f64(),
            percentiles: [at(0.5), at(0.99), at(1.0)],
            repeats: machines.iter().map(|machine| machine.repeats).sum(),
            ..Self::default()
        }
    }

    /// One line of JSON.
    pub fn to_json(&self) -> String {
        let [median, p99, longest] = self.percentiles;
        format!(
            "{{\"done\":{},\"failed\":{},\"bytes\":{},\"seconds\":{:.6},\"p50\":{median:.6},\"p99\":{p99:.6},\
             \"max\":{longest:.6},\"repeats\":{},\"frames\":{},\"own_share\":{:.3}}}",
            self.done, self.failed, self.bytes, self.seconds, self.repeats, self.frames, self.own_share
        )
    }
}
