//! Locked memory, address space, and the memory of a plan.

use super::{as_user, assert_measured, assert_measured_or_refused, assert_refused, is_root, sh};
use crate::support::{Server, assert_says};

const SHORT: &str = "-c 4 -d 200ms --warmup 0s";

/// Starts a server with these flags, asks it to end once it listens, and prints what it said.
const SERVE: &str = "\"$U\" serve --listen 127.0.0.1:0 $1 > \"$D/out\" 2> \"$D/err\" & P=$!; \
    until grep -q listening \"$D/out\" || ! kill -0 $P 2> /dev/null; do sleep 0.05; done; \
    kill -TERM $P 2> /dev/null; wait $P; R=$?; cat \"$D/out\"; cat \"$D/err\" >&2; exit $R";

fn serve_as(uid: u32, limit: &str, flags: &str) -> crate::support::Output {
    // The folder belongs to root: what the user writes goes to a place of its own.
    let script = format!("{limit} D=$(mktemp -d); {SERVE}").replace('\'', "'\\''");
    sh(&as_user(uid, &script), &[flags])
}

#[test]
fn a_user_with_the_default_of_locked_memory_serves_with_many_workers() {
    if !is_root() {
        return;
    }
    for workers in [16, 24, 64] {
        let ended = serve_as(70_001, "ulimit -l 8192;", &format!("--workers {workers}"));
        assert_eq!(ended.code(), Some(0), "{workers}: {ended}");
        assert_says(&ended.stdout, &[&format!("workers={workers}")]);
    }
}

#[test]
fn with_64_kib_of_locked_memory_every_engine_serves_or_names_the_limit() {
    if !is_root() {
        return;
    }
    for (uid, flags) in [
        (70_011, ""),
        (70_012, "--engine tokio-uring"),
        (70_013, "--engine epoll"),
    ] {
        let ended = serve_as(uid, "ulimit -l 64;", &format!("--workers 1 {flags}"));
        match ended.code() {
            Some(0) => assert_says(&ended.stdout, &["workers=1"]),
            _ => assert_refused(&ended, &["locked-memory limit of 64 KiB", "ulimit -l"]),
        }
        assert!(flags.contains("tokio") || ended.code() == Some(0), "{ended}");
    }
    let ended = serve_as(70_014, "ulimit -l 64;", "--workers 64");
    assert_refused(&ended, &["locked-memory limit of 64 KiB", "ulimit -l"]);
}

#[test]
fn a_user_with_64_kib_of_locked_memory_measures() {
    if !is_root() {
        return;
    }
    let script = format!("ulimit -l 64; exec \"$U\" bench --workers 1 {SHORT}");
    assert_measured(&sh(&as_user(70_021, &script), &[]));
}

#[test]
fn little_address_space_is_enough_or_is_named() {
    let server = Server::start();
    let address = server.address.to_string();
    let reasons = ["ulimit -v", "out of memory"];
    for kib in [30_000, 45_000, 60_000, 100_000, 200_000, 400_000] {
        for threads in [1, 4] {
            let script = format!("ulimit -v {kib}; exec \"$U\" load \"$1\" {SHORT} -t {threads}");
            assert_measured_or_refused(&sh(&script, &[&address]), &reasons);
        }
        let script = format!("ulimit -v {kib}; exec \"$U\" bench --workers 2 {SHORT}");
        assert_measured_or_refused(&sh(&script, &[]), &reasons);
    }
    // The buffers in reserve are fewer then.
    let script = format!("ulimit -v 400000; exec \"$U\" bench --workers 2 {SHORT}");
    assert_measured(&sh(&script, &[]));
}

#[test]
fn little_data_is_enough_or_is_named() {
    let server = Server::start();
    let address = server.address.to_string();
    let servers = "\"a=$U serve --workers 1 --listen 127.0.0.1:{port}\"";
    for kib in [10_000, 20_000, 40_000] {
        for command in [
            format!("load \"$1\" {SHORT}"),
            format!("bench --workers 1 {SHORT}"),
            format!("compare -c 2 --restarts 1 --blocks 1 --slice 20ms {servers}"),
        ] {
            let ended = sh(&format!("ulimit -d {kib}; exec \"$U\" {command}"), &[&address]);
            let named = ended.stderr.contains("ulimit -d") || ended.stdout.contains("ulimit -d");
            assert!(
                matches!(ended.code(), Some(0 | 3)) || ended.code() == Some(4) && named,
                "{command}: {ended}"
            );
        }
    }
}

#[test]
fn a_plan_that_does_not_fit_the_memory_is_refused_with_a_figure_before_it_connects() {
    let script = "ulimit -v 2000000; exec \"$U\" load 127.0.0.1:1 -c 2000 --pipeline 65536";
    assert_refused(&sh(script, &[]), &["GiB of memory", "ulimit -v", "--pipeline"]);
}

#[test]
fn without_descriptors_no_impossible_advice_is_given() {
    for descriptors in [8, 16, 20] {
        let script = format!("ulimit -n {descriptors}; exec \"$U\" load 127.0.0.1:1 -c 1");
        let ended = sh(&script, &[]);
        assert_refused(&ended, &["ulimit -n"]);
        assert!(!ended.stderr.contains("-c 0"), "{ended}");
    }
}
