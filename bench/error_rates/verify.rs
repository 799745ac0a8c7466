//! What `cargo test` holds: the committed page and log, the page's arithmetic, and a small run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use urecho::check::judge::decision::{self, ALPHA, Decision, FINAL_RESTARTS, INTERIM_RESTARTS, METHOD, decide};
use urecho::check::judge::metric::ChangeInterval;
use urecho::check::judge::{Metric, MetricVerdict, Verdict};
use urecho::check::record::{Inconclusive, Settings, StopReason};
use urecho::error::Result;
use urecho::report::Environment;
use urecho::sys::machine;

use crate::log::{self, Begin, End, Entry, Event, Line};
use crate::page::page;
use crate::run;
use crate::treatment::Treatment;

/// Panics at the first claim that does not hold.
pub(crate) fn all() -> Result<()> {
    let claims: [(&str, fn()); 7] = [
        ("the committed page is made from the committed log", committed_page),
        ("the logged verdicts follow from the logged scores", logged_verdicts),
        ("an end belongs to the beginning with its seed", ends_and_beginnings),
        ("a page counts alarms and detections with their bounds", page_counts),
        ("checks without an answer are not counted", page_without_answers),
        ("an empty log makes a page", page_of_empty_log),
        ("a run logs every check and alternates treatments", small_run),
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

fn committed_log() -> Vec<Entry> {
    log::read(&committed("log.jsonl")).unwrap_or_else(|error| panic!("log.jsonl: {error}"))
}

fn committed_page() {
    let is_current = page(&committed_log()) == committed("README.md");
    assert!(
        is_current,
        "stale: run cargo bench --bench error_rates -- page bench/error_rates/log.jsonl bench/error_rates/README.md"
    );
}

/// Decides every logged check of this method again.
fn logged_verdicts() {
    let log = committed_log();
    let mut decided = 0;
    for end in log.iter().filter_map(|entry| entry.end.as_ref()) {
        if end.settings.method != METHOD {
            continue;
        }
        // A verdict with a reason of its own does not follow from the scores.
        for verdict in end
            .metrics
            .iter()
            .filter(|verdict| verdict.gates && verdict.why.is_none())
        {
            assert_eq!(decide_again(end, verdict), verdict.verdict, "{verdict:?}");
            decided += 1;
        }
    }
    assert!(decided > 0 || log.is_empty(), "the log has no check of this method");
}

fn decide_again(end: &End, verdict: &MetricVerdict) -> Verdict {
    let metric = verdict.metric;
    let base = verdict.base.expect("a gating metric of a complete check has a value");
    let effect = metric.effect(end.settings.thresholds[&metric], base);
    // The scores are of all restarts; the verdict is of those at the analysis that decided.
    let scores = &end.scores[&metric][..verdict.restarts];
    match decide(
        scores,
        effect,
        decision::bonferroni(end.settings.alpha, end.settings.gate.len()),
    )
    .decision
    {
        Decision::Regressed => Verdict::Regressed,
        Decision::Improved => Verdict::Improved,
        Decision::Passed => Verdict::Passed,
        Decision::Inconclusive { .. } => Verdict::Inconclusive,
    }
}

/// A check with one metric, which regressed by `p50` or passed.
fn entry(treatment: &str, second_load: bool, p50: f64) -> Entry {
    let verdict = if p50 > 0.03 {
        Verdict::Regressed
    } else {
        Verdict::Passed
    };
    let threshold = Metric::P50.default_threshold();
    Entry {
        begin: Begin {
            at_s: 0,
            environment: Environment::of(machine::describe()),
            treatment: treatment.into(),
            second_load,
            arguments: Vec::new(),
        },
        end: Some(End {
            settings: Settings {
                budget_ns: 150_000_000_000,
                restarts: FINAL_RESTARTS,
                interim_restarts: INTERIM_RESTARTS,
                alpha: ALPHA,
                method: METHOD,
                settle_ns: 0,
                server_cpus: Vec::new(),
                gate: vec![Metric::P50],
                thresholds: BTreeMap::from([(Metric::P50, threshold)]),
                inconclusive: Inconclusive::Distinct,
            },
            setup: None,
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
                threshold: Some(threshold.min_effect),
                restarts: INTERIM_RESTARTS,
                of: INTERIM_RESTARTS,
                detectable: None,
                why: None,
            }],
            restarts: INTERIM_RESTARTS,
            stop_reason: StopReason::Decided,
            elapsed_ns: 30_000_000_000,
            reasons: Vec::new(),
            scores: BTreeMap::new(),
        }),
    }
}

#[track_caller]
fn assert_contains(text: &str, part: &str) {
    assert!(text.contains(part), "no `{part}` in:\n{text}");
}

fn ends_and_beginnings() {
    let Entry { begin, end } = entry("A/A", false, 0.0);
    let begin = |seed| Line::new(seed, Event::Begin(Box::new(begin.clone())));
    let end = |seed| Line::new(seed, Event::End(Box::new(end.clone().expect("an end"))));
    let text = |lines: &[Line]| lines.iter().map(urecho::output::json::line).collect::<String>();
    let entries = log::read(&text(&[begin(1), begin(2), end(2)])).unwrap_or_else(|error| panic!("{error}"));
    let ended: Vec<bool> = entries.iter().map(|entry| entry.end.is_some()).collect();
    assert_eq!(ended, [false, true]);
    log::read(&text(&[begin(1), end(2)])).expect_err("an end without a beginning");
    log::read(&text(&[begin(1), end(1), end(1)])).expect_err("two ends");
}

fn page_counts() {
    let unchanged = |number: usize| {
        let treatment = ["A/A", "A/A-copy"][number % 2];
        entry(treatment, number.is_multiple_of(3), 0.0)
    };
    let mut other = entry("A/A", false, 0.2);
    other.end.as_mut().expect("an end").settings.method = METHOD + 1;
    let mut lenient = entry("A/A", false, 0.2);
    lenient.begin.arguments = vec!["--min-effect".into(), "p50=50%".into()];
    let mut log: Vec<Entry> = (0..29).map(|number| entry("spin=1us", number == 0, 0.06)).collect();
    log.extend([other, lenient]);
    log.extend((0..298).map(unchanged));
    let text = page(&log);
    assert_contains(&text, "0 false alarms in 298 checks: below 1.0 %");
    assert_contains(&text, "is not met yet");
    assert_contains(&text, "| spin=1us | either | 29 | 29 | 90.2 % | 0 | 0 |");
    assert_contains(&text, "| spin=1us | 29 of 29, +6.0 % |");
    assert_contains(&text, "15 or more: `spin=1us` in 29 of 29. Not (or not yet): none.");
    assert_contains(&text, "| all | 298 | 0 | 0 | ±1.0 % | 0 |");
    assert_contains(&text, "not counted above: 2.");
    log.push(entry("A/A", false, 0.0));
    assert_contains(&page(&log), "is met.");
    log.push(entry("A/A", true, 0.2));
    assert_contains(&page(&log), "1 false alarm in 300 checks");
}

fn page_without_answers() {
    let mut interrupted = entry("A/A", false, 0.2);
    interrupted.end.as_mut().expect("an end").stop_reason = StopReason::Interrupted;
    let mut unfinished = entry("A/A", false, 0.2);
    unfinished.end = None;
    let text = page(&[interrupted, unfinished, entry("A/A", false, 0.0)]);
    assert_contains(&text, "0 false alarms in 1 check:");
    assert_contains(&text, "a server failed: 2.");
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
            treatments: ["A/A", "A/A-copy"]
                .map(|name| Treatment::from_str(name).expect("a valid treatment"))
                .into(),
            second_build: None,
            arguments: arguments.map(str::to_owned).into(),
        })
        .unwrap_or_else(|error| panic!("{error}"));
    }
    let text = fs::read_to_string(&log).expect("a run writes its log");
    let entries = log::read(&text).unwrap_or_else(|error| panic!("{error}"));
    let treatments: Vec<(&str, bool)> = entries
        .iter()
        .map(|entry| (entry.begin.treatment.as_str(), entry.end.is_some()))
        .collect();
    assert_eq!(treatments, [("A/A", true), ("A/A-copy", true)]);
}
