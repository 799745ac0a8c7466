//! What fails, is lost or never opens: it stays in the distributions, at the age it had reached, and in the plan.

use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::io::on_each_io;
use crate::support::peers::{Peer, Reply};
use crate::support::readers;
use crate::support::reports::number;
use crate::support::runs::load;
use crate::support::{Server, assert_says};

on_each_io! {
    a_message_that_fails_late_is_in_the_latencies_at_its_age,
    a_thread_that_loses_all_its_connections_keeps_its_plan_and_its_seconds,
    a_run_without_a_connection_left_on_any_thread_ends,
    connections_under_way_at_the_end_are_counted_and_in_the_times_to_connect,
    churn_reports_connections_per_second_and_cuts_the_ramp_up_and_the_warm_up,
}

fn a_message_that_fails_late_is_in_the_latencies_at_its_age() {
    const LATE: Duration = Duration::from_millis(80);
    let peer = Peer::replying(64, |connection, number, bytes| match (connection, number) {
        (1 | 3, 20) => {
            thread::sleep(LATE);
            Reply::Reset
        }
        _ => Reply::Bytes(bytes),
    });
    let measured = load(peer.address, "-c 4 --warmup 0s -d 400ms");
    let report = measured.report(6);
    let service = &report["latency"]["service"];
    assert_eq!(number(service, "/censored"), 2, "{measured}");
    assert!(number(service, "/max_ns") >= LATE.as_nanos() as u64, "{measured}");
    assert!(service["lower_bounds"].as_array().unwrap().contains(&"max_ns".into()));
    assert_says(&measured.stdout, &["failed or are missing"]);
}

fn a_thread_that_loses_all_its_connections_keeps_its_plan_and_its_seconds() {
    // Connections and threads are dealt by number: the second thread has the second server.
    let (one, folder) = (Server::start(), TempDir::new().unwrap());
    let two = Peer::replying(64, |_, number, bytes| match number {
        ..50 => Reply::Bytes(bytes),
        _ => Reply::Close(Vec::new()),
    });
    let path = folder.path().join("seconds.jsonl");
    let flags = "-c 4 -t 2 --rate 2k/s --arrivals constant -d 2500ms --warmup 0s --drain 100ms";
    let measured = load(
        one.address,
        &format!("{} {flags} --jsonl {}", two.address, path.display()),
    );
    let report = measured.report(6);
    assert!(number(report, "/messages/sent").abs_diff(5_000) <= 2, "{measured}");
    assert!(number(report, "/messages/missing") > 1_500, "{measured}");
    assert!(
        (report["offered_per_s"].as_f64().unwrap() - 2_000.0).abs() < 2.0,
        "{measured}"
    );
    assert_eq!(report["verdict"]["grade"], "INVALID", "{measured}");
    assert_says(&measured.stdout, &["rate-not-achieved"]);
    // Those planned in the first second have waited for more than a second in the end.
    assert!(number(report, "/latency/response/max_ns") > 1_000_000_000, "{measured}");
    let lines = fs::read_to_string(&path).unwrap();
    let sent = lines.lines().map(|line| {
        let second: Value = serde_json::from_str(line).unwrap();
        number(&second, "/sent")
    });
    let sent: Vec<u64> = sent.collect();
    assert_eq!(sent.len(), 3, "{lines}");
    assert_eq!(sent.iter().sum::<u64>(), number(report, "/messages/sent"), "{sent:?}");
    // Without the plan of the thread that lost its connections, each second would have half of its 2,000. A message
    // sent late, at the end of a second, counts in the next.
    assert!(sent[..2].iter().all(|&sent| sent > 1_500), "{sent:?}");
}

fn a_run_without_a_connection_left_on_any_thread_ends() {
    let peer = Peer::replying(64, |_, number, bytes| match number {
        ..20 => Reply::Bytes(bytes),
        _ => Reply::Close(Vec::new()),
    });
    let measured = load(peer.address, "-c 10 -t 2 --warmup 0s -d 60s");
    assert_eq!(number(measured.report(5), "/connections/lost/eof"), 10);
}

fn connections_under_way_at_the_end_are_counted_and_in_the_times_to_connect() {
    let peer = Peer::deaf_after(200);
    let measured = load(
        peer.address,
        "-c 8 --churn 1 --close rst --warmup 0s -d 400ms --drain 100ms",
    );
    let report = measured.report(5);
    let unfinished = number(report, "/connections/unfinished");
    // A handshake that is under way when the peer goes deaf ends for us, but not for the peer: its message is missing.
    assert_eq!(unfinished + number(report, "/messages/missing"), 8, "{measured}");
    assert!(unfinished >= 7, "{measured}");
    for (step, censored) in [("connect", unfinished), ("first_byte", 8)] {
        assert_eq!(number(&report[step], "/censored"), censored, "{measured}");
        assert!(
            report[step]["lower_bounds"]
                .as_array()
                .unwrap()
                .contains(&"max_ns".into())
        );
    }
    assert_ne!(report["verdict"]["grade"], "VALID", "{measured}");
    let words = format!("{unfinished} still opening at the end");
    assert_says(&measured.stdout, &[&words, "unopened-connections"]);
    assert_says(&measured.stderr, &[&format!("{unfinished} connections did not open")]);
}

fn churn_reports_connections_per_second_and_cuts_the_ramp_up_and_the_warm_up() {
    let (server, folder) = (Server::start(), TempDir::new().unwrap());
    let [path, log] = ["seconds.jsonl", "seconds.hlog"].map(|name| folder.path().join(name));
    let flags = "-c 5 --churn 1 --close rst --warmup 1s -d 200ms";
    let files = format!("--jsonl {} --hlog {}", path.display(), log.display());
    let measured = load(server.address, &format!("{flags} {files}"));
    let report = measured.report(0);
    assert_eq!(number(report, "/ramp_up/count"), 5, "{measured}");
    let dialed = number(report, "/connect/count");
    let opened = report["connections"]["opened_per_s"].as_f64().unwrap() * 0.2;
    // Dialled and opened while measuring differ by those on their way at its beginning and its end.
    assert!(opened > 5.0 && (opened - dialed as f64).abs() <= 5.0, "{measured}");
    assert!(dialed < number(report, "/connections/opened") / 2, "{measured}");
    let lines = fs::read_to_string(&path).unwrap();
    let second: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert!((number(&second, "/opened") as f64 - opened).abs() <= 5.0, "{lines}");
    assert!(number(&second, "/closed") > 5, "{lines}");
    assert!(number(&second, "/connect_max_ns") > 0, "{lines}");
    for (reader, tags) in readers::read_log(&log) {
        assert_eq!(tags["connect"].count, dialed, "{reader}");
    }
}
