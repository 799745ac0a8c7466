//! The real binary as a child process: started, watched through /proc, and never left behind.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use urecho::serve::engine::Engine;
use urecho::sys::limits;

use super::{connect, until};

/// The real binary, serving.
pub(crate) struct ServeProcess {
    pub(crate) address: SocketAddr,
    /// The line that said so.
    pub(crate) announced: String,
    child: Child,
    stdout: BufReader<ChildStdout>,
}

/// How a process ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl ServeProcess {
    /// `urecho serve --listen 127.0.0.1:0` and more flags.
    pub(crate) fn start(flags: &[&str]) -> ServeProcess {
        ServeProcess::on(Engine::default(), flags)
    }

    /// The same on another engine.
    pub(crate) fn on(engine: Engine, flags: &[&str]) -> ServeProcess {
        let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(["--engine", engine.name()])
            .args(flags);
        ServeProcess::spawn(command)
    }

    /// The same with at most this many descriptors.
    pub(crate) fn with_descriptors(limit: usize, engine: Engine, flags: &[&str]) -> ServeProcess {
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {limit}; exec \"$0\" serve --listen 127.0.0.1:0 \"$@\"");
        command
            .args(["-c", &script, env!("CARGO_BIN_EXE_urecho")])
            .args(["--engine", engine.name()])
            .args(flags);
        ServeProcess::spawn(command)
    }

    pub(crate) fn spawn(mut command: Command) -> ServeProcess {
        limits::raise_descriptors();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut announced = String::new();
        stdout.read_line(&mut announced).unwrap();
        let address = announced.split_whitespace().nth(2).and_then(|word| word.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let output = child.wait_with_output().unwrap();
            panic!(
                "no address in {announced:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        };
        ServeProcess {
            address,
            announced,
            child,
            stdout,
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(mut self) -> Ended {
        let mut status = None;
        until("the server process has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Ended {
            status: status.unwrap(),
            stdout,
            stderr,
        }
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// CPU time of all of its threads so far: nanoseconds where utime has ticks of 10 ms.
    pub(crate) fn cpu(&self) -> Duration {
        let nanos = self.tasks("schedstat").map(|text| {
            let first = text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
            first.unwrap_or(0)
        });
        Duration::from_nanos(nanos.sum())
    }

    /// The share of one CPU that it uses within a second.
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
        // A thread may end while we look.
        tasks.filter_map(move |task| fs::read_to_string(task.ok()?.path().join(file)).ok())
    }

    fn proc(&self, what: &str) -> String {
        format!("/proc/{}/{what}", self.child.id())
    }
}

impl Drop for ServeProcess {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended by itself.
        let _ = self.child.wait();
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Ended {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Ended {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into(),
        stderr: String::from_utf8_lossy(&output.stderr).into(),
    }
}
