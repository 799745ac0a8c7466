//! A stalled server: stopped for a while in the middle of measuring, under an open and a closed loop.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use urecho::compare::Server;
use urecho::error::{Error, Result};
use urecho::serve::engine::Engine;
use urecho::sys::affinity;

/// Warm-up of `urecho load`, before it measures.
const WARMUP: Duration = Duration::from_secs(1);

/// The rows of a report that show the stall.
const ROWS: [&str; 7] = [
    "messages", "latency", "  p50 ", "  p90 ", "  p99 ", "  p99.9 ", "  max ",
];

/// Measures for `measured`, and stops the server for a tenth of it. Returns the commands and the rows of their reports.
pub(crate) fn run(measured: Duration) -> Result<String> {
    let loads = ["-c 50 --rate 5k/s", "-c 50"].map(|load| stalled_load(load, measured));
    Ok(loads.into_iter().collect::<Result<Vec<_>>>()?.join("\n"))
}

fn stalled_load(load: &str, measured: Duration) -> Result<String> {
    let program = env!("CARGO_BIN_EXE_urecho");
    let cpus = affinity::allowed();
    let (first, last) = (&cpus[..1], cpus[cpus.len() - 1]);
    let server = Server::start_program(program, Engine::Uring, &["--workers", "1"], first)?;
    let flags = format!(
        "-d {}ms --warmup {}ms --drain 3s {load} --pin {last}",
        measured.as_millis(),
        WARMUP.as_millis()
    );
    let child = Command::new(program)
        .args(["load", &server.address().to_string()])
        .args(flags.split_whitespace())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|cause| Error::Machine(format!("cannot start {program}: {cause}")))?;
    thread::sleep(WARMUP + measured.mul_f64(0.45));
    signal(&server, Signal::SIGSTOP)?;
    thread::sleep(measured / 10);
    signal(&server, Signal::SIGCONT)?;
    let output = child
        .wait_with_output()
        .map_err(|cause| Error::Machine(format!("cannot wait for {program}: {cause}")))?;
    server.stop()?;
    let report = String::from_utf8_lossy(&output.stdout);
    let rows = report
        .lines()
        .filter(|line| ROWS.iter().any(|row| line.starts_with(row)));
    let rows: Vec<&str> = rows.collect();
    Ok(format!("$ urecho load {flags}\n{}\n", rows.join("\n")))
}

fn signal(server: &Server, signal: Signal) -> Result<()> {
    for process in server.processes() {
        kill(Pid::from_raw(process), signal)
            .map_err(|cause| Error::Machine(format!("cannot send {signal} to the server: {cause}")))?;
    }
    Ok(())
}
