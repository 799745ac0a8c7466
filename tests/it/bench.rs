//! `urecho bench`: one command that starts a server and always stops it.

use std::fs;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::reports::number;
use crate::support::runs::{Finished, Running};
use crate::support::{assert_says, io, run, seccomp, until};

#[test]
fn a_bench_measures_its_own_server_and_stops_it() {
    let bench = Running::bench("-c 50 -d 1s");
    let server = server_of(&bench);
    let measured = bench.wait();
    let report = measured.report(0);
    assert_eq!(number(report, "/connections/opened"), 50);
    assert!(report["server"].is_object() && report["partial"] == false, "{report:#}");
    let rows = [
        "load ",
        "connections  50 opened, 0 failed",
        "connect ",
        "messages ",
        "rate ",
        "latency ",
        "p50 ",
        "p99 ",
    ];
    assert_says(&measured.stdout, &rows);
    assert_says(&measured.stdout, &["server ", "generator ", "CPU per message", "seed "]);
    assert!(measured.stderr.is_empty(), "{measured}");
    assert!(!server.lives(), "it has been reaped");
}

#[test]
fn two_thousand_connections_are_measured() {
    let measured = Running::bench("-c 2000 -d 500ms").wait();
    assert_eq!(number(measured.report(0), "/connections/opened"), 2_000);
}

#[test]
fn server_and_generator_may_have_several_threads() {
    let measured = Running::bench("-c 20 -t 2 --workers 2").wait();
    assert_eq!(number(measured.report(0), "/plan/threads"), 2);
}

#[test]
fn an_interrupted_bench_reports_and_stops_its_server() {
    let bench = Running::bench("-c 20 -d 60s --warmup 0s");
    let server = server_of(&bench);
    server.wait_until_busy();
    bench.signal(Signal::SIGINT);
    let measured = bench.wait();
    assert_eq!(measured.report(130)["partial"], true);
    assert!(!server.lives(), "it has been reaped");
}

#[test]
fn a_killed_bench_takes_its_server_with_it() {
    let bench = Running::bench("-c 20 -d 60s");
    let server = server_of(&bench);
    bench.signal(Signal::SIGKILL);
    assert_eq!(bench.wait().code(), None);
    until("the server has died with its parent", || !server.lives());
}

#[test]
fn a_bench_killed_under_load_takes_its_server_with_it() {
    let bench = Running::bench("-c 20 -d 60s");
    let server = server_of(&bench);
    server.wait_until_busy();
    bench.signal(Signal::SIGKILL);
    assert_eq!(bench.wait().code(), None);
    until("the server has died with its parent", || !server.lives());
}

#[test]
fn a_killed_server_is_reported_with_its_signal() {
    let bench = Running::bench("-c 20 -d 60s --warmup 0s");
    let server = server_of(&bench);
    server.wait_until_busy();
    kill(Pid::from_raw(server.pid), Signal::SIGKILL).unwrap();
    let measured = bench.wait();
    assert!(measured.code().is_some_and(|code| code != 0), "{measured}");
    assert_says(&measured.stderr, &["the server ", "signal: 9"]);
    assert!(!server.lives());
}

/// A child of a bench. Its start time identifies it: its process id may be reused.
struct Child {
    pid: i32,
    started: String,
}

/// Waits until the bench has started its server.
fn server_of(bench: &Running) -> Child {
    let mut found = None;
    until("the bench has started its server", || {
        let stats = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            Stat::of(pid)
                .filter(|stat| stat.parent == bench.pid())
                .map(|stat| (pid, stat))
        });
        found = stats.into_iter().find(|(pid, _)| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|&byte| byte == 0).nth(1) == Some(b"serve")
        });
        found.is_some()
    });
    let (pid, stat) = found.unwrap();
    Child {
        pid,
        started: stat.started,
    }
}

impl Child {
    /// False once it has exited, reaped or not.
    fn lives(&self) -> bool {
        Stat::of(self.pid).is_some_and(|stat| stat.started == self.started && stat.state != "Z" && stat.state != "X")
    }

    /// Waits until it has used some CPU time: then the load is running.
    fn wait_until_busy(&self) {
        let cpu = || urecho::sys::usage::process_cpu(self.pid).unwrap_or_default();
        until("the server is busy", || cpu().0 > 150_000_000);
    }
}

/// Fields of /proc/PID/stat, proc_pid_stat(5).
struct Stat {
    state: String,
    parent: i32,
    started: String,
}

impl Stat {
    fn of(pid: i32) -> Option<Stat> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in brackets, may contain spaces and brackets.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let (state, parent, started) = (fields.first()?, fields.get(1)?, fields.get(19)?);
        Some(Stat {
            state: state.to_string(),
            parent: parent.parse().ok()?,
            started: started.to_string(),
        })
    }
}

#[test]
fn where_io_uring_is_blocked_epoll_serves_and_loads() {
    io::on_epoll(|| {
        let measured = Running::bench("-c 10");
        assert_eq!(measured_io(&measured.wait()), "epoll");
    });
}

fn measured_io(measured: &Finished) -> String {
    assert_says(&measured.stdout, &["generator on epoll"]);
    measured.report(0)["plan"]["io"].as_str().unwrap().to_owned()
}

#[test]
fn where_io_uring_is_blocked_the_error_names_epoll() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    seccomp::refuse_io_uring(&mut command, libc::EPERM);
    let ended = run(command.args(["bench", "-c", "1", "-d", "100ms"]));
    assert_eq!(ended.code(), Some(4));
    assert_says(&ended.stderr, &["seccomp", "`--io epoll` for the load"]);
}
