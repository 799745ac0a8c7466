//! The report of one run. Plain data with a versioned JSON form; `text` draws it for people.
//!
//! `sections`, `targets`, `distribution` (with `percentile`), `rate_interval` and `intervals` are its parts; `validity`
//! judges how far its figures can be trusted, `assertion` whether `--assert` holds, both from `inputs`; `text` (with
//! `latency_table`) draws it, `files` writes it and its companions; `repeat` has several runs of one plan. The JSON has
//! a schema, `report/load.schema.json`, generated from these types: times are integer nanoseconds, and `null` means too
//! few samples or not applicable.

pub mod assertion;
pub mod bars;
mod distribution;
mod endings;
pub mod files;
mod inputs;
pub mod intervals;
mod latency_table;
pub mod over_time;
pub mod page;
pub mod percentile;
mod rate_interval;
pub mod repeat;
mod sections;
mod targets;
pub(crate) mod text;
pub mod validity;

use std::borrow::Cow;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::WallTime;
use crate::error::Outcome;
use crate::histogram::{BatchSeries, EncodedHistogram, Recorder};
use crate::load::RunResult;
use crate::load::result::HostActivity;
pub use crate::load::result::{ConnectionMessages, Messages};
use crate::output;
use assertion::{Assertion, AssertionOutcome};
pub use distribution::{Bounds, ConfidenceIntervals, Distribution, IntervalMethod, Statistic};
pub use endings::Endings;
pub use over_time::Column;
pub use rate_interval::RateInterval;
use sections::ratio;
pub use sections::{
    Connections, Environment, Fairness, Generator, PlanSummary, RateChange, Server, SizeDistribution, SizeSummary,
    TargetAddress,
};
pub use targets::Target;
use validity::Verdict;

/// Version of the report's JSON. A change that breaks readers gets a new number.
pub const SCHEMA: &str = "urecho.load/2";

/// The JSON Schema (draft 2020-12) that every report satisfies.
pub const LOAD_SCHEMA: &str = include_str!("load.schema.json");

/// Report of `urecho load` and `urecho bench`. Times are integer nanoseconds. `messages.sent == completed + failed +
/// missing`, and that is the `count` of `latency.response` in an open loop, of `latency.service` in a closed one;
/// failed and missing messages are `censored` there.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Name and version of this document's shape.
    pub schema: Cow<'static, str>,
    /// True if the run ended before the planned end: it was interrupted, or wrong data came back.
    pub partial: bool,
    /// The first wrong byte, which ended the run; null if there was none.
    pub wrong_data: Option<String>,
    /// How far the figures can be trusted, with reasons.
    pub verdict: Verdict,
    /// The outcome of each `--assert`.
    pub assertions: Vec<AssertionOutcome>,
    /// All measurements and their conditions.
    #[serde(flatten)]
    pub figures: Figures,
}

/// All measurements of a run and their conditions: a report without its judgements.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Figures {
    /// Where it ran, and with which build.
    pub environment: Environment,
    /// The plan.
    pub plan: PlanSummary,
    /// When measuring began; null if the run ended before.
    pub began: Option<WallTime>,
    /// What became of the connections.
    pub connections: Connections,
    /// How those that opened ended; null in reports of versions before 0.5.
    #[serde(default)]
    pub endings: Option<Endings>,
    /// Time to connect: with churn, of the connections dialled while measuring; otherwise of all. Here and in the next
    /// three, those that did not get there are censored.
    /// Without churn up to 4 are dialled in one system call, and each is timed from its beginning.
    pub connect: Distribution,
    /// Time to connect of the initial connections, before messages began; null without churn, where `connect` has it.
    pub ramp_up: Option<Distribution>,
    /// From dialling, while measuring, to the first byte of the first reply; null without churn.
    pub first_byte: Option<Distribution>,
    /// From our FIN, sent while measuring, to the target's; null without churn by FIN.
    pub close: Option<Distribution>,
    /// What became of the messages.
    pub messages: Messages,
    /// Length of measuring, by the clock.
    pub elapsed_ns: u64,
    /// Messages due by the plan per second of measuring, whether they could be sent or not; null in a closed loop.
    pub offered_per_s: Option<f64>,
    /// How the offered rate was changed by hand (`--live`).
    #[serde(default)]
    pub rate_changes: Vec<RateChange>,
    /// Messages completed per second of measuring.
    pub completed_per_s: f64,
    /// Its confidence interval, from the seconds of the run. Null for a ramp, and where the rate was changed: there is
    /// no single rate.
    pub completed_per_s_interval: Option<RateInterval>,
    /// Bytes that came back per second of measuring.
    pub received_bytes_per_s: f64,
    /// Latencies of the messages.
    pub latency: Latencies,
    /// The same as histograms; null in reports of versions before 0.5.
    #[serde(default)]
    pub histograms: Option<Histograms>,
    /// The run over time; empty in reports of versions before 0.5.
    #[serde(default)]
    pub over_time: Vec<Column>,
    /// What became of the messages of each target; empty if there is only one.
    pub targets: Vec<Target>,
    /// How long after the planned instant messages were issued; null in a closed loop.
    pub send_lag: Option<Distribution>,
    /// How evenly connections were served; null with churn.
    pub fairness: Option<Fairness>,
    /// The kernel's smoothed round-trip time (tcpi_rtt, a moving average), sampled from a few connections every
    /// second. Its percentiles are not those of round trips.
    pub smoothed_rtt: Option<Distribution>,
    /// Segments that we retransmitted, over all connections open at the end (TCP_INFO).
    pub retransmits: u64,
    /// Segments that arrived out of order on them (tcpi_rcv_ooopack): an earlier one was lost, or delayed, on its way
    /// from the target. One that was lost alone does not show. 0 before Linux 5.4.
    pub out_of_order: u64,
    /// What the servers of all targets used; null if that is not known of one of them.
    pub server: Option<Server>,
    /// Why `server` is null.
    pub server_unknown: Option<String>,
    /// What the generator used.
    pub generator: Generator,
    /// Other activity on this machine while measuring.
    pub host: HostActivity,
}

/// Latencies by where they start.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Latencies {
    /// From the planned instant to the last byte of the reply. Null in a closed loop, which has no plan.
    pub response: Option<Distribution>,
    /// From the submission of the first byte to the last byte of the reply.
    pub service: Distribution,
}

/// Histograms of the latencies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Histograms {
    /// Of the response time; null in a closed loop.
    pub response: Option<EncodedHistogram>,
    /// Of the service time.
    pub service: EncodedHistogram,
}

impl Report {
    /// The report of a run.
    pub fn of(run: &RunResult, environment: Environment, assertions: &[Assertion]) -> Report {
        let figures = Figures::of(run, environment);
        let judge = |assertion: &Assertion| assertion.judge(|metric| figures.estimate(run, metric));
        Report {
            schema: SCHEMA.into(),
            partial: run.is_partial(),
            wrong_data: run.stats.wrong_data.clone(),
            verdict: validity::judge(&figures.verdict_inputs(run)),
            assertions: assertions.iter().map(judge).collect(),
            figures,
        }
    }

    /// As one JSON document.
    pub fn json(&self) -> String {
        output::json::document(self)
    }

    /// What the assertions amount to together; none if all are true.
    pub fn assertions_outcome(&self) -> Option<Outcome> {
        assertion::outcome(&self.assertions)
    }
}

impl Figures {
    fn of(run: &RunResult, environment: Environment) -> Figures {
        let (stats, elapsed) = (&run.stats, run.stats.elapsed());
        let pace = run.plan.workload.pace;
        let (open_loop, churns) = (pace.is_open(), run.plan.workload.churn.is_some());
        let server = Server::of(run, elapsed);
        let completed_per_s = ratio(stats.achieved as f64, elapsed.as_secs());
        let is_one_rate = !pace.is_ramp() && run.rate_changes_measured() == 0;
        let latency = |recorder: &Recorder, batches: &BatchSeries| {
            // The seconds of a ramp differ by design: an interval would be of no rate.
            if !is_one_rate {
                Distribution::of(recorder)
            } else {
                Distribution::with_intervals(recorder, batches)
            }
        };
        Figures {
            environment,
            plan: PlanSummary {
                spin: run.spin,
                ..PlanSummary::of(&run.plan.targets, &run.plan.workload)
            },
            began: run.began,
            connections: Connections::of(run),
            endings: Some(Endings::of(run)),
            connect: if churns {
                latency(&stats.connect, &run.connect_series)
            } else {
                Distribution::of(&stats.ramp_up)
            },
            ramp_up: churns.then(|| Distribution::of(&stats.ramp_up)),
            first_byte: Distribution::unless_empty(&stats.first_byte),
            close: Distribution::unless_empty(&stats.close),
            messages: run.messages,
            elapsed_ns: elapsed.0,
            offered_per_s: open_loop.then(|| ratio(run.messages.sent as f64, elapsed.as_secs())),
            rate_changes: RateChange::all(run),
            completed_per_s,
            completed_per_s_interval: is_one_rate.then(|| RateInterval::of(completed_per_s, &run.rates)),
            received_bytes_per_s: ratio(stats.received_bytes as f64, elapsed.as_secs()),
            latency: Latencies {
                response: open_loop.then(|| latency(&run.latencies.response, &run.series.response)),
                service: latency(&run.latencies.service, &run.series.service),
            },
            histograms: Some(Histograms {
                response: open_loop.then(|| EncodedHistogram::of(&run.latencies.response)),
                service: EncodedHistogram::of(&run.latencies.service),
            }),
            over_time: Column::all(run),
            targets: Target::all(run),
            send_lag: open_loop.then(|| latency(&stats.send_lag, &run.send_lag_series)),
            fairness: Fairness::of(run),
            smoothed_rtt: Distribution::unless_empty(&stats.smoothed_rtt),
            retransmits: stats.retransmits,
            out_of_order: stats.out_of_order,
            server_unknown: server.as_ref().err().cloned(),
            server: server.ok(),
            generator: Generator::of(run, elapsed),
            host: run.host,
        }
    }

    /// The latency that a user would experience: response time in an open loop, service time in a closed one.
    pub fn main_latency(&self) -> &Distribution {
        self.latency.response.as_ref().unwrap_or(&self.latency.service)
    }
}
