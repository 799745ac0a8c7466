//! The metrics: for each its load, its unit, which direction is worse, and its default threshold.

use std::fmt::{self, Display, Formatter};
use std::ops::RangeInclusive;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::judge::decision::Threshold;

use crate::clock::Nanos;
use crate::compare::{BlockFigures, PooledFigures};
use crate::stats::signed_rank::ConfidenceInterval;
use crate::units::{self, show_duration, show_percent, show_rate, show_size};

/// The load that a metric is measured under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// A closed loop: as much as the server can do.
    Closed,
    /// An open loop at a share of the base's capacity.
    Open,
}

/// What can get worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub enum Metric {
    /// Median response time in the open loop.
    #[serde(rename = "p50")]
    P50,
    /// 90th percentile of the response time.
    #[serde(rename = "p90")]
    P90,
    /// 99th percentile of the response time.
    #[serde(rename = "p99")]
    P99,
    /// 99.9th percentile of the response time.
    #[serde(rename = "p99.9")]
    P99_9,
    /// Messages per second in the closed loop.
    #[serde(rename = "throughput")]
    Throughput,
    /// CPU time of the server per message of the closed loop.
    #[serde(rename = "cpu")]
    Cpu,
    /// Resident memory of the server's processes with all connections open.
    #[serde(rename = "memory")]
    Memory,
    /// How long slices went on beyond their planned ends because replies were missing, as a share of the planned time.
    #[serde(rename = "stalled")]
    Stalled,
    /// CPU time that the server used while it had no traffic, as a share of one CPU.
    #[serde(rename = "idle-cpu")]
    IdleCpu,
    /// Share of the blocks in which a message took longer than the limit of the check.
    #[serde(rename = "spikes")]
    Spikes,
}

/// Memory below which differences are ignored: a server that uses less counts as if it used this much.
const MEMORY_MIN: f64 = 65_536.0;

/// A server that returned nothing is worse than any that did: the latency of its messages, and its rate.
const LATENCY_OF_NOTHING: f64 = 60e9;
const RATE_OF_NOTHING: f64 = 1e-6;

/// The largest loss of throughput that a threshold may name.
const LOSS_MAX: f64 = 0.99;

/// Values that a measurement can have. Anything else comes from an edited file.
const PLAUSIBLE: RangeInclusive<f64> = 1e-6..=1e18;
const PLAUSIBLE_SHARE: RangeInclusive<f64> = 0.0..=1e9;

impl Metric {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Metric; 10] = [
        Metric::P50,
        Metric::P90,
        Metric::P99,
        Metric::P99_9,
        Metric::Spikes,
        Metric::Throughput,
        Metric::Cpu,
        Metric::Memory,
        Metric::Stalled,
        Metric::IdleCpu,
    ];

    /// Those that gate by default. The tail gates twice: p99.9, which is a median over blocks, when most of the time is
    /// affected, and the share of blocks with a spike when only some of it is. A p99.9 of all slices of a restart
    /// together cannot gate: of two equal servers on a machine with two CPUs, its logarithm varied from restart to
    /// restart by 1.6, and the median over blocks by 0.33 (27 and 26 restarts), because a burst of the machine
    /// lasts for milliseconds and falls on one side. Every gating metric reduces the power of the others.
    pub const DEFAULT_GATE: [Metric; 8] = [
        Metric::P50,
        Metric::P99_9,
        Metric::Spikes,
        Metric::Throughput,
        Metric::Cpu,
        Metric::Memory,
        Metric::Stalled,
        Metric::IdleCpu,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Metric::P50 => "p50",
            Metric::P90 => "p90",
            Metric::P99 => "p99",
            Metric::P99_9 => "p99.9",
            Metric::Throughput => "throughput",
            Metric::Cpu => "cpu",
            Metric::Memory => "memory",
            Metric::Stalled => "stalled",
            Metric::IdleCpu => "idle-cpu",
            Metric::Spikes => "spikes",
        }
    }

    /// True if it is a share, of the time or of the blocks. Shares are compared by their difference: that of base is
    /// often zero.
    fn is_share(self) -> bool {
        matches!(self, Metric::Stalled | Metric::IdleCpu | Metric::Spikes)
    }

    /// For the command line. Errors: one line that lists the names.
    pub fn parse(text: &str) -> Result<Metric, String> {
        let known = Metric::ALL.into_iter().find(|metric| metric.name() == text);
        known.ok_or_else(|| {
            let names = Metric::ALL.map(Metric::name).join(", ");
            format!("no such metric: write one of {names}")
        })
    }

    /// The load that it is measured under; none: all of them together.
    pub fn profile(self) -> Option<Profile> {
        match self {
            Metric::P50 | Metric::P90 | Metric::P99 | Metric::P99_9 => Some(Profile::Open),
            Metric::Throughput | Metric::Cpu => Some(Profile::Closed),
            Metric::Spikes | Metric::Memory | Metric::Stalled | Metric::IdleCpu => None,
        }
    }

    /// Those of two loads that it is measured under.
    pub(in crate::check) fn loads<'a, T>(
        self,
        open: &'a Option<T>,
        closed: &'a Option<T>,
    ) -> impl Iterator<Item = &'a T> {
        let has = move |profile| self.profile().is_none_or(|of| of == profile);
        let open = open.iter().filter(move |_| has(Profile::Open));
        open.chain(closed.iter().filter(move |_| has(Profile::Closed)))
    }

    /// Its default threshold.
    ///
    /// Each is above the half-width of the confidence interval of two equal servers on a machine with two CPUs and a
    /// second load, so that a check of them can pass: with a smaller one it could not. A change as large as the
    /// threshold itself is found half of the time. CPU time has the smallest because it varies least. That of spikes is
    /// half of what a stall of 5 ms in each second adds: at times, equal servers differ by more (bench/TRIED.md).
    pub fn default_threshold(self) -> Threshold {
        let (min_effect, min_change) = match self {
            Metric::P50 | Metric::P90 => (0.1, 0.0),
            Metric::Spikes => (0.07, 0.0),
            Metric::P99 | Metric::P99_9 => (0.5, 0.0),
            Metric::Throughput => (0.04, 0.0),
            Metric::Cpu => (0.025, 0.0),
            Metric::Memory => (0.05, 0.0),
            Metric::Stalled | Metric::IdleCpu => (0.01, 0.0),
        };
        Threshold { min_effect, min_change }
    }

    /// A threshold as a score, for this value of base.
    pub fn effect(self, threshold: Threshold, base: f64) -> f64 {
        let min_change = if self.is_share() {
            threshold.min_change
        } else {
            threshold.min_change / base
        };
        let share = threshold.min_effect.max(min_change);
        if self == Metric::Throughput {
            -(-share.min(LOSS_MAX)).ln_1p() // A loss of everything has no logarithm.
        } else {
            self.score_of_change(share)
        }
    }

    /// Where its value in a restart comes from.
    pub(in crate::check) fn source(self) -> Source {
        match self {
            Metric::P50 => Source::Blocks(|block| latency(block, block.p50_ns)),
            Metric::P90 => Source::Blocks(|block| latency(block, block.p90_ns)),
            Metric::Throughput => Source::Blocks(|block| Some(block.completed_per_s.max(RATE_OF_NOTHING))),
            Metric::Cpu => Source::Blocks(|block| block.cpu_ns_per_message),
            Metric::P99 => Source::Blocks(|block| latency(block, block.p99_ns)),
            Metric::P99_9 => Source::Blocks(|block| latency(block, block.p99_9_ns)),
            Metric::Spikes => Source::Share(|block, limit| latency(block, block.max_ns).map(|max| max > limit)),
            Metric::Memory => Source::Pool(|pooled| pooled.resident_bytes.map(|bytes| (bytes as f64).max(MEMORY_MIN))),
            Metric::Stalled => Source::Pool(|pooled| Some(pooled.overrun_ratio)),
            Metric::IdleCpu => Source::Pool(|pooled| pooled.background_cpu_ratio),
        }
    }

    /// A value, if it can be compared.
    pub(in crate::check) fn plausible(self, figure: f64) -> Option<f64> {
        let range = if self.is_share() { PLAUSIBLE_SHARE } else { PLAUSIBLE };
        range.contains(&figure).then_some(figure)
    }

    /// How much worse head is; negative if it is better. The difference of the [logarithms](Metric::log).
    pub fn score(self, base: f64, head: f64) -> f64 {
        self.sign() * (self.log(head) - self.log(base))
    }

    /// The logarithm of a value; for shares, the value itself.
    pub(in crate::check) fn log(self, figure: f64) -> f64 {
        if self.is_share() { figure } else { figure.ln() }
    }

    /// The value of a [logarithm](Metric::log).
    pub(in crate::check) fn of_log(self, log: f64) -> f64 {
        if self.is_share() { log } else { log.exp() }
    }

    /// The relative change of the value for a score: 0.03 is 3 % more; for shares, 3 % of the time more.
    pub fn change(self, score: f64) -> f64 {
        let change = self.sign() * score;
        if self.is_share() { change } else { change.exp_m1() }
    }

    /// The score of a relative change: the inverse of [`Metric::change`].
    pub fn score_of_change(self, change: f64) -> f64 {
        self.sign() * if self.is_share() { change } else { change.ln_1p() }
    }

    /// The relative changes for the ends of an interval of scores.
    pub fn change_interval(self, ConfidenceInterval { low, high }: ConfidenceInterval) -> ChangeInterval {
        let (low, high) = (self.change(low), self.change(high));
        ChangeInterval {
            low: low.min(high),
            high: low.max(high),
        }
    }

    /// 1 if more is worse, -1 if less is worse.
    fn sign(self) -> f64 {
        if self == Metric::Throughput { -1.0 } else { 1.0 }
    }

    /// A value of it as text.
    pub fn show(self, figure: f64) -> String {
        // The casts saturate.
        match self {
            Metric::Throughput => show_rate(figure.round()),
            Metric::Memory => show_size(figure.round() as u64),
            Metric::Stalled | Metric::IdleCpu | Metric::Spikes => show_percent(figure, 1),
            _ => show_duration(Nanos(figure.round() as u64)),
        }
    }

    /// Parses a value of it: `20us`, `1k/s` or `4KiB`.
    pub fn parse_value(self, text: &str) -> Result<f64, String> {
        match self {
            Metric::Throughput => units::rate(text),
            Metric::Memory => units::size(text).map(|bytes| bytes as f64),
            Metric::Stalled | Metric::IdleCpu | Metric::Spikes => units::percent(text),
            _ => units::duration(text).map(|span| span.0 as f64),
        }
    }
}

/// Where the value of a metric in a restart comes from.
pub(in crate::check) enum Source {
    /// The median over blocks. Robust: what is not in half of the blocks does not show.
    Blocks(fn(&BlockFigures) -> Option<f64>),
    /// The share of blocks, of all loads, for which this is true with the limit of spikes in nanoseconds. What is rare
    /// shows, and a burst of the machine is one block, however long it lasts.
    Share(fn(&BlockFigures, f64) -> Option<bool>),
    /// All slices of the restart together, of all loads. No block is dropped: what a busy machine does to memory,
    /// stalls and idle CPU befalls both sides and widens the confidence interval.
    Pool(fn(&PooledFigures) -> Option<f64>),
}

/// The mean over loads of what all slices of a load are together; a load counts by its number of blocks, because all
/// slices are equally long. None without loads, or if one has no value.
pub(in crate::check) fn mean_of_loads(loads: impl Iterator<Item = (Option<f64>, usize)>) -> Option<f64> {
    let mut sum = (0.0, 0);
    for (figure, blocks) in loads {
        sum = (sum.0 + figure? * blocks as f64, sum.1 + blocks);
    }
    (sum.1 > 0).then(|| sum.0 / sum.1 as f64)
}

/// The share that is true; none if one is unknown.
pub(in crate::check) fn share(all: impl Iterator<Item = Option<bool>>) -> Option<f64> {
    let all: Vec<bool> = all.collect::<Option<_>>()?;
    Some(all.iter().filter(|&&one| one).count() as f64 / all.len().max(1) as f64)
}

fn latency(block: &BlockFigures, figure: Option<u64>) -> Option<f64> {
    match figure {
        None if block.messages == 0 => Some(LATENCY_OF_NOTHING),
        figure => figure.map(|ns| ns as f64),
    }
}

/// An interval of relative changes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ChangeInterval {
    /// Lower end: 0.03 is 3 % more.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Display for Metric {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Profile {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Closed => "closed",
            Profile::Open => "open",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_the_larger_of_its_two_bounds() {
        let threshold = Threshold {
            min_effect: 0.08,
            min_change: 2_000.0,
        };
        // 8 % of 10 µs is 0.8 µs: the bound of 2 µs, 20 %, is larger. 8 % of 100 µs is larger than 2 µs.
        assert_eq!(Metric::P99.effect(threshold, 10_000.0), 0.2_f64.ln_1p());
        assert_eq!(Metric::P99.effect(threshold, 100_000.0), 0.08_f64.ln_1p());
    }

    #[test]
    fn the_threshold_of_a_rate_is_a_loss() {
        let threshold = Threshold {
            min_effect: 0.02,
            min_change: 50_000.0,
        };
        let (base, metric) = (100_000.0, Metric::Throughput);
        let effect = metric.effect(threshold, base);
        assert!(metric.score(base, 50_001.0) < effect);
        assert!(metric.score(base, 49_999.0) > effect);
        assert!(metric.effect(threshold, 10_000.0).is_finite());
    }

    #[test]
    fn shares_are_compared_by_their_difference() {
        let metric = Metric::Stalled;
        assert_eq!(metric.score(0.0, 0.0), 0.0);
        assert!((metric.change(metric.score(0.0, 0.2)) - 0.2).abs() < 1e-12);
        let threshold = metric.default_threshold();
        assert!(metric.score(0.0, 0.011) > metric.effect(threshold, 0.0));
        assert!(metric.score(0.0, 0.009) < metric.effect(threshold, 0.0));
    }

    #[test]
    fn a_server_that_returned_nothing_is_worse_than_any_other() {
        let Source::Blocks(rate) = Metric::Throughput.source() else {
            panic!("throughput comes from blocks")
        };
        let Source::Blocks(p50) = Metric::P50.source() else {
            panic!("p50 comes from blocks")
        };
        let some = crate::check::fixtures::figures(1.0, &crate::check::fixtures::UNCHANGED);
        let nothing = BlockFigures {
            messages: 0,
            completed_per_s: 0.0,
            p50_ns: None,
            ..some
        };
        for (metric, figure) in [(Metric::Throughput, rate), (Metric::P50, p50)] {
            let [some, nothing] = [&some, &nothing].map(|block| metric.plausible(figure(block).unwrap()).unwrap());
            assert!(metric.score(some, nothing) > 5.0, "{metric}");
        }
    }

    #[test]
    fn an_implausible_value_is_none() {
        for figure in [0.0, -1.0, 1e-308, 1e308, f64::NAN, f64::INFINITY] {
            assert_eq!(Metric::Throughput.plausible(figure), None, "{figure}");
        }
        for share in [-0.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Metric::Stalled.plausible(share), None, "{share}");
        }
        assert_eq!(Metric::Stalled.plausible(0.0), Some(0.0));
    }
}
