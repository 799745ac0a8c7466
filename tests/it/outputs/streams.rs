//! Closed, full, non-blocking and slow stdout and stderr: no panic, no lost verdict, no half document.

use std::fs::{self, File, OpenOptions};
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::fs::{OFlags, fcntl_setfl};
use serde_json::Value;

use super::{RUN, compare, folder_with_record, replay, urecho};
use crate::support::peers::{Peer, echo};
use crate::support::{Server, assert_says, run, until};

/// Longer than any command here takes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A command, and the exit codes that it may end with: 3 where the machine may be too busy for a valid run.
type Case = (Command, &'static [i32]);

fn cases(server: &Server, folder: &tempfile::TempDir) -> Vec<Case> {
    let address = server.address;
    let mut history = urecho("check history history");
    history.current_dir(folder.path());
    let case = |command, codes: &'static [i32]| (command, codes);
    vec![
        case(urecho(&format!("load {address} {RUN}")), &[0, 3]),
        case(urecho(&format!("load {address} {RUN} --repeat 2")), &[0, 3]),
        case(
            urecho(&format!("find-max p50<1ns {address} {RUN} --json -")),
            &[0, 1, 3],
        ),
        case(urecho(&format!("load {address} {RUN} --json -")), &[0, 3]),
        case(urecho(&format!("load {address} {RUN} --jsonl -")), &[0, 3]),
        case(compare(""), &[0]),
        case(replay(folder.path(), ""), &[3]),
        case(replay(folder.path(), "--json -"), &[3]),
        case(history, &[0]),
        case(urecho("doctor --noise 0s"), &[0, 4]),
        case(urecho("doctor --noise 0s --json -"), &[0, 4]),
        case(urecho("--help"), &[0]),
        case(urecho("--version"), &[0]),
        case(urecho("check replay /nowhere"), &[2]),
        case(urecho("load --nonsense"), &[2]),
    ]
}

fn world() -> (Server, tempfile::TempDir) {
    let folder = folder_with_record();
    run(&mut replay(folder.path(), "--append history"));
    (Server::start(), folder)
}

/// Calls `ends` with all of these at once: most of them only wait.
fn each(cases: Vec<Case>, ends: impl Fn(&mut Command, &[i32]) + Sync) {
    thread::scope(|scope| {
        for (mut command, codes) in cases {
            let ends = &ends;
            scope.spawn(move || ends(&mut command, codes));
        }
    });
}

/// The writing end of a pipe whose reader is gone.
fn closed() -> PipeWriter {
    pipe().unwrap().1
}

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// A pipe in non-blocking mode, as some programs leave theirs.
fn non_blocking() -> (PipeReader, PipeWriter) {
    let (reader, writer) = pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    (reader, writer)
}

/// A pipe that is full, and its reader.
fn stuffed() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = non_blocking();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    (reader, writer)
}

#[test]
fn a_reader_of_stdout_that_is_gone_changes_no_exit_code() {
    let (server, folder) = world();
    each(cases(&server, &folder), |command, codes| {
        let output = command
            .stdout(closed())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            codes.contains(&output.status.code().unwrap()),
            "{command:?}: {}",
            output.status
        );
        assert!(
            !stderr.contains("panicked") && !stderr.contains("cannot write"),
            "{command:?}: {stderr}"
        );
    });
}

#[test]
fn a_full_stdout_is_reported_and_keeps_every_verdict() {
    let (server, folder) = world();
    each(cases(&server, &folder), |command, codes| {
        let output = command
            .stdout(full())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let (code, stderr) = (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap());
        if codes == [2] {
            assert_eq!(code, 2, "{command:?}"); // There is no output.
            return;
        }
        let expected: Vec<i32> = codes.iter().map(|&code| if code == 0 { 4 } else { code }).collect();
        assert!(expected.contains(&code), "{command:?}: {code}, {stderr}");
        assert_says(&stderr, &["cannot write to stdout: No space left on device"]);
    });
}

#[test]
fn a_closed_or_full_stderr_changes_no_exit_code() {
    let (server, folder) = world();
    for is_closed in [true, false] {
        each(cases(&server, &folder), |command, codes| {
            let stderr = if is_closed {
                Stdio::from(closed())
            } else {
                Stdio::from(full())
            };
            let status = command
                .stderr(stderr)
                .stdout(Stdio::null())
                .stdin(Stdio::null())
                .status()
                .unwrap();
            assert!(codes.contains(&status.code().unwrap()), "{command:?}: {status}");
        });
    }
}

#[test]
fn a_slow_reader_of_a_non_blocking_stdout_gets_the_whole_document() {
    let folder = folder_with_record();
    let (mut reader, writer) = non_blocking();
    // A record is smaller than a pipe: fill most of it first.
    let mut stuffing = 0;
    while let Ok(len) = (&writer).write(&[b' '; 4096]) {
        stuffing += len;
    }
    let mut child = replay(folder.path(), "--json -")
        .stdout(writer)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut text = Vec::new();
    let mut part = [0; 1000];
    loop {
        // The sleep makes the reader slow; nothing waits for it.
        thread::sleep(Duration::from_micros(200));
        match reader.read(&mut part).unwrap() {
            0 => break,
            len => text.extend_from_slice(&part[..len]),
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(3));
    serde_json::from_slice::<Value>(&text[stuffing..]).unwrap();
}

/// The exit code of a command, or a panic if it takes too long; it is killed then.
fn code_of(command: &mut Command) -> i32 {
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap();
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{command:?} waits for a reader that does not read");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn no_command_waits_for_a_reader_of_stderr_that_does_not_read() {
    let (server, folder) = world();
    each(cases(&server, &folder), |command, codes| {
        let (_reader, writer) = stuffed();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer);
        let code = code_of(command);
        assert!(codes.contains(&code), "{command:?}: {code}");
    });
}

#[test]
fn a_server_keeps_its_exit_code_with_every_kind_of_stream() {
    let serve = || urecho("serve --workers 1 --listen 127.0.0.1:0 --engine epoll");
    let stop = |mut command: Command, code: i32| {
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        // It blocks SIGTERM before it starts its workers: two threads more mean that it takes it.
        crate::support::until("the server has started", || {
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
            tasks.is_ok_and(|tasks| tasks.count() >= 3) || child.try_wait().unwrap().is_some()
        });
        kill(pid, Signal::SIGTERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{command:?}");
    };
    let with = |stdout: Stdio, stderr: Stdio| {
        let mut command = serve();
        command.stdout(stdout).stderr(stderr);
        command
    };
    stop(with(closed().into(), closed().into()), 0);
    stop(with(closed().into(), full().into()), 0);
    stop(with(full().into(), Stdio::null()), 4);
    let (_reader, writer) = stuffed();
    stop(with(writer.into(), Stdio::null()), 0);
}

#[test]
fn a_reader_that_reads_nothing_stops_no_run() {
    let ended = Arc::new(AtomicUsize::new(0));
    let count = ended.clone();
    let peer = Peer::start(move |_, stream| {
        echo(stream);
        count.fetch_add(1, Ordering::Relaxed);
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let (mut reader, writer) = stuffed();
    let mut command = urecho(&format!(
        "load {} -c 2 -d 3s --warmup 0s --jsonl - --json",
        peer.address
    ));
    command.arg(&path).stdout(writer).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    drop(command); // It holds the writing end.
    // The run is over, and not a line has been read.
    until("all connections have ended", || ended.load(Ordering::Relaxed) == 2);
    reader.read_to_string(&mut String::new()).unwrap();
    assert!(matches!(child.wait().unwrap().code(), Some(0 | 3)));
    let report: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let columns = report["over_time"].as_array().unwrap();
    let rates = columns.iter().map(|column| column["completed_per_s"].as_f64().unwrap());
    assert!(columns.len() >= 3 && rates.take(3).all(|rate| rate > 0.0), "{report:#}");
}

#[test]
fn only_the_last_line_of_an_interrupted_run_is_partial_however_slow_its_reader_is() {
    let server = Server::start();
    let (mut reader, writer) = stuffed();
    let mut command = urecho(&format!(
        "load {} -c 2 --rate 500/s -d 60s --warmup 0s --jsonl -",
        server.address
    ));
    let mut child = command.stdout(writer).stderr(Stdio::null()).spawn().unwrap();
    // Seconds must pass in which no line is read.
    thread::sleep(Duration::from_millis(3500));
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let mut text = String::new();
    drop(command); // It holds the writing end.
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let lines: Vec<Value> = text
        .trim_start_matches('x')
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let partial: Vec<bool> = lines.iter().map(|line| line["partial"].as_bool().unwrap()).collect();
    assert!(lines.len() >= 2, "{text}");
    assert!(
        partial.iter().rev().skip(1).all(|partial| !partial) && partial[partial.len() - 1],
        "{partial:?}"
    );
}
