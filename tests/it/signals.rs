//! Signals end any phase of any command soon, and keep what was measured. That it is soon shows in runs that would
//! otherwise take an hour.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use nix::sys::signal::Signal;
use tempfile::TempDir;
use urecho::sys::{offspring, usage};

use crate::support::peers::{Peer, Reply};
use crate::support::reports::number;
use crate::support::runs::{Running, load};
use crate::support::{Process, ServeProcess, assert_says, run, until};

/// Waits until the servers that a command has started have used CPU time: then they are under load.
fn await_load(pid: i32) {
    let cpu = || {
        let pids = offspring::of_groups(&[], &[pid])
            .into_iter()
            .filter(|&other| other != pid);
        pids.filter_map(usage::process_cpu).map(|time| time.0).sum::<u64>()
    };
    until("its servers are under load", || cpu() > 100_000_000);
}

/// A peer that echoes, and counts messages of 64 bytes.
fn counting() -> Peer {
    Peer::replying(64, |_, _, bytes| Reply::Bytes(bytes))
}

fn server() -> String {
    format!(
        "{} serve --workers 1 --listen 127.0.0.1:{{port}}",
        env!("CARGO_BIN_EXE_urecho")
    )
}

#[test]
fn a_hangup_ends_a_run_with_a_partial_report() {
    let peer = counting();
    let running = Running::load(peer.address, "-c 2 -d 60m --warmup 0s");
    peer.wait_for_messages(100);
    running.signal(Signal::SIGHUP);
    let measured = running.wait();
    assert_eq!(measured.report(129)["partial"], true, "{measured}");
}

#[test]
fn a_hangup_is_ignored_where_it_was_ignored_before() {
    let peer = counting();
    let script = format!("trap '' HUP; exec \"$0\" load {} -c 1 -d 60m", peer.address);
    let process = Process::spawn(Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_urecho")]));
    peer.wait_for_messages(10);
    process.signal(Signal::SIGHUP);
    peer.wait_for_messages(1000);
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait().code(), Some(143), "of the second signal");
}

#[test]
fn a_hangup_and_another_signal_are_one_request() {
    let peer = counting();
    let running = Running::load(peer.address, "-c 2 -d 60m --warmup 0s");
    peer.wait_for_messages(100);
    // As a session that ends sends them.
    running.signal(Signal::SIGHUP);
    running.signal(Signal::SIGTERM);
    running.signal(Signal::SIGHUP);
    let measured = running.wait();
    let report = measured.report.as_ref().expect("a report");
    assert_eq!(report["partial"], true, "{measured}");
}

#[test]
fn a_plan_of_a_hundred_billion_messages_ends_and_counts_all_of_them() {
    let measured = load(
        Peer::honest().address,
        "-c 4 --rate 100000M/s -d 1s --warmup 0s --drain 0s",
    );
    let report = measured.report.as_ref().expect("a report");
    let sent = number(report, "/messages/sent");
    assert!(sent.abs_diff(100_000_000_000) < 1_000_000, "{sent}");
}

#[test]
fn an_interrupt_ends_a_plan_far_above_capacity() {
    let peer = counting();
    let running = Running::load(peer.address, "-c 4 --rate 100000M/s -d 60m --warmup 0s --drain 60m");
    peer.wait_for_messages(100);
    running.signal(Signal::SIGINT);
    let measured = running.wait();
    assert_eq!(measured.report(130)["partial"], true);
}

#[test]
fn an_interrupt_ends_a_drain() {
    let peer = Peer::replying(64, |_, message, bytes| match message {
        0 => Reply::Bytes(bytes),
        _ => Reply::Nothing,
    });
    let running = Running::load(peer.address, "-c 2 -d 100ms --warmup 0s --drain 60m");
    peer.wait_for_messages(4);
    running.signal(Signal::SIGINT);
    let measured = running.wait();
    assert_eq!(measured.report(130)["partial"], true);
}

#[test]
fn an_interrupt_ends_the_wait_for_a_first_reply() {
    let peer = Peer::replying(64, |_, _, _| Reply::Nothing);
    let running = Running::load(peer.address, "-c 1 --preflight-timeout 60m");
    peer.wait_for_messages(1);
    running.signal(Signal::SIGTERM);
    let ended = running.wait();
    assert_says(ended.refusal(143), &["interrupted before anything was measured"]);
}

#[test]
fn an_interrupt_ends_runs_of_a_series_and_of_a_search() {
    let peer = counting();
    let series = Running::load(peer.address, "-c 2 -d 60m --warmup 0s --repeat 2");
    peer.wait_for_messages(100);
    series.signal(Signal::SIGINT);
    assert_eq!(series.wait().code(), Some(130));

    let peer = counting();
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    command.args(["find-max", "p99<1s", &peer.address.to_string(), "-d", "60m"]);
    let search = Process::spawn(&mut command);
    peer.wait_for_messages(100);
    search.signal(Signal::SIGINT);
    assert_eq!(search.wait().code(), Some(130));
}

#[test]
fn an_interrupt_ends_a_slice_and_the_time_to_settle() {
    for flags in ["--slice 60m", "--settle 60m", "--slice 60m --rate 20k/s"] {
        let running = Running::compare(&[format!("a={}", server())], &format!("-c 4 --restarts 1 {flags}"));
        await_load(running.pid());
        running.signal(Signal::SIGINT);
        let measured = running.wait();
        assert_eq!(measured.report(130)["partial"], true, "{flags}: {measured}");
    }
}

#[test]
fn an_interrupt_ends_a_capacity_run_of_a_check() {
    let running = Running::check(&server(), &server(), "-c 4 --settle 60m");
    await_load(running.pid());
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(143));
}

#[test]
fn an_interrupt_ends_the_wait_for_a_server_and_servers_that_ignore_sigterm() {
    let command = "a=sh -c \"trap '' TERM; sleep 600; : {port}\"";
    let running = Running::compare(&[command.to_owned()], "-c 1 --restarts 1");
    until("the server has been started", || {
        offspring::of_groups(&[], &[running.pid()]).len() > 2
    });
    running.signal(Signal::SIGINT);
    assert_eq!(running.wait().code(), Some(130));
}

#[test]
fn an_interrupt_ends_the_wait_for_the_reader_of_an_output() {
    let folder = TempDir::new().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let pair = "--base x{port} --head x{port}";
    for command in [
        "load 127.0.0.1:1",
        "load 127.0.0.1:1 --repeat 2",
        "bench",
        "compare",
        &format!("check {pair}"),
        "find-max p99<1s 127.0.0.1:1",
    ] {
        let mut words = Command::new(env!("CARGO_BIN_EXE_urecho"));
        let process = Process::spawn(words.args(command.split_whitespace()).arg("--json").arg(&fifo));
        until("it sleeps: it waits for a reader", || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid()));
            stat.is_ok_and(|stat| stat.contains("(urecho) S "))
        });
        process.signal(Signal::SIGTERM);
        let ended = process.wait();
        let by_signal = ended.status.signal() == Some(Signal::SIGTERM as i32);
        assert!(by_signal || ended.code() == Some(143), "{command}: {ended}");
    }
}

#[test]
fn a_command_that_inherits_ignored_signals_still_waits_for_its_servers() {
    let script = "trap '' CHLD PIPE USR1; exec \"$0\" bench -c 2 -d 100ms --warmup 0s";
    let ended = run(Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_urecho")]));
    assert!(matches!(ended.code(), Some(0 | 3)), "{ended}"); // 3: the machine is too busy.
    assert_eq!(ended.stderr, "");
}

#[test]
fn an_interrupted_server_without_connections_ends() {
    let server = ServeProcess::start(&["--workers", "1"]);
    server.signal(Signal::SIGHUP);
    assert_eq!(server.wait().code(), Some(0));
}
