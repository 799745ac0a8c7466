//! What follows from the values of some restarts: regressed, improved, passed, or not known yet.
//!
//! The plan is sequential and fixed beforehand: a look after 12 restarts, and one after 40 if the first left it open.
//! Each look may be wrong with probability 0.5 % on one side, so that both together are wrong with no more than 1 %
//! (Bonferroni), whatever the distribution of the values, as long as it is symmetric where nothing changed. Where several
//! metrics decide they share these chances ([`alpha`]), so that the promise holds for the whole check. A third look
//! would break it.
//!
//! *Proof.* Of 10,000 simulated checks of two things alike by one metric, 0.8 to 1.1 % end on each side however small an
//! effect matters, be the values normal, Cauchy, log-normal or of two modes. Where base and head scatter by 2 % from
//! restart to restart and 3 % matter, 0.02 % end as regressed, 99.9 % pass, and of those 5 % worse all are found. As one
//! of three metrics: 99.9 % pass, and all are found (tests). On real servers: `bench/check/README.md`.
//!
//! The interval, and what it asks of the values, is in [`signed_rank`]. Two looks: Jennison & Turnbull,
//! Group Sequential Methods (1999), chapter 1.

use serde::{Deserialize, Serialize};

use crate::stats::signed_rank::{self, Estimate};

/// Probability of an error on one side at one look, of all metrics that decide together.
///
/// Of 12 restarts it takes the 8th of 78 Walsh averages, of 40 the 221st of 820. Fewer than 8 restarts
/// have no interval at all: that all of them agree in sign has probability 2^-7 = 0.8 %.
pub const ALPHA: f64 = 0.005;

/// The share of one of so many metrics that decide (Bonferroni).
///
/// Of 12 restarts it takes the 6th of 78 Walsh averages for two metrics, the 4th for three and four, the 3rd for five; of
/// 40 the 205th, 196th, 190th and 186th of 820.
pub fn alpha(deciding: usize) -> f64 {
    ALPHA / deciding.max(1) as f64
}

/// Restarts that it takes for an interval at this alpha: so many that all agree in sign by chance no more often.
pub fn restarts_needed(alpha: f64) -> usize {
    (-alpha.log2()).ceil() as usize
}

/// Restarts before the first look.
///
/// Of 10 all would have to agree where three metrics decide: one launch without luck, and it takes 20. Drawn from the
/// values of 350 restarts of two alike, 49 % of the checks pass at a first look after 10, 80 % after 11, 83 % after 12 and
/// 91 % after 14, so that a verdict takes the least time with 11 or 12.
pub const FIRST_LOOK: usize = 12;

/// Restarts before the last look, if time allows.
///
/// Beside a second load p50 of two alike scatters by 4 to 6 % from restart to restart. Drawn from the values of such
/// checks, 20 % of them pass after 20 restarts, 46 % after 30, 59 % after 40 and 72 % after 50, which takes half a minute
/// more.
pub const LAST_LOOK: usize = 40;

/// The smallest change of a metric that anybody should hear of. Both bounds must be passed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// As a share: 0.03 is 3 % worse.
    pub share: f64,
    /// In the metric's own unit, zero if there is no such bound: 8 % of 10 µs may be less than anybody cares for.
    pub floor: f64,
}

/// What a look says. All effects are log-ratios.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decision {
    /// Worse beyond doubt, and by an estimate that matters.
    Regressed,
    /// Better beyond doubt, and by an estimate that matters.
    Improved,
    /// No worse by as much as matters, beyond doubt.
    Passed,
    /// Not known: after the first look, not yet.
    Inconclusive {
        /// The smallest effect that would have been called a regression, had it been there and all else the same.
        ///
        /// To add a number to all values moves estimate and interval by it, so the low end is above zero as soon as the
        /// estimate exceeds their distance, estimate - low. Never below the effect that matters. None if there were too
        /// few restarts for an interval.
        could_have_seen: Option<f64>,
    },
}

/// A decision and what it rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finding {
    /// None without a single value.
    pub estimate: Option<Estimate>,
    /// What follows from it.
    pub decision: Decision,
}

/// Decides on one metric from the values of all restarts so far: finite log-ratios, positive where head is worse.
/// `effect` is the smallest one that matters, above zero; `alpha` this metric's share of the errors.
pub fn decide(values: &[f64], effect: f64, alpha: f64) -> Finding {
    assert!(effect > 0.0, "an effect of {effect} always matters");
    Finding::of(signed_rank::estimate(values, alpha), effect)
}

impl Finding {
    /// What follows from an estimate.
    pub fn of(estimate: Option<Estimate>, effect: f64) -> Finding {
        let interval = estimate.and_then(|found| Some((found.location, found.interval?)));
        let decision = match interval {
            Some((middle, (low, _))) if low > 0.0 && middle >= effect => Decision::Regressed,
            Some((middle, (_, high))) if high < 0.0 && middle <= -effect => Decision::Improved,
            Some((_, (_, high))) if high < effect => Decision::Passed,
            _ => Decision::Inconclusive {
                could_have_seen: interval.map(|(middle, (low, _))| effect.max(middle - low)),
            },
        };
        Finding { estimate, decision }
    }
}

#[cfg(test)]
mod tests;
