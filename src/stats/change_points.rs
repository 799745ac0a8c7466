//! Where a long row of values changed, and whether it did: E-divisive.
//!
//! Two segments differ as far as pairs across them lie further apart than pairs within them. The place at which that
//! is largest is a candidate; it stands if rows with the same values in random order hardly ever have one as good. Then
//! both sides are searched, until nothing stands. No distribution is supposed, and more than the middle may
//! change. Source: Matteson & James, A nonparametric approach for multiple change point analysis of multivariate data,
//! JASA 109 (2014), with exponent 1 and in one dimension. For histories of performance: Daly et al., The use of change
//! point detection to identify software performance regressions in a continuous integration system (2020).
//!
//! *What it asks.* Values that come in a row by random only: a drift, or neighbours that are alike for reasons of
//! their own, is a change to this test. A row without change has one found with probability `alpha` at most; each
//! further change is tested at `alpha` again.

use super::median;
use crate::random::Random;

/// The values before differ from those at and after `at`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangePoint {
    /// Index of the first value after the change.
    pub at: usize,
    /// Median from the change before this one, or the beginning.
    pub before: f64,
    /// Median up to the change after this one, or the end.
    pub after: f64,
    /// The share of random orders, the true one included, with a change as good. At most alpha.
    pub p: f64,
}

/// Finds the changes in a row of finite values, in order of time, with at least `min_segment` values (two or more)
/// on either side of each. Too short a row has none.
///
/// The same seed finds the same. Panics if `permutations` are too few for any p to be as small as `alpha`: it takes 99
/// for 1 %, 999 for 0.1 %. Memory grows with the number of values, time with its square times the permutations, for
/// each change and once more: 1,000 values and 99 permutations take 0.13 s each time, 3,000 values 1.2 s (release
/// build, a shared CPU).
pub fn change_points(values: &[f64], min_segment: usize, alpha: f64, permutations: u32, seed: u64) -> Vec<ChangePoint> {
    assert!(min_segment >= 2, "one value has no distance within: {min_segment}");
    assert!(
        alpha * (f64::from(permutations) + 1.0) >= 1.0,
        "{permutations} permutations never show {alpha}"
    );
    assert!(values.iter().all(|value| value.is_finite()), "{values:?}");
    let mut random = Random::new(seed, 0);
    // Where segments begin, and where the last one ends; the p of each beginning.
    let mut bounds = vec![0, values.len()];
    let mut found: Vec<(usize, f64)> = Vec::new();
    while let Some(best) = best_split(values, &bounds, min_segment) {
        let p = random_of(values, &bounds, min_segment, best, permutations, &mut random);
        if p > alpha {
            break;
        }
        let place = bounds.partition_point(|&bound| bound < best.at);
        bounds.insert(place, best.at);
        found.insert(place - 1, (best.at, p));
    }
    let middle = |index: usize| median(&values[bounds[index]..bounds[index + 1]]);
    let changes = found.iter().enumerate().map(|(index, &(at, p))| ChangePoint {
        at,
        before: middle(index).expect("no segment is empty"),
        after: middle(index + 1).expect("no segment is empty"),
        p,
    });
    changes.collect()
}

/// A place to split at, and how far the two sides differ.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Split {
    at: usize,
    difference: f64,
}

/// The best split of all segments. None if all are too short.
fn best_split(values: &[f64], bounds: &[usize], min_segment: usize) -> Option<Split> {
    let splits = bounds.windows(2).filter_map(|ends| {
        let split = split(&values[ends[0]..ends[1]], min_segment)?;
        Some(Split {
            at: ends[0] + split.at,
            ..split
        })
    });
    splits.max_by(|a, b| a.difference.total_cmp(&b.difference))
}

/// The p of a split: how often the values of each segment, in random order, have one as good.
fn random_of(
    values: &[f64],
    bounds: &[usize],
    min_segment: usize,
    best: Split,
    permutations: u32,
    random: &mut Random,
) -> f64 {
    // Sums of the same values in another order differ by rounding: as good is as good within that.
    let as_good = best.difference * (1.0 - 1e-9);
    let mut order = values.to_vec();
    let mut reached = 1;
    for _ in 0..permutations {
        for ends in bounds.windows(2) {
            random.shuffle(&mut order[ends[0]..ends[1]]);
        }
        let shuffled = best_split(&order, bounds, min_segment);
        reached += u32::from(shuffled.is_some_and(|split| split.difference >= as_good));
    }
    f64::from(reached) / (f64::from(permutations) + 1.0)
}

/// Where a segment falls apart most: at τ, into its first τ values and those up to some κ, all κ tried, so that a later
/// change does not hide this one.
///
/// `within[τ]` is the sum of distances among the values from τ to the last one that was added. A new value adds its
/// distances to all of them, which grow by one term as τ goes down: all sums in n²/2 steps and no table of distances.
fn split(values: &[f64], min_segment: usize) -> Option<Split> {
    let mut best: Option<Split> = None;
    let mut within = vec![0.0; values.len()];
    // Sums of distances among the first so many values.
    let mut among_first = vec![0.0; values.len() + 1];
    for (last, &value) in values.iter().enumerate() {
        let mut to_new = 0.0;
        for at in (0..last).rev() {
            to_new += (value - values[at]).abs();
            within[at] += to_new;
        }
        let end = last + 1;
        among_first[end] = within[0];
        for at in min_segment..=end.saturating_sub(min_segment) {
            let sums = [among_first[at], within[at], within[0]];
            let difference = difference(at, end - at, sums);
            if best.is_none_or(|best| difference > best.difference) {
                best = Some(Split { at, difference });
            }
        }
    }
    best
}

/// Q of the paper: m n / (m + n) times what twice the mean distance across two segments of m and n values
/// exceeds the mean distances within each. From sums of distances: within the first, the second, and both together.
fn difference(m: usize, n: usize, [first, second, both]: [f64; 3]) -> f64 {
    let (m, n) = (m as f64, n as f64);
    let across = both - first - second;
    let means = 2.0 * across / (m * n) - 2.0 * first / (m * (m - 1.0)) - 2.0 * second / (n * (n - 1.0));
    m * n / (m + n) * means
}

#[cfg(test)]
mod tests;
