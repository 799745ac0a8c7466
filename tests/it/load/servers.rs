//! Servers of several processes, and several servers: a figure is of all of them, or null.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;
use tempfile::NamedTempFile;

use crate::support::io::on_each_io;
use crate::support::reports::number;
use crate::support::runs::{Finished, load};
use crate::support::{Process, ServeProcess, assert_says, until};

on_each_io! {
    a_server_that_forks_for_each_connection_is_counted_with_its_children,
    processes_that_come_and_go_are_counted_and_their_context_switches_unknown,
    all_processes_that_share_a_port_are_counted,
    several_targets_have_a_row_each_and_the_server_is_all_of_them,
    one_target_has_no_rows,
}

/// Four processes that share a port by SO_REUSEPORT; each ends with its parent. The first prints the address.
const REUSEPORT: &str = "
import ctypes, os, signal, socket, threading
def listen(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(('127.0.0.1', port))
    listener.listen(64)
    return listener
def echo(peer):
    while data := peer.recv(65536): peer.sendall(data)
def serve(listener):
    while True: threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()
first = listen(0)
port = first.getsockname()[1]
ready, tell = os.pipe()
for _ in range(3):
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        first.close()
        listener = listen(port)
        os.write(tell, b'x')
        serve(listener)
for _ in range(3): os.read(ready, 1)
print(f'listening on 127.0.0.1:{port}', flush=True)
serve(first)
";

fn a_server_that_forks_for_each_connection_is_counted_with_its_children() {
    let Some((_socat, address)) = forking_socat() else {
        return;
    };
    // On a busy machine a process may end while it is measured; then the report says so instead.
    let measured = known(|| load(address, "-c 10"));
    let server = &measured.report(0)["server"];
    assert_eq!(server["listening"], serde_json::json!(["socat"]), "{measured}");
    // The one that listens, and two for each connection.
    assert!(number(server, "/processes") >= 21, "{server:#}");
    assert!(number(server, "/cpu_ns_per_message") > 1_000, "{server:#}");
    assert!(number(server, "/resident_bytes_per_connection") > 10_000, "{server:#}");
    assert_says(&measured.stdout, &["server       socat ("]);
}

fn processes_that_come_and_go_are_counted_and_their_context_switches_unknown() {
    let Some((_socat, address)) = forking_socat() else {
        return;
    };
    let measured = known(|| load(address, "-c 4 --churn 3 -d 500ms"));
    let server = &measured.report(0)["server"];
    // A fork, an exec and its end cost far more than 10 us of CPU time for each of three messages.
    assert!(number(server, "/cpu_ns_per_message") > 10_000, "{server:#}");
    assert_eq!(server["context_switches_voluntary"], Value::Null);
    assert_says(&measured.stdout, &["n/a context switches"]);
}

fn all_processes_that_share_a_port_are_counted() {
    let mut command = Command::new("python3");
    command.args(["-c", REUSEPORT]);
    let server = ServeProcess::spawn(command);
    let measured = known(|| load(server.address, "-c 16"));
    assert_eq!(number(measured.report(0), "/server/processes"), 4, "{measured}");
}

fn several_targets_have_a_row_each_and_the_server_is_all_of_them() {
    let servers = [(); 2].map(|()| ServeProcess::start(&["--workers", "1"]));
    let measured = known(|| load(servers[0].address, &format!("{} -c 10 -t 2", servers[1].address)));
    let report = measured.report(0);
    assert_eq!(number(report, "/server/processes"), 2, "{measured}");
    let rows = report["targets"].as_array().unwrap();
    let addresses: Vec<&str> = rows
        .iter()
        .map(|row| row["target"]["address"].as_str().unwrap())
        .collect();
    assert_eq!(addresses, servers.each_ref().map(|server| server.address.to_string()));
    let sum = |path: &str| rows.iter().map(|row| number(row, path)).sum::<u64>();
    for name in ["sent", "completed", "failed", "missing"] {
        let path = format!("/messages/{name}");
        assert_eq!(sum(&path), number(report, &path), "{name}");
    }
    assert_eq!((sum("/opened"), number(&rows[0], "/opened")), (10, 5));
    assert_eq!(sum("/latency/count"), number(report, "/latency/service/count"));
    let shown = servers.each_ref().map(|server| format!("\n  {} ", server.address));
    assert_says(&measured.stdout, &shown.each_ref().map(String::as_str));
}

fn one_target_has_no_rows() {
    let server = ServeProcess::start(&["--workers", "1"]);
    let measured = load(server.address, "-c 2");
    assert_eq!(measured.report(0)["targets"], serde_json::json!([]));
    assert_eq!(unknown(&measured), None, "{measured}");
}

/// socat that starts a process for each connection, and the address it listens at.
fn forking_socat() -> Option<(Process, SocketAddr)> {
    if Command::new("socat").arg("-V").output().is_err() {
        eprintln!("SKIPPED: needs socat");
        return None;
    }
    // It logs every connection: a pipe that is not read would fill up and block it.
    let log = NamedTempFile::new().unwrap();
    let mut command = Command::new("sh");
    let script = "exec socat -d -d TCP-LISTEN:0,bind=127.0.0.1,backlog=64,fork EXEC:cat 2>\"$0\"";
    command.args(["-c", script]).arg(log.path());
    let socat = Process::spawn(&mut command);
    let address = || {
        let text = std::fs::read_to_string(log.path()).unwrap();
        let line = text.lines().find(|line| line.contains("listening on"))?;
        line.split_whitespace().last()?.parse().ok()
    };
    until("socat listens", || address().is_some());
    Some((socat, address().unwrap()))
}

/// The first of ten runs that has figures of the server, or the last.
fn known(run: impl Fn() -> Finished) -> Finished {
    let mut measured = run();
    for _ in 1..10 {
        if unknown(&measured).is_none() {
            break;
        }
        measured = run();
    }
    measured
}

/// Why there are no figures of the server.
fn unknown(measured: &Finished) -> Option<String> {
    let report = measured
        .report
        .as_ref()
        .unwrap_or_else(|| panic!("no report: {measured}"));
    assert_eq!(
        report["server"].is_null(),
        report["server_unknown"].is_string(),
        "{measured}"
    );
    report["server_unknown"].as_str().map(str::to_owned)
}
