//! `urecho compare`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::cpu_split::{CpuSplit, ServerCpuFlags};
use crate::cli::load_flags::{ArrivalsFlag, ChurnFlags, GeneratorFlags};
use crate::cli::values;
use crate::clock::Nanos;
use crate::compare::comparison::{Comparison, Method, SCHEMA, Scenario, ServerBlocks};
use crate::compare::{self, Candidate, CandidateFigures, Protocol, ProtocolLoad, SliceLength};
use crate::error::{self, Error, Outcome, Result};
use crate::html;
use crate::load::schedule::{Pace, Rate};
use crate::load::sizes::Sizes;
use crate::load::{self, Traffic, Workload};
use crate::output::place;
use crate::output::progress::{Estimate, ProgressLine};
use crate::output::publish::publish;
use crate::report::Environment;
use crate::serve::engine::Engine;
use crate::sys::signal::Stop;

/// A restart costs the start and stop of every server, and a confidence interval needs six of them.
const RESTARTS: &str = "10";

#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Servers, as NAME=COMMAND with `{port}` where the port belongs; all are compared with the first
    ///
    /// The command runs without a shell. By default the engines of `urecho serve` are compared. Flags that take a list
    /// (N,...) make a table for each combination.
    #[arg(value_name = "NAME=COMMAND", value_parser = Candidate::parse)]
    candidates: Vec<Candidate>,
    /// Connections to each server
    #[arg(short, long, value_name = "N,...", default_value = "50", value_delimiter = ',', value_parser = values::at_least_one)]
    connections: Vec<u32>,
    /// Message sizes: `64B,16KiB`
    #[arg(short, long, value_name = "SIZE,...", default_value = "64B", value_delimiter = ',', value_parser = values::sizes)]
    size: Vec<Sizes>,
    /// Messages in flight per connection
    #[arg(long, value_name = "N,...", default_value = "1", value_delimiter = ',', value_parser = values::pipeline)]
    pipeline: Vec<u32>,
    /// Open loop: send at RATE over all connections, regardless of replies [default: closed loop]
    #[arg(long, value_name = "RATE,...", value_delimiter = ',', value_parser = values::rate)]
    rate: Vec<Rate>,
    /// Arrival process of the open loop
    #[arg(long, value_name = "HOW", default_value = "poisson", requires = "rate")]
    arrivals: ArrivalsFlag,
    #[command(flatten)]
    churn: ChurnFlags,
    /// Restarts of all servers; a confidence interval needs at least 6
    #[arg(long, value_name = "N", default_value = RESTARTS, value_parser = values::at_least_one)]
    restarts: u32,
    /// Blocks per restart; in each, every server has two slices
    #[arg(long, value_name = "N", default_value = "2", value_parser = values::at_least_one)]
    blocks: u32,
    /// Length of a slice [default: 250ms plus 40us per connection]
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    slice: Option<Nanos>,
    /// Warm-up at the start of each slice [default: 50ms plus 20us per connection]
    #[arg(long, value_name = "TIME", value_parser = crate::units::duration)]
    slice_warmup: Option<Nanos>,
    /// Load on each server after its start before anything counts, for servers that get faster while they run
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = crate::units::duration)]
    settle: Nanos,
    #[command(flatten)]
    generator: GeneratorFlags,
    #[command(flatten)]
    server_cpus: ServerCpuFlags,
    /// Write the comparison as JSON, every block included; `-`, here and below, writes to stdout in place of the text
    /// report
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with charts to FILE
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the tables as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

pub(super) fn run(flags: &Flags, environment: Environment) -> Result<ExitCode> {
    let cpus = CpuSplit::of(&flags.generator, flags.server_cpus.cpus());
    let candidates = flags.candidates(&cpus)?;
    let mut workloads = flags.workloads(&cpus);
    let [json, html, markdown] = place::open_all([&flags.json, &flags.html, &flags.markdown])?;
    load::check_machine(flags.generator.io())?;
    let stop = Stop::on_signals()?;
    for workload in &mut workloads {
        flags.generator.connect_locally_from(workload, &stop)?;
    }
    let mut progress = Progress::new(flags, &workloads, candidates.len());
    let mut outcomes = Vec::new();
    let mut scenarios = Vec::new();
    for (number, workload) in workloads.iter().enumerate() {
        if stop.signal().is_some() || outcomes.contains(&CHANGED) {
            break;
        }
        let protocol = flags.protocol(workload, &cpus, candidates.len());
        let results = compare::run(&candidates, &protocol, &stop, &mut |restart, _| {
            let more = restart <= flags.restarts as usize;
            if more {
                progress.show(number, restart);
            }
            more
        });
        let failed = |result: &CandidateFigures| Some(Outcome::Failed(result.failure.as_ref()?.error.exit_code()));
        outcomes.extend(results.iter().filter_map(failed));
        let scenario = flags.scenario(workload, &protocol, results);
        outcomes.extend(scenario.is_invalid().then_some(Outcome::Invalid));
        scenarios.push(scenario);
    }
    let comparison = Comparison {
        schema: SCHEMA.into(),
        partial: stop.signal().is_some(),
        environment,
        scenarios,
    };
    drop(progress);
    let written = publish(
        &comparison,
        [
            (json.as_ref(), &|| comparison.json()),
            (html.as_ref(), &|| html::page(&[comparison.section()])),
            (markdown.as_ref(), &|| comparison.markdown()),
        ],
    );
    outcomes.extend(stop.signal().map(Outcome::Interrupted));
    Ok(ExitCode::from(written.exit_code(error::exit_code(outcomes))))
}

/// A program changed: what follows would compare something else.
const CHANGED: Outcome = Outcome::Failed(error::CHANGED);

/// How far a comparison is, on the progress line.
struct Progress {
    line: ProgressLine,
    tables: usize,
    restarts: usize,
    estimate: Estimate,
}

impl Progress {
    fn new(flags: &Flags, workloads: &[Workload], candidates: usize) -> Progress {
        let (restarts, slices) = (u64::from(flags.restarts), 2 * u64::from(flags.blocks));
        let longest = workloads
            .iter()
            .map(|workload| workload.warmup + workload.duration)
            .max();
        let restart = slices * longest.unwrap_or(Nanos(0)).0 + flags.settle.0;
        Progress {
            line: ProgressLine::new(),
            tables: workloads.len(),
            restarts: flags.restarts as usize,
            estimate: Estimate::new(restarts * workloads.len() as u64, Nanos(restart * candidates as u64)),
        }
    }

    /// Before a restart, from 1, of a table, from 0.
    fn show(&mut self, table: usize, restart: usize) {
        let done = table * self.restarts + restart - 1;
        let mut text = format!(
            "{}, restart {restart} of {}",
            self.estimate.left(done as u64),
            self.restarts
        );
        if self.tables > 1 {
            text += &format!(", table {} of {}", table + 1, self.tables);
        }
        self.line.show(&text);
    }
}

impl Flags {
    fn candidates(&self, cpus: &CpuSplit) -> Result<Vec<Candidate>> {
        if self.candidates.is_empty() {
            let workers = cpus.server.len().max(1);
            let candidate = |engine| Candidate::engine(engine, workers, self.generator.congestion.as_deref());
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
                "two servers are named {}: give each its own name",
                pair[0]
            ))),
            None => Ok(self.candidates.clone()),
        }
    }

    /// One workload per combination.
    fn workloads(&self, cpus: &CpuSplit) -> Vec<Workload> {
        let rates: Vec<Option<Rate>> = match self.rate.as_slice() {
            [] => vec![None],
            rates => rates.iter().copied().map(Some).collect(),
        };
        let seed = self.generator.seed(); // The same for all tables.
        let mut workloads = Vec::new();
        for &connections in &self.connections {
            for sizes in &self.size {
                for &depth in &self.pipeline {
                    for &rate in &rates {
                        let traffic = Traffic {
                            sizes: sizes.clone(),
                            depth: depth as usize,
                            verify: true,
                        };
                        workloads.push(Workload {
                            traffic,
                            ..self.workload(connections, rate, cpus, seed)
                        });
                    }
                }
            }
        }
        workloads
    }

    fn workload(&self, connections: u32, rate: Option<Rate>, cpus: &CpuSplit, seed: u64) -> Workload {
        let default = Workload::default();
        let length = SliceLength::default_for(connections);
        Workload {
            duration: self.slice.unwrap_or(length.measured),
            warmup: self.slice_warmup.unwrap_or(length.warmup),
            drain: compare::SLICE_DRAIN,
            churn: self.churn.churn(),
            pace: rate.map_or(default.pace, |rate| Pace::Open {
                rate,
                arrivals: self.arrivals.into(),
            }),
            ..self.generator.workload(connections, cpus.generator.clone(), seed)
        }
    }

    fn protocol(&self, workload: &Workload, cpus: &CpuSplit, candidates: usize) -> Protocol {
        Protocol {
            loads: vec![ProtocolLoad {
                workload: workload.clone(),
                blocks: self.blocks as usize,
            }],
            server_cpus: cpus.server.clone(),
            connected_at_once: load::fits_at_once(workload, candidates),
            settle: self.settle,
        }
    }

    fn scenario(&self, workload: &Workload, protocol: &Protocol, results: Vec<CandidateFigures>) -> Scenario {
        let method = Method {
            restarts: self.restarts.into(),
            blocks: self.blocks.into(),
            server_cpus: protocol.server_cpus.clone(),
            connected_at_once: protocol.connected_at_once,
        };
        let server = |result: CandidateFigures| ServerBlocks {
            name: result.candidate.name.clone(),
            command: result.candidate.command(),
            restarts: result.restarts.into_iter().flatten().map(|load| load.blocks).collect(), // One load.
            failure: result
                .failure
                .map(|failure| format!("restart {}: {}", failure.restart, failure.error)),
        };
        Scenario::of(workload, method, results.into_iter().map(server).collect())
    }
}
