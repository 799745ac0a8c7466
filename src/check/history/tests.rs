//! Rows of constructed checks.

use super::*;
use crate::check::fixtures::{HeadChange, UNCHANGED, record};
use crate::check::output::Check;
use crate::random::Random;

fn point(number: usize, p50: f64) -> Point {
    Point {
        schema: SCHEMA.into(),
        label: format!("commit-{number}"),
        base: None,
        conditions: "a machine; a load".into(),
        verdict: Verdict::Passed,
        head: BTreeMap::from([(Metric::P50, p50)]),
        changes: BTreeMap::new(),
    }
}

/// Checks that found these changes of p50, within half a percent.
fn checks(changes: &[f64]) -> Vec<Point> {
    let mut random = Random::new(1, 0);
    let check = |(number, &change): (usize, &f64)| Point {
        changes: BTreeMap::from([(
            Metric::P50,
            Change {
                estimate: change.ln_1p() + 0.005 * random.normal(),
                standard_error: 0.005,
                threshold: 0.03,
                gates: true,
            },
        )]),
        ..point(number, 80_000.0)
    };
    changes.iter().enumerate().map(check).collect()
}

#[track_caller]
fn assert_shown(points: &[Point], exit_code: u8, texts: &[&str]) {
    let report = HistoryReport::of(points);
    let shown = report.to_string();
    for text in texts {
        assert!(shown.contains(text), "{text} in {shown}");
    }
    assert_eq!(report.exit_code(), exit_code, "{shown}");
}

#[test]
fn a_step_is_found_where_it_happened() {
    let variation = |number: usize| 1.0 + (number * 7 % 5) as f64 / 1_000.0;
    let step = |number: usize| if number < 20 { 80_000.0 } else { 84_000.0 };
    let mut points: Vec<Point> = (0..40)
        .map(|number| point(number, step(number) * variation(number)))
        .collect();
    assert_shown(
        &points,
        0,
        &["p50         worse from commit-20 on: 80", "found at commit-3"],
    );
    assert_shown(&points[..20], 0, &["no change point in 20 checks"]);
    // The same step with another machine is not compared.
    for point in &mut points[..20] {
        point.conditions = "another; a load".into();
    }
    assert_shown(
        &points,
        0,
        &[
            "20 checks skipped",
            "no change point in 20 checks",
            "40 consecutive checks",
        ],
    );
    assert_shown(&[], 0, &["no checks"]);
}

#[test]
fn ten_times_2_9_percent_is_a_creep_although_each_check_passes() {
    let steps = [vec![0.0; 10], vec![0.029; 10]].concat();
    assert_shown(&checks(&steps[..10]), 0, &["no creep"]);
    let mut points = checks(&steps);
    assert_shown(&points, 1, &["in 10 changes from commit-10 on", ": CREEP"]);
    let json = HistoryReport::of(&points).json();
    assert!(json.contains("\"alarm\": true"), "{json}");
    for point in &mut points {
        point.changes.get_mut(&Metric::P50).unwrap().gates = false;
    }
    assert_shown(&points, 0, &["(creep)"]);
}

#[test]
fn regressions_were_reported_by_their_check_and_do_not_add_up() {
    let mut points = checks(&[[0.0; 10], [0.029; 10]].concat());
    for point in &mut points[10..] {
        point.verdict = Verdict::Regressed;
    }
    assert_shown(&points, 0, &["in 10 changes from commit-0 on", "no creep"]);
}

#[test]
fn named_bases_lead_from_check_to_check_and_branches_are_left_out() {
    let mut points = checks(&[0.0; 6]);
    let bases = [None, Some(0), Some(1), Some(1), Some(3), Some(4)];
    for (point, base) in points.iter_mut().zip(bases) {
        point.base = base.map(|base: usize| format!("commit-{base}"));
    }
    let labels: Vec<&str> = chain(&points).iter().map(|point| point.label.as_str()).collect();
    assert_eq!(labels, ["commit-0", "commit-1", "commit-3", "commit-4", "commit-5"]);
    points[5].base = Some("a commit without a check".into());
    assert_eq!(chain(&points).len(), 1);
}

#[test]
fn a_point_has_the_changes_of_its_check_with_their_errors() {
    let slower = HeadChange {
        p50: 1.05,
        throughput: 0.9,
        ..UNCHANGED
    };
    let summary = Check::of(record(40, &slower)).summary();
    let point = Point::of(&summary, "abc");
    assert!(point.changes.is_empty(), "without a base");
    let point = point.with_base(&summary, Some("abb".into()));
    let change = |metric: Metric| point.changes[&metric];
    let p50 = change(Metric::P50);
    assert!((p50.estimate - 1.05_f64.ln()).abs() < 0.005 && p50.gates, "{p50:?}");
    // Launches vary by 0.3 %, so the estimate from 12 has an error of about 0.1 %.
    assert!((0.0005..0.002).contains(&p50.standard_error), "{p50:?}");
    assert!((p50.threshold - 1.05_f64.ln()).abs() < 1e-9, "{p50:?}");
    let throughput = change(Metric::Throughput);
    assert!((throughput.estimate + 0.9_f64.ln()).abs() < 0.005, "{throughput:?}");
    assert!((throughput.threshold + 0.97_f64.ln()).abs() < 1e-9, "{throughput:?}");
}

#[test]
fn a_change_has_the_score_that_it_was_made_from_also_for_shares_of_the_time() {
    for metric in Metric::ALL {
        let score = metric.score_of_change(metric.change(0.02));
        assert!((score - 0.02).abs() < 1e-12, "{metric}: {score}");
    }
}

#[test]
fn a_point_is_read_as_it_was_written() {
    let points = [point(1, 80_000.0), checks(&[0.1 + 0.2]).remove(0)];
    let text: String = points.iter().map(Point::line).collect();
    assert_eq!(read(&text).unwrap().whole, points);
    assert!(read(&point(3, 0.0).line()).is_err(), "it has no logarithm");
    let before_changes_were_stored = text.replace("\"base\":null,", "").replace(",\"changes\":{}", "");
    assert_eq!(read(&before_changes_were_stored).unwrap().whole, points);
}

#[test]
fn a_check_that_was_run_again_counts_once() {
    let once = checks(&[0.029; 10]);
    let mut twice = Vec::new();
    for point in &once {
        twice.extend([point.clone(), point.clone()]);
    }
    let labels = |points: &[Point]| -> Vec<String> { chain(points).iter().map(|point| point.label.clone()).collect() };
    assert_eq!(labels(&twice), labels(&once));
    let unnamed: Vec<Point> = once
        .into_iter()
        .map(|point| Point {
            label: UNNAMED.into(),
            ..point
        })
        .collect();
    assert_eq!(
        chain(&unnamed).len(),
        unnamed.len(),
        "without names every line is another head"
    );
}
