//! Servers behind `sh -c`, behind a script that forks, in a session of their own: none outlives the tool.

use std::fs;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use urecho::sys::usage;

use crate::support::{Process, until};

const VARIABLE: &str = "URECHO_TEST";

/// Commands that start the server `$U` in several ways. `{port}` is the port.
const WRAPPERS: [&str; 5] = [
    "sh -c '\"$U\" serve --workers 1 --listen 127.0.0.1:{port} & wait'",
    "sh -c 'sh -c \"\\\"\\$U\\\" serve --workers 1 --listen 127.0.0.1:{port} & wait; :\" & wait'",
    "sh -c 'setsid \"$U\" serve --workers 1 --listen 127.0.0.1:{port} & wait'",
    // Its parent ends at once: an orphan in a session of its own.
    "sh -c '(setsid \"$U\" serve --workers 1 --listen 127.0.0.1:{port} &); exec sleep 600'",
    // The same with an empty environment, but for what this test finds it by.
    "sh -c '(setsid env -i URECHO_TEST=\"$URECHO_TEST\" \"$U\" serve --workers 1 --listen 127.0.0.1:{port} &); exec sleep 600'",
];

/// The running processes with this value of the variable; one that has ended has no environment.
fn marked(value: &str) -> Vec<i32> {
    let wanted = format!("{VARIABLE}={value}");
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|&byte| byte == 0).any(|entry| entry == wanted.as_bytes())
    })
    .collect()
}

fn command_line(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

/// Starts a comparison of a wrapped server, waits until that is under load, and passes all to `end`. Checks that
/// nothing is left.
fn assert_ends_with_the_tool(wrapper: &str, end: impl FnOnce(&Process)) {
    let folder = TempDir::new().unwrap();
    let value = folder.path().to_str().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    command
        .args(["compare", "-c", "4", "--restarts", "1", "--slice", "60m"])
        .arg(format!("a={wrapper}"))
        .env(VARIABLE, value)
        .env("U", env!("CARGO_BIN_EXE_urecho"));
    let tool = Process::spawn(&mut command);
    until("the server is under load", || {
        let servers = marked(value)
            .into_iter()
            .filter(|&pid| pid != tool.pid() && command_line(pid).contains(" serve "));
        servers.filter_map(usage::process_cpu).any(|cpu| cpu.0 > 300_000_000)
    });
    end(&tool);
    let ended = tool.wait();
    until("all of its processes have ended", || marked(value).is_empty());
    assert_ne!(ended.code(), Some(0), "{wrapper}");
}

#[test]
fn a_wrapped_server_dies_with_a_tool_that_is_killed() {
    for wrapper in WRAPPERS {
        assert_ends_with_the_tool(wrapper, |tool| tool.signal(Signal::SIGKILL));
    }
}

#[test]
fn a_wrapped_server_ends_with_a_tool_that_is_interrupted() {
    let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
    for (wrapper, signal) in WRAPPERS.into_iter().zip(signals.into_iter().cycle()) {
        assert_ends_with_the_tool(wrapper, |tool| tool.signal(signal));
    }
}

#[test]
fn a_tool_that_is_asked_twice_leaves_nothing() {
    for wrapper in &WRAPPERS[3..] {
        assert_ends_with_the_tool(wrapper, |tool| {
            tool.signal(Signal::SIGINT);
            let _ = kill(Pid::from_raw(tool.pid()), Signal::SIGTERM); // It may have ended.
        });
    }
}
