//! SciPy agrees with our statistics: the signed-rank distribution, the middle, and the interval found by another way.
//!
//! `tests/it/readers/install` puts it into `target/readers`; failing that, that of the system is tried.

use std::fs;

use serde::Deserialize;
use serde_json::json;
use urecho::stats::signed_rank::{at_most, estimate};

use crate::support::readers;

/// What tests/it/readers/judge_statistics.py prints.
#[derive(Debug, Deserialize)]
struct Answer {
    /// P(T⁺ ≤ t) for every t, for each n that was asked for.
    distributions: Vec<Vec<f64>>,
    samples: Vec<Judged>,
}

#[derive(Debug, Deserialize)]
struct Judged {
    middle: f64,
    low: f64,
    high: f64,
}

const ALPHA: f64 = 0.005;
const DISTRIBUTIONS: [usize; 5] = [1, 7, 10, 20, 30];

#[test]
fn scipy_counts_the_same_distribution_and_finds_the_same_middles_and_intervals() {
    let samples: Vec<Vec<f64>> = [8, 9, 10, 13, 20, 31].map(sample).to_vec();
    let Some(answer) = answer(&samples) else {
        return;
    };
    for (n, theirs) in DISTRIBUTIONS.into_iter().zip(answer.distributions) {
        let ours = at_most(n);
        assert_eq!(ours.len(), theirs.len(), "n {n}");
        for (t, (ours, theirs)) in ours.into_iter().zip(theirs).enumerate() {
            near(ours, theirs, &format!("P(T ≤ {t}) of {n}"));
        }
    }
    for (sample, theirs) in samples.iter().zip(answer.samples) {
        let ours = estimate(sample, ALPHA).unwrap();
        let (low, high) = ours.interval.unwrap();
        let what = format!("n {}", sample.len());
        near(ours.location, theirs.middle, &what);
        near(low, theirs.low, &what);
        near(high, theirs.high, &what);
    }
}

fn answer(samples: &[Vec<f64>]) -> Option<Answer> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("asked.json");
    let asked = json!({ "alpha": ALPHA, "distributions": DISTRIBUTIONS, "samples": samples });
    fs::write(&file, asked.to_string()).unwrap();
    readers::run_script("python: scipy", &readers::python(), "judge_statistics.py", &file)
}

/// Values without ties, skewed and with one far out.
fn sample(n: u32) -> Vec<f64> {
    let values = (1..=n).map(|k| {
        // Multiples of the golden ratio fill 0 … 1 evenly and never meet.
        let share = (f64::from(k) * 0.618_033_988_749_895).fract();
        (share / (1.0 - share)).ln() * (1.0 + share)
    });
    values.chain([7.5]).skip(1).collect()
}

fn near(ours: f64, theirs: f64, what: &str) {
    assert!((ours - theirs).abs() < 1e-12, "{what}: {ours}, scipy {theirs}");
}
