//! Output files and exit codes: all describe the same run.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::peers::{Peer, Reply};
use crate::support::readers;
use crate::support::reports::{self, complaints, number};
use crate::support::runs::{Running, load, until_valid};
use crate::support::{Output, Server, assert_says, run};

/// An open loop that ends within its second interval.
const OPEN: &str = "-c 10 --rate 2k/s -d 1200ms --drain 5s";

fn file(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

fn read(folder: &TempDir, name: &str) -> String {
    fs::read_to_string(file(folder, name)).unwrap()
}

#[test]
fn report_log_and_distribution_agree_as_independent_readers_read_them() {
    for (flags, latencies) in [
        (OPEN, ["response", "service"]),
        ("-c 10 -d 1200ms", ["service", "service"]),
    ] {
        let (server, folder) = (Server::start(), TempDir::new().unwrap());
        let path = |name| file(&folder, name).display().to_string();
        let measured = load(
            server.address,
            &format!("{flags} --hlog {} --hgrm {}", path("r.hlog"), path("r.hgrm")),
        );
        fs::write(file(&folder, "r.json"), measured.report(0).to_string()).unwrap();
        let files = ["r.json", "r.hlog", "r.hgrm"].map(|name| file(&folder, name));
        readers::assert_files_agree(&files[0], &files[1], &files[2], latencies[0]);
        readers::assert_log_agrees(&files[0], &files[1], latencies[1]);
    }
}

#[test]
fn seconds_add_up_to_the_report() {
    let (server, folder) = (Server::start(), TempDir::new().unwrap());
    let path = |name| file(&folder, name).display().to_string();
    let measured = load(
        server.address,
        &format!("{OPEN} --jsonl {} --csv {}", path("s.jsonl"), path("s.csv")),
    );
    let report = measured.report(0);
    let objects: Vec<Value> = read(&folder, "s.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(objects.len() >= 2, "{measured}");
    for object in &objects {
        assert_eq!(reports::complaints_by(reports::INTERVAL, object), [""; 0], "{object:#}");
    }
    let csv = read(&folder, "s.csv");
    let column = csv
        .lines()
        .next()
        .unwrap()
        .split(',')
        .position(|name| name == "completed")
        .unwrap();
    let cells = csv
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(column).unwrap().parse::<u64>().unwrap());
    assert_eq!(cells.sum::<u64>(), number(report, "/messages/completed"));
    for name in ["sent", "completed", "failed", "missing"] {
        let sum: u64 = objects.iter().map(|object| object[name].as_u64().unwrap()).sum();
        assert_eq!(sum, number(report, &format!("/messages/{name}")), "{name}");
    }
}

#[test]
fn an_interrupted_run_marks_every_file_as_partial_and_leaves_no_temporary_file() {
    let (server, folder) = (Server::start(), TempDir::new().unwrap());
    let names = ["p.hgrm", "p.hlog", "p.jsonl", "p.csv"];
    let flags = names
        .map(|name| format!("--{} {}", &name[2..], file(&folder, name).display()))
        .join(" ");
    let running = Running::load(server.address, &format!("-c 5 --rate 1k/s -d 60s --drain 5s {flags}"));
    crate::support::until("the first interval is written", || {
        fs::read_dir(folder.path())
            .unwrap()
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().contains("jsonl") && entry.metadata().unwrap().len() > 0)
    });
    running.signal(Signal::SIGINT);
    assert_eq!(running.wait().report(130)["partial"], true);
    for name in ["p.hgrm", "p.hlog"] {
        assert_says(&read(&folder, name), &["PARTIAL"]);
    }
    // The last line is marked, and has the members of all others.
    let csv = read(&folder, "p.csv");
    let columns = |line: &str| line.split(',').count();
    assert!(
        csv.lines()
            .all(|line| columns(line) == columns(csv.lines().next().unwrap())),
        "{csv}"
    );
    assert!(csv.ends_with(",true\n") && csv.contains(",false\n"), "{csv}");
    let jsonl = read(&folder, "p.jsonl");
    let lines: Vec<Value> = jsonl.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let members = |line: &Value| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert!(lines.iter().all(|line| members(line) == members(&lines[0])), "{jsonl}");
    assert!(
        lines[0]["partial"] == false && lines[lines.len() - 1]["partial"] == true,
        "{jsonl}"
    );
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        names.len(),
        "no temporary file is left"
    );
}

#[test]
fn every_file_has_the_instant_at_which_measuring_began() {
    let (server, folder) = (Server::start(), TempDir::new().unwrap());
    let names = ["t.hgrm", "t.hlog", "t.jsonl", "t.csv"];
    let flags = names
        .map(|name| format!("--{} {}", &name[2..], file(&folder, name).display()))
        .join(" ");
    let unix_ns = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let called = unix_ns();
    let measured = load(server.address, &format!("-c 2 --warmup 700ms -d 300ms {flags}"));
    let ended = unix_ns();
    let began = &measured.report(0)["began"];
    let (time, ns) = (began["time"].as_str().unwrap(), began["unix_ns"].as_str().unwrap());
    // After the warm-up, not at the call.
    let instant: u128 = ns.parse().unwrap();
    assert!(
        instant > called + 690_000_000 && instant + 290_000_000 < ended,
        "{called} {ns} {ended}"
    );
    for name in names {
        assert_says(&read(&folder, name), &[time, ns]);
    }
    let seconds = format!("{:.3}", instant as f64 / 1e9);
    let head = [format!("[StartTime: {seconds} "), format!("[BaseTime: {seconds} ")];
    assert_says(&read(&folder, "t.hlog"), &head.each_ref().map(String::as_str));
    let line: Value = serde_json::from_str(read(&folder, "t.jsonl").lines().next().unwrap()).unwrap();
    assert_eq!((&line["time"], &line["unix_ns"]), (&began["time"], &began["unix_ns"]));
}

#[test]
fn the_report_says_which_build_was_called_how() {
    let server = Server::start();
    let measured = load(server.address, "-c 2 --seed 7");
    let environment = &measured.report(0)["environment"];
    let command: Vec<&str> = environment["command"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(command.windows(2).any(|pair| pair == ["--seed", "7"]), "{command:?}");
    assert_eq!(environment["urecho"], env!("CARGO_PKG_VERSION"));
    let profile = environment["profile"].as_str().unwrap();
    assert!(["debug", "release"].contains(&profile), "{profile}");
    // Not known in a debug build, or in an archive.
    if let Some(commit) = environment["commit"].as_str() {
        assert!(
            commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{commit}"
        );
    }
}

#[test]
fn a_failed_run_leaves_no_file_behind() {
    let folder = TempDir::new().unwrap();
    let (_held, refusing) = crate::support::peers::refusing();
    load(refusing, &format!("--hlog {}", file(&folder, "x.hlog").display())).refusal(5);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn an_output_that_cannot_be_written_is_an_error_before_anything_is_sent() {
    let server = Server::start();
    let refusal = load(server.address, "--hlog /nowhere/x.hlog");
    assert_says(refusal.refusal(4), &["/nowhere/x.hlog"]);
    assert_eq!(server.stop_clean().accepted, 0);
}

#[test]
fn assertions_decide_the_exit_code() {
    let server = Server::start();
    for (conditions, code, words) in [
        ("--assert max<10s --assert errors<=0", 0, "true"),
        ("--assert max<1ns", 1, "false"),
        ("--assert p99.99<10s", 3, "undecided"),
        ("--assert p95<10s", 3, "too short to test"),
        ("--assert rate>=1/s", 3, "too short to test"),
        ("--assert max<1ns --assert p99.99<10s", 1, "false"),
    ] {
        let measured = until_valid(|| load(server.address, &format!("-c 2 -d 300ms --think 1ms {conditions}")));
        measured.report(code);
        assert_says(&measured.stdout, &[words]);
    }
}

#[test]
fn errors_that_an_assertion_allows_are_no_failure() {
    // Two messages of many are missing.
    let peer = || {
        Peer::replying(64, |connection, number, bytes| match (connection, number) {
            (1 | 2, 5..) => Reply::Nothing,
            _ => Reply::Bytes(bytes),
        })
    };
    for (assertion, code) in [("errors<=2", 0), ("missing<=2", 0), ("errors<=1", 1), ("failed<=2", 6)] {
        let flags = format!("-c 8 --warmup 0s --drain 50ms --assert {assertion}");
        until_valid(|| load(peer().address, &flags)).report(code);
    }
}

#[test]
fn an_invalid_run_outweighs_a_false_assertion() {
    let server = Server::start();
    let flags = "-c 2 --rate 3M/s -d 100ms --drain 1s --assert failed>=1";
    assert_eq!(
        load(server.address, flags).report(3)["assertions"][0]["result"],
        "false"
    );
}

#[test]
fn a_reader_that_closes_the_pipe_early_is_no_error() {
    let (server, folder) = (Server::start(), TempDir::new().unwrap());
    let script = "{ \"$0\" load \"$1\" -c 2 -d 1200ms --warmup 0s --jsonl -; echo $? >\"$2\"; } | head -n 1";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_urecho"), &server.address.to_string()]);
    let output = run(command.arg(file(&folder, "code")));
    assert_eq!(output.stdout.lines().count(), 1, "{output}");
    let code = read(&folder, "code");
    assert!(["0\n", "3\n"].contains(&code.as_str()), "{code} {output}"); // The machine may be too busy.
}

#[test]
fn a_rate_that_cannot_be_kept_makes_the_verdict_invalid() {
    let server = Server::start();
    let measured = load(server.address, "-c 2 --rate 3M/s -d 100ms --drain 1s");
    assert_eq!(measured.report(3)["verdict"]["grade"], "INVALID", "{measured}");
    assert_says(&measured.stdout, &["INVALID"]);
}

/// `urecho load --repeat` with these further flags, and a closed stderr.
fn repeated(address: SocketAddr, flags: &[&str]) -> std::process::ExitStatus {
    let (reader, stderr) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    command.args(["load", &address.to_string(), "--repeat", "2"]);
    command.args("-c 2 -d 50ms --warmup 10ms --drain 10s".split(' '));
    command.args(flags).stdout(Stdio::null()).stderr(stderr);
    command.status().unwrap()
}

#[test]
fn repeated_runs_survive_a_closed_stderr() {
    let (server, folder) = (Server::start(), TempDir::new().unwrap());
    let path = file(&folder, "repeats.json");
    let ended = repeated(server.address, &["--json", path.to_str().unwrap()]).code();
    assert!(matches!(ended, Some(0 | 3)), "{ended:?}"); // The machine may be too busy.
    assert_eq!(
        valid(&fs::read_to_string(&path).unwrap())["runs"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn a_json_that_cannot_be_written_is_refused_before_the_first_of_several_runs() {
    // Nothing listens there: a run would end with 5.
    let unused = SocketAddr::from(([127, 0, 0, 1], 1));
    assert_eq!(repeated(unused, &["--json", "/nowhere/at/all.json"]).code(), Some(4));
}

#[test]
fn repeated_runs_have_other_seeds_and_intervals_over_the_runs() {
    let (server, folder) = (Server::start(), TempDir::new().unwrap());
    let path = file(&folder, "repeats.json");
    let flags = "-c 2 -d 50ms --warmup 10ms --drain 10s --assert p50<10s --assert errors<=0";
    let output = until_valid(|| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
        command.args(["load", &server.address.to_string(), "--repeat", "6", "--seed", "41"]);
        run(command.args(flags.split(' ')).arg("--json").arg(&path))
    });
    assert_eq!(output.code(), Some(0), "{output}");
    let words = [
        "figure",
        "service.p50",
        "rate",
        "over 6 runs",
        "p50 < 10s: true",
        "errors <= 0: true",
    ];
    assert_says(&output.stdout, &words);
    let repeats = valid(&fs::read_to_string(&path).unwrap());
    let runs = repeats["runs"].as_array().unwrap();
    let seeds: Vec<u64> = runs.iter().map(|run| number(run, "/plan/seed")).collect();
    assert_eq!(seeds, [41, 42, 43, 44, 45, 46]);
    let rate = &repeats["figures"][0];
    assert_eq!(
        (rate["name"].as_str(), rate["values"].as_array().unwrap().len()),
        (Some("rate"), 6)
    );
    assert!(
        rate["interval"]["low"].as_f64() < rate["interval"]["high"].as_f64(),
        "{rate:#}"
    );
}

#[test]
fn find_max_prints_a_curve_and_the_highest_rate_that_held() {
    let (peer, folder) = (slow_peer(), TempDir::new().unwrap());
    let path = file(&folder, "curve.json");
    let flags = format!("-c 4 -d 200ms --warmup 50ms --drain 1s --json {}", path.display());
    let output = find_max("p50<100ms", peer.address, &flags);
    assert_eq!(output.code(), Some(0), "{output}");
    assert_says(
        &output.stdout,
        &["offered", "p99.9", "is the highest rate with p50 < 100ms"],
    );
    let curve = valid(&fs::read_to_string(&path).unwrap());
    let found = curve["found_per_s"].as_f64().unwrap();
    let points = curve["points"].as_array().unwrap();
    let held = points
        .iter()
        .filter(|point| point["outcome"] == "held" && point["offered_per_s"].as_f64() == Some(found));
    assert!(held.count() >= 2, "the rate found has held twice: {curve:#}");
    assert!(
        points.iter().any(|point| point["outcome"] != "held"),
        "and a higher rate has not: {curve:#}"
    );
}

#[test]
fn a_rate_that_is_not_achieved_does_not_hold_whatever_its_latencies() {
    let peer = slow_peer();
    // A queue that grows for a fifth of a second meets this; the unachieved rate must stop the search.
    let flags = "-c 4 -d 200ms --warmup 0s --drain 1s --json -";
    let curve = valid(&find_max("p50<5s", peer.address, flags).stdout);
    let points = curve["points"].as_array().unwrap();
    assert!(
        points
            .iter()
            .all(|point| point["grade"] != "INVALID" || point["outcome"] != "held"),
        "{curve:#}"
    );
    assert!(points.iter().any(|point| point["grade"] == "INVALID"), "{curve:#}");
}

#[test]
fn a_search_that_an_error_ends_keeps_what_it_has_measured() {
    // Two connections and the preflight's for each run. From the third run on, replies are wrong.
    let peer = Peer::replying(64, |connection, _, mut bytes| {
        bytes[63] ^= u8::from(connection > 4);
        Reply::Bytes(bytes)
    });
    let flags = "-c 2 -d 100ms --warmup 0s --drain 10s --json -";
    let output = find_max("p50<10s", peer.address, flags);
    assert_eq!(output.code(), Some(6), "{output}");
    let curve = valid(&output.stdout);
    assert!(!curve["points"].as_array().unwrap().is_empty(), "{curve:#}");
    assert_eq!(
        (&curve["partial"], &curve["found_per_s"]),
        (&Value::Bool(true), &Value::Null)
    );
    assert_says(curve["error"].as_str().unwrap(), &["wrong data"]);
}

/// Replies to at most 500 messages of 64 bytes a second on each connection.
fn slow_peer() -> Peer {
    Peer::replying(64, |_, _, bytes| {
        thread::sleep(Duration::from_millis(2));
        Reply::Bytes(bytes)
    })
}

fn find_max(condition: &str, target: SocketAddr, flags: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    command.args(["find-max", condition, &target.to_string()]);
    run(command.args(flags.split(' ')))
}

/// A document that satisfies its schema.
fn valid(text: &str) -> Value {
    let document = serde_json::from_str(text).unwrap();
    assert_eq!(complaints(&document), [""; 0], "{document:#}");
    document
}
