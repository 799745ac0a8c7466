//! The location of a small sample, with an exact interval: the Hodges-Lehmann estimate and the distribution of
//! Wilcoxon's signed-rank statistic. By hand: the crates that we found have the test, not the interval.
//!
//! T⁺ is the sum of the ranks, by absolute distance, of the values above an assumed location. If the distribution is
//! symmetric about it, each rank counts with probability 1/2: T⁺ is a sum of fair coins worth 1 … n, and its
//! distribution is counted, not approximated. T⁺ is also the number of Walsh averages above the assumed location, so
//! order statistics of the averages enclose the true one. Nothing is random. Sources: Hodges & Lehmann, Estimates of
//! location based on rank tests (1963); Hollander & Wolfe, Nonparametric Statistical Methods (1999), sections 3.1 to
//! 3.3.
//!
//! *Ties and zeros.* Nothing is dropped and no rank is shared. The interval is closed, so on a grid it covers the
//! location at least as often as promised (Noether, Elements of Nonparametric Statistics, 1967): a low end strictly
//! above zero has probability alpha at most if the location is zero.
//!
//! *Outliers.* The estimate withstands almost 30 % of them. Each affects n averages, though: at an alpha of 0.5 %, one
//! outlier in ten values moves the end on its side, and in twenty values it takes two. The other end still holds.
//!
//! *Assumptions.* Values are independent and symmetric about their location. The log-ratio of two equal servers is,
//! however skewed each of them is. If they differ, the location is that of the averages, not the median.

use super::median;

/// The location of some values, and its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Number of values.
    pub n: usize,
    /// The Hodges-Lehmann estimate: the median of the Walsh averages.
    pub location: f64,
    /// None if n values are too few for the alpha.
    pub interval: Option<ConfidenceInterval>,
}

/// Where the true location lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConfidenceInterval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl ConfidenceInterval {
    /// An interval that reaches as far down as up.
    pub fn around(middle: f64, half_width: f64) -> ConfidenceInterval {
        ConfidenceInterval {
            low: middle - half_width,
            high: middle + half_width,
        }
    }
}

/// Estimates the location of finite values. The true one lies below the interval with probability `alpha` at most, and
/// above it with the same. None without values. Panics unless `0 < alpha < 0.5`.
pub fn estimate(values: &[f64], alpha: f64) -> Option<Estimate> {
    let averages = walsh(values);
    Some(Estimate {
        n: values.len(),
        location: median::of_sorted(&averages)?,
        interval: enclosing(values.len(), alpha, &averages),
    })
}

/// The Walsh averages, sorted: the means of all n(n + 1)/2 pairs of values, including each value with itself.
pub fn walsh(values: &[f64]) -> Vec<f64> {
    assert!(
        values.iter().all(|value| value.is_finite()),
        "only finite values have a location: {values:?}"
    );
    let mut averages = Vec::with_capacity(values.len() * (values.len() + 1) / 2);
    for (index, &value) in values.iter().enumerate() {
        let pairs = values[index..].iter();
        averages.extend(pairs.map(|&other| f64::midpoint(value, other)));
    }
    averages.sort_unstable_by(f64::total_cmp);
    averages
}

/// The rank, from 1, of the Walsh average that is the low end of the interval of n values: one more than the largest t
/// with P(T⁺ ≤ t) ≤ alpha. None if even t = 0, which has probability 2^-n, is too likely.
///
/// The 4th of 55 for n = 10 and 5/1024; the 38th of 210 for n = 20 and 0.5 %. Panics unless `0 < alpha < 0.5`.
pub fn rank(n: usize, alpha: f64) -> Option<usize> {
    assert!(
        alpha > 0.0 && alpha < 0.5,
        "{alpha} is not a one-sided error probability"
    );
    let inside = at_most(n);
    let rank = inside.partition_point(|&probability| probability <= alpha);
    (rank > 0).then_some(rank)
}

/// P(T⁺ ≤ t) of n values, for t from 0 to n(n + 1)/2.
///
/// Exact up to n = 53, because counts of up to 2^n, halved n times, fit an f64. Beyond that, exact within rounding.
pub fn at_most(n: usize) -> Vec<f64> {
    let mut probabilities = vec![0.0; n * (n + 1) / 2 + 1];
    probabilities[0] = 1.0;
    let mut highest = 0;
    for worth in 1..=n {
        highest += worth;
        // Adds a coin. From above, so that t - worth is still the value without it.
        for t in (0..=highest).rev() {
            let with = t.checked_sub(worth).map_or(0.0, |t| probabilities[t]);
            probabilities[t] = f64::midpoint(probabilities[t], with);
        }
    }
    let mut sum = 0.0;
    for probability in &mut probabilities {
        sum += *probability;
        *probability = sum;
    }
    probabilities
}

/// The averages of the rank from below and from above.
fn enclosing(n: usize, alpha: f64, averages: &[f64]) -> Option<ConfidenceInterval> {
    let rank = rank(n, alpha)?;
    Some(ConfidenceInterval {
        low: averages[rank - 1],
        high: averages[averages.len() - rank],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ends of the interval.
    fn interval(values: &[f64], alpha: f64) -> Option<(f64, f64)> {
        let ConfidenceInterval { low, high } = estimate(values, alpha)?.interval?;
        Some((low, high))
    }

    #[test]
    fn the_interval_of_ten_values_is_the_4th_of_55_averages_from_each_end() {
        assert_eq!(rank(10, 5.0 / 1024.0), Some(4));
        assert_eq!(at_most(10)[3], 5.0 / 1024.0);
        // 1 … 10, of which the averages are 1, 1.5, 2, 2, …
        let values: Vec<f64> = (1..=10).map(f64::from).collect();
        assert_eq!(walsh(&values).len(), 55);
        assert_eq!(interval(&values, 5.0 / 1024.0), Some((2.0, 9.0)));
    }

    #[test]
    fn the_interval_of_twenty_values_is_the_38th_of_210_averages_from_each_end() {
        assert_eq!(rank(20, 0.005), Some(38));
        let values: Vec<f64> = (0..20).map(|k| f64::from(1_u32 << k)).collect();
        let averages = walsh(&values);
        assert_eq!(averages.len(), 210);
        let ends = (averages[37], averages[210 - 38]);
        assert_eq!(interval(&values, 0.005), Some(ends));
    }

    #[test]
    fn critical_values_agree_with_the_table() {
        // McCornack, Extended tables of the Wilcoxon matched pair signed rank statistic (1965): the largest t with
        // P(T ≤ t) at most 2.5 %, 1 % and 0.5 %, for n from 5 on; -1 for none.
        #[rustfmt::skip] // a table reads best as one
        let tables = [
            (0.025, [-1, 0, 2, 3, 5, 8, 10, 13, 17, 21, 25, 29, 34, 40, 46, 52, 58, 65, 73, 81, 89, 98, 107, 116, 126, 137]),
            (0.01, [-1, -1, 0, 1, 3, 5, 7, 9, 12, 15, 19, 23, 27, 32, 37, 43, 49, 55, 62, 69, 76, 84, 92, 101, 110, 120]),
            (0.005, [-1, -1, -1, 0, 1, 3, 5, 7, 9, 12, 15, 19, 23, 27, 32, 37, 42, 48, 54, 61, 68, 75, 83, 91, 100, 109]),
        ];
        for (alpha, critical) in tables {
            for (n, critical) in (5..).zip(critical) {
                let ours = rank(n, alpha).map_or(-1, |rank| rank as i32 - 1);
                assert_eq!(ours, critical, "n {n}, alpha {alpha}");
            }
        }
    }

    #[test]
    fn the_distribution_agrees_with_all_signs_enumerated() {
        for n in 0..=12_usize {
            let mut counts = vec![0_u32; n * (n + 1) / 2 + 1];
            for signs in 0..1_u32 << n {
                let positive = (0..n).filter(|rank| signs >> rank & 1 == 1);
                counts[positive.map(|rank| rank + 1).sum::<usize>()] += 1;
            }
            let mut sum = 0;
            for (t, probability) in at_most(n).into_iter().enumerate() {
                sum += counts[t];
                assert_eq!(probability, f64::from(sum) / f64::from(1_u32 << n));
            }
        }
    }

    #[test]
    fn the_distribution_of_many_values_is_symmetric_and_sums_to_one() {
        for n in [30, 64, 200] {
            let inside = at_most(n);
            let most = inside.len() - 1;
            assert!((inside[most] - 1.0).abs() < 1e-12, "n {n}");
            for t in 0..most {
                let mirrored = 1.0 - inside[most - 1 - t];
                assert!((inside[t] - mirrored).abs() < 1e-12, "n {n}, t {t}");
            }
        }
    }

    #[test]
    fn too_few_values_have_an_estimate_and_no_interval() {
        // 2^-7 is 0.78 %, 2^-8 is 0.39 %.
        let seven = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        let estimate = estimate(&seven, 0.005).unwrap();
        assert_eq!((estimate.n, estimate.location), (7, 4.0));
        assert_eq!(estimate.interval, None);
        assert_eq!((rank(7, 0.005), rank(8, 0.005)), (None, Some(1)));
    }

    #[test]
    fn no_values_have_no_estimate() {
        assert_eq!(estimate(&[], 0.005), None);
        assert_eq!(interval(&[], 0.005), None);
    }

    #[test]
    fn one_outlier_moves_an_end_of_ten_values_and_none_of_twenty() {
        for (n, kept) in [(10, false), (20, true)] {
            let mut values: Vec<f64> = (1..=n).map(f64::from).collect();
            let tame = estimate(&values, 0.005).unwrap();
            *values.last_mut().unwrap() = 1e9;
            let wild = estimate(&values, 0.005).unwrap();
            assert!((wild.location - tame.location).abs() <= 0.5, "n {n}: {wild:?}");
            let ConfidenceInterval { low, high } = wild.interval.unwrap();
            assert_eq!(low, tame.interval.unwrap().low, "n {n}");
            assert_eq!(high < f64::from(n), kept, "n {n}: {high}");
        }
    }

    #[test]
    fn the_interval_of_equal_values_is_their_value() {
        assert_eq!(interval(&[0.25; 10], 0.005), Some((0.25, 0.25)));
    }

    #[test]
    fn on_a_grid_the_low_end_exceeds_the_location_no_more_often_than_promised() {
        // All sequences of ten values out of -1, 0 and 1: symmetric about zero, full of ties.
        const N: u32 = 10;
        let mut values = [0.0; N as usize];
        let beyond = (0..3_u32.pow(N)).filter(|&sequence| {
            for (place, value) in (0..).zip(&mut values) {
                *value = f64::from(sequence / 3_u32.pow(place) % 3) - 1.0;
            }
            interval(&values, 0.005).is_some_and(|(low, _)| low > 0.0)
        });
        let share = beyond.count() as f64 / f64::from(3_u32.pow(N));
        assert!(share > 0.0 && share <= 0.005, "{share}");
    }

    #[test]
    #[should_panic(expected = "only finite values")]
    fn an_infinite_value_panics() {
        walsh(&[0.1, f64::INFINITY]);
    }
}
