//! Which samples, by rank, say something about a percentile. Numbers only, no histogram.
//!
//! Of n independent samples, the number that lie at or below the true q-quantile is binomial(n, q). So the samples of
//! ranks j < k enclose the quantile with probability P(j ≤ N < k), whatever the distribution. We take 2.5 % off each
//! side. Source: Hahn & Meeker, Statistical Intervals (1991), section 5.2; Le Boudec, Performance Evaluation of
//! Computer and Communication Systems (2010), theorem 2.1.

/// 95 % confidence, half of the doubt on each side.
const DOUBT: f64 = 0.025;
/// The point of the normal distribution with `DOUBT` above it.
const Z: f64 = 1.959_964;

/// The fewest samples from which the q-quantile can be told: 368 for p99, 3,688 for p99.9, 36,887 for p99.99.
///
/// The interval needs a sample above the quantile as its upper end. That all n samples lie below has probability q^n,
/// and must be no more than 2.5 %: n ≥ ln 0.025 / ln q. Below the median the same holds for the lower end and 1 - q.
/// Panics unless `0 < q < 1`.
pub fn needs(q: f64) -> u64 {
    assert!(q > 0.0 && q < 1.0, "{q} is not a share of the samples");
    (DOUBT.ln() / q.max(1.0 - q).ln()).ceil() as u64
}

/// The rank (from 1) of the sample that a share `q` of `count` samples does not exceed: the nearest-rank definition.
/// `count` must not be zero.
pub fn of_quantile(count: u64, q: f64) -> u64 {
    // 0.55 × 100 is 55.000000000000007 in binary: a hair less, so that rounding up does not take it to 56.
    let rank = (q * count as f64 * (1.0 - 1e-12)).ceil() as u64;
    rank.clamp(1, count)
}

/// The ranks (from 1) of the two samples that enclose the true q-quantile with 95 % confidence, equal tails.
/// None when there are too few samples.
pub fn interval(count: u64, q: f64) -> Option<(u64, u64)> {
    if count < needs(q) {
        return None;
    }
    // Counted from the nearer end, where the numbers are small: samples below the quantile, or samples above it.
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

/// Adds up the probabilities of 0, 1, 2, … until both tails are found.
fn exact_tails(n: u64, p: f64) -> (u64, u64) {
    let mut probability = (n as f64 * (-p).ln_1p()).exp();
    let mut sum = probability;
    let (mut inside, mut x) = (0, 0);
    while sum < 1.0 - DOUBT && x < n {
        if sum <= DOUBT {
            inside = x;
        }
        probability *= (n - x) as f64 / (x + 1) as f64 * p / (1.0 - p);
        sum += probability;
        x += 1;
    }
    (inside, x)
}

/// Le Boudec's approximation for large n: j = ⌊nq - z√(nq(1-q))⌋ and k = ⌈nq + z√(nq(1-q))⌉ + 1 as ranks.
/// At a mean of 500 it is within one rank of the exact ones or outside of them.
fn normal_tails(mean: f64, p: f64) -> (u64, u64) {
    let spread = Z * (mean * (1.0 - p)).sqrt();
    ((mean - spread).floor() as u64 - 1, (mean + spread).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_famous_percentiles_need_their_known_numbers_of_samples() {
        assert_eq!([0.99, 0.999, 0.9999].map(needs), [368, 3_688, 36_887]);
        assert_eq!([0.5, 0.9, 0.1, 0.01].map(needs), [6, 36, 36, 368]);
    }

    #[test]
    fn the_needed_number_is_exactly_where_an_interval_begins() {
        for q in [0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999] {
            let needed = needs(q);
            assert_eq!(interval(needed - 1, q), None, "q {q}");
            let (low, high) = interval(needed, q).unwrap();
            assert!(1 <= low && low < high && high <= needed, "q {q}: {low}..{high}");
            // Just enough: the outermost sample is one end.
            assert!(if q > 0.5 { high == needed } else { low == 1 }, "q {q}: {low}..{high}");
        }
    }

    #[test]
    fn intervals_of_the_median_agree_with_the_sign_test_table() {
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
    fn intervals_agree_with_binomials_summed_in_exact_fractions() {
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
    fn large_samples_are_enclosed_as_by_the_exact_sum_or_one_rank_wider() {
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
    fn the_two_methods_meet_where_one_takes_over_from_the_other() {
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
    fn nearest_ranks_do_not_stumble_over_binary_fractions() {
        for (count, q, rank) in [
            (100, 0.55, 55),
            (100, 0.99, 99),
            (1_000, 0.999, 999),
            (7, 0.5, 4),
            (1, 0.01, 1),
            (10, 0.999_999, 10),
        ] {
            assert_eq!(of_quantile(count, q), rank, "{q} of {count}");
        }
        let many = 1 << 40;
        assert!(of_quantile(many, 0.999_999_999) <= many);
    }

    #[test]
    #[should_panic(expected = "not a share")]
    fn a_percentage_in_place_of_a_share_is_our_mistake() {
        needs(99.0);
    }
}
