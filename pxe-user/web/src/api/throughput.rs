//! Throughput over the last ten minutes, sampled by a task of the API.

use std::collections::VecDeque;
use std::time::Duration;

use super::Api;
use pxe_engine::gauges::Gauges;

/// Time between samples.
pub(super) const STEP: Duration = Duration::from_secs(2);
/// Samples that are kept: those of ten minutes.
const SAMPLES: usize = 300;
/// The label of the counter of bytes in DATA packets, sent by workers or by the kernel.
pub(super) const TFTP_BYTES: &str = "tftp_data_bytes";

/// The samples.
#[derive(Clone, Debug, Default)]
pub(super) struct Throughput {
    last: Option<u64>,
    rates: VecDeque<u64>,
}

impl Throughput {
    /// Adds a sample. `total` is the number of bytes sent since the start.
    pub(super) fn sample(&mut self, total: u64) {
        // A total that has decreased belongs to an interface that was set up again. It counts as no bytes.
        let sent = self.last.map_or(0, |last| total.saturating_sub(last));
        self.last = Some(total);
        if self.rates.len() == SAMPLES {
            self.rates.pop_front();
        }
        self.rates.push_back(sent / STEP.as_secs());
    }

    /// The samples in bytes a second, oldest first.
    pub(super) fn rates(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.rates.iter().copied()
    }

    /// The newest sample in bytes a second; 0 before the first.
    pub(super) fn now(&self) -> u64 {
        self.rates.back().copied().unwrap_or(0)
    }
}

/// Bytes of files sent since the start, over TFTP and HTTP.
fn total(gauges: &Gauges) -> u64 {
    let tftp = gauges.interfaces.iter().flat_map(|interface| &interface.counters);
    let tftp: u64 = tftp.filter(|(label, _)| *label == TFTP_BYTES).map(|(_, value)| value).sum();
    tftp + gauges.http_bytes
}

/// Takes a sample every [`STEP`]. Never ends. Cancel safe.
pub(super) async fn run(api: Api) {
    let mut tick = tokio::time::interval(STEP);
    // After a pause of the runtime there is one late sample. The default would take many at once, which would show as
    // gaps.
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let total = total(&api.gauges.load());
        if let Ok(mut throughput) = api.throughput.lock() {
            throughput.sample(total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_and_the_oldest_go() {
        let mut throughput = Throughput::default();
        for total in [1000, 3000, 3000, 500, 2500] {
            throughput.sample(total);
        }
        assert_eq!(throughput.rates().collect::<Vec<_>>(), [0, 1000, 0, 0, 1000]);
        (0..400).for_each(|_| throughput.sample(2500));
        assert_eq!((throughput.rates().len(), throughput.now()), (SAMPLES, 0));
    }
}
