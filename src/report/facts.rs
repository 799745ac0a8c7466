//! The parts of a report besides latencies: what was asked for, and how connections, messages, server, generator and
//! machine fared. Plain data.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

use crate::clock::Nanos;
use crate::load::result::{ConnectionMessages, Loss};
use crate::load::schedule::{Arrivals, Pace};
use crate::load::sizes::Sizes;
use crate::load::{Close, RunResult, Workload};
use crate::sys::machine::Machine;
use crate::sys::netstat::Netstat;

/// Where a run was made.
#[derive(Debug, Clone, Serialize)]
pub struct Environment {
    /// Our version.
    pub urecho: &'static str,
    /// True for a build without optimisation: its figures mean little.
    pub debug_build: bool,
    /// The machine.
    #[serde(flatten)]
    pub machine: Machine,
}

impl Environment {
    /// This build on this machine.
    pub fn of(machine: Machine) -> Environment {
        Environment {
            urecho: env!("CARGO_PKG_VERSION"),
            debug_build: cfg!(debug_assertions),
            machine,
        }
    }
}

/// The plan as it was carried out.
#[derive(Debug, Clone, Serialize)]
pub struct PlanSummary {
    /// The servers' addresses; connections took them in turn.
    pub targets: Vec<String>,
    /// How many of our addresses connections took in turn; 0: the kernel chose.
    pub sources: u64,
    /// `closed`: a connection's next message goes when one has come back. `open`: messages go at planned instants.
    pub mode: &'static str,
    /// Planned messages a second, when measuring begins and ends; `None` in a closed loop.
    pub rate_per_s: Option<(f64, f64)>,
    /// `poisson` or `constant`; `None` in a closed loop.
    pub arrivals: Option<&'static str>,
    /// The pause between an answer and the next message, in a closed loop.
    pub think_ns: u64,
    /// Messages that one connection may have unanswered at once.
    pub pipeline: u64,
    /// `fixed`, `uniform` or `weighted`.
    pub sizes: &'static str,
    /// The mean of a message's size in bytes.
    pub size_bytes_mean: f64,
    /// The largest message in bytes.
    pub size_bytes_max: u64,
    /// Messages after which a connection was closed and replaced; `None`: they stayed.
    pub churn: Option<u64>,
    /// `fin` or `rst`; `None` without churn.
    pub close: Option<&'static str>,
    /// True if every byte that came back was compared.
    pub verify: bool,
    /// Threads of the generator.
    pub threads: u32,
    /// The CPUs they were kept on; empty for none.
    pub cpus: Vec<usize>,
    /// True if threads looked for completions before they slept, because a CPU was spare.
    pub spin: bool,
    /// How long messages were to be measured.
    pub duration_ns: u64,
    /// How long they went before that.
    pub warmup_ns: u64,
    /// How long answers were waited for afterwards.
    pub drain_ns: u64,
    /// From which payloads, sizes, arrivals and choices were made.
    pub seed: u64,
}

impl PlanSummary {
    /// A workload and its targets; none where each server has its own.
    pub fn of(targets: &[SocketAddr], plan: &Workload) -> PlanSummary {
        let (rate, arrivals, think) = match plan.pace {
            Pace::Closed { think } => (None, None, think),
            Pace::Open {
                rate,
                arrivals: Arrivals::Poisson,
            } => (Some((rate.from, rate.to)), Some("poisson"), Nanos(0)),
            Pace::Open {
                rate,
                arrivals: Arrivals::Constant,
            } => (Some((rate.from, rate.to)), Some("constant"), Nanos(0)),
        };
        PlanSummary {
            targets: targets.iter().map(ToString::to_string).collect(),
            sources: plan.sources.len() as u64,
            mode: if plan.pace.is_open() { "open" } else { "closed" },
            rate_per_s: rate,
            arrivals,
            think_ns: think.0,
            pipeline: plan.traffic.depth as u64,
            sizes: match plan.traffic.sizes {
                Sizes::Fixed(_) => "fixed",
                Sizes::Uniform { .. } => "uniform",
                Sizes::Weighted(_) => "weighted",
            },
            size_bytes_mean: plan.traffic.sizes.mean(),
            size_bytes_max: plan.traffic.sizes.max(),
            churn: plan.churn.map(|churn| churn.messages),
            close: plan.churn.map(|churn| match churn.close {
                Close::Fin => "fin",
                Close::Rst => "rst",
            }),
            verify: plan.traffic.verify,
            threads: plan.threads,
            cpus: plan.cpus.clone(),
            spin: plan.spin,
            duration_ns: plan.duration.0,
            warmup_ns: plan.warmup.0,
            drain_ns: plan.drain.0,
            seed: plan.seed,
        }
    }
}

/// How the connections fared.
#[derive(Debug, Clone, Serialize)]
pub struct Connections {
    /// Asked for, all at once.
    pub requested: u64,
    /// Opened, and echoed a first message (churn: or replaced one that had).
    pub opened: u64,
    /// Never got that far.
    pub failed: u64,
    /// Why they failed, by kind.
    pub failures: BTreeMap<String, u64>,
    /// Opened, but ended by the target before we ended them, by kind.
    pub lost: BTreeMap<String, u64>,
    /// Ended by us before the run was over (churn).
    pub closed: u64,
}

impl Connections {
    pub(super) fn of(outcome: &RunResult) -> Connections {
        let found = &outcome.stats;
        let named =
            |losses: &BTreeMap<Loss, u64>| losses.iter().map(|(loss, count)| (loss.to_string(), *count)).collect();
        Connections {
            requested: outcome.plan.workload.connections.into(),
            opened: found.opened,
            failed: found.unopened.values().sum(),
            failures: named(&found.unopened),
            lost: named(&found.lost),
            closed: found.closed,
        }
    }

    /// Opened connections that the target ended.
    pub fn lost_total(&self) -> u64 {
        self.lost.values().sum()
    }
}

/// How evenly the server answered its connections.
#[derive(Debug, Clone, Serialize)]
pub struct Fairness {
    /// Jain's index of the messages per connection: 1 when all had the same, 1/n when one had all
    /// (Jain, Chiu, Hawe 1984).
    pub jain: f64,
    /// The connections with the fewest messages answered, at most ten.
    pub slowest: Vec<ConnectionMessages>,
}

impl Fairness {
    /// None for fewer than two connections, for connections that were replaced, and where nothing was answered.
    pub(super) fn of(outcome: &RunResult) -> Option<Fairness> {
        let answers = &outcome.stats.by_connection;
        let sum: f64 = answers.iter().map(|one| one.messages as f64).sum();
        let squares: f64 = answers.iter().map(|one| (one.messages as f64).powi(2)).sum();
        if outcome.plan.workload.churn.is_some() || answers.len() < 2 || sum == 0.0 {
            return None;
        }
        let mut slowest = answers.clone();
        slowest.sort_by_key(|slow| (slow.messages, slow.connection));
        slowest.truncate(10);
        Some(Fairness {
            jain: sum * sum / (answers.len() as f64 * squares),
            slowest,
        })
    }
}

/// What the server's process used while measuring.
#[derive(Debug, Clone, Serialize)]
pub struct Server {
    /// CPU time for each message answered.
    pub cpu_ns_per_message: u64,
    /// CPU time in a second of measuring: 1.0 is one CPU all the time.
    pub cpu_ratio: f64,
    /// Times that its threads went to sleep, and were made to wait.
    pub context_switches_voluntary: u64,
    /// See `context_switches_voluntary`.
    pub context_switches_involuntary: u64,
    /// Resident memory at the end of measuring.
    pub resident_bytes: u64,
    /// The same for each connection that was open.
    pub resident_bytes_per_connection: u64,
}

impl Server {
    pub(super) fn of(outcome: &RunResult, elapsed: Nanos) -> Option<Server> {
        let server = outcome.server.as_ref()?;
        let open = u64::from(outcome.plan.workload.connections)
            .min(outcome.stats.opened)
            .max(1);
        Some(Server {
            cpu_ns_per_message: per_message(server.cpu, outcome.stats.achieved),
            cpu_ratio: ratio(server.cpu.as_secs(), elapsed.as_secs()),
            context_switches_voluntary: server.context_switches.voluntary,
            context_switches_involuntary: server.context_switches.involuntary,
            resident_bytes: server.resident,
            resident_bytes_per_connection: server.resident / open,
        })
    }
}

/// What the generator used while measuring.
#[derive(Debug, Clone, Serialize)]
pub struct Generator {
    /// CPU time of all threads for each message answered.
    pub cpu_ns_per_message: u64,
    /// CPU time of the busiest thread in a second of measuring.
    pub cpu_ratio: f64,
    /// The same without what it spent looking for completions: near 1.0 the generator is the bottleneck.
    pub busy_ratio: f64,
    /// Times a completion queue overflowed.
    pub cq_overflows: u64,
}

impl Generator {
    pub(super) fn of(outcome: &RunResult, elapsed: Nanos) -> Generator {
        let found = &outcome.stats;
        Generator {
            cpu_ns_per_message: per_message(found.cpu.total, found.achieved),
            cpu_ratio: ratio(found.cpu.busiest.as_secs(), elapsed.as_secs()),
            busy_ratio: ratio(found.cpu.busiest_without_spin.as_secs(), elapsed.as_secs()),
            cq_overflows: found.overflows,
        }
    }
}

/// What else happened on this machine while measuring. `None` where the kernel does not tell.
#[derive(Debug, Clone, Serialize)]
pub struct Surroundings {
    /// Time that the hypervisor gave to others, over all CPUs.
    pub steal_ns: Option<u64>,
    /// Time in which some task waited for a CPU.
    pub cpu_pressure_ns: Option<u64>,
    /// What the network stack counted, of the whole network namespace.
    pub network: Option<Netstat>,
}

impl Surroundings {
    pub(super) fn of(outcome: &RunResult) -> Surroundings {
        let surroundings = &outcome.host;
        Surroundings {
            steal_ns: surroundings.disturbance.steal.map(|span| span.0),
            cpu_pressure_ns: surroundings.disturbance.pressure.map(|span| span.0),
            network: surroundings.network,
        }
    }
}

fn per_message(used: Nanos, messages: u64) -> u64 {
    used.0.checked_div(messages).unwrap_or(0)
}

pub(super) fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
