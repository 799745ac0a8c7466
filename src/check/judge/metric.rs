//! The metrics: for each its load, its unit, which direction is worse, and its default threshold.

use std::fmt::{self, Display, Formatter};
use std::ops::RangeInclusive;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::judge::decision::Threshold;

use crate::clock::Nanos;
use crate::compare::BlockFigures;
use crate::units::{self, show_duration, show_rate, show_size};

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
    /// Growth of the server's resident memory per connection.
    #[serde(rename = "memory")]
    Memory,
}

/// Memory per connection below which differences are ignored: a server that grew by less, or shrank, counts as if it had
/// grown by this much.
const MEMORY_MIN: f64 = 512.0;

/// The largest loss of throughput that a threshold may name.
const LOSS_MAX: f64 = 0.99;

/// Values that a measurement can have. Anything else comes from an edited file.
const PLAUSIBLE: RangeInclusive<f64> = 1e-6..=1e18;

impl Metric {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Metric; 7] = [
        Metric::P50,
        Metric::P90,
        Metric::P99,
        Metric::P99_9,
        Metric::Throughput,
        Metric::Cpu,
        Metric::Memory,
    ];

    /// Those that gate by default: latency, capacity and cost. p99 and p99.9 vary from launch to launch by more than the
    /// regressions worth catching, and memory grows in pages: gating on them makes most checks inconclusive, and every
    /// gating metric reduces the power of the others.
    pub const DEFAULT_GATE: [Metric; 3] = [Metric::P50, Metric::Throughput, Metric::Cpu];

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
        }
    }

    /// For the command line. Errors: one line that lists the names.
    pub fn parse(text: &str) -> Result<Metric, String> {
        let known = Metric::ALL.into_iter().find(|metric| metric.name() == text);
        known.ok_or_else(|| {
            let names = Metric::ALL.map(Metric::name).join(", ");
            format!("no such metric: write one of {names}")
        })
    }

    /// The load that it is measured under; none: any.
    pub fn profile(self) -> Option<Profile> {
        match self {
            Metric::P50 | Metric::P90 | Metric::P99 | Metric::P99_9 => Some(Profile::Open),
            Metric::Throughput | Metric::Cpu => Some(Profile::Closed),
            Metric::Memory => None,
        }
    }

    /// Its default threshold.
    ///
    /// 3 % for the median, more for metrics that vary more. 2 % for throughput, so that a loss of 3 % is found: a change
    /// as large as the threshold itself is found half of the time.
    pub fn default_threshold(self) -> Threshold {
        let (min_effect, min_change) = match self {
            Metric::P50 => (0.03, 0.0),
            Metric::P90 => (0.05, 0.0),
            Metric::P99 => (0.08, 0.0),
            Metric::P99_9 => (0.2, 0.0),
            Metric::Throughput | Metric::Cpu => (0.02, 0.0),
            // A server grows in pages: one page for eight connections is noise.
            Metric::Memory => (0.1, MEMORY_MIN),
        };
        Threshold { min_effect, min_change }
    }

    /// A threshold as a score, for this value of base.
    pub fn effect(self, threshold: Threshold, base: f64) -> f64 {
        let share = threshold.min_effect.max(threshold.min_change / base);
        if self == Metric::Throughput {
            -(-share.min(LOSS_MAX)).ln_1p() // A loss of everything has no logarithm.
        } else {
            share.ln_1p()
        }
    }

    /// Its value in a block, in its unit. None if there is none that a ratio can be formed of.
    pub fn figure(self, block: &BlockFigures) -> Option<f64> {
        let ns = |figure: Option<u64>| figure.map(|ns| ns as f64);
        let figure = match self {
            Metric::P50 => ns(block.p50_ns),
            Metric::P90 => ns(block.p90_ns),
            Metric::P99 => ns(block.p99_ns),
            Metric::P99_9 => ns(block.p99_9_ns),
            Metric::Throughput => Some(block.completed_per_s),
            Metric::Cpu => block.cpu_ns_per_message,
            Metric::Memory => block.resident_bytes_per_connection.map(|bytes| bytes.max(MEMORY_MIN)),
        };
        figure.filter(|figure| PLAUSIBLE.contains(figure))
    }

    /// How much worse head is, as a log ratio; negative if it is better.
    pub fn score(self, base: f64, head: f64) -> f64 {
        self.sign() * (head / base).ln()
    }

    /// The relative change of the value for a score: 0.03 is 3 % more.
    pub fn change(self, score: f64) -> f64 {
        (self.sign() * score).exp_m1()
    }

    /// The relative changes for the ends of an interval of scores.
    pub fn change_interval(self, (low, high): (f64, f64)) -> ChangeInterval {
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
            _ => show_duration(Nanos(figure.round() as u64)),
        }
    }

    /// Parses a value of it: `20us`, `1k/s` or `4KiB`.
    pub fn parse_value(self, text: &str) -> Result<f64, String> {
        match self {
            Metric::Throughput => units::rate(text),
            Metric::Memory => units::size(text).map(|bytes| bytes as f64),
            _ => units::duration(text).map(|span| span.0 as f64),
        }
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
    fn a_server_that_did_not_grow_has_a_memory_value() {
        let mut block = crate::check::fixtures::figures(1.0, &crate::check::fixtures::UNCHANGED);
        for (grown, figure) in [(-100.0, 512.0), (0.0, 512.0), (4096.0, 4096.0)] {
            block.resident_bytes_per_connection = Some(grown);
            assert_eq!(Metric::Memory.figure(&block), Some(figure));
        }
    }

    #[test]
    fn an_implausible_value_is_none() {
        let mut block = crate::check::fixtures::figures(1.0, &crate::check::fixtures::UNCHANGED);
        for rate in [0.0, -1.0, 1e-308, 1e308, f64::NAN, f64::INFINITY] {
            block.completed_per_s = rate;
            assert_eq!(Metric::Throughput.figure(&block), None, "{rate}");
        }
    }
}
