//! The statistics of one metric: regressed, improved, passed, or inconclusive, from one value per restart.
//!
//! The design is group sequential and fixed in advance: an interim analysis after 12 restarts, and a final one after 40
//! if the first was inconclusive. Each has a one-sided error of 0.5 %, so both together at most 1 % (Bonferroni),
//! whatever the distribution of the values, as long as it is symmetric when nothing changed. Several gating metrics
//! share the error ([`bonferroni`]), so that the bound holds for the whole check. A third analysis would break it.
//!
//! *Evidence.* Of 20,000 simulated checks of two equal servers by one metric, about 1 % end on each side however small
//! the threshold, for normal, Cauchy, log-normal and bimodal values. If base and head vary by 2 % from restart to
//! restart and the threshold is 3 %, fewer than 0.2 % end as regressed and at least 99 % pass; of heads 5 % worse, at
//! least 99 % are found, also as one of three gating metrics (tests). On real servers: `bench/error_rates/README.md`.
//!
//! The interval and its assumptions are in [`signed_rank`]. Two analyses: Jennison & Turnbull, Group Sequential Methods
//! (1999), chapter 1.

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats::signed_rank::{self, ConfidenceInterval, Estimate};

/// One-sided error of one analysis, of all gating metrics together.
///
/// With 12 restarts the bound is the 8th of 78 Walsh averages, with 40 the 221st of 820. Fewer than 8 restarts have no
/// interval: that all 7 agree in sign by chance has probability 2^-7 = 0.8 %.
pub const ALPHA: f64 = 0.005;

/// Version of the rules that turn the blocks of a restart into values and values into a verdict. Raised by every change
/// of them: a record of other rules is refused, because its verdict would be another one.
///
/// 4 (urecho 0.4): percentiles, throughput and CPU are medians over blocks; spikes are a share of the blocks of all
/// loads; stalls, memory and idle CPU are of all slices of a restart. 1 to 3 were never released.
pub const METHOD: u32 = 4;

/// The share of one of `gating` metrics in an error (Bonferroni).
///
/// Of [`ALPHA`] with 12 restarts, the bound is the 6th of 78 Walsh averages for two metrics, the 4th for three and
/// four, the 3rd for five and six, the 2nd for ten; with 40 the 205th, 196th, 190th, 186th, 182nd and 173rd of 820.
pub fn bonferroni(alpha: f64, gating: usize) -> f64 {
    alpha / gating.max(1) as f64
}

/// Restarts that an interval at this alpha needs: with as many, all agree in sign by chance with at most this
/// probability.
pub fn restarts_needed(alpha: f64) -> usize {
    (-alpha.log2()).ceil() as usize
}

/// Restarts before the interim analysis.
///
/// With 10 restarts and three gating metrics, all would have to agree. In resampling from 350 restarts of two equal
/// servers, 49 % of checks pass at an interim analysis after 10 restarts, 80 % after 11, 83 % after 12 and 91 % after
/// 14, so the expected time to a verdict is shortest with 11 or 12.
pub const INTERIM_RESTARTS: usize = 12;

/// Restarts before the final analysis, if the budget allows.
///
/// With a second load on the machine, p50 of two equal servers varies by 4 to 6 % from restart to restart. In
/// resampling from such checks, 20 % pass after 20 restarts, 46 % after 30, 59 % after 40 and 72 % after 50, which
/// takes half a minute more.
pub const FINAL_RESTARTS: usize = 40;

/// The smallest change of a metric that counts. A change must exceed both bounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// Relative: 0.03 is 3 % worse.
    pub min_effect: f64,
    /// Absolute, in the metric's unit; 0 for none. 8 % of 10 µs may be too little to care about.
    pub min_change: f64,
}

/// The outcome of an analysis. Effects are log ratios.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decision {
    /// Significantly worse, and the estimate reaches the threshold.
    Regressed,
    /// Significantly better, and the estimate reaches the threshold.
    Improved,
    /// The interval excludes a change for the worse as large as the threshold.
    Passed,
    /// Undecided.
    Inconclusive {
        /// Minimum detectable effect: the smallest effect that would have been called a regression, all else equal.
        ///
        /// Adding a constant to all values shifts estimate and interval by it, so the lower end exceeds zero once the
        /// estimate exceeds their distance, estimate - low. Never below the threshold. None if there were too few
        /// restarts for an interval.
        detectable: Option<f64>,
    },
}

/// A decision and its estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Analysis {
    /// None without a value.
    pub estimate: Option<Estimate>,
    /// The decision.
    pub decision: Decision,
}

/// Analyses one metric: `values` are finite log ratios, one per restart, positive if head is worse; `effect` is the
/// threshold, above zero; `alpha` is this metric's share of the error.
pub fn decide(values: &[f64], effect: f64, alpha: f64) -> Analysis {
    assert!(effect > 0.0, "a threshold of {effect} is always exceeded");
    Analysis::of(signed_rank::estimate(values, alpha), effect)
}

impl Analysis {
    /// The decision that follows from an estimate.
    pub fn of(estimate: Option<Estimate>, effect: f64) -> Analysis {
        let interval = estimate.and_then(|found| Some((found.location, found.interval?)));
        let decision = match interval {
            Some((middle, ConfidenceInterval { low, .. })) if low > 0.0 && middle >= effect => Decision::Regressed,
            Some((middle, ConfidenceInterval { high, .. })) if high < 0.0 && middle <= -effect => Decision::Improved,
            Some((_, ConfidenceInterval { high, .. })) if high < effect => Decision::Passed,
            _ => Decision::Inconclusive {
                detectable: interval.map(|(middle, ConfidenceInterval { low, .. })| effect.max(middle - low)),
            },
        };
        Analysis { estimate, decision }
    }
}

#[cfg(test)]
mod tests;
