//! What a check measured and with what settings: everything that its verdict follows from, so that it can be judged
//! again.

use std::collections::BTreeMap;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::judge::decision::{self, Threshold};
use crate::check::judge::{Metric, Profile};
use crate::compare::{BlockFigures, PooledFigures};
use crate::error::Outcome;
use crate::report::{Environment, PlanSummary};

/// A check before judgement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Where it ran, and with which build.
    pub environment: Environment,
    /// The old version.
    pub base: ComparedServer,
    /// The new version.
    pub head: ComparedServer,
    /// What was fixed before anything was measured.
    pub settings: Settings,
    /// What was fixed once the capacity of base was known; null if base failed before.
    pub setup: Option<Setup>,
    /// Why there are no more restarts.
    pub stop_reason: StopReason,
    /// Length of the whole check.
    pub elapsed_ns: u64,
    /// The sample: each restart is one value of each metric.
    pub restarts: Vec<Restart>,
}

/// One of the two versions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ComparedServer {
    /// The command that started it.
    pub command: String,
    /// How it failed; null if it did not.
    pub failure: Option<Failure>,
}

/// How a server failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// In which restart, from 1; 0 is the capacity run before them.
    pub restart: usize,
    /// The cause.
    pub what: String,
    /// The exit code of this cause: 3 its program changed, 4 this machine, 5 the server, 6 wrong bytes, 70 a bug in
    /// urecho.
    pub exit_code: u8,
}

/// What is fixed before anything is measured. To change it afterwards would be to choose the verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Time limit of the whole check.
    pub budget_ns: u64,
    /// Restarts, at most.
    pub restarts: usize,
    /// Restarts before the interim analysis.
    pub interim_restarts: usize,
    /// One-sided error of each analysis, of all gating metrics together.
    pub alpha: f64,
    /// Version of the rules that turn blocks into values; a record can be judged again by the same rules only.
    pub method: u32,
    /// Unmeasured load on each server after its start.
    pub settle_ns: u64,
    /// CPUs of each server; empty for all.
    pub server_cpus: Vec<usize>,
    /// Metrics that gate.
    pub gate: Vec<Metric>,
    /// The threshold of each metric.
    pub thresholds: BTreeMap<Metric, Threshold>,
    /// What an inconclusive check exits with.
    pub inconclusive: Inconclusive,
}

/// What follows from the capacity of base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// Capacity of base in a closed loop, in messages per second.
    pub capacity_per_s: f64,
    /// A block in which a message took longer than this has a spike.
    pub spike_limit_ns: u64,
    /// The loads, in turn.
    pub loads: Vec<Load>,
    /// False if connections were opened for each slice.
    pub connected_at_once: bool,
}

/// One of the loads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Closed or open loop.
    pub profile: Profile,
    /// Connections to each server.
    pub connections: u32,
    /// Blocks per restart; each side has two slices in a block.
    pub blocks: usize,
    /// The load of a slice.
    pub plan: PlanSummary,
}

/// What an inconclusive check exits with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub enum Inconclusive {
    /// An exit code of its own.
    #[serde(rename = "exit 3")]
    Distinct,
    /// As if it had passed.
    #[serde(rename = "exit 0")]
    Pass,
    /// As if it had regressed.
    #[serde(rename = "exit 1")]
    Fail,
}

impl Inconclusive {
    /// What it counts as.
    pub fn outcome(self) -> Option<Outcome> {
        match self {
            Inconclusive::Distinct => Some(Outcome::Undecided),
            Inconclusive::Pass => None,
            Inconclusive::Fail => Some(Outcome::ConditionFailed),
        }
    }
}

/// Why a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum StopReason {
    /// The interim analysis was conclusive.
    Decided,
    /// All restarts were done.
    Restarts,
    /// Another restart would not have fitted into the budget.
    Budget,
    /// A server failed.
    Failed,
    /// A signal.
    Interrupted,
}

/// One restart, by load.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// Under the closed loop; null if it was not measured.
    pub closed: Option<LoadPair>,
    /// Under the open loop; null if it was not measured.
    pub open: Option<LoadPair>,
}

/// Both sides in one restart under one load.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LoadPair {
    /// Block by block.
    pub blocks: Vec<Block>,
    /// All slices of base together.
    pub base: PooledFigures,
    /// All slices of head together.
    pub head: PooledFigures,
}

/// Both sides under one load, interleaved.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Both slices of base.
    pub base: BlockFigures,
    /// Both slices of head.
    pub head: BlockFigures,
}

impl Record {
    /// All blocks, of all loads.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        let restarts = self.restarts.iter();
        let loads = restarts.flat_map(|restart| restart.closed.iter().chain(&restart.open));
        loads.flat_map(|load| &load.blocks)
    }

    /// The loads; none if base failed in its capacity run.
    pub fn loads(&self) -> &[Load] {
        self.setup.as_ref().map_or(&[], |setup| &setup.loads)
    }
}

impl Restart {
    /// The loads that a metric is measured under.
    pub fn loads(&self, metric: Metric) -> impl Iterator<Item = &LoadPair> {
        metric.loads(&self.open, &self.closed)
    }

    /// A load of it, if it was run.
    pub fn load(&self, profile: Profile) -> Option<&LoadPair> {
        match profile {
            Profile::Closed => self.closed.as_ref(),
            Profile::Open => self.open.as_ref(),
        }
    }

    /// A load of it.
    pub fn load_mut(&mut self, profile: Profile) -> &mut Option<LoadPair> {
        match profile {
            Profile::Closed => &mut self.closed,
            Profile::Open => &mut self.open,
        }
    }
}

impl Load {
    /// True if this metric is measured under one of `loads`.
    pub fn measure(loads: &[Load], metric: Metric) -> bool {
        let has = |profile| loads.iter().any(|load| load.profile == profile);
        !loads.is_empty() && metric.profile().is_none_or(has)
    }
}

impl Settings {
    /// What is out of range, as only an edited file can have it.
    pub fn invalid(&self) -> Option<String> {
        let is_valid = |threshold: &Threshold| {
            threshold.min_effect > 0.0 && threshold.min_effect <= 1.0 && threshold.min_change >= 0.0
        };
        let mut thresholds = self.thresholds.iter();
        if !(self.alpha > 0.0 && self.alpha < 0.5) {
            return Some("alpha must be in (0, 0.5)".into());
        }
        thresholds.find_map(|(metric, threshold)| {
            (!is_valid(threshold)).then(|| format!("threshold for {metric} must be in (0, 1]"))
        })
    }

    /// The share of one gating metric in the error of an analysis.
    pub fn alpha_of_a_metric(&self) -> f64 {
        decision::bonferroni(self.alpha, self.gate.len())
    }

    /// The threshold of a metric.
    pub fn threshold(&self, metric: Metric) -> Threshold {
        let stated = self.thresholds.get(&metric).copied();
        stated.unwrap_or_else(|| metric.default_threshold())
    }
}
