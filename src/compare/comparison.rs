//! Servers side by side: what each did, and how it compares with the first, with 95 % intervals.
//!
//! A restart is the sample, never a request: a restart's figure is the median of its blocks, and its ratio to the first
//! server's the median of the ratios within the blocks. Over restarts, ratios are estimated by Hodges and Lehmann on
//! their logarithms, with the exact interval of the signed ranks; it needs 6 restarts. How it is drawn is `table`.

use serde::{Deserialize, Serialize};

use crate::load::Workload;
use crate::report::{Environment, PlanSummary};
use crate::stats::{median, signed_rank};
use crate::sys::disturbance::Disturbance;

/// The version of the comparison's shape.
pub const SCHEMA: &str = "urecho.compare/1";

/// The JSON Schema (draft 2020-12) that every comparison satisfies.
pub const COMPARE_SCHEMA: &str = include_str!("compare.schema.json");

/// The error on each side of an interval: together 95 %.
const ALPHA: f64 = 0.025;

/// A server that uses more of a CPU than this while others have the traffic is not asleep: timers and the like use less.
pub const ASLEEP: f64 = 0.02;

/// What one block found of one server: both its slices together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockFigures {
    /// Messages that came back while measuring.
    pub messages: u64,
    /// The same for each second.
    pub rate_per_s: f64,
    /// Latencies: from the planned instant in an open loop, from the submit in a closed one. `None`: too few samples.
    pub p50_ns: Option<u64>,
    /// See `p50_ns`.
    pub p90_ns: Option<u64>,
    /// See `p50_ns`.
    pub p99_ns: Option<u64>,
    /// See `p50_ns`.
    pub p99_9_ns: Option<u64>,
    /// CPU time of the server's processes for each message, warm-up included. `None` where it cannot be seen.
    pub cpu_ns_per_message: Option<f64>,
    /// What the server's resident memory grew by for each connection.
    pub resident_bytes_per_connection: Option<f64>,
    /// How late messages were handed to the ring (open loop).
    pub send_lag_p99_ns: Option<u64>,
    /// CPU time that the server used while others had the traffic, as a share of one CPU. `None` where there were no
    /// others, or where it opened connections meanwhile.
    pub idle_cpu_ratio: Option<f64>,
    /// What the machine did to all servers of this block.
    pub disturbance: Disturbance,
}

/// Servers side by side, for one or more loads.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// True if it was interrupted: fewer restarts than asked for.
    pub partial: bool,
    /// Where it ran, and with which build.
    pub environment: Environment,
    /// One for each load.
    pub scenarios: Vec<Scenario>,
}

/// All servers under one load.
#[derive(Debug, Clone, Serialize)]
pub struct Scenario {
    /// Connections to each server.
    pub connections: u64,
    /// The load. Warm-up and duration are those of a slice.
    pub load: PlanSummary,
    /// How it was measured.
    pub method: Method,
    /// The servers, as they were given; all are compared with the first.
    pub servers: Vec<ServerResult>,
}

/// How a scenario was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Method {
    /// Times that all servers were started afresh, as planned.
    pub restarts: u64,
    /// Blocks for each start. In a block each server has two slices.
    pub blocks: u64,
    /// CPUs of each server; empty for all.
    pub server_cpus: Vec<usize>,
    /// False if connections were opened for each slice, because those to all servers do not fit into one process.
    pub connected_at_once: bool,
}

/// One server.
#[derive(Debug, Clone, Serialize)]
pub struct ServerResult {
    /// As it was named.
    pub name: String,
    /// What started it.
    pub command: String,
    /// Why it has no figures, or no more.
    pub failure: Option<String>,
    /// Its figures, and how they compare with the first server's.
    pub rate_per_s: Option<Compared>,
    /// See `rate_per_s`.
    pub p50_ns: Option<Compared>,
    /// See `rate_per_s`.
    pub p90_ns: Option<Compared>,
    /// See `rate_per_s`.
    pub p99_ns: Option<Compared>,
    /// See `rate_per_s`.
    pub cpu_ns_per_message: Option<Compared>,
    /// See `rate_per_s`.
    pub resident_bytes_per_connection: Option<Compared>,
    /// CPU time that it used while others had the traffic, as a share of one CPU: the median over restarts.
    pub idle_cpu_ratio: Option<f64>,
    /// What each block found, by restarts.
    pub restarts: Vec<Vec<BlockFigures>>,
}

/// One figure of a server.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Compared {
    /// The median over restarts.
    pub median: f64,
    /// To the first server; `None` for that one itself, and where it has no such figure.
    pub ratio: Option<Ratio>,
}

/// A ratio to the first server's figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratio {
    /// Restarts that it rests on.
    pub restarts: usize,
    /// Hodges-Lehmann.
    pub estimate: f64,
    /// 95 % interval; `None` below 6 restarts.
    pub interval: Option<(f64, f64)>,
}

impl Ratio {
    /// True if the interval does not contain 1: this run tells the two apart.
    pub fn is_resolved(&self) -> bool {
        self.interval.is_some_and(|(low, high)| low > 1.0 || high < 1.0)
    }
}

impl Comparison {
    /// As one JSON document, with a line break at the end.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("plain data has no way to fail");
        text.push('\n');
        text
    }
}

/// A figure of a block; `None` where it could not be had.
type Metric = fn(&BlockFigures) -> Option<f64>;

impl Scenario {
    /// Puts together what was found under one load, and compares.
    pub fn of(load: &Workload, method: Method, mut servers: Vec<ServerResult>) -> Scenario {
        let first = servers.first().map_or(Vec::new(), |first| first.restarts.clone());
        for (index, server) in servers.iter_mut().enumerate() {
            server.compare((index > 0).then_some(first.as_slice()));
        }
        Scenario {
            connections: load.connections.into(),
            load: PlanSummary::of(&[], load),
            method,
            servers,
        }
    }
}

impl ServerResult {
    /// What was found of one server, not compared yet.
    pub fn of(
        name: String,
        command: String,
        restarts: Vec<Vec<BlockFigures>>,
        failure: Option<String>,
    ) -> ServerResult {
        ServerResult {
            name,
            command,
            failure,
            rate_per_s: None,
            p50_ns: None,
            p90_ns: None,
            p99_ns: None,
            cpu_ns_per_message: None,
            resident_bytes_per_connection: None,
            idle_cpu_ratio: None,
            restarts,
        }
    }

    fn compare(&mut self, first: Option<&[Vec<BlockFigures>]>) {
        let compared = |metric: Metric| compared(&self.restarts, first, metric);
        let rate = compared(|figures| Some(figures.rate_per_s));
        let cpu = compared(|figures| figures.cpu_ns_per_message);
        let memory = compared(|figures| figures.resident_bytes_per_connection);
        let p50 = compared(|figures| figures.p50_ns.map(|ns| ns as f64));
        let p90 = compared(|figures| figures.p90_ns.map(|ns| ns as f64));
        let p99 = compared(|figures| figures.p99_ns.map(|ns| ns as f64));
        (self.rate_per_s, self.cpu_ns_per_message) = (rate, cpu);
        (self.p50_ns, self.p90_ns, self.p99_ns) = (p50, p90, p99);
        self.resident_bytes_per_connection = memory;
        self.idle_cpu_ratio = compared(|figures| figures.idle_cpu_ratio).map(|idle| idle.median);
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
    let logs: Option<Vec<f64>> = restarts.iter().zip(first).map(|pair| log_ratio(pair, metric)).collect();
    let estimate = signed_rank::estimate(&logs?, ALPHA)?;
    Some(Ratio {
        restarts: estimate.n,
        estimate: estimate.location.exp(),
        interval: estimate.interval.map(|(low, high)| (low.exp(), high.exp())),
    })
}

/// The median of a restart's blocks, each against the same block of the first server. None where one has no figure, or
/// none above zero.
fn log_ratio((ours, theirs): (&Vec<BlockFigures>, &Vec<BlockFigures>), metric: Metric) -> Option<f64> {
    let logs: Option<Vec<f64>> = ours
        .iter()
        .zip(theirs)
        .map(|(ours, theirs)| {
            let ratio = metric(ours)? / metric(theirs)?;
            (ratio > 0.0 && ratio.is_finite()).then(|| ratio.ln())
        })
        .collect();
    median(&logs?)
}

#[cfg(test)]
mod tests;
