//! A recorder as figures: percentiles with their confidence intervals, or how many samples they need.

#[cfg(test)]
use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Nanos;
use crate::histogram::{self, BlockSeries, ConfidenceInterval, Recorder, Value};
use crate::stats::order_statistics::needs;

/// A latency distribution in nanoseconds. Null where there are too few samples for a percentile.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    /// Samples, censored ones included.
    pub count: u64,
    /// Samples known only to be at least their value: what failed, or was not complete by the end of the drain.
    pub censored: u64,
    /// Smallest.
    pub min_ns: Option<u64>,
    /// Median.
    pub p50_ns: Option<u64>,
    /// 90th percentile.
    pub p90_ns: Option<u64>,
    /// 99th percentile.
    pub p99_ns: Option<u64>,
    /// 99.9th percentile.
    pub p99_9_ns: Option<u64>,
    /// 99.99th percentile.
    pub p99_99_ns: Option<u64>,
    /// Largest.
    pub max_ns: Option<u64>,
    /// Arithmetic mean.
    pub mean_ns: Option<u64>,
    /// Figures that are lower bounds, because censored samples could only make them larger.
    pub lower_bounds: Vec<Statistic>,
    /// 95 % confidence intervals of the percentiles; null where there is none.
    pub intervals: Percentiles<Option<Bounds>>,
}

/// One value for each percentile of a report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Percentiles<T> {
    /// Median.
    pub p50_ns: T,
    /// 90th percentile.
    pub p90_ns: T,
    /// 99th percentile.
    pub p99_ns: T,
    /// 99.9th percentile.
    pub p99_9_ns: T,
    /// 99.99th percentile.
    pub p99_99_ns: T,
}

impl<T> Percentiles<T> {
    fn map<U>(self, f: impl Fn(T) -> U) -> Percentiles<U> {
        Percentiles {
            p50_ns: f(self.p50_ns),
            p90_ns: f(self.p90_ns),
            p99_ns: f(self.p99_ns),
            p99_9_ns: f(self.p99_9_ns),
            p99_99_ns: f(self.p99_99_ns),
        }
    }
}

const SHARES: Percentiles<f64> = Percentiles {
    p50_ns: 0.5,
    p90_ns: 0.9,
    p99_ns: 0.99,
    p99_9_ns: 0.999,
    p99_99_ns: 0.9999,
};

/// A figure of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub enum Statistic {
    /// Smallest.
    #[serde(rename = "min_ns")]
    Min,
    /// Median.
    #[serde(rename = "p50_ns")]
    P50,
    /// 90th percentile.
    #[serde(rename = "p90_ns")]
    P90,
    /// 99th percentile.
    #[serde(rename = "p99_ns")]
    P99,
    /// 99.9th percentile.
    #[serde(rename = "p99_9_ns")]
    P99_9,
    /// 99.99th percentile.
    #[serde(rename = "p99_99_ns")]
    P99_99,
    /// Largest.
    #[serde(rename = "max_ns")]
    Max,
    /// Arithmetic mean.
    #[serde(rename = "mean_ns")]
    Mean,
}

impl Statistic {
    /// All that a table shows, in its order.
    pub const TABLE: [Statistic; 7] = [
        Statistic::Min,
        Statistic::P50,
        Statistic::P90,
        Statistic::P99,
        Statistic::P99_9,
        Statistic::P99_99,
        Statistic::Max,
    ];

    /// As it is written: `p99.9`.
    pub fn name(self) -> &'static str {
        match self {
            Statistic::Min => "min",
            Statistic::P50 => "p50",
            Statistic::P90 => "p90",
            Statistic::P99 => "p99",
            Statistic::P99_9 => "p99.9",
            Statistic::P99_99 => "p99.99",
            Statistic::Max => "max",
            Statistic::Mean => "mean",
        }
    }

    /// The share of samples at or below a percentile; none for min, max and mean.
    fn share(self) -> Option<f64> {
        match self {
            Statistic::P50 => Some(SHARES.p50_ns),
            Statistic::P90 => Some(SHARES.p90_ns),
            Statistic::P99 => Some(SHARES.p99_ns),
            Statistic::P99_9 => Some(SHARES.p99_9_ns),
            Statistic::P99_99 => Some(SHARES.p99_99_ns),
            Statistic::Min | Statistic::Max | Statistic::Mean => None,
        }
    }
}

/// A 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Lower end.
    pub low_ns: u64,
    /// Upper end; null if the samples do not bound it.
    pub high_ns: Option<u64>,
    /// How it was found.
    pub method: IntervalMethod,
}

/// How a confidence interval was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum IntervalMethod {
    /// From the ranks of samples that passed a test for independence.
    OrderStatistics,
    /// From blocks of 1, 2, 4, … seconds, because samples within a second depend on each other.
    Blocks,
    /// From the ranks of the samples; the run was too short to test for independence.
    Untested,
}

impl From<ConfidenceInterval> for Bounds {
    fn from(interval: ConfidenceInterval) -> Bounds {
        Bounds {
            low_ns: interval.low.0,
            high_ns: Some(interval.high.0).filter(|_| interval.high != Nanos::NEVER),
            method: match interval.method {
                histogram::IntervalMethod::OrderStatistics => IntervalMethod::OrderStatistics,
                histogram::IntervalMethod::Blocks { .. } => IntervalMethod::Blocks,
                histogram::IntervalMethod::Untested => IntervalMethod::Untested,
            },
        }
    }
}

impl Distribution {
    /// Without confidence intervals.
    pub fn of(recorder: &Recorder) -> Distribution {
        let mut lower_bounds = Vec::new();
        let mut figure = |statistic, value: Option<Value>| {
            let value = value?;
            if value.lower_bound_only {
                lower_bounds.push(statistic);
            }
            Some(value.value.0)
        };
        let percentiles = SHARES.map(|share| recorder.quantile(share));
        Distribution {
            count: recorder.count(),
            censored: recorder.censored(),
            min_ns: figure(Statistic::Min, recorder.min()),
            p50_ns: figure(Statistic::P50, percentiles.p50_ns),
            p90_ns: figure(Statistic::P90, percentiles.p90_ns),
            p99_ns: figure(Statistic::P99, percentiles.p99_ns),
            p99_9_ns: figure(Statistic::P99_9, percentiles.p99_9_ns),
            p99_99_ns: figure(Statistic::P99_99, percentiles.p99_99_ns),
            max_ns: figure(Statistic::Max, recorder.max()),
            mean_ns: figure(Statistic::Mean, recorder.mean()),
            lower_bounds,
            intervals: Percentiles::default(),
        }
    }

    /// With the confidence intervals that its seconds allow.
    pub fn with_intervals(recorder: &Recorder, blocks: &BlockSeries) -> Distribution {
        Distribution {
            intervals: SHARES.map(|share| blocks.interval(recorder, share).map(Bounds::from)),
            ..Distribution::of(recorder)
        }
    }

    /// None of an empty recorder.
    pub fn unless_empty(recorder: &Recorder) -> Option<Distribution> {
        (recorder.count() > 0).then(|| Distribution::of(recorder))
    }

    /// One of its figures.
    pub(super) fn figure(&self, statistic: Statistic) -> Figure {
        let (value, bounds) = match statistic {
            Statistic::Min => (self.min_ns, None),
            Statistic::P50 => (self.p50_ns, self.intervals.p50_ns),
            Statistic::P90 => (self.p90_ns, self.intervals.p90_ns),
            Statistic::P99 => (self.p99_ns, self.intervals.p99_ns),
            Statistic::P99_9 => (self.p99_9_ns, self.intervals.p99_9_ns),
            Statistic::P99_99 => (self.p99_99_ns, self.intervals.p99_99_ns),
            Statistic::Max => (self.max_ns, None),
            Statistic::Mean => (self.mean_ns, None),
        };
        Figure {
            value: value.map(Nanos),
            lower_bound: self.lower_bounds.contains(&statistic),
            needs: statistic.share().map_or(1, needs),
            bounds,
        }
    }
}

/// A figure of a distribution, with what is known of its precision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure {
    /// None if there are fewer samples than `needs`.
    pub(super) value: Option<Nanos>,
    pub(super) lower_bound: bool,
    pub(super) needs: u64,
    pub(super) bounds: Option<Bounds>,
}
