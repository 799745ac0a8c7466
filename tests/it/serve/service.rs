//! A server under a service manager, its metrics, and a restart that loses no connection.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use urecho::serve::engine::Engine;

use crate::support::{Process, ServeProcess, assert_echo, assert_says, connect, on_every_engine, until};

on_every_engine! {
    sockets_of_a_service_manager_are_served,
    a_service_manager_learns_what_the_server_does,
    metrics_are_served_over_http,
    a_restart_refuses_and_resets_no_connection,
}

const BINARY: &str = env!("CARGO_BIN_EXE_urecho");

fn sockets_of_a_service_manager_are_served(engine: Engine) {
    let script = "import os, socket, sys
listener = socket.socket(); listener.bind(('127.0.0.1', 0)); listener.listen()
os.dup2(listener.fileno(), 3) if listener.fileno() != 3 else os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[1], sys.argv[1:] + ['--listen', '192.0.2.1:7'])";
    let mut command = Command::new("python3");
    command.args(["-c", script, BINARY, "serve", "--engine", engine.name()]);
    let server = ServeProcess::spawn(command);
    assert_eq!(server.address.ip().to_string(), "127.0.0.1");
    assert_echo(&mut server.connect(), b"passed on");
    server.signal(Signal::SIGTERM);
    let ended = server.wait();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
}

#[test]
fn what_is_passed_must_be_a_listener() {
    let script = "exec 3</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve";
    let ended = crate::support::run(Command::new("sh").args(["-c", script, BINARY]));
    assert_eq!(ended.code(), Some(4), "{}", ended.stderr);
    assert_says(&ended.stderr, &["descriptor 3", "not a listening TCP socket"]);
}

fn a_service_manager_learns_what_the_server_does(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut command = Command::new(BINARY);
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--engine", engine.name()])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000");
    let server = ServeProcess::spawn(command);
    let hears = |expected: &str| {
        let mut message = [0; 256];
        until(expected, || {
            let length = manager.recv(&mut message).unwrap();
            String::from_utf8_lossy(&message[..length]).contains(expected)
        });
    };
    hears("READY=1");
    hears("WATCHDOG=1");
    hears("WATCHDOG=1");
    server.signal(Signal::SIGTERM);
    hears("STOPPING=1");
    assert_eq!(server.wait().code(), Some(0));
}

fn metrics_are_served_over_http(engine: Engine) {
    let metrics = free_address();
    let server = ServeProcess::on(engine, &["--workers", "2", "--metrics", &metrics.to_string()]);
    assert_echo(&mut server.connect(), b"counted");
    let ask = |request: &str| {
        let mut stream = connect(metrics);
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    };
    until("the connection is counted as closed", || {
        let reply = ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_says(
            &reply,
            &[
                "HTTP/1.1 200 OK\r\n",
                "urecho_accepted_total{worker=\"0\"} 1\n",
                "# EOF\n",
            ],
        );
        let received = ["0", "1"].map(|worker| format!("urecho_received_bytes_total{{worker=\"{worker}\"}} 7\n"));
        assert!(received.iter().any(|line| reply.contains(line)), "{reply}");
        reply.contains("urecho_connections 0\n")
    });
    assert!(ask("GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 404 "));
    assert!(ask("HELLO\r\n\r\n").starts_with("HTTP/1.1 400 "));
    assert!(ask("HEAD /metrics HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n"));
}

#[test]
fn metrics_are_public_only_if_that_is_wanted() {
    let ended = crate::support::run(Command::new(BINARY).args(["serve", "--listen", "127.0.0.1:0", "--metrics", ":0"]));
    assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
    assert_says(&ended.stderr, &["--metrics-public"]);
}

#[test]
fn sigusr1_writes_the_metrics_to_stderr() {
    let folder = tempfile::tempdir().unwrap();
    let (server, stderr) = with_stderr_in(folder.path(), Path::new(BINARY), "");
    assert_echo(&mut server.connect(), b"counted");
    server.signal(Signal::SIGUSR1);
    until("the metrics are written", || stderr().contains("# EOF"));
    assert_says(&stderr(), &["urecho_accepted_total"]);
    assert_echo(&mut server.connect(), b"it goes on");
}

fn a_restart_refuses_and_resets_no_connection(engine: Engine) {
    const SWAPS: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let mut server = Swapped::start(engine, folder.path());
    let (good, bad, end) = (AtomicU64::new(0), Mutex::new(Vec::new()), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| keep_connecting(server.address, &end, &good, &bad));
        }
        let mut current = server.process.pid();
        for _ in 0..SWAPS {
            kill(Pid::from_raw(current), Signal::SIGUSR2).unwrap();
            let line = server.process.read_line();
            assert!(line.starts_with("listening on"), "{line:?}");
            let before = current;
            until("the process before has ended", || {
                current = server.current();
                current != before && !is_running(before)
            });
        }
        server.pids.push(current);
        end.store(true, Ordering::Relaxed);
    });
    let (good, bad) = (good.into_inner(), bad.into_inner().unwrap());
    assert!(good > 100, "only {good} connections");
    assert_eq!(bad, [""; 0], "of {good} connections");
}

#[test]
fn without_a_successor_connections_are_refused() {
    // The check above must be able to fail: a server that is stopped and started again loses connections.
    let server = ServeProcess::start(&[]);
    let (good, bad, end) = (AtomicU64::new(0), Mutex::new(Vec::new()), AtomicBool::new(false));
    let address = server.address;
    thread::scope(|scope| {
        scope.spawn(|| keep_connecting(address, &end, &good, &bad));
        until("it serves", || good.load(Ordering::Relaxed) > 10);
        server.signal(Signal::SIGTERM);
        until("a connection fails", || !bad.lock().unwrap().is_empty());
        end.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_server_whose_successor_fails_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("urecho");
    fs::copy(BINARY, &program).unwrap();
    let (server, stderr) = with_stderr_in(folder.path(), &program, "");
    fs::remove_file(&program).unwrap();
    server.signal(Signal::SIGUSR2);
    until("the failure is reported", || stderr().contains("which goes on"));
    assert_says(&stderr(), &["cannot start"]);
    assert_echo(&mut server.connect(), b"it goes on");
}

#[test]
fn a_server_that_drains_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (server, stderr) = with_stderr_in(folder.path(), Path::new(BINARY), "");
    let mut stuck = server.connect();
    crate::support::shrink(&stuck);
    crate::support::stuff(std::slice::from_ref(&stuck));
    server.signal(Signal::SIGTERM);
    until("it drains", || TcpStream::connect(server.address).is_err());
    server.signal(Signal::SIGUSR2);
    until("it says so", || {
        stderr().contains("a server that drains is not replaced")
    });
    assert!(stuck.read(&mut [0]).is_ok(), "it is served to the end");
}

#[test]
fn a_worker_that_fails_after_the_handover_leaves_the_listeners_open() {
    let folder = tempfile::tempdir().unwrap();
    let (server, stderr) = with_stderr_in(folder.path(), Path::new(BINARY), "--workers 1 --fault panic=all");
    let mut old = server.connect();
    server.signal(Signal::SIGUSR2);
    until("it is replaced", || stderr().contains("accepts connections now"));
    let successor = stderr().lines().find_map(successor_of).unwrap();
    let address = server.address;
    let _ = old.write_all(b"x"); // The drain may have ended it.
    until("its worker has failed", || !server.is_running()); // The successor has its stdout, so nothing waits for its end.
    let connected = TcpStream::connect(address);
    kill(Pid::from_raw(successor), Signal::SIGKILL).unwrap();
    assert!(connected.is_ok(), "{connected:?}: {}", stderr());
}

/// The process id in the line of a server that was replaced.
fn successor_of(line: &str) -> Option<i32> {
    line.strip_prefix("process ")?.split(' ').next()?.parse().ok()
}

/// A server whose stderr is in a file, which the closure reads.
fn with_stderr_in(folder: &Path, program: &Path, flags: &str) -> (ServeProcess, impl Fn() -> String) {
    let path = folder.join("stderr");
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" serve --listen 127.0.0.1:0 $2 2>\"$1\""]);
    let server = ServeProcess::spawn({
        command.arg(program).arg(&path).arg(flags);
        command
    });
    (server, move || fs::read_to_string(&path).unwrap())
}

#[test]
fn the_unit_for_systemd_exposes_little() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/src/serve/systemd/urecho.service");
    let mut command = Command::new("systemd-analyze");
    // In tenths: it fails above 2.0.
    command.args(["security", "--offline=true", "--threshold=20", "--no-pager", unit]);
    match command.output() {
        Ok(ended) => assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout)),
        Err(cause) => println!("SKIPPED: needs systemd-analyze: {cause}"),
    }
}

/// A server that replaces itself, with all of its processes.
struct Swapped {
    process: Process,
    address: SocketAddr,
    pids: Vec<i32>,
    stderr: std::path::PathBuf,
}

impl Swapped {
    fn start(engine: Engine, folder: &Path) -> Swapped {
        let stderr = folder.join("stderr");
        let mut command = Command::new("sh");
        let script = "exec \"$0\" serve --listen 127.0.0.1:0 --engine $1 --workers 2 2>\"$2\"";
        command.args(["-c", script, BINARY, engine.name()]).arg(&stderr);
        let mut process = Process::spawn(&mut command);
        let line = process.read_line();
        let address = line.split_whitespace().nth(2).unwrap().parse().unwrap();
        let pids = vec![process.pid()];
        Swapped {
            process,
            address,
            pids,
            stderr,
        }
    }

    /// The process that accepts now.
    fn current(&self) -> i32 {
        let text = fs::read_to_string(&self.stderr).unwrap();
        let pids = text.lines().filter_map(successor_of);
        pids.fold(self.pids[0], |_, pid| pid)
    }
}

impl Drop for Swapped {
    fn drop(&mut self) {
        let last = self.current();
        if is_running(last) {
            kill(Pid::from_raw(last), Signal::SIGKILL).unwrap();
        }
    }
}

fn is_running(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

/// Connects, echoes a message and closes, again and again.
/// Connects and has a byte echoed, again and again. Keeps what failed, and after how long.
fn keep_connecting(address: SocketAddr, end: &AtomicBool, good: &AtomicU64, bad: &Mutex<Vec<String>>) {
    while !end.load(Ordering::Relaxed) {
        let began = Instant::now();
        let echo = || -> std::io::Result<()> {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            stream.write_all(b"x")?;
            stream.read_exact(&mut [0])
        };
        match echo() {
            Ok(()) => drop(good.fetch_add(1, Ordering::Relaxed)),
            Err(error) => bad.lock().unwrap().push(format!("{error} after {:?}", began.elapsed())),
        }
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
