//! Where the next value of a small sample lies: the prediction interval of a normal distribution.
//!
//! The next value exceeds the mean of n values by more than t s √(1 + 1/n) with probability α, where s is their standard
//! deviation and t the upper α-quantile of Student's t with n - 1 degrees of freedom. Source: Hahn & Meeker, Statistical
//! Intervals (1991), section 4.8. Tails heavier than normal make it too narrow: the tests measure by how much.

use std::f64::consts::FRAC_PI_2;

/// Where the next value is expected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// Mean of the sample.
    pub mean: f64,
    /// The next value is this far above the mean with probability `alpha`, and as far below with the same.
    pub half_width: f64,
}

/// Predicts the next value. None for fewer than two values, which have no spread.
pub fn next_value(sample: &[f64], alpha: f64) -> Option<Prediction> {
    let n = sample.len() as f64;
    let degrees = sample.len().checked_sub(1).filter(|&degrees| degrees > 0)?;
    let mean = sample.iter().sum::<f64>() / n;
    let variance = sample.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / degrees as f64;
    Some(Prediction {
        mean,
        half_width: student_t(alpha, degrees) * (variance * (1.0 + 1.0 / n)).sqrt(),
    })
}

/// Student's t: exceeded with probability `alpha`, up to one half. The distribution function is exact, so this is as good
/// as the bisection of it: 11 digits, for alphas from 0.00001 on.
pub fn student_t(alpha: f64, degrees: usize) -> f64 {
    assert!(alpha > 0.0 && alpha <= 0.5, "{alpha}");
    let (mut low, mut high) = (0.0, 1.0);
    while student_t_above(high, degrees) > alpha {
        high *= 2.0;
    }
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        if student_t_above(middle, degrees) > alpha {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// Probability of a value above `t`: finite sums for whole degrees of freedom (Abramowitz & Stegun 26.7.3 and 26.7.4).
fn student_t_above(t: f64, degrees: usize) -> f64 {
    let (sine, cosine) = (t / (degrees as f64).sqrt()).atan().sin_cos();
    let odd = degrees % 2 == 1;
    let mut term = if odd { cosine } else { 1.0 };
    let mut sum = 0.0;
    for index in 0..degrees / 2 {
        sum += term;
        let factor = (2 * index + if odd { 2 } else { 1 }) as f64;
        term *= factor / (factor + 1.0) * cosine * cosine;
    }
    let within = if odd {
        (sine.atan2(cosine) + sine * sum) / FRAC_PI_2
    } else {
        sine * sum
    };
    (1.0 - within) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_agree_with_the_tables() {
        // Abramowitz & Stegun, table 26.10.
        for (degrees, alpha, t) in [
            (1, 0.25, 1.000),
            (1, 0.0005, 636.619),
            (2, 0.005, 9.925),
            (3, 0.0005, 12.924),
            (4, 0.0005, 8.610),
            (9, 0.0005, 4.781),
            (10, 0.025, 2.228),
            (19, 0.005, 2.861),
            (30, 0.0005, 3.646),
            (120, 0.0005, 3.373),
        ] {
            let ours = student_t(alpha, degrees);
            assert!((ours - t).abs() < 0.001, "{degrees} degrees, {alpha}: {ours}");
        }
    }

    #[test]
    fn two_values_have_a_prediction_and_one_has_none() {
        // s = √2, t = 1 for a quarter, √(1 + 1/2): half of the width is √3.
        let Prediction { mean, half_width } = next_value(&[1.0, 3.0], 0.25).unwrap();
        assert!((mean - 2.0).abs() < 1e-12 && (half_width - 3_f64.sqrt()).abs() < 1e-9);
        assert_eq!((next_value(&[1.0], 0.25), next_value(&[], 0.25)), (None, None));
    }
}
