//! The rule at its edges, and its error rates and power in seeded simulations.

use super::*;
use crate::random::Random;

/// +3 %, the default for the median.
const EFFECT: f64 = 0.029_558_8;

/// Ten values a thousandth apart around `middle`: the interval is ±0.0035 or so.
fn tight(middle: f64) -> Vec<f64> {
    let steps = (0..10).map(|k| f64::from(k) - 4.5);
    steps.map(|step| middle + step / 1_000.0).collect()
}

fn decided(values: &[f64]) -> Decision {
    decide(values, EFFECT, ALPHA).decision
}

#[test]
fn a_significant_large_change_is_a_regression_or_an_improvement() {
    assert_eq!(decided(&tight(0.04)), Decision::Regressed);
    assert_eq!(decided(&tight(-0.04)), Decision::Improved);
}

#[test]
fn a_small_change_passes_in_both_directions() {
    for middle in [0.0, 0.02, -0.02] {
        assert_eq!(decided(&tight(middle)), Decision::Passed);
    }
}

#[test]
fn a_change_near_the_threshold_is_inconclusive() {
    let values = tight(0.029);
    let Decision::Inconclusive { detectable } = decided(&values) else {
        panic!("{:?}", decided(&values));
    };
    // The half-width of the interval is far smaller, but a smaller effect would not have been called a regression.
    assert_eq!(detectable, Some(EFFECT));
}

#[test]
fn the_detectable_effect_is_where_regressions_begin() {
    let values: Vec<f64> = tight(0.0).iter().map(|value| value * 20.0).collect();
    let finding = decide(&values, EFFECT, ALPHA);
    let Decision::Inconclusive { detectable } = finding.decision else {
        panic!("{finding:?}");
    };
    let effect = detectable.unwrap();
    let middle = finding.estimate.unwrap().location;
    let with = |effect: f64| values.iter().map(|value| value - middle + effect).collect();
    let (less, more): (Vec<f64>, Vec<f64>) = (with(effect - 1e-9), with(effect + 1e-9));
    assert_ne!(decided(&less), Decision::Regressed);
    assert_eq!(decided(&more), Decision::Regressed);
}

#[test]
fn too_few_restarts_can_detect_nothing() {
    let nothing = Decision::Inconclusive { detectable: None };
    assert_eq!(decided(&tight(0.5)[..7]), nothing);
    assert_eq!(decided(&tight(0.5)[..8]), Decision::Regressed);
    let empty = decide(&[], EFFECT, ALPHA);
    assert_eq!((empty.estimate, empty.decision), (None, nothing));
    assert_eq!(decided(&[]), nothing);
}

#[test]
fn one_outlier_is_no_regression_and_does_not_prevent_a_pass() {
    let mut values = [tight(0.0), tight(0.0)].concat();
    values[0] = 3.0;
    assert!(matches!(decided(&values[..10]), Decision::Inconclusive { .. }));
    assert_eq!(decided(&values), Decision::Passed);
}

/// How 20,000 checks with two analyses end, in percent, if `value` draws each restart's value.
fn simulated(effect: f64, alpha: f64, mut value: impl FnMut(&mut Random) -> f64) -> Shares {
    const CHECKS: u32 = 20_000;
    let mut random = Random::new(2_026, 0);
    let mut counts = Shares::default();
    for _ in 0..CHECKS {
        let values: Vec<f64> = (0..FINAL_RESTARTS).map(|_| value(&mut random)).collect();
        let first = decide(&values[..INTERIM_RESTARTS], effect, alpha).decision;
        let end = match first {
            Decision::Inconclusive { .. } => decide(&values, effect, alpha).decision,
            decided => decided,
        };
        let percent = 100.0 / f64::from(CHECKS);
        match end {
            Decision::Regressed => counts.regressed += percent,
            Decision::Improved => counts.improved += percent,
            Decision::Passed => counts.passed += percent,
            Decision::Inconclusive { .. } => counts.inconclusive += percent,
        }
    }
    counts
}

#[derive(Debug, Default)]
struct Shares {
    regressed: f64,
    improved: f64,
    passed: f64,
    inconclusive: f64,
}

type Draw = fn(&mut Random) -> f64;

/// Values when nothing changed: differences of two draws from one distribution.
const UNCHANGED: [(&str, Draw); 4] = [
    ("normal", |random| random.normal() - random.normal()),
    ("Cauchy", |random| random.cauchy() - random.cauchy()),
    // Each draw is far from symmetric.
    ("log-normal", |random| {
        (2.0 * random.normal()).exp() - (2.0 * random.normal()).exp()
    }),
    // One launch in five falls into a mode 10 deviations worse, as with huge pages or hash seeds.
    ("two modes", |random| {
        let mut launch = || random.normal() + if random.uniform() < 0.2 { 10.0 } else { 0.0 };
        launch() - launch()
    }),
];

#[test]
fn equal_servers_are_called_worse_in_at_most_one_check_of_a_hundred() {
    // A tiny threshold is the worst case: the interval alone decides, and nothing passes at the interim analysis. The
    // expected rate is 1.0 %, and 20,000 checks have a standard error of 0.07 %.
    for (name, value) in UNCHANGED {
        let ends = simulated(1e-12, ALPHA, value);
        assert!(ends.regressed > 0.5 && ends.regressed <= 1.15, "{name}: {ends:?}");
        assert!(ends.improved > 0.5 && ends.improved <= 1.15, "{name}: {ends:?}");
    }
}

#[test]
fn a_change_as_large_as_the_threshold_passes_in_at_most_one_check_of_a_hundred() {
    for (name, value) in UNCHANGED {
        let ends = simulated(EFFECT, ALPHA, |random| EFFECT + 0.02 * value(random));
        assert!(ends.passed <= 1.15, "{name}: {ends:?}");
    }
}

#[test]
fn five_percent_are_found_when_restarts_vary_by_two() {
    // Base and head vary by 2 % each, so their ratio varies by 2.8 %.
    let noise = |random: &mut Random| 0.02 * (random.normal() - random.normal());
    let worse = simulated(EFFECT, ALPHA, |random| 0.05_f64.ln_1p() + noise(random));
    assert!(worse.regressed >= 99.0, "{worse:?}");
    let equal = simulated(EFFECT, ALPHA, noise);
    assert!(equal.passed >= 99.0 && equal.regressed < 0.2, "{equal:?}");
}

#[test]
fn five_percent_are_found_by_one_of_three_metrics_too() {
    let noise = |random: &mut Random| 0.02 * (random.normal() - random.normal());
    let worse = simulated(EFFECT, bonferroni(ALPHA, 3), |random| 0.05_f64.ln_1p() + noise(random));
    assert!(worse.regressed >= 99.0, "{worse:?}");
    let equal = simulated(EFFECT, bonferroni(ALPHA, 3), noise);
    assert!(equal.passed >= 99.0 && equal.regressed < 0.1, "{equal:?}");
}

#[test]
fn several_metrics_share_the_error_rate_of_one() {
    let rank = |n, deciding| signed_rank::rank(n, bonferroni(ALPHA, deciding));
    let ranks = |n| [1, 2, 3, 4, 5, 6, 10].map(|deciding| rank(n, deciding));
    assert_eq!(ranks(10), [Some(4), Some(2), Some(1), Some(1), Some(1), None, None]);
    let first = [8, 6, 4, 4, 3, 3, 2];
    assert_eq!(ranks(INTERIM_RESTARTS), first.map(Some));
    let last = [221, 205, 196, 190, 186, 182, 173];
    assert_eq!(ranks(FINAL_RESTARTS), last.map(Some));
    for deciding in 1..=7 {
        let needed = restarts_needed(bonferroni(ALPHA, deciding));
        assert!(rank(needed, deciding).is_some() && rank(needed - 1, deciding).is_none());
    }
}
