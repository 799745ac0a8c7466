//! Servers side by side: figures of each, and ratios to the first with 95 % confidence intervals.
//!
//! The unit of analysis is the restart, not the message. A restart's figure is the median of its blocks; its ratio to
//! the first server is the median of the ratios within blocks. Over restarts, log ratios are estimated by Hodges and
//! Lehmann with the exact confidence interval of the signed-rank distribution, which needs 6 restarts.

use std::borrow::Cow;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::compare::{BlockFigures, bottleneck, quotas};
use crate::load::Workload;
use crate::output;
use crate::report::validity::{Grade, Reason};
use crate::report::{Environment, PlanSummary};
use crate::stats::{median, signed_rank};

/// Version of the comparison's JSON.
pub const SCHEMA: &str = "urecho.compare/2";

/// The JSON Schema (draft 2020-12) that every comparison satisfies.
pub const COMPARE_SCHEMA: &str = include_str!("compare.schema.json");

/// The error on each side of an interval: together 95 %.
const ALPHA: f64 = 0.025;

/// A server that uses more of a CPU than this while others have the traffic is not idle. Timers and housekeeping use
/// less.
pub const BACKGROUND_CPU_RATIO_MAX: f64 = 0.02;

/// Result of `urecho compare`: servers side by side, under one or more loads.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// Name and version of this document's shape.
    pub schema: Cow<'static, str>,
    /// True if it was interrupted: fewer restarts than planned.
    pub partial: bool,
    /// Where it ran, and with which build.
    pub environment: Environment,
    /// One per load.
    pub scenarios: Vec<Scenario>,
}

/// All servers under one load.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Connections to each server.
    pub connections: u64,
    /// The load. Warm-up and duration are those of a slice.
    pub load: PlanSummary,
    /// How it was measured.
    pub method: Method,
    /// The servers in the order given; all are compared with the first.
    pub servers: Vec<ServerResult>,
    /// Why the figures are not those of the servers, or may not be; as in the verdict of a run.
    pub reasons: Vec<Reason>,
}

/// How a scenario was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// Planned restarts of all servers.
    pub restarts: u64,
    /// Blocks per restart. In a block each server has two slices.
    pub blocks: u64,
    /// CPUs of each server; empty for all.
    pub server_cpus: Vec<usize>,
    /// False if connections were opened for each slice, because those to all servers do not fit into one process.
    pub connected_at_once: bool,
}

/// One server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ServerResult {
    /// Its name.
    pub name: String,
    /// The command that started it.
    pub command: String,
    /// Why it has no figures, or no more; null if it did not fail.
    pub failure: Option<String>,
    /// Messages completed per second. Null here and below: not available in every block.
    pub completed_per_s: Option<Compared>,
    /// Median latency.
    pub p50_ns: Option<Compared>,
    /// 90th percentile of the latency.
    pub p90_ns: Option<Compared>,
    /// 99th percentile of the latency.
    pub p99_ns: Option<Compared>,
    /// CPU time of the server's processes per message.
    pub cpu_ns_per_message: Option<Compared>,
    /// Growth of resident memory per connection.
    pub resident_bytes_per_connection: Option<Compared>,
    /// CPU time used while others had the traffic, as a share of one CPU: the median over restarts.
    pub background_cpu_ratio: Option<f64>,
    /// Its blocks, by restart.
    pub restarts: Vec<Vec<BlockFigures>>,
}

/// One figure of a server.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Compared {
    /// The median over restarts.
    pub median: f64,
    /// Ratio to the first server; null for the first server, and if it has no such figure.
    pub ratio: Option<Ratio>,
}

/// A ratio to the first server's figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Ratio {
    /// Restarts that it rests on.
    pub restarts: usize,
    /// Hodges-Lehmann estimate.
    pub estimate: f64,
    /// 95 % confidence interval; null below 6 restarts.
    pub interval: Option<RatioInterval>,
}

/// A 95 % confidence interval of a ratio.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RatioInterval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Ratio {
    /// True if the confidence interval does not contain 1: the two servers differ.
    pub fn is_resolved(&self) -> bool {
        self.interval
            .is_some_and(|interval| interval.low > 1.0 || interval.high < 1.0)
    }
}

impl Comparison {
    /// As one JSON document.
    pub fn json(&self) -> String {
        output::json::document(self)
    }
}

/// What was measured of one server under one load. Reads the same members of a [`ServerResult`].
#[derive(Debug, Clone, Deserialize)]
pub struct ServerBlocks {
    /// Its name.
    pub name: String,
    /// The command that started it.
    pub command: String,
    /// Its blocks, by restart.
    pub restarts: Vec<Vec<BlockFigures>>,
    /// Why there are no more, if it failed.
    pub failure: Option<String>,
}

/// A figure of a block; none if it is not available.
type Metric = fn(&BlockFigures) -> Option<f64>;

impl Scenario {
    /// Compares all servers with the first.
    pub fn of(load: &Workload, method: Method, servers: Vec<ServerBlocks>) -> Scenario {
        let servers = compare(servers);
        Scenario {
            connections: load.connections.into(),
            load: PlanSummary::of(&[], load),
            reasons: reasons(load, &method, &servers),
            method,
            servers,
        }
    }

    /// True if its figures decide nothing.
    pub fn is_invalid(&self) -> bool {
        self.reasons.iter().any(|reason| reason.grade == Grade::Invalid)
    }
}

fn reasons(load: &Workload, method: &Method, servers: &[ServerResult]) -> Vec<Reason> {
    let named = servers.iter().map(|server| {
        let blocks = server.restarts.iter().flatten();
        (server.name.as_str(), blocks.collect())
    });
    let named: Vec<quotas::NamedBlocks<'_>> = named.collect();
    let closed = named.iter().filter(|_| !load.pace.is_open());
    let bottlenecks = closed.filter_map(|(name, blocks)| {
        let bottleneck = bottleneck::of_blocks(blocks, method.server_cpus.len())?;
        Some(bottleneck.reason(name))
    });
    quotas::reasons(&named).into_iter().chain(bottlenecks).collect()
}

/// Compares all servers with the first.
pub fn compare(servers: Vec<ServerBlocks>) -> Vec<ServerResult> {
    let first = servers.first().map_or(Vec::new(), |first| first.restarts.clone());
    let result = |(index, server)| ServerResult::of(server, (index > 0).then_some(first.as_slice()));
    servers.into_iter().enumerate().map(result).collect()
}

impl ServerResult {
    fn of(server: ServerBlocks, first: Option<&[Vec<BlockFigures>]>) -> ServerResult {
        let restarts = server.restarts;
        let compared = |metric: Metric| compared(&restarts, first, metric);
        ServerResult {
            name: server.name,
            command: server.command,
            failure: server.failure,
            completed_per_s: compared(|block| Some(block.completed_per_s)),
            p50_ns: compared(|block| block.p50_ns.map(|ns| ns as f64)),
            p90_ns: compared(|block| block.p90_ns.map(|ns| ns as f64)),
            p99_ns: compared(|block| block.p99_ns.map(|ns| ns as f64)),
            cpu_ns_per_message: compared(|block| block.cpu_ns_per_message),
            resident_bytes_per_connection: compared(|block| block.resident_bytes_per_connection),
            background_cpu_ratio: compared(|block| block.background_cpu_ratio).map(|idle| idle.median),
            restarts,
        }
    }
}

fn compared(restarts: &[Vec<BlockFigures>], first: Option<&[Vec<BlockFigures>]>, metric: Metric) -> Option<Compared> {
    let medians: Option<Vec<f64>> = restarts
        .iter()
        .map(|blocks| median(&blocks.iter().map(metric).collect::<Option<Vec<_>>>()?))
        .collect();
    Some(Compared {
        median: median(&medians?)?,
        ratio: first.and_then(|first| ratio(restarts, first, metric)),
    })
}

fn ratio(restarts: &[Vec<BlockFigures>], first: &[Vec<BlockFigures>], metric: Metric) -> Option<Ratio> {
    let logs = restarts.iter().zip(first);
    let logs: Option<Vec<f64>> = logs.map(|(ours, first)| log_ratio(ours, first, metric)).collect();
    let estimate = signed_rank::estimate(&logs?, ALPHA)?;
    Some(Ratio {
        restarts: estimate.n,
        estimate: estimate.location.exp(),
        interval: estimate
            .interval
            .map(|signed_rank::ConfidenceInterval { low, high }| RatioInterval {
                low: low.exp(),
                high: high.exp(),
            }),
    })
}

/// The median over a restart's blocks of the log ratio to the same block of the first server. None if a block has no
/// positive figure.
fn log_ratio(ours: &[BlockFigures], first: &[BlockFigures], metric: Metric) -> Option<f64> {
    let log = |(ours, first)| {
        let ratio = metric(ours)? / metric(first)?;
        (ratio > 0.0 && ratio.is_finite()).then(|| ratio.ln())
    };
    let logs: Option<Vec<f64>> = ours.iter().zip(first).map(log).collect();
    median(&logs?)
}

#[cfg(test)]
mod tests;
