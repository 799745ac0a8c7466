//! Distribution-free confidence intervals of percentiles: the ranks of the samples that enclose them.
//!
//! Of n independent samples, the number N at or below the true q-quantile is binomial(n, q). So the samples of ranks
//! j < k enclose the quantile with probability P(j ≤ N < k), whatever the distribution. Both tails have 2.5 %. Source:
//! Hahn & Meeker, Statistical Intervals (1991), section 5.2; Le Boudec, Performance Evaluation of Computer and
//! Communication Systems (2010), theorem 2.1.

use super::quantiles::NORMAL_975;

/// Error probability of each end of the interval: 95 % confidence with equal tails.
const TAIL: f64 = 0.025;

/// The fewest samples that give the q-quantile an interval: 368 for p99, 3,688 for p99.9, 36,887 for p99.99.
///
/// The upper end must be a sample above the quantile. All n samples lie below it with probability q^n, which may be 2.5
/// % at most: n ≥ ln 0.025 / ln q. Below the median the same holds for the lower end and 1 - q.
/// Panics unless `0 < q < 1`.
pub fn needs(q: f64) -> u64 {
    assert!(q > 0.0 && q < 1.0, "{q} is not a share of the samples");
    (TAIL.ln() / q.max(1.0 - q).ln()).ceil() as u64
}

/// The rank (from 1) of the q-quantile of `count` samples, by the nearest-rank definition. `count` must not be zero.
pub fn rank_of(count: u64, q: f64) -> u64 {
    // 0.55 × 100 is 55.000000000000007 in binary: the factor keeps it from being rounded up to 56.
    let rank = (q * count as f64 * (1.0 - 1e-12)).ceil() as u64;
    rank.clamp(1, count)
}

/// The ranks (from 1) of the two samples that enclose the true q-quantile with 95 % confidence, equal tails.
/// None if there are too few samples.
pub fn interval(count: u64, q: f64) -> Option<(u64, u64)> {
    if count < needs(q) {
        return None;
    }
    // Counted from the nearer end, where the counts are small: samples below the quantile, or samples above it.
    let (inside, outside) = tails(count, q.min(1.0 - q));
    let from_below = (inside + 1, (outside + 1).min(count));
    if q <= 0.5 {
        Some(from_below)
    } else {
        Some((count + 1 - from_below.1, count + 1 - from_below.0))
    }
}

/// For X binomial(n, p) with p ≤ 1/2: the largest a with P(X ≤ a) ≤ 2.5 %, and the smallest b with P(X ≤ b) ≥ 97.5 %.
/// Expects n ≥ `needs(p)`, so that a exists.
fn tails(n: u64, p: f64) -> (u64, u64) {
    let mean = n as f64 * p;
    // Exact as long as (1 - p)^n, no smaller than e^(-1.39 × mean), is a normal double (down to e^-708).
    if mean <= 500.0 {
        exact_tails(n, p)
    } else {
        normal_tails(mean, p)
    }
}

/// Sums the probabilities of 0, 1, 2, … until both tails are found.
fn exact_tails(n: u64, p: f64) -> (u64, u64) {
    let mut probability = (n as f64 * (-p).ln_1p()).exp();
    let mut sum = probability;
    let (mut inside, mut x) = (0, 0);
    while sum < 1.0 - TAIL && x < n {
        if sum <= TAIL {
            inside = x;
        }
        probability *= (n - x) as f64 / (x + 1) as f64 * p / (1.0 - p);
        sum += probability;
        x += 1;
    }
    (inside, x)
}

/// Le Boudec's approximation for large n: j = ⌊nq - z√(nq(1-q))⌋ and k = ⌈nq + z√(nq(1-q))⌉ + 1 as ranks.
/// At a mean of 500 each end is at most one rank off the exact one.
fn normal_tails(mean: f64, p: f64) -> (u64, u64) {
    let spread = NORMAL_975 * (mean * (1.0 - p)).sqrt();
    ((mean - spread).floor() as u64 - 1, (mean + spread).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_need_the_known_numbers_of_samples() {
        assert_eq!([0.99, 0.999, 0.9999].map(needs), [368, 3_688, 36_887]);
        assert_eq!([0.5, 0.9, 0.1, 0.01].map(needs), [6, 36, 36, 368]);
    }

    #[test]
    fn an_interval_exists_exactly_from_the_needed_number_of_samples_on() {
        for q in [0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999] {
            let needed = needs(q);
            assert_eq!(interval(needed - 1, q), None, "q {q}");
            let (low, high) = interval(needed, q).unwrap();
            assert!(1 <= low && low < high && high <= needed, "q {q}: {low}..{high}");
            // With just enough samples the outermost one is an end.
            assert!(if q > 0.5 { high == needed } else { low == 1 }, "q {q}: {low}..{high}");
        }
    }

    #[test]
    fn intervals_of_the_median_agree_with_the_table_of_the_sign_test() {
        // Conover, Practical Nonparametric Statistics: two-sided 5 % points of the sign test.
        for (count, ranks) in [
            (6, (1, 6)),
            (9, (2, 8)),
            (12, (3, 10)),
            (15, (4, 12)),
            (20, (6, 15)),
            (25, (8, 18)),
            (50, (18, 33)),
            (100, (40, 61)),
        ] {
            assert_eq!(interval(count, 0.5), Some(ranks), "n {count}");
        }
    }

    #[test]
    fn intervals_agree_with_binomials_summed_as_exact_fractions() {
        for (count, q, ranks) in [
            (36, 0.1, (1, 8)),
            (36, 0.9, (29, 36)),
            (100, 0.9, (84, 96)),
            (368, 0.99, (360, 368)),
            (1_000, 0.1, (82, 120)),
            (1_000, 0.5, (469, 532)),
            (1_000, 0.9, (881, 919)),
            (1_000, 0.99, (983, 997)),
            (3_688, 0.999, (3_680, 3_688)),
            (36_887, 0.9999, (36_879, 36_887)),
            (1_000_000, 0.9999, (999_880, 999_920)),
        ] {
            assert_eq!(interval(count, q), Some(ranks), "n {count}, q {q}");
        }
    }

    #[test]
    fn intervals_of_large_samples_are_at_most_one_rank_wider_than_exact_ones() {
        for (count, q, (low, high)) in [
            (2_000, 0.5, (956, 1_045)),
            (10_000, 0.9, (8_941, 9_059)),
            (100_000, 0.99, (98_938, 99_062)),
            (10_000_000, 0.999, (9_989_804, 9_990_196)),
        ] {
            let (j, k) = interval(count, q).unwrap();
            assert!(
                low - j <= 1 && k - high <= 1,
                "n {count}, q {q}: {j}..{k} for {low}..{high}"
            );
        }
    }

    #[test]
    fn the_two_methods_agree_where_the_approximation_takes_over() {
        for p in [0.5, 0.1, 0.01, 0.000_1] {
            let n = (500.0 / p) as u64;
            let (a, b) = exact_tails(n, p);
            let (wide_a, wide_b) = normal_tails(n as f64 * p, p);
            assert!(
                a.abs_diff(wide_a) <= 1 && b.abs_diff(wide_b) <= 1,
                "p {p}: {a}..{b} and {wide_a}..{wide_b}"
            );
        }
    }

    #[test]
    fn nearest_ranks_are_not_off_by_one_because_of_binary_fractions() {
        for (count, q, rank) in [
            (100, 0.55, 55),
            (100, 0.99, 99),
            (1_000, 0.999, 999),
            (7, 0.5, 4),
            (1, 0.01, 1),
            (10, 0.999_999, 10),
        ] {
            assert_eq!(rank_of(count, q), rank, "{q} of {count}");
        }
        let many = 1 << 40;
        assert!(rank_of(many, 0.999_999_999) <= many);
    }

    #[test]
    #[should_panic(expected = "not a share")]
    fn a_percentage_instead_of_a_share_panics() {
        needs(99.0);
    }
}
