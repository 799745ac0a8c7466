//! What a check measures and how it is judged: the flags, and the experiment they mean.

use clap::{Args, ValueEnum};

use crate::check::experiment::{Experiment, Offered};
use crate::check::judge::decision::{ALPHA, FINAL_RESTARTS, INTERIM_RESTARTS, METHOD, Threshold};
use crate::check::judge::{Metric, Profile};
use crate::check::record::{Inconclusive, Settings};
use crate::cli::cpu_split::{CpuSplit, ServerCpuFlags};
use crate::cli::load_flags::WorkloadFlags;
use crate::cli::values::{self, Parsed};
use crate::clock::Nanos;
use crate::compare::{self, Candidate};
use crate::error::{Error, Result};
use crate::load::{Io, Workload};
use crate::sys::signal::Stop;
use crate::units;

/// The server of a check that measures one alone.
#[derive(Debug, Args)]
pub(super) struct SingleServerFlags {
    /// Command that starts the server, with `{port}` where the port belongs
    #[arg(long, value_name = "COMMAND", value_parser = head)]
    head: Candidate,
    /// Text in the line on its stdout that announces readiness [default: probe the port]
    #[arg(long, value_name = "TEXT")]
    head_ready: Option<String>,
}

/// The default of --utilization.
pub(super) const DEFAULT_UTILIZATION: f64 = 0.5;

/// The rate of the open loop, unless stored runs determine it.
#[derive(Debug, Args)]
pub(super) struct UtilizationFlag {
    /// Rate of the open loop, as a share of the server's capacity (base's, if there are two) [default: 50%]
    ///
    /// The capacity is measured in a closed loop of about a second, before the first restart.
    #[arg(long, value_name = "PERCENT", value_parser = units::percent)]
    utilization: Option<f64>,
}

impl UtilizationFlag {
    pub(super) fn offered(&self) -> Offered {
        Offered::Utilization(self.utilization.unwrap_or(DEFAULT_UTILIZATION))
    }
}

#[derive(Debug, Args)]
pub(super) struct MeasurementFlags {
    /// Loads to run: closed (throughput, CPU), open (latency), or both
    #[arg(long, value_name = "WHICH", default_value = "both")]
    profile: ProfileFlag,
    #[command(flatten)]
    workload: WorkloadFlags,
    #[command(flatten)]
    server_cpus: ServerCpuFlags,
    /// Time limit for the whole measurement; a restart in progress is completed
    #[arg(long, value_name = "TIME", default_value = "150s", value_parser = values::duration)]
    budget: Nanos,
    /// Maximum restarts of each server; a comparison of two versions stops after 12 if it is conclusive
    #[arg(long, value_name = "N", default_value_t = FINAL_RESTARTS as u32, value_parser = values::at_least_one)]
    restarts: u32,
    /// Load on each server after its start before anything counts, for servers that get faster while they run
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = units::duration)]
    settle: Nanos,
    /// Blocks per restart and load; in each, every server has two slices [default: what fits the budget, 3 to 14]
    #[arg(long, value_name = "N", value_parser = values::at_least_one)]
    blocks: Option<u32>,
    /// Length of a slice [default: 40ms to 1s]
    ///
    /// By default long enough for 1,000 messages and 4 per connection, if the budget allows.
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    slice: Option<Nanos>,
    /// Warm-up at the start of each slice [default: 5ms plus 20us per connection]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    slice_warmup: Option<Nanos>,
}

#[derive(Debug, Default, Args)]
pub(super) struct JudgementFlags {
    /// Metrics that fail the build [default: all but p90 and p99]
    ///
    /// Of p50, p90, p99, p99.9, spikes, throughput, cpu, memory, stalled and idle-cpu. They share the error rate: each
    /// metric added reduces the power of the others. Where slices are too short for p99.9, p99 gates by default.
    #[arg(long, value_name = "METRIC,...", value_delimiter = ',', value_parser = Metric::parse)]
    gate: Vec<Metric>,
    /// Smallest relative change of a metric that counts, as in `p50=3%`; repeatable
    ///
    /// Defaults: p50 10%, p90 10%, p99 50%, p99.9 50%, spikes 7%, throughput 4%, cpu 2.5%, memory 5%, stalled 1%,
    /// idle-cpu 1%. Spikes, stalled and idle-cpu are shares: of the blocks in which a message took more than 4 ms
    /// (longer for a slow server), and of the time.
    #[arg(long, value_name = "METRIC=PERCENT", value_parser = min_effect)]
    min_effect: Vec<(Metric, f64)>,
    /// Smallest absolute change of a metric that counts, as in `p99=20us`; repeatable
    #[arg(long, value_name = "METRIC=VALUE", value_parser = min_change)]
    min_change: Vec<(Metric, f64)>,
    /// Exit status when the result is inconclusive [default: 3]
    #[arg(long, value_name = "WHAT")]
    inconclusive: Option<InconclusiveFlag>,
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

pub(super) fn head(command: &str) -> Parsed<Candidate> {
    Candidate::named("head", command)
}

pub(super) fn with_ready_text(candidate: Candidate, text: &Option<String>) -> Candidate {
    match text {
        Some(text) => candidate.with_ready_text(text.clone()),
        None => candidate,
    }
}

fn min_effect(text: &str) -> Parsed<(Metric, f64)> {
    let (metric, share) = text.split_once('=').ok_or("write METRIC=PERCENT, as in `p50=3%`")?;
    Ok((Metric::parse(metric)?, units::percent(share)?))
}

fn min_change(text: &str) -> Parsed<(Metric, f64)> {
    let (metric, value) = text.split_once('=').ok_or("write METRIC=VALUE, as in `p99=20us`")?;
    let metric = Metric::parse(metric)?;
    Ok((metric, metric.parse_value(value)?))
}

impl SingleServerFlags {
    pub(super) fn candidate(&self) -> Candidate {
        with_ready_text(self.head.clone(), &self.head_ready)
    }
}

impl MeasurementFlags {
    /// The experiment, judged by these flags. Errors: [`Error::Usage`] if they gate on what is not measured.
    pub(super) fn experiment(&self, offered: Offered, judgement: &JudgementFlags) -> Result<Experiment> {
        let cpus = CpuSplit::of(&self.workload.generator, self.server_cpus.cpus());
        let profiles = self.profiles();
        Ok(Experiment {
            workload: self.workload(&cpus),
            blocks: self.blocks.map(|blocks| blocks as usize),
            slice: self.slice,
            offered,
            settings: Settings {
                budget_ns: self.budget.0,
                restarts: self.restarts as usize,
                interim_restarts: INTERIM_RESTARTS,
                alpha: ALPHA,
                method: METHOD,
                settle_ns: self.settle.0,
                server_cpus: cpus.server,
                gate: judgement.gate(&profiles)?,
                thresholds: Metric::ALL.map(|metric| (metric, judgement.threshold(metric))).into(),
                inconclusive: judgement.inconclusive(),
            },
            profiles,
            gate_what_is_measured: judgement.gate.is_empty(),
        })
    }

    /// How the generator sends and receives.
    pub(super) fn io(&self) -> Io {
        self.workload.generator.io()
    }

    /// Sets where the experiment connects from. Errors: as `connect_from` of the generator's flags.
    pub(super) fn connect_locally(&self, experiment: &mut Experiment, stop: &Stop) -> Result<()> {
        let generator = &self.workload.generator;
        generator.connect_locally_from(&mut experiment.workload, stop)
    }

    fn workload(&self, cpus: &CpuSplit) -> Workload {
        let default = Nanos(5_000_000 + 20_000 * u64::from(self.workload.connections));
        Workload {
            warmup: self.slice_warmup.unwrap_or(default),
            drain: compare::SLICE_DRAIN,
            ..self.workload.workload(cpus.generator.clone())
        }
    }

    fn profiles(&self) -> Vec<Profile> {
        match self.profile {
            ProfileFlag::Closed => vec![Profile::Closed],
            ProfileFlag::Open => vec![Profile::Open],
            ProfileFlag::Both => vec![Profile::Open, Profile::Closed],
        }
    }
}

impl JudgementFlags {
    /// The gating metrics, in the order in which they are shown.
    fn gate(&self, profiles: &[Profile]) -> Result<Vec<Metric>> {
        let is_measured = |metric: &Metric| metric.profile().is_none_or(|profile| profiles.contains(&profile));
        if let Some(metric) = self.gate.iter().find(|metric| !is_measured(metric)) {
            let needed = metric.profile().map_or("both", Profile::name);
            return Err(Error::Usage(format!(
                "--gate {metric} needs the {needed}-loop profile: use --profile both"
            )));
        }
        let requested = match self.gate.as_slice() {
            [] => &Metric::DEFAULT_GATE[..],
            requested => requested,
        };
        let all = Metric::ALL.into_iter().filter(|metric| requested.contains(metric));
        Ok(all.filter(is_measured).collect())
    }

    fn threshold(&self, metric: Metric) -> Threshold {
        let last = |pairs: &[(Metric, f64)]| {
            let last = pairs.iter().rev().find(|(named, _)| *named == metric);
            last.map(|&(_, value)| value)
        };
        let default = metric.default_threshold();
        Threshold {
            min_effect: last(&self.min_effect).unwrap_or(default.min_effect),
            min_change: last(&self.min_change).unwrap_or(default.min_change),
        }
    }

    fn inconclusive(&self) -> Inconclusive {
        match self.inconclusive {
            None => Inconclusive::Distinct,
            Some(InconclusiveFlag::Pass) => Inconclusive::Pass,
            Some(InconclusiveFlag::Fail) => Inconclusive::Fail,
        }
    }
}
