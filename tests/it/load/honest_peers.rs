//! `urecho load` against honest peers, and against limits, signals and slow accepts.

use std::io::{Read, Write};
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::io::{on_direct_descriptors, on_each_io};
use crate::support::peers::{Peer, Reply};
use crate::support::reports::number;
use crate::support::runs::{Finished, Running, load, until_valid};
use crate::support::{ServeProcess, assert_says, run, until};

on_each_io! {
    one_byte_messages_come_back_on_a_hundred_connections,
    messages_of_64_bytes_come_back_on_one_and_on_fifty_connections,
    messages_larger_than_a_buffer_come_back,
    messages_larger_than_the_socket_buffers_come_back,
    large_messages_are_waited_for_as_long_as_their_bytes_move,
    a_large_message_that_stands_still_is_missing,
    two_threads_share_the_connections,
    every_connection_of_the_run_is_opened_once,
    urechos_own_server_is_loaded_and_observed,
    a_short_accept_queue_and_slow_accepts_only_take_longer,
    warm_up_and_drain_may_be_zero,
    the_given_seed_is_reported,
    an_interrupt_ends_the_run_with_a_partial_report,
    a_termination_ends_the_run_with_a_partial_report,
    a_run_interrupted_in_its_warm_up_reports_no_message_and_no_time,
    a_run_interrupted_while_it_opens_connections_reports_no_time,
    more_connections_than_descriptors_are_refused_before_any_is_opened,
    the_maximum_in_a_refusal_fits,
    a_killed_server_ends_the_run_and_every_message_is_accounted_for,
}

on_direct_descriptors! {
    one_byte_messages_come_back_on_a_hundred_connections,
    messages_larger_than_the_socket_buffers_come_back,
    two_threads_share_the_connections,
    every_connection_of_the_run_is_opened_once,
    an_interrupt_ends_the_run_with_a_partial_report,
    a_killed_server_ends_the_run_and_every_message_is_accounted_for,
}

fn one_byte_messages_come_back_on_a_hundred_connections() {
    assert_all_echoed(100, &load(Peer::honest().address, "-c 100 -s 1B"));
}

fn messages_of_64_bytes_come_back_on_one_and_on_fifty_connections() {
    let peer = Peer::honest();
    assert_all_echoed(1, &load(peer.address, "-c 1 -s 64B"));
    assert_all_echoed(50, &load(peer.address, "-c 50 -s 64B"));
}

fn messages_larger_than_a_buffer_come_back() {
    assert_all_echoed(20, &load(Peer::honest().address, "-c 20 -s 5000B"));
}

fn messages_larger_than_the_socket_buffers_come_back() {
    let peer = Peer::honest();
    assert_all_echoed(3, &load(peer.address, "-c 3 -s 1MiB -d 500ms"));
    assert_all_echoed(2, &load(peer.address, "-c 2 -s 3MiB -d 500ms"));
}

fn large_messages_are_waited_for_as_long_as_their_bytes_move() {
    // A message takes 1.3 s there and back: longer than measuring and drain together.
    let peer = Peer::start(|_, mut stream| {
        let mut piece = vec![0; 65_536];
        while let Ok(len @ 1..) = stream.read(&mut piece) {
            thread::sleep(Duration::from_micros(20 * len as u64 / 32));
            if stream.write_all(&piece[..len]).is_err() {
                return;
            }
        }
    });
    let measured = load(peer.address, "-c 2 -s 2MiB -d 200ms --warmup 0s --drain 600ms");
    let report = measured.report(0);
    assert!(number(report, "/messages/completed") >= 2, "{report:#}");
    assert_eq!(number(report, "/messages/missing"), 0);
}

fn a_large_message_that_stands_still_is_missing() {
    const SIZE: usize = 1 << 20;
    let half = |number: usize, bytes: Vec<u8>| match number {
        0 => bytes,
        _ => bytes[..SIZE / 2].to_vec(),
    };
    let peer = Peer::replying(SIZE, move |_, number, bytes| Reply::Bytes(half(number, bytes)));
    let measured = load(peer.address, "-c 2 -s 1MiB -d 100ms --warmup 0s --drain 100ms");
    assert_eq!(number(measured.report(6), "/messages/missing"), 2);
}

fn two_threads_share_the_connections() {
    let peer = Peer::honest();
    assert_all_echoed(51, &load(peer.address, "-c 51 -t 2"));
    assert_all_echoed(1, &load(peer.address, "-c 1 -t 2"));
}

fn every_connection_of_the_run_is_opened_once() {
    let peer = Peer::honest();
    assert_all_echoed(30, &load(peer.address, "-c 30"));
    assert_eq!(peer.accepted(), 30);
}

fn urechos_own_server_is_loaded_and_observed() {
    let server = ServeProcess::start(&["--workers", "1"]);
    let measured = load(server.address, "-c 64");
    assert_all_echoed(64, &measured);
    assert!(
        measured.report(0)["server"].is_object(),
        "its CPU time is known, as it is local"
    );
}

fn a_short_accept_queue_and_slow_accepts_only_take_longer() {
    let peer = Peer::slow_to_accept(1, Duration::from_millis(2));
    assert_all_echoed(40, &load(peer.address, "-c 40"));
}

fn warm_up_and_drain_may_be_zero() {
    let measured = load(Peer::honest().address, "-c 5 --warmup 0s --drain 0s");
    let report = measured.report(measured.code().unwrap());
    assert!(number(report, "/messages/completed") > 0);
}

fn the_given_seed_is_reported() {
    let measured = load(Peer::honest().address, "-c 1 --seed 12345");
    assert_eq!(number(measured.report(0), "/plan/seed"), 12_345);
}

fn an_interrupt_ends_the_run_with_a_partial_report() {
    assert_eq!(interrupted(Signal::SIGINT, "--warmup 0s").code(), Some(130));
}

fn a_termination_ends_the_run_with_a_partial_report() {
    assert_eq!(interrupted(Signal::SIGTERM, "--warmup 0s").code(), Some(143));
}

fn a_run_interrupted_in_its_warm_up_reports_no_message_and_no_time() {
    let measured = interrupted(Signal::SIGINT, "--warmup 60s");
    let report = measured.report(130);
    assert_eq!(number(report, "/messages/sent"), 0);
    assert_eq!(number(report, "/elapsed_ns"), 0, "{report:#}");
}

fn a_run_interrupted_while_it_opens_connections_reports_no_time() {
    // The second connection is accepted but gets no reply: opening does not end.
    let peer = Peer::replying(64, |connection, _, bytes| match connection {
        0 => Reply::Bytes(bytes),
        _ => Reply::Nothing,
    });
    let running = Running::load(peer.address, "-c 2 -d 60s");
    peer.wait_for_messages(2);
    running.signal(Signal::SIGINT);
    let measured = running.wait();
    assert_eq!(number(measured.report(130), "/elapsed_ns"), 0, "{measured}");
}

fn more_connections_than_descriptors_are_refused_before_any_is_opened() {
    let peer = Peer::honest();
    let script = format!("ulimit -n 100; exec \"$0\" load {} -c 1000000", peer.address);
    let ended = run(Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_urecho")]));
    assert_eq!(ended.code(), Some(4), "{}", ended.stderr);
    assert_says(
        &ended.stderr,
        &["1,000,000 connections", "RLIMIT_NOFILE", "may have 100 ", "ulimit -n"],
    );
    assert_eq!(peer.accepted(), 0);
}

fn the_maximum_in_a_refusal_fits() {
    let peer = Peer::honest();
    let limited = |connections: &str| {
        let script = format!(
            "ulimit -n 100; exec \"$0\" load {} -d 50ms --warmup 0s -c {connections}",
            peer.address
        );
        run(Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_urecho")]))
    };
    let refusal = limited("1000").stderr;
    let maximum = refusal.trim().rsplit(' ').next().unwrap();
    let ended = until_valid(|| limited(maximum));
    assert_eq!(ended.code(), Some(0), "-c {maximum}: {}", ended.stderr);
}

fn a_killed_server_ends_the_run_and_every_message_is_accounted_for() {
    let server = ServeProcess::start(&["--workers", "1"]);
    let before = server.cpu();
    let running = Running::load(server.address, "-c 20 -d 60s --warmup 0s");
    until("the server is busy", || {
        server.cpu() > before + Duration::from_millis(100)
    });
    server.signal(Signal::SIGKILL);
    let measured = running.wait();
    let report = measured.report(5);
    assert_eq!(number(report, "/connections/opened"), 20);
    assert!(
        number(report, "/messages/completed") > 0 && number(report, "/messages/failed") > 0,
        "{report:#}"
    );
    assert_says(&measured.stderr, &["closed every connection before the run was over"]);
}

/// All connections opened, and every message came back unchanged.
fn assert_all_echoed(connections: u64, measured: &Finished) {
    let report = measured.report(0);
    assert_eq!(number(report, "/connections/opened"), connections);
    assert_eq!(number(report, "/connect/count"), connections);
    let (sent, completed) = (number(report, "/messages/sent"), number(report, "/messages/completed"));
    assert!(sent == completed && completed > 0, "{report:#}");
    assert!(report["partial"] == false && measured.stderr.is_empty(), "{measured}");
}

/// A long run against an honest peer, interrupted by a signal after 1,000 messages.
fn interrupted(signal: Signal, flags: &str) -> Finished {
    let peer = Peer::replying(64, |_, _, bytes| Reply::Bytes(bytes));
    let running = Running::load(peer.address, &format!("-c 10 -d 60s {flags}"));
    peer.wait_for_messages(1_000);
    running.signal(signal);
    let measured = running.wait();
    let report = measured.report(128 + signal as i32);
    assert_eq!(report["partial"], true);
    assert_eq!(number(report, "/connections/opened"), 10);
    assert_says(&measured.stdout, &["PARTIAL: interrupted"]);
    measured
}
