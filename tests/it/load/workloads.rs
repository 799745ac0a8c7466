//! Every kind of workload against a real server: every byte is verified, and the report adds up.

use std::io::{Read, Write};

use serde_json::Value;

use crate::support::io::{on_direct_descriptors, on_each_io};
use crate::support::peers::{Peer, Reply};
use crate::support::reports::number;
use crate::support::runs::{Finished, load};
use crate::support::{Server, assert_says, reset};

on_each_io! {
    an_open_loop_sends_what_is_offered_and_reports_both_latencies,
    response_time_is_never_shorter_than_service_time,
    a_ramp_offers_the_mean_of_its_ends,
    a_pipeline_keeps_order_and_bytes,
    sizes_are_drawn_from_ranges_and_weights,
    think_time_limits_the_number_of_messages,
    churn_counts_closed_and_opened_connections,
    connections_that_the_target_ends_are_counted_by_how,
    connections_take_sources_and_targets_in_turn,
    without_verification_wrong_bytes_pass_and_the_report_says_so,
    every_message_is_accounted_for_if_a_server_fails_in_an_open_loop,
    a_connection_that_stops_replying_during_warm_up_leaves_missing_messages,
    a_server_of_one_connection_at_a_time_is_given_up_with_all_others,
}

on_direct_descriptors! {
    an_open_loop_sends_what_is_offered_and_reports_both_latencies,
    a_pipeline_keeps_order_and_bytes,
    churn_counts_closed_and_opened_connections,
    connections_that_the_target_ends_are_counted_by_how,
    every_message_is_accounted_for_if_a_server_fails_in_an_open_loop,
}

fn measured(flags: &str) -> (Finished, Value) {
    let server = Server::start();
    let measured = load(server.address, flags);
    let report = measured.report(0).clone();
    assert_eq!(
        number(&report, "/messages/sent"),
        number(&report, "/messages/completed"),
        "{measured}"
    );
    assert!(number(&report, "/messages/completed") > 0, "{measured}");
    (measured, report)
}

fn an_open_loop_sends_what_is_offered_and_reports_both_latencies() {
    for arrivals in ["poisson", "constant"] {
        let (measured, report) = measured(&format!("-c 10 --rate 2k/s --arrivals {arrivals} -d 500ms --drain 5s"));
        let (sent, response) = (
            number(&report, "/messages/sent"),
            number(&report, "/latency/response/count"),
        );
        // 1,000 planned; six standard deviations of a Poisson count are 190.
        assert!(sent.abs_diff(1000) < 190, "{sent}");
        assert_eq!(response, sent);
        assert_eq!(report["plan"]["pace"]["arrivals"], arrivals);
        assert_says(&measured.stdout, &["response", "service", "send lag", "offered"]);
    }
}

fn response_time_is_never_shorter_than_service_time() {
    let (_, report) = measured("-c 2 --rate 5k/s -d 500ms --drain 5s");
    for figure in ["p50_ns", "p90_ns", "p99_ns", "max_ns"] {
        let of = |latency| number(&report, &format!("/latency/{latency}/{figure}"));
        // One bucket is 0.1 % wide.
        assert!(of("response") * 1001 / 1000 >= of("service"), "{figure}: {report:#}");
    }
}

fn a_ramp_offers_the_mean_of_its_ends() {
    let (_, report) = measured("-c 5 --rate 200/s..3800/s --arrivals constant -d 500ms --drain 5s");
    assert!(number(&report, "/messages/sent").abs_diff(1000) <= 2, "{report:#}");
}

fn a_pipeline_keeps_order_and_bytes() {
    for flags in [
        "-c 3 --pipeline 16",
        "-c 3 --pipeline 16 -s uniform:1B..20KiB",
        "-c 1 --pipeline 1000 -s 1B",
    ] {
        measured(flags);
    }
}

fn sizes_are_drawn_from_ranges_and_weights() {
    let (_, report) = measured("-c 4 -s uniform:1B..100KiB");
    assert_eq!(
        (
            &report["plan"]["sizes"]["distribution"],
            number(&report, "/plan/sizes/max_bytes")
        ),
        (&"uniform".into(), 102_400)
    );
    let folder = tempfile::TempDir::new().unwrap();
    let weights = folder.path().join("weights");
    std::fs::write(&weights, "# mostly small\n64B 9\n64KiB 1\n").unwrap();
    let (_, report) = measured(&format!("-c 4 -s file:{}", weights.display()));
    assert_eq!(number(&report, "/plan/sizes/max_bytes"), 65_536);
}

fn think_time_limits_the_number_of_messages() {
    let (_, report) = measured("-c 5 --think 50ms -d 500ms");
    // At most one message per pause, and one before the first.
    assert!(number(&report, "/messages/sent") <= 5 * 11, "{report:#}");
}

fn churn_counts_closed_and_opened_connections() {
    for close in ["fin", "rst"] {
        let server = Server::start();
        let measured = load(server.address, &format!("-c 5 --churn 3 --close {close} -d 300ms"));
        let report = measured.report(0);
        let closed = number(report, "/connections/closed");
        assert!(
            closed > 5 && number(report, "/connections/opened") >= closed,
            "{measured}"
        );
        assert!(number(report, "/first_byte/count") > 5, "{measured}");
        assert_eq!(report["close"].is_null(), close == "rst", "{measured}");
        assert_eq!(number(report, "/connections/failed"), 0);
        let endings = &report["endings"];
        assert_eq!(endings[format!("{close}_by_us")], closed, "{measured}");
        assert_all_ended(report);
        let time_wait = endings["time_wait"].as_u64().unwrap();
        assert_eq!(time_wait > closed / 2, close == "fin", "{measured}");
        assert_says(&measured.stdout, &["endings      ", " by our ", " in TIME-WAIT"]);
        let counters = server.stop_clean();
        assert!(counters.accepted >= closed);
    }
}

/// Every connection that opened has ended in one way.
fn assert_all_ended(report: &Value) {
    let kinds = [
        "fin_by_us",
        "rst_by_us",
        "at_the_end",
        "fin_by_target",
        "rst_by_target",
        "otherwise",
    ];
    let all = kinds.map(|kind| number(report, &format!("/endings/{kind}")));
    assert_eq!(
        all.iter().sum::<u64>(),
        number(report, "/connections/opened"),
        "{report:#}"
    );
}

fn connections_that_the_target_ends_are_counted_by_how() {
    for (resets, kind) in [(false, "fin_by_target"), (true, "rst_by_target")] {
        // Of every two connections, the target ends one after three messages.
        let peer = Peer::start(move |number, mut stream| {
            let mut buffer = [0; 64];
            for _ in 0..if number % 2 == 0 { 3 } else { 1_000_000 } {
                if stream.read_exact(&mut buffer).is_err() || stream.write_all(&buffer).is_err() {
                    return;
                }
            }
            if resets {
                reset(stream);
            }
        });
        let measured = load(
            peer.address,
            "-c 10 -s 64B --rate 200/s -d 500ms --assert errors<=1000000",
        );
        let report = measured.report.as_ref().unwrap();
        assert!(number(report, &format!("/endings/{kind}")) > 0, "{report:#}");
        assert_all_ended(report);
    }
}

fn connections_take_sources_and_targets_in_turn() {
    let (one, two) = (Server::start(), Server::start());
    let flags = format!("{} -c 20 --source 127.0.9.0/29", two.address);
    load(one.address, &flags).report(0);
    let (one, two) = (one.stop_clean(), two.stop_clean());
    assert_eq!(
        (one.accepted, two.accepted),
        (10, 10 + 1),
        "and one to prove the second target"
    );
}

fn without_verification_wrong_bytes_pass_and_the_report_says_so() {
    let faulty = || {
        Peer::replying(64, |_, number, mut bytes| {
            bytes[7] ^= u8::from(number > 0);
            Reply::Bytes(bytes)
        })
    };
    assert_says(&load(faulty().address, "-c 2").stderr, &["wrong data", "offset 7"]);
    let unverified = load(faulty().address, "-c 2 --no-verify");
    assert_eq!(unverified.report(0)["plan"]["verify"], false);
    assert_says(&unverified.stdout, &["NOT VERIFIED", "unverified"]);
}

fn every_message_is_accounted_for_if_a_server_fails_in_an_open_loop() {
    let peer = Peer::replying(64, |_, number, bytes| match number {
        ..40 => Reply::Bytes(bytes),
        _ => Reply::Close(Vec::new()),
    });
    let measured = load(peer.address, "-c 8 --rate 2k/s -d 800ms");
    let report = measured.report(5);
    let [sent, completed, failed, missing] =
        ["sent", "completed", "failed", "missing"].map(|name| number(report, &format!("/messages/{name}")));
    assert_eq!(sent, completed + failed + missing, "{measured}");
    assert!(completed > 0, "{measured}");
}

fn a_connection_that_stops_replying_during_warm_up_leaves_missing_messages() {
    let peer = Peer::replying(64, |connection, number, bytes| match (connection % 4, number) {
        (3, 2..) => Reply::Nothing,
        _ => Reply::Bytes(bytes),
    });
    let measured = load(peer.address, "-c 8 --warmup 200ms --drain 5s");
    assert_eq!(number(measured.report(6), "/messages/missing"), 2, "{measured}");
}

fn a_server_of_one_connection_at_a_time_is_given_up_with_all_others() {
    let (served, turn) = std::sync::mpsc::sync_channel::<()>(1);
    let turn = std::sync::Mutex::new(turn);
    // The first connection occupies the server until it ends.
    let peer = Peer::start(move |number, stream| {
        if number == 0 {
            crate::support::peers::echo(stream);
            let _ = served.send(());
        } else {
            let _ = turn.lock().unwrap().recv();
        }
    });
    let measured = load(peer.address, "-c 30");
    let report = measured.report(5);
    assert_eq!(
        (
            number(report, "/connections/opened"),
            number(report, "/connections/failed")
        ),
        (1, 29),
        "{measured}"
    );
    assert_eq!(report["connections"]["failures"]["timeout"], 29, "{measured}");
}
