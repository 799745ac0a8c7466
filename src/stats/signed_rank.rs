//! Where the middle of a few values lies, by the exact distribution of Wilcoxon's signed-rank statistic.
//!
//! T⁺ is the sum of the ranks, by size without sign, of the values above a supposed middle. If values lie as likely on
//! either side of it, at every distance, each rank counts with probability 1/2, whatever the distribution: T⁺ is a sum
//! of fair coins worth 1 … n, and its distribution is counted, not approximated. T⁺ is also the number of Walsh
//! averages above the supposed middle, and so order statistics of the averages enclose the true one. Nothing is drawn
//! at random. Sources: Hodges & Lehmann, Estimates of location based on rank tests (1963); Hollander & Wolfe,
//! Nonparametric Statistical Methods (1999), sections 3.1 to 3.3.
//!
//! *Ties and zeros.* Nothing is dropped and no rank is shared. Values on a grid lie on one of its points, so that the
//! ends of the interval, which belong to it, enclose the middle at least as often as promised (Noether, Elements of
//! Nonparametric Statistics, 1967): a low end strictly above zero is no more likely than alpha if the middle is zero.
//!
//! *Wild values.* The middle stands up to almost three in ten. Each makes n averages wild, though: at 0.5 % a single
//! one of ten values takes the end on its side with it, of twenty it takes two. Then the other end still holds.
//!
//! *What it asks.* Values must be independent, and symmetric about their middle. A log-ratio of two things
//! alike is, however skewed each of them is. Once they differ, the middle is that of the averages, not the median.

use super::median;

/// The middle of some values, and how surely it is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// How many values there were.
    pub n: usize,
    /// Hodges-Lehmann: the median of the Walsh averages.
    pub middle: f64,
    /// Low and high end. None where n values are too few for the alpha.
    pub interval: Option<(f64, f64)>,
}

/// Estimates the middle of finite values. The true one lies below the interval with probability `alpha` at most, and
/// above it the same. None without values. Panics unless `0 < alpha < 0.5`.
pub fn estimate(values: &[f64], alpha: f64) -> Option<Estimate> {
    let averages = walsh(values);
    Some(Estimate {
        n: values.len(),
        middle: median::of_sorted(&averages)?,
        interval: enclosing(values.len(), alpha, &averages),
    })
}

/// The interval of [`estimate`] alone: ends of equal rank from below and from above among the Walsh averages.
pub fn interval(values: &[f64], alpha: f64) -> Option<(f64, f64)> {
    enclosing(values.len(), alpha, &walsh(values))
}

/// The means of all pairs of values, each with itself too, sorted: n(n + 1)/2 of them.
pub fn walsh(values: &[f64]) -> Vec<f64> {
    assert!(
        values.iter().all(|value| value.is_finite()),
        "the mean of infinity and anything says nothing: {values:?}"
    );
    let mut averages = Vec::with_capacity(values.len() * (values.len() + 1) / 2);
    for (index, &value) in values.iter().enumerate() {
        let pairs = values[index..].iter();
        averages.extend(pairs.map(|&other| f64::midpoint(value, other)));
    }
    averages.sort_unstable_by(f64::total_cmp);
    averages
}

/// Which Walsh average of n values, counted from 1 at the lower end, is the low end of the interval: one more than the
/// largest t with P(T⁺ ≤ t) ≤ alpha. None if even t = 0, which has probability 2^-n, is too likely.
///
/// The 4th of 55 for n = 10 and 5/1024; the 38th of 210 for n = 20 and 0.5 %. Panics unless `0 < alpha < 0.5`.
pub fn rank(n: usize, alpha: f64) -> Option<usize> {
    assert!(alpha > 0.0 && alpha < 0.5, "{alpha} is not an error on one side");
    let inside = at_most(n);
    let rank = inside.partition_point(|&probability| probability <= alpha);
    (rank > 0).then_some(rank)
}

/// P(T⁺ ≤ t) of n values, for t from 0 to n(n + 1)/2.
///
/// Exact up to n = 53, since counts of up to 2^n, halved n times, are doubles. Beyond that, within rounding.
pub fn at_most(n: usize) -> Vec<f64> {
    let mut probabilities = vec![0.0; n * (n + 1) / 2 + 1];
    probabilities[0] = 1.0;
    let mut highest = 0;
    for worth in 1..=n {
        highest += worth;
        // One more coin. From above, so that t - worth still is as it was without the coin.
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

/// The averages of `rank`, from below and from above.
fn enclosing(n: usize, alpha: f64, averages: &[f64]) -> Option<(f64, f64)> {
    let rank = rank(n, alpha)?;
    Some((averages[rank - 1], averages[averages.len() - rank]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_values_are_enclosed_by_the_4th_average_of_55_from_each_end() {
        assert_eq!(rank(10, 5.0 / 1024.0), Some(4));
        assert_eq!(at_most(10)[3], 5.0 / 1024.0);
        // 1 … 10, of which the averages are 1, 1.5, 2, 2, …
        let values: Vec<f64> = (1..=10).map(f64::from).collect();
        assert_eq!(walsh(&values).len(), 55);
        assert_eq!(interval(&values, 5.0 / 1024.0), Some((2.0, 9.0)));
    }

    #[test]
    fn twenty_values_are_enclosed_by_the_38th_average_of_210_from_each_end() {
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
        // P(T ≤ t) no more than 2.5 %, 1 % and 0.5 %, for n from 5 on. There is none for -1.
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
    fn the_distribution_is_that_of_all_signs_tried() {
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
    fn the_distribution_of_many_values_is_symmetric_and_whole() {
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
    fn too_few_values_have_a_middle_and_no_interval() {
        // 2^-7 is 0.78 %, 2^-8 is 0.39 %.
        let seven = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        let estimate = estimate(&seven, 0.005).unwrap();
        assert_eq!((estimate.n, estimate.middle), (7, 4.0));
        assert_eq!(estimate.interval, None);
        assert_eq!((rank(7, 0.005), rank(8, 0.005)), (None, Some(1)));
    }

    #[test]
    fn no_values_have_no_middle() {
        assert_eq!(estimate(&[], 0.005), None);
        assert_eq!(interval(&[], 0.005), None);
    }

    #[test]
    fn one_wild_value_hardly_moves_the_middle_and_takes_one_end_of_ten_but_none_of_twenty() {
        for (n, kept) in [(10, false), (20, true)] {
            let mut values: Vec<f64> = (1..=n).map(f64::from).collect();
            let tame = estimate(&values, 0.005).unwrap();
            *values.last_mut().unwrap() = 1e9;
            let wild = estimate(&values, 0.005).unwrap();
            assert!((wild.middle - tame.middle).abs() <= 0.5, "n {n}: {wild:?}");
            let (low, high) = wild.interval.unwrap();
            assert_eq!(low, tame.interval.unwrap().0, "n {n}");
            assert_eq!(high < f64::from(n), kept, "n {n}: {high}");
        }
    }

    #[test]
    fn equal_values_are_enclosed_by_themselves() {
        let estimate = estimate(&[0.25; 10], 0.005).unwrap();
        assert_eq!(estimate.interval, Some((0.25, 0.25)));
    }

    #[test]
    fn on_a_grid_the_low_end_passes_the_middle_no_more_often_than_promised() {
        // Every sequence of ten values out of -1, 0 and 1, all alike likely: symmetric about zero, full of ties.
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
    #[should_panic(expected = "says nothing")]
    fn an_infinite_log_ratio_is_our_mistake() {
        walsh(&[0.1, f64::INFINITY]);
    }
}
