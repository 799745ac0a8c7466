//! What `cargo test` holds: the committed page and log, the page's arithmetic, and a small run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use urecho::check::judge::decision::{self, ALPHA, Decision, INTERIM_RESTARTS, decide};
use urecho::check::judge::metric::ChangeInterval;
use urecho::check::judge::{Metric, MetricVerdict, Verdict};
use urecho::check::record::StopReason;
use urecho::error::Result;
use urecho::report::Environment;
use urecho::sys::machine;

use crate::log::{self, Line, SCHEMA};
use crate::page::page;
use crate::run::{self, Treatment};

/// Panics at the first claim that does not hold.
pub(crate) fn all() -> Result<()> {
    let claims: [(&str, fn()); 6] = [
        ("the committed page is made from the committed log", committed_page),
        ("the logged verdicts follow from the logged scores", logged_verdicts),
        ("a page counts alarms and detections with their bounds", page_counts),
        ("incomplete checks are not counted", page_without_incomplete_checks),
        ("an empty log makes a page", page_of_empty_log),
        ("a run appends a line per check and alternates treatments", small_run),
    ];
    for (claim, holds) in claims {
        holds();
        println!("test error_rates::{claim} ... ok");
    }
    Ok(())
}

fn committed(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/error_rates");
    fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn committed_log() -> Vec<Line> {
    log::read(&committed("log.jsonl")).unwrap_or_else(|error| panic!("log.jsonl: {error}"))
}

fn committed_page() {
    let is_current = page(&committed_log()) == committed("README.md");
    assert!(
        is_current,
        "stale: run cargo bench --bench error_rates -- page bench/error_rates/log.jsonl bench/error_rates/README.md"
    );
}

/// Decides every logged check again whose version has the statistics of this one. 0.3.0 introduced them.
fn logged_verdicts() {
    const SAME_STATISTICS: [&str; 2] = ["0.3.0", env!("CARGO_PKG_VERSION")];
    let mut decided = 0;
    for line in committed_log() {
        if !SAME_STATISTICS.contains(&line.environment.urecho.as_str()) {
            continue;
        }
        for verdict in line.metrics.iter().filter(|verdict| verdict.gates) {
            assert_eq!(decide_again(&line, verdict), verdict.verdict, "{verdict:?}");
            decided += 1;
        }
    }
    assert!(decided > 0, "the log has no check of this method");
}

fn decide_again(line: &Line, verdict: &MetricVerdict) -> Verdict {
    let metric = verdict.metric;
    let base = verdict.base.expect("a gating metric of a complete check has a value");
    let effect = metric.effect(metric.default_threshold(), base);
    // The scores are of all restarts; the verdict is of those at the analysis that decided.
    let scores = &line.scores[&metric][..verdict.restarts];
    match decide(scores, effect, decision::bonferroni(ALPHA, line.scores.len())).decision {
        Decision::Regressed => Verdict::Regressed,
        Decision::Improved => Verdict::Improved,
        Decision::Passed => Verdict::Passed,
        Decision::Inconclusive { .. } => Verdict::Inconclusive,
    }
}

/// A line with one metric, which regressed by `p50` or passed.
fn line(treatment: &str, second_load: bool, p50: f64) -> Line {
    let verdict = if p50 > 0.03 {
        Verdict::Regressed
    } else {
        Verdict::Passed
    };
    Line {
        schema: SCHEMA.into(),
        environment: Environment::of(machine::describe()),
        treatment: treatment.into(),
        second_load,
        verdict,
        metrics: vec![MetricVerdict {
            metric: Metric::P50,
            gates: true,
            verdict,
            base: Some(80_000.0),
            head: Some(80_000.0 * (1.0 + p50)),
            change: Some(p50),
            interval: Some(ChangeInterval {
                low: p50 - 0.01,
                high: p50 + 0.01,
            }),
            threshold: Some(0.03),
            restarts: INTERIM_RESTARTS,
            of: INTERIM_RESTARTS,
            detectable: None,
            why: None,
        }],
        restarts: INTERIM_RESTARTS,
        stop_reason: StopReason::Decided,
        elapsed_ns: 30_000_000_000,
        reasons: Vec::new(),
        budget_ns: 150_000_000_000,
        blocks: BTreeMap::from([("open".into(), 12)]),
        slice_ns: 20_000_000,
        scores: BTreeMap::new(),
    }
}

#[track_caller]
fn assert_contains(text: &str, part: &str) {
    assert!(text.contains(part), "no `{part}` in:\n{text}");
}

fn page_counts() {
    let unchanged = |number: usize| {
        line(
            if number.is_multiple_of(2) { "A/A" } else { "A/A'" },
            number.is_multiple_of(3),
            0.0,
        )
    };
    let mut old = line("A/A", false, 0.2);
    old.environment.urecho = "0.0.1".into();
    let mut log: Vec<Line> = (0..29).map(|number| line("spin=1us", number == 0, 0.06)).collect();
    log.push(old);
    log.extend((0..298).map(unchanged));
    let text = page(&log);
    assert_contains(&text, "0 false alarms in 298 checks: below 1.0 %");
    assert_contains(&text, "is not met yet");
    assert_contains(
        &text,
        "| spin=1us | either | 29 | 29 | 90.2 % | 0 | 0 | +6.0 %, 29 of 29 |",
    );
    assert_contains(
        &text,
        "with and without a second load: spin=1us, in 29 of 29 (p50 +6.0 %",
    );
    log.push(line("A/A", false, 0.0));
    assert_contains(&page(&log), "is met.");
    log.push(line("A/A", true, 0.2));
    assert_contains(&page(&log), "1 false alarm in 300 checks");
}

fn page_without_incomplete_checks() {
    let mut interrupted = line("A/A", false, 0.2);
    interrupted.stop_reason = StopReason::Interrupted;
    let text = page(&[interrupted, line("A/A", false, 0.0)]);
    assert_contains(&text, "0 false alarms in 1 check:");
    assert_contains(&text, "failed: 1.");
}

fn page_of_empty_log() {
    assert_contains(&page(&[]), "0 false alarms in 0 checks");
}

fn small_run() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let log = folder.path().join("log.jsonl");
    let arguments = ["--restarts", "1", "--blocks", "1", "--slice", "5ms", "-c", "2"];
    for _ in 0..2 {
        run::run(&run::Request {
            log: log.clone(),
            checks: 1,
            treatments: ["A/A", "A/A'"]
                .map(|name| Treatment::from_str(name).expect("a valid treatment"))
                .into(),
            arguments: arguments.map(str::to_owned).into(),
        })
        .unwrap_or_else(|error| panic!("{error}"));
    }
    let text = fs::read_to_string(&log).expect("a run writes its log");
    let lines = log::read(&text).unwrap_or_else(|error| panic!("{error}"));
    let treatments: Vec<&str> = lines.iter().map(|line| line.treatment.as_str()).collect();
    assert_eq!(treatments, ["A/A", "A/A'"]);
}
