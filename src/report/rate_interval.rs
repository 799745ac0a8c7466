//! The confidence interval of the rate at which messages completed.

use std::fmt::{self, Display, Formatter};

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::assertion::{self, Estimate};
use super::distribution::IntervalMethod;
use super::inputs::{UNTESTED, too_short};
use crate::clock::Nanos;
use crate::stats::batch_means::{self, Batch, NoInterval};
use crate::stats::bounded_series::BoundedSeries;
use crate::units::{show_duration, show_rate};

/// The 95 % confidence interval of a rate, in messages per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RateInterval {
    /// Lower end; null if the samples do not bound it.
    pub low_per_s: Option<f64>,
    /// Upper end; null if the samples do not bound it.
    pub high_per_s: Option<f64>,
    /// How it was found.
    pub method: IntervalMethod,
    /// For about how long the samples are correlated, in a run that is too short for an interval; otherwise null.
    pub correlated_over_ns: Option<u64>,
}

impl RateInterval {
    /// Of a rate, by the messages (sums) and the length in seconds (weights) of its batches.
    pub(super) fn of(rate: f64, batches: &BoundedSeries<Batch>) -> RateInterval {
        let none = |method, level: Option<Nanos>| RateInterval {
            low_per_s: None,
            high_per_s: None,
            method,
            correlated_over_ns: level.map(|level| level.0),
        };
        match batch_means::estimate(batches.batches()) {
            Ok(estimate) => RateInterval {
                low_per_s: Some((rate - estimate.half_width).max(0.0)),
                high_per_s: Some(rate + estimate.half_width),
                method: IntervalMethod::Batches,
                correlated_over_ns: None,
            },
            Err(NoInterval::TooFewBatches) => none(IntervalMethod::Untested, None),
            Err(NoInterval::TooShort { level }) => {
                let seconds: f64 = batches.batches().iter().map(|batch| batch.weight).sum();
                none(IntervalMethod::TooShort, Some(Nanos::from_secs(level * seconds)))
            }
        }
    }

    /// For an assertion on the rate. Errors: why there is no valid interval.
    pub(super) fn estimate(&self, rate: f64) -> Result<Estimate, assertion::NoInterval> {
        let value = rate;
        self.low_per_s
            .zip(self.high_per_s)
            .map(|(low, high)| Estimate { value, low, high })
            .ok_or_else(|| assertion::NoInterval {
                figure: Some(Estimate::exact(rate)),
                why: match self.method {
                    IntervalMethod::TooShort => too_short(self.correlated_over_ns),
                    _ => UNTESTED.to_owned(),
                },
            })
    }
}

impl Display for RateInterval {
    /// What follows the rate: ` (95 % confidence interval 98,000/s .. 102,000/s)`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.low_per_s.zip(self.high_per_s), self.correlated_over_ns) {
            (Some((low, high)), _) => write!(
                f,
                " (95 % confidence interval {} .. {})",
                show_rate(low),
                show_rate(high)
            ),
            (None, Some(level)) => write!(f, " (interval n/a: correlated over {})", show_duration(Nanos(level))),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(completed: impl IntoIterator<Item = u64>) -> BoundedSeries<Batch> {
        let mut series = BoundedSeries::default();
        completed.into_iter().for_each(|completed| {
            series.push(Batch {
                sum: completed as f64,
                weight: 1.0,
            });
        });
        series
    }

    #[test]
    fn seconds_that_differ_at_random_give_an_interval_around_the_rate() {
        let interval = RateInterval::of(1_000.0, &series((0..30).map(|second| 990 + second * 7 % 20)));
        let (low, high) = interval.low_per_s.zip(interval.high_per_s).unwrap();
        assert!(
            994.0 < low && low < 1_000.0 && 1_000.0 < high && high < 1_006.0,
            "{interval:?}"
        );
        assert_eq!(interval.estimate(1_000.0).unwrap().low, low);
    }

    #[test]
    fn a_rate_that_drifts_has_no_interval() {
        let interval = RateInterval::of(1_000.0, &series((0..30).map(|second| 1_000 + second)));
        assert_eq!((interval.low_per_s, interval.method), (None, IntervalMethod::TooShort));
        assert!(
            interval
                .estimate(1_000.0)
                .unwrap_err()
                .why
                .contains("too short for an interval")
        );
    }

    #[test]
    fn fourteen_seconds_have_no_interval() {
        let interval = RateInterval::of(1_000.0, &series([1_000; 14]));
        assert_eq!((interval.low_per_s, interval.method), (None, IntervalMethod::Untested));
        assert!(
            interval
                .estimate(1_000.0)
                .unwrap_err()
                .why
                .contains("too short to test")
        );
    }
}
