//! SciPy agrees with our statistics: the signed-rank distribution, the estimate, and an interval computed in another
//! way.
//!
//! `tests/it/readers/install` puts SciPy into `target/readers`; without that, the system's is used.

use std::fs;

use serde::Deserialize;
use serde_json::json;
use urecho::stats::signed_rank::{ConfidenceInterval, at_most, estimate};

use crate::support::readers;

/// What tests/it/readers/scipy_statistics.py prints.
#[derive(Debug, Deserialize)]
struct ByScipy {
    /// P(T⁺ ≤ t) for every t, for each n.
    distributions: Vec<Vec<f64>>,
    estimates: Vec<Estimate>,
}

#[derive(Debug, Deserialize)]
struct Estimate {
    location: f64,
    low: f64,
    high: f64,
}

const ALPHA: f64 = 0.005;
const DISTRIBUTIONS: [usize; 5] = [1, 7, 10, 20, 30];

#[test]
fn scipy_has_the_same_distributions_estimates_and_intervals() {
    let samples: Vec<Vec<f64>> = [8, 9, 10, 13, 20, 31].map(sample).to_vec();
    let Some(scipy) = by_scipy(&samples) else {
        return;
    };
    for (n, theirs) in DISTRIBUTIONS.into_iter().zip(scipy.distributions) {
        let ours = at_most(n);
        assert_eq!(ours.len(), theirs.len(), "n {n}");
        for (t, (ours, theirs)) in ours.into_iter().zip(theirs).enumerate() {
            assert_near(ours, theirs, &format!("P(T ≤ {t}) of {n}"));
        }
    }
    for (sample, theirs) in samples.iter().zip(scipy.estimates) {
        let ours = estimate(sample, ALPHA).unwrap();
        let ConfidenceInterval { low, high } = ours.interval.unwrap();
        let what = format!("n {}", sample.len());
        assert_near(ours.location, theirs.location, &what);
        assert_near(low, theirs.low, &what);
        assert_near(high, theirs.high, &what);
    }
}

fn by_scipy(samples: &[Vec<f64>]) -> Option<ByScipy> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("input.json");
    let input = json!({ "alpha": ALPHA, "distributions": DISTRIBUTIONS, "samples": samples });
    fs::write(&file, input.to_string()).unwrap();
    readers::run_script("python: scipy", &readers::python(), "scipy_statistics.py", &file)
}

/// Values without ties, skewed, with one outlier.
fn sample(n: u32) -> Vec<f64> {
    let values = (1..=n).map(|k| {
        // Multiples of the golden ratio modulo 1 are evenly spread and distinct.
        let share = (f64::from(k) * 0.618_033_988_749_895).fract();
        (share / (1.0 - share)).ln() * (1.0 + share)
    });
    values.chain([7.5]).skip(1).collect()
}

fn assert_near(ours: f64, theirs: f64, what: &str) {
    assert!((ours - theirs).abs() < 1e-12, "{what}: {ours}, scipy {theirs}");
}
