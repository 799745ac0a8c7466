//! What a run says to people and programs. Plain data with a version; how it is drawn is `text`.
//!
//! The JSON has a schema, `report/load.schema.json`: integer nanoseconds, `null` where there are too few samples or
//! where something does not apply. `verdict` judges how far the figures can be trusted, `assertion` what was asked of
//! them; `comparison` sets servers side by side; `seconds` and `files` are for those who want more than one report.

pub mod assertion;
mod distribution;
mod evidence;
pub(crate) mod facts;
pub mod files;
pub mod seconds;
pub(crate) mod text;
pub mod verdict;

use serde::Serialize;

use crate::load::RunResult;
pub use crate::load::result::{ConnectionMessages, Messages};
use crate::sys::machine::Machine;
use assertion::{Assertion, Judgement};
pub use distribution::{Bounds, Distribution};
use facts::ratio;
pub use facts::{Connections, Environment, Fairness, Generator, PlanSummary, Server, Surroundings};
use verdict::Verdict;

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
    /// How far the figures can be trusted, and why not further.
    pub verdict: Verdict,
    /// What became of `--assert`.
    pub assertions: Vec<Judgement>,
    /// Where it ran, and with which build.
    pub environment: Environment,
    /// What was asked for.
    pub plan: PlanSummary,
    /// How the connections fared.
    pub connections: Connections,
    /// How long connecting took.
    pub connect_ns: Distribution,
    /// From the start of a connect to the first byte of the first answer; `None` without churn.
    pub first_byte_ns: Option<Distribution>,
    /// From our FIN to the target's; `None` without churn.
    pub close_ns: Option<Distribution>,
    /// What became of the messages.
    pub messages: Messages,
    /// How long was measured, by the clock.
    pub elapsed_ns: u64,
    /// Planned messages for each second of measuring; `None` in a closed loop.
    pub offered_per_s: Option<f64>,
    /// Messages that came back in each second of measuring.
    pub rate_per_s: f64,
    /// Latencies by how they are measured.
    pub latency_ns: Latencies,
    /// How late messages were handed to the ring behind their planned instants; `None` in a closed loop.
    pub send_lag_ns: Option<Distribution>,
    /// How evenly the connections were answered; `None` where they were replaced.
    pub fairness: Option<Fairness>,
    /// Round trips as the kernel sees them, sampled every second (TCP_INFO).
    pub rtt_ns: Option<Distribution>,
    /// Segments that we sent again, over all connections that were open at the end (TCP_INFO).
    pub retransmits: u64,
    /// What the server used, if it is local and was found.
    pub server: Option<Server>,
    /// What we used ourselves.
    pub generator: Generator,
    /// What else happened on this machine.
    pub surroundings: Surroundings,
}

/// Latencies by how they are measured.
#[derive(Debug, Clone, Serialize)]
pub struct Latencies {
    /// From the planned instant to the arrival of the last byte: what a user would have waited. `None` in a closed
    /// loop, which has no plan.
    pub response: Option<Distribution>,
    /// From the submit of the first byte to the arrival of the last.
    pub service: Distribution,
}

impl Report {
    /// Draws up the report of a run on this machine.
    pub fn of(outcome: &RunResult, machine: Machine, assertions: &[Assertion]) -> Report {
        let found = &outcome.stats;
        let elapsed = found.elapsed();
        let (targets, workload) = (&outcome.plan.targets, &outcome.plan.workload);
        let open_loop = workload.pace.is_open();
        let mut report = Report {
            schema: SCHEMA,
            partial: outcome.interrupted.is_some(),
            verdict: Verdict::none(),
            assertions: Vec::new(),
            environment: Environment::of(machine),
            plan: PlanSummary {
                spin: outcome.spin,
                ..PlanSummary::of(targets, workload)
            },
            connections: Connections::of(outcome),
            connect_ns: Distribution::of(&found.connect),
            first_byte_ns: Distribution::unless_empty(&found.first_byte),
            close_ns: Distribution::unless_empty(&found.close),
            messages: outcome.messages,
            elapsed_ns: elapsed.0,
            offered_per_s: open_loop.then(|| ratio(outcome.messages.sent as f64, elapsed.as_secs())),
            rate_per_s: ratio(found.achieved as f64, elapsed.as_secs()),
            latency_ns: Latencies {
                response: open_loop
                    .then(|| Distribution::with_intervals(&outcome.latencies.response, &outcome.series.response)),
                service: Distribution::with_intervals(&outcome.latencies.service, &outcome.series.service),
            },
            send_lag_ns: open_loop.then(|| Distribution::of(&found.send_lag)),
            fairness: Fairness::of(outcome),
            rtt_ns: Distribution::unless_empty(&found.rtt),
            retransmits: found.retransmits,
            server: Server::of(outcome, elapsed),
            generator: Generator::of(outcome, elapsed),
            surroundings: Surroundings::of(outcome),
        };
        report.verdict = verdict::judge(&report.evidence(outcome));
        let judge = |assertion: &Assertion| assertion.judge(|metric| report.estimate(metric));
        report.assertions = assertions.iter().map(judge).collect();
        report
    }

    /// As one JSON document, with a line break at the end.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("plain data has no way to fail");
        text.push('\n');
        text
    }

    /// The exit code that the assertions ask for.
    pub fn assertions_exit(&self) -> u8 {
        assertion::exit_code(&self.assertions)
    }
}
