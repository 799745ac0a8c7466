//! The sections of a report other than latencies: environment, plan, connections, server, generator. Plain data.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Distribution;
use crate::clock::Nanos;
use crate::load::result::{ConnectionMessages, Loss};
use crate::load::schedule::Pace;
use crate::load::sizes::Sizes;
use crate::load::{self, Churn, Io, RunResult, Target, Workload};
use crate::sys::machine::Machine;

/// Which build was called how, and where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Version of urecho.
    pub urecho: String,
    /// The commit it was built from; null if that is not known: a debug build, or an archive without git.
    pub commit: Option<String>,
    /// Profile of the build: `release` or `debug`.
    pub profile: Option<String>,
    /// True for a build without optimisation: its figures mean little.
    pub debug_build: bool,
    /// The command line.
    #[serde(default)]
    pub command: Vec<String>,
    /// The machine.
    pub machine: Machine,
}

impl Environment {
    /// This build on this machine, as this process was called.
    pub fn of(machine: Machine) -> Environment {
        Environment {
            urecho: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("URECHO_BUILD_COMMIT").map(str::to_owned),
            profile: option_env!("URECHO_BUILD_PROFILE").map(str::to_owned),
            debug_build: cfg!(debug_assertions),
            command: std::env::args_os()
                .map(|word| word.to_string_lossy().into_owned())
                .collect(),
            machine,
        }
    }
}

/// The plan as it was carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PlanSummary {
    /// The servers; connections took them in turn. Empty where each server of a comparison has its own.
    pub targets: Vec<TargetAddress>,
    /// Source addresses that connections took in turn; 0: the kernel chose.
    pub sources: u64,
    /// When messages were sent.
    pub pace: Pace,
    /// Messages in flight per connection, at most.
    pub pipeline: u64,
    /// Messages in flight over all connections of a closed loop, which took turns; null: as many as that.
    #[serde(default)]
    pub in_flight_max: Option<u64>,
    /// True if connections were direct descriptors of io_uring.
    #[serde(default)]
    pub direct_descriptors: bool,
    /// Message sizes.
    pub sizes: SizeSummary,
    /// How connections were closed and replaced; null: they stayed open.
    pub churn: Option<Churn>,
    /// True if every byte of every reply was compared.
    pub verify: bool,
    /// How the generator sent and received.
    #[serde(default)]
    pub io: Io,
    /// Threads of the generator.
    pub threads: u32,
    /// CPUs the threads were pinned to; empty: not pinned.
    pub cpus: Vec<usize>,
    /// True if threads busy-polled for completions before sleeping, because a CPU was spare.
    pub spin: bool,
    /// Planned length of measuring.
    pub duration_ns: u64,
    /// Length of the warm-up before it.
    pub warmup_ns: u64,
    /// How long outstanding replies were waited for at the end, at most.
    pub drain_ns: u64,
    /// Seed of payloads, sizes, arrival times and connection choice.
    pub seed: u64,
}

/// A server of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TargetAddress {
    /// As it was given: an address, or a name.
    pub name: String,
    /// The address that was used.
    pub address: String,
}

impl TargetAddress {
    pub(super) fn of(target: &Target) -> TargetAddress {
        TargetAddress {
            name: target.name.clone(),
            address: target.address().to_string(),
        }
    }
}

/// `127.0.0.1:7007`, or `localhost:7007 (127.0.0.1:7007)`.
impl Display for TargetAddress {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.name != self.address {
            write!(f, " ({})", self.address)?;
        }
        Ok(())
    }
}

/// Message sizes, summarised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SizeSummary {
    /// How they are distributed.
    pub distribution: SizeDistribution,
    /// Mean size in bytes.
    pub mean_bytes: f64,
    /// Largest size in bytes.
    pub max_bytes: u64,
}

/// The distribution of message sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum SizeDistribution {
    /// One size.
    Fixed,
    /// Every size in a range equally likely.
    Uniform,
    /// A list of sizes with weights.
    Weighted,
}

impl SizeSummary {
    fn of(sizes: &Sizes) -> SizeSummary {
        SizeSummary {
            distribution: match sizes {
                Sizes::Fixed(_) => SizeDistribution::Fixed,
                Sizes::Uniform { .. } => SizeDistribution::Uniform,
                Sizes::Weighted(_) => SizeDistribution::Weighted,
            },
            mean_bytes: sizes.mean(),
            max_bytes: sizes.max(),
        }
    }
}

impl PlanSummary {
    /// A workload and its targets; no target where each server has its own.
    pub fn of(targets: &[Target], workload: &Workload) -> PlanSummary {
        PlanSummary {
            targets: targets.iter().map(TargetAddress::of).collect(),
            sources: workload.sources.len() as u64,
            pace: workload.pace,
            pipeline: workload.traffic.depth as u64,
            in_flight_max: workload.in_flight_max().map(u64::from),
            direct_descriptors: workload.direct,
            sizes: SizeSummary::of(&workload.traffic.sizes),
            churn: workload.churn,
            verify: workload.traffic.verify,
            io: workload.io,
            threads: workload.threads,
            cpus: workload.cpus.clone(),
            spin: workload.spin,
            duration_ns: workload.duration.0,
            warmup_ns: workload.warmup.0,
            drain_ns: workload.drain.0,
            seed: workload.seed,
        }
    }
}

impl PlanSummary {
    /// All targets, separated by commas.
    pub fn targets_shown(&self) -> String {
        let targets: Vec<String> = self.targets.iter().map(ToString::to_string).collect();
        targets.join(", ")
    }
}

/// What became of the connections.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Connections {
    /// Connections of the plan, all open at once.
    pub requested: u64,
    /// Connected, and echoed a first message. With churn, replacements count as well, once they are connected.
    pub opened: u64,
    /// Never got that far.
    pub failed: u64,
    /// Why they failed, by kind.
    pub failures: BTreeMap<Loss, u64>,
    /// Were still opening when the run ended.
    pub unfinished: u64,
    /// Opened, then closed by the target before we closed them, or by us because of `wrong_data`, by kind.
    pub lost: BTreeMap<Loss, u64>,
    /// Closed by us before the run was over (churn).
    pub closed: u64,
    /// Connections opened per second of measuring; null without churn.
    pub opened_per_s: Option<f64>,
}

impl Connections {
    pub(super) fn of(run: &RunResult) -> Connections {
        let stats = &run.stats;
        Connections {
            requested: run.plan.workload.connections.into(),
            opened: stats.opened,
            failed: stats.unopened.values().sum(),
            failures: stats.unopened.clone(),
            unfinished: stats.unfinished,
            lost: stats.lost.clone(),
            closed: stats.closed,
            opened_per_s: run
                .plan
                .workload
                .churn
                .map(|_| ratio(stats.opened_measuring as f64, stats.elapsed().as_secs())),
        }
    }

    /// Connections that have not opened, or not in time.
    pub fn unopened(&self) -> u64 {
        self.failed + self.unfinished
    }

    /// Opened connections that ended before their time.
    pub fn lost_total(&self) -> u64 {
        self.lost.values().sum()
    }

    /// Those that the target closed.
    pub(super) fn closed_by_target(&self) -> u64 {
        self.lost_total() - self.lost.get(&Loss::WrongData).unwrap_or(&0)
    }
}

/// A change of the offered rate, by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RateChange {
    /// When, since measuring began; 0 before.
    pub after_ns: u64,
    /// Messages a second from then on.
    pub offered_per_s: f64,
}

impl RateChange {
    pub(super) fn all(run: &RunResult) -> Vec<RateChange> {
        let change = |change: &load::RateChange| RateChange {
            after_ns: change.at.0,
            offered_per_s: change.per_s,
        };
        run.rate_changes.iter().map(change).collect()
    }
}

/// How evenly the server served its connections.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Fairness {
    /// Jain's index of completed messages per connection: 1 if all completed the same number, 1/n if one completed all
    /// (Jain, Chiu, Hawe 1984).
    pub jain: f64,
    /// The connections with the fewest completed messages, at most ten.
    pub slowest: Vec<ConnectionMessages>,
}

impl Fairness {
    /// None for fewer than two connections, with churn, and where no message completed.
    pub(super) fn of(run: &RunResult) -> Option<Fairness> {
        let completed = &run.stats.by_connection;
        let sum: f64 = completed.iter().map(|one| one.messages as f64).sum();
        let squares: f64 = completed.iter().map(|one| (one.messages as f64).powi(2)).sum();
        if run.plan.workload.churn.is_some() || completed.len() < 2 || sum == 0.0 {
            return None;
        }
        let mut slowest = completed.clone();
        slowest.sort_by_key(|slow| (slow.messages, slow.connection));
        slowest.truncate(10);
        Some(Fairness {
            jain: sum * sum / (completed.len() as f64 * squares),
            slowest,
        })
    }
}

/// What the processes that listen at the targets, and all their descendants, used while measuring.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Names of the processes that listen. One that is a relay (docker-proxy, ssh) is not the server: its figures are
    /// its own.
    pub listening: Vec<String>,
    /// How many processes there were when measuring began or ended, whichever is more; descendants included.
    pub processes: u64,
    /// CPU time per completed message; null without messages.
    pub cpu_ns_per_message: Option<u64>,
    /// CPU time per second of measuring: 1.0 is one CPU all the time.
    pub cpu_ratio: f64,
    /// Times that their threads gave up their CPU to sleep; null if processes ended meanwhile, as the next one.
    pub context_switches_voluntary: Option<u64>,
    /// Times that their threads were preempted.
    pub context_switches_involuntary: Option<u64>,
    /// Resident memory at the end of measuring, or at its beginning if processes ended meanwhile; pages that these
    /// processes share count once. Null if it is not readable.
    pub resident_bytes: Option<u64>,
    /// Resident memory per connection open at the end; null without one.
    pub resident_bytes_per_connection: Option<u64>,
}

impl Server {
    /// Errors: why it is not known.
    pub(super) fn of(run: &RunResult, elapsed: Nanos) -> Result<Server, String> {
        let used = run.server.as_ref().map_err(String::clone)?;
        let (stats, switches) = (&run.stats, used.context_switches);
        let gone = stats.closed + stats.lost.values().sum::<u64>();
        let open = stats.opened.saturating_sub(gone);
        Ok(Server {
            listening: used.listening.clone(),
            processes: used.processes,
            cpu_ns_per_message: used.cpu.0.checked_div(stats.achieved),
            cpu_ratio: ratio(used.cpu.as_secs(), elapsed.as_secs()),
            context_switches_voluntary: switches.map(|switches| switches.voluntary),
            context_switches_involuntary: switches.map(|switches| switches.involuntary),
            resident_bytes: used.resident,
            resident_bytes_per_connection: used.resident.and_then(|bytes| bytes.checked_div(open)),
        })
    }
}

/// What the generator used while measuring.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Generator {
    /// CPU time of all threads per completed message, busy-polling included.
    pub cpu_ns_per_message: u64,
    /// CPU time of the busiest thread per second of measuring.
    pub cpu_ratio: f64,
    /// The same without busy-polling: near 1.0 the generator is the bottleneck.
    pub busy_ratio: f64,
    /// Time for which the event loop of a thread was stalled, neither waiting nor working: stopped, throttled or
    /// without a CPU. From the beginning of measuring to the end of the run; of the thread that was stalled for
    /// longest.
    pub stalled_ns: u64,
    /// The longest of these stalls.
    pub stalled_max_ns: u64,
    /// Time that a thread waited for a CPU while measuring; of the one that waited for longest.
    pub run_delay_ns: u64,
    /// How long the passes of the loops took, by the completions that they handled: latencies are that exact.
    pub pass: Distribution,
    /// Times that a completion queue overflowed.
    pub cq_overflows: u64,
    /// Intervals that outputs have as part of a longer one, because their reader was slow.
    pub merged_intervals: u64,
}

impl Generator {
    pub(super) fn of(run: &RunResult, elapsed: Nanos) -> Generator {
        let stats = &run.stats;
        Generator {
            cpu_ns_per_message: per_message(stats.cpu.total, stats.achieved),
            cpu_ratio: ratio(stats.cpu.busiest.as_secs(), elapsed.as_secs()),
            busy_ratio: ratio(stats.cpu.busiest_without_spin.as_secs(), elapsed.as_secs()),
            stalled_ns: stats.stalls.total.0,
            stalled_max_ns: stats.stalls.longest.0,
            run_delay_ns: stats.run_delay.0,
            pass: Distribution::of(&stats.pass),
            cq_overflows: stats.overflows,
            merged_intervals: run.merged_intervals,
        }
    }
}

fn per_message(used: Nanos, messages: u64) -> u64 {
    used.0.checked_div(messages).unwrap_or(0)
}

pub(super) fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
