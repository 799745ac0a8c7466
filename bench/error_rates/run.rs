//! Running checks whose correct verdict is known, one after another.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};

use urecho::check::output::Check;
use urecho::clock::Nanos;
use urecho::compare::Server;
use urecho::error::{Error, Result};
use urecho::load::schedule::{Arrivals, Pace, Rate};
use urecho::load::{self, Plan, Workload};
use urecho::output::json;
use urecho::random::Random;
use urecho::report::Environment;
use urecho::serve::engine::Engine;
use urecho::sys::machine;
use urecho::sys::signal::Stop;

use crate::log::{self, Begin, End, Event, Line};
use crate::treatment::{Programs, Treatment, URECHO};

/// Default treatments, in turn: nine without a change, three of each kind, and eight faults.
///
/// Of 100 messages 99 are as fast as ever under `lag=1ms/100`; `memory=1MiB` is a tenth of what the server uses.
const TREATMENTS: [&str; 17] = [
    "A/A",
    "spin=250ns",
    "A/A-copy",
    "stall=5ms/1s",
    "A/A-build",
    "stall=50ms/1s",
    "A/A",
    "stall=200ms/1s",
    "A/A-copy",
    "stall=500ms/5s",
    "A/A-build",
    "lag=1ms/100",
    "A/A",
    "busy",
    "A/A-copy",
    "memory=1MiB",
    "A/A-build",
];

/// One check in three has a second load on the machine. Coprime to the number of treatments, so that each has one.
const SECOND_LOAD_EVERY: usize = 3;

/// Messages per second of the second load: its server and generator together take about 15 % of a CPU.
const SECOND_LOAD_RATE: f64 = 5_000.0;

/// What to run.
pub(crate) struct Request {
    /// The log to continue.
    pub(crate) log: PathBuf,
    /// Number of checks.
    pub(crate) checks: usize,
    /// Treatments, in turn; empty for the default.
    pub(crate) treatments: Vec<Treatment>,
    /// Another build of the same commit; none to make it when it is needed.
    pub(crate) second_build: Option<PathBuf>,
    /// Further arguments of every check.
    pub(crate) arguments: Vec<String>,
}

/// Runs the checks. Each is in the log from its beginning.
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
    let programs = Programs::new(request.second_build.clone())?;
    let environment = Environment::of(machine::describe());
    let stop = Stop::on_signals()?;
    for number in (done..).take(request.checks) {
        let treatment = &treatments[number % treatments.len()];
        let head = treatment.head(&programs)?;
        let second_load = number % SECOND_LOAD_EVERY == SECOND_LOAD_EVERY - 1;
        let load = second_load.then(SecondLoad::start).transpose()?;
        let seed = Random::new(Random::seed_from_os(), 0).bits() >> 11; // Other JSON readers keep 53 bits.
        let begin = Begin {
            at_s: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |span| span.as_secs()),
            environment: environment.clone(),
            treatment: treatment.name().into(),
            second_load,
            arguments: request.arguments.clone(),
        };
        append(&request.log, seed, Event::Begin(Box::new(begin)))?;
        let check = check(&head, seed, &request.arguments)?;
        drop(load);
        append(&request.log, seed, Event::End(Box::new(End::of(&check))))?;
        if stop.signal().is_some() {
            break;
        }
        let note = if second_load { ", second load" } else { "" };
        println!("{}{note}: {}", treatment.name(), check.summary().headline());
    }
    Ok(())
}

/// Runs `urecho check` as a user would, and reads its JSON.
fn check(head: &str, seed: u64, arguments: &[String]) -> Result<Check> {
    let output = Command::new(URECHO)
        .arg("check")
        .args(["--base", &Treatment::base(), "--head", head, "--json", "-"])
        .args(["--seed", &seed.to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|cause| Error::Machine(format!("cannot start {URECHO}: {cause}")))?;
    Check::replay(&String::from_utf8_lossy(&output.stdout))
}

fn append(path: &Path, seed: u64, event: Event) -> Result<()> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    let line = json::line(&Line::new(seed, event));
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
        let server = Server::start_program(URECHO, Engine::Uring, &["--workers", "1"], &[])?;
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
