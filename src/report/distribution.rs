//! A recorder as figures: percentiles with their confidence intervals, or how many samples they need.

use std::fmt::{self, Display, Formatter};

#[cfg(test)]
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Serialize};

use super::percentile::Percentile;
use crate::clock::Nanos;
use crate::histogram::{self, BatchSeries, ConfidenceInterval, Recorder, Value};
use crate::stats::order_statistics::needs;

/// A latency distribution in nanoseconds. Null where there are too few samples for a percentile.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// 75th percentile.
    pub p75_ns: Option<u64>,
    /// 90th percentile.
    pub p90_ns: Option<u64>,
    /// 95th percentile.
    pub p95_ns: Option<u64>,
    /// 99th percentile.
    pub p99_ns: Option<u64>,
    /// 99.9th percentile.
    pub p99_9_ns: Option<u64>,
    /// 99.99th percentile.
    pub p99_99_ns: Option<u64>,
    /// 99.999th percentile.
    pub p99_999_ns: Option<u64>,
    /// Largest.
    pub max_ns: Option<u64>,
    /// Arithmetic mean.
    pub mean_ns: Option<u64>,
    /// Figures that are lower bounds, because censored samples could only make them larger.
    pub lower_bounds: Vec<Statistic>,
    /// 95 % confidence intervals; null where there is none.
    pub intervals: ConfidenceIntervals,
}

/// The 95 % confidence intervals of a distribution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfidenceIntervals {
    /// Of the median.
    pub p50_ns: Option<Bounds>,
    /// Of the 75th percentile.
    pub p75_ns: Option<Bounds>,
    /// Of the 90th percentile.
    pub p90_ns: Option<Bounds>,
    /// Of the 95th percentile.
    pub p95_ns: Option<Bounds>,
    /// Of the 99th percentile.
    pub p99_ns: Option<Bounds>,
    /// Of the 99.9th percentile.
    pub p99_9_ns: Option<Bounds>,
    /// Of the 99.99th percentile.
    pub p99_99_ns: Option<Bounds>,
    /// Of the 99.999th percentile.
    pub p99_999_ns: Option<Bounds>,
    /// Of the mean.
    pub mean_ns: Option<Bounds>,
}

/// A figure of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    /// Smallest.
    Min,
    /// A percentile.
    Percentile(Percentile),
    /// Largest.
    Max,
    /// Arithmetic mean.
    Mean,
}

impl Statistic {
    /// All that a table shows, in its order.
    pub const TABLE: [Statistic; 11] = [
        Statistic::Min,
        Statistic::Percentile(Percentile::P50),
        Statistic::Percentile(Percentile::P75),
        Statistic::Percentile(Percentile::P90),
        Statistic::Percentile(Percentile::P95),
        Statistic::Percentile(Percentile::P99),
        Statistic::Percentile(Percentile::P99_9),
        Statistic::Percentile(Percentile::P99_99),
        Statistic::Percentile(Percentile::P99_999),
        Statistic::Max,
        Statistic::Mean,
    ];

    /// Reads `p99.9`, `max`. None for anything else.
    pub(super) fn parse(name: &str) -> Option<Statistic> {
        match name {
            "min" => Some(Statistic::Min),
            "max" => Some(Statistic::Max),
            "mean" => Some(Statistic::Mean),
            name => Percentile::parse(name).map(Statistic::Percentile),
        }
    }

    /// The fewest samples that have this figure.
    pub(super) fn needs(self) -> u64 {
        match self {
            Statistic::Percentile(percentile) => needs(percentile.share()),
            Statistic::Min | Statistic::Max | Statistic::Mean => 1,
        }
    }
}

impl Display for Statistic {
    /// As it is written: `p99.9`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Statistic::Min => f.write_str("min"),
            Statistic::Percentile(percentile) => percentile.fmt(f),
            Statistic::Max => f.write_str("max"),
            Statistic::Mean => f.write_str("mean"),
        }
    }
}

impl Serialize for Statistic {
    /// As the field of a distribution: `p99_9_ns`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}_ns", self.to_string().replace('.', "_")))
    }
}

impl<'de> Deserialize<'de> for Statistic {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Statistic, D::Error> {
        let field = String::deserialize(deserializer)?;
        let name = field.strip_suffix("_ns").map(|name| name.replace('_', "."));
        let found = name.and_then(|name| Statistic::parse(&name));
        found.ok_or_else(|| D::Error::custom(format!("`{field}` is no figure of a distribution")))
    }
}

#[cfg(test)]
impl JsonSchema for Statistic {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Statistic".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A figure of a distribution, by the name of its field.",
            "type": "string",
            "pattern": "^(min|max|mean|p[0-9]+(_[0-9]+)?)_ns$"
        })
    }
}

/// A 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Lower end; null if the samples do not bound it.
    pub low_ns: Option<u64>,
    /// Upper end; null if the samples do not bound it.
    pub high_ns: Option<u64>,
    /// How it was found.
    pub method: IntervalMethod,
    /// For about how long the samples are correlated, in a run that is too short for an interval; otherwise null.
    pub correlated_over_ns: Option<u64>,
}

/// How a confidence interval was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum IntervalMethod {
    /// From the ranks of samples that passed a test for independence.
    OrderStatistics,
    /// From batches of 1, 2, 4, … seconds, because samples within a second depend on each other.
    Batches,
    /// From the ranks of the samples, if at all; the run was too short to test for independence. Decides no assertion.
    Untested,
    /// None: samples depend on each other for longer than a run of this length can tell. Decides no assertion.
    TooShort,
}

impl From<ConfidenceInterval> for Bounds {
    fn from(interval: ConfidenceInterval) -> Bounds {
        let (method, level) = match interval.method {
            histogram::IntervalMethod::OrderStatistics => (IntervalMethod::OrderStatistics, None),
            histogram::IntervalMethod::Batches { .. } => (IntervalMethod::Batches, None),
            histogram::IntervalMethod::Untested => (IntervalMethod::Untested, None),
            histogram::IntervalMethod::TooShort { level } => (IntervalMethod::TooShort, Some(level.0)),
        };
        Bounds {
            low_ns: Some(interval.low.0).filter(|&low| low > 0),
            high_ns: Some(interval.high.0).filter(|_| interval.high != Nanos::NEVER),
            method,
            correlated_over_ns: level,
        }
    }
}

impl Distribution {
    /// Without confidence intervals.
    pub fn of(recorder: &Recorder) -> Distribution {
        let mut lower_bounds = Vec::new();
        let mut figure = |statistic| {
            let value = value_of(recorder, statistic)?;
            if value.lower_bound_only {
                lower_bounds.push(statistic);
            }
            Some(value.value.0)
        };
        let [
            min_ns,
            p50_ns,
            p75_ns,
            p90_ns,
            p95_ns,
            p99_ns,
            p99_9_ns,
            p99_99_ns,
            p99_999_ns,
            max_ns,
            mean_ns,
        ] = Statistic::TABLE.map(&mut figure);
        Distribution {
            count: recorder.count(),
            censored: recorder.censored(),
            min_ns,
            p50_ns,
            p75_ns,
            p90_ns,
            p95_ns,
            p99_ns,
            p99_9_ns,
            p99_99_ns,
            p99_999_ns,
            max_ns,
            mean_ns,
            lower_bounds,
            intervals: ConfidenceIntervals::default(),
        }
    }

    /// With the confidence intervals that its seconds allow.
    pub fn with_intervals(recorder: &Recorder, batches: &BatchSeries) -> Distribution {
        let [
            _,
            p50_ns,
            p75_ns,
            p90_ns,
            p95_ns,
            p99_ns,
            p99_9_ns,
            p99_99_ns,
            p99_999_ns,
            _,
            mean_ns,
        ] = Statistic::TABLE.map(|statistic| bounds_of(recorder, batches, statistic));
        Distribution {
            intervals: ConfidenceIntervals {
                p50_ns,
                p75_ns,
                p90_ns,
                p95_ns,
                p99_ns,
                p99_9_ns,
                p99_99_ns,
                p99_999_ns,
                mean_ns,
            },
            ..Distribution::of(recorder)
        }
    }

    /// None of an empty recorder.
    pub fn unless_empty(recorder: &Recorder) -> Option<Distribution> {
        (recorder.count() > 0).then(|| Distribution::of(recorder))
    }

    /// The figures of [`Statistic::TABLE`].
    pub(super) fn table(&self) -> [(Statistic, Figure); 11] {
        let (value, bound) = (self, &self.intervals);
        let figures = [
            (value.min_ns, None),
            (value.p50_ns, bound.p50_ns),
            (value.p75_ns, bound.p75_ns),
            (value.p90_ns, bound.p90_ns),
            (value.p95_ns, bound.p95_ns),
            (value.p99_ns, bound.p99_ns),
            (value.p99_9_ns, bound.p99_9_ns),
            (value.p99_99_ns, bound.p99_99_ns),
            (value.p99_999_ns, bound.p99_999_ns),
            (value.max_ns, None),
            (value.mean_ns, bound.mean_ns),
        ];
        std::array::from_fn(|row| {
            let (statistic, (value, bounds)) = (Statistic::TABLE[row], figures[row]);
            let figure = Figure {
                value: value.map(Nanos),
                lower_bound: self.lower_bounds.contains(&statistic),
                bounds,
            };
            (statistic, figure)
        })
    }
}

/// A figure of a distribution, with what is known of its precision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure {
    /// None if there are fewer samples than the statistic needs.
    pub(super) value: Option<Nanos>,
    pub(super) lower_bound: bool,
    pub(super) bounds: Option<Bounds>,
}

impl Figure {
    /// Of a recorder; with the interval that its seconds allow, if there are any.
    pub(super) fn of(recorder: &Recorder, batches: Option<&BatchSeries>, statistic: Statistic) -> Figure {
        let value = value_of(recorder, statistic);
        let lower_bound = value.is_some_and(|value| value.lower_bound_only);
        Figure {
            value: value.map(|value| value.value),
            lower_bound,
            bounds: batches.and_then(|batches| bounds_of(recorder, batches, statistic)),
        }
    }
}

fn value_of(recorder: &Recorder, statistic: Statistic) -> Option<Value> {
    match statistic {
        Statistic::Min => recorder.min(),
        Statistic::Percentile(percentile) => recorder.quantile(percentile.share()),
        Statistic::Max => recorder.max(),
        Statistic::Mean => recorder.mean(),
    }
}

fn bounds_of(recorder: &Recorder, batches: &BatchSeries, statistic: Statistic) -> Option<Bounds> {
    let interval = match statistic {
        Statistic::Min | Statistic::Max => None,
        Statistic::Percentile(percentile) => batches.interval(recorder, percentile.share()),
        Statistic::Mean => batches.mean_interval(recorder),
    };
    interval.map(Bounds::from)
}
