//! A generator that stands still, or deals its load unevenly: it reports that of itself.

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::Server;
use crate::support::io::on_each_io;
use crate::support::peers::{Peer, Reply};
use crate::support::reports::number;
use crate::support::runs::{Running, load};

on_each_io! {
    a_generator_that_was_stopped_in_a_closed_loop_is_invalid,
    the_rate_is_dealt_to_threads_as_the_connections_are,
    a_thread_without_a_connection_has_no_share_of_the_plan,
}

/// The codes of all reasons of a verdict.
fn reasons(report: &Value) -> Vec<&str> {
    let reasons = report["verdict"]["reasons"].as_array().unwrap();
    reasons.iter().map(|reason| reason["code"].as_str().unwrap()).collect()
}

fn a_generator_that_was_stopped_in_a_closed_loop_is_invalid() {
    const STOPPED: Duration = Duration::from_millis(300);
    let peer = Peer::replying(64, |_, _, bytes| Reply::Bytes(bytes));
    let running = Running::load(peer.address, "-c 4 --warmup 0s -d 800ms");
    peer.wait_for_messages(40);
    running.signal(Signal::SIGSTOP);
    thread::sleep(STOPPED); // The stop itself.
    running.signal(Signal::SIGCONT);
    let measured = running.wait();
    let report = measured.report(3);
    assert!(reasons(report).contains(&"generator-stalled"), "{measured}");
    assert_eq!(report["verdict"]["grade"], "INVALID", "{measured}");
    // Up to a heartbeat of 10 ms may have been waited for.
    let stalled = Duration::from_nanos(number(report, "/generator/stalled_max_ns"));
    assert!(
        stalled >= STOPPED - Duration::from_millis(20),
        "{stalled:?}: {measured}"
    );
}

fn the_rate_is_dealt_to_threads_as_the_connections_are() {
    let server = Server::start();
    let measured = load(server.address, "-c 5 -t 4 --rate 5k/s -d 400ms --drain 5s");
    // By thread, two connections would have half of the messages of the others: 0.91.
    let jain = measured.report(0)["fairness"]["jain"].as_f64().unwrap();
    assert!(jain > 0.97, "{jain}: {measured}");
}

fn a_thread_without_a_connection_has_no_share_of_the_plan() {
    let server = Server::start();
    let measured = load(
        server.address,
        "-c 1 -t 2 --rate 2k/s --arrivals constant -d 300ms --drain 5s",
    );
    let report = measured.report(0);
    assert!(number(report, "/messages/sent").abs_diff(600) <= 1, "{measured}");
    assert_eq!(number(report, "/messages/missing"), 0, "{measured}");
}
