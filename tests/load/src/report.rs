//! What came out of one run.

use std::time::Duration;

use pxe_kit::figures::{at, percentiles};
use pxe_nic::xsk::Statistics;
use pxe_proto::time::Timestamp;
use serde_json::{Map, Value};

use super::machine::{Counters, Machine, State};
use super::noise::Suffered;
use super::script::{Dhcp, Script};
use super::strangers::Heard;
use super::transfer::Failure;

/// Figures of one run. What a run says nothing about is 0, or absent.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was played.
    pub kind: String,
    /// Machines that have all they wanted.
    pub done: u64,
    /// Machines that gave up, got wrong bytes, or were not done in time.
    pub failed: u64,
    /// Those of them that got wrong bytes.
    pub wrong: u64,
    /// Those of them that heard nothing for too long; the rest was refused, or not done in time.
    pub silent: u64,
    /// Machines that were still loading when a run of limited time was over.
    pub unfinished: u64,
    /// Bytes of files that arrived and were right, at machines that are done; bytes that were reflected.
    pub bytes: u64,
    /// Seconds from the first request to the last machine's end.
    pub seconds: f64,
    /// Seconds that a machine took, each time if it loads several times: median, 99th percentile, longest.
    pub percentiles: [f64; 3],
    /// The machines' counts in sum.
    pub counters: Counters,
    /// Seconds from a DISCOVER to its OFFER: median, 99th percentile, 99.9th. None if nobody asked.
    pub offer_percentiles: Option<[f64; 3]>,
    /// OFFERs a second, if that was the question.
    pub offers_per_second: Option<f64>,
    /// Blocks that the kernel acknowledged for the machines, and those of them whose bytes were all compared.
    pub in_kernel: Option<[u64; 2]>,
    /// Frames a second that came back from the reflector, and their bytes a second as DATA would carry them.
    pub reflected: Option<[f64; 2]>,
    /// What was sent in the names of strangers, and to them, if there were any.
    pub strangers: Option<Heard>,
    /// What the cable did to frames on their way to the machines, and to theirs.
    pub suffered: [Suffered; 2],
    /// Frames that were received, with those that the generator lost.
    pub frames: u64,
    /// Frames that the generator's socket had no room for: the generator was too slow.
    pub overrun: u64,
    /// Seconds over which the shares below are taken.
    pub elapsed: f64,
    /// Processor time of the generator over the run's. It sleeps only where the kernel plays the machines; elsewhere less
    /// than 1 means that somebody else had its core.
    pub own_share: f64,
    /// The part of the time in which it had something to do; near 1 it is the bottleneck.
    pub busy_share: f64,
}

impl Report {
    /// Sums the machines up, now that the run is over. `offers` are in microseconds, and get sorted.
    pub fn of_machines(now: Timestamp, machines: &[Machine], script: &Script, offers: &mut [u32]) -> Self {
        let done: Vec<&Machine> = machines.iter().filter(|machine| machine.state == State::Done).collect();
        let mut times: Vec<f64> = match script.loads {
            // From the start on: a machine may have begun again.
            0 | 1 => done.iter().map(|machine| machine.finished.since(machine.started)).collect(),
            _ => machines.iter().flat_map(|machine| machine.times.iter().copied()).collect::<Vec<_>>(),
        }
        .iter()
        .map(Duration::as_secs_f64)
        .collect();
        let first = machines.iter().map(|machine| machine.started).min().unwrap_or_default();
        let rate = matches!(script.dhcp, Dhcp::Rate(_));
        // Offers count also at machines that did not get all of theirs; bytes do not.
        let last = match rate && done.len() < machines.len() {
            true => now,
            false => done.iter().map(|machine| machine.finished).max().unwrap_or_default(),
        };
        let failed = |failure| {
            machines.iter().filter(|machine| machine.state == State::Failed(failure)).count() as u64
        };
        let seconds = last.since(first).max(Duration::from_micros(1)).as_secs_f64();
        Self {
            done: done.len() as u64,
            failed: machines.len() as u64 - done.len() as u64,
            wrong: failed(Failure::Wrong),
            silent: failed(Failure::Silence),
            bytes: done.len() as u64 * script.bytes(),
            seconds,
            percentiles: percentiles(&mut times),
            counters: machines
                .iter()
                .map(|machine| machine.counters)
                .fold(Counters::default(), Counters::and),
            offer_percentiles: (script.dhcp != Dhcp::Skip).then(|| offer_percentiles(offers)),
            offers_per_second: rate.then(|| offers.len() as f64 / seconds),
            ..Self::default()
        }
    }

    /// Counts what has arrived at machines that are still loading, which have not failed: time is up.
    pub fn count_unfinished(&mut self, now: Timestamp, machines: &[Machine], script: &Script) {
        let loading = || machines.iter().filter(|machine| machine.state == State::Loading);
        self.unfinished = loading().count() as u64;
        self.failed -= self.unfinished;
        self.bytes += loading().map(|machine| machine.bytes(script)).sum::<u64>();
        if self.unfinished > 0 {
            let first = machines.iter().map(|machine| machine.started).min().unwrap_or_default();
            self.seconds = now.since(first).max(Duration::from_micros(1)).as_secs_f64();
        }
    }

    /// One line of JSON.
    pub fn to_json(&self) -> String {
        let Counters { repeats_rrq, repeats_ack, repeats_discover, data_frames, offers, .. } = self.counters;
        let [p50, p99, max] = self.percentiles;
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        put("kind", self.kind.clone().into());
        for (name, count) in [
            ("done", self.done),
            ("failed", self.failed),
            ("wrong", self.wrong),
            ("silent", self.silent),
            ("unfinished", self.unfinished),
            ("bytes", self.bytes),
            ("repeats", repeats_rrq + repeats_ack + repeats_discover),
            ("repeats_rrq", repeats_rrq),
            ("repeats_ack", repeats_ack),
            ("repeats_discover", repeats_discover),
            ("frames", self.frames),
            ("overrun", self.overrun),
            ("data_frames", data_frames),
            ("offers", offers),
            ("begun_again", self.counters.begun_again),
            ("later_versions", self.counters.later_versions),
        ] {
            put(name, count.into());
        }
        if let Some([acknowledged, compared]) = self.in_kernel {
            put("kernel_blocks", acknowledged.into());
            put("kernel_compared", compared.into());
        }
        let [to_machines, back] = self.suffered;
        for (name, count) in [
            ("frames_lost", to_machines.lost),
            ("frames_twice", to_machines.twice),
            ("frames_late", to_machines.late),
            ("back_lost", back.lost),
            ("back_twice", back.twice),
            ("back_late", back.late),
        ] {
            put(name, count.into());
        }
        if let Some(heard) = self.strangers {
            for (name, count) in [
                ("strangers", heard.asked),
                ("strangers_bytes", heard.asked_bytes),
                ("strangers_answered", heard.answered),
                ("stranger_packets", heard.most_packets.into()),
                ("stranger_bytes", heard.most_bytes.into()),
                ("answers_to_services", heard.to_services),
            ] {
                put(name, count.into());
            }
        }
        for (name, figure) in [
            ("seconds", Some(self.seconds)),
            ("p50", Some(p50)),
            ("p99", Some(p99)),
            ("max", Some(max)),
            ("elapsed", Some(self.elapsed)),
            ("own_share", Some(self.own_share)),
            ("busy_share", Some(self.busy_share)),
            ("p50_offer", self.offer_percentiles.map(|[p50, ..]| p50)),
            ("p99_offer", self.offer_percentiles.map(|[_, p99, _]| p99)),
            ("p999_offer", self.offer_percentiles.map(|[.., p999]| p999)),
            ("offers_per_second", self.offers_per_second),
            ("reflected_per_second", self.reflected.map(|[frames, _]| frames)),
            ("reflected_bytes_per_second", self.reflected.map(|[_, bytes]| bytes)),
        ] {
            if let Some(figure) = figure {
                // Microseconds are what the clock has.
                put(name, ((figure * 1e6).round() / 1e6).into());
            }
        }
        Value::Object(fields).to_string()
    }
}

impl Counters {
    fn and(self, other: Self) -> Self {
        Self {
            repeats_rrq: self.repeats_rrq + other.repeats_rrq,
            repeats_ack: self.repeats_ack + other.repeats_ack,
            repeats_discover: self.repeats_discover + other.repeats_discover,
            data_frames: self.data_frames + other.data_frames,
            offers: self.offers + other.offers,
            begun_again: self.begun_again + other.begun_again,
            later_versions: self.later_versions + other.later_versions,
        }
    }
}

/// Median, 99th percentile and 99.9th of the time to an offer, in seconds. `offers` are in microseconds, and get sorted.
pub fn offer_percentiles(offers: &mut [u32]) -> [f64; 3] {
    offers.sort_unstable();
    [0.5, 0.99, 0.999].map(|share| f64::from(at(offers, share).unwrap_or_default()) / 1e6)
}

/// What a run costs the generator.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Processor time at the start, in seconds.
    before: f64,
    frames: u64,
    began: Timestamp,
    busy: Duration,
    /// When the present turn began, and whether it had frames.
    turn: (Timestamp, bool),
}

impl Effort {
    /// From now on.
    pub fn start(now: Timestamp) -> Self {
        Self { before: own_seconds(), frames: 0, began: now, busy: Duration::ZERO, turn: (now, false) }
    }

    /// A turn that began now got this many frames.
    pub fn turn(&mut self, now: Timestamp, frames: u64) {
        // From turn to turn, since most take less than the clock's microsecond.
        if self.turn.1 {
            self.busy += now.since(self.turn.0);
        }
        self.turn = (now, frames > 0);
        self.frames += frames;
    }

    /// Adds what it was to the report.
    pub fn finish(&mut self, now: Timestamp, socket: Statistics, mut report: Report) -> Report {
        self.turn(now, 0);
        let all = now.since(self.began).as_secs_f64().max(1e-6);
        report.frames = self.frames;
        report.overrun = socket.rx_dropped + socket.rx_ring_full;
        report.elapsed = all;
        report.own_share = (own_seconds() - self.before) / all;
        report.busy_share = self.busy.as_secs_f64() / all;
        report
    }
}

/// Processor time of this process, in seconds.
fn own_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::manners::Kind;
    use crate::script::Crew;

    #[test]
    fn repeats_are_told_apart_and_in_sum_and_absent_figures_are_not_there() {
        let counters =
            Counters { repeats_rrq: 1, repeats_ack: 2, repeats_discover: 4, ..Counters::default() };
        let report =
            Report { counters, seconds: 0.123_456_7, offers_per_second: Some(10.0), ..Report::default() };
        let json: Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!((&json["repeats"], &json["repeats_ack"]), (&7.into(), &2.into()));
        assert_eq!(json["seconds"], 0.123_457);
        assert_eq!(json["offers_per_second"], 10.0);
        assert!(json.get("p50_offer").is_none() && json.get("reflected_per_second").is_none());
    }

    #[test]
    fn what_some_machines_lack_is_not_left_out() {
        let script = |dhcp| Script::new(Ipv4Addr::LOCALHOST, dhcp, Crew::All(Kind::Plain), 512, 1);
        let at = Timestamp::from_micros;
        let report = |dhcp| {
            let script = script(dhcp).loading(vec![("x".into(), vec![0; 100])], 0);
            let mut machines = vec![Machine::new(0, &script); 3];
            for machine in &mut machines {
                machine.start(at(1_000_000), &script, &mut |_| {});
            }
            (machines[0].state, machines[0].finished) = (State::Done, at(3_000_000));
            machines[1].state = State::Failed(Failure::Wrong);
            Report::of_machines(at(6_000_000), &machines, &script, &mut [30, 10, 20])
        };
        let loaded = report(Dhcp::Skip);
        assert_eq!((loaded.done, loaded.failed, loaded.wrong, loaded.bytes), (1, 2, 1, 100));
        assert_eq!((loaded.seconds, loaded.percentiles[0], loaded.offer_percentiles), (2.0, 2.0, None));
        let asked = report(Dhcp::Rate(1));
        assert_eq!((asked.seconds, asked.offers_per_second), (5.0, Some(0.6)));
        assert_eq!(asked.offer_percentiles, Some([20e-6, 30e-6, 30e-6]));
    }

    #[test]
    fn time_without_frames_is_not_busy() {
        let at = |millis: u64| Timestamp::from_micros(millis * 1000);
        let mut effort = Effort::start(at(100));
        effort.turn(at(100), 0);
        effort.turn(at(130), 5);
        let lost = Statistics { rx_dropped: 2, rx_ring_full: 1, ..Statistics::default() };
        let report = effort.finish(at(140), lost, Report::default());
        assert_eq!((report.frames, report.overrun), (5, 3));
        assert!((report.busy_share - 0.25).abs() < 1e-9);
    }
}
