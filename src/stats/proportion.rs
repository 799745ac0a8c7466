//! How often something happens, from how often it did: Clopper & Pearson's exact bounds.
//!
//! Source: The use of confidence or fiducial limits illustrated in the case of the binomial (1934).

/// What the true share stays below with so much confidence, if `hits` of `of` trials had it. 1 where nothing was tried.
///
/// The share at which so few hits, or fewer, would happen with probability 1 - confidence only. 0 of 299 is below 1 % with
/// 95 % confidence, and so is 1 of 473.
pub fn at_most(hits: u64, of: u64, confidence: f64) -> f64 {
    assert!(confidence > 0.0 && confidence < 1.0, "{confidence}");
    if hits >= of {
        return 1.0;
    }
    let (mut low, mut high) = (hits as f64 / of as f64, 1.0);
    // Halved until doubles cannot tell the ends apart.
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        if so_few(hits, of, middle) > 1.0 - confidence {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// What the true share stays above with so much confidence.
pub fn at_least(hits: u64, of: u64, confidence: f64) -> f64 {
    1.0 - at_most(of.saturating_sub(hits), of, confidence)
}

/// P(X ≤ hits) of a binomial X, by its logarithms: (1 - p)^n alone would be zero for thousands of trials.
fn so_few(hits: u64, of: u64, share: f64) -> f64 {
    let (hit, miss) = (share.ln(), (-share).ln_1p());
    let mut term = of as f64 * miss;
    let mut sum = term.exp();
    for k in 0..hits {
        term += ((of - k) as f64 / (k + 1) as f64).ln() + hit - miss;
        sum += term.exp();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_trials_show_less_than_one_percent() {
        assert!(at_most(0, 299, 0.95) < 0.01 && at_most(0, 298, 0.95) > 0.01);
        assert!(at_most(1, 473, 0.95) < 0.01 && at_most(1, 472, 0.95) > 0.01);
    }

    #[test]
    fn twenty_nine_of_twenty_nine_show_nine_tenths() {
        assert!(at_least(29, 29, 0.95) > 0.9 && at_least(28, 28, 0.95) < 0.9);
    }

    #[test]
    fn a_bound_agrees_with_the_table() {
        // 3 of 10 at 95 % on one side: 0.6066 (Clopper & Pearson, by any program).
        assert!((at_most(3, 10, 0.95) - 0.6066).abs() < 1e-4);
        assert_eq!((at_most(5, 5, 0.95), at_most(0, 0, 0.95)), (1.0, 1.0));
        assert_eq!(at_least(0, 7, 0.95), 0.0);
    }
}
