//! What signals, and readers that have gone, do to a command.

use std::fs;
use std::io::{Write, pipe};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::fs::{OFlags, fcntl_setfl};
use tempfile::TempDir;
use urecho::sys::offspring;

use super::{Check, Checks, Row, urecho};
use crate::support::peers::{Peer, Reply};
use crate::support::runs::Running;
use crate::support::{Process, ServeProcess, assert_echo, until};

pub(super) const CHECKS: Checks = &[
    ("SIGINT, SIGTERM, SIGHUP", ends_a_run as Check),
    ("SIGINT, SIGTERM, SIGHUP to `serve`", drains_a_server),
    (
        "a second SIGINT or SIGTERM, 300 ms or more after the first",
        ends_at_once,
    ),
    ("SIGHUP that was ignored at the start (`nohup`)", stays_ignored),
    ("SIGKILL", leaves_nothing),
    ("the reader of stdout or stderr closes it (`head`)", reader_is_gone),
];

const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

#[test]
fn signals_do_what_the_readme_says() {
    super::check(CHECKS);
}

/// Echoes, and counts messages of 64 bytes.
fn counting() -> Peer {
    Peer::replying(64, |_, _, bytes| Reply::Bytes(bytes))
}

fn ends_a_run(row: &Row) {
    assert_eq!(row.codes.len(), SIGNALS.len());
    for (signal, &code) in SIGNALS.into_iter().zip(&row.codes) {
        let peer = counting();
        // That it ends soon shows in a run that would otherwise take an hour.
        let running = Running::load(peer.address, "-c 2 -d 60m --warmup 0s");
        peer.wait_for_messages(100);
        running.signal(signal);
        let measured = running.wait();
        assert_eq!(measured.report(code)["partial"], true, "{measured}");
    }
}

fn drains_a_server(row: &Row) {
    for signal in SIGNALS {
        let server = ServeProcess::start(&["--workers", "1"]);
        assert_echo(&mut server.connect(), b"message");
        server.signal(signal);
        let ended = server.wait();
        assert_eq!(ended.code(), row.code(), "{ended}");
        assert!(ended.stderr.contains("accepted"), "{ended}");
    }
}

fn ends_at_once(row: &Row) {
    for (signal, &code) in SIGNALS.into_iter().zip(&row.codes) {
        let peer = counting();
        // Its reader takes nothing: after the first signal it waits for that.
        let (_reader, mut writer) = pipe().unwrap();
        fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
        while writer.write(&[b'x'; 4096]).is_ok() {}
        let mut command = urecho(&format!("load {} -c 2 -d 60m --warmup 0s --json -", peer.address));
        let mut child = command.stdout(writer).stderr(Stdio::null()).spawn().unwrap();
        peer.wait_for_messages(100);
        until("a second signal ends it", || {
            let _ = kill(Pid::from_raw(child.id().cast_signed()), signal); // A zombie until it is waited for here.
            child.try_wait().unwrap().is_some()
        });
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
}

fn stays_ignored(_: &Row) {
    let mut command = Command::new("sh");
    let script = "trap '' HUP; exec \"$0\" serve --workers 1 --listen 127.0.0.1:0";
    command.args(["-c", script, env!("CARGO_BIN_EXE_urecho")]);
    let server = ServeProcess::spawn(command);
    server.signal(Signal::SIGHUP);
    assert_echo(&mut server.connect(), b"message");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}

fn leaves_nothing(row: &Row) {
    assert!(row.codes.is_empty());
    let folder = TempDir::new().unwrap();
    let csv = folder.path().join("csv");
    let lines = || fs::read_to_string(&csv).unwrap_or_default();
    let mut command = urecho("bench -c 2 --rate 1k/s -d 60m --warmup 0s --csv");
    let process = Process::spawn(command.arg(&csv));
    until("two seconds are out", || lines().lines().count() >= 3);
    let started = offspring::of_groups(&[], &[process.pid()]);
    assert!(started.len() >= 3, "itself, its server and the guard: {started:?}");
    process.signal(Signal::SIGKILL);
    assert_eq!(process.wait().code(), None);
    until("nothing that it started is left", || {
        let groups = started.iter().flat_map(|&pid| offspring::of_groups(&[pid], &[]));
        groups.count() == 0
    });
    assert!(lines().ends_with('\n'));
}

fn reader_is_gone(_: &Row) {
    let closed = || Stdio::from(pipe().unwrap().1);
    let command = || urecho("load --help");
    let status = |command: &mut Command| command.status().unwrap().code();
    assert_eq!(status(command().stdout(closed()).stderr(Stdio::null())), Some(0));
    let refused = || urecho("load --nonsense");
    assert_eq!(status(refused().stdout(Stdio::null()).stderr(closed())), Some(2));
    let folder = TempDir::new().unwrap();
    let json = folder.path().join("json");
    let mut run = urecho("bench -c 2 -d 100ms --warmup 0s --json");
    let code = status(run.arg(&json).stdout(closed()).stderr(closed()));
    assert!(matches!(code, Some(0 | 3)), "{code:?}"); // 3: the machine is too busy.
    assert!(fs::metadata(json).unwrap().len() > 0);
}
