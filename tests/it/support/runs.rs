//! `urecho` commands that write a JSON report: every report that a test sees has been validated and added up.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::ops::Deref;
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::reports::complaints;
use super::{Output, Process, TIMEOUT, io};

/// Short phases where a test does not set them. A drain ends with the last reply, so a long limit costs nothing.
const PHASES: [(&str, &str); 3] = [("-d", "200ms"), ("--warmup", "50ms"), ("--drain", "20s")];

/// A command that writes its report to a file of its own. Killed when dropped.
pub(crate) struct Running {
    process: Process,
    folder: TempDir,
}

/// Exit status and output of a command, and its report if it wrote one.
pub(crate) struct Finished {
    output: Output,
    pub(crate) report: Option<Value>,
}

/// Repeats a run until it ends with anything but an INVALID verdict, which a machine that is too busy causes.
pub(crate) fn until_valid<T: AsRef<Output>>(mut run: impl FnMut() -> T) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let ended = run();
        if !is_invalid(ended.as_ref()) || Instant::now() > deadline {
            return ended;
        }
    }
}

pub(crate) fn is_invalid(ended: &Output) -> bool {
    ended.code() == Some(3) && ended.stdout.contains("INVALID")
}

/// Runs `urecho load` with these flags and short phases until it exits.
pub(crate) fn load(target: SocketAddr, flags: &str) -> Finished {
    Running::load(target, flags).wait()
}

/// The same with targets as they are typed: names, or several of them.
pub(crate) fn load_targets(targets: &str, flags: &str) -> Finished {
    Running::with_phases(&format!("load {targets}"), flags).wait()
}

impl Running {
    pub(crate) fn load(target: SocketAddr, flags: &str) -> Running {
        Running::with_phases(&format!("load {target}"), flags)
    }

    pub(crate) fn bench(flags: &str) -> Running {
        Running::with_phases("bench", flags)
    }

    /// `urecho compare` with these candidates, NAME=COMMAND each.
    pub(crate) fn compare(candidates: &[String], flags: &str) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
        command.arg("compare").args(candidates).args(flags.split_whitespace());
        io::apply(&mut command);
        Running::spawn(command)
    }

    /// `urecho compare` with `limit` as the maximum number of descriptors.
    pub(crate) fn compare_with_descriptors(limit: u32, candidates: &[String], flags: &str) -> Running {
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {limit}; exec \"$0\" compare \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_urecho")]);
        command.args(candidates).args(flags.split_whitespace());
        Running::spawn(command)
    }

    /// `urecho check` of these two commands.
    pub(crate) fn check(base: &str, head: &str, flags: &str) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
        command
            .args(["check", "--base", base, "--head", head])
            .args(flags.split_whitespace())
            .env_remove("GITHUB_ACTIONS")
            .env_remove("GITHUB_STEP_SUMMARY");
        io::apply(&mut command);
        Running::spawn(command)
    }

    fn with_phases(subcommand: &str, flags: &str) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
        command
            .args(subcommand.split_whitespace())
            .args(flags.split_whitespace());
        for (flag, value) in PHASES {
            if !flags.split_whitespace().any(|word| word == flag) {
                command.args([flag, value]);
            }
        }
        io::apply(&mut command);
        Running::spawn(command)
    }

    fn spawn(mut command: Command) -> Running {
        let folder = TempDir::new().unwrap();
        command.arg("--json").arg(folder.path().join("report.json"));
        Running {
            process: Process::spawn(&mut command),
            folder,
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.pid()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits until it has exited. A report that it wrote must be valid.
    pub(crate) fn wait(self) -> Finished {
        let output = self.process.wait();
        let text = fs::read_to_string(self.folder.path().join("report.json"));
        let report = text.ok().map(|text| serde_json::from_str(&text).unwrap());
        if let Some(report) = &report {
            assert_eq!(complaints(report), [""; 0], "{report:#}");
        }
        Finished { output, report }
    }
}

impl Finished {
    /// Its report, if it exited with `code`. Where 0 is expected, 3 is accepted with an INVALID report: a run this
    /// short on a machine this busy may be invalid, and these tests are not about that.
    pub(crate) fn report(&self, code: i32) -> &Value {
        let report = self
            .report
            .as_ref()
            .unwrap_or_else(|| panic!("no report was written: {self}"));
        let invalid = report["verdict"]["grade"] == "INVALID";
        let expected = if code == 0 && invalid { 3 } else { code };
        assert_eq!(self.code(), Some(expected), "{self}");
        report
    }

    /// The one error message of a command that exited with `code` and wrote nothing else.
    pub(crate) fn refusal(&self, code: i32) -> &str {
        assert_eq!(self.code(), Some(code), "{self}");
        assert!(self.report.is_none() && self.stdout.is_empty(), "{self}");
        assert!(
            self.stderr.starts_with("urecho: ") && self.stderr.lines().count() == 1,
            "{self}"
        );
        &self.stderr
    }
}

impl AsRef<Output> for Finished {
    fn as_ref(&self) -> &Output {
        &self.output
    }
}

impl Deref for Finished {
    type Target = Output;

    fn deref(&self) -> &Output {
        &self.output
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.output.fmt(f)
    }
}
