//! Every shape of load against a real server: what the report says adds up, and every byte was right.

use serde_json::Value;

use crate::support::peers::{Peer, Reply};
use crate::support::reports::number;
use crate::support::runs::{Finished, load};
use crate::support::{Server, assert_says};

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

#[test]
fn an_open_loop_sends_what_is_offered_and_shows_both_latencies() {
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

#[test]
fn response_is_never_shorter_than_service() {
    let (_, report) = measured("-c 2 --rate 5k/s -d 500ms --drain 5s");
    for figure in ["p50_ns", "p90_ns", "p99_ns", "max_ns"] {
        let of = |latency| number(&report, &format!("/latency/{latency}/{figure}"));
        // One bucket is 0.1 % wide.
        assert!(of("response") * 1001 / 1000 >= of("service"), "{figure}: {report:#}");
    }
}

#[test]
fn a_ramp_plans_the_mean_of_its_ends() {
    let (_, report) = measured("-c 5 --rate 200/s..3800/s --arrivals constant -d 500ms --drain 5s");
    assert!(number(&report, "/messages/sent").abs_diff(1000) <= 2, "{report:#}");
}

#[test]
fn a_pipeline_keeps_order_and_bytes() {
    for flags in [
        "-c 3 --pipeline 16",
        "-c 3 --pipeline 16 -s uniform:1B..20KiB",
        "-c 1 --pipeline 1000 -s 1B",
    ] {
        measured(flags);
    }
}

#[test]
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

#[test]
fn a_thinker_sends_no_more_than_its_pauses_allow() {
    let (_, report) = measured("-c 5 --think 50ms -d 500ms");
    // At most one message in each pause, and one before the first.
    assert!(number(&report, "/messages/sent") <= 5 * 11, "{report:#}");
}

#[test]
fn churn_closes_and_opens_and_counts_them_apart() {
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
        let counters = server.stop_clean();
        assert!(counters.accepted >= closed);
    }
}

#[test]
fn connections_take_sources_and_targets_in_turn() {
    let (one, two) = (Server::start(), Server::start());
    let flags = format!("{} -c 20 --source 127.0.9.0/29", two.address);
    load(one.address, &flags).report(0);
    let (one, two) = (one.stop_clean(), two.stop_clean());
    assert_eq!((one.accepted, two.accepted), (10, 10));
}

#[test]
fn without_verification_wrong_bytes_pass_and_the_report_says_so() {
    let corrupting = || {
        Peer::replying(64, |_, number, mut bytes| {
            bytes[7] ^= u8::from(number > 0);
            Reply::Bytes(bytes)
        })
    };
    assert_says(load(corrupting().address, "-c 2").refusal(6), &["offset 7"]);
    let blind = load(corrupting().address, "-c 2 --no-verify");
    assert_eq!(blind.report(0)["plan"]["verify"], false);
    assert_says(&blind.stdout, &["NOT VERIFIED", "unverified"]);
}

#[test]
fn a_server_that_dies_in_an_open_loop_leaves_every_message_accounted_for() {
    let peer = Peer::replying(64, |_, number, bytes| match number {
        ..40 => Reply::Bytes(bytes),
        _ => Reply::Close(Vec::new()),
    });
    let measured = load(peer.address, "-c 8 --rate 2k/s -d 800ms");
    let report = measured.report(5);
    let [sent, ok, failed, missing] =
        ["sent", "completed", "failed", "missing"].map(|name| number(report, &format!("/messages/{name}")));
    assert_eq!(sent, ok + failed + missing, "{measured}");
    assert!(ok > 0, "{measured}");
}

#[test]
fn a_connection_that_stops_replying_in_the_warm_up_is_missed() {
    let peer = Peer::replying(64, |connection, number, bytes| match (connection % 4, number) {
        (3, 2..) => Reply::Nothing,
        _ => Reply::Bytes(bytes),
    });
    let measured = load(peer.address, "-c 8 --warmup 200ms");
    assert_eq!(number(measured.report(6), "/messages/missing"), 2, "{measured}");
}

#[test]
fn a_server_of_one_connection_at_a_time_is_given_up_as_a_whole() {
    let (served, turn) = std::sync::mpsc::sync_channel::<()>(1);
    let turn = std::sync::Mutex::new(turn);
    // The first connection keeps the server to itself until it ends.
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
