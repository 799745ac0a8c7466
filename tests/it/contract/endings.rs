//! How a command ends without a signal.

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use urecho::error::Error;

use super::{Check, Checks, Row, assert_one_line, server, urecho};
use crate::support::peers::{Peer, Reply};
use crate::support::runs::{Running, is_invalid, load, until_valid};
use crate::support::{Output, Server, assert_says, run};

pub(super) const CHECKS: Checks = &[
    ("all went well", went_well as Check),
    (
        "an assertion is false, a server regressed, a history creeps, or `find-max` finds no rate",
        is_false,
    ),
    (
        "the command line is wrong, or a file to read; or two outputs go to one place",
        usage,
    ),
    (
        "the verdict is INVALID or INCONCLUSIVE, or an assertion is undecided",
        undecided,
    ),
    ("a program changes on disk while it is compared", changed),
    (
        "this machine cannot run it: a limit, a blocked io_uring, no loopback",
        machine,
    ),
    ("an output cannot be written, known before the run", unwritable),
    ("an output cannot be written, at the end", lost),
    ("the target is unreachable, unknown by name, or no echo server", target),
    ("data comes back wrong, or messages fail or are missing", data),
    ("a bug in urecho", bug),
];

#[test]
fn endings_are_as_the_readme_says() {
    super::check(CHECKS);
}

/// A short run.
const RUN: &str = "-c 2 -d 200ms --warmup 0s --drain 20s";

/// A check of a server with itself, so small that it is inconclusive, as JSON.
fn record() -> Value {
    let mut check =
        urecho("check -c 2 --blocks 1 --slice 20ms --restarts 1 --profile closed --gate throughput --json -");
    let ended = run(check.args(["--base", &server(), "--head", &server()]));
    serde_json::from_str(&ended.stdout).unwrap()
}

/// The same with restarts enough for a verdict, in which head has this share of base's throughput.
fn with_throughput(record: &Value, share: f64) -> String {
    let mut record = record.clone();
    let restart = record["record"]["restarts"][0].clone();
    let restarts = (0..12).map(|number| {
        let mut restart = restart.clone();
        for block in restart["closed"]["blocks"].as_array_mut().unwrap() {
            let base = block["base"].clone();
            let rate = base["completed_per_s"].as_f64().unwrap();
            block["head"] = base;
            block["head"]["completed_per_s"] = json!(rate * share * (1.0 + f64::from(number) * 1e-5));
        }
        restart
    });
    record["record"]["restarts"] = restarts.collect();
    record["record"]["settings"]["restarts"] = json!(12);
    record.to_string()
}

fn replay(folder: &Path, arguments: &str) -> Output {
    run(urecho(&format!("check replay {arguments}")).current_dir(folder))
}

fn went_well(row: &Row) {
    assert_eq!(run(&mut urecho("--version")).code(), row.code());
    let peer = Peer::honest();
    let ended = until_valid(|| run(&mut urecho(&format!("load {} {RUN}", peer.address))));
    assert_eq!(ended.code(), row.code(), "{ended}");
    assert_eq!(ended.stdout.matches("verdict ").count(), 1, "{ended}");
    assert_eq!(ended.stderr, "", "{ended}");
}

fn is_false(row: &Row) {
    let peer = Peer::honest();
    let load = format!("load {} {RUN} --assert max<1ns", peer.address);
    let ended = until_valid(|| run(&mut urecho(&load)));
    assert_eq!(ended.code(), row.code(), "{ended}");
    // On a machine that is busy all the time, one of its many runs is always INVALID.
    let ended = run(&mut urecho(&format!("find-max max<1ns {} {RUN}", peer.address)));
    assert!(ended.code() == row.code() || is_invalid(&ended), "{ended}");
    let (folder, record) = (TempDir::new().unwrap(), record());
    fs::write(folder.path().join("slower"), with_throughput(&record, 0.5)).unwrap();
    let ended = replay(folder.path(), "slower");
    assert_eq!(ended.code(), row.code(), "{ended}");
    assert_says(&ended.stdout, &["REGRESSED", "throughput"]);
    // Each below the threshold of 2 %.
    fs::write(folder.path().join("a little"), with_throughput(&record, 0.985)).unwrap();
    for label in 0..12 {
        let mut append = urecho(&format!("check replay --append history --label {label}"));
        let ended = run(append.arg("a little").current_dir(folder.path()));
        assert_eq!(ended.code(), Some(0), "{ended}");
    }
    let ended = run(urecho("check history history").current_dir(folder.path()));
    assert_eq!(ended.code(), row.code(), "{ended}");
}

fn usage(row: &Row) {
    for arguments in [
        "load --nonsense",
        "load 127.0.0.1:1 --rate fast",
        "check replay /nonexistent",
        "load 127.0.0.1:1 --json /tmp/x --csv /tmp/../tmp/x",
    ] {
        let ended = run(&mut urecho(arguments));
        assert_eq!(ended.code(), row.code(), "{arguments}: {ended}");
        assert_one_line(&ended);
    }
}

fn undecided(row: &Row) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("record"), record().to_string()).unwrap();
    let ended = replay(folder.path(), "record");
    assert_eq!(ended.code(), row.code(), "{ended}");
    assert_says(&ended.stdout, &["INCONCLUSIVE", "too few restarts"]);
    let far_too_much = "--rate 1000M/s -d 200ms --warmup 0s --drain 0s --assert p99<1ns";
    let ended = run(&mut urecho(&format!("bench -c 10 {far_too_much}")));
    assert_eq!(ended.code(), row.code(), "{ended}");
    assert_says(&ended.stdout, &["INVALID"]);
    // Too few messages for an interval of p99.
    let few = "-c 1 -d 200ms --warmup 0s --think 50ms --assert p99<1s";
    let peer = Peer::honest();
    let ended = run(&mut urecho(&format!("load {} {few}", peer.address)));
    assert_eq!(ended.code(), row.code(), "{ended}");
}

fn changed(row: &Row) {
    let folder = TempDir::new().unwrap();
    let script = format!("echo '# more' >> \"$0\"\nexec {}\n", server().replace("{port}", "$1"));
    let path = folder.path().join("server");
    fs::write(&path, script).unwrap();
    let candidates = [format!("a=sh {} {{port}}", path.display())];
    let measured = Running::compare(&candidates, "-c 2 --blocks 1 --slice 20ms --restarts 3").wait();
    let report = measured.report(row.codes[0]).to_string();
    assert_says(&report, &["has changed"]);
}

fn machine(row: &Row) {
    let mut command = Command::new("sh");
    let script = "ulimit -n 200; exec \"$0\" load 127.0.0.1:1 -c 50000";
    let ended = run(command.args(["-c", script, env!("CARGO_BIN_EXE_urecho")]));
    assert_eq!(ended.code(), row.code(), "{ended}");
    assert_one_line(&ended);
    assert_says(&ended.stderr, &["ulimit -n"]);
}

fn unwritable(row: &Row) {
    // Nothing listens there: a run would end with 5.
    for flag in ["--json", "--csv", "--hgrm"] {
        let ended = run(&mut urecho(&format!("load 127.0.0.1:1 {flag} /nonexistent/x")));
        assert_eq!(ended.code(), row.code(), "{ended}");
        assert_one_line(&ended);
        assert_says(&ended.stderr, &["/nonexistent/x"]);
    }
}

fn lost(row: &Row) {
    let [lost, fine] = row.codes[..] else {
        panic!("two exit codes: {}", row.what)
    };
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = |command: &mut Command, stdout: Stdio| command.stdout(stdout).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status(&mut urecho("--version"), Stdio::null()).code(), Some(fine));
    assert_eq!(status(&mut urecho("--version"), full().into()).code(), Some(lost));
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("record"), record().to_string()).unwrap();
    let ended = replay(folder.path(), "record --json /dev/full --markdown whole");
    assert_eq!(ended.code(), Some(3), "the verdict's: {ended}");
    assert_says(&ended.stderr, &["cannot write /dev/full"]);
    assert!(
        File::open(folder.path().join("whole"))
            .unwrap()
            .metadata()
            .unwrap()
            .len()
            > 0
    );
}

fn target(row: &Row) {
    let silent = Peer::replying(64, |_, _, _| Reply::Nothing);
    for target in [
        "127.0.0.1:1".to_owned(),
        "no-such-host.invalid:7007".to_owned(),
        format!("{} --preflight-timeout 100ms", silent.address),
    ] {
        let ended = run(&mut urecho(&format!("load {target} -c 1 -d 50ms")));
        assert_eq!(ended.code(), row.code(), "{ended}");
        assert_one_line(&ended);
    }
}

fn data(row: &Row) {
    let wrong = Peer::replying(64, |_, number, mut bytes| {
        bytes[0] ^= u8::from(number > 3);
        Reply::Bytes(bytes)
    });
    assert_says(
        &load(wrong.address, "-c 2").report(row.codes[0]).to_string(),
        &["wrong-data"],
    );
    // It keeps the messages of one connection for longer than the drain.
    let forgetful = || {
        Peer::replying(64, |connection, number, bytes| match (connection, number) {
            (1, 10..) => Reply::Nothing,
            _ => Reply::Bytes(bytes),
        })
    };
    let flags = "-c 2 --drain 50ms";
    assert!(load(forgetful().address, flags).report(row.codes[0])["messages"]["missing"].as_u64() > Some(0));
    let allowed = load(forgetful().address, &format!("{flags} --assert errors<=1000"));
    assert_ne!(allowed.code(), row.code(), "{allowed}");
}

/// What looks like one: the kernel says that the ring has an address that it does not have.
fn bug(row: &Row) {
    assert_eq!(Some(i32::from(Error::Bug(String::new()).exit_code())), row.code());
    let mut command = Command::new("strace");
    let inject = [
        "-e",
        "trace=io_uring_enter",
        "-e",
        "inject=io_uring_enter:error=EFAULT:when=30",
    ];
    command.args(["-f", "-qq", "-o", "/dev/null"]).args(inject);
    // The server is not traced: its own end would make this a failed run with a report.
    let server = Server::start();
    let load = format!("load {} -c 2 -d 60m", server.address);
    command.arg(env!("CARGO_BIN_EXE_urecho")).args(load.split(' '));
    match Command::new("strace").args(["-o", "/dev/null", "true"]).status() {
        Ok(status) if status.success() => {
            let ended = run(&mut command);
            assert_eq!(ended.code(), row.code(), "{ended}");
            assert_one_line(&ended);
        }
        _ => println!("SKIPPED: needs strace, and the right to use it"),
    }
}
