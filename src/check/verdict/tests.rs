//! Verdicts of records made up, in which everything is known beforehand.

use super::*;
use crate::check::decision::Threshold;
use crate::check::fixtures::{ALIKE, Head, record, restart};
use crate::check::record::{Failure, Inconclusive};
use crate::check::report::{Check, recorded};
use crate::clock::Nanos;

fn verdict_of(record: &Record, metric: Metric) -> Verdict {
    let judged = judge(record).metrics.into_iter().find(|judged| judged.metric == metric);
    judged.unwrap().verdict
}

#[track_caller]
fn assert_judged(record: &Record, verdict: Verdict, exit_code: u8) {
    let judgement = judge(record);
    assert_eq!(
        (judgement.verdict, judgement.exit_code),
        (verdict, exit_code),
        "{judgement:#?}"
    );
}

/// All blocks of the first so many restarts as if something had disturbed them.
fn disturb(record: &mut Record, restarts: usize) {
    for restart in &mut record.restarts[..restarts] {
        for block in restart.closed.iter_mut().chain(&mut restart.open) {
            block.base.send_lag_p99_ns = Some(2_000_000);
        }
    }
}

#[test]
fn two_alike_pass_at_the_first_look_whatever_the_day() {
    let record = record(12, &ALIKE);
    assert!(is_settled(&record));
    assert_judged(&record, Verdict::Passed, 0);
}

#[test]
fn one_metric_that_got_worse_fails_the_build_though_another_got_better() {
    let head = Head {
        p50: 1.06,
        throughput: 1.1,
        cpu: 1.0,
    };
    let record = record(12, &head);
    assert!(is_settled(&record));
    assert_judged(&record, Verdict::Regressed, 1);
    assert_eq!(verdict_of(&record, Metric::P50), Verdict::Regressed);
    assert_eq!(verdict_of(&record, Metric::Throughput), Verdict::Improved);
    assert_eq!(verdict_of(&record, Metric::Cpu), Verdict::Passed);
}

#[test]
fn a_lower_rate_is_worse_and_is_shown_as_less() {
    let record = record(
        12,
        &Head {
            throughput: 0.95,
            ..ALIKE
        },
    );
    assert_judged(&record, Verdict::Regressed, 1);
    let judged = judge(&record)
        .metrics
        .into_iter()
        .find(|judged| judged.metric == Metric::Throughput);
    let judged = judged.unwrap();
    let (low, high) = judged.interval.unwrap();
    let change = judged.change.unwrap();
    assert!(
        (-0.06..-0.04).contains(&change) && low < change && change < high,
        "{judged:?}"
    );
}

#[test]
fn what_does_not_gate_is_shown_and_fails_nothing() {
    let mut record = record(12, &Head { p50: 1.5, ..ALIKE });
    record.terms.gate = vec![Metric::Throughput];
    assert_judged(&record, Verdict::Passed, 0);
    assert_eq!(verdict_of(&record, Metric::P50), Verdict::Regressed);
}

#[test]
fn what_is_better_and_nothing_worse_is_an_improvement() {
    assert_judged(&record(12, &Head { cpu: 0.9, ..ALIKE }), Verdict::Improved, 0);
}

#[test]
fn a_floor_lets_small_differences_pass() {
    let mut record = record(12, &Head { p50: 1.06, ..ALIKE });
    // 6 % of some 110 µs are 7 µs.
    record.terms.matters.insert(
        Metric::P50,
        Threshold {
            share: 0.03,
            floor: 20_000.0,
        },
    );
    assert_judged(&record, Verdict::Passed, 0);
}

#[test]
fn what_is_just_as_large_as_what_matters_is_not_known_and_says_what_would_be() {
    let mut record = record(20, &Head { p50: 1.03, ..ALIKE });
    assert!(!is_settled(&record));
    assert_judged(&record, Verdict::Inconclusive, 3);
    let judged = &judge(&record).metrics[0];
    assert!(judged.could_have_seen.unwrap() >= 0.03, "{judged:?}");
    record.terms.inconclusive = Inconclusive::Pass;
    assert_judged(&record, Verdict::Inconclusive, 0);
    record.terms.inconclusive = Inconclusive::Fail;
    assert_judged(&record, Verdict::Inconclusive, 1);
}

#[test]
fn half_of_the_restarts_disturbed_is_enough_and_more_is_not() {
    let mut some = record(20, &ALIKE);
    disturb(&mut some, 10);
    assert_judged(&some, Verdict::Passed, 0);
    disturb(&mut some, 11);
    assert_judged(&some, Verdict::Inconclusive, 3);
    let reasons = judge(&some).reasons.join("\n");
    assert!(
        reasons.contains("11 of 20 restarts were too disturbed, mostly by a generator that was not on time"),
        "{reasons}"
    );
}

#[test]
fn a_regression_in_disturbed_blocks_alone_is_none() {
    let mut record = record(20, &ALIKE);
    for number in 0..9 {
        record.restarts[number] = restart(number, &Head { p50: 2.0, ..ALIKE });
    }
    disturb(&mut record, 9);
    assert_ne!(verdict_of(&record, Metric::P50), Verdict::Regressed);
}

#[test]
fn too_few_restarts_say_how_many_it_takes() {
    let mut record = record(4, &Head { p50: 2.0, ..ALIKE });
    record.ended = Ended::Budget;
    assert_judged(&record, Verdict::Inconclusive, 3);
    let reasons = judge(&record).reasons.join("\n");
    assert!(
        reasons.contains("over after 4 of 40 restarts") && reasons.contains("it takes 10"),
        "{reasons}"
    );
}

/// How much of a CPU the sides use while the other one has the traffic.
fn keep_awake(record: &mut Record, base: f64, head: f64) {
    for restart in &mut record.restarts {
        for block in restart.closed.iter_mut().chain(&mut restart.open) {
            block.base.idle_cpu_ratio = Some(base);
            block.head.idle_cpu_ratio = Some(head);
        }
    }
}

#[test]
fn a_side_that_does_not_sleep_spoils_the_other_unless_there_are_cpus_for_both() {
    let mut record = record(12, &Head { cpu: 0.9, ..ALIKE });
    keep_awake(&mut record, 0.0, 0.3);
    record.terms.server_cpus = vec![0];
    assert_judged(&record, Verdict::Inconclusive, 3);
    let reasons = judge(&record).reasons.join("\n");
    assert!(
        reasons.contains("base used 0 % and head 30 % of a CPU while the other one"),
        "{reasons}"
    );
    record.terms.server_cpus = vec![0, 1];
    assert_judged(&record, Verdict::Improved, 0);
}

#[test]
fn two_sides_that_never_sleep_spoil_each_other_alike() {
    let mut record = record(12, &ALIKE);
    keep_awake(&mut record, 0.31, 0.3);
    assert_judged(&record, Verdict::Passed, 0);
}

#[test]
fn a_figure_that_nobody_has_is_not_known_and_decides_nothing() {
    let record = record(20, &ALIKE);
    assert_eq!(verdict_of(&record, Metric::P999), Verdict::Inconclusive);
    assert_judged(&record, Verdict::Passed, 0);
}

#[test]
fn a_server_that_failed_fails_the_check_in_its_own_way() {
    let mut record = record(3, &ALIKE);
    let mut fail = |exit_code| {
        let what = "it died".to_owned();
        record.head.failure = Some(Failure {
            restart: 4,
            what,
            exit_code,
        });
        judge(&record)
    };
    let judgement = fail(5);
    assert_eq!((judgement.verdict, judgement.exit_code), (Verdict::Failed, 5));
    assert_eq!(judgement.reasons, ["head failed in restart 4: it died"]);
    assert_eq!(fail(6).exit_code, 6);
    let judgement = fail(4);
    assert_eq!(judgement.exit_code, 4);
    assert_eq!(judgement.reasons, ["head could not be measured in restart 4: it died"]);
}

#[test]
fn a_record_that_was_written_is_judged_the_same_byte_for_byte() {
    let head = Head {
        p50: 1.0 + 1.0 / 3.0,
        throughput: 0.1 + 0.2,
        cpu: 1.0,
    };
    let check = Check::of(record(20, &head));
    let text = check.json();
    let again = Check::of(recorded(&text).unwrap());
    assert_eq!(again, check);
    assert_eq!(again.json(), text);
}

#[test]
fn what_was_not_measured_passes_nothing() {
    // As when somebody stopped it while the base was tried.
    let mut stopped = record(0, &ALIKE);
    stopped.ended = Ended::Interrupted;
    stopped.terms.loads.clear();
    assert_judged(&stopped, Verdict::Inconclusive, 3);
    let mut toothless = record(20, &ALIKE);
    toothless.terms.gate.clear();
    assert_judged(&toothless, Verdict::Inconclusive, 3);
}

#[test]
fn servers_that_make_pressure_themselves_are_judged_and_bursts_of_it_dropped() {
    let mut record = record(12, &Head { p50: 1.1, ..ALIKE });
    let press = |restarts: &mut [Restart], share: f64| {
        for restart in restarts {
            for block in restart.closed.iter_mut().chain(&mut restart.open) {
                block.base.disturbance.pressure = Some(Nanos((1e6 * share) as u64));
            }
        }
    };
    press(&mut record.restarts, 0.9);
    assert_judged(&record, Verdict::Regressed, 1);
    press(&mut record.restarts, 0.1);
    press(&mut record.restarts[..4], 0.9);
    assert_eq!(judge(&record).metrics[0].restarts, 8);
}

#[test]
fn what_is_no_record_is_refused() {
    let effect = Check::of(record(1, &ALIKE)).json();
    let effect = effect.replace(
        "\"matters\": {}",
        "\"matters\": {\"p50\": {\"share\": 0, \"floor\": 0}}",
    );
    for (text, words) in [
        ("", "no JSON"),
        ("{}", "names no schema"),
        (r#"{"schema": "urecho.load/1"}"#, "urecho.load/1"),
        (r#"{"schema": "urecho.check/1", "record": {}}"#, "broken"),
        (effect.as_str(), "p50"),
    ] {
        let error = recorded(text).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}
