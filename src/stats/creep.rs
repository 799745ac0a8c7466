//! Creep: many small changes in one direction, none of them significant by itself.
//!
//! Estimates of consecutive changes add up. Their sum, from any of them to the last, has a confidence interval that
//! holds for all later sums from the same beginning together (Robbins, Statistical methods related to the law of the
//! iterated logarithm, 1970; Howard et al., Time-uniform, nonparametric, nonasymptotic confidence sequences, 2021,
//! equation 14). The beginnings share the error (Bonferroni): in [`HORIZON`] changes without creep, one is found with
//! probability [`ALPHA`] at most, however often the series is examined.
//!
//! *Assumptions.* The estimates are independent and without bias. Their variance is what they state, or what their
//! successive differences show, whichever is larger: a creep does not enlarge the latter. One change is no creep, so
//! the largest does not count as evidence; this also keeps outliers out. A bias adds up like creep does: for example if
//! the two versions are always built in different ways.

/// Probability that creep in one direction is found among [`HORIZON`] changes without.
pub const ALPHA: f64 = 0.001;

/// Changes for which [`ALPHA`] holds.
pub const HORIZON: usize = 500;

/// Fewest changes from which their variance is estimated.
pub const CHANGES_MIN: usize = 8;

/// Fewest changes of a creep.
const CREEP_MIN: usize = 5;

/// The variance of a sum at which its interval is tightest: of 10 changes with a standard error of 0.5 % each.
const TIGHTEST: f64 = 10.0 * 0.005 * 0.005;

/// An estimated change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// The estimate, positive for the worse.
    pub estimate: f64,
    /// Its standard error.
    pub standard_error: f64,
}

/// The sum of the last changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sum {
    /// Index of the first change in it; it ends with the last.
    pub from: usize,
    /// The sum.
    pub total: f64,
    /// Half of the width of its confidence interval.
    pub half_width: f64,
    /// True if it is significantly positive, even without its largest change.
    pub is_creep: bool,
}

/// The sum that is most clearly creep: the one with the highest lower bound without its largest change. If there is no
/// creep, the sum of all. None for fewer than [`CHANGES_MIN`] changes.
pub fn clearest_sum(changes: &[Change]) -> Option<Sum> {
    if changes.len() < CHANGES_MIN {
        return None;
    }
    let scatter = successive_difference_variance(changes);
    let (mut total, mut variance, mut largest) = (0.0, 0.0, 0.0_f64);
    let sums = changes.iter().enumerate().rev().map(|(from, change)| {
        total += change.estimate;
        variance += change.standard_error.powi(2).max(scatter);
        largest = largest.max(change.estimate);
        let half_width = half_width(variance);
        let sum = Sum {
            from,
            total,
            half_width,
            is_creep: total - largest > half_width,
        };
        (sum, total - largest - half_width)
    });
    let sums: Vec<(Sum, f64)> = sums.skip(CREEP_MIN - 1).collect();
    let clearest = sums.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let (sum, _) = clearest.filter(|(sum, _)| sum.is_creep).or(sums.last())?;
    Some(*sum)
}

/// Half of the width of the interval of a sum with this variance.
fn half_width(variance: f64) -> f64 {
    // The error of both ends together.
    let alpha = 2.0 * ALPHA / HORIZON as f64;
    let scaled = (variance + TIGHTEST) / TIGHTEST;
    ((variance + TIGHTEST) * (scaled.ln() - 2.0 * alpha.ln())).sqrt()
}

/// The variance of one change from differences of successive ones (von Neumann 1941).
fn successive_difference_variance(changes: &[Change]) -> f64 {
    let squares = changes
        .windows(2)
        .map(|pair| (pair[1].estimate - pair[0].estimate).powi(2));
    squares.sum::<f64>() / (2.0 * (changes.len() - 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Estimates around these true changes, with an error of the stated size times `scatter`.
    fn changes(truth: &[f64], scatter: f64, draw: fn(&mut Random) -> f64, seed: u64) -> Vec<Change> {
        let mut random = Random::new(seed, 0);
        let change = |&truth: &f64| Change {
            estimate: truth + 0.005 * scatter * draw(&mut random),
            standard_error: 0.005,
        };
        truth.iter().map(change).collect()
    }

    fn is_creep(changes: &[Change]) -> bool {
        clearest_sum(changes).is_some_and(|sum| sum.is_creep)
    }

    #[test]
    fn ten_changes_of_2_9_percent_are_creep_whenever_they_begin() {
        let step = 0.029_f64.ln_1p();
        for before in [0, 20, 300] {
            let truth = [vec![0.0; before], vec![step; 10]].concat();
            for seed in 0..50 {
                let changes = changes(&truth, 1.0, Random::normal, seed);
                let sum = clearest_sum(&changes).unwrap();
                assert!(sum.is_creep && sum.from <= before + 5, "seed {seed}: {sum:?}");
                assert!((sum.total - 10.0 * step).abs() < sum.half_width, "seed {seed}: {sum:?}");
                assert!(!is_creep(&changes[..before]), "seed {seed}");
            }
        }
    }

    #[test]
    fn no_creep_is_found_in_500_changes_without_whatever_their_distribution() {
        let t3 = |random: &mut Random| {
            let squares: f64 = (0..3).map(|_| random.normal().powi(2)).sum();
            random.normal() / (squares / 3.0).sqrt()
        };
        for (scatter, draw) in [
            (1.0, Random::normal as fn(&mut Random) -> f64),
            (10.0, Random::normal),
            (3.0, t3),
        ] {
            let found = (0..100).filter(|&seed| {
                let changes = changes(&[0.0; HORIZON], scatter, draw, seed);
                (0..=HORIZON).any(|end| is_creep(&changes[..end]))
            });
            // At 0.1 %, 0.1 are expected.
            assert_eq!(found.count(), 0, "scatter {scatter}");
        }
    }

    #[test]
    fn one_large_change_is_no_creep_and_a_fix_ends_one() {
        let large = [vec![0.0; 20], vec![0.5], vec![0.0; 20]].concat();
        assert!(!is_creep(&changes(&large, 1.0, Random::normal, 1)));
        let mut crept = vec![0.03; 10];
        assert!(is_creep(&changes(&crept, 1.0, Random::normal, 1)));
        crept.push(-0.3);
        crept.extend([0.0; 20]);
        assert!(!is_creep(&changes(&crept, 1.0, Random::normal, 1)));
    }

    #[test]
    fn few_changes_have_no_sum() {
        assert_eq!(
            clearest_sum(&changes(&[0.1; CHANGES_MIN - 1], 0.0, Random::normal, 1)),
            None
        );
    }
}
