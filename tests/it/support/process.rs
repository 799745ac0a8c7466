//! Child processes: started, signalled, waited for with a time limit, and never left running.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longer than any child of these tests takes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(300);

/// A child process whose output is captured. Killed when dropped.
pub(crate) struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

/// Exit status and output of a process that has ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command until it exits.
pub(crate) fn run(command: &mut Command) -> Output {
    Process::spawn(command).wait()
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Process {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Process { child, stdout }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Reads the next line of stdout, or the empty string if the process has closed it.
    pub(crate) fn read_line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// Waits until it has exited. Panics after [`TIMEOUT`]; the process is killed then.
    pub(crate) fn wait(mut self) -> Output {
        let mut stderr = self.child.stderr.take().unwrap();
        let (child, pipe) = (&mut self.child, &mut self.stdout);
        // Both pipes are read while it runs: one that is full would block it.
        thread::scope(|scope| {
            let stdout = scope.spawn(|| read_to_end(pipe));
            let stderr = scope.spawn(|| read_to_end(&mut stderr));
            let status = wait_or_kill(child);
            let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
            match status {
                Some(status) => Output { status, stdout, stderr },
                None => panic!("still running after {TIMEOUT:?}: {stdout}\n{stderr}"),
            }
        })
    }
}

/// None if it had to be killed.
fn wait_or_kill(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return Some(status),
            None if Instant::now() > deadline => {
                let _ = child.kill(); // It may have exited this instant.
                let _ = child.wait();
                return None;
            }
            None => thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn read_to_end(pipe: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have exited already.
        let _ = self.child.wait();
    }
}

impl Output {
    /// None if a signal ended it.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

impl AsRef<Output> for Output {
    fn as_ref(&self) -> &Output {
        self
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}", self.status, self.stdout, self.stderr)
    }
}
