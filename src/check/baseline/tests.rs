//! Comparisons with constructed runs.

use super::*;
use crate::check::fixtures::{UNCHANGED, figures, record};
use crate::check::record::Inconclusive;

/// A run on a day that is slower by this factor; its launches vary by half a percent.
fn run(day: f64) -> Run {
    let record = record(0, &UNCHANGED);
    let restart = |number: usize| {
        let launch = 1.0 + ((number * 5) % 11) as f64 / 1_000.0 - 0.005;
        let blocks = vec![figures(day * launch, &UNCHANGED); 3];
        SingleRestart {
            closed: blocks.clone(),
            open: blocks,
        }
    };
    Run {
        command: "./server {port}".into(),
        began_s: 0,
        elapsed_ns: 1,
        environment: record.environment,
        settings: record.settings,
        setup: record.setup.unwrap(),
        restarts: (0..20).map(restart).collect(),
    }
}

fn baseline(days: &[f64]) -> Baseline {
    let mut baseline = Baseline::new(run(days[0]));
    baseline.runs.extend(days[1..].iter().map(|&day| run(day)));
    for (number, run) in (0..).zip(&mut baseline.runs) {
        run.began_s = number * SEPARATION_S;
    }
    baseline
}

#[track_caller]
fn assert_judged(days: &[f64], today: f64, verdict: Verdict, exit_code: u8) {
    let summary = baseline(days).summary(&run(today));
    let found = (summary.judgement.verdict, summary.judgement.exit_code);
    assert_eq!(found, (verdict, exit_code), "{summary}");
}

#[test]
fn a_day_like_the_others_passes_and_a_far_worse_one_does_not() {
    let days = [1.0, 1.002, 0.998];
    assert_judged(&days, 1.0, Verdict::Passed, 0);
    assert_judged(&days, 1.1, Verdict::Regressed, 1);
    assert_judged(&days, 0.9, Verdict::Improved, 0);
}

#[test]
fn days_that_differ_make_it_inconclusive() {
    assert_judged(&[1.0, 1.1, 0.9], 1.1, Verdict::Inconclusive, 3);
    assert_judged(&[1.0, 1.1, 0.9], 1.0, Verdict::Inconclusive, 3);
}

#[test]
fn fewer_than_three_stored_runs_are_inconclusive() {
    assert_judged(&[1.0, 1.0], 2.0, Verdict::Inconclusive, 3);
    let mut hasty = baseline(&[1.0, 1.0, 1.0]);
    hasty.runs[2].began_s -= 1;
    assert_eq!(hasty.separate_runs(), 2);
    assert_eq!(hasty.judge(&run(2.0)).verdict, Verdict::Inconclusive);
}

#[test]
fn another_kernel_or_load_is_refused_whatever_inconclusive_means() {
    let stored = baseline(&[1.0, 1.0, 1.0]);
    let mut today = run(1.0);
    today.settings.inconclusive = Inconclusive::Pass;
    assert_eq!(stored.judge(&today).exit_code, 0);
    today.environment.machine.kernel = Some("6.99".into());
    let summary = stored.summary(&today);
    assert_eq!(summary.judgement.exit_code, 3);
    assert!(summary.to_string().contains("different kernel"), "{summary}");
    for change in [
        (|setup| setup.loads[0].blocks = 9) as fn(&mut Setup),
        |setup| setup.loads[0].connections = 9,
        |setup| setup.connected_at_once = false,
    ] {
        let mut other = run(1.0);
        change(&mut other.setup);
        assert!(stored.refuses(&other).unwrap().contains("different load"));
    }
}

#[test]
fn a_baseline_is_read_as_it_was_written() {
    let stored = baseline(&[1.0, 1.1]);
    assert_eq!(Baseline::parse(&stored.json()).unwrap(), stored);
    assert!(Baseline::parse("{}").is_err());
}
