//! `urecho check`.

mod outputs;
mod self_test;
mod stored;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use regex::Regex;

use crate::check::decision::{LAST_LOOK, Threshold};
use crate::check::experiment::{Experiment, Offered, Progress};
use crate::check::history;
use crate::check::metric::{Metric, Profile};
use crate::check::record::{Inconclusive, Terms};
use crate::check::report::{self, Check};
use crate::cli::cpu_split::{CpuSplit, CpuSplitFlags};
use crate::cli::progress;
use crate::cli::workload::{self, Parsed};
use crate::clock::Nanos;
use crate::compare::Candidate;
use crate::error::{Error, Result};
use crate::load::sizes::Sizes;
use crate::load::{Traffic, Workload};
use crate::random::Random;
use crate::report::Environment;
use crate::sys::signal::{self, Stop};
use crate::sys::{affinity, machine};
use crate::units;
use outputs::OutputFlags;
use self_test::SelfTest;

#[derive(Debug, Args)]
pub(super) struct Flags {
    /// The server as it was: its command, with `{port}` where the port belongs. It is run without a shell
    #[arg(long, value_name = "COMMAND", value_parser = base)]
    base: Option<Candidate>,
    /// The server as it is now
    #[arg(long, value_name = "COMMAND", value_parser = head)]
    head: Option<Candidate>,
    /// A line on the base's stdout that tells that it listens [default: its port is tried]
    #[arg(long, value_name = "REGEX")]
    base_ready: Option<Regex>,
    /// The same for the head
    #[arg(long, value_name = "REGEX")]
    head_ready: Option<Regex>,
    /// Loads: closed (throughput, CPU), open (latency at a share of what the base can do), or both
    #[arg(long, value_name = "WHICH", default_value = "both")]
    profile: ProfileFlag,
    /// Messages of the open loop, as a share of what the base can do [default: 50%]
    #[arg(long, value_name = "PERCENT", value_parser = percent, conflicts_with = "baseline")]
    share: Option<f64>,
    /// Connections to each server, under each load
    #[arg(short, long, value_name = "N", default_value = "50", value_parser = super::at_least_one)]
    connections: u32,
    /// Message size
    #[arg(short, long, value_name = "SIZE", default_value = "64B", value_parser = workload::sizes)]
    size: Sizes,
    /// Messages that one connection may have unanswered at once
    #[arg(long, value_name = "N", default_value = "1", value_parser = workload::depth)]
    pipeline: u32,
    /// How long all of it may take. A restart that has begun is finished
    #[arg(long, value_name = "TIME", default_value = "150s", value_parser = workload::some_time)]
    budget: Nanos,
    /// How often both servers are started afresh, at most. It looks after 12, and is over if that is enough
    #[arg(long, value_name = "N", default_value_t = LAST_LOOK as u32, value_parser = super::at_least_one)]
    restarts: u32,
    /// Blocks in a restart; in each, both servers have two slices. Beside an open loop the closed one has half of
    /// them [default: what fits the budget, 3 to 12]
    #[arg(long, value_name = "N", value_parser = super::at_least_one)]
    blocks: Option<u32>,
    /// How long a slice is measured [default: long enough for 1,000 messages and 4 for each connection, 20ms to 1s, if the
    /// budget allows]
    #[arg(long, value_name = "TIME", value_parser = workload::some_time)]
    slice: Option<Nanos>,
    /// How long messages go before that, uncounted [default: 5ms, and 20us more for each connection]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    guard: Option<Nanos>,
    #[command(flatten)]
    sides: CpuSplitFlags,
    /// Metrics that fail the build, of p50, p90, p99, p99.9, throughput, cpu and memory. They share the chance of a
    /// false alarm: each one more makes all of them blinder [default: p50,throughput,cpu, as far as the load has them]
    #[arg(long, value_name = "METRIC,...", value_delimiter = ',', value_parser = Metric::parse)]
    gate: Vec<Metric>,
    /// The smallest change of a metric that matters, as in `p50=3%`; repeatable [default: p50 3%, p90 5%, p99 8%,
    /// p99.9 20%, throughput 2%, cpu 2%, memory 10%]
    #[arg(long, value_name = "METRIC=PERCENT", value_parser = effect)]
    effect: Vec<(Metric, f64)>,
    /// A change of less than this never matters, as in `p99=20us`; repeatable
    #[arg(long, value_name = "METRIC=VALUE", value_parser = floor)]
    floor: Vec<(Metric, f64)>,
    /// What it means for a build not to know [default: exit 3]
    #[arg(long, value_name = "WHAT")]
    inconclusive: Option<InconclusiveFlag>,
    /// From which payloads, orders and choices are made [default: random, printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Judge again what `--json` has recorded; nothing is run
    #[arg(long, value_name = "FILE", conflicts_with_all = ["base", "head", "gate", "effect", "floor", "inconclusive"])]
    replay: Option<PathBuf>,
    #[command(flatten)]
    outlets: OutputFlags,
    /// Show where the figures of such a file changed for good; nothing is run
    #[arg(long, value_name = "FILE", conflicts_with_all = ["base", "head", "replay", "json", "markdown", "junit", "append"])]
    trend: Option<PathBuf>,
    /// Measure head alone, and add the run to FILE
    #[arg(long, value_name = "FILE", conflicts_with_all = ["base", "replay", "baseline", "json", "markdown", "junit", "append"])]
    save_baseline: Option<PathBuf>,
    /// Compare head with the runs in FILE, of the same machine, kernel and flags. A pair is better: --base and --head
    #[arg(long, value_name = "FILE", conflicts_with_all = ["base", "replay", "json"])]
    baseline: Option<PathBuf>,
    #[command(flatten)]
    self_test: SelfTest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProfileFlag {
    Closed,
    Open,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum InconclusiveFlag {
    /// Exit 0
    Pass,
    /// Exit 1
    Fail,
}

fn base(command: &str) -> Parsed<Candidate> {
    Candidate::named("base", command)
}

fn head(command: &str) -> Parsed<Candidate> {
    Candidate::named("head", command)
}

fn percent(text: &str) -> Parsed<f64> {
    let number = text.strip_suffix('%').map(str::trim_end);
    let number = number.and_then(|number| number.parse::<f64>().ok());
    match number {
        Some(number) if number > 0.0 && number <= 100.0 => Ok(number / 100.0),
        _ => Err("write a share above 0% and up to 100%, as in `3%`".into()),
    }
}

fn effect(text: &str) -> Parsed<(Metric, f64)> {
    let (metric, share) = text.split_once('=').ok_or("write METRIC=PERCENT, as in `p50=3%`")?;
    Ok((Metric::parse(metric)?, percent(share)?))
}

fn floor(text: &str) -> Parsed<(Metric, f64)> {
    let (metric, value) = text.split_once('=').ok_or("write METRIC=VALUE, as in `p99=20us`")?;
    let metric = Metric::parse(metric)?;
    Ok((metric, metric.read(value)?))
}

pub(super) fn run(flags: &Flags) -> Result<ExitCode> {
    if flags.self_test.is_meant() {
        return self_test::run(flags);
    }
    if let Some(path) = &flags.trend {
        print!("{}", history::show(&in_file(path, history::read)?));
        return Ok(ExitCode::SUCCESS);
    }
    flags.outlets.check()?;
    if let Some(path) = &flags.replay {
        let check = Check::of(in_file(path, report::recorded)?);
        flags.outlets.tell(&check.story(), Some(&check))?;
        return Ok(ExitCode::from(check.judgement.exit_code));
    }
    if flags.save_baseline.is_some() || flags.baseline.is_some() {
        return stored::run(flags);
    }
    let trial = flags.trial()?;
    let stop = Stop::on_signals()?;
    let environment = Environment::of(machine::describe()); // Before this thread is pinned.
    let record = trial.run(&environment, &stop, &mut progress);
    progress::clear();
    let check = Check::of(record);
    flags.outlets.tell(&check.story(), Some(&check))?;
    Ok(ExitCode::from(match stop.signal() {
        Some(signal) => signal::exit_code(signal),
        None => check.judgement.exit_code,
    }))
}

fn ready(candidate: Candidate, pattern: &Option<Regex>) -> Candidate {
    match pattern {
        Some(pattern) => candidate.ready_at(pattern.clone()),
        None => candidate,
    }
}

/// Reads something from a file. Errors: [`Error::Usage`], with the file's name.
fn in_file<T>(path: &Path, read: fn(&str) -> Result<T>) -> Result<T> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|cause| Error::Usage(format!("cannot read {shown}: {cause}")))?;
    read(&text).map_err(|error| Error::Usage(format!("{shown}: {error}")))
}

/// Adds a line to a file. Errors: [`Error::Machine`].
fn append(path: &Path, line: &str) -> Result<()> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    written.map_err(|cause| Error::Machine(format!("cannot write to {}: {cause}", path.display())))
}

impl Flags {
    fn trial(&self) -> Result<Experiment> {
        let (Some(base), Some(head)) = (self.base.clone(), self.head.clone()) else {
            return Err(Error::Usage("a check needs both: give --base and --head".into()));
        };
        self.trial_of(ready(base, &self.base_ready), ready(head, &self.head_ready))
    }

    /// The head by itself.
    fn trial_of_head(&self) -> Result<Experiment> {
        let head = self
            .head
            .clone()
            .ok_or_else(|| Error::Usage("give the server as --head".into()))?;
        let head = ready(head, &self.head_ready);
        self.trial_of(head.clone(), head)
    }

    /// These two, under the load that the flags ask for.
    fn trial_of(&self, base: Candidate, head: Candidate) -> Result<Experiment> {
        let sides = self.sides.of(&affinity::allowed());
        Ok(Experiment {
            base,
            head,
            load: self.load(&sides),
            blocks: self.blocks.map(|blocks| blocks as usize),
            slice: self.slice,
            profiles: self.profiles(),
            offered: Offered::Share(self.share.unwrap_or(0.5)),
            terms: self.terms(&sides)?,
        })
    }

    fn load(&self, sides: &CpuSplit) -> Workload {
        let guard = Nanos(5_000_000 + 20_000 * u64::from(self.connections));
        Workload {
            connections: self.connections,
            traffic: Traffic {
                sizes: self.size.clone(),
                depth: self.pipeline as usize,
                verify: true,
            },
            warmup: self.guard.unwrap_or(guard),
            threads: self.sides.threads.min(self.connections),
            cpus: sides.generator.clone(),
            seed: self.seed.unwrap_or_else(Random::seed_from_os),
            ..Workload::default()
        }
    }

    fn profiles(&self) -> Vec<Profile> {
        match self.profile {
            ProfileFlag::Closed => vec![Profile::Closed],
            ProfileFlag::Open => vec![Profile::Open],
            ProfileFlag::Both => vec![Profile::Open, Profile::Closed],
        }
    }

    fn terms(&self, sides: &CpuSplit) -> Result<Terms> {
        let mut matters: BTreeMap<Metric, Threshold> = Metric::ALL
            .into_iter()
            .map(|metric| (metric, metric.matters()))
            .collect();
        for (&metric, matters) in &mut matters {
            let asked = |pairs: &[(Metric, f64)]| {
                let last = pairs.iter().rev().find(|(named, _)| *named == metric);
                last.map(|&(_, value)| value)
            };
            matters.share = asked(&self.effect).unwrap_or(matters.share);
            matters.floor = asked(&self.floor).unwrap_or(matters.floor);
        }
        Ok(Terms {
            budget_ns: self.budget.0,
            restarts: self.restarts as usize,
            loads: Vec::new(),
            server_cpus: sides.server.clone(),
            connected_at_once: true,
            gate: self.gate()?,
            matters,
            inconclusive: match self.inconclusive {
                None => Inconclusive::Tell,
                Some(InconclusiveFlag::Pass) => Inconclusive::Pass,
                Some(InconclusiveFlag::Fail) => Inconclusive::Fail,
            },
        })
    }

    /// The metrics that decide, in the order in which they are shown.
    fn gate(&self) -> Result<Vec<Metric>> {
        let profiles = self.profiles();
        let measured = |metric: &Metric| metric.profile().is_none_or(|profile| profiles.contains(&profile));
        if let Some(metric) = self.gate.iter().find(|metric| !measured(metric)) {
            return Err(Error::Usage(format!(
                "--gate {metric} needs the other load: leave --profile out"
            )));
        }
        let asked = if self.gate.is_empty() {
            &Metric::GATE[..]
        } else {
            &self.gate
        };
        let all = Metric::ALL.into_iter().filter(|metric| asked.contains(metric));
        Ok(all.filter(measured).collect())
    }
}

/// Shows how far a check is.
fn progress(Progress { restart, of }: Progress) {
    match restart {
        0 => progress::show("trying the base"),
        restart => progress::show(&format!("restart {restart} of {of}")),
    }
}
