//! Exact confidence bounds of a proportion, after Clopper & Pearson. By hand, because one function is needed.
//!
//! Source: The use of confidence or fiducial limits illustrated in the case of the binomial (1934).

/// One-sided upper confidence bound of a proportion, if `hits` of `trials` had it. 1 without trials.
///
/// At this proportion, `hits` or fewer have probability 1 - confidence. 0 of 299 is below 1 % with 95 % confidence, and
/// so is 1 of 473. Panics unless `0 < confidence < 1`.
pub fn upper_bound(hits: u64, trials: u64, confidence: f64) -> f64 {
    assert!(confidence > 0.0 && confidence < 1.0, "{confidence}");
    if hits >= trials {
        return 1.0;
    }
    let (mut low, mut high) = (hits as f64 / trials as f64, 1.0);
    // Bisected down to the resolution of f64.
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        if binomial_at_most(hits, trials, middle) > 1.0 - confidence {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// One-sided lower confidence bound of a proportion. Panics unless `0 < confidence < 1`.
pub fn lower_bound(hits: u64, trials: u64, confidence: f64) -> f64 {
    1.0 - upper_bound(trials.saturating_sub(hits), trials, confidence)
}

/// P(X ≤ hits) for X binomial(trials, p), in logarithms: (1 - p)^n alone would underflow for thousands of trials.
fn binomial_at_most(hits: u64, trials: u64, p: f64) -> f64 {
    let (hit, miss) = (p.ln(), (-p).ln_1p());
    let mut term = trials as f64 * miss;
    let mut sum = term.exp();
    for k in 0..hits {
        term += ((trials - k) as f64 / (k + 1) as f64).ln() + hit - miss;
        sum += term.exp();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_hit_299_trials_show_less_than_one_percent() {
        assert!(upper_bound(0, 299, 0.95) < 0.01 && upper_bound(0, 298, 0.95) > 0.01);
        assert!(upper_bound(1, 473, 0.95) < 0.01 && upper_bound(1, 472, 0.95) > 0.01);
    }

    #[test]
    fn twenty_nine_hits_of_29_trials_show_more_than_nine_tenths() {
        assert!(lower_bound(29, 29, 0.95) > 0.9 && lower_bound(28, 28, 0.95) < 0.9);
    }

    #[test]
    fn bounds_agree_with_the_table() {
        // 3 of 10 at 95 %, one-sided: 0.6066.
        assert!((upper_bound(3, 10, 0.95) - 0.6066).abs() < 1e-4);
        assert_eq!((upper_bound(5, 5, 0.95), upper_bound(0, 0, 0.95)), (1.0, 1.0));
        assert_eq!(lower_bound(0, 7, 0.95), 0.0);
    }
}
