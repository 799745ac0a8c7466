//! `urecho compare`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::cpu_split::{CpuSplit, CpuSplitFlags};
use crate::cli::progress;
use crate::cli::workload::{self, ArrivalsFlag, CloseFlag, Sources};
use crate::clock::Nanos;
use crate::compare::comparison::{Comparison, Method, SCHEMA, Scenario, ServerResult};
use crate::compare::{self, Candidate, Entry, Terms};
use crate::error::{Error, Result};
use crate::load::schedule::{Pace, Rate};
use crate::load::sizes::Sizes;
use crate::load::{self, Churn, Workload};
use crate::random::Random;
use crate::report::Environment;
use crate::report::files;
use crate::serve::engine::Engine;
use crate::sys::signal::{self, Stop};
use crate::sys::{affinity, machine};

/// A restart costs its start and end, and an interval needs six of them.
const RESTARTS: &str = "10";

#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Servers, as NAME=COMMAND with `{port}` where the port belongs; all are compared with the first. The command is
    /// run without a shell [default: the engines of `urecho serve`]
    #[arg(value_name = "NAME=COMMAND", value_parser = Candidate::parse)]
    candidates: Vec<Candidate>,
    /// Connections to each server. Here, and wherever a list is taken: one table for each combination
    #[arg(short, long, value_name = "N,...", default_value = "50", value_delimiter = ',', value_parser = super::at_least_one)]
    connections: Vec<u32>,
    /// Message sizes: `64B,16KiB`
    #[arg(short, long, value_name = "SIZE,...", default_value = "64B", value_delimiter = ',', value_parser = workload::sizes)]
    size: Vec<Sizes>,
    /// Messages that one connection may have unanswered at once
    #[arg(long, value_name = "N,...", default_value = "1", value_delimiter = ',', value_parser = workload::depth)]
    pipeline: Vec<u32>,
    /// Open loop: messages at planned instants, so many over all connections [default: closed loop]
    #[arg(long, value_name = "RATE,...", value_delimiter = ',', value_parser = workload::rate)]
    rate: Vec<Rate>,
    /// How planned instants are spread
    #[arg(long, value_name = "HOW", default_value = "poisson", requires = "rate")]
    arrivals: ArrivalsFlag,
    /// Closed loop: close each connection after N messages and open another
    #[arg(long, value_name = "N", value_parser = super::at_least_one, conflicts_with = "rate")]
    churn: Option<u32>,
    /// How --churn closes
    #[arg(long, value_name = "HOW", default_value = "fin", requires = "churn")]
    close: CloseFlag,
    /// How often all servers are started afresh. Restarts are the sample: 6 are needed for an interval
    #[arg(long, value_name = "N", default_value = RESTARTS, value_parser = super::at_least_one)]
    restarts: u32,
    /// Blocks between two restarts; in each, every server has two slices
    #[arg(long, value_name = "N", default_value = "2", value_parser = super::at_least_one)]
    blocks: u32,
    /// How long a slice is measured [default: 250ms, and 40us more for each connection]
    #[arg(long, value_name = "TIME", value_parser = workload::some_time)]
    slice: Option<Nanos>,
    /// How long messages go before that, uncounted [default: 50ms, and 20us more for each connection]
    #[arg(long, value_name = "TIME", value_parser = crate::units::duration)]
    guard: Option<Nanos>,
    #[command(flatten)]
    sides: CpuSplitFlags,
    /// Connect from these addresses in turn, as in 127.0.1.0/24
    #[arg(long, value_name = "CIDR", value_parser = workload::sources)]
    source: Option<Sources>,
    /// Congestion control of the generator's side; of the servers' side too, where they are our engines
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
    /// From which payloads, orders and choices are made [default: random, printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write the comparison as JSON, every block included; `-`, here and below, is stdout instead of the text
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

pub(super) fn run(flags: &Flags) -> Result<ExitCode> {
    let sides = flags.sides.of(&affinity::allowed());
    let candidates = flags.candidates(&sides)?;
    let plans = flags.plans(&sides);
    let stop = Stop::on_signals()?;
    let environment = Environment::of(machine::describe()); // Before this thread is pinned.
    let mut comparison = Comparison {
        schema: SCHEMA,
        partial: false,
        environment,
        scenarios: Vec::new(),
    };
    let mut exit = 0;
    for (number, plan) in plans.iter().enumerate() {
        if stop.signal().is_some() {
            break;
        }
        let terms = flags.terms(plan, &sides, candidates.len());
        let table = format!("table {} of {}", number + 1, plans.len());
        let restarts = flags.restarts as usize;
        let entries = compare::run(&candidates, &terms, &stop, &mut |restart, _| {
            if restart <= restarts {
                progress::show(&format!("{table}, restart {restart} of {restarts}"));
            }
            restart <= restarts
        });
        progress::clear();
        exit = exit.max(entries.iter().map(exit_code).max().unwrap_or(0));
        comparison.scenarios.push(flags.scenario(&terms, entries));
    }
    comparison.partial = stop.signal().is_some();
    flags.publish(&comparison)?;
    Ok(ExitCode::from(match stop.signal() {
        Some(signal) => signal::exit_code(signal),
        None => exit,
    }))
}

/// What became of one server, as the process's exit code: 6 wrong data, 5 any other failure of it.
fn exit_code(entry: &Entry) -> u8 {
    match &entry.failure {
        None => 0,
        Some(failure) if matches!(failure.error, Error::Data(_)) => 6,
        Some(_) => 5,
    }
}

impl Flags {
    fn candidates(&self, sides: &CpuSplit) -> Result<Vec<Candidate>> {
        if self.candidates.is_empty() {
            let workers = sides.server.len().max(1);
            let candidate = |engine| Candidate::engine(engine, workers, self.congestion.as_deref());
            return Engine::ALL.into_iter().map(candidate).collect();
        }
        let mut names: Vec<&str> = self
            .candidates
            .iter()
            .map(|candidate| candidate.name.as_str())
            .collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::Usage(format!(
                "two servers are named {}: give each a name of its own",
                pair[0]
            ))),
            None => Ok(self.candidates.clone()),
        }
    }

    /// One for each combination.
    fn plans(&self, sides: &CpuSplit) -> Vec<Workload> {
        let rates: Vec<Option<Rate>> = match self.rate.as_slice() {
            [] => vec![None],
            rates => rates.iter().copied().map(Some).collect(),
        };
        let seed = self.seed.unwrap_or_else(Random::seed_from_os);
        let mut plans = Vec::new();
        for &connections in &self.connections {
            for sizes in &self.size {
                for &depth in &self.pipeline {
                    for &rate in &rates {
                        let mut plan = self.plan(connections, rate, seed, sides);
                        (plan.traffic.sizes, plan.traffic.depth) = (sizes.clone(), depth as usize);
                        plans.push(plan);
                    }
                }
            }
        }
        plans
    }

    fn plan(&self, connections: u32, rate: Option<Rate>, seed: u64, sides: &CpuSplit) -> Workload {
        let mut plan = Workload::default();
        let more = |least: u64, each: u64| Nanos(least + each * u64::from(connections));
        plan.connections = connections;
        plan.duration = self.slice.unwrap_or(more(250_000_000, 40_000));
        plan.warmup = self.guard.unwrap_or(more(50_000_000, 20_000));
        plan.sources = self.source.clone().map_or(Vec::new(), |sources| sources.0);
        plan.threads = self.sides.threads.min(connections);
        plan.cpus = sides.generator.clone();
        plan.options.congestion = self.congestion.clone();
        plan.seed = seed;
        plan.churn = self.churn.map(|messages| Churn {
            messages: messages.into(),
            close: self.close.into(),
        });
        if let Some(rate) = rate {
            let arrivals = self.arrivals.into();
            plan.pace = Pace::Open { rate, arrivals };
        }
        plan
    }

    fn terms(&self, plan: &Workload, sides: &CpuSplit, candidates: usize) -> Terms {
        Terms {
            loads: vec![plan.clone()],
            server_cpus: sides.server.clone(),
            blocks: vec![self.blocks as usize],
            at_once: load::fits_at_once(plan, candidates),
        }
    }

    fn scenario(&self, terms: &Terms, entries: Vec<Entry>) -> Scenario {
        let method = Method {
            restarts: self.restarts.into(),
            blocks: self.blocks.into(),
            server_cpus: terms.server_cpus.clone(),
            connected_at_once: terms.at_once,
        };
        let standing = |entry: Entry| {
            let failure = entry
                .failure
                .map(|failure| format!("restart {}: {}", failure.restart, failure.error));
            let restarts = entry.restarts.into_iter().flatten().collect(); // One load: a restart is its blocks.
            let (name, command) = (entry.candidate.name.clone(), entry.candidate.command());
            ServerResult::of(name, command, restarts, failure)
        };
        let standings = entries.into_iter().map(standing).collect();
        Scenario::of(&terms.loads[0], method, standings)
    }

    fn publish(&self, comparison: &Comparison) -> Result<()> {
        let mut to_stdout = false;
        let texts = [
            (&self.json, Comparison::json as fn(&Comparison) -> String),
            (&self.markdown, Comparison::markdown),
        ];
        for (path, text) in texts {
            if let Some(path) = path {
                to_stdout |= path.as_os_str() == "-";
                files::write_whole(path, &text(comparison))?;
            }
        }
        if !to_stdout {
            print!("{comparison}");
        }
        Ok(())
    }
}
