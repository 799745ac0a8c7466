//! `urecho serve` as a child process, observed through /proc.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use urecho::serve::engine::Engine;
use urecho::sys::limits;

use super::engines::wants_direct_descriptors;
use super::{Output, Process, connect};

fn engine_flags(engine: Engine) -> Vec<&'static str> {
    let mut flags = vec!["--engine", engine.name()];
    if engine == Engine::Uring && wants_direct_descriptors() {
        flags.push("--direct-descriptors");
    }
    flags
}

/// A running `urecho serve`. Killed when dropped.
pub(crate) struct ServeProcess {
    pub(crate) address: SocketAddr,
    /// The line on stdout that announced the address.
    pub(crate) announced: String,
    process: Process,
}

impl ServeProcess {
    /// `urecho serve --listen 127.0.0.1:0` with these flags, on the default engine.
    pub(crate) fn start(flags: &[&str]) -> ServeProcess {
        ServeProcess::on(Engine::default(), flags)
    }

    pub(crate) fn on(engine: Engine, flags: &[&str]) -> ServeProcess {
        let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(engine_flags(engine))
            .args(flags);
        ServeProcess::spawn(command)
    }

    /// Like [`on`](Self::on), with `limit` as the maximum number of descriptors.
    pub(crate) fn with_descriptors(limit: usize, engine: Engine, flags: &[&str]) -> ServeProcess {
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {limit}; exec \"$0\" serve --listen 127.0.0.1:0 \"$@\"");
        command
            .args(["-c", &script, env!("CARGO_BIN_EXE_urecho")])
            .args(engine_flags(engine))
            .args(flags);
        ServeProcess::spawn(command)
    }

    /// Starts a command that ends up as `urecho serve`, and waits until it listens.
    pub(crate) fn spawn(mut command: Command) -> ServeProcess {
        limits::raise_descriptors();
        let mut process = Process::spawn(&mut command);
        let announced = process.read_line();
        // `listening on ADDRESS ...`
        let address = announced.split_whitespace().nth(2).and_then(|word| word.parse().ok());
        match address {
            Some(address) => ServeProcess {
                address,
                announced,
                process,
            },
            None => panic!("no address in {announced:?}: {}", process.wait()),
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// False once it has exited.
    pub(crate) fn is_running(&self) -> bool {
        // A zombie has no command line.
        fs::read(self.proc("cmdline")).is_ok_and(|line| !line.is_empty())
    }

    /// Waits until it has exited without being asked here.
    pub(crate) fn wait(self) -> Output {
        self.process.wait()
    }

    /// The next line on its stdout; empty at its end.
    pub(crate) fn read_line(&mut self) -> String {
        self.process.read_line()
    }

    /// Changes the soft limit on its descriptors while it runs.
    pub(crate) fn limit_descriptors(&self, limit: usize) {
        let (pid, limit) = (self.process.pid(), format!("--nofile={limit}:"));
        let limited = Command::new("prlimit")
            .args(["--pid", &pid.to_string(), &limit])
            .status();
        assert!(limited.unwrap().success());
    }

    /// The number of open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// The number of those that are ends of pipes.
    pub(crate) fn ends_of_pipes(&self) -> usize {
        let is_pipe = |path: PathBuf| fs::read_link(path).is_ok_and(|what| what.to_string_lossy().starts_with("pipe:"));
        let descriptors = fs::read_dir(self.proc("fd")).unwrap();
        descriptors
            .filter(|entry| is_pipe(entry.as_ref().unwrap().path()))
            .count()
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib * 1024
    }

    /// CPU time of all its threads so far. Schedstat counts nanoseconds, utime ticks of 10 ms.
    pub(crate) fn cpu(&self) -> Duration {
        let nanos = self.tasks("schedstat").map(|text| {
            let first = text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
            first.unwrap_or(0)
        });
        Duration::from_nanos(nanos.sum())
    }

    /// The fraction of one CPU that it uses over the next second.
    pub(crate) fn busy(&self) -> f64 {
        let (before, start) = (self.cpu(), Instant::now());
        thread::sleep(Duration::from_secs(1));
        (self.cpu() - before).as_secs_f64() / start.elapsed().as_secs_f64()
    }

    /// The names of its threads.
    pub(crate) fn threads(&self) -> Vec<String> {
        self.tasks("comm").map(|name| name.trim().to_string()).collect()
    }

    fn tasks(&self, file: &'static str) -> impl Iterator<Item = String> {
        let tasks = fs::read_dir(self.proc("task")).unwrap();
        // A thread may exit between the two reads.
        tasks.filter_map(move |task| fs::read_to_string(task.ok()?.path().join(file)).ok())
    }

    pub(crate) fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.process.pid())
    }
}
