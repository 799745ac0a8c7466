//! Change points in a long series of values: E-divisive.
//!
//! Two segments differ as far as pairs across them lie further apart than pairs within them. The index at which that is
//! largest is a candidate; it stands if random permutations of the same values rarely have one as good. Then both sides
//! are searched, until no candidate stands. No distribution is assumed, and changes of spread are found as well as changes
//! of level. Source: Matteson & James, A nonparametric approach for multiple change point analysis of multivariate data,
//! JASA 109 (2014), with exponent 1 and in one dimension. For histories of performance: Daly et al., The use of change
//! point detection to identify software performance regressions in a continuous integration system (2020).
//!
//! *Assumptions.* Without a change the order of the values is random: a drift, or values that depend on their neighbours,
//! is a change to this test. A series without a change has one found with probability `alpha` at most; each further change
//! is tested at `alpha` again.

use super::median;
use crate::random::Random;

/// The values before `at` differ from those from `at` on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangePoint {
    /// Index of the first value after the change.
    pub at: usize,
    /// Median of the values since the previous change, or since the beginning.
    pub before: f64,
    /// Median of the values up to the next change, or to the end.
    pub after: f64,
    /// The share of permutations, the observed order included, with a change as good. At most alpha.
    pub p: f64,
}

/// How to search for change points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search {
    /// Fewest values on either side of a change; two or more.
    pub min_segment: usize,
    /// Probability of finding a change where there is none.
    pub alpha: f64,
    /// Permutations for each candidate: at least 99 for an alpha of 1 %, 999 for 0.1 %.
    pub permutations: u32,
    /// Seed of the permutations. The same seed finds the same changes.
    pub seed: u64,
}

impl Search {
    /// The change points of finite values in order of time. None in a series shorter than two segments.
    ///
    /// Panics if the permutations are too few for any p to be as small as alpha. Memory grows with the number of values, time
    /// with its square times the permutations, for each change and once more: 1,000 values and 99 permutations take 0.13 s
    /// each time, 3,000 values 1.2 s (release build, a shared CPU).
    pub fn change_points(&self, values: &[f64]) -> Vec<ChangePoint> {
        let Search {
            min_segment,
            alpha,
            permutations,
            seed,
        } = *self;
        assert!(min_segment >= 2, "a segment needs two values: {min_segment}");
        assert!(
            alpha * (f64::from(permutations) + 1.0) >= 1.0,
            "{permutations} permutations are too few for an alpha of {alpha}"
        );
        assert!(values.iter().all(|value| value.is_finite()), "{values:?}");
        let mut random = Random::new(seed, 0);
        // Where segments begin, and where the last one ends; the p of each beginning but the first.
        let mut bounds = vec![0, values.len()];
        let mut found: Vec<(usize, f64)> = Vec::new();
        while let Some(best) = best_split(values, &bounds, min_segment) {
            let p = self.p_value(values, &bounds, best, &mut random);
            if p > alpha {
                break;
            }
            let index = bounds.partition_point(|&bound| bound < best.at);
            bounds.insert(index, best.at);
            found.insert(index - 1, (best.at, p));
        }
        let level = |index: usize| median(&values[bounds[index]..bounds[index + 1]]);
        let changes = found.iter().enumerate().map(|(index, &(at, p))| ChangePoint {
            at,
            before: level(index).expect("no segment is empty"),
            after: level(index + 1).expect("no segment is empty"),
            p,
        });
        changes.collect()
    }

    /// The p-value of a split: how often the values of each segment, in random order, have one as good.
    fn p_value(&self, values: &[f64], bounds: &[usize], best: Split, random: &mut Random) -> f64 {
        // Sums of the same values in another order differ by rounding.
        let as_good = best.difference * (1.0 - 1e-9);
        let mut order = values.to_vec();
        let mut reached = 1;
        for _ in 0..self.permutations {
            for ends in bounds.windows(2) {
                random.shuffle(&mut order[ends[0]..ends[1]]);
            }
            let shuffled = best_split(&order, bounds, self.min_segment);
            reached += u32::from(shuffled.is_some_and(|split| split.difference >= as_good));
        }
        f64::from(reached) / (f64::from(self.permutations) + 1.0)
    }
}

/// Where to split, and how far the two sides differ.
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

/// The best split of a segment: at τ, into its first τ values and those up to κ, over all κ, so that a later change does
/// not mask this one.
///
/// `within[τ]` is the sum of distances among the values from τ to the one added last. A new value adds its distances to
/// them, one term more as τ decreases: all sums take n²/2 steps and no table of distances.
fn split(values: &[f64], min_segment: usize) -> Option<Split> {
    let mut best: Option<Split> = None;
    let mut within = vec![0.0; values.len()];
    // Sums of distances among the first 0, 1, 2, … values.
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

/// Q of the paper, for segments of m and n values: m n / (m + n) times the excess of twice the mean distance across them
/// over the mean distances within each. Takes the sums of distances within the first, the second, and both together.
fn difference(m: usize, n: usize, [first, second, both]: [f64; 3]) -> f64 {
    let (m, n) = (m as f64, n as f64);
    let across = both - first - second;
    let means = 2.0 * across / (m * n) - 2.0 * first / (m * (m - 1.0)) - 2.0 * second / (n * (n - 1.0));
    m * n / (m + n) * means
}

#[cfg(test)]
mod tests;
