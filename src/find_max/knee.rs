//! The knee of a curve.

/// The abscissa at which a curve that bends upwards turns away from its chord most: the knee by Kneedle, without its
/// smoothing (Satopää, Albrecht, Irwin, Raghavan: Finding a "Kneedle" in a Haystack, ICDCS 2011). None of fewer than
/// four points, and of a curve that does not rise.
pub(super) fn knee(points: &[(f64, f64)]) -> Option<f64> {
    let (&(left, bottom), &(right, top)) = (points.first()?, points.last()?);
    if points.len() < 4 || right <= left || top <= bottom {
        return None;
    }
    let distance = |&(x, y): &(f64, f64)| (x - left) / (right - left) - (y - bottom) / (top - bottom);
    let farthest = points
        .iter()
        .max_by(|one, other| distance(one).total_cmp(&distance(other)))?;
    (distance(farthest) > 0.0).then_some(farthest.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_knee_is_where_a_curve_turns_upwards() {
        let queue = |share: f64| (share, 1.0 / (1.0 - share));
        let points: Vec<_> = (0..=99).map(|percent| queue(f64::from(percent) / 100.0)).collect();
        // The slope of 1/(1-x) is that of its chord, 100, at 0.9.
        assert_eq!(knee(&points), Some(0.9));
    }

    #[test]
    fn a_curve_that_does_not_bend_upwards_has_none() {
        assert_eq!(knee(&[(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 4.0)]), None);
        assert_eq!(knee(&[(0.0, 1.0), (1.0, 9.0), (2.0, 9.5), (3.0, 10.0)]), None);
        assert_eq!(knee(&[(0.0, 5.0), (1.0, 4.0), (2.0, 3.0), (3.0, 2.0)]), None);
        assert_eq!(knee(&[(0.0, 1.0), (1.0, 1.0), (2.0, 9.0)]), None, "too few");
        assert_eq!(knee(&[]), None);
    }
}
