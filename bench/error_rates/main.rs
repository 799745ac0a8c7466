//! `urecho check --self-test`: checks whose right answer is known, one after the other, into a log.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::{self, JoinHandle};

use clap::Args;

use super::{Flags, append, in_file};
use crate::check::proof::{self, Outcome};
use crate::check::report::Check;
use crate::cli::progress;
use crate::clock::Nanos;
use crate::compare::{Candidate, Server};
use crate::error::{Error, Result};
use crate::load::schedule::{Arrivals, Pace, Rate};
use crate::load::{self, Plan, Workload};
use crate::random::Random;
use crate::report::{Environment, files};
use crate::serve::engine::Engine;
use crate::serve::uring::fault::Fault;
use crate::sys::machine;
use crate::sys::signal::{self, Stop};

/// What is in head, in turns: nothing, another layout, or slowness. Most of the checks are of two things alike, because
/// it takes ten times as many of them to show 1 % as it takes others to show 90 %. 250 ns of CPU time were 4.2 % of p50
/// and 3.9 % of throughput on the reference machine (medians of 38 checks).
const TURNS: [&str; 13] = [
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

/// One check of so many has a second load beside it. Nothing that divides the turns, so that all of them have one.
const COMPETING: usize = 3;

/// Messages a second of the second load: server and generator together take some 15 % of a CPU.
const COMPETING_RATE: f64 = 5_000.0;

/// The most that the environment of A/A' grows by: a page, which moves the stack by any of its lines.
const LAYOUTS: u64 = 4096;

#[derive(Debug, Args)]
pub(super) struct SelfTest {
    /// Check two servers alike, and slow ones, again and again; add what comes out to --log
    #[arg(long, requires = "log", conflicts_with_all = ["base", "head", "replay", "seed", "json", "markdown", "junit", "append", "baseline", "trend"])]
    self_test: bool,
    /// How many checks; without it, until it is stopped
    #[arg(long, value_name = "N", requires = "self_test", value_parser = crate::cli::at_least_one)]
    runs: Option<u32>,
    /// What is in head, in turns: `A/A` for the same, `A/A'` for the same laid out differently in memory, or slowness, as in
    /// `spin=200ns`, `delay=20us` and `stall=5ms/1s` [default: ten of 13 are of two alike, three are `spin=250ns`]
    #[arg(long, value_name = "WHAT,...", value_delimiter = ',', value_parser = plantable, requires = "self_test")]
    turns: Vec<String>,
    /// The log of the self-tests: a line of JSON for each
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Make the page of error rates from --log
    #[arg(long, value_name = "FILE", requires = "log", conflicts_with_all = ["base", "head", "replay", "json", "markdown", "junit", "append", "baseline", "trend"])]
    page: Option<PathBuf>,
}

impl SelfTest {
    /// True if nothing is to be checked but ourselves.
    pub(super) fn is_meant(&self) -> bool {
        self.self_test || self.page.is_some()
    }
}

fn plantable(text: &str) -> std::result::Result<String, String> {
    if !text.starts_with("A/A") {
        Fault::parse(text)?;
    } else if !["A/A", "A/A'"].contains(&text) {
        return Err("write `A/A`, `A/A'`, or slowness, as in `spin=200ns`".into());
    }
    Ok(text.into())
}

pub(super) fn run(flags: &Flags) -> Result<ExitCode> {
    let options = &flags.self_test;
    let log = options.log.as_deref().expect("clap has seen to it");
    let mut code = ExitCode::SUCCESS;
    if options.self_test {
        code = rehearse(flags, log)?;
    }
    if let Some(page) = &options.page {
        files::write_whole(page, &proof::page(&in_file(log, proof::read)?))?;
    }
    Ok(code)
}

fn rehearse(flags: &Flags, log: &Path) -> Result<ExitCode> {
    let stop = Stop::on_signals()?;
    let environment = Environment::of(machine::describe()); // Before this thread is pinned.
    let done = if log.exists() {
        in_file(log, proof::read)?.len()
    } else {
        0
    };
    let mut turns: Vec<&str> = flags.self_test.turns.iter().map(String::as_str).collect();
    if turns.is_empty() {
        turns.extend(TURNS);
    }
    let runs = flags.self_test.runs.map_or(usize::MAX, |runs| runs as usize);
    for turn in (done..).take(runs) {
        let planted = turns[turn % turns.len()];
        let competing = turn % COMPETING == COMPETING - 1;
        let mut trial = flags.trial_of(base()?, head(planted)?)?;
        trial.load.seed = Random::seed_from_os();
        let competitor = competing.then(Competitor::start).transpose()?;
        let record = trial.run(&environment, &stop, &mut super::progress);
        progress::clear();
        drop(competitor);
        if let Some(signal) = stop.signal() {
            return Ok(ExitCode::from(signal::exit_code(signal)));
        }
        let check = Check::of(record);
        let outcome = Outcome::of(&check, planted, competing);
        append(log, &outcome.line())?;
        let beside = if competing { ", second load" } else { "" };
        println!("{planted}{beside}: {}", check.story().headline());
    }
    Ok(ExitCode::SUCCESS)
}

fn base() -> Result<Candidate> {
    Ok(Candidate::engine(Engine::Uring, 1, None)?.named_as("base"))
}

fn head(planted: &str) -> Result<Candidate> {
    let head = base()?.named_as("head");
    match planted {
        "A/A" => Ok(head),
        "A/A'" => {
            let more = Random::seed_from_os() % LAYOUTS;
            Ok(head.within(&["env", &format!("LAYOUT={}", "x".repeat(more as usize))]))
        }
        slowness => Ok(head.with(&["--fault", slowness])),
    }
}

/// A second load on this machine: a server and connections that have nothing to do with the check.
struct Competitor {
    stop: Stop,
    load: Option<JoinHandle<()>>,
    _server: Server,
}

impl Competitor {
    fn start() -> Result<Competitor> {
        let server = Server::start(1, &[])?;
        let stop = Stop::new()?;
        let rate = COMPETING_RATE;
        let workload = Workload {
            connections: 10,
            pace: Pace::Open {
                rate: Rate { from: rate, to: rate },
                arrivals: Arrivals::Poisson,
            },
            duration: Nanos(3_600_000_000_000),
            spin: false, // It shall take what it needs, not a whole CPU.
            ..Workload::default()
        };
        let plan = Plan {
            targets: vec![server.address()],
            workload,
        };
        let stopped = stop.clone();
        let body = move || {
            let _ = load::run(plan, &stopped, &mut ()); // What it measures is of no interest.
        };
        let load = thread::Builder::new().name("competitor".into()).spawn(body);
        let load = load.map_err(|cause| Error::Machine(format!("cannot start a thread: {cause}")))?;
        Ok(Competitor {
            stop,
            load: Some(load),
            _server: server,
        })
    }
}

impl Drop for Competitor {
    fn drop(&mut self) {
        self.stop.fire();
        if let Some(load) = self.load.take() {
            let _ = load.join(); // It is over, however it ended.
        }
    }
}
