//! Permanent shifts in a growing series of values, searched for again after each value: a nonparametric change-point
//! chart. By hand: we found no crate with limits for a whole series.
//!
//! Every split of the values since the last change is compared by the rank sum of its two sides (Mann-Whitney), in
//! standard deviations of that sum. The series has changed where the largest exceeds a limit. With this limit, a series
//! without a change has one found in its first [`HORIZON`] values with probability [`ALPHA`], all analyses together.
//! That holds for every distribution, since only ranks count. A change that was found stays found: later values cannot
//! retract it. Source: Hawkins & Deng, A nonparametric change-point control chart, Journal of Quality Technology 42
//! (2010); Ross, Tasoulis & Adams, Nonparametric monitoring of data streams for changes in location and scale,
//! Technometrics 53 (2011).
//!
//! *Assumptions.* Without a change the order of the values is random: values that depend on their neighbours are a
//! change to this test. It finds changes of level, not of spread. A clear step takes 9 values after a long history, 17
//! after 17.

use super::median;

/// Probability that a change is found among the first [`HORIZON`] values of a series without one.
pub const ALPHA: f64 = 0.001;

/// Values for which [`ALPHA`] holds.
pub const HORIZON: usize = 500;

/// The limit, in standard deviations of a rank sum. That series without a change stay below it is simulated in the
/// tests.
const LIMIT: f64 = 4.95;

/// The values before `at` differ from those from `at` on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangePoint {
    /// Index of the first value after the change.
    pub at: usize,
    /// Index of the value with which it was found.
    pub found_at: usize,
    /// Median of the values since the previous change, or since the beginning.
    pub before: f64,
    /// Median of the values up to the next change, or to the end.
    pub after: f64,
}

/// The change points of finite values in order of time. Time grows with the square of their number.
pub fn change_points(values: &[f64]) -> Vec<ChangePoint> {
    assert!(values.iter().all(|value| value.is_finite()), "{values:?}");
    let mut found: Vec<(usize, usize)> = Vec::new();
    let mut begin = 0;
    while let Some((at, found_at)) = first_change(&values[begin..]) {
        found.push((begin + at, begin + found_at));
        begin += at;
    }
    let begins = found.iter().map(|&(at, _)| at);
    let bounds: Vec<usize> = [0].into_iter().chain(begins).chain([values.len()]).collect();
    let level = |index: usize| median(&values[bounds[index]..bounds[index + 1]]).expect("no segment is empty");
    let changes = found.iter().enumerate().map(|(index, &(at, found_at))| ChangePoint {
        at,
        found_at,
        before: level(index),
        after: level(index + 1),
    });
    changes.collect()
}

/// The first change: where it is, and with which value it shows.
fn first_change(values: &[f64]) -> Option<(usize, usize)> {
    // For each split: how many pairs across it ascend, less how many descend.
    let mut rank_sums = vec![0.0; values.len() + 1];
    for (last, value) in values.iter().enumerate() {
        let mut ascending = 0.0;
        for (index, earlier) in values[..last].iter().enumerate() {
            ascending += value.partial_cmp(earlier).map_or(0.0, |order| f64::from(order as i8));
            rank_sums[index + 1] += ascending;
        }
        let n = (last + 1) as f64;
        let deviations = |at: usize| {
            let pairs = (at * (last + 1 - at)) as f64;
            rank_sums[at].abs() / (pairs * (n + 1.0) / 3.0).sqrt()
        };
        let best = (1..=last).max_by(|&a, &b| deviations(a).total_cmp(&deviations(b)));
        if let Some(at) = best.filter(|&at| deviations(at) > LIMIT) {
            return Some((at, last));
        }
    }
    None
}

#[cfg(test)]
mod tests;
