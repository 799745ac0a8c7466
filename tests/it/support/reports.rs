//! `urecho load` as a process, and its report: every JSON that a test sees has been validated and added up.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use jsonschema::Validator;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::Ended;

/// Longer than any run here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Short phases, for runs that do not say otherwise. A drain ends when everything is back: it may be long.
const PHASES: [(&str, &str); 3] = [("-d", "200ms"), ("--warmup", "50ms"), ("--drain", "20s")];

/// A measuring process that writes its report to a file of its own. Killed with its handle.
pub(crate) struct Measuring {
    child: Option<Child>,
    folder: TempDir,
}

/// How it ended, and what it reported, if it did.
pub(crate) struct Measured {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    report: Option<Value>,
}

/// `urecho load` with these flags, and short phases, to its end.
pub(crate) fn load(target: SocketAddr, flags: &str) -> Measured {
    Measuring::load(target, flags).wait()
}

impl Measuring {
    pub(crate) fn load(target: SocketAddr, flags: &str) -> Measuring {
        Measuring::start(&format!("load {target}"), flags)
    }

    pub(crate) fn bench(flags: &str) -> Measuring {
        Measuring::start("bench", flags)
    }

    /// `urecho compare` among these candidates, NAME=COMMAND each.
    pub(crate) fn compare(candidates: &[String], flags: &str) -> Measuring {
        let mut process = Command::new(env!("CARGO_BIN_EXE_urecho"));
        process.arg("compare").args(candidates).args(flags.split_whitespace());
        Measuring::spawn(process)
    }

    /// `urecho check` of these two.
    pub(crate) fn check(base: &str, head: &str, flags: &str) -> Measuring {
        let mut process = Command::new(env!("CARGO_BIN_EXE_urecho"));
        process
            .args(["check", "--base", base, "--head", head])
            .args(flags.split_whitespace())
            .env_remove("GITHUB_ACTIONS")
            .env_remove("GITHUB_STEP_SUMMARY");
        Measuring::spawn(process)
    }

    /// The same in a process that may have so many descriptors.
    pub(crate) fn compare_with_descriptors(limit: u32, candidates: &[String], flags: &str) -> Measuring {
        let mut process = Command::new("sh");
        let script = format!("ulimit -n {limit}; exec \"$0\" compare \"$@\"");
        process.args(["-c", &script, env!("CARGO_BIN_EXE_urecho")]);
        process.args(candidates).args(flags.split_whitespace());
        Measuring::spawn(process)
    }

    fn start(command: &str, flags: &str) -> Measuring {
        let mut process = Command::new(env!("CARGO_BIN_EXE_urecho"));
        process.args(command.split_whitespace()).args(flags.split_whitespace());
        for (flag, value) in PHASES {
            if !flags.split_whitespace().any(|word| word == flag) {
                process.args([flag, value]);
            }
        }
        Measuring::spawn(process)
    }

    fn spawn(mut process: Command) -> Measuring {
        let folder = TempDir::new().unwrap();
        process.arg("--json").arg(folder.path().join("report.json"));
        process
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Measuring {
            child: Some(process.spawn().unwrap()),
            folder,
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.as_ref().unwrap().id().cast_signed()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits for its end. What it reported must be valid, and add up.
    pub(crate) fn wait(mut self) -> Measured {
        let ended = wait(self.child.take().unwrap());
        let text = std::fs::read_to_string(self.folder.path().join("report.json"));
        let report = text.ok().map(|text| serde_json::from_str(&text).unwrap());
        if let Some(report) = &report {
            assert_eq!(complaints(report), [""; 0], "{report:#}");
        }
        Measured {
            code: ended.status.code(),
            stdout: ended.stdout,
            stderr: ended.stderr,
            report,
        }
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill(); // It may have ended by itself.
            let _ = child.wait();
        }
    }
}

impl Measured {
    /// Its report, after this exit code. Where 0 is expected 3 will do if the report is INVALID: a run this short on a
    /// machine this busy may be, and it is not what these tests are about.
    pub(crate) fn report(&self, code: i32) -> &Value {
        let report = self
            .report
            .as_ref()
            .unwrap_or_else(|| panic!("no report was written: {self}"));
        let invalid = report["verdict"]["grade"] == "INVALID";
        let expected = if code == 0 && invalid { 3 } else { code };
        assert_eq!(self.code, Some(expected), "{self}");
        report
    }

    /// It failed without a report, with this exit code and one message; here it is.
    pub(crate) fn refusal(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{self}");
        assert!(self.report.is_none() && self.stdout.is_empty(), "{self}");
        assert!(
            self.stderr.starts_with("urecho: ") && self.stderr.lines().count() == 1,
            "{self}"
        );
        &self.stderr
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {:?}\n{}\n{}", self.code, self.stdout, self.stderr)
    }
}

/// A number in a report, by its path: `/messages/sent`.
pub(crate) fn number(report: &Value, path: &str) -> u64 {
    let value = report.pointer(path).and_then(Value::as_u64);
    value.unwrap_or_else(|| panic!("no number at {path} of {report:#}"))
}

/// Waits for a child that was spawned with pipes. Kills it and fails if it takes too long.
fn wait(mut child: Child) -> Ended {
    // Short texts: they fit into the pipes, nobody has to read meanwhile.
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("still running: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let output = child.wait_with_output().unwrap();
    Ended {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// What is wrong with a comparison, by its schema.
pub(crate) fn complaints_of_comparison(report: &Value) -> Vec<String> {
    static SCHEMA: LazyLock<Validator> = LazyLock::new(|| validator(urecho::compare::comparison::COMPARE_SCHEMA));
    complaints_by(&SCHEMA, report)
}

/// What is wrong with a check, by its schema.
pub(crate) fn complaints_of_check(report: &Value) -> Vec<String> {
    static SCHEMA: LazyLock<Validator> = LazyLock::new(|| validator(urecho::check::report::CHECK_SCHEMA));
    complaints_by(&SCHEMA, report)
}

fn validator(schema: &str) -> Validator {
    let schema = serde_json::from_str(schema).unwrap();
    jsonschema::draft202012::new(&schema).unwrap()
}

fn complaints_by(schema: &Validator, report: &Value) -> Vec<String> {
    let errors = schema.iter_errors(report);
    errors
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

/// What is wrong with a report: by its schema, and by what a schema cannot say.
pub(crate) fn complaints(report: &Value) -> Vec<String> {
    if report["schema"] == urecho::compare::comparison::SCHEMA {
        return complaints_of_comparison(report);
    }
    if report["schema"] == urecho::check::report::SCHEMA {
        return complaints_of_check(report);
    }
    static SCHEMA: LazyLock<Validator> = LazyLock::new(|| validator(urecho::report::LOAD_SCHEMA));
    let complaints = complaints_by(&SCHEMA, report);
    if !complaints.is_empty() {
        return complaints;
    }
    let mut complaints = sums(report);
    for path in DISTRIBUTIONS {
        let distribution = report.pointer(path).unwrap();
        if !distribution.is_null() {
            complaints.extend(disorder(path, distribution));
        }
    }
    complaints
}

/// Everything with percentiles; null where it does not apply.
const DISTRIBUTIONS: [&str; 7] = [
    "/connect_ns",
    "/first_byte_ns",
    "/close_ns",
    "/send_lag_ns",
    "/rtt_ns",
    "/latency_ns/service",
    "/latency_ns/response",
];

/// Sums that must hold in every report.
fn sums(report: &Value) -> Vec<String> {
    let at = |path: &str| number(report, path);
    let total = |path| -> u64 {
        let kinds = report.pointer(path).and_then(Value::as_object).unwrap();
        kinds.values().filter_map(Value::as_u64).sum()
    };
    let [sent, ok, failed, missing] = ["sent", "ok", "failed", "missing"].map(|name| at(&format!("/messages/{name}")));
    let whole = report["partial"] == false;
    // A message that waited for its turn to the end has a response time, and no service time.
    let open = report["plan"]["mode"] == "open";
    let latency = if open {
        "/latency_ns/response"
    } else {
        "/latency_ns/service"
    };
    let opened = at("/connections/opened") + at("/connections/failed");
    let rules = [
        (sent == ok + failed + missing, "sent is not ok + failed + missing"),
        (
            at(&format!("{latency}/count")) == ok + missing,
            "not a sample for each message",
        ),
        (
            at(&format!("{latency}/censored")) == missing,
            "not a censored sample for each that is missing",
        ),
        (
            at("/connections/failed") == total("/connections/failures"),
            "failures do not add up",
        ),
        (
            total("/connections/lost") <= at("/connections/opened"),
            "more lost than opened",
        ),
        (
            !whole || !report["plan"]["churn"].is_null() || opened == at("/connections/requested"),
            "opened and failed are not all",
        ),
    ];
    rules
        .into_iter()
        .filter(|(holds, _)| !holds)
        .map(|(_, what)| what.to_owned())
        .collect()
}

/// BlockFigures of a distribution that are smaller than one before them, or of no samples.
fn disorder(path: &str, distribution: &Value) -> Vec<String> {
    let names = ["min", "p50", "p90", "p99", "p99_9", "p99_99", "max"];
    let known: Vec<u64> = names.iter().filter_map(|name| distribution[*name].as_u64()).collect();
    let empty = distribution["count"] == 0;
    let mut complaints = Vec::new();
    if !known.is_sorted() {
        complaints.push(format!("{path}: {known:?} do not ascend"));
    }
    if empty != known.is_empty() {
        complaints.push(format!("{path}: figures without samples, or samples without figures"));
    }
    complaints
}
