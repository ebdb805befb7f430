//! Bytes a second over the last ten minutes, sampled by the API's own task.

use std::collections::VecDeque;
use std::time::Duration;

use super::Api;
use pxe_engine::gauges::Gauges;

/// Time between samples.
pub(super) const STEP: Duration = Duration::from_secs(2);
/// Samples that are kept: ten minutes.
const SAMPLES: usize = 300;
/// The counter of bytes that TFTP has sent, whoever sent them.
pub(super) const TFTP_BYTES: &str = "tftp_data_bytes";

/// The samples, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Throughput {
    last: Option<u64>,
    rates: VecDeque<u64>,
}

impl Throughput {
    /// Takes the number of bytes that were sent since the start.
    pub(super) fn sample(&mut self, total: u64) {
        // A counter that has gone back belongs to an interface that was set up again.
        let sent = self.last.map_or(0, |last| total.saturating_sub(last));
        self.last = Some(total);
        if self.rates.len() == SAMPLES {
            self.rates.pop_front();
        }
        self.rates.push_back(sent / STEP.as_secs());
    }

    /// Bytes a second, oldest first.
    pub(super) fn rates(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.rates.iter().copied()
    }

    /// Bytes a second by the last sample.
    pub(super) fn now(&self) -> u64 {
        self.rates.back().copied().unwrap_or(0)
    }
}

/// Bytes of files that were sent since the start.
fn total(gauges: &Gauges) -> u64 {
    let tftp = gauges.interfaces.iter().flat_map(|interface| &interface.counters);
    let tftp: u64 = tftp.filter(|(label, _)| *label == TFTP_BYTES).map(|(_, value)| value).sum();
    tftp + gauges.http_bytes
}

/// Samples for ever. Cancel safe.
pub(super) async fn run(api: Api) {
    let mut tick = tokio::time::interval(STEP);
    // After a pause one sample is late, instead of many at once which would show as gaps.
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
