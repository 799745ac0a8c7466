//! `--live`: a run on the screen, its rate changed by keys, and the terminal as it was afterwards.

use std::fs;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::pty::Terminal;
use crate::support::reports::{complaints, number};
use crate::support::{Server, assert_says, run, until};

/// What opens and closes the screen.
const OPEN: &str = "\x1b[?1049h";
const CLOSE: &str = "\x1b[?1049l";

fn live(target: &str, flags: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    command.args(["load", target, "--live", "-c", "4", "-d", "300s", "--warmup", "0s"]);
    command.args(flags.split_whitespace()).env("TERM", "xterm-256color");
    command
}

/// With its keys and its screen on the terminal.
fn spawn(terminal: &Terminal, mut command: Command) -> Child {
    command.stdin(terminal.stream()).stdout(Stdio::null());
    command.stderr(terminal.stream()).spawn().unwrap()
}

#[test]
fn keys_change_the_rate_and_end_the_run_and_the_terminal_is_as_it_was() {
    let (server, folder, terminal) = (Server::start(), tempfile::tempdir().unwrap(), Terminal::new(100));
    let path = folder.path().join("live.json");
    let flags = format!("--rate 1k/s --json {}", path.display());
    let mut child = spawn(&terminal, live(&server.address.to_string(), &flags));
    until("a second was measured", || terminal.so_far().contains("p99"));
    assert!(!terminal.is_canonical());
    assert_says(&terminal.so_far(), &[OPEN, "open", "response", "sent"]);
    // A sequence that asks for nothing, and the beginning of one.
    terminal.press(b"\x1b[a\x1b[");
    terminal.press(b"A\x1b[6~");
    until("the rate was changed", || terminal.so_far().contains("set"));
    terminal.press(b"q");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(terminal.is_canonical());
    let drawn = terminal.text();
    let (_, after) = drawn.rsplit_once(CLOSE).unwrap();
    assert_says(after, &["live view: ", " of CPU time in "]);

    let report: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(complaints(&report), [""; 0]);
    let changes = report["rate_changes"].as_array().unwrap().iter();
    let rates: Vec<f64> = changes
        .map(|change| change["offered_per_s"].as_f64().unwrap())
        .collect();
    assert!(
        [vec![1100.0, 550.0], vec![550.0]].contains(&rates),
        "both at once are one change: {rates:?}"
    );
    assert_says(&report["verdict"].to_string(), &["rate-changed", "changed by hand"]);
    assert!(report["completed_per_s_interval"].is_null());
    assert!(number(&report, "/messages/completed") > 0);
}

#[test]
fn a_terminal_that_is_resized_is_drawn_on_as_a_whole() {
    let (server, terminal) = (Server::start(), Terminal::new(100));
    let mut child = spawn(&terminal, live(&server.address.to_string(), ""));
    until("a second was measured", || terminal.so_far().contains("p99"));
    let before = terminal.so_far().len();
    terminal.resize(40);
    until("it is drawn again", || {
        let drawn = terminal.so_far();
        // None while the last character is torn.
        let after = drawn.get(before..).unwrap_or_default();
        after.contains("\x1b[2J") && after.contains("urecho:")
    });
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(terminal.is_canonical() && terminal.text().contains(CLOSE));
}

#[test]
fn a_run_that_fails_at_once_gives_the_terminal_back_before_it_says_why() {
    let terminal = Terminal::new(100);
    let mut child = spawn(&terminal, live("127.0.0.1:1", ""));
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert!(terminal.is_canonical());
    let drawn = terminal.text();
    assert_says(&drawn, &[OPEN]);
    assert_says(drawn.rsplit_once(CLOSE).unwrap().1, &["urecho: "]);
}

#[test]
fn without_a_terminal_to_draw_on_nothing_is_started() {
    let server = Server::start();
    let target = server.address.to_string();
    for (flags, words) in [
        ("", "urecho: --live draws on a terminal"),
        ("--repeat 3", "--live shows a single run"),
        ("--quiet", "--quiet forbids it"),
    ] {
        let ended = run(&mut live(&target, flags));
        assert_eq!((ended.code(), ended.stdout.as_str()), (Some(2), ""), "{flags}");
        assert_says(&ended.stderr, &[words]);
    }
}
