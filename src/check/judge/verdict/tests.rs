//! Verdicts of constructed records, whose right answer is known.

use super::*;
use crate::check::fixtures::{HeadChange, UNCHANGED, record, restart};
use crate::check::judge::Profile;
use crate::check::judge::decision::{METHOD, Threshold};
use crate::check::output::Check;
use crate::check::record::{Failure, Inconclusive, LoadPair, Restart};
use crate::clock::Nanos;
use crate::sys::throttling::Throttling;

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

fn loads_mut(restart: &mut Restart) -> impl Iterator<Item = &mut LoadPair> {
    restart.closed.iter_mut().chain(&mut restart.open)
}

fn blocks_mut(restart: &mut Restart) -> impl Iterator<Item = &mut Block> {
    loads_mut(restart).flat_map(|load| &mut load.blocks)
}

/// Makes all blocks of the first restarts too noisy.
fn disturb(record: &mut Record, restarts: usize) {
    for restart in &mut record.restarts[..restarts] {
        for block in blocks_mut(restart) {
            block.base.send_lag_p99_ns = Some(2_000_000);
        }
    }
}

#[test]
fn equal_servers_pass_at_the_interim_analysis_whatever_the_day() {
    let record = record(12, &UNCHANGED);
    assert!(can_stop_early(Sample::of(&record)));
    assert_judged(&record, Verdict::Passed, 0);
}

#[test]
fn a_regressed_metric_fails_the_build_although_another_improved() {
    let head = HeadChange {
        p50: 1.06,
        throughput: 1.1,
        cpu: 1.0,
    };
    let record = record(12, &head);
    assert!(can_stop_early(Sample::of(&record)));
    assert_judged(&record, Verdict::Regressed, 1);
    assert_eq!(verdict_of(&record, Metric::P50), Verdict::Regressed);
    assert_eq!(verdict_of(&record, Metric::Throughput), Verdict::Improved);
    assert_eq!(verdict_of(&record, Metric::Cpu), Verdict::Passed);
}

#[test]
fn a_lower_rate_is_worse_and_is_shown_as_a_decrease() {
    let record = record(
        12,
        &HeadChange {
            throughput: 0.95,
            ..UNCHANGED
        },
    );
    assert_judged(&record, Verdict::Regressed, 1);
    let judged = judge(&record)
        .metrics
        .into_iter()
        .find(|judged| judged.metric == Metric::Throughput);
    let judged = judged.unwrap();
    let ChangeInterval { low, high } = judged.interval.unwrap();
    let change = judged.change.unwrap();
    assert!(
        (-0.06..-0.04).contains(&change) && low < change && change < high,
        "{judged:?}"
    );
}

#[test]
fn a_metric_that_does_not_gate_is_shown_and_fails_nothing() {
    let mut record = record(12, &HeadChange { p50: 1.5, ..UNCHANGED });
    record.settings.gate = vec![Metric::Throughput];
    assert_judged(&record, Verdict::Passed, 0);
    assert_eq!(verdict_of(&record, Metric::P50), Verdict::Regressed);
}

#[test]
fn an_improved_metric_without_a_regressed_one_is_an_improvement() {
    assert_judged(&record(12, &HeadChange { cpu: 0.9, ..UNCHANGED }), Verdict::Improved, 0);
}

#[test]
fn an_absolute_threshold_lets_small_differences_pass() {
    let mut record = record(12, &HeadChange { p50: 1.06, ..UNCHANGED });
    // 6 % of about 110 µs is 7 µs.
    record.settings.thresholds.insert(
        Metric::P50,
        Threshold {
            min_effect: 0.03,
            min_change: 20_000.0,
        },
    );
    assert_judged(&record, Verdict::Passed, 0);
}

#[test]
fn a_change_as_large_as_the_threshold_is_inconclusive_and_says_what_is_detectable() {
    let mut record = record(20, &HeadChange { p50: 1.05, ..UNCHANGED });
    assert!(!can_stop_early(Sample::of(&record)));
    assert_judged(&record, Verdict::Inconclusive, 3);
    let judged = &judge(&record).metrics[0];
    assert!(judged.detectable.unwrap() >= 0.05, "{judged:?}");
    record.settings.inconclusive = Inconclusive::Pass;
    assert_judged(&record, Verdict::Inconclusive, 0);
    record.settings.inconclusive = Inconclusive::Fail;
    assert_judged(&record, Verdict::Inconclusive, 1);
}

#[test]
fn half_of_the_restarts_may_be_too_noisy_and_no_more() {
    let mut noisy = record(24, &UNCHANGED);
    disturb(&mut noisy, 12);
    assert_judged(&noisy, Verdict::Passed, 0);
    disturb(&mut noisy, 13);
    assert_judged(&noisy, Verdict::Inconclusive, 3);
    let reasons = judge(&noisy).reasons.join("\n");
    assert!(
        reasons.contains("13 of 24 restarts were too noisy, mostly because of a late generator"),
        "{reasons}"
    );
}

#[test]
fn a_regression_in_noisy_blocks_alone_is_none() {
    let mut record = record(20, &UNCHANGED);
    for number in 0..9 {
        record.restarts[number] = restart(number, &HeadChange { p50: 2.0, ..UNCHANGED });
    }
    disturb(&mut record, 9);
    assert_ne!(verdict_of(&record, Metric::P50), Verdict::Regressed);
}

#[test]
fn too_few_restarts_say_how_many_are_needed() {
    let mut record = record(4, &HeadChange { p50: 2.0, ..UNCHANGED });
    record.stop_reason = StopReason::Budget;
    assert_judged(&record, Verdict::Inconclusive, 3);
    let reasons = judge(&record).reasons.join("\n");
    assert!(
        reasons.contains("ended after 4 of 40 restarts") && reasons.contains("4 of 11"),
        "{reasons}"
    );
}

/// Sets the CPU that each side uses while the other has the traffic.
fn keep_busy(record: &mut Record, base: f64, head: f64) {
    for restart in &mut record.restarts {
        for block in blocks_mut(restart) {
            block.base.background_cpu_ratio = Some(base);
            block.head.background_cpu_ratio = Some(head);
        }
    }
}

#[test]
fn a_side_that_is_not_idle_makes_the_check_inconclusive_unless_both_have_cpus() {
    let mut record = record(12, &HeadChange { cpu: 0.9, ..UNCHANGED });
    keep_busy(&mut record, 0.0, 0.3);
    record.settings.server_cpus = vec![0];
    assert_judged(&record, Verdict::Inconclusive, 3);
    let reasons = judge(&record).reasons.join("\n");
    assert!(
        reasons.contains("base used 0 % and head 30 % of a CPU while the other had the traffic"),
        "{reasons}"
    );
    record.settings.server_cpus = vec![0, 1];
    assert_judged(&record, Verdict::Improved, 0);
}

#[test]
fn two_sides_that_are_equally_busy_can_be_compared() {
    let mut record = record(12, &UNCHANGED);
    keep_busy(&mut record, 0.31, 0.3);
    assert_judged(&record, Verdict::Passed, 0);
}

#[test]
fn a_gating_metric_without_values_makes_the_check_inconclusive() {
    let mut record = record(20, &UNCHANGED);
    pool(&mut record, |load| load.base.resident_bytes = None);
    assert_eq!(verdict_of(&record, Metric::Memory), Verdict::Inconclusive);
    assert_judged(&record, Verdict::Inconclusive, 3);
    record.settings.gate.retain(|&metric| metric != Metric::Memory);
    assert_judged(&record, Verdict::Passed, 0);
}

/// Changes what all slices of each restart are together.
fn pool(record: &mut Record, change: impl Fn(&mut LoadPair)) {
    record.restarts.iter_mut().flat_map(loads_mut).for_each(change);
}

#[test]
fn a_stall_that_no_median_shows_fails_the_build() {
    for (metric, change) in [
        (
            Metric::Spikes,
            (|load| load.blocks[0].head.max_ns = Some(10_000_000)) as fn(&mut LoadPair),
        ),
        (Metric::Stalled, |load| load.head.overrun_ratio = 0.03),
        (Metric::Memory, |load| load.head.resident_bytes = Some(11_100_000)),
    ] {
        let mut record = record(12, &UNCHANGED);
        pool(&mut record, change);
        assert_judged(&record, Verdict::Regressed, 1);
        assert_eq!(verdict_of(&record, metric), Verdict::Regressed, "{metric}");
    }
}

#[test]
fn a_stall_counts_in_whichever_load_it_falls() {
    let mut record = record(12, &UNCHANGED);
    for (number, restart) in record.restarts.iter_mut().enumerate() {
        let profile = if number % 2 == 0 {
            Profile::Open
        } else {
            Profile::Closed
        };
        restart.load_mut(profile).as_mut().unwrap().head.overrun_ratio = 0.1;
    }
    assert_eq!(verdict_of(&record, Metric::Stalled), Verdict::Regressed);
}

#[test]
fn a_server_that_is_busy_without_traffic_fails_the_build_though_it_slows_the_other_down() {
    let mut record = record(12, &UNCHANGED);
    keep_busy(&mut record, 0.0, 0.9);
    pool(&mut record, |load| load.head.background_cpu_ratio = Some(0.9));
    assert_judged(&record, Verdict::Regressed, 1);
    assert_eq!(
        verdict_of(&record, Metric::P50),
        Verdict::Inconclusive,
        "one slows the other down"
    );
}

#[test]
fn throughput_that_the_generator_limits_does_not_pass() {
    let mut record = record(12, &UNCHANGED);
    let limit = |record: &mut Record, ratio: f64| {
        for block in record.restarts.iter_mut().flat_map(blocks_mut) {
            (block.base.generator_cpu_ratio, block.head.generator_cpu_ratio) = (ratio, ratio);
        }
    };
    limit(&mut record, 0.94);
    assert_judged(&record, Verdict::Passed, 0);
    limit(&mut record, 0.96);
    assert_judged(&record, Verdict::Inconclusive, 3);
    let reasons = judge(&record).reasons.join("\n");
    assert!(reasons.contains("throughput: limited by the generator"), "{reasons}");
}

#[test]
fn a_metric_that_is_worse_and_does_not_gate_is_in_the_headline_and_a_warning() {
    let mut record = record(12, &HeadChange { p50: 1.5, ..UNCHANGED });
    record.settings.gate = vec![Metric::Throughput];
    let summary = Check::of(record).summary();
    let headline = summary.headline();
    assert!(headline.contains("worse, but not gating: p50 +"), "{headline}");
    let annotations = summary.annotations();
    assert!(
        annotations.len() == 1 && annotations[0].starts_with("::warning"),
        "{annotations:?}"
    );
}

#[test]
fn a_check_of_another_method_is_not_judged_again() {
    let mut record = record(12, &UNCHANGED);
    record.settings.method += 1;
    let error = Check::replay(&Check::of(record).json()).unwrap_err().to_string();
    assert!(error.contains(&format!("judges by method {METHOD}")), "{error}");
}

#[test]
fn a_failed_server_fails_the_check_with_its_own_exit_code() {
    let mut record = record(3, &UNCHANGED);
    let mut fail = |exit_code| {
        let what = "it crashed".to_owned();
        record.head.failure = Some(Failure {
            restart: 4,
            what,
            exit_code,
        });
        judge(&record)
    };
    let judgement = fail(5);
    assert_eq!((judgement.verdict, judgement.exit_code), (Verdict::Failed, 5));
    assert_eq!(judgement.reasons, ["head failed in restart 4: it crashed"]);
    assert_eq!(fail(6).exit_code, 6);
    let judgement = fail(4);
    assert_eq!(judgement.exit_code, 4);
    assert_eq!(
        judgement.reasons,
        ["head could not be measured in restart 4: it crashed"]
    );
}

#[test]
fn a_written_check_is_replayed_byte_for_byte() {
    let head = HeadChange {
        p50: 1.0 + 1.0 / 3.0,
        throughput: 0.1 + 0.2,
        cpu: 1.0,
    };
    let check = Check::of(record(20, &head));
    let text = check.json();
    let again = Check::replay(&text).unwrap();
    assert_eq!(again, check);
    assert_eq!(again.json(), text);
}

#[test]
fn nothing_passes_that_was_not_measured() {
    // As after an interruption in the capacity run.
    let mut stopped = record(0, &UNCHANGED);
    stopped.stop_reason = StopReason::Interrupted;
    stopped.setup = None;
    assert_judged(&stopped, Verdict::Inconclusive, 3);
    let mut ungated = record(20, &UNCHANGED);
    ungated.settings.gate.clear();
    assert_judged(&ungated, Verdict::Inconclusive, 3);
}

#[test]
fn constant_pressure_is_tolerated_and_bursts_of_it_are_dropped() {
    let mut record = record(12, &HeadChange { p50: 1.1, ..UNCHANGED });
    let press = |restarts: &mut [Restart], share: f64| {
        for restart in restarts {
            for block in blocks_mut(restart) {
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
fn a_check_that_a_quota_stopped_is_inconclusive_whatever_its_figures_say() {
    for change in [
        UNCHANGED,
        HeadChange {
            p50: 2.0,
            throughput: 0.5,
            cpu: 2.0,
        },
    ] {
        let mut record = record(20, &change);
        for block in record.restarts.iter_mut().flat_map(blocks_mut) {
            for side in [&mut block.base, &mut block.head] {
                side.throttling = Some(Throttling {
                    periods: 1,
                    throttled: Nanos(side.disturbance.span.0 / 50),
                });
            }
        }
        assert_judged(&record, Verdict::Inconclusive, 3);
        let reasons = judge(&record).reasons.join("\n");
        assert!(
            reasons.contains("the CPU quota of the generator's control group was used up in"),
            "{reasons}"
        );
        assert!(
            reasons.contains("stalled: 20 of 20 restarts were too noisy, mostly because of the CPU quota"),
            "{reasons}"
        );
    }
}

#[test]
fn a_quota_of_a_server_alone_is_a_reason_and_no_noise() {
    let mut record = record(20, &UNCHANGED);
    for block in record.restarts.iter_mut().flat_map(blocks_mut) {
        block.head.server_throttling = Some(Throttling {
            periods: 1,
            throttled: Nanos(block.head.disturbance.span.0 / 2),
        });
    }
    assert_judged(&record, Verdict::Passed, 0);
    let reasons = judge(&record).reasons.join("\n");
    assert!(
        reasons.contains("the CPU quota of head's control group was used up in"),
        "{reasons}"
    );
}

#[test]
fn an_invalid_record_is_refused() {
    let effect = Check::of(record(1, &UNCHANGED)).json();
    let effect = effect.replace("\"min_effect\": 0.05", "\"min_effect\": 0");
    let alpha = Check::of(record(1, &UNCHANGED)).json();
    let alpha = alpha.replacen("\"alpha\": 0.005", "\"alpha\": 0.7", 1);
    for (text, words) in [
        (alpha.as_str(), "alpha must be in (0, 0.5)"),
        ("", "not a JSON document"),
        ("{}", "found none"),
        (
            r#"{"schema": "urecho.check/1"}"#,
            "expected schema urecho.check/2, found urecho.check/1",
        ),
        (
            r#"{"schema": "urecho.check/2", "record": {}}"#,
            "not a valid urecho.check/2",
        ),
        (effect.as_str(), "p50"),
    ] {
        let error = Check::replay(text).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}
