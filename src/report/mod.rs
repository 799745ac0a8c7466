//! What a run says to people and programs. Plain data with a version; how it is drawn is `text`.
//!
//! The JSON has a schema, `report/load.schema.json`: integer nanoseconds, `null` where there are too few samples.

mod text;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::clock::Nanos;
use crate::load::outcome::{Loss, Yield};
use crate::load::{Outcome, Plan};
use crate::record::{Figure, Reading, Recorder, needs};
use crate::sys::machine::Machine;

/// The version of the report's shape. A change that breaks readers gets a new number.
pub const SCHEMA: &str = "urecho.load/1";

/// The JSON Schema (draft 2020-12) that every report satisfies.
pub const LOAD_SCHEMA: &str = include_str!("load.schema.json");

/// One run of the load, ready to be read.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// True if the run was interrupted: less was measured than planned.
    pub partial: bool,
    /// Where it ran, and with which build.
    pub environment: Environment,
    /// What was asked for.
    pub plan: PlanFacts,
    /// How the connections fared.
    pub connections: Connections,
    /// How long connecting took.
    pub connect_ns: Distribution,
    /// What became of the messages.
    pub messages: Messages,
    /// How long was measured, by the clock.
    pub elapsed_ns: u64,
    /// Messages answered in a second of measuring.
    pub rate_per_s: f64,
    /// Latencies by how they are measured.
    pub latency_ns: Latencies,
    /// What the server used, if it is local and was found.
    pub server: Option<Server>,
    /// What we used ourselves.
    pub generator: Generator,
}

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

/// The plan as it was carried out.
#[derive(Debug, Clone, Serialize)]
pub struct PlanFacts {
    /// The server's address.
    pub target: String,
    /// `closed`: each connection sends its next message when the last has come back.
    pub mode: &'static str,
    /// Bytes in a message.
    pub size_bytes: u64,
    /// Threads of the generator.
    pub threads: u32,
    /// The CPUs they were kept on; empty for none.
    pub cpus: Vec<usize>,
    /// How long messages were to be measured.
    pub duration_ns: u64,
    /// How long they went before that.
    pub warmup_ns: u64,
    /// How long answers were waited for afterwards.
    pub drain_ns: u64,
    /// From which all payloads were made.
    pub seed: u64,
}

/// How the connections fared.
#[derive(Debug, Clone, Serialize)]
pub struct Connections {
    /// Asked for.
    pub requested: u64,
    /// Opened, and echoed a first message.
    pub opened: u64,
    /// Never got that far.
    pub failed: u64,
    /// Why they failed, by kind.
    pub failures: BTreeMap<String, u64>,
    /// Opened, but ended by the target before the run was over, by kind.
    pub lost: BTreeMap<String, u64>,
}

/// What became of the messages: `sent == ok + failed + missing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Messages {
    /// Asked for while measuring.
    pub sent: u64,
    /// Came back whole and right.
    pub ok: u64,
    /// Their connection ended first.
    pub failed: u64,
    /// Had not come back when the drain was over.
    pub missing: u64,
}

/// Latencies by how they are measured.
#[derive(Debug, Clone, Serialize)]
pub struct Latencies {
    /// From the submit of the first byte to the arrival of the last.
    pub service: Distribution,
}

/// A distribution in nanoseconds. `None` where there are too few samples to speak of a percentile.
#[derive(Debug, Clone, Serialize)]
pub struct Distribution {
    /// Samples, those whose answer is missing included.
    pub count: u64,
    /// Samples whose answer is missing: in here with the age they had reached.
    pub censored: u64,
    /// Smallest.
    pub min: Option<u64>,
    /// Median.
    pub p50: Option<u64>,
    /// 90th percentile.
    pub p90: Option<u64>,
    /// 99th percentile.
    pub p99: Option<u64>,
    /// 99.9th percentile.
    pub p99_9: Option<u64>,
    /// 99.99th percentile.
    pub p99_99: Option<u64>,
    /// Largest.
    pub max: Option<u64>,
    /// Arithmetic mean.
    pub mean: Option<u64>,
    /// Which of these are lower bounds, because answers are missing that could only make them larger.
    pub lower_bounds: Vec<&'static str>,
}

/// What the server's process used.
#[derive(Debug, Clone, Serialize)]
pub struct Server {
    /// CPU time for each message answered.
    pub cpu_ns_per_message: u64,
    /// CPU time in a second of measuring: 1.0 is one CPU all the time.
    pub cpu_ratio: f64,
}

/// What the generator used.
#[derive(Debug, Clone, Serialize)]
pub struct Generator {
    /// CPU time of all threads for each message answered.
    pub cpu_ns_per_message: u64,
    /// CPU time of the busiest thread in a second of measuring: near 1.0 the generator is the bottleneck.
    pub cpu_ratio: f64,
    /// Times a completion queue overflowed.
    pub cq_overflows: u64,
}

impl Report {
    /// Draws up the report of a run on this machine.
    pub fn of(outcome: &Outcome, machine: Machine) -> Report {
        let Outcome {
            plan,
            found,
            server_cpu,
            interrupted,
        } = outcome;
        let elapsed = found.end - found.begin;
        let rate = ratio(found.messages.ok as f64, elapsed.as_secs());
        Report {
            schema: SCHEMA,
            partial: interrupted.is_some(),
            environment: Environment {
                urecho: env!("CARGO_PKG_VERSION"),
                debug_build: cfg!(debug_assertions),
                machine,
            },
            plan: PlanFacts::of(plan),
            connections: Connections::of(plan, found),
            connect_ns: Distribution::of(&found.connect),
            messages: Messages {
                sent: found.messages.sent,
                ok: found.messages.ok,
                failed: found.messages.failed,
                missing: found.messages.missing,
            },
            elapsed_ns: elapsed.0,
            rate_per_s: rate,
            latency_ns: Latencies {
                service: Distribution::of(&found.service),
            },
            server: server_cpu.map(|used| Server {
                cpu_ns_per_message: per_message(used, found),
                cpu_ratio: ratio(used.as_secs(), elapsed.as_secs()),
            }),
            generator: Generator {
                cpu_ns_per_message: per_message(found.cpu_total, found),
                cpu_ratio: ratio(found.cpu.unwrap_or_default().as_secs(), elapsed.as_secs()),
                cq_overflows: found.overflows,
            },
        }
    }

    /// As one JSON document, with a line break at the end.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("plain data has no way to fail");
        text.push('\n');
        text
    }
}

impl PlanFacts {
    fn of(plan: &Plan) -> PlanFacts {
        PlanFacts {
            target: plan.target.to_string(),
            mode: "closed",
            size_bytes: plan.size,
            threads: plan.threads,
            cpus: plan.cpus.clone(),
            duration_ns: plan.duration.0,
            warmup_ns: plan.warmup.0,
            drain_ns: plan.drain.0,
            seed: plan.seed,
        }
    }
}

impl Connections {
    fn of(plan: &Plan, found: &Yield) -> Connections {
        let named = |losses: &BTreeMap<Loss, u64>| {
            losses
                .iter()
                .map(|(loss, count)| (loss.to_string(), *count))
                .collect()
        };
        Connections {
            requested: plan.connections.into(),
            opened: found.opened,
            failed: found.unopened.values().sum(),
            failures: named(&found.unopened),
            lost: named(&found.lost),
        }
    }
}

impl Distribution {
    fn of(recorder: &Recorder) -> Distribution {
        let mut lower_bounds = Vec::new();
        let mut figure = |name, figure: Option<Figure>| {
            let figure = figure?;
            if figure.lower_bound_only {
                lower_bounds.push(name);
            }
            Some(figure.value.0)
        };
        let quantile = |q| match recorder.quantile(q) {
            Reading::Known(figure) => Some(figure),
            Reading::NotEnough { .. } => None,
        };
        Distribution {
            count: recorder.count(),
            censored: recorder.censored(),
            min: figure("min", recorder.min()),
            p50: figure("p50", quantile(0.5)),
            p90: figure("p90", quantile(0.9)),
            p99: figure("p99", quantile(0.99)),
            p99_9: figure("p99_9", quantile(0.999)),
            p99_99: figure("p99_99", quantile(0.9999)),
            max: figure("max", recorder.max()),
            mean: figure("mean", recorder.mean()),
            lower_bounds,
        }
    }

    /// Name, value, whether it is a lower bound, and how many samples it needs, from min to max.
    fn figures(&self) -> impl Iterator<Item = (&'static str, Option<Nanos>, bool, u64)> + '_ {
        let rows = [
            ("min", self.min, 1),
            ("p50", self.p50, needs(0.5)),
            ("p90", self.p90, needs(0.9)),
            ("p99", self.p99, needs(0.99)),
            ("p99_9", self.p99_9, needs(0.999)),
            ("p99_99", self.p99_99, needs(0.9999)),
            ("max", self.max, 1),
        ];
        rows.into_iter().map(|(name, value, needs)| {
            (
                name,
                value.map(Nanos),
                self.lower_bounds.contains(&name),
                needs,
            )
        })
    }
}

fn per_message(used: Nanos, found: &Yield) -> u64 {
    used.0.checked_div(found.messages.ok).unwrap_or(0)
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
