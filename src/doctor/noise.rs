//! The noise floor: what this machine adds to latencies while nothing is measured.
//!
//! Timers are tried with sleeps of 1 ms: how late they end. Scheduling is tried with a busy loop, which notices when
//! it was not running: interrupts, other tasks, other guests. Both in turn, in slices, so that an interrupted probe
//! has some of each. After Gil Tene's jHiccup and the kernel's hwlat and osnoise tracers.

#[cfg(test)]
use schemars::JsonSchema;
use serde::Serialize;
use std::thread;
use std::time::Duration;

use super::finding::Finding;
use crate::clock::{self, Nanos};
use crate::histogram::Recorder;
use crate::sys::disturbance::{Disturbance, Snapshot};
use crate::sys::prctl;
use crate::sys::signal::Stop;
use crate::units::{show_count, show_duration, show_percent};

/// What each sleep is to take.
const SLEEP: Duration = Duration::from_millis(1);

/// How long one of the two is tried before the other.
const SLICE: Nanos = Nanos(100_000_000);

/// A pass of the busy loop takes some 30 ns. Interrupts take one or two microseconds.
const GAP: Nanos = Nanos(5_000);

/// A machine is noisy from here on: as much as a round trip of 50 connections takes at its 99th percentile.
const NOISY_TIMER: Nanos = Nanos(500_000);
const NOISY_GAP: Nanos = Nanos(10_000_000);
const NOISY_SHARE: f64 = 0.02;

/// Steal, and pressure, as shares of the time.
const NOISY_STEAL: f64 = 0.01;
const NOISY_PRESSURE: f64 = 0.1;

/// The noise floor of this machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// How late sleeps of 1 ms ended.
    pub timer: Timer,
    /// What a busy loop noticed.
    pub busy_loop: BusyLoop,
    /// Steal and pressure meanwhile, on all CPUs.
    pub disturbance: Disturbance,
}

/// How late sleeps of 1 ms ended. A percentile is null with too few sleeps for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Timer {
    /// Number of sleeps.
    pub count: u64,
    /// Half of them were not later than this.
    pub p50_ns: Option<u64>,
    /// 99 % of them were not later than this.
    pub p99_ns: Option<u64>,
    /// The latest.
    pub max_ns: Option<u64>,
}

/// What a busy loop noticed: gaps of 5 µs or more, in which it was not running.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BusyLoop {
    /// How long it ran, gaps included.
    pub span_ns: u64,
    /// Number of gaps.
    pub gaps: u64,
    /// All gaps together.
    pub gaps_ns: u64,
    /// The longest gap, or the longest pass if there was none.
    pub longest_ns: u64,
}

impl Noise {
    /// Measures for `duration`, or until `stop` fires.
    pub(super) fn measure(duration: Nanos, stop: &Stop) -> Noise {
        // The load does the same.
        prctl::minimise_timer_slack();
        let before = Snapshot::read();
        let (mut lateness, mut busy_loop) = (Recorder::new(), BusyLoop::default());
        let end = clock::now() + duration;
        while clock::now() < end && !stop.has_fired() {
            sleep_repeatedly(&mut lateness, end.min(clock::now() + SLICE), stop);
            busy_loop.run(end.min(clock::now() + SLICE), stop);
        }
        Noise {
            timer: Timer::of(&lateness),
            busy_loop,
            disturbance: Snapshot::read().since(&before),
        }
    }

    /// As findings.
    pub(super) fn findings(&self) -> Vec<Finding> {
        vec![self.timer.finding(), self.busy_loop.finding(), steal(&self.disturbance)]
    }
}

fn sleep_repeatedly(lateness: &mut Recorder, until: Nanos, stop: &Stop) {
    let mut now = clock::now();
    while now < until && !stop.has_fired() {
        thread::sleep(SLEEP);
        let woken = clock::now();
        lateness.record(woken - now - Nanos::from(SLEEP));
        now = woken;
    }
}

impl Timer {
    fn of(lateness: &Recorder) -> Timer {
        let quantile = |q| lateness.quantile(q).map(|value| value.value.0);
        Timer {
            count: lateness.count(),
            p50_ns: quantile(0.5),
            p99_ns: quantile(0.99),
            max_ns: lateness.max().map(|value| value.value.0),
        }
    }

    fn finding(&self) -> Finding {
        let Some(max) = self.max_ns else {
            return Finding::unknown("timers", "not measured");
        };
        let show = |ns: Option<u64>| ns.map_or("n/a".to_owned(), |ns| show_duration(Nanos(ns)));
        let what = format!(
            "sleeps of 1 ms end late by p50 {}, p99 {}, max {} ({} sleeps)",
            show(self.p50_ns),
            show(self.p99_ns),
            show_duration(Nanos(max)),
            show_count(self.count)
        );
        match self.p99_ns {
            Some(p99) if Nanos(p99) > NOISY_TIMER => busy_machine(Finding::warning(
                "timers",
                format!("{what}: an open loop sends that late"),
            )),
            _ => Finding::ok("timers", what),
        }
    }
}

impl BusyLoop {
    fn run(&mut self, until: Nanos, stop: &Stop) {
        let begin = clock::now();
        let mut last = begin;
        while last < until && !stop.has_fired() {
            let now = clock::now();
            let gap = now - last;
            self.longest_ns = self.longest_ns.max(gap.0);
            if gap >= GAP {
                self.gaps += 1;
                self.gaps_ns += gap.0;
            }
            last = now;
        }
        self.span_ns += (last - begin).0;
    }

    fn finding(&self) -> Finding {
        if self.span_ns == 0 {
            return Finding::unknown("scheduling", "not measured");
        }
        let share = self.gaps_ns as f64 / self.span_ns as f64;
        let longest = Nanos(self.longest_ns);
        let what = format!(
            "a busy loop of {} was not running for {} of the time, {} at the longest ({} gaps of 5 µs or more)",
            show_duration(Nanos(self.span_ns)),
            show_percent(share, 2),
            show_duration(longest),
            show_count(self.gaps)
        );
        match longest > NOISY_GAP || share > NOISY_SHARE {
            true => busy_machine(Finding::warning(
                "scheduling",
                format!("{what}: so will server and generator"),
            )),
            false => Finding::ok("scheduling", what),
        }
    }
}

fn busy_machine(finding: Finding) -> Finding {
    finding.remedy(
        "ps -eo pid,pcpu,comm --sort=-pcpu | head",
        "shows which programs to stop, or to keep off these CPUs (taskset)",
    )
}

fn steal(disturbance: &Disturbance) -> Finding {
    let span = disturbance.span.as_secs();
    let share = |part: Option<Nanos>| part.map(|part| if span > 0.0 { part.as_secs() / span } else { 0.0 });
    let shown = |share: Option<f64>| share.map_or("n/a".to_owned(), |share| show_percent(share, 1));
    let (steal, pressure) = (share(disturbance.steal), share(disturbance.pressure));
    let what = format!(
        "{} of the time other guests ran (steal), {} of it tasks waited for a CPU (pressure)",
        shown(steal),
        shown(pressure)
    );
    match (steal, pressure) {
        (None, None) => Finding::unknown("disturbance", "/proc/stat and /proc/pressure/cpu cannot be read"),
        (Some(steal), _) if steal > NOISY_STEAL => Finding::warning("disturbance", what).remedy(
            "vmstat 1 10",
            "column st. Only another host, or dedicated CPUs, change it",
        ),
        (_, Some(pressure)) if pressure > NOISY_PRESSURE => busy_machine(Finding::warning("disturbance", what)),
        _ => Finding::ok("disturbance", what),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn both_parts_of_a_probe_measure_something() {
        let stop = Stop::new().unwrap();
        let noise = Noise::measure(Nanos(300_000_000), &stop);
        assert!(noise.timer.count > 0 && noise.timer.p50_ns.is_some(), "{noise:?}");
        assert!(
            noise.busy_loop.span_ns > 0 && noise.busy_loop.longest_ns > 0,
            "{noise:?}"
        );
        assert!(noise.busy_loop.gaps_ns <= noise.busy_loop.span_ns, "{noise:?}");
        assert_eq!(noise.findings().len(), 3);
    }

    #[test]
    fn a_probe_that_is_stopped_before_it_begins_says_that_nothing_was_measured() {
        let stop = Stop::new().unwrap();
        stop.fire();
        let noise = Noise::measure(Nanos::NEVER, &stop);
        assert_eq!((noise.timer.count, noise.busy_loop), (0, BusyLoop::default()));
        assert_eq!(noise.findings()[0].state, State::Unknown);
    }

    #[test]
    fn noise_is_a_warning_by_how_long_it_lasts() {
        let busy = |gaps_ns, longest_ns| BusyLoop {
            span_ns: 1_000_000_000,
            gaps: 1,
            gaps_ns,
            longest_ns,
        };
        assert_eq!(busy(100_000, 100_000).finding().state, State::Ok);
        assert_eq!(busy(21_000_000, 1_000_000).finding().state, State::Warning);
        assert_eq!(busy(0, 11_000_000).finding().state, State::Warning);
        let timer = |p99_ns| Timer {
            count: 1_000,
            p50_ns: Some(50_000),
            p99_ns: Some(p99_ns),
            max_ns: Some(p99_ns),
        };
        assert_eq!(
            [100_000, 600_000].map(|p99| timer(p99).finding().state),
            [State::Ok, State::Warning]
        );
    }

    #[test]
    fn steal_and_pressure_are_shares_of_the_time() {
        let disturbance = |steal, pressure| Disturbance {
            span: Nanos::SECOND,
            steal: Some(Nanos(steal)),
            pressure,
        };
        assert_eq!(steal(&disturbance(0, None)).state, State::Ok);
        assert_eq!(steal(&disturbance(20_000_000, None)).state, State::Warning);
        assert_eq!(steal(&disturbance(0, Some(Nanos(200_000_000)))).state, State::Warning);
        assert_eq!(steal(&Disturbance::default()).state, State::Unknown);
    }
}
