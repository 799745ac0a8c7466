//! A recorder as figures: percentiles with their intervals, or how many samples they would need.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::clock::Nanos;
use crate::histogram::{BlockSeries, ConfidenceInterval, IntervalMethod, Recorder, Value};
use crate::stats::order_statistics::needs;

/// The percentiles that a report shows: name in JSON, share.
const PERCENTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99_9", 0.999),
    ("p99_99", 0.9999),
];

/// A distribution in nanoseconds. `None` where there are too few samples to speak of a percentile.
#[derive(Debug, Clone, Serialize)]
pub struct Distribution {
    /// Samples, those whose answer is missing included.
    pub count: u64,
    /// Samples whose answer is missing: in here with the age they had reached.
    pub censored: u64,
    /// Smallest.
    pub min: Option<u64>,
    /// Median.
    pub p50: Option<u64>,
    /// 90th percentile.
    pub p90: Option<u64>,
    /// 99th percentile.
    pub p99: Option<u64>,
    /// 99.9th percentile.
    pub p99_9: Option<u64>,
    /// 99.99th percentile.
    pub p99_99: Option<u64>,
    /// Largest.
    pub max: Option<u64>,
    /// Arithmetic mean.
    pub mean: Option<u64>,
    /// Which of these are lower bounds, because answers are missing that could only make them larger.
    pub lower_bounds: Vec<&'static str>,
    /// Where the true percentiles lie with 95 % confidence.
    pub intervals: BTreeMap<&'static str, Bounds>,
}

/// A 95 % confidence interval in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bounds {
    /// Lower end.
    pub low: u64,
    /// Upper end; `None` if the samples do not bound it.
    pub high: Option<u64>,
    /// `order-statistics` of samples that passed the test for independence, `blocks` of seconds where they did not,
    /// `untested` where the run was too short to tell.
    pub method: &'static str,
}

impl From<ConfidenceInterval> for Bounds {
    fn from(interval: ConfidenceInterval) -> Bounds {
        let method = match interval.method {
            IntervalMethod::OrderStatistics => "order-statistics",
            IntervalMethod::Blocks { .. } => "blocks",
            IntervalMethod::Untested => "untested",
        };
        let high = Some(interval.high.0).filter(|_| interval.high != Nanos::NEVER);
        Bounds {
            low: interval.low.0,
            high,
            method,
        }
    }
}

impl Distribution {
    /// Without intervals.
    pub fn of(recorder: &Recorder) -> Distribution {
        let mut lower_bounds = Vec::new();
        let mut figure = |name, figure: Option<Value>| {
            let figure = figure?;
            if figure.lower_bound_only {
                lower_bounds.push(name);
            }
            Some(figure.value.0)
        };
        let [p50, p90, p99, p99_9, p99_99] = PERCENTILES.map(|(_, share)| recorder.quantile(share));
        Distribution {
            count: recorder.count(),
            censored: recorder.censored(),
            min: figure("min", recorder.min()),
            p50: figure("p50", p50),
            p90: figure("p90", p90),
            p99: figure("p99", p99),
            p99_9: figure("p99_9", p99_9),
            p99_99: figure("p99_99", p99_99),
            max: figure("max", recorder.max()),
            mean: figure("mean", recorder.mean()),
            lower_bounds,
            intervals: BTreeMap::new(),
        }
    }

    /// With the intervals that its seconds allow.
    pub fn with_intervals(recorder: &Recorder, blocks: &BlockSeries) -> Distribution {
        let interval = |(name, share)| Some((name, Bounds::from(blocks.interval(recorder, share)?)));
        Distribution {
            intervals: PERCENTILES.into_iter().filter_map(interval).collect(),
            ..Distribution::of(recorder)
        }
    }

    /// None of an empty recorder: there was nothing to measure.
    pub fn unless_empty(recorder: &Recorder) -> Option<Distribution> {
        (recorder.count() > 0).then(|| Distribution::of(recorder))
    }

    /// All figures in order, from min to max.
    pub(super) fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        let values = [self.p50, self.p90, self.p99, self.p99_9, self.p99_99];
        let percentiles = PERCENTILES
            .into_iter()
            .zip(values)
            .map(|((name, share), value)| (name, Some(share), value));
        let ends = |name, value| std::iter::once((name, None, value));
        ends("min", self.min)
            .chain(percentiles)
            .chain(ends("max", self.max))
            .map(|(name, share, value)| Row {
                name,
                share,
                value: value.map(Nanos),
                lower_bound: self.lower_bounds.contains(&name),
                needs: share.map_or(1, needs),
                bounds: self.intervals.get(name).copied(),
            })
    }

    /// The figure of this name.
    pub(super) fn row(&self, name: &str) -> Option<Row> {
        self.rows().find(|row| row.name == name)
    }
}

/// One figure of a distribution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) name: &'static str,
    /// The share of a percentile; none for min and max.
    pub(super) share: Option<f64>,
    /// None if there are fewer samples than `needs`.
    pub(super) value: Option<Nanos>,
    pub(super) lower_bound: bool,
    pub(super) needs: u64,
    pub(super) bounds: Option<Bounds>,
}
