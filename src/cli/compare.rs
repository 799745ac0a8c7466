//! `urecho compare`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::cpu_split::{CpuSplit, ServerCpuFlags};
use crate::cli::load_flags::{ArrivalsFlag, ChurnFlags, GeneratorFlags};
use crate::cli::values;
use crate::clock::Nanos;
use crate::compare::comparison::{Comparison, Method, SCHEMA, Scenario, ServerBlocks};
use crate::compare::{self, Candidate, CandidateFigures, Protocol, ProtocolLoad, SliceLength};
use crate::error::{Error, Result};
use crate::load::schedule::{Pace, Rate};
use crate::load::sizes::Sizes;
use crate::load::{self, Traffic, Workload};
use crate::output::file;
use crate::output::progress::ProgressLine;
use crate::report::Environment;
use crate::serve::engine::Engine;
use crate::sys::signal::{self, Stop};

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
    /// Write the comparison as JSON, every block included; `-`, here and below, writes to stdout in place of the text report
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

pub(super) fn run(flags: &Flags, environment: Environment) -> Result<ExitCode> {
    let cpus = CpuSplit::of(&flags.generator, flags.server_cpus.cpus());
    let candidates = flags.candidates(&cpus)?;
    let mut workloads = flags.workloads(&cpus);
    file::check_all([&flags.json, &flags.markdown].into_iter().flatten())?;
    let stop = Stop::on_signals()?;
    for workload in &mut workloads {
        flags.generator.connect_locally_from(workload, &stop)?;
    }
    let mut failures = Vec::new();
    let mut scenarios = Vec::new();
    for (number, workload) in workloads.iter().enumerate() {
        if stop.signal().is_some() || failures.contains(&INVALID) {
            break;
        }
        let protocol = flags.protocol(workload, &cpus, candidates.len());
        let table = format!("table {} of {}", number + 1, workloads.len());
        let results = flags.measure(&candidates, &protocol, &stop, &table);
        failures.extend(
            results
                .iter()
                .filter_map(|result| Some(result.failure.as_ref()?.error.exit_code())),
        );
        scenarios.push(flags.scenario(workload, &protocol, results));
    }
    let comparison = Comparison {
        schema: SCHEMA,
        partial: stop.signal().is_some(),
        environment,
        scenarios,
    };
    flags.publish(&comparison)?;
    let exit = stop.signal().map_or_else(|| exit_code(&failures), signal::exit_code);
    Ok(ExitCode::from(exit))
}

/// The exit code of a comparison whose subject changed meanwhile.
const INVALID: u8 = 3;

/// The exit code that servers ask for which failed with these: a bug in urecho first, then what this machine does not allow, a
/// program that changed, wrong data, and a server that cannot be used.
fn exit_code(failures: &[u8]) -> u8 {
    let worst = [70, 4, INVALID, 6, 5].into_iter().find(|code| failures.contains(code));
    worst.or(failures.first().copied()).unwrap_or(0)
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

    fn measure(
        &self,
        candidates: &[Candidate],
        protocol: &Protocol,
        stop: &Stop,
        table: &str,
    ) -> Vec<CandidateFigures> {
        let restarts = self.restarts as usize;
        let line = ProgressLine::new();
        let results = compare::run(candidates, protocol, stop, &mut |restart, _| {
            if restart <= restarts {
                line.show(&format!("{table}, restart {restart} of {restarts}"));
            }
            restart <= restarts
        });
        line.clear();
        results
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

    fn publish(&self, comparison: &Comparison) -> Result<()> {
        if let Some(path) = &self.json {
            file::write(path, &comparison.json())?;
        }
        if let Some(path) = &self.markdown {
            file::write(path, &comparison.markdown())?;
        }
        let mut paths = [&self.json, &self.markdown].into_iter().flatten();
        if !paths.any(|path| file::is_stdout(path)) {
            let _ = write!(std::io::stdout(), "{comparison}"); // A reader that closed the pipe has read enough.
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_that_of_the_failure_to_be_dealt_with_first() {
        let codes = [&[][..], &[5], &[5, 6], &[6, 4, 5], &[4, 70], &[5, 3]].map(exit_code);
        assert_eq!(codes, [0, 5, 6, 4, 70, 3]);
    }
}
