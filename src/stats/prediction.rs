//! Where the next value of a small sample lies: the prediction interval of a normal distribution.
//!
//! The next value exceeds the mean of n values by more than t s √(1 + 1/n) with probability α, where s is their
//! standard deviation and t the upper α-quantile of Student's t with n - 1 degrees of freedom. Source: Hahn & Meeker,
//! Statistical Intervals (1991), section 4.8. Tails heavier than normal make it too narrow: the tests measure by how
//! much.

use super::quantiles::student_t;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_values_have_a_prediction_and_one_has_none() {
        // s = √2, t = 1 for a quarter, √(1 + 1/2): half of the width is √3.
        let Prediction { mean, half_width } = next_value(&[1.0, 3.0], 0.25).unwrap();
        assert!((mean - 2.0).abs() < 1e-12 && (half_width - 3_f64.sqrt()).abs() < 1e-9);
        assert_eq!((next_value(&[1.0], 0.25), next_value(&[], 0.25)), (None, None));
    }
}
