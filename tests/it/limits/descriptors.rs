//! More connections than descriptors: direct descriptors, of one ring and of several.

use std::fs;
use std::net::TcpStream;

use serde_json::Value;
use tempfile::TempDir;
use urecho::serve::engine::Engine;

use super::sh;
use crate::support::reports::{complaints, number};
use crate::support::{ServeProcess, assert_comes, assert_echo, assert_says, bytes};

/// Runs `urecho bench` with 300 descriptors, and returns its report.
fn bench(flags: &str) -> Value {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("bench.json").display().to_string();
    let script = "ulimit -n 300; exec \"$U\" bench -d 300ms --warmup 0s --drain 10s --json \"$1\" ";
    let ended = sh(&format!("{script}{flags}"), &[&path]);
    assert!(matches!(ended.code(), Some(0 | 3)), "{flags}: {ended}");
    assert!(ended.stdout.contains("0 failed + 0 missing"), "{ended}");
    let report: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(complaints(&report), Vec::<String>::new());
    report
}

#[test]
fn a_load_and_its_server_have_many_times_as_many_connections_as_descriptors() {
    for flags in [
        "-c 2000",
        "-c 2k --rate 5k/s",
        "-c 1k --threads 2 --pipeline 3",
        "-c 600 --churn 1 --close rst --direct-descriptors", // As many as two tables have entries.
        "-c 1k --churn 2 --direct-descriptors",
    ] {
        let report = bench(flags);
        assert_eq!(report["plan"]["direct_descriptors"], true, "{flags}");
        let opened = number(&report, "/connections/opened");
        assert!(opened >= 600, "{flags}: {opened}");
        assert!(number(&report, "/messages/completed") > 0, "{flags}");
    }
}

#[test]
fn connections_are_their_own_descriptors_as_long_as_these_suffice() {
    assert_eq!(bench("-c 100")["plan"]["direct_descriptors"], false);
}

#[test]
fn a_server_has_as_many_connections_as_its_limit_says_and_no_more() {
    let server = ServeProcess::with_descriptors(64, Engine::Uring, &["--max-connections", "300"]);
    assert_says(&server.announced, &["workers=5"]); // Tables of 64.
    let mut streams: Vec<TcpStream> = (0..300).map(|_| server.connect()).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        assert_echo(stream, &bytes(64, number as u64));
    }
    let mut waiting = server.connect();
    std::io::Write::write_all(&mut waiting, b"waiting").unwrap();
    drop(streams.swap_remove(150));
    assert_comes(&mut waiting, b"waiting");
}

#[test]
fn with_too_few_workers_for_its_connections_it_says_how_many_there_is_room_for() {
    let flags = ["--max-connections", "300", "--workers", "2"];
    let server = ServeProcess::with_descriptors(64, Engine::Uring, &flags);
    server.signal(nix::sys::signal::Signal::SIGTERM);
    let ended = server.wait();
    assert_says(
        &ended.stderr,
        &["descriptors allow 128 connections, fewer than --max-connections 300"],
    );
}
