//! When outputs are written, and how.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{Check, Checks, Row, server, urecho};
use crate::support::peers::Peer;
use crate::support::{Process, ServeProcess, assert_says, run, until};

pub(super) const CHECKS: Checks = &[
    (
        "`--json`, `--html`, `--hgrm`, `--markdown`, `--junit`, `check baseline save`",
        documents as Check,
    ),
    ("`--hlog`, `--jsonl`, `--csv`", lines),
    ("`--append`", append),
    ("stdout", stdout),
    ("stderr", stderr),
];

#[test]
fn outputs_are_written_as_the_readme_says() {
    super::check(CHECKS);
}

const CHECK: &str = "-c 2 --blocks 1 --slice 20ms --restarts 1 --profile closed";

fn text(folder: &TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).unwrap_or_default()
}

/// An interrupted run with these flags, each with a file of that name; `while_it_runs` is called when two seconds are
/// out.
fn interrupted_run(folder: &TempDir, flags: &[&str], while_it_runs: impl FnOnce()) {
    let peer = Peer::honest();
    let mut command = urecho(&format!("load {} -c 2 --rate 1k/s -d 60m --warmup 0s", peer.address));
    for flag in flags.iter().chain(&["jsonl"]) {
        command.args([&format!("--{flag}"), *flag]);
    }
    let process = Process::spawn(command.current_dir(folder.path()));
    until("two seconds are out", || text(folder, "jsonl").lines().count() >= 2);
    while_it_runs();
    process.signal(Signal::SIGINT);
    assert_eq!(process.wait().code(), Some(130));
}

fn documents(row: &Row) {
    let folder = TempDir::new().unwrap();
    let of_check = ["markdown", "junit"];
    let of_run: Vec<&str> = row
        .flags()
        .into_iter()
        .filter(|flag| !of_check.contains(flag))
        .collect();
    for flag in &of_run {
        fs::write(folder.path().join(flag), "old").unwrap();
    }
    interrupted_run(&folder, &of_run, || {
        for flag in &of_run {
            assert_eq!(text(&folder, flag), "old", "{flag}");
        }
    });
    let mut check = urecho(&format!("check {CHECK} --json check --markdown markdown --junit junit"));
    check.args(["--base", &server(), "--head", &server()]);
    run(check.current_dir(folder.path()));
    let mut save = urecho(&format!("check baseline save {CHECK} saved"));
    run(save.args(["--head", &server()]).current_dir(folder.path()));
    for document in ["json", "check", "saved"] {
        let text = text(&folder, document);
        assert!(serde_json::from_str::<Value>(&text).is_ok(), "{document}: {text}");
    }
    for (document, end) in [("hgrm", "]\n"), ("markdown", "\n"), ("junit", "</testsuites>\n")] {
        let text = text(&folder, document);
        assert!(text.len() > 100 && text.ends_with(end), "{document}: {text}");
    }
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, of_run.len() + of_check.len() + 3, "nothing temporary stays");
}

fn lines(row: &Row) {
    let folder = TempDir::new().unwrap();
    let others: Vec<&str> = row.flags().into_iter().filter(|flag| *flag != "jsonl").collect();
    assert_eq!(others.len() + 1, row.flags().len());
    interrupted_run(&folder, &others, || {
        for flag in row.flags() {
            let text = text(&folder, flag);
            assert!(
                text.ends_with('\n') && !text.contains("true") && !text.contains("PARTIAL"),
                "{flag}: {text}"
            );
        }
    });
    for (flag, mark) in [("jsonl", "\"partial\":true}"), ("csv", ",true"), ("hlog", "#[PARTIAL")] {
        let text = text(&folder, flag);
        assert_says(text.lines().last().unwrap(), &[mark]);
        assert_eq!(text.matches(mark).count(), 1, "{flag}: {text}");
    }
}

fn replay_and_append(folder: &Path) {
    run(urecho("check replay record --append history").current_dir(folder));
}

fn append(_: &Row) {
    let folder = TempDir::new().unwrap();
    let mut check = urecho(&format!("check {CHECK} --json record"));
    run(check
        .args(["--base", &server(), "--head", &server()])
        .current_dir(folder.path()));
    replay_and_append(folder.path());
    replay_and_append(folder.path());
    let whole = text(&folder, "history").len() as u64;
    let history = OpenOptions::new().write(true).open(folder.path().join("history"));
    history.unwrap().set_len(whole - 10).unwrap();
    replay_and_append(folder.path());
    assert_eq!(text(&folder, "history").lines().count(), 3);
    let read = run(urecho("check history history").current_dir(folder.path()));
    assert_eq!(read.code(), Some(0), "{read}");
    assert_says(&read.stderr, &["line 2 is torn off"]);
}

fn stdout(_: &Row) {
    let bench = "bench -c 2 -d 100ms --warmup 0s";
    assert_says(&run(&mut urecho(bench)).stdout, &["verdict"]);
    let json = run(&mut urecho(&format!("{bench} --json -"))).stdout;
    assert!(serde_json::from_str::<Value>(&json).is_ok(), "{json}");
    let server = ServeProcess::start(&["--workers", "1"]);
    assert!(server.announced.starts_with("listening on "), "{}", server.announced);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().stdout, "", "one line");
}

fn stderr(_: &Row) {
    let bench = "bench -c 2 -d 600ms --warmup 0s";
    let quiet = run(urecho(bench).stdin(Stdio::null()));
    assert_eq!(quiet.stderr, "", "no terminal");
    let target = ServeProcess::start(&["--workers", "1"]);
    let series = run(&mut urecho(&format!(
        "load {} -c 2 -d 100ms --warmup 0s --repeat 2",
        target.address
    )));
    assert_eq!(series.stderr.lines().count(), 2, "{series}");
}
