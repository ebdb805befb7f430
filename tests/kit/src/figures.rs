//! Figures of measurements: percentiles, and the processor time of a process.

use std::fs;
use std::path::Path;

/// Linux shows processor times to programs in units of 1/100 s on all architectures.
const TICKS: f64 = 100.0;

/// Processor time, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Time {
    /// In the programs.
    pub user: f64,
    /// In the kernel on the programs' behalf.
    pub system: f64,
}

/// Processor time of a process, and of its children that it waited for: fields 14 to 17 of its stat file (proc_pid_stat(5)).
/// Zero if there is no such process.
#[must_use]
pub fn time_of(pid: u32) -> Time {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    // The name, in brackets, may contain spaces and brackets.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(4);
    let ticks: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
    let [user, system, childrens_user, childrens_system] = ticks[..] else { return Time::default() };
    Time { user: (user + childrens_user) / TICKS, system: (system + childrens_system) / TICKS }
}

/// The median, the 99th percentile and the largest; 0 of none. The values get sorted.
pub fn percentiles(values: &mut [f64]) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [0.5, 0.99, 1.0].map(|share| at(values, share).unwrap_or_default())
}

/// The value below which this share of the sorted values lies. `None` of none.
pub fn at<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    let index = ((sorted.len() as f64 - 1.0).max(0.0) * share).round() as usize;
    sorted.get(index).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_values() {
        let mut values: Vec<f64> = (1..=101).rev().map(f64::from).collect();
        assert_eq!(percentiles(&mut values), [51.0, 100.0, 101.0]);
        assert_eq!((percentiles(&mut []), at::<u32>(&[], 0.5)), ([0.0; 3], None));
    }

    #[test]
    fn time_that_a_process_uses_is_counted() {
        let of_all = |Time { user, system }| user + system;
        let before = of_all(time_of(std::process::id()));
        while of_all(time_of(std::process::id())) < before + 0.05 {}
        assert_eq!(time_of(u32::MAX), Time::default());
    }
}
