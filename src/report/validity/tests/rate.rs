//! An open loop whose rate is not achieved: by the server, by the connections, or not at all.

use super::*;

#[test]
fn an_unachieved_rate_means_a_growing_queue() {
    let with = |achieved| idle_machine_but(|run| (run.offered_per_s, run.achieved_per_s) = (1_000.0, achieved));
    assert_valid(&with(990.0));
    assert_valid(&with(1_003.0));
    let what = assert_reason(&with(989.9), Suspect, "rate-not-achieved");
    assert!(what.contains("98.99 %") && what.contains("below 99 %"), "{what}");
    assert_reason(&with(900.0), Suspect, "rate-not-achieved");
    assert_reason(&with(899.9), Invalid, "rate-not-achieved");
    assert_reason(&with(0.0), Invalid, "rate-not-achieved");
}

#[test]
fn connections_that_cannot_carry_the_rate_are_named_rather_than_the_queue() {
    // 50 connections on a path of 50 ms carry 1,000/s.
    let long_path = |run: &mut Inputs| {
        run.offered_per_s = 2_000.0;
        run.achieved_per_s = 998.0;
        run.littles_law_limit_per_s = Some(1_000.0);
    };
    assert_reason(&idle_machine_but(long_path), Invalid, "too-few-connections");
    assert_reason(
        &idle_machine_but(|run| {
            long_path(run);
            run.littles_law_limit_per_s = Some(2_001.0);
        }),
        Invalid,
        "rate-not-achieved",
    );
}

#[test]
fn messages_on_a_long_path_at_the_end_are_no_queue() {
    // A path of 200 ms without a warm-up: of 10 s, the first 200 ms complete nothing.
    let no_warm_up = |on_the_way| {
        idle_machine_but(|run| {
            run.offered_per_s = 1_000.0;
            run.achieved_per_s = 980.0;
            run.in_flight_growth_per_s = on_the_way;
        })
    };
    assert_valid(&no_warm_up(20.0));
    assert_reason(&no_warm_up(0.0), Suspect, "rate-not-achieved");
}
