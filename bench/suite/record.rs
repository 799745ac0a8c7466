//! A recorded comparison, and its ratios computed again from its blocks.

use serde::Deserialize;
use serde_json::{Map, Value};
use urecho::compare::comparison::{Ratio, SCHEMA, ServerBlocks, ServerResult, compare};
use urecho::output::json;

/// The part of `urecho.compare/2` that a summary needs.
#[derive(Debug, Deserialize)]
pub(crate) struct Record {
    /// True if it was interrupted.
    pub(crate) partial: bool,
    environment: Map<String, Value>,
    scenarios: Vec<Scenario>,
}

#[derive(Debug, Deserialize)]
struct Scenario {
    servers: Vec<Value>,
}

/// A metric of a server, compared with the first.
pub(crate) type Metric = fn(&ServerResult) -> Option<Ratio>;

pub(crate) const THROUGHPUT: Metric = |server| server.completed_per_s?.ratio;
pub(crate) const P50: Metric = |server| server.p50_ns?.ratio;
pub(crate) const P99: Metric = |server| server.p99_ns?.ratio;
pub(crate) const CPU: Metric = |server| server.cpu_ns_per_message?.ratio;

impl Record {
    /// Errors: one line that says what it is instead.
    pub(crate) fn parse(text: &str) -> Result<Record, String> {
        json::parse(text, SCHEMA)
    }

    /// Where it was measured, `key: value` each.
    pub(crate) fn environment(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.environment
            .iter()
            .map(|(key, value)| format!("{key}: {}", text(value)))
            .collect()
    }

    /// The servers of its only scenario, by their recorded blocks. Errors if a recorded figure differs from the one
    /// that the blocks give, in the last bit: then one of the two is wrong.
    pub(crate) fn servers(&self) -> Result<Vec<ServerBlocks>, String> {
        let [scenario] = self.scenarios.as_slice() else {
            return Err(format!("{} scenarios, not one", self.scenarios.len()));
        };
        let blocks = scenario.servers.iter().map(ServerBlocks::deserialize);
        let blocks: Vec<ServerBlocks> = blocks.collect::<Result<_, _>>().map_err(|cause| cause.to_string())?;
        for (server, recorded) in compare(blocks.clone()).iter().zip(&scenario.servers) {
            let computed = serde_json::to_value(server).map_err(|cause| cause.to_string())?;
            if let Some(difference) = difference(&computed, recorded) {
                return Err(format!("{}: {difference}", server.name));
            }
        }
        Ok(blocks)
    }
}

/// The first member that differs.
fn difference(computed: &Value, recorded: &Value) -> Option<String> {
    let computed = computed.as_object()?;
    let mut differing = computed.iter().filter(|(key, value)| recorded.get(key) != Some(value));
    let (key, value) = differing.next()?;
    let recorded = recorded.get(key).unwrap_or(&Value::Null);
    Some(format!("{key} is recorded as {recorded}, but its blocks give {value}"))
}

/// All servers compared with the one of this name. Empty if there is none.
pub(crate) fn compared_with(name: &str, blocks: &[ServerBlocks]) -> Vec<ServerResult> {
    let Some(first) = blocks.iter().find(|server| server.name == name) else {
        return Vec::new();
    };
    let others = blocks.iter().filter(|server| server.name != name);
    compare([first].into_iter().chain(others).cloned().collect())
}

/// The median over restarts of the share of a CPU that a server used. None if that is not known.
pub(crate) fn busy_share(server: &ServerBlocks) -> Option<f64> {
    let share = |restart: &Vec<urecho::compare::BlockFigures>| {
        let blocks = restart
            .iter()
            .map(|block| Some(block.completed_per_s * block.cpu_ns_per_message? / 1e9));
        urecho::stats::median(&blocks.collect::<Option<Vec<f64>>>()?)
    };
    let shares: Option<Vec<f64>> = server.restarts.iter().map(share).collect();
    urecho::stats::median(&shares?)
}
