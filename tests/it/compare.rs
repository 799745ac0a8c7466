//! `urecho compare`: honest and broken servers side by side.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::peer_process::{LAST_LINE, Mode};
use crate::support::reports;
use crate::support::runs::{Finished, Running};
use crate::support::{self, io};

/// Short slices, few of them.
const SHORT: &str = "-c 4 --restarts 2 --blocks 1 --slice 30ms --slice-warmup 10ms";

/// Compares `urecho serve` with peers of these modes.
fn compare(modes: &[Mode], flags: &str) -> Finished {
    let peers = modes.iter().map(|mode| format!("{}={}", mode.name(), mode.command()));
    let candidates: Vec<String> = [ours("ours")].into_iter().chain(peers).collect();
    Running::compare(&candidates, &format!("{SHORT} {flags}")).wait()
}

fn ours(name: &str) -> String {
    let program = env!("CARGO_BIN_EXE_urecho");
    format!("{name}={program} serve --workers 1 --listen 127.0.0.1:{{port}}")
}

fn server<'a>(report: &'a Value, name: &str) -> &'a Value {
    let servers = report["scenarios"][0]["servers"].as_array().unwrap();
    servers.iter().find(|server| server["name"] == name).unwrap()
}

/// It has figures from both restarts, and no failure.
fn assert_well(server: &Value) {
    assert_eq!(server["failure"], Value::Null, "{server:#}");
    assert_eq!(server["restarts"].as_array().unwrap().len(), 2, "{server:#}");
    assert!(server["completed_per_s"]["median"].as_f64().unwrap() > 0.0);
    assert!(server["cpu_ns_per_message"]["median"].as_f64().unwrap() > 0.0);
}

/// The peer fails with this exit code and message; the other server has results.
fn assert_fails(mode: Mode, code: i32, message: &str) {
    let measured = compare(&[mode], "");
    let report = measured.report(code);
    assert_well(server(report, "ours"));
    let failure = server(report, mode.name())["failure"].as_str().unwrap().to_owned();
    assert!(failure.contains(message), "{failure}");
    // The text marks the other lines: several threads of the peer may have written the last one.
    let first = failure.lines().next().unwrap();
    assert!(measured.stdout.contains(first), "{measured}");
}

#[test]
fn two_honest_servers_are_compared_with_the_first() {
    let measured = compare(&[Mode::Honest], "");
    let report = measured.report(0);
    assert_well(server(report, "ours"));
    let other = server(report, "honest");
    assert_well(other);
    assert_eq!(other["completed_per_s"]["ratio"]["restarts"], 2);
    assert_eq!(server(report, "ours")["completed_per_s"]["ratio"], Value::Null);
}

#[test]
fn a_server_gets_sigterm_before_it_is_killed() {
    let folder = TempDir::new().unwrap();
    let (script, log) = (folder.path().join("server"), folder.path().join("log"));
    let text = format!(
        "trap 'echo terminated >> \"$2\"; exit 0' TERM\n{} serve --workers 1 --listen 127.0.0.1:$1 & wait",
        env!("CARGO_BIN_EXE_urecho")
    );
    std::fs::write(&script, text).unwrap();
    let candidate = format!("script=sh {} {{port}} {}", script.display(), log.display());
    Running::compare(&[candidate], SHORT).wait().report(0);
    let log = std::fs::read_to_string(&log).unwrap();
    assert_eq!(log, "terminated\nterminated\n", "once per restart");
}

#[test]
fn a_server_that_exits_is_reported_with_the_tail_of_its_stderr() {
    let message = format!("exited unexpectedly (exit status: 1): {LAST_LINE}");
    assert_fails(Mode::Exits, 5, &message);
}

#[test]
fn a_server_that_closes_connections_is_reported() {
    assert_fails(Mode::ClosesConnections, 5, "closed connections");
}

#[test]
fn a_server_that_never_replies_is_reported() {
    assert_fails(Mode::NeverReplies, 5, "did not answer");
}

#[test]
fn a_server_that_flips_bits_is_reported_with_the_exit_code_of_wrong_data() {
    assert_fails(Mode::FlipsBits, 6, "wrong data");
}

#[test]
fn a_server_that_cannot_be_started_or_does_not_listen_is_reported() {
    let candidates = [
        ours("ours"),
        "nowhere=/nowhere/at/all {port}".into(),
        "false=false {port}".into(),
    ];
    let measured = Running::compare(&candidates, SHORT).wait();
    let report = measured.report(5);
    assert_well(server(report, "ours"));
    for (name, words) in [("nowhere", "No such file"), ("false", "exited unexpectedly")] {
        let failure = server(report, name)["failure"].as_str().unwrap().to_owned();
        assert!(failure.contains(words), "{failure}");
    }
}

#[test]
fn a_limit_of_this_machine_is_not_the_fault_of_a_server() {
    let flags = "-c 100 --restarts 1 --blocks 1 --slice 20ms --slice-warmup 10ms";
    let measured = Running::compare_with_descriptors(60, &[ours("ours")], flags).wait();
    assert!(
        measured.refusal(4).contains("RLIMIT_NOFILE"),
        "before it starts any: {measured}"
    );
}

#[test]
fn lists_make_a_table_for_each_combination() {
    let flags = "-c 1,3 --size 64B,5000B --pipeline 1,4 --restarts 1 --blocks 1 --slice 10ms --slice-warmup 5ms";
    let measured = Running::compare(&[ours("ours")], flags).wait();
    let scenarios = measured.report(0)["scenarios"].as_array().unwrap().clone();
    let loads: Vec<_> = scenarios
        .iter()
        .map(|scenario| {
            let number = |path: &str| scenario.pointer(path).unwrap().as_u64().unwrap();
            (
                number("/connections"),
                number("/load/sizes/max_bytes"),
                number("/load/pipeline"),
            )
        })
        .collect();
    assert_eq!(loads.len(), 8);
    assert_eq!((loads[0], loads[7]), ((1, 64, 1), (3, 5000, 4)));
}

#[test]
fn servers_are_compared_in_an_open_loop_and_with_churn() {
    for flags in ["--rate 2k/s", "--churn 1"] {
        let measured = compare(&[Mode::Honest], flags);
        assert_well(server(measured.report(0), "ours"));
        assert_well(server(measured.report(0), "honest"));
    }
}

#[test]
fn servers_are_compared_where_io_uring_is_blocked() {
    io::on_epoll(|| {
        let candidate = ours("ours") + " --engine epoll";
        let measured = Running::compare(&[candidate], SHORT).wait();
        assert_well(server(measured.report(0), "ours"));
        assert!(measured.stdout.contains("generator on epoll"), "{measured}");
    });
}

#[test]
fn every_block_of_an_open_loop_has_other_arrivals() {
    let flags = "-c 4 --rate 5k/s --restarts 1 --blocks 6 --slice 100ms --slice-warmup 10ms --seed 1";
    let measured = Running::compare(&[ours("ours")], flags).wait();
    let blocks = server(measured.report(0), "ours")["restarts"][0].as_array().unwrap();
    let messages: Vec<u64> = blocks.iter().map(|block| block["messages"].as_u64().unwrap()).collect();
    let (least, most) = (messages.iter().min().unwrap(), messages.iter().max().unwrap());
    // Poisson: a block has 1,000 ± 32. The messages of a repeated second of traffic would differ by one or two.
    assert!(messages.len() == 6 && most - least >= 20, "{messages:?}");
}

#[test]
fn what_is_sent_while_servers_settle_does_not_count() {
    let flags = "-c 4 --rate 2k/s --restarts 1 --blocks 1 --slice 30ms --slice-warmup 5ms --settle 1s";
    let measured = Running::compare(&[ours("ours")], flags).wait();
    let block = &server(measured.report(0), "ours")["restarts"][0][0];
    // Two slices have 120. In a second there are more than 25 others.
    let messages = block["messages"].as_u64().unwrap();
    assert!((50..700).contains(&messages), "{messages}");
}

#[test]
fn a_stall_of_more_than_a_second_is_measured_and_fails_no_server() {
    // A slice is as long as the period, so every slice meets a stall.
    let flags = "-c 4 --rate 1k/s --restarts 1 --blocks 1 --slice 1500ms --slice-warmup 10ms";
    let stalls = ours("stalls") + " --fault stall=1200ms/1500ms";
    let measured = Running::compare(&[stalls], flags).wait();
    let server = server(measured.report(0), "stalls");
    assert_eq!(server["failure"], Value::Null, "{server:#}");
    let p99 = server["restarts"][0][0]["p99_ns"].as_u64();
    assert!(p99.is_some_and(|p99| p99 > 500_000_000), "{server:#}");
}

#[test]
fn connections_that_do_not_fit_at_once_are_opened_for_each_slice() {
    // 80 descriptors suffice for one session of 20 connections with its ring and timers, but not for two.
    let candidates = [ours("a"), ours("b")];
    let flags = "-c 20 --restarts 1 --blocks 1 --slice 20ms --slice-warmup 10ms";
    let measured = Running::compare_with_descriptors(80, &candidates, flags).wait();
    let report = measured.report(0);
    assert_eq!(report["scenarios"][0]["method"]["connected_at_once"], false);
    assert!(measured.stdout.contains("opened for each slice"), "{measured}");
}

#[test]
fn a_second_signal_also_kills_the_children_of_servers() {
    let folder = TempDir::new().unwrap();
    let script = folder.path().join("server");
    let id = folder.path().join("id");
    // A server that never listens, and has a child.
    let text = "sleep 600 & echo $! > \"$1.new\"; mv \"$1.new\" \"$1\"; wait";
    std::fs::write(&script, text).unwrap();
    let candidate = format!("a=sh {} {} {{port}}", script.display(), id.display());
    let running = Running::compare(&[candidate], SHORT);
    support::until("the server's child", || id.exists());
    running.signal(Signal::SIGINT);
    running.signal(Signal::SIGTERM);
    let child = std::fs::read_to_string(&id).unwrap();
    support::until("its end", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim()));
        stat.map_or(true, |stat| stat.contains(") Z ")) // No process may reap an orphan.
    });
    assert!(matches!(running.wait().code(), Some(130 | 143)));
}

#[test]
fn invalid_candidates_are_refused_before_anything_starts() {
    for (candidate, words) in [("no-port=true", "{port}"), ("true {port}", "NAME=COMMAND")] {
        let ended = refused(&[candidate]);
        assert_eq!(ended.code(), Some(2));
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    let twice = refused(&["a=true {port}", "a=true {port}"]);
    assert!(twice.stderr.contains("two servers are named a"), "{}", twice.stderr);
}

fn refused(candidates: &[&str]) -> support::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    support::run(command.arg("compare").args(candidates))
}

#[test]
fn the_schema_is_valid_and_refuses_broken_comparisons() {
    let schema: Value = serde_json::from_str(urecho::compare::comparison::COMPARE_SCHEMA).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    let report = serde_json::json!({ "schema": "urecho.compare/1", "partial": false, "scenarios": [] });
    assert_ne!(reports::complaints_of_comparison(&report), [""; 0]);
}
