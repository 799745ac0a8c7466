//! Which runs are believed, which are not, and where exactly the line is.

mod rate;

use super::Grade::{Invalid, Suspect, Valid};
use super::*;

/// An idle machine with two CPUs, one for the server and one for the generator: 20k/s for 30 s over 10,000 connections.
fn idle_machine() -> Inputs {
    Inputs {
        open_loop: true,
        send_lag_p99: Some(Nanos(38_000)),
        service_p50: Some(Nanos(45_000)),
        offered_per_s: 20_013.0,
        achieved_per_s: 20_011.0,
        in_flight_growth_per_s: 0.0,
        // The fastest of 20 µs, one message in flight on each of 10,000 connections.
        littles_law_limit_per_s: Some(5e8),
        generator_busy: 0.22,
        server_busy: Some(0.19),
        server_cpus: Some(1),
        shares_cpu: false,
        steal_share: 0.002,
        pressure_share: Some(0.03),
        measured: Nanos(30_000_000_000),
        stalled: Nanos(2_000_000),
        stalled_longest: Nanos(2_000_000),
        run_delay: Nanos(60_000_000),
        throttling: Some(Throttling::default()),
        server_throttling: None,
        pass_p99: Some(Nanos(12_000)),
        overflows: 0,
        merged_intervals: 0,
        debug_build: false,
        partial: false,
        wrong_data: None,
        samples: 600_390,
        connections: 10_000,
        unopened: 0,
        without_port: 0,
        lost: 0,
        rate_changes: 0,
        sent: 600_390,
        failed: 0,
        missing: 0,
        verify: true,
        // 60 messages each on average, picked at random: 1 / (1 + 1/60).
        fairness_jain: Some(0.984),
        retransmits: Some(0),
        listen_overflows: Some(0),
    }
}

/// The same machine with 50 connections in a closed loop: both sides are saturated.
fn saturated() -> Inputs {
    Inputs {
        open_loop: false,
        send_lag_p99: None,
        service_p50: Some(Nanos(240_000)),
        offered_per_s: 0.0,
        achieved_per_s: 0.0,
        generator_busy: 0.98,
        server_busy: Some(0.99),
        connections: 50,
        samples: 6_000_000,
        sent: 6_000_000,
        fairness_jain: Some(0.999),
        pressure_share: Some(0.06),
        ..idle_machine()
    }
}

/// The run on an idle machine, with a change.
pub(super) fn idle_machine_but(change: impl FnOnce(&mut Inputs)) -> Inputs {
    let mut inputs = idle_machine();
    change(&mut inputs);
    inputs
}

/// The saturated run, with a change.
pub(super) fn saturated_but(change: impl FnOnce(&mut Inputs)) -> Inputs {
    let mut inputs = saturated();
    change(&mut inputs);
    inputs
}

/// Checks that the run is valid without a reason.
pub(super) fn assert_valid(inputs: &Inputs) {
    assert_eq!(
        judge(inputs),
        Verdict {
            grade: Grade::Valid,
            reasons: vec![]
        }
    );
}

/// Checks that this is the only reason; returns its text.
pub(super) fn assert_reason(inputs: &Inputs, grade: Grade, code: &str) -> String {
    let verdict = judge(inputs);
    let [reason] = verdict.reasons.as_slice() else {
        panic!("not one reason: {verdict}");
    };
    assert_eq!(
        (reason.grade, reason.code.as_ref(), verdict.grade),
        (grade, code, grade),
        "{verdict}"
    );
    reason.what.clone()
}

#[test]
fn an_open_loop_on_an_idle_machine_is_valid() {
    assert_valid(&idle_machine());
}

#[test]
fn a_closed_loop_that_saturates_both_sides_is_valid() {
    assert_valid(&saturated());
}

#[test]
fn no_rule_fires_on_an_unknown_input() {
    assert_valid(&idle_machine_but(|run| {
        run.send_lag_p99 = None;
        run.service_p50 = None;
        run.server_busy = None;
        run.server_cpus = None;
        run.pressure_share = None;
        run.throttling = None;
        run.pass_p99 = None;
        run.fairness_jain = None;
        run.retransmits = None;
        run.listen_overflows = None;
    }));
}

#[test]
fn a_short_lag_is_valid_however_fast_the_server_is() {
    let with = |lag, service| {
        idle_machine_but(|run| (run.send_lag_p99, run.service_p50) = (Some(Nanos(lag)), Some(Nanos(service))))
    };
    assert_valid(&with(50_000, 10_000));
    assert_reason(&with(50_001, 10_000), Suspect, "send-lag");
    assert_reason(&with(1_000_000, 10_000), Suspect, "send-lag");
    assert_reason(&with(1_000_001, 10_000), Invalid, "send-lag");
}

#[test]
fn a_lag_is_judged_relative_to_a_long_service_time() {
    let with = |lag| {
        idle_machine_but(|run| {
            run.service_p50 = Some(Nanos(2_000_000));
            run.send_lag_p99 = Some(Nanos(lag));
        })
    };
    assert_valid(&with(200_000));
    assert_reason(&with(200_001), Suspect, "send-lag");
    assert_reason(&with(2_000_000), Suspect, "send-lag");
    let what = assert_reason(&with(2_500_000), Invalid, "send-lag");
    assert!(
        ["2.50 ms", "200 µs", "2.00 ms"]
            .iter()
            .all(|figure| what.contains(figure)),
        "{what}"
    );
}

#[test]
fn a_lag_with_an_unknown_service_time_has_only_the_fixed_bounds() {
    let with = |lag| idle_machine_but(|run| (run.send_lag_p99, run.service_p50) = (Some(Nanos(lag)), None));
    assert_valid(&with(50_000));
    assert_reason(&with(60_000), Suspect, "send-lag");
}

#[test]
fn a_closed_loop_has_no_lag_and_no_offered_rate() {
    assert_valid(&saturated_but(|run| {
        run.send_lag_p99 = Some(Nanos::SECOND);
        run.offered_per_s = 1_000.0;
    }));
}

#[test]
fn a_generator_without_reserve_queues_in_an_open_loop() {
    assert_valid(&idle_machine_but(|run| run.generator_busy = 0.8));
    assert_reason(
        &idle_machine_but(|run| run.generator_busy = 0.81),
        Suspect,
        "generator-busy",
    );
}

#[test]
fn a_generator_without_reserve_is_the_bottleneck_if_the_server_has_some() {
    let with = |generator, server| saturated_but(|run| (run.generator_busy, run.server_busy) = (generator, server));
    assert_valid(&with(0.95, Some(0.5)));
    assert_valid(&with(1.0, Some(0.9)));
    assert_reason(&with(0.96, Some(0.89)), Suspect, "generator-bottleneck");
    assert_reason(&with(0.96, None), Suspect, "generator-bottleneck");
}

#[test]
fn a_server_is_saturated_by_the_cpus_it_can_use() {
    let with = |busy, cpus| saturated_but(|run| (run.server_busy, run.server_cpus) = (Some(busy), cpus));
    assert_valid(&with(1.9, Some(2)));
    let what = assert_reason(&with(1.0, Some(2)), Suspect, "generator-bottleneck");
    assert!(what.contains("50 %"), "{what}");
    // With an unknown number of CPUs, one is assumed.
    assert_valid(&with(0.97, None));
    assert_reason(&with(1.2, None), Suspect, "generator-bottleneck");
    assert_reason(&with(0.0, Some(0)), Suspect, "generator-bottleneck");
}

#[test]
fn stolen_time_reaches_p99_at_one_per_cent_and_p90_at_ten() {
    assert_valid(&idle_machine_but(|run| run.steal_share = 0.01));
    assert_reason(&idle_machine_but(|run| run.steal_share = 0.011), Suspect, "steal");
    assert_reason(&idle_machine_but(|run| run.steal_share = 0.1), Suspect, "steal");
    assert_reason(&idle_machine_but(|run| run.steal_share = 0.11), Invalid, "steal");
}

#[test]
fn a_second_program_shows_as_pressure() {
    assert_valid(&idle_machine_but(|run| run.pressure_share = Some(0.25)));
    assert_reason(
        &idle_machine_but(|run| run.pressure_share = Some(0.26)),
        Suspect,
        "cpu-pressure",
    );
}

#[test]
fn one_overflow_one_shared_cpu_one_debug_build_or_one_interruption_is_enough() {
    assert_reason(
        &idle_machine_but(|run| run.overflows = 1),
        Suspect,
        "completion-queue-overflow",
    );
    assert_reason(&idle_machine_but(|run| run.shares_cpu = true), Suspect, "shared-cpu");
    assert_reason(&idle_machine_but(|run| run.debug_build = true), Suspect, "debug-build");
    assert_reason(&idle_machine_but(|run| run.partial = true), Suspect, "partial");
    assert_reason(
        &idle_machine_but(|run| run.listen_overflows = Some(1)),
        Suspect,
        "listen-overflow",
    );
}

#[test]
fn a_run_without_a_p99_is_suspect_and_one_without_a_sample_invalid() {
    assert_valid(&idle_machine_but(|run| run.samples = 368));
    let what = assert_reason(&idle_machine_but(|run| run.samples = 367), Suspect, "too-few-samples");
    assert!(what.contains("367") && what.contains("368"), "{what}");
    assert_reason(
        &idle_machine_but(|run| (run.samples, run.sent) = (0, 0)),
        Invalid,
        "too-few-samples",
    );
}

#[test]
fn one_incomplete_message_is_suspect_and_one_in_a_hundred_the_limit() {
    let with =
        |failed, missing| idle_machine_but(|run| (run.sent, run.failed, run.missing) = (10_000, failed, missing));
    assert_reason(&with(1, 0), Suspect, "incomplete-messages");
    assert_reason(&with(0, 1), Suspect, "incomplete-messages");
    assert_reason(&with(60, 40), Suspect, "incomplete-messages");
    assert_reason(&with(60, 41), Invalid, "incomplete-messages");
}

#[test]
fn one_absent_connection_is_suspect_and_a_tenth_the_limit() {
    assert_reason(
        &idle_machine_but(|run| run.unopened = 1),
        Suspect,
        "unopened-connections",
    );
    assert_reason(
        &idle_machine_but(|run| run.unopened = 1_000),
        Suspect,
        "unopened-connections",
    );
    assert_reason(
        &idle_machine_but(|run| run.unopened = 1_001),
        Invalid,
        "unopened-connections",
    );
    assert_reason(&idle_machine_but(|run| run.lost = 1), Suspect, "lost-connections");
    assert_reason(&idle_machine_but(|run| run.lost = 1_001), Invalid, "lost-connections");
}

#[test]
fn unfair_service_is_judged_only_in_a_closed_loop() {
    assert_valid(&saturated_but(|run| run.fairness_jain = Some(0.8)));
    assert_reason(
        &saturated_but(|run| run.fairness_jain = Some(0.79)),
        Suspect,
        "unfair-service",
    );
    assert_valid(&idle_machine_but(|run| run.fairness_jain = Some(0.5)));
}

#[test]
fn a_few_retransmits_are_tolerated() {
    let with = |again| idle_machine_but(|run| (run.sent, run.retransmits) = (1_000_000, Some(again)));
    assert_valid(&with(100));
    assert_reason(&with(101), Suspect, "retransmits");
}

#[test]
fn an_unverified_run_says_so_and_stays_valid() {
    let what = assert_reason(&idle_machine_but(|run| run.verify = false), Valid, "unverified");
    assert!(what.contains("--no-verify"), "{what}");
}

#[test]
fn the_worst_reason_decides_and_comes_first() {
    type Change = fn(&mut Inputs);
    let unverified: Change = |run| run.verify = false;
    let shared: Change = |run| run.shares_cpu = true;
    let stolen: Change = |run| run.steal_share = 0.5;
    let table: [(Vec<Change>, Grade, Vec<&str>); 5] = [
        (vec![], Valid, vec![]),
        (vec![unverified], Valid, vec!["unverified"]),
        (vec![unverified, shared], Suspect, vec!["shared-cpu", "unverified"]),
        (vec![stolen, unverified], Invalid, vec!["steal", "unverified"]),
        (
            vec![unverified, shared, stolen],
            Invalid,
            vec!["steal", "shared-cpu", "unverified"],
        ),
    ];
    for (changes, grade, codes) in table {
        let mut inputs = idle_machine();
        changes.iter().for_each(|change| change(&mut inputs));
        let verdict = judge(&inputs);
        let found: Vec<_> = verdict.reasons.iter().map(|reason| reason.code.as_ref()).collect();
        assert_eq!((verdict.grade, found), (grade, codes));
    }
}

/// A run on which every rule fires.
fn hopeless(open_loop: bool) -> Inputs {
    Inputs {
        open_loop,
        send_lag_p99: Some(Nanos::SECOND),
        service_p50: None,
        offered_per_s: 1_000.0,
        achieved_per_s: 1.0,
        in_flight_growth_per_s: 0.0,
        littles_law_limit_per_s: None,
        generator_busy: 1.0,
        server_busy: None,
        server_cpus: None,
        shares_cpu: true,
        steal_share: 1.0,
        pressure_share: Some(1.0),
        measured: Nanos::SECOND,
        stalled: Nanos(500_000_000),
        stalled_longest: Nanos(500_000_000),
        run_delay: Nanos(500_000_000),
        throttling: Some(Throttling {
            periods: 5,
            throttled: Nanos(500_000_000),
        }),
        server_throttling: Some(Throttling {
            periods: 4,
            throttled: Nanos(300_000_000),
        }),
        pass_p99: Some(Nanos(500_000_000)),
        overflows: 1,
        merged_intervals: 1,
        debug_build: true,
        partial: true,
        wrong_data: Some("wrong data from 127.0.0.1:7007".into()),
        samples: 1,
        connections: 3,
        unopened: 1,
        without_port: 0,
        lost: 1,
        rate_changes: 1,
        sent: 3,
        failed: 1,
        missing: 1,
        verify: false,
        fairness_jain: Some(0.1),
        retransmits: Some(7),
        listen_overflows: Some(1),
    }
}

#[test]
fn connections_for_which_this_machine_had_no_port_are_not_blamed_on_the_server() {
    let advice = |without_port: u64| {
        let inputs = idle_machine_but(|run| (run.unopened, run.without_port) = (3, without_port));
        judge(&inputs).reasons[0].advice.clone()
    };
    assert!(advice(0).contains("server's descriptors"));
    assert!(advice(1).contains("server's descriptors"), "of one in three");
    assert!(advice(3).contains("no source port left") && !advice(3).contains("server"));
}

#[test]
fn every_rule_has_its_own_name_and_advice() {
    let (open, closed) = (judge(&hopeless(true)), judge(&hopeless(false)));
    let mut reasons = open.reasons;
    reasons.extend(closed.reasons);
    let mut codes: Vec<_> = reasons.iter().map(|reason| reason.code.as_ref()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), rules::ALL.len(), "{codes:?}");
    for reason in reasons {
        let kebab = |c: char| c.is_ascii_lowercase() || c == '-';
        assert!(reason.code.chars().all(kebab), "{}", reason.code);
        assert!(reason.advice.ends_with('.') && !reason.what.ends_with('.'), "{reason}");
        assert!(!reason.to_string().contains('\n'), "{reason}");
    }
}

#[test]
fn the_text_has_the_grade_and_a_line_per_reason() {
    assert_eq!(judge(&idle_machine()).to_string(), "verdict      VALID\n");
    let inputs = idle_machine_but(|run| (run.verify, run.steal_share) = (false, 0.0215));
    let text = judge(&inputs).to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "verdict      SUSPECT");
    let stolen = "  SUSPECT    steal: the hypervisor gave 2.15 % of this machine's CPU time to other guests \
                  (suspect over 1 %, invalid over 10 %). Repeat it";
    assert!(lines[1].starts_with(stolen), "{text}");
    assert!(lines[2].starts_with("  note       unverified: "), "{text}");
    assert_eq!(lines.len(), 3, "{text}");
}

#[test]
fn the_json_has_stable_names() {
    let json = serde_json::to_value(judge(&idle_machine_but(|run| run.debug_build = true))).unwrap();
    assert_eq!(json["grade"], "SUSPECT");
    assert_eq!(json["reasons"][0]["grade"], "SUSPECT");
    assert_eq!(json["reasons"][0]["code"], "debug-build");
    assert!(json["reasons"][0]["what"].is_string() && json["reasons"][0]["advice"].is_string());
}
