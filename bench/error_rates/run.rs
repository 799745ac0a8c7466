//! Running checks whose correct verdict is known, one after another.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::thread::{self, JoinHandle};

use urecho::check::output::Check;
use urecho::check::record::StopReason;
use urecho::clock::Nanos;
use urecho::compare::Server;
use urecho::error::{Error, Result};
use urecho::load::schedule::{Arrivals, Pace, Rate};
use urecho::load::{self, Plan, Workload};
use urecho::output::json;
use urecho::random::Random;
use urecho::serve::uring::fault::Fault;
use urecho::sys::signal::Stop;

use crate::log::{self, Line};

/// The program under test.
const URECHO: &str = env!("CARGO_BIN_EXE_urecho");

/// Default treatments, in turn. Most are without a change, because showing a false-alarm rate of 1 % takes ten times as
/// many checks as showing a power of 90 %. 250 ns of CPU time were 4.2 % of p50 and 3.9 % of throughput on the reference
/// machine (medians of 38 checks).
const TREATMENTS: [&str; 13] = [
    "A/A",
    "A/A'",
    "spin=250ns",
    "A/A",
    "A/A'",
    "A/A",
    "A/A'",
    "spin=250ns",
    "A/A",
    "A/A'",
    "A/A",
    "A/A'",
    "spin=250ns",
];

/// One check in three has a second load on the machine. Coprime to the number of treatments, so that each has one.
const SECOND_LOAD_EVERY: usize = 3;

/// Messages per second of the second load: its server and generator together take about 15 % of a CPU.
const SECOND_LOAD_RATE: f64 = 5_000.0;

/// The environment of A/A' grows by less than this: a page, which moves the stack by any number of cache lines.
const LAYOUTS: usize = 4096;

/// How head differs from base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// Not at all.
    Same,
    /// By its memory layout only.
    OtherLayout,
    /// By an injected fault: the argument of `serve --fault`.
    Fault(String),
}

impl FromStr for Treatment {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Treatment, String> {
        match text {
            "A/A" => Ok(Treatment::Same),
            "A/A'" => Ok(Treatment::OtherLayout),
            fault => Fault::parse(fault).map(|_| Treatment::Fault(fault.into())),
        }
    }
}

impl Treatment {
    fn name(&self) -> &str {
        match self {
            Treatment::Same => "A/A",
            Treatment::OtherLayout => "A/A'",
            Treatment::Fault(fault) => fault,
        }
    }

    /// The command of head.
    fn command(&self) -> String {
        let base = base_command();
        match self {
            Treatment::Same => base,
            Treatment::OtherLayout => {
                let length = Random::new(Random::seed_from_os(), 0).below(LAYOUTS);
                format!("env LAYOUT={} {base}", "x".repeat(length))
            }
            Treatment::Fault(fault) => format!("{base} --fault {fault}"),
        }
    }
}

fn base_command() -> String {
    shell_words::join([URECHO, "serve", "--workers", "1", "--listen", "127.0.0.1:{port}"])
}

/// What to run.
pub(crate) struct Request {
    /// The log to continue.
    pub(crate) log: PathBuf,
    /// Number of checks.
    pub(crate) checks: usize,
    /// Treatments, in turn; empty for the default.
    pub(crate) treatments: Vec<Treatment>,
    /// Further arguments of every check.
    pub(crate) arguments: Vec<String>,
}

/// Runs the checks, and appends a line for each that was not interrupted.
pub(crate) fn run(request: &Request) -> Result<()> {
    let text = if request.log.exists() {
        fs::read_to_string(&request.log).map_err(|cause| Error::Usage(format!("cannot read the log: {cause}")))?
    } else {
        String::new()
    };
    let done = log::read(&text)?.len();
    let default = TREATMENTS.map(|name| Treatment::from_str(name).expect("a valid treatment"));
    let treatments = match request.treatments.as_slice() {
        [] => &default[..],
        treatments => treatments,
    };
    let stop = Stop::on_signals()?;
    for number in (done..).take(request.checks) {
        let treatment = &treatments[number % treatments.len()];
        let second_load = number % SECOND_LOAD_EVERY == SECOND_LOAD_EVERY - 1;
        let load = second_load.then(SecondLoad::start).transpose()?;
        let check = check(treatment, &request.arguments)?;
        drop(load);
        if stop.signal().is_some() || check.record.stop_reason == StopReason::Interrupted {
            break;
        }
        append(
            &request.log,
            &json::line(&Line::of(&check, treatment.name(), second_load)),
        )?;
        let note = if second_load { ", second load" } else { "" };
        println!("{}{note}: {}", treatment.name(), check.summary().headline());
    }
    Ok(())
}

/// Runs `urecho check` as a user would, and reads its JSON.
fn check(treatment: &Treatment, arguments: &[String]) -> Result<Check> {
    let output = Command::new(URECHO)
        .arg("check")
        .args(["--base", &base_command(), "--head", &treatment.command(), "--json", "-"])
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|cause| Error::Machine(format!("cannot start {URECHO}: {cause}")))?;
    Check::replay(&String::from_utf8_lossy(&output.stdout))
}

fn append(path: &Path, line: &str) -> Result<()> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    written.map_err(|cause| Error::Machine(format!("cannot write to {}: {cause}", path.display())))
}

/// A second load on this machine: a server and connections that have nothing to do with the check.
struct SecondLoad {
    stop: Stop,
    load: Option<JoinHandle<()>>,
    _server: Server,
}

impl SecondLoad {
    fn start() -> Result<SecondLoad> {
        let server = Server::start_program(URECHO, 1, &[])?;
        let stop = Stop::new()?;
        let rate = SECOND_LOAD_RATE;
        let workload = Workload {
            connections: 10,
            pace: Pace::Open {
                rate: Rate { from: rate, to: rate },
                arrivals: Arrivals::Poisson,
            },
            duration: Nanos(3_600_000_000_000),
            spin: false, // It takes what it needs, not a whole CPU.
            ..Workload::default()
        };
        let plan = Plan {
            targets: vec![server.address().into()],
            workload,
        };
        let stopped = stop.clone();
        let load = thread::spawn(move || {
            let _ = load::run(plan, &stopped, &mut ()); // Its figures are not used.
        });
        Ok(SecondLoad {
            stop,
            load: Some(load),
            _server: server,
        })
    }
}

impl Drop for SecondLoad {
    fn drop(&mut self) {
        self.stop.fire();
        if let Some(load) = self.load.take() {
            let _ = load.join(); // Its result is not used.
        }
    }
}
